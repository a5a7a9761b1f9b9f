/* service.h: whatever can answer a request: a router, a guard, a tunnel
 * session's stream, an upstream, a C handler. Services compose: a router
 * opens what it routes to.
 *
 * Exit node:    visitor -> router -> tunnel session
 * Dev machine:  tunnel session -> upstream | local handler */
#ifndef INL_RELAY_SERVICE_H
#define INL_RELAY_SERVICE_H

#include "relay/flow.h"
#include <inlets/types.h>

/* Hex digits of a request id. */
#define INL_REQUEST_ID_LEN 16

struct inl_permit;

/* A request on its way. Borrowed; valid during open only. */
struct inl_request {
    const struct inlets_head *head; /* rebuilt: no hop-by-hop fields */
    struct inlets_slice host;       /* normalised, see inl_host_normalise */
    struct inlets_slice path;       /* of the target, without query */
    struct inlets_slice id;         /* shared by both ends' logs */
    struct inlets_slice peer;  /* the visitor's IP, as text; may be empty */
    struct inl_permit *permit; /* for what a guard says; may be NULL */
};

struct inl_service;

struct inl_service_ops {
    /* 0: a flow of the service is tied to `caller`; the service may have
     * called it already. Negative: refused, nothing was called. */
    int (*open)(struct inl_service *s, const struct inl_request *req,
                struct inl_flow *caller);
};

struct inl_service {
    const struct inl_service_ops *ops;
};

static inline int inl_service_open(struct inl_service *s,
                                   const struct inl_request *req,
                                   struct inl_flow *caller)
{
    return s->ops->open(s, req, caller);
}

#endif
