/* remote.h: one exit node that a client follows: its reconnecting, its
 * websockets, and the sessions that came of them. No sockets: a dialer, an
 * uplink and a session are all it uses, so the world tests run it with fake
 * time.
 *
 * A remote has one current session, which takes new requests; one that the
 * server asked to leave (GOAWAY) lives on beside it until its requests have
 * ended. Every lane of a session has a line: what dials for it, at once when
 * it is lost, beside its websocket when that is in doubt or should be left.
 * The line `home` is permanent: lane 0 of the current session, and whatever
 * session comes next.
 *
 * Nothing is freed inside a callback, so every callback may call anything. */
#ifndef INL_RELAY_REMOTE_H
#define INL_RELAY_REMOTE_H

#include "base/dial.h"
#include "relay/reconnect.h"
#include "relay/session.h"
#include "relay/uplink.h"

struct inl_remote;

/* A lane is lost while it is dialed for already: an attempt that is so old
 * went the way that just died, and is begun anew. */
#define INL_REMOTE_STALE_MS 1000u
/* A lane with requests in flight is dialed for at least so often (with full
 * jitter): a growing backoff would miss the end of an outage, and with it the
 * resume window. */
#define INL_REMOTE_URGENT_MS 1000u
/* Its first attempt is at once, whatever the crowd; those behind it are this
 * far apart at least, if the crowd's spread is as long: a server that is dead
 * must not have thousands of urgent lanes knock several times a second. Four
 * or more attempts fit into the usual resume window. */
#define INL_REMOTE_URGENT_SPREAD_MS 2000u
/* A server that was restarted has few clients at first and tells them a small
 * spread, or none, while its thousand are still on their way. So a smaller
 * one is believed only from a session that has lasted longer than all of them
 * take to return; should the server die again before, the old one holds. */
#define INL_REMOTE_SPREAD_KEPT_MS 60000u
/* A server must not be able to send its clients away for days: 15,000 clients
 * at 50 a second. */
#define INL_REMOTE_SPREAD_MAX_MS 300000u

enum inl_remote_state {
    INL_REMOTE_IDLE,
    INL_REMOTE_DIALING, /* no session; an attempt is under way */
    INL_REMOTE_UP,      /* a session, though it may lack a websocket just now */
    INL_REMOTE_WAITING, /* no session; the next attempt has a date */
    INL_REMOTE_STOPPED  /* drains, is closed, or gave up */
};

struct inl_remote_ops {
    /* A new session is about to begin: inl_session_offer what there is. An
     * error ends it, and it is tried again. */
    int (*offer)(struct inl_remote *r, struct inl_session *s);
    /* The current session's server said hello. */
    void (*hello)(struct inl_remote *r);
    /* What it said to our ROUTE. */
    void (*routed)(struct inl_remote *r, uint32_t route, int err,
                   struct inlets_slice text);
    /* The service of a route; NULL: none (any more). */
    struct inl_service *(*service)(struct inl_remote *r, uint32_t route);
    /* Something was lost (err), or the server refused us (then r->refused is
     * set), or another websocket is wanted (0). False: no new attempt. */
    bool (*may_retry)(struct inl_remote *r, int err);
    /* Its state may be another; err says why. */
    void (*changed)(struct inl_remote *r, int err);
    /* After drain or close: nothing of it is left. From `later`, so that it
     * can be freed. Its last call. */
    void (*over)(struct inl_remote *r);
    /* For tests; may be NULL: a lane has this websocket; a session ended. */
    void (*linked)(struct inl_remote *r, struct inl_link *link);
    void (*down)(struct inl_remote *r, int err);
};

/* Strings are borrowed and outlive the remote. */
struct inl_remote_config {
    const struct inl_remote_ops *ops;
    struct inl_env *env;
    struct inl_dialer *dialer;
    const char *host; /* to connect to: a name or an address */
    unsigned port;
    struct inlets_slice authority; /* for the Host field */
    struct inlets_slice target;    /* "/tunnel" */
    struct inlets_slice agent;
    /* For Authorization, as they are at each handshake. */
    const struct inlets_slice *credentials;
    struct inlets_slice label; /* for the log */
    uint32_t connect_timeout_ms, retry_max_ms, refused_retry_ms;
    struct inl_lane_config lane;
    uint32_t max_streams;
    uint32_t resume_ms; /* 0: a session falls with its websocket */
    unsigned lanes;     /* 0: a second one when the first carries bulk */
    bool bbr;
    bool stays_here; /* see struct inl_dial */
};

struct inl_remote_tunnel {
    struct inl_list node; /* remote->tunnels */
    struct inl_remote *remote;
    struct inl_session *session; /* owned */
    uint64_t since_ms;
    int lost_err; /* why a lane lost its websocket last */
    struct inl_later free;
};

struct inl_remote_line {
    struct inl_list node; /* remote->lines, but for home */
    struct inl_remote *remote;
    struct inl_remote_tunnel *tunnel; /* whose lane; NULL: a new session's */
    unsigned lane;
    struct inl_reconnect reconnect;
    struct inl_uplink uplink;
    struct inl_ticket ticket; /* shown by the present attempt */
    uint64_t began_ms;        /* the present attempt */
    uint64_t lost_ms;         /* since when it has no websocket; 0: it has */
    bool beside; /* the attempt is beside a websocket: to fail is nothing */
    struct inl_later free;
};

/* Embedded in its owner. */
struct inl_remote {
    struct inl_remote_config config;
    struct inl_remote_line home;
    struct inl_list lines;
    struct inl_list tunnels;           /* struct inl_remote_tunnel.node */
    struct inl_remote_tunnel *current; /* NULL: none */
    struct inl_dial_known known;       /* where it was found before */
    uint32_t spread_ms;                /* what the server said last */
    int refused; /* why it refused us last; 0 after a hello */
    bool draining, closed, is_over;
    bool said_bbr; /* that BBR is not to be had, once */
    struct inl_later over;
};

void inl_remote_init(struct inl_remote *r,
                     const struct inl_remote_config *config);
/* After `over`, or if it was never started. */
void inl_remote_fini(struct inl_remote *r);
void inl_remote_start(struct inl_remote *r);
/* No new requests and no new session; lost lanes are still resumed. `over`
 * follows when the running requests have ended. */
void inl_remote_drain(struct inl_remote *r, struct inlets_slice text);
/* Cuts what runs; `over` follows. */
void inl_remote_close(struct inl_remote *r);

/* Lane 0 moves to a fresh websocket, so that the server sees a handshake with
 * what is in config now. Nothing without a session, or without resuming. */
void inl_remote_refresh(struct inl_remote *r);

enum inl_remote_state inl_remote_state(const struct inl_remote *r);
/* NULL: none. */
struct inl_session *inl_remote_session(const struct inl_remote *r);

#endif
