/* failover.h: the router's service for visitors: it opens the best target,
 * tells the router what became of it, and takes a request elsewhere when its
 * target fails. It never repeats what may have been done, unless doing it
 * twice is doing it once:
 *
 *   not sent    the target says that nothing of the request reached anybody
 *               (see is_unsent): any request, as long as all that came of its
 *               body is held here (INL_FAILOVER_HOLD_BYTES)
 *   lost        the target died or failed before a byte of its answer came: a
 *               request without body and with an idempotent method (RFC 9110
 *               9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE). Goes silent:
 *               the same, if another is well.
 *
 * Each try goes to a target that was not tried before. A request that has no
 * choice of targets is passed straight on, but for the safe methods: the
 * second target may be the same client, back after its link died unseen.
 *
 * A request that waits unsent in its target (flow `hold` from within `open`,
 * until it is taken back) goes to another as soon as one comes that is well. */
#ifndef INL_RELAY_FAILOVER_H
#define INL_RELAY_FAILOVER_H

#include "relay/router.h"

/* How often a request that waits for its head looks at its target. */
#define INL_FAILOVER_LOOK_MS 500u
#define INL_FAILOVER_TRIES 3u
/* So much of a request body is kept until the answer begins: what a form or
 * an API call sends. Against visitors who make us hold what they upload. */
#define INL_FAILOVER_HOLD_BYTES (16u * 1024)

struct inl_failover {
    struct inl_service service;
    struct inl_env *env;
    struct inl_router *router;
    struct inl_list calls;  /* requests that are not answered yet */
    struct inl_list parked; /* those that wait unsent */
    struct inl_later wake;  /* a target has come: is it one for them? */
};

void inl_failover_init(struct inl_failover *f, struct inl_env *env,
                       struct inl_router *router);
/* Stops all that it carries with INLETS_ECLOSED. The router is still there. */
void inl_failover_fini(struct inl_failover *f);

#endif
