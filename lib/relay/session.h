/* session.h: one client's tunnel: its routes, its streams, their credit and
 * schedule, over one lane or several. The same code at both ends: the opener
 * (exit node) opens streams, the answerer (dev machine) serves them. FRAME.md
 * is the protocol.
 *
 * Lane 0 is the session's own: routes and the goodbye go over it, and with it
 * the session ends. The answerer adds others for streams to spread over. A
 * lane that lost its websocket waits for another (`want` asks the answerer's
 * owner to dial; the opener's owner hands in what comes with a ticket). */
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
/* Endpoints of one client, against a table that only grows. A client offers no
 * more; the opener takes SPARE_ROUTES above it, so that one can be offered
 * before the one that it replaces is withdrawn. */
#define INL_SESSION_MAX_ROUTES 1024u
#define INL_SESSION_SPARE_ROUTES 1u
/* Heads and control frames that wait for the link: beyond it new requests get
 * a 503 and large answers are refused, against a link that stands still. */
#define INL_SESSION_CONTROL_BYTES (4u * 1024 * 1024)
/* Beyond this the peer asks for answers without ever reading them. */
#define INL_SESSION_CONTROL_MAX (8u * 1024 * 1024)
/* How long and how many new requests wait for a session that has no websocket
 * now; then 503. Against a crowd that piles up behind a client that may never
 * come back. */
#define INL_SESSION_PARK_MS 2000u
#define INL_SESSION_PARKED_MAX 256u
/* How long a peer may take for its HELLO, against those that open tunnels and
 * say nothing. */
#define INL_SESSION_HELLO_MS 10000u
/* Lanes at once. Numbers are never used again, so there are 256 in all. */
#define INL_SESSION_LANES 8u
#define INL_SESSION_LANES_AUTO 2u
/* A stream that has moved so much is bulk: a lane that carries one is less
 * attractive, and the answerer wants another lane. */
#define INL_SESSION_BULK_BYTES (1024u * 1024)
/* How far a stream's window grows, and from what round trip on: the first
 * window fills a gigabit link of 2 ms, and more bytes under way than needed
 * cost time (they leave the CPU's cache). */
#define INL_SESSION_GROW_RTT_MS 3u
#define INL_SESSION_STREAM_WINDOW_MAX (8u * 1024 * 1024)
/* Streams ended by the peer's RESET in one second (rapid-reset class). */
#define INL_SESSION_MAX_RESETS 20000u

struct inl_session;
struct inl_session_lane;

/* Why the answerer wants a websocket. */
enum inl_want {
    INL_WANT_LOST,  /* the lane has none: at once */
    INL_WANT_DOUBT, /* it has one that does not answer: beside it */
    INL_WANT_MOVE,  /* the opener asks to leave the present one: beside it */
    INL_WANT_MORE   /* a new lane */
};

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
    /* Opener: a visitor wants a stream: 0, or why not. May be NULL. */
    int (*stream)(struct inl_session *s);
    /* Answerer: what the server said to our ROUTE. */
    void (*routed)(struct inl_session *s, uint32_t route, int err,
                   struct inlets_slice text);
    /* Answerer: the service of a route; NULL: none (any more). */
    struct inl_service *(*service)(struct inl_session *s, uint32_t route);
    /* The peer wants no (more) new streams. */
    void (*goaway)(struct inl_session *s, int err, struct inlets_slice text);
    /* Answerer: dial, with inl_session_ticket(lane), and hand the link to
     * inl_session_resume. Asked once per reason; a dial that fails is tried
     * again by the owner, as long as the ticket is still to be had. */
    void (*want)(struct inl_session *s, unsigned lane, enum inl_want why);
    /* A lane lost its websocket (err), has another (0), or, for a lane above
     * 0, is given up (INLETS_ETIMEDOUT). For the log. May be NULL. */
    void (*lane)(struct inl_session *s, unsigned lane, int err);
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
    /* How long a lane waits for another websocket; 0 turns resuming off. The
     * answerer waits no longer than the opener says. */
    uint32_t resume_ms;
    /* Lanes: opener, how many it takes (0: 1); answerer, how many it wants
     * (0: a second one when the first carries bulk). */
    unsigned lanes;
    uint32_t spread_ms; /* opener: for HELLO */
};

enum inl_session_state {
    INL_SESSION_HELLO, /* the peer's HELLO has not come */
    INL_SESSION_OPEN,
    INL_SESSION_DRAINING, /* GOAWAY sent or received: no new streams */
    INL_SESSION_CLOSED
};

/* A lane and the schedule of what goes over it. */
struct inl_session_lane {
    struct inl_lane lane;
    struct inl_session *session;
    unsigned number;
    uint8_t secret[INL_TICKET_SECRET_LEN];
    /* Opener: given out, valid beside `secret` until the answerer shows that
     * it has it. */
    uint8_t next_secret[INL_TICKET_SECRET_LEN];
    bool has_next;

    struct inl_queue control; /* frames that go before all data */
    struct inl_list fresh;    /* streams with data, first window */
    struct inl_list bulk;     /* streams with data, after it */
    unsigned turns;           /* of fresh since bulk had one */
    struct inl_list owing;    /* streams that owe the peer a CREDIT */
    struct inl_list streams;  /* all that go over it */

    uint32_t last_stream; /* highest id that came or went over it */
    size_t nstreams, nbulk;
    bool goaway_sent, goaway_got;
    struct inl_later free;
};

struct inl_session {
    const struct inl_session_ops *ops;
    void *owner;
    struct inl_env *env;
    enum inl_session_role role;
    enum inl_session_state state;
    uint64_t id;           /* for the log */
    struct inl_hello peer; /* valid from OPEN on (agent excepted) */
    struct inl_session_lane *lanes[INL_SESSION_LANES]; /* [0] is lane 0 */
    unsigned nlanes;
    unsigned next_lane; /* number of the next new one */
    unsigned most_lanes, wanted_lanes;
    bool wants_more; /* `want` was called for a new lane */
    struct inl_lane_config lane_config;
    uint32_t resume_ms;
    uint64_t ticket; /* opener: our name in tickets; 0: none */
    uint32_t max_streams;

    struct inl_map streams;
    uint32_t last_stream;   /* highest id opened */
    struct inl_list parked; /* opener: streams that wait for a lane */
    size_t nparked;
    struct inl_timer park_timer, hello_timer;

    uint64_t tx_charged, tx_charged_limit;
    uint64_t rx_charged, rx_charged_limit, rx_charged_told;
    struct inl_timer pressure; /* runs while the window is nearly used up */

    uint64_t resets_ms; /* the second in which resets are counted */
    unsigned resets;

    struct inl_map routes; /* opener: struct session_route by id */
    uint32_t last_route;
    uint64_t streams_served, bytes_in, bytes_out;
    int err; /* why it is over */
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
/* Does every lane have its websocket? */
bool inl_session_is_up(const struct inl_session *s);

/* ---- websockets for lanes --------------------------------------------- */

/* Answerer: what to show in the handshake of a websocket for `lane`. False:
 * there is nothing to resume (any more); only a new session will do. */
bool inl_session_ticket(const struct inl_session *s, unsigned lane,
                        struct inl_ticket *ret_ticket);
/* Answerer: the server answered with a ticket: the link is the lane's. Errors:
 * INLETS_EPROTO (the answer cannot be; the session is closed), INLETS_ENOMEM
 * (try again), INLETS_ECLOSED (the lane is gone): the caller keeps the link. */
int inl_session_resume(struct inl_session *s, struct inl_link *link,
                       const struct inl_ticket *shown,
                       const struct inl_ticket *answer);
/* Answerer: the server does not know the ticket. For lane 0 the session is
 * over; another lane is given up, with its streams. */
void inl_session_forget(struct inl_session *s, unsigned lane);

/* Opener: would this ticket be taken? 0 and what to answer (the secret is
 * new each time), or INLETS_EUNAVAILABLE. */
int inl_session_check_ticket(struct inl_session *s,
                             const struct inl_ticket *shown,
                             struct inl_ticket *ret_answer);
/* Opener: right behind it, once the 101 is in link->out. INLETS_ENOMEM: the
 * caller keeps the link. */
int inl_session_take(struct inl_session *s, struct inl_link *link,
                     const struct inl_ticket *shown,
                     const struct inl_ticket *answer);
/* Opener: asks the answerer to move every lane to a fresh websocket. */
void inl_session_rotate(struct inl_session *s);
/* Opener: a new spread for the first retry. */
void inl_session_tell_spread(struct inl_session *s, uint32_t spread_ms);

#endif
