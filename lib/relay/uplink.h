/* uplink.h: one attempt of a client to reach the exit node: dial, websocket
 * handshake (RFC 6455 section 4.1), result. */
#ifndef INL_RELAY_UPLINK_H
#define INL_RELAY_UPLINK_H

#include "base/dial.h"
#include "base/env.h"
#include "proto/http1.h"
#include "proto/ticket.h"
#include "proto/websocket.h"

struct inl_uplink;

struct inl_uplink_config {
    struct inl_env *env;
    struct inl_dialer *dialer;
    const char *host; /* to connect to; outlives the uplink */
    unsigned port;
    struct inl_dial_known *known;  /* of host; outlives the uplink, or NULL */
    struct inlets_slice authority; /* for the Host field */
    struct inlets_slice target;    /* "/tunnel" */
    struct inlets_slice agent;
    uint32_t timeout_ms; /* for all of it */
    bool stays_here;     /* see struct inl_dial */
    /* The websocket is open: set a machine on the link before returning.
     * Bytes that came behind the 101 are fed to it. u->answered says whether
     * the server took the ticket, with u->answer; else this websocket is for
     * a new session. */
    void (*up)(struct inl_uplink *u, struct inl_link *link);
    /* err: EAUTH (401), EFORBIDDEN (403), EHANDSHAKE (another answer),
     * ETIMEDOUT, or the dialer's. status: of the server's answer, or of a
     * proxy's (then u->dial.said has its words), or 0. step: what failed. */
    void (*failed)(struct inl_uplink *u, int err, unsigned status,
                   const char *step);
};

/* Embedded in its owner. */
struct inl_uplink {
    struct inl_uplink_config config;
    struct inl_dial dial;
    struct inl_link *link; /* while shaking hands */
    struct inl_http1 http;
    struct inl_timer timer;
    char key[INL_WS_KEY_LEN];
    const struct inlets_slice *credentials;
    const struct inl_ticket *ticket; /* borrowed during the attempt */
    struct inl_ticket answer;        /* valid in `up` if answered */
    bool done, switched, answered;
    unsigned status;
    int err; /* that the answer's head gave */
};

void inl_uplink_init(struct inl_uplink *u,
                     const struct inl_uplink_config *config);
void inl_uplink_fini(struct inl_uplink *u);
/* One attempt at a time. credentials: for Authorization, may be empty; ticket:
 * the lane that the websocket is for, or NULL. Both are used when connected, so
 * they must live, and may be brought up to date, until the attempt ends. */
void inl_uplink_start(struct inl_uplink *u,
                      const struct inlets_slice *credentials,
                      const struct inl_ticket *ticket);
/* Ends an attempt without a word. Idempotent. */
void inl_uplink_cancel(struct inl_uplink *u);

#endif
