/* visitor.h: the machine of one visitor's connection to the exit node:
 * HTTP/1.1 server side (RFC 9112). It reads requests, opens the service that
 * it was given, and writes what comes back. One exchange at a time;
 * pipelined requests wait and are answered in order. */
#ifndef INL_RELAY_VISITOR_H
#define INL_RELAY_VISITOR_H

#include "base/cidr.h"
#include "base/env.h"
#include "base/link.h"
#include "proto/http1.h"
#include "relay/ask.h"
#include "relay/crowd.h"
#include "relay/service.h"

/* What all visitors of one listening address share. Borrowed; outlives them. */
struct inl_visitor_config {
    struct inl_service *service;
    struct inlets_slice port; /* for X-Forwarded-Port */

    /* A websocket upgrade of exactly this path goes to open_tunnel, before
     * any routing. Empty: this address takes no tunnels. open_tunnel gets
     * the link with whatever machine it sets, or refuses with an error
     * (INLETS_EAUTH: 401, INLETS_EVERSION: 426, ...) and, where it has better
     * words than the error's, with a static text; or it is INL_ASKED. */
    struct inlets_slice tunnel_path;
    int (*open_tunnel)(void *user, struct inl_link *link,
                       const struct inlets_head *head, struct inl_ask *ask,
                       const char **ret_why);
    void *user;

    /* Proxies in front of us, whose word about a visitor counts; NULL: none.
     * They are outside of what is limited by address. */
    const struct inl_cidr_set *trusted;
    bool forwarded;               /* upstreams get Forwarded (RFC 7239), too */
    struct inlets_slice upgrades; /* beside websocket: with commas between */

    uint32_t head_timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t gateway_timeout_ms;
    /* Without a byte of a request's body: 408. Who takes no byte of an answer
     * for as long is cut: it holds memory, and a tunnel's window. */
    uint32_t body_timeout_ms;
    uint64_t max_body;                   /* of a request: 413; 0: no limit */
    struct inl_http1_limits limits;      /* of heads and trailers: 431 */
    const struct inl_error_pages *pages; /* instead of our words; NULL: none */
    /* On one connection: those that last for ever keep a node from being
     * drained, and their share of memory from being moved. 0: no limit. */
    uint32_t max_requests;

    bool draining; /* answer, then close */
};

void inl_visitor_config_init(struct inl_visitor_config *c);

/* Puts a visitor on a fresh link and into the crowd. One too many is told so
 * (503; 429 when it is its address that has too many), or takes the place of
 * the one that has been idle for longest. On failure the link is closed. */
void inl_visitor_start(const struct inl_visitor_config *config,
                       struct inl_crowd *visitors, struct inl_link *link);

/* Idle connections are closed now, busy ones after their exchange.
 * config->draining is set by the caller. */
void inl_visitors_drain(struct inl_crowd *visitors);
/* Closes all at once; running answers are cut. */
void inl_visitors_close(struct inl_crowd *visitors);

#endif
