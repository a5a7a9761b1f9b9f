/* router.h: host and path to service. Exact host, then "*.host" (one label),
 * then every host; within a host the longest path, by whole segments. Several
 * targets of one endpoint take turns; one that is not well is skipped. */
#ifndef INL_RELAY_ROUTER_H
#define INL_RELAY_ROUTER_H

#include "base/env.h"
#include "base/map.h"
#include "base/url.h"
#include "relay/service.h"

/* How fit a target is for a new request; the lowest is taken. */
enum inl_health {
    INL_HEALTH_GOOD,
    INL_HEALTH_SUSPECT, /* has not answered for a while */
    INL_HEALTH_LOST,    /* without a websocket now; requests may wait */
    INL_HEALTH_OUT      /* takes no new requests */
};

/* One way to serve an endpoint. Embedded in its owner, which removes it
 * before it goes. */
struct inl_target {
    struct inl_service *service;
    enum inl_health (*health)(struct inl_target *t); /* NULL: good */
    unsigned (*busy)(struct inl_target *t); /* requests in flight; NULL: 0 */
    struct inl_list node;
    struct inl_route *route; /* NULL: in no router */
    /* Nodes of those who remember it: they are unlinked when it is removed,
     * so a linked node says that the target is still there. */
    struct inl_list watchers;
};

struct inl_router {
    struct inl_service service;
    struct inl_env *env;
    struct inl_map hosts;
    size_t nroutes;
};

void inl_router_init(struct inl_router *r, struct inl_env *env);
/* All targets have been removed. */
void inl_router_fini(struct inl_router *r);

void inl_target_init(struct inl_target *t, struct inl_service *service);
/* 0, INLETS_ENOMEM. Several targets may share an endpoint. */
int inl_router_add(struct inl_router *r, const struct inl_endpoint *endpoint,
                   struct inl_target *t);
/* Harmless when it is in no router. */
void inl_router_remove(struct inl_router *r, struct inl_target *t);

/* Is there any target at exactly this endpoint? */
bool inl_router_has(const struct inl_router *r,
                    const struct inl_endpoint *endpoint);

/* The target for a request; INLETS_ENOROUTE: nothing is defined there,
 * INLETS_EUNAVAILABLE: all its targets are out. `except` is never taken (it
 * may be NULL). */
int inl_router_pick(struct inl_router *r, struct inlets_slice host,
                    struct inlets_slice path, const struct inl_target *except,
                    struct inl_target **ret_target);

/* Would a request there find more than one target? */
bool inl_router_has_choice(const struct inl_router *r, struct inlets_slice host,
                           struct inlets_slice path);

#endif
