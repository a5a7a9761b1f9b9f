/* router.c: see router.h.
 *
 * A route is one endpoint with its list of targets. Routes of a host hang
 * together, longest path first, so the first match is the right one. A route
 * lives as long as it has a target. */
#include "relay/router.h"

#include "base/mem.h"
#include "base/slice.h"
#include <stdio.h>
#include <string.h>

struct host {
    struct inl_map_node node;
    struct inl_route *routes; /* longest path first; never empty */
    char *key;                /* owned: "example.com", "*.example.com", "*" */
};

struct inl_route {
    struct inl_route *next;
    struct host *host;
    struct inl_list targets; /* the one whose turn it is comes first */
    char *path;              /* owned; "" for all */
    size_t path_len;
};

static int router_open(struct inl_service *s, const struct inl_request *req,
                       struct inl_flow *caller)
{
    struct inl_router *r = inl_container(s, struct inl_router, service);
    const struct inl_pick pick = {.peer = req->peer};
    struct inl_target *t;
    int err = inl_router_pick(r, req->host, req->path, &pick, &t);

    return err != 0 ? err : inl_service_open(t->service, req, caller);
}

static const struct inl_service_ops router_ops = {.open = router_open};

void inl_router_init(struct inl_router *r, struct inl_env *env)
{
    uint64_t seed;

    *r = (struct inl_router){.service = {&router_ops}, .env = env};
    inl_env_random(env, &seed, sizeof(seed));
    inl_map_init(&r->hosts, seed);
}

void inl_router_fini(struct inl_router *r)
{
    inl_map_fini(&r->hosts);
}

void inl_target_init(struct inl_target *t, struct inl_service *service)
{
    *t = (struct inl_target){.service = service};
    inl_list_init(&t->node);
    inl_list_init(&t->watchers);
}

/* The key of an endpoint's host; buf has room for "*." and the name. */
static struct inlets_slice key_of(const struct inl_endpoint *e, char *buf)
{
    size_t len = strlen(e->host);

    if (len == 0) {
        return INL_LIT("*");
    }
    if (!e->wildcard) {
        return inl_slice(e->host, len);
    }
    memcpy(buf, "*.", 2);
    memcpy(buf + 2, e->host, len);
    return inl_slice(buf, len + 2);
}

static struct host *find_host(const struct inl_router *r,
                              struct inlets_slice key)
{
    uint64_t hash = inl_map_hash_slice(&r->hosts, key);
    struct inl_map_node *n = inl_map_first(&r->hosts, hash);

    for (; n != NULL; n = inl_map_next(n)) {
        struct host *h = inl_container(n, struct host, node);

        if (inl_slice_eq(inl_str(h->key), key)) {
            return h;
        }
    }
    return NULL;
}

static struct host *make_host(struct inl_router *r, struct inlets_slice key)
{
    struct host *h = inl_calloc(1, sizeof(*h));

    if (h == NULL) {
        return NULL;
    }
    h->key = inl_slice_dup(key);
    if (h->key == NULL ||
        inl_map_add(&r->hosts, &h->node, inl_map_hash_slice(&r->hosts, key)) !=
            0) {
        inl_free(h->key);
        inl_free(h);
        return NULL;
    }
    return h;
}

static void free_host_if_empty(struct inl_router *r, struct host *h)
{
    if (h->routes == NULL) {
        inl_map_remove(&r->hosts, &h->node);
        inl_free(h->key);
        inl_free(h);
    }
}

static struct inl_route *find_route(const struct host *h,
                                    struct inlets_slice path)
{
    struct inl_route *route = h == NULL ? NULL : h->routes;

    while (route != NULL &&
           !inl_slice_eq(inl_slice(route->path, route->path_len), path)) {
        route = route->next;
    }
    return route;
}

static struct inl_route *make_route(struct inl_router *r, struct host *h,
                                    struct inlets_slice path)
{
    struct inl_route *route = inl_calloc(1, sizeof(*route));
    struct inl_route **at = &h->routes;

    if (route == NULL || (route->path = inl_slice_dup(path)) == NULL) {
        inl_free(route);
        return NULL;
    }
    route->host = h;
    route->path_len = path.len;
    inl_list_init(&route->targets);
    while (*at != NULL && (*at)->path_len >= path.len) {
        at = &(*at)->next;
    }
    route->next = *at;
    *at = route;
    r->nroutes++;
    return route;
}

static void free_route(struct inl_router *r, struct inl_route *route)
{
    struct inl_route **at = &route->host->routes;

    while (*at != route) {
        at = &(*at)->next;
    }
    *at = route->next;
    free_host_if_empty(r, route->host);
    inl_free(route->path);
    inl_free(route);
    r->nroutes--;
}

int inl_router_add(struct inl_router *r, const struct inl_endpoint *endpoint,
                   struct inl_target *t)
{
    char buf[INL_HOST_MAX + 3];
    struct inlets_slice key = key_of(endpoint, buf);
    struct host *h = find_host(r, key);
    struct inl_route *route = find_route(h, endpoint->path);

    if (h == NULL) {
        h = make_host(r, key);
    }
    if (h == NULL) {
        return INLETS_ENOMEM;
    }
    if (route == NULL) {
        route = make_route(r, h, endpoint->path);
    }
    if (route == NULL) {
        free_host_if_empty(r, h);
        return INLETS_ENOMEM;
    }
    t->serial = ++r->last_serial;
    t->outlier = (struct inl_outlier){0};
    t->route = route;
    inl_list_push_back(&route->targets, &t->node);
    if (r->on_added != NULL) {
        inl_env_later(r->env, r->on_added);
    }
    return 0;
}

void inl_router_remove(struct inl_router *r, struct inl_target *t)
{
    struct inl_route *route = t->route;

    if (route != NULL) {
        t->route = NULL;
        inl_list_remove(&t->node);
        while (inl_list_pop(&t->watchers) != NULL) {
            ; /* unlinked is all they need */
        }
        if (inl_list_empty(&route->targets)) {
            free_route(r, route);
        }
    }
}

struct inl_route *inl_router_find(const struct inl_router *r,
                                  const struct inl_endpoint *endpoint)
{
    char buf[INL_HOST_MAX + 3];

    return find_route(find_host(r, key_of(endpoint, buf)), endpoint->path);
}

bool inl_router_has(const struct inl_router *r,
                    const struct inl_endpoint *endpoint)
{
    return inl_router_find(r, endpoint) != NULL;
}

/* "/api" matches "/api" and "/api/x", not "/apix". */
static bool path_matches(const struct inl_route *route,
                         struct inlets_slice path)
{
    size_t n = route->path_len;

    return path.len >= n && memcmp(path.ptr, route->path, n) == 0 &&
           (path.len == n || n == 0 || path.ptr[n] == '/');
}

/* Whose rules apply to a host, most exact first: its own, those of "*.", those
 * of "*". NULL: none of that kind. */
#define HOST_KINDS 3

static struct host *host_of_kind(const struct inl_router *r,
                                 struct inlets_slice host, int kind)
{
    char buf[INL_HOST_MAX + 3];
    size_t dot = inl_slice_find(host, '.');
    size_t len = host.len - dot;

    if (kind == 0) {
        return find_host(r, host);
    }
    if (kind == 2) {
        return find_host(r, INL_LIT("*"));
    }
    if (len == 0 || host.len > INL_HOST_MAX) {
        return NULL;
    }
    buf[0] = '*';
    memcpy(buf + 1, host.ptr + dot, len);
    return find_host(r, inl_slice(buf, len + 1));
}

struct inl_route *inl_router_match(const struct inl_router *r,
                                   struct inlets_slice host,
                                   struct inlets_slice path)
{
    struct inl_route *route = NULL;

    for (int kind = 0; kind < HOST_KINDS && route == NULL; kind++) {
        struct host *h = host_of_kind(r, host, kind);

        route = h == NULL ? NULL : h->routes;
        while (route != NULL && !path_matches(route, path)) {
            route = route->next;
        }
    }
    return route;
}

bool inl_router_has_paths(const struct inl_router *r, struct inlets_slice host)
{
    for (int kind = 0; kind < HOST_KINDS; kind++) {
        struct host *h = host_of_kind(r, host, kind);

        if (h != NULL && h->routes->path_len > 0) { /* the longest is first */
            return true;
        }
    }
    return false;
}

struct inl_target *inl_route_first(const struct inl_route *route)
{
    return inl_container(route->targets.next, struct inl_target, node);
}

bool inl_route_has_choice(const struct inl_route *route)
{
    return route->targets.next != route->targets.prev;
}

bool inl_route_is_lost(const struct inl_route *route)
{
    struct inl_target *t = inl_route_first(route);

    return t->health != NULL && t->health(t) == INL_HEALTH_LOST;
}

/* ---- which target ----------------------------------------------------- */

/* The lowest is taken: first by class, then by place in it. */
struct rank {
    unsigned class;
    uint64_t place;
};

#define CLASS_PER_HEALTH 2u
#define CLASS_OUT (CLASS_PER_HEALTH * (INL_HEALTH_OUT + 1))

static bool was_tried(const struct inl_target *t, const struct inl_pick *pick)
{
    for (size_t i = 0; i < pick->ntried; i++) {
        if (pick->tried[i] == t->serial) {
            return true;
        }
    }
    return false;
}

static uint64_t key_of_target(const struct inl_router *r, struct inl_target *t)
{
    if (t->key == 0) {
        inl_env_random(r->env, &t->key, sizeof(t->key));
        t->key = t->key == 0 ? 1 : t->key;
    }
    return t->key;
}

static uint64_t place_of(const struct inl_router *r, struct inl_target *t,
                         const struct inl_pick *pick)
{
    switch (r->stick) {
    case INL_STICK_ADDRESS:
        if (pick->peer.len > 0) {
            return ~inl_stick_weight(pick->peer, key_of_target(r, t));
        }
        break;
    case INL_STICK_COOKIE:
        if (pick->key == key_of_target(r, t)) {
            return 0;
        }
        break;
    case INL_STICK_NONE:
    default:
        break;
    }
    return 1 + (uint64_t)(t->busy == NULL ? 0 : t->busy(t));
}

/* False: not for this request. */
static bool rank_of(const struct inl_router *r, struct inl_target *t,
                    const struct inl_pick *pick, struct rank *ret)
{
    enum inl_health health = t->health == NULL ? INL_HEALTH_GOOD : t->health(t);
    uint64_t now = r->env->now_ms;
    bool probe = pick->may_probe && r->stick == INL_STICK_NONE &&
                 inl_outlier_is_due(&t->outlier, now);

    if (health == INL_HEALTH_OUT || was_tried(t, pick) ||
        (pick->not_lost && health == INL_HEALTH_LOST)) {
        return false;
    }
    ret->class = CLASS_PER_HEALTH * health + (probe ? 0 : 1) +
                 (inl_outlier_is_out(&t->outlier, now) ? CLASS_OUT : 0);
    ret->place = place_of(r, t, pick);
    return true;
}

/* Equals: the first in the list. NULL: none. */
static struct inl_target *best_of(const struct inl_router *r,
                                  struct inl_route *route,
                                  const struct inl_pick *pick,
                                  struct rank *ret_rank)
{
    struct inl_target *best = NULL;
    struct inl_list *n, *tmp;
    struct rank rank;

    inl_list_each(&route->targets, n, tmp)
    {
        struct inl_target *t = inl_container(n, struct inl_target, node);

        if (rank_of(r, t, pick, &rank) &&
            (best == NULL || rank.class < ret_rank->class ||
             (rank.class == ret_rank->class && rank.place < ret_rank->place))) {
            best = t;
            *ret_rank = rank;
        }
    }
    return best;
}

int inl_route_pick(struct inl_router *r, struct inl_route *route,
                   const struct inl_pick *pick, struct inl_target **ret_target)
{
    struct rank rank = {0, 0};
    struct inl_target *best = best_of(r, route, pick, &rank);

    if (best == NULL) {
        return INLETS_EUNAVAILABLE;
    }
    inl_list_remove(&best->node); /* its turn is over */
    inl_list_push_back(&route->targets, &best->node);
    *ret_target = best;
    return 0;
}

int inl_router_pick(struct inl_router *r, struct inlets_slice host,
                    struct inlets_slice path, const struct inl_pick *pick,
                    struct inl_target **ret_target)
{
    struct inl_route *route = inl_router_match(r, host, path);

    return route == NULL ? INLETS_ENOROUTE
                         : inl_route_pick(r, route, pick, ret_target);
}

bool inl_router_has_good(struct inl_router *r, struct inlets_slice host,
                         struct inlets_slice path, const struct inl_pick *pick)
{
    struct inl_route *route = inl_router_match(r, host, path);
    struct rank rank = {0, 0};

    return route != NULL && best_of(r, route, pick, &rank) != NULL &&
           rank.class < CLASS_PER_HEALTH * INL_HEALTH_SUSPECT;
}

/* ---- outliers --------------------------------------------------------- */

static void log_news(const struct inl_router *r, const struct inl_target *t,
                     enum inl_outlier_news news)
{
    const struct inl_route *route = t->route;
    bool every = route->host->key[0] == '*' && route->host->key[1] == '\0';
    char text[INL_HOST_MAX + 256];
    int n = snprintf(text, sizeof(text), "%s%s",
                     every && route->path_len > 0 ? "" : route->host->key,
                     route->path);
    struct inlets_slice endpoint = inl_slice(
        text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);

    if (news == INL_OUTLIER_EJECTED) {
        inl_log(r->env, INLETS_LOG_WARN, "target ejected",
                INL_KV("endpoint", endpoint), INL_KN("session", t->session),
                INL_KN("for_ms", t->outlier.penalty_ms));
    } else {
        inl_log(r->env, INLETS_LOG_INFO, "target back",
                INL_KV("endpoint", endpoint), INL_KN("session", t->session));
    }
}

void inl_router_outcome(struct inl_router *r, struct inl_target *t,
                        struct inl_trial trial, enum inl_outcome outcome)
{
    enum inl_outlier_news news;

    if (outcome == INL_OUTCOME_BAD && !inl_route_has_choice(t->route)) {
        outcome = INL_OUTCOME_NONE;
    }
    news = inl_outlier_end(&t->outlier, r->env->now_ms, trial, outcome);
    if (news != INL_OUTLIER_NOTHING) {
        log_news(r, t, news);
    }
}
