/* router.c: see router.h.
 *
 * A route is one endpoint with its list of targets. Routes of a host hang
 * together, longest path first, so the first match is the right one. A route
 * lives as long as it has a target. */
#include "relay/router.h"

#include "base/mem.h"
#include "base/slice.h"
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
    struct inl_target *t;
    int err = inl_router_pick(r, req->host, req->path, NULL, &t);

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
    t->route = route;
    inl_list_push_back(&route->targets, &t->node);
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

bool inl_router_has(const struct inl_router *r,
                    const struct inl_endpoint *endpoint)
{
    char buf[INL_HOST_MAX + 3];

    return find_route(find_host(r, key_of(endpoint, buf)), endpoint->path) !=
           NULL;
}

/* "/api" matches "/api" and "/api/x", not "/apix". */
static bool path_matches(const struct inl_route *route,
                         struct inlets_slice path)
{
    size_t n = route->path_len;

    return path.len >= n && memcmp(path.ptr, route->path, n) == 0 &&
           (path.len == n || n == 0 || path.ptr[n] == '/');
}

static struct inl_route *match_in(const struct inl_router *r,
                                  struct inlets_slice key,
                                  struct inlets_slice path)
{
    struct host *h = find_host(r, key);
    struct inl_route *route = h == NULL ? NULL : h->routes;

    while (route != NULL && !path_matches(route, path)) {
        route = route->next;
    }
    return route;
}

static struct inl_route *match(const struct inl_router *r,
                               struct inlets_slice host,
                               struct inlets_slice path)
{
    char buf[INL_HOST_MAX + 3];
    size_t dot = inl_slice_find(host, '.');
    struct inl_route *route = match_in(r, host, path);

    if (route == NULL && dot < host.len && host.len <= INL_HOST_MAX) {
        size_t len = host.len - dot;

        buf[0] = '*';
        memcpy(buf + 1, host.ptr + dot, len);
        route = match_in(r, inl_slice(buf, len + 1), path);
    }
    return route != NULL ? route : match_in(r, INL_LIT("*"), path);
}

bool inl_router_has_choice(const struct inl_router *r, struct inlets_slice host,
                           struct inlets_slice path)
{
    const struct inl_route *route = match(r, host, path);

    return route != NULL && route->targets.next != route->targets.prev;
}

static enum inl_health health_of(struct inl_target *t)
{
    return t->health == NULL ? INL_HEALTH_GOOD : t->health(t);
}

int inl_router_pick(struct inl_router *r, struct inlets_slice host,
                    struct inlets_slice path, const struct inl_target *except,
                    struct inl_target **ret_target)
{
    struct inl_route *route = match(r, host, path);
    struct inl_target *best = NULL;
    enum inl_health best_health = INL_HEALTH_OUT;
    struct inl_list *n, *tmp;

    if (route == NULL) {
        return INLETS_ENOROUTE;
    }
    inl_list_each(&route->targets, n, tmp)
    {
        struct inl_target *t = inl_container(n, struct inl_target, node);
        enum inl_health health = health_of(t);

        if (t != except && health < best_health) {
            best = t;
            best_health = health;
        }
    }
    if (best == NULL) {
        return INLETS_EUNAVAILABLE;
    }
    inl_list_remove(&best->node); /* its turn is over */
    inl_list_push_back(&route->targets, &best->node);
    *ret_target = best;
    return 0;
}
