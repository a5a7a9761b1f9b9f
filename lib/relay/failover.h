/* failover.h: the router's service for visitors: it opens the best target,
 * and when that one goes silent or dies before a byte of its answer came, a
 * request that may be repeated goes to another target of the endpoint.
 *
 * May be repeated: no body, and an idempotent method (RFC 9110 9.2.2). All
 * other requests are passed straight to the router. */
#ifndef INL_RELAY_FAILOVER_H
#define INL_RELAY_FAILOVER_H

#include "relay/router.h"

/* How often a request that waits for its head looks at its target. */
#define INL_FAILOVER_LOOK_MS 500u
#define INL_FAILOVER_TRIES 3u

struct inl_failover {
    struct inl_service service;
    struct inl_env *env;
    struct inl_router *router;
    struct inl_list calls; /* requests that may still move */
};

void inl_failover_init(struct inl_failover *f, struct inl_env *env,
                       struct inl_router *router);
/* Stops all that it carries with INLETS_ECLOSED. */
void inl_failover_fini(struct inl_failover *f);

#endif
