/* upstream_conn.h: the inside of upstream.h: the pool (upstream.c) and one
 * connection of it (upstream_conn.c). For these two files only. */
#ifndef INL_RELAY_UPSTREAM_CONN_H
#define INL_RELAY_UPSTREAM_CONN_H

#include "base/list.h"
#include "proto/http1.h"
#include "relay/forwarding.h"
#include "relay/secure_dial.h"
#include "relay/upstream.h"

enum inl_upstream_state {
    INL_UPSTREAM_DIALING,
    INL_UPSTREAM_BUSY,
    INL_UPSTREAM_RAW,
    INL_UPSTREAM_IDLE,
    INL_UPSTREAM_GONE,
    INL_UPSTREAM_NSTATES
};

struct inl_upstream {
    struct inl_service service;
    struct inl_upstream_config config;
    char *host, *path, *host_field;  /* owned; config's slices point here */
    struct inl_secure_dialer secure; /* with config.tls: config.dialer */
    struct inl_list idle;            /* most recently used first */
    struct inl_list busy;            /* all others that are not gone */
    size_t nidle, nconns;
    bool closed;
    struct inl_timer trim; /* runs while there is an excess */
    struct inl_later later;
};

struct inl_upstream_conn {
    struct inl_list node; /* in idle or busy */
    struct inl_upstream *upstream;
    struct inl_env *env;
    enum inl_upstream_state state;
    struct inl_dial dial;
    struct inl_link *link; /* NULL while dialing and when gone */
    struct inl_http1 http;
    struct inl_flow flow;    /* our end: the callee */
    struct inl_queue early;  /* until there is a link */
    struct inl_queue replay; /* the request again, if it may be repeated */
    enum inl_http1_framing framing; /* of the request */
    size_t unpaid;
    struct inl_timer timer; /* runs on while busy: no work per request */
    uint64_t idle_since_ms;
    uint32_t idle_ms; /* how long it may be kept */
    struct inl_later free;
    char protocol[INL_UPGRADE_MAX + 1]; /* asked for; "": none */
    bool reused;   /* this exchange got a kept connection */
    bool sent;     /* a byte of the request has left */
    bool got_byte; /* of the response */
    bool request_done, response_done;
    bool keep; /* the response allows another exchange */
};

/* ---- one connection (upstream_conn.c) --------------------------------- */

/* A new one for a request, not yet dialed; it is in `busy`. NULL: no memory. */
struct inl_upstream_conn *inl_upstream_conn_new(struct inl_upstream *u,
                                                bool is_head);
/* One from the pool, which is idle no more, for the next request. */
void inl_upstream_conn_reuse(struct inl_upstream_conn *c, bool is_head);
/* Is it known that the upstream has left, although we have not read of it? */
bool inl_upstream_conn_is_dead(const struct inl_upstream_conn *c);
/* The request goes out, the answer will come to the caller. An error: it is
 * gone and nothing was called. */
int inl_upstream_conn_ask(struct inl_upstream_conn *c,
                          const struct inlets_head *head,
                          struct inl_flow *caller);
/* Ends the connection and, if there is one, the exchange. */
void inl_upstream_conn_fail(struct inl_upstream_conn *c, int err);
void inl_upstream_conn_close_idle(struct inl_upstream_conn *c);
/* Has it been idle for as long as it may? Else looks again in time. */
void inl_upstream_conn_keep(struct inl_upstream_conn *c);
/* To be repeated on a fresh connection if the first dies without a byte: an
 * idempotent request without body (RFC 9110 9.2.2). */
bool inl_upstream_may_repeat(const struct inlets_head *head);

/* ---- the pool (upstream.c) -------------------------------------------- */

/* A connection whose exchange is over goes into the pool, or is closed. */
void inl_upstream_put_idle(struct inl_upstream *u, struct inl_upstream_conn *c);
/* It is out of its list for good. */
void inl_upstream_drop(struct inl_upstream *u, struct inl_upstream_conn *c);
/* Its memory is gone: the upstream's may follow. */
void inl_upstream_conn_freed(struct inl_upstream *u);

#endif
