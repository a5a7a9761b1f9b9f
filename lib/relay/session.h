/* session.h: one client's tunnel: its routes, its streams, their credit and
 * schedule, over a lane. The same code at both ends: the opener (exit node)
 * opens streams, the answerer (dev machine) serves them. FRAME.md is the
 * protocol. */
#ifndef INL_RELAY_SESSION_H
#define INL_RELAY_SESSION_H

#include "base/map.h"
#include "relay/lane.h"
#include "relay/router.h"
#include "relay/service.h"

enum inl_session_role { INL_SESSION_OPENER, INL_SESSION_ANSWERER };

/* Charged bytes that may be under way before credit: bounds what all streams
 * of one tunnel can make us hold. */
#define INL_SESSION_WINDOW (16u * 1024 * 1024)
/* Uncharged first bytes of each direction of a stream, so that stalled
 * streams cannot use up the room of new ones. */
#define INL_STREAM_FREE_BYTES (16u * 1024)
/* With less than this of the session window left, streams that have not moved
 * for STALL_MS are ended, the longest-stalled first, until RELIEF is free: who
 * does not read must not shut out who does. */
#define INL_SESSION_PRESSURE_BYTES (64u * 1024)
#define INL_SESSION_RELIEF_BYTES (4u * 1024 * 1024)
#define INL_SESSION_STALL_MS 2000u
/* Endpoints of one client, against a table that only grows. */
#define INL_SESSION_MAX_ROUTES 1024u
/* Heads and control frames that wait for the link: beyond it new requests get
 * a 503 and large answers are refused, against a link that stands still. */
#define INL_SESSION_CONTROL_BYTES (4u * 1024 * 1024)
/* Beyond this the peer asks for answers without ever reading them. */
#define INL_SESSION_CONTROL_MAX (8u * 1024 * 1024)
/* Streams ended by the peer's RESET in one second (rapid-reset class). */
#define INL_SESSION_MAX_RESETS 20000u

struct inl_session;

struct inl_session_ops {
    /* The peer said hello. */
    void (*hello)(struct inl_session *s, const struct inl_hello *hello);
    /* Opener: the client offers an endpoint. 0 takes it (target is then the
     * caller's to route), an error refuses it with `text`. */
    int (*route)(struct inl_session *s, struct inl_target *target,
                 const struct inl_endpoint *endpoint,
                 struct inlets_slice endpoint_text,
                 struct inlets_slice *ret_text);
    /* Opener: it is taken back (also for all, before `down`). */
    void (*unroute)(struct inl_session *s, struct inl_target *target,
                    struct inlets_slice endpoint_text);
    /* Answerer: what the server said to our ROUTE. */
    void (*routed)(struct inl_session *s, uint32_t route, int err,
                   struct inlets_slice text);
    /* Answerer: the service of a route; NULL: none (any more). */
    struct inl_service *(*service)(struct inl_session *s, uint32_t route);
    /* The peer wants no (more) new streams. */
    void (*goaway)(struct inl_session *s, int err, struct inlets_slice text);
    /* The session is over and all its streams are stopped. The owner frees
     * it with inl_session_free, from `later`. */
    void (*down)(struct inl_session *s, int err);
};

struct inl_session_config {
    const struct inl_session_ops *ops;
    void *owner;
    enum inl_session_role role;
    struct inl_lane_config lane;
    uint32_t max_streams;      /* that we accept or open at once */
    struct inlets_slice agent; /* static */
};

enum inl_session_state {
    INL_SESSION_HELLO, /* the peer's HELLO has not come */
    INL_SESSION_OPEN,
    INL_SESSION_DRAINING, /* GOAWAY sent or received: no new streams */
    INL_SESSION_CLOSED
};

struct inl_session {
    const struct inl_session_ops *ops;
    void *owner;
    struct inl_env *env;
    enum inl_session_role role;
    enum inl_session_state state;
    uint64_t id; /* for the log */
    struct inl_lane lane;
    struct inl_hello peer; /* valid from OPEN on (agent excepted) */
    uint32_t max_streams;

    struct inl_map streams;
    uint32_t last_stream;     /* highest id opened */
    struct inl_queue control; /* frames that go before all data */
    struct inl_list fresh;    /* streams with data, first window */
    struct inl_list bulk;     /* streams with data, after it */
    unsigned turns;           /* of fresh since bulk had one */
    struct inl_list owing;    /* streams that owe the peer a CREDIT */

    uint64_t tx_charged, tx_charged_limit;
    uint64_t rx_charged, rx_charged_limit, rx_charged_told;
    struct inl_timer pressure; /* runs while the window is nearly used up */

    uint64_t resets_ms; /* the second in which resets are counted */
    unsigned resets;

    struct inl_map routes; /* opener: struct session_route by id */
    uint64_t streams_served, bytes_in, bytes_out;
    bool goaway_sent, goaway_got;
};

/* NULL when out of memory. */
struct inl_session *inl_session_new(struct inl_env *env,
                                    const struct inl_session_config *config);
/* Not from inside a callback of the session; after `down`, or before a
 * link was attached. */
void inl_session_free(struct inl_session *s);
/* The websocket is up: HELLO goes out. INLETS_ENOMEM. */
int inl_session_attach(struct inl_session *s, struct inl_link *link);

/* Answerer: offers an endpoint. INLETS_ENOMEM. */
int inl_session_offer(struct inl_session *s, uint32_t route,
                      struct inlets_slice endpoint);
int inl_session_withdraw(struct inl_session *s, uint32_t route);

/* No new streams; closes cleanly when the running ones have ended. */
void inl_session_drain(struct inl_session *s, int err,
                       struct inlets_slice text);
/* Ends it now: all streams are stopped with err, `down` follows. */
void inl_session_close(struct inl_session *s, int err);

size_t inl_session_nstreams(const struct inl_session *s);

#endif
