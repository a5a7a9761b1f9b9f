/* upstream.h: a service that is an HTTP server somewhere: HTTP/1.1 client
 * side (RFC 9112), with a pool of kept-alive connections. What it answers is
 * treated as hostile: parsed strictly, never passed on as whole when it is
 * not. */
#ifndef INL_RELAY_UPSTREAM_H
#define INL_RELAY_UPSTREAM_H

#include "base/dial.h"
#include "base/env.h"
#include "proto/tls.h"
#include "relay/service.h"

struct inl_upstream_config {
    struct inl_env *env;
    struct inl_dialer *dialer;
    struct inl_tls_config *tls; /* https; it keeps a reference. NULL: http */
    struct inlets_slice host;   /* to connect to: a name, an address or, with */
    unsigned port;              /* port 0, the path of a socket */
    struct inlets_slice path;   /* put in front of each target; may be empty */
    struct inlets_slice host_field; /* for Host; empty: the visitor's */
    uint32_t connect_ms;            /* then INLETS_ETIMEDOUT... */
    uint32_t idle_ms;               /* a kept connection is closed after this */
    uint32_t idle_max;              /* kept connections */
};

struct inl_upstream;

/* NULL when out of memory. Strings are copied. */
struct inl_upstream *inl_upstream_new(const struct inl_upstream_config *config);
struct inl_service *inl_upstream_service(struct inl_upstream *u);
/* Takes no more requests, lets the running ones end, and is freed when the
 * last connection is gone. NULL is fine. */
void inl_upstream_retire(struct inl_upstream *u);
/* Stops what runs and closes all connections; freed when the last is gone.
 * NULL is fine. */
void inl_upstream_close(struct inl_upstream *u);

#endif
