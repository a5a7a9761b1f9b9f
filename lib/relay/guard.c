/* guard.c: see guard.h.
 *
 * A rule is a target of two routers that route nothing: what "most specific"
 * means is said in router.c, once. Where a host has rules for paths, the plain
 * form of a request's path is matched too, and both must agree: the upstream
 * may fold what the router does not.
 *
 * A tally is what is counted for a rule; new rules for the same host and path
 * take it over. A place is an address under one tally.
 *
 * Failure: whatever cannot be looked up or counted is refused. */
#include "relay/guard.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/credentials.h"
#include "proto/http1.h"
#include "proto/http1_rules.h"
#include "proto/plain_path.h"
#include "relay/forwarding.h"

#define US_PER_S 1000000u

struct inl_guard_tally {
    unsigned refs; /* the rule's, and one for each request in `running` */
    uint64_t serial;
    struct inl_pace pace;
    uint32_t running;
};

struct inl_guard_rule {
    struct inl_target by_path, by_plain; /* which of the two it was found by */
    const struct inl_visitors_entry *says;
    struct inl_guard_tally *tally;
};

struct inl_guard_place {
    struct inl_map_node node;
    struct inl_list age; /* linked while nothing is running */
    struct inl_pace pace;
    uint32_t running;
    uint64_t serial; /* of the tally, which may be gone */
    struct inl_ip ip;
};

/* ---- what is counted ---------------------------------------------------- */

static void tally_unref(struct inl_guard_tally *t)
{
    if (t != NULL && --t->refs == 0) {
        inl_free(t);
    }
}

static uint64_t hash_of(const struct inl_guard *g, uint64_t serial,
                        const struct inl_ip *ip)
{
    uint8_t key[sizeof(serial) + sizeof(ip->bytes)];

    memcpy(key, &serial, sizeof(serial));
    memcpy(key + sizeof(serial), ip->bytes, sizeof(ip->bytes));
    return inl_map_hash_slice(&g->places, inl_slice(key, sizeof(key)));
}

static struct inl_guard_place *
find_place(const struct inl_guard *g, uint64_t serial, const struct inl_ip *ip)
{
    struct inl_map_node *n = inl_map_first(&g->places, hash_of(g, serial, ip));

    for (; n != NULL; n = inl_map_next(n)) {
        struct inl_guard_place *p =
            inl_container(n, struct inl_guard_place, node);

        if (p->serial == serial && memcmp(&p->ip, ip, sizeof(*ip)) == 0) {
            return p;
        }
    }
    return NULL;
}

static void forget_oldest(struct inl_guard *g)
{
    struct inl_guard_place *p =
        inl_container(inl_list_pop(&g->by_age), struct inl_guard_place, age);

    inl_map_remove(&g->places, &p->node);
    g->nplaces--;
    inl_free(p);
}

static struct inl_guard_place *add_place(struct inl_guard *g, uint64_t serial,
                                         const struct inl_ip *ip)
{
    struct inl_guard_place *p = inl_calloc(1, sizeof(*p));

    if (p == NULL ||
        inl_map_add(&g->places, &p->node, hash_of(g, serial, ip)) != 0) {
        inl_free(p);
        return NULL;
    }
    p->serial = serial;
    p->ip = *ip;
    inl_list_init(&p->age);
    inl_list_push_back(&g->by_age, &p->age);
    g->nplaces++;
    return p;
}

/* The place of an address, which is the youngest now. */
static int take_place(struct inl_guard *g, const struct inl_guard_tally *t,
                      const struct inl_ip *ip, struct inl_guard_place **ret)
{
    const struct inl_ip at = inl_ip_place(*ip);
    struct inl_guard_place *p = find_place(g, t->serial, &at);

    if (p == NULL && g->nplaces >= INL_GUARD_PLACES) {
        if (inl_list_empty(&g->by_age)) {
            return INLETS_ELIMIT; /* each of them has a request running */
        }
        forget_oldest(g);
    }
    if (p == NULL) {
        p = add_place(g, t->serial, &at);
    } else if (p->running == 0) {
        inl_list_remove(&p->age);
        inl_list_push_back(&g->by_age, &p->age);
    }
    *ret = p;
    return p == NULL ? INLETS_ENOMEM : 0;
}

void inl_permit_end(struct inl_permit *p)
{
    struct inl_guard *g = p->guard;
    struct inl_guard_place *place = p->place;

    if (g == NULL) {
        return;
    }
    p->guard = NULL;
    g->nrunning--;
    p->tally->running--;
    tally_unref(p->tally);
    if (place != NULL && --place->running == 0) {
        inl_list_push_back(&g->by_age, &place->age);
    }
}

static void begin_running(struct inl_guard *g, struct inl_guard_tally *t,
                          struct inl_guard_place *place, struct inl_permit *p)
{
    p->guard = g;
    p->tally = t;
    p->place = place;
    g->nrunning++;
    t->refs++;
    t->running++;
    if (place != NULL && place->running++ == 0) {
        inl_list_remove(&place->age);
    }
}

/* ---- the set ------------------------------------------------------------ */

static void free_rules(struct inl_guard_rules *rules)
{
    for (size_t i = 0; rules->items != NULL && i < rules->doc.n; i++) {
        struct inl_guard_rule *rule = &rules->items[i];

        inl_router_remove(&rules->by_path, &rule->by_path);
        inl_router_remove(&rules->by_plain, &rule->by_plain);
        tally_unref(rule->tally);
    }
    inl_free(rules->items);
    if (rules->is_set) {
        inl_router_fini(&rules->by_path);
        inl_router_fini(&rules->by_plain);
    }
}

static struct inl_guard_rule *rule_of(const struct inl_route *route)
{
    return route == NULL ? NULL
                         : inl_container(inl_route_first(route),
                                         struct inl_guard_rule, by_path);
}

/* That of the rule for the same, or a new one. */
static struct inl_guard_tally *tally_for(struct inl_guard *g,
                                         const struct inl_endpoint *e)
{
    const struct inl_guard_rule *old =
        g->rules.is_set ? rule_of(inl_router_find(&g->rules.by_path, e)) : NULL;
    struct inl_guard_tally *t =
        old != NULL ? old->tally : inl_calloc(1, sizeof(*t));

    if (t != NULL) {
        t->refs++;
        t->serial = t->serial == 0 ? ++g->last_serial : t->serial;
    }
    return t;
}

static int add_rule(struct inl_guard *g, struct inl_guard_rules *rules,
                    struct inl_guard_rule *rule)
{
    struct inl_endpoint plain = rule->says->endpoint;
    int err;

    plain.path = rule->says->plain;
    rule->tally = tally_for(g, &rule->says->endpoint);
    if (rule->tally == NULL) {
        return INLETS_ENOMEM;
    }
    err =
        inl_router_add(&rules->by_path, &rule->says->endpoint, &rule->by_path);
    return err != 0 ? err
                    : inl_router_add(&rules->by_plain, &plain, &rule->by_plain);
}

static int build(struct inl_guard *g, struct inl_guard_rules *rules,
                 const struct inl_visitors_doc *doc)
{
    int err = 0;

    *rules = (struct inl_guard_rules){.doc = *doc, .is_set = true};
    inl_router_init(&rules->by_path, g->env);
    inl_router_init(&rules->by_plain, g->env);
    rules->items = inl_calloc(doc->n + 1, sizeof(*rules->items));
    if (rules->items == NULL) {
        return INLETS_ENOMEM;
    }
    for (size_t i = 0; i < doc->n; i++) {
        rules->items[i].says = &doc->entries[i];
        inl_target_init(&rules->items[i].by_path, NULL);
        inl_target_init(&rules->items[i].by_plain, NULL);
    }
    for (size_t i = 0; err == 0 && i < doc->n; i++) {
        err = add_rule(g, rules, &rules->items[i]);
    }
    return err;
}

int inl_guard_set(struct inl_guard *g, struct inl_visitors_doc *doc)
{
    struct inl_guard_rules new;
    int err = build(g, &new, doc);

    if (err != 0) {
        free_rules(&new);
        return err;
    }
    free_rules(&g->rules);
    inl_visitors_doc_fini(&g->rules.doc);
    g->rules = new;
    *doc = (struct inl_visitors_doc){NULL, NULL, 0};
    return 0;
}

/* ---- which rule --------------------------------------------------------- */

/* *ret_rule NULL: none. */
static int find_rule(const struct inl_guard_rules *rules,
                     const struct inl_request *req,
                     struct inl_guard_rule **ret_rule)
{
    char buf[INL_HTTP1_MAX_TARGET];
    struct inl_route *route =
        inl_router_match(&rules->by_path, req->host, req->path);
    struct inl_guard_rule *plain_rule = NULL;
    struct inlets_slice plain;

    *ret_rule = rule_of(route);
    if (!inl_router_has_paths(&rules->by_path, req->host)) {
        return 0;
    }
    if (req->path.len > sizeof(buf)) {
        return INLETS_EURISIZE;
    }
    plain = inl_slice(buf, inl_plain_path(req->path, buf));
    route = inl_router_match(&rules->by_plain, req->host, plain);
    if (route != NULL) {
        plain_rule = inl_container(inl_route_first(route),
                                   struct inl_guard_rule, by_plain);
    }
    return plain_rule != *ret_rule || inl_http1_has_dot_segments(plain)
               ? INLETS_EDOTS
               : 0;
}

/* ---- address and credentials -------------------------------------------- */

/* Who is at no address that can be told is in no list: refused by both. */
static int check_address(const struct inl_visitors_entry *e,
                         const struct inl_ip *ip, struct inl_permit *permit)
{
    if (e->deny.n > 0 && (ip == NULL || inl_cidr_set_has(&e->deny, ip))) {
        permit->limit = "deny";
        return INLETS_EFORBIDDEN;
    }
    if (e->allow.n > 0 && (ip == NULL || !inl_cidr_set_has(&e->allow, ip))) {
        permit->limit = "allow";
        return INLETS_EFORBIDDEN;
    }
    return 0;
}

/* Always to the end: the time does not tell which. */
static bool is_token_of(const struct inl_visitors_entry *e,
                        const uint8_t digest[INL_SHA256_LEN])
{
    bool is = false;

    for (size_t i = 0; i < e->ntokens; i++) {
        is |= inl_equal_constant_time(e->tokens[i], digest, INL_SHA256_LEN);
    }
    return is;
}

/* How many fields Authorization there are; the value of the last. */
static unsigned find_credentials(const struct inlets_head *head,
                                 struct inlets_slice *ret_value)
{
    unsigned n = 0;

    *ret_value = INL_LIT("");
    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, INL_LIT("authorization"))) {
            *ret_value = head->fields[i].value;
            n++;
        }
    }
    return n;
}

static uint32_t seconds_of(uint64_t us)
{
    return (uint32_t)((us + US_PER_S - 1) / US_PER_S);
}

/* Many visitors may come through a proxy of ours, or from this machine. */
static bool is_counted(const struct inl_guard *g, const struct inl_ip *ip)
{
    return ip == NULL ||
           (!inl_ip_is_loopback(ip) && !inl_cidr_set_has(g->trusted, ip));
}

/* One field with a bearer token, and nothing else, is a try. Who shows nothing,
 * or what is of another scheme, did not guess. */
static int check_credentials(struct inl_guard *g,
                             const struct inl_visitors_entry *e,
                             const struct inlets_head *head,
                             const struct inl_ip *ip, struct inl_permit *permit)
{
    static const struct inl_ip nowhere = {{0}};
    const struct inl_ip *from = ip == NULL ? &nowhere : ip;
    uint8_t digest[INL_SHA256_LEN];
    struct inlets_slice value;
    unsigned n = find_credentials(head, &value);
    bool is_bearer, is_right;
    uint64_t wait_ms;

    if (e->ntokens == 0) {
        return 0;
    }
    permit->is_challenge = true;
    if (n == 0 ||
        (n == 1 && !inl_slice_starts_case(value, INL_LIT("Bearer ")))) {
        return INLETS_EAUTH;
    }
    wait_ms = is_counted(g, ip) ? inl_attempts_wait_ms(&g->attempts, from) : 0;
    if (wait_ms > 0) {
        permit->limit = "wrong_tokens";
        permit->retry_s = seconds_of(wait_ms * 1000);
        return INLETS_ETOOMANY;
    }
    is_bearer = inl_bearer_digest(value, digest);
    is_right = is_token_of(e, digest);
    if (n == 1 && is_bearer && is_right) {
        return 0;
    }
    if (is_counted(g, ip)) {
        inl_attempts_failed(&g->attempts, from);
    }
    permit->is_wrong = true;
    return INLETS_EAUTH;
}

/* ---- limits ------------------------------------------------------------- */

static struct inl_pace_rate rate_of(uint32_t per_second, uint32_t burst)
{
    return (struct inl_pace_rate){US_PER_S / per_second, burst};
}

/* Of a rate and a number, which may be 0: no such limit. */
struct limit {
    uint32_t per_second, burst, concurrent;
    const char *rate_name, *concurrent_name;
};

/* No more is owed than one burst: the rule may have been another before. */
static uint64_t wait_us_of(const struct limit *l, struct inl_pace *pace,
                           uint64_t now_us)
{
    struct inl_pace_rate rate;
    uint64_t most;

    if (l->per_second == 0) {
        return 0;
    }
    rate = rate_of(l->per_second, l->burst);
    most = now_us + rate.each_us * rate.burst;
    pace->paid_us = pace->paid_us > most ? most : pace->paid_us;
    return inl_pace_wait_us(pace, rate, now_us);
}

static int check_limit(const struct limit *l, struct inl_pace *pace,
                       uint32_t running, uint64_t now_us,
                       struct inl_permit *permit)
{
    uint64_t wait_us = wait_us_of(l, pace, now_us);

    if (wait_us > 0) {
        permit->limit = l->rate_name;
        permit->retry_s = seconds_of(wait_us);
        return INLETS_ETOOMANY;
    }
    if (l->concurrent > 0 && running >= l->concurrent) {
        permit->limit = l->concurrent_name;
        permit->retry_s = 1;
        return INLETS_ETOOMANY;
    }
    return 0;
}

static int check_body(const struct inl_visitors_entry *e,
                      const struct inlets_head *head, struct inl_permit *permit)
{
    permit->max_body = e->max_body;
    if (e->max_body > 0 && head->content_length > 0 &&
        (uint64_t)head->content_length > e->max_body) {
        permit->limit = "max_body";
        return INLETS_ETOOLARGE;
    }
    return 0;
}

/* All are looked at before any is taken from. */
static int check_limits(struct inl_guard *g, struct inl_guard_rule *rule,
                        const struct inlets_head *head, const struct inl_ip *ip,
                        struct inl_permit *permit)
{
    static const struct inl_ip nowhere = {{0}};
    const struct inl_visitors_entry *e = rule->says;
    const struct limit each = {
        e->per_second_each, e->burst_each, e->concurrent_each,
        "requests_per_second_per_address", "concurrent_per_address"};
    const struct limit all = {e->per_second, e->burst, e->concurrent,
                              "requests_per_second", "concurrent"};
    struct inl_guard_tally *t = rule->tally;
    struct inl_guard_place *place = NULL;
    uint64_t now_us = g->env->now_ms * 1000;
    int err = check_body(e, head, permit);

    if (err == 0 && (each.per_second > 0 || each.concurrent > 0)) {
        err = take_place(g, t, ip == NULL ? &nowhere : ip, &place);
        if (err == 0) {
            err = check_limit(&each, &place->pace, place->running, now_us,
                              permit);
        }
    }
    if (err == 0) {
        err = check_limit(&all, &t->pace, t->running, now_us, permit);
    }
    if (err != 0) {
        return err;
    }
    if (each.per_second > 0) {
        inl_pace_take(&place->pace, rate_of(each.per_second, each.burst),
                      now_us);
    }
    if (all.per_second > 0) {
        inl_pace_take(&t->pace, rate_of(all.per_second, all.burst), now_us);
    }
    if (each.concurrent > 0 || all.concurrent > 0) {
        begin_running(g, t, place, permit);
    }
    return 0;
}

/* ---- the service -------------------------------------------------------- */

/* What was meant for us is not the upstream's. */
static int pass_without_credentials(struct inl_guard *g,
                                    const struct inl_request *req,
                                    struct inl_flow *caller)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head head = *req->head;
    struct inl_request stripped = *req;

    if (req->head->nfields > INL_FORWARD_MAX_FIELDS) {
        return INLETS_EHEADSIZE;
    }
    head.nfields = 0;
    for (size_t i = 0; i < req->head->nfields; i++) {
        if (!inl_slice_eq_case(req->head->fields[i].name,
                               INL_LIT("authorization"))) {
            fields[head.nfields++] = req->head->fields[i];
        }
    }
    head.fields = fields;
    stripped.head = &head;
    return inl_service_open(g->next, &stripped, caller);
}

static int check(struct inl_guard *g, struct inl_guard_rule *rule,
                 const struct inl_request *req)
{
    struct inl_ip address;
    const struct inl_ip *ip =
        inl_ip_parse(req->peer, &address) ? &address : NULL;
    int err = check_address(rule->says, ip, req->permit);

    if (err == 0) {
        err = check_credentials(g, rule->says, req->head, ip, req->permit);
    }
    return err != 0 ? err : check_limits(g, rule, req->head, ip, req->permit);
}

static int guard_open(struct inl_service *s, const struct inl_request *req,
                      struct inl_flow *caller)
{
    struct inl_guard *g = inl_container(s, struct inl_guard, service);
    struct inl_guard_rule *rule = NULL;
    int err = 0;

    if (!g->rules.is_set || g->rules.doc.n == 0 ||
        inl_router_match(g->router, req->host, req->path) == NULL) {
        return inl_service_open(g->next, req, caller);
    }
    err = find_rule(&g->rules, req, &rule);
    if (err == 0 && rule != NULL) {
        err = req->permit == NULL ? INLETS_EINTERNAL : check(g, rule, req);
    }
    if (err != 0) {
        return err;
    }
    return rule != NULL && rule->says->ntokens > 0
               ? pass_without_credentials(g, req, caller)
               : inl_service_open(g->next, req, caller);
}

static const struct inl_service_ops guard_ops = {.open = guard_open};

void inl_guard_init(struct inl_guard *g, struct inl_env *env,
                    const struct inl_router *router, struct inl_service *next,
                    const struct inl_cidr_set *trusted)
{
    uint64_t seed;

    *g = (struct inl_guard){.service = {&guard_ops},
                            .env = env,
                            .router = router,
                            .next = next,
                            .trusted = trusted};
    inl_attempts_init(&g->attempts, env);
    inl_env_random(env, &seed, sizeof(seed));
    inl_map_init(&g->places, seed);
    inl_list_init(&g->by_age);
}

void inl_guard_fini(struct inl_guard *g)
{
    free_rules(&g->rules);
    inl_visitors_doc_fini(&g->rules.doc);
    while (g->nplaces > 0) {
        forget_oldest(g);
    }
    inl_map_fini(&g->places);
    inl_attempts_fini(&g->attempts);
}
