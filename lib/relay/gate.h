/* gate.h: where the websockets of clients come into an exit node: everything
 * between "a visitor's request is a websocket upgrade of the tunnel path" and
 * "a session has the link". It checks the handshake, takes the tickets of
 * clients that come back (FRAME.md section 1), makes sessions for the others,
 * tells them how far apart to come back (spread), and asks them now and then
 * for fresh websockets (rotation).
 *
 * The gate owns the clients. Who may be one, and what becomes of the
 * endpoints that they offer, is the owner's business. */
#ifndef INL_RELAY_GATE_H
#define INL_RELAY_GATE_H

#include "proto/json_accounts.h"
#include "proto/tls.h"
#include "relay/ask.h"
#include "relay/session.h"

/* From this many clients on they are spread over N / 50 seconds when the
 * server comes back: 50 connects a second, and twice that when some of them
 * do not wait (lanes with requests in flight). */
#define INL_GATE_SPREAD_CLIENTS 50u
#define INL_GATE_SPREAD_MS_EACH 20u

/* Room for a label of a host, with NUL (RFC 1035 2.3.4). */
#define INL_GATE_NAME 64u

struct inl_account;
struct inl_gate;

/* Whose handshake it is. */
struct inl_gate_identity {
    char account[INL_ACCOUNT_NAME_MAX + 1]; /* "": the only one there is */
    uint8_t proof[INL_SHA256_LEN];          /* digest of what showed it */
    int64_t until_s;          /* what showed it is valid; 0: for ever */
    struct inl_ip from;       /* where it came from */
    bool has_peer;            /* it has shown a certificate, which was right */
    struct inl_tls_peer peer; /* then */
};

/* A client: a session that came through the gate. */
struct inl_gate_client {
    struct inl_list node; /* in gate->clients, in order of coming */
    struct inl_map_node by_ticket;
    struct inl_gate *gate;
    struct inl_session *session; /* owned */
    struct inl_later free;
    struct inl_timer rotation;
    uint64_t since_ms;
    size_t spread_over; /* clients there were when it was told its spread */
    /* Lanes that have no websocket now, and since when; for the log. */
    struct {
        unsigned lane;
        uint64_t at_ms;
    } lost[INL_SESSION_LANES];
    unsigned nlost;
    char remote[64];                /* of its newest websocket */
    struct inl_gate_identity shown; /* by its newest handshake */
    struct inl_account *account;    /* the owner's; NULL: it has none */
    struct inl_list of_account; /* the owner's; linked: `forget` is called */
    char name[INL_GATE_NAME];   /* the owner's */
};

struct inl_gate_ops {
    /* Whose handshake is it? 0, or INLETS_EAUTH, INLETS_EFORBIDDEN,
     * INLETS_ETOOMANY, with better words (static) or without; or INL_ASKED.
     * Asked for every websocket, first of all. */
    int (*authorise)(struct inl_gate *g, const struct inl_link *link,
                     const struct inlets_head *head, struct inl_ask *ask,
                     struct inl_gate_identity *ret_shown, const char **ret_why);
    /* A new client, before its 101: may it come (too)? It may link itself by
     * of_account. INLETS_ELIMIT. May be NULL. */
    int (*admit)(struct inl_gate_client *c, const char **ret_why);
    /* It is no client any more. May be NULL if admit is. */
    void (*forget)(struct inl_gate_client *c);
    /* A visitor wants a stream of it: 0, or why not. May be NULL. */
    int (*stream)(struct inl_gate_client *c);
    /* A link that is about to carry a lane. May be NULL. */
    void (*tune)(struct inl_gate *g, struct inl_link *link);
    /* As in inl_session_ops. goaway and down may be NULL. */
    int (*route)(struct inl_gate_client *c, struct inl_target *target,
                 const struct inl_endpoint *endpoint, struct inlets_slice text,
                 struct inlets_slice *ret_text);
    void (*unroute)(struct inl_gate_client *c, struct inl_target *target,
                    struct inlets_slice text);
    void (*goaway)(struct inl_gate_client *c, int err,
                   struct inlets_slice text);
    /* The client is freed at the end of the turn. */
    void (*down)(struct inl_gate_client *c, int err);
};

struct inl_gate_config {
    const struct inl_gate_ops *ops;
    struct inl_env *env;
    void *owner;
    struct inl_lane_config lane;
    uint32_t max_streams;
    struct inlets_slice agent; /* static */
    uint32_t resume_ms;        /* 0: a websocket lost is a session lost */
    uint32_t rotate_ms; /* ask for fresh websockets that often; 0: never */
    unsigned lanes;     /* that a client may have at once; 0: 1 */
};

/* Embedded in its owner. */
struct inl_gate {
    struct inl_gate_config config;
    struct inl_list clients;
    struct inl_map by_ticket;
    size_t nclients;
    size_t spread_over; /* no client was told a spread for fewer than these */
    bool draining;      /* no new sessions; tickets are taken */
    bool closed;        /* nothing is taken */
};

void inl_gate_init(struct inl_gate *g, const struct inl_gate_config *config);
/* All clients are gone. */
void inl_gate_fini(struct inl_gate *g);

/* A handshake: for inl_visitor_config.open_tunnel. 0: the link is a session's
 * (or, out of memory half-way, has been reset). Refused, the link is still the
 * visitor's: INLETS_EAUTH or what authorise says; INLETS_EVERSION,
 * INLETS_EBADMESSAGE (also a malformed ticket); INLETS_EUNAVAILABLE (a ticket
 * for a lane above 0 that is not taken); INLETS_EGOAWAY; INLETS_ENOMEM. Not
 * known yet: INL_ASKED. */
int inl_gate_open(struct inl_gate *g, struct inl_link *link,
                  const struct inlets_head *head, struct inl_ask *ask,
                  const char **ret_why);

/* Is it one of ours who asks, whatever else is wrong with the request? Who
 * names no subprotocol may be a browser's websocket. */
bool inl_gate_is_client(const struct inlets_head *head);

/* Asks all clients for fresh websockets: a few at once, many spread out.
 * Returns how many are asked. */
size_t inl_gate_rotate(struct inl_gate *g);
/* Tells all clients to go elsewhere. */
void inl_gate_drain(struct inl_gate *g, struct inlets_slice text);
/* Requests in flight of all clients, also of those that have no websocket
 * now. */
size_t inl_gate_nstreams(struct inl_gate *g);
/* Ends one: it may not go on (err, text). Requests in flight end with it. */
void inl_gate_expel(struct inl_gate_client *c, int err,
                    struct inlets_slice text);
/* Ends all sessions now; `down` follows for each. */
void inl_gate_close(struct inl_gate *g);

#endif
