/* world.h: exit nodes, dev machines, visitors and origins in one process
 * without sockets: a fake clock, fake pipes, a fake dialer. Everything is
 * decided by the seed.
 *
 *   visitor (raw) === pipe === exit node (link) === pipe === dev machine
 *                                                     === pipe === origin (raw)
 *
 * A pipe has two ends. An end is a link (a machine of the library above it)
 * or raw (a script of the test). All calls that fail end the test. */
#ifndef TEST_WORLD_WORLD_H
#define TEST_WORLD_WORLD_H

#include "base/dial.h"
#include "base/env.h"
#include "base/link.h"
#include "http.h"
#include "relay/failover.h"
#include "relay/guard.h"
#include "relay/gate.h"
#include "relay/local.h"
#include "relay/remote.h"
#include "relay/router.h"
#include "relay/session.h"
#include "relay/upstream.h"
#include "relay/visitor.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_CHECK(condition)                                                 \
    ((condition) ? (void)0 : world_fail(__FILE__, __LINE__, #condition))
_Noreturn void world_fail(const char *file, int line, const char *what);

/* ---- memory ----------------------------------------------------------- */

/* The library's allocator in all world tests: counts, and fails on demand. */
struct world_alloc {
    size_t live;       /* blocks not freed */
    uint64_t calls;    /* so far */
    uint64_t fail_at;  /* this call fails (counted like `calls`); 0: none */
    uint64_t fail_for; /* and so many behind it */
    bool failed;       /* it has */
};
extern struct world_alloc world_alloc;

/* ---- pipes ------------------------------------------------------------ */

struct world;
struct world_pipe;
struct world_end;

/* What the net between two ends is like. */
struct world_net {
    uint32_t latency_ms;
    size_t fragment; /* pieces of 1..N bytes are delivered; 0: what comes */
    size_t rate;     /* bytes a millisecond; 0: no limit */
    size_t buffer;   /* bytes under way before the sender has to wait */
};

struct world_raw_ops {
    void (*rx)(struct world_end *e, const uint8_t *p, size_t n);
    void (*eof)(struct world_end *e); /* may be NULL */
    /* err: ERESET, or 0 after our own close. The last call. May be NULL. */
    void (*gone)(struct world_end *e, int err);
};

struct world_bytes {
    uint8_t *ptr;
    size_t head, len, cap;
};

struct world_packet {
    uint64_t due_ms;
    size_t n;
};

/* One direction: what this end sent. */
struct world_way {
    struct world_bytes bytes;
    size_t arrived; /* of them, the first are at the other side */
    struct world_packet *packets;
    size_t npackets, first_packet, cap_packets;
    uint64_t free_us; /* when the wire is free again */
    uint64_t fin_ms;  /* when the FIN arrives */
    bool fin, fin_taken;
    bool stalled; /* nothing arrives while it is set */
};

struct world_end {
    struct inl_link link; /* if is_link */
    struct world_pipe *pipe;
    struct world_end *other;
    struct world_way way; /* out of this end */
    const struct world_raw_ops *ops;
    void *user;
    struct world_bytes unsent; /* raw: the script is ahead of the wire */
    uint64_t rst_ms;           /* when a RST arrives here; 0: none */
    uint64_t rst_seen_ms;      /* when who does not read notices */
    bool is_link, closed;
    bool paused; /* raw: does not read */
    bool full;   /* link: bytes wait for room in the pipe */
    bool fin_wanted;
};

struct world_pipe {
    struct inl_list node;
    struct world *world;
    struct world_net net;
    struct world_end end[2];
    bool cut; /* nobody can send any more */
};

enum world_cut { WORLD_RST, WORLD_FIN, WORLD_SILENCE };

/* A pipe with both ends raw; make links of them with world_link. */
struct world_pipe *world_pipe(struct world *w, const struct world_net *net);
struct inl_link *world_link(struct world_end *e, const char *peer_ip);
void world_raw(struct world_end *e, const struct world_raw_ops *ops,
               void *user);
void world_write(struct world_end *e, const void *ptr, size_t n);
void world_shutdown(struct world_end *e); /* FIN behind what was written */
void world_close(struct world_end *e, bool reset);
void world_cut(struct world_pipe *p, enum world_cut how);
static inline struct world_end *world_end_of(struct inl_link *l)
{
    return inl_container(l, struct world_end, link);
}

/* For world.c. */
bool world_pipe_step(struct world_pipe *p, unsigned side);
uint64_t world_pipe_due(const struct world_pipe *p);
void world_pipe_free(struct world_pipe *p);
void world_bytes_append(struct world_bytes *b, const void *ptr, size_t n);
void world_bytes_consume(struct world_bytes *b, size_t n);

/* ---- the world -------------------------------------------------------- */

enum world_listen { WORLD_ACCEPT, WORLD_REFUSE, WORLD_IGNORE };

struct world_listener {
    char host[64];
    unsigned port;
    enum world_listen mode;
    void (*accept)(struct world_end *e, void *user);
    void *user;
    struct world_net net;
};

#define WORLD_LISTENERS 16u

struct world {
    struct inl_env env;
    struct inl_dialer dialer;
    uint64_t random_state;
    struct world_net net; /* of new pipes */
    struct inl_list pipes, dials;
    struct world_listener listeners[WORLD_LISTENERS];
    size_t nlisteners;
    struct world_pipe *last_dialed;
    unsigned dials_done;
    char *trace; /* owned */
    size_t trace_len, trace_cap;
    bool traces;
    unsigned errors_logged;
    size_t live_before;
};

struct world *world_new(uint64_t seed);
/* All nodes are closed; runs to the end of all lingering and checks that
 * nothing is left: no link, no timer, no block of memory. */
void world_free(struct world *w);
void world_run(struct world *w, uint64_t ms);
/* Until there is nothing to do now; the clock stands still. */
void world_settle(struct world *w);
uint64_t world_random(struct world *w);
/* 0..n-1 */
size_t world_below(struct world *w, size_t n);

struct world_listener *world_listen(struct world *w, const char *host,
                                    unsigned port,
                                    void (*accept)(struct world_end *, void *),
                                    void *user);

void world_trace_on(struct world *w);
void world_note(struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Compares with test/world/NAME.trace, or writes it if WORLD_REGEN is set. */
void world_expect_trace(struct world *w, const char *name);

/* ---- bodies ----------------------------------------------------------- */

/* Byte `at` of the test body `tag`. */
static inline uint8_t world_byte(unsigned tag, uint64_t at)
{
    return (uint8_t)(at * 131 + (at >> 8) * 7 + (at >> 16) * 13 + tag);
}
#define WORLD_HASH_INIT 14695981039346656037u
uint64_t world_hash(uint64_t hash, const void *ptr, size_t n);
uint64_t world_body_hash(unsigned tag, size_t n);
void world_write_body(struct world_end *e, unsigned tag, size_t n);
/* In chunks of random sizes, with the last one. */
void world_write_chunked(struct world_end *e, unsigned tag, size_t n);

/* ---- nodes ------------------------------------------------------------ */

/* An exit node, as lib/node/server.c puts it together. */
struct world_exit {
    struct world *world;
    struct inl_router router;
    struct inl_failover failover;
    struct inl_guard guard; /* counts all requests, and refuses none */
    struct inl_visitor_config config;
    struct inl_gate gate;
    struct inl_crowd visitors;
    struct world_listener *listener; /* "exit":80 */
    struct world_end *last_tunnel;   /* our end of the newest websocket */
    int last_down;                   /* why the last session ended */
    unsigned downs;
    bool refuses; /* 401 */
};

struct world_exit *world_exit_new(struct world *w);
/* With other settings than the usual. The account of a handshake is its field
 * World-Account. */
void world_exit_config(struct world *w, struct inl_gate_config *config);
struct world_exit *world_exit_new_with(struct world *w,
                                       const struct inl_gate_config *config);
void world_exit_close(struct world_exit *x);
void world_exit_drain(struct world_exit *x);
struct inl_session *world_exit_session(struct world_exit *x); /* the newest */
size_t world_exit_ntunnels(const struct world_exit *x);
void world_exit_accept(struct world_end *e, void *exit);

#define WORLD_ENDPOINTS 8u

struct world_endpoint {
    char text[64];
    struct inl_upstream *upstream;
    struct inl_local local;
    bool is_local;
    struct inl_service *service;
};

/* A dev machine, as lib/node/client.c puts it together. */
struct world_dev {
    struct world *world;
    struct inl_remote remote;
    struct world_endpoint endpoints[WORLD_ENDPOINTS];
    size_t nendpoints;
    struct world_pipe *pipe;       /* the newest that a lane of it got */
    size_t routed;                 /* accepted, in all */
    int last_err;                  /* why the last attempt or session failed */
    unsigned ups, downs;           /* sessions */
    unsigned links;                /* websockets */
    bool closed, over, stays_away; /* no new attempt */
};

struct world_dev *world_dev_new(struct world *w);
/* With other settings than the usual: those of node/client.c that concern the
 * remote. */
void world_dev_config(struct world *w, struct inl_remote_config *config);
struct world_dev *world_dev_new_with(struct world *w,
                                     const struct inl_remote_config *config);
void world_dev_upstream(struct world_dev *d, const char *endpoint,
                        unsigned port, const char *path);
void world_dev_handler(struct world_dev *d, const char *endpoint,
                       inlets_handler_fn handler, void *user);
void world_dev_service(struct world_dev *d, const char *endpoint,
                       struct inl_service *service);
void world_dev_start(struct world_dev *d);
void world_dev_drain(struct world_dev *d);
void world_dev_close(struct world_dev *d);
/* The current one; NULL: none. */
struct inl_session *world_dev_session(struct world_dev *d);

/* ---- visitors --------------------------------------------------------- */

#define WORLD_ANSWERS 80u

struct world_answer {
    unsigned status;
    uint64_t len, hash;
    bool complete;
    bool chunked, has_length, last;
    char trailer[64];
    char head[512];
};

struct world_visitor {
    struct world *world;
    struct world_end *end;
    struct wh http;
    struct world_answer answers[WORLD_ANSWERS];
    size_t nanswers; /* heads that came (1xx not) */
    size_t interim;  /* 1xx */
    bool eof, reset, gone;
    uint64_t raw_len, raw_hash;
    char raw_first[256];
};

struct world_visitor *world_visit(struct world_exit *x);
/* The same on any link machine's raw end. */
struct world_visitor *world_visitor_on(struct world *w, struct world_end *e);
void world_send(struct world_visitor *v, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* One GET of a path; host "app.test". */
void world_get(struct world_visitor *v, const char *path);
void world_visitor_leave(struct world_visitor *v, bool reset);
void world_visitor_free(struct world_visitor *v);
/* The n-th answer is whole, with this status and body. */
void world_expect_answer(struct world_visitor *v, size_t n, unsigned status,
                         uint64_t len, uint64_t hash);
static inline bool world_is_whole(const struct world_visitor *v, size_t n)
{
    return n < v->nanswers && v->answers[n].complete;
}

/* ---- origins ---------------------------------------------------------- */

/* An HTTP server that does what the path says; see origin.c. */
struct world_origin {
    struct world *world;
    struct world_listener *listener; /* "origin":port */
    struct inl_list conns;
    unsigned nconns, nrequests; /* in all */
    unsigned nopen;
    uint64_t body_len, body_hash; /* of the last request body that ended */
    bool body_ended;
    unsigned resets; /* connections that the other side reset */
    char last_head[2048];
    bool close_idle;   /* FIN right behind each answer, kept-alive or not */
    bool die_on_reuse; /* RST at the second request of a connection */
    bool lax;          /* answers what is not HTTP by RST: a fuzzer's */
};

struct world_origin *world_origin_new(struct world *w, unsigned port);
void world_origin_free(struct world_origin *o);
/* Closes all kept-alive connections of it, by FIN or RST. */
void world_origin_drop(struct world_origin *o, bool reset);

/* ---- usual settings --------------------------------------------------- */

/* One exit node, one dev machine at "app.test" with one origin. */
struct world_chain {
    struct world *w;
    struct world_exit *exit;
    struct world_dev *dev;
    struct world_origin *origin;
};

void world_chain_open(struct world_chain *c, uint64_t seed,
                      const struct world_net *net);
/* resume_ms 0: a session falls with its websocket. */
void world_chain_open_with(struct world_chain *c, uint64_t seed,
                           const struct world_net *net, uint32_t resume_ms);
void world_chain_close(struct world_chain *c);

#endif
