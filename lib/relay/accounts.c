/* accounts.c: see accounts.h. All hosts of all accounts are rules in one map
 * by their names, so the cost of a question does not grow with the number of
 * accounts: a visitor who asks for hosts that nobody has costs three looks. */
#include "relay/accounts.h"

#include "base/mem.h"
#include "base/slice.h"
#include <inlets/err.h>

#define US_PER_S 1000000u

/* That an account may serve a host. */
struct inl_account_rule {
    struct inl_map_node node;
    const struct inl_account *account;
    const struct inl_endpoint *endpoint; /* of its entry */
};

/* ---- the set ------------------------------------------------------------ */

struct inl_account *inl_accounts_find(const struct inl_accounts *a,
                                      const char *name)
{
    for (size_t i = 0; i < a->doc.n; i++) {
        if (strcmp(a->items[i].says->name, name) == 0) {
            return &a->items[i];
        }
    }
    return NULL;
}

static size_t count_hosts(const struct inl_account_doc *doc)
{
    size_t n = 0;

    for (size_t i = 0; i < doc->n; i++) {
        n += doc->entries[i].nhosts;
    }
    return n;
}

static int add_rules(struct inl_accounts *a, const struct inl_account *account,
                     struct inl_account_rule **at)
{
    const struct inl_account_entry *e = account->says;

    for (size_t i = 0; i < e->nhosts; i++) {
        struct inl_account_rule *rule = (*at)++;
        uint64_t hash =
            inl_map_hash_slice(&a->by_host, inl_str(e->endpoints[i].host));

        rule->account = account;
        rule->endpoint = &e->endpoints[i];
        if (inl_map_add(&a->by_host, &rule->node, hash) != 0) {
            return INLETS_ENOMEM;
        }
    }
    return 0;
}

/* Of a document that is still the caller's. */
static int build(struct inl_accounts *a, struct inl_env *env,
                 const struct inl_account_doc *doc)
{
    struct inl_account_rule *at;
    uint64_t seed;
    int err = 0;

    *a = (struct inl_accounts){.is_set = true, .doc = *doc};
    inl_env_random(env, &seed, sizeof(seed));
    inl_map_init(&a->by_host, seed);
    a->items = inl_calloc(doc->n + 1, sizeof(*a->items));
    a->rules = inl_calloc(count_hosts(doc) + 1, sizeof(*a->rules));
    at = a->rules;
    if (a->items == NULL || a->rules == NULL) {
        return INLETS_ENOMEM;
    }
    for (size_t i = 0; err == 0 && i < doc->n; i++) {
        a->items[i].says = &doc->entries[i];
        inl_list_init(&a->items[i].clients);
        err = add_rules(a, &a->items[i], &at);
    }
    return err;
}

static void free_tables(struct inl_accounts *a)
{
    inl_map_fini(&a->by_host);
    inl_free(a->rules);
    inl_free(a->items);
}

static bool has_same_hosts(const struct inl_account_entry *a,
                           const struct inl_account_entry *b)
{
    bool same = a->nhosts == b->nhosts;

    for (size_t i = 0; same && i < a->nhosts; i++) {
        same = strcmp(a->hosts[i], b->hosts[i]) == 0;
    }
    return same;
}

static void move_clients(struct inl_account *from, struct inl_account *to,
                         struct inl_list *orphans)
{
    struct inl_list *n, *tmp;

    inl_list_each(&from->clients, n, tmp)
    {
        inl_list_remove(n);
        inl_list_push_back(to != NULL ? &to->clients : orphans, n);
    }
    if (to != NULL) {
        to->nclients = from->nclients;
        to->streams = from->streams;
        to->has_new_hosts = !has_same_hosts(from->says, to->says);
    }
}

int inl_accounts_set(struct inl_accounts *a, struct inl_env *env,
                     struct inl_account_doc *doc, struct inl_list *orphans)
{
    struct inl_accounts new;
    int err = build(&new, env, doc);

    if (err != 0) {
        free_tables(&new);
        return err;
    }
    for (size_t i = 0; i < a->doc.n; i++) {
        move_clients(&a->items[i],
                     inl_accounts_find(&new, a->items[i].says->name), orphans);
    }
    inl_accounts_fini(a);
    *a = new;
    *doc = (struct inl_account_doc){.root = NULL};
    return 0;
}

void inl_accounts_fini(struct inl_accounts *a)
{
    if (a->is_set) {
        free_tables(a);
        inl_account_doc_fini(&a->doc);
        *a = (struct inl_accounts){.is_set = false};
    }
}

void inl_account_join(struct inl_account *account, struct inl_list *node)
{
    inl_list_push_back(&account->clients, node);
    account->nclients++;
}

void inl_account_leave(struct inl_account *account, struct inl_list *node)
{
    inl_list_remove(node);
    account->nclients--;
}

/* ---- credentials -------------------------------------------------------- */

static bool has_token(const struct inl_account *account,
                      const uint8_t digest[INL_SHA256_LEN])
{
    const struct inl_account_entry *e = account->says;
    bool has = false;

    for (size_t i = 0; i < INL_ACCOUNT_TOKENS; i++) {
        bool equal =
            inl_equal_constant_time(e->tokens[i], digest, INL_SHA256_LEN);

        has |= equal & (i < e->ntokens);
    }
    return has;
}

struct inl_account *inl_accounts_by_token(const struct inl_accounts *a,
                                          const uint8_t digest[INL_SHA256_LEN])
{
    struct inl_account *found = NULL;

    for (size_t i = 0; i < a->doc.n; i++) { /* always to the end */
        found = has_token(&a->items[i], digest) ? &a->items[i] : found;
    }
    return found;
}

/* Its holder has shown the password then: the digest is of its hash. */
static bool has_password(const struct inl_account *account,
                         const uint8_t digest[INL_SHA256_LEN])
{
    return account->says->password != NULL &&
           inl_equal_constant_time(account->says->password_proof, digest,
                                   INL_SHA256_LEN);
}

/* Its holder has shown a token that its rules fit: the digest is theirs. */
static bool has_claims(const struct inl_account *account,
                       const uint8_t digest[INL_SHA256_LEN])
{
    return account->says->claims != NULL &&
           inl_equal_constant_time(account->says->claims_proof, digest,
                                   INL_SHA256_LEN);
}

struct inl_account *inl_accounts_by_jwt(const struct inl_accounts *a,
                                        struct inlets_slice token,
                                        int64_t now_s, int64_t *ret_until_s,
                                        const char **ret_why)
{
    const struct inl_account_entry *entry =
        inl_account_doc_by_jwt(&a->doc, token, now_s, ret_until_s, ret_why);

    return entry == NULL ? NULL : &a->items[entry - a->doc.entries];
}

static bool has_certificate(const struct inl_account_entry *e,
                            const uint8_t *certificate)
{
    for (size_t i = 0; certificate != NULL && i < e->ncertificates; i++) {
        if (memcmp(e->certificates[i], certificate, INL_SHA256_LEN) == 0) {
            return true; /* no secret: it crosses the network */
        }
    }
    return e->ncertificates == 0;
}

int inl_account_check(const struct inl_account *account, struct inl_env *env,
                      const uint8_t digest[INL_SHA256_LEN],
                      const uint8_t *certificate, const struct inl_ip *from,
                      const char **ret_why)
{
    const struct inl_account_entry *e = account->says;

    if (!has_token(account, digest) && !has_password(account, digest) &&
        !has_claims(account, digest)) {
        *ret_why = e->password == NULL
                       ? "this token is not valid any more"
                       : "this token or password is not valid any more";
        return INLETS_EAUTH;
    }
    if (!has_certificate(e, certificate)) {
        *ret_why = "this account needs its certificate";
        return INLETS_EFORBIDDEN;
    }
    if (inl_env_wall_s(env) >= e->expires_s) {
        *ret_why = "this account has expired";
        return INLETS_EFORBIDDEN;
    }
    if (e->nnetworks > 0 && !inl_cidr_set_has(&e->from, from)) {
        *ret_why = "this account may not be used from this address";
        return INLETS_EFORBIDDEN;
    }
    return 0;
}

bool inl_accounts_have_dates(const struct inl_accounts *a)
{
    if (a->doc.nissuers > 0) {
        return true;
    }
    for (size_t i = 0; i < a->doc.n; i++) {
        if (a->doc.entries[i].expires_s != INT64_MAX) {
            return true;
        }
    }
    return false;
}

/* ---- hosts -------------------------------------------------------------- */

/* Is `path` the rule's or below it, by whole segments? */
static bool is_below(struct inlets_slice path, struct inlets_slice rule)
{
    return inl_slice_starts(path, rule) &&
           (path.len == rule.len || rule.len == 0 || path.ptr[rule.len] == '/');
}

/* Among the rules for exactly this name. account NULL: any. */
static bool has_rule(const struct inl_accounts *a,
                     const struct inl_account *account,
                     struct inlets_slice host, bool wildcard,
                     struct inlets_slice path)
{
    struct inl_map_node *n =
        inl_map_first(&a->by_host, inl_map_hash_slice(&a->by_host, host));

    for (; n != NULL; n = inl_map_next(n)) {
        const struct inl_account_rule *rule =
            inl_container(n, struct inl_account_rule, node);

        if ((account == NULL || rule->account == account) &&
            rule->endpoint->wildcard == wildcard &&
            inl_slice_eq(inl_str(rule->endpoint->host), host) &&
            is_below(path, rule->endpoint->path)) {
            return true;
        }
    }
    return false;
}

/* What is behind the first label; empty: there is none. */
static struct inlets_slice parent_of(struct inlets_slice host)
{
    size_t dot = inl_slice_find(host, '.');

    return inl_slice_from(host, dot < host.len ? dot + 1 : host.len);
}

static bool covers(const struct inl_accounts *a,
                   const struct inl_account *account, struct inlets_slice host,
                   bool wildcard, struct inlets_slice path)
{
    const struct inlets_slice any = {NULL, 0};
    struct inlets_slice parent = wildcard ? any : parent_of(host);

    return has_rule(a, account, any, false, path) ||
           (host.len > 0 && has_rule(a, account, host, wildcard, path)) ||
           (parent.len > 0 && has_rule(a, account, parent, true, path));
}

bool inl_account_owns(const struct inl_accounts *a,
                      const struct inl_account *account,
                      const struct inl_endpoint *endpoint)
{
    return covers(a, account, inl_str(endpoint->host), endpoint->wildcard,
                  endpoint->path);
}

bool inl_accounts_may_serve(const struct inl_accounts *a,
                            struct inlets_slice host, struct inlets_slice path)
{
    return covers(a, NULL, host, false, path);
}

/* ---- limits ------------------------------------------------------------- */

int inl_account_begin_stream(struct inl_account *account, struct inl_env *env,
                             size_t running, const char **ret_limit)
{
    const struct inl_account_entry *e = account->says;
    const struct inl_pace_rate rate = {
        US_PER_S / (e->streams_per_second + (e->streams_per_second == 0)),
        e->streams_per_second};
    uint64_t now_us = env->now_ms * 1000;

    if (e->streams > 0 && running >= e->streams) {
        *ret_limit = "streams";
        return INLETS_ELIMIT;
    }
    if (e->streams_per_second == 0) {
        return 0;
    }
    if (inl_pace_wait_us(&account->streams, rate, now_us) > 0) {
        *ret_limit = "streams_per_second";
        return INLETS_ELIMIT;
    }
    inl_pace_take(&account->streams, rate, now_us);
    return 0;
}
