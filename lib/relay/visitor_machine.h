/* visitor_machine.h: the inside of visitor.h: the connection (visitor.c), one
 * request on it with its answer (visitor_exchange.c), handshakes of tunnels
 * (visitor_tunnel.c), and answers of our own (visitor_answer.c). For these four
 * files only. */
#ifndef INL_RELAY_VISITOR_MACHINE_H
#define INL_RELAY_VISITOR_MACHINE_H

#include "base/list.h"
#include "proto/http1.h"
#include "relay/permit.h"
#include "relay/visitor.h"

/* A FIN while an answer is due: a half-close (RFC 9112 9.6) or somebody who
 * left? With nothing to take and for this long, it has left. */
#define INL_VISITOR_FIN_GRACE_MS 750u

enum inl_visitor_state {
    INL_VISITOR_IDLE,
    INL_VISITOR_HEAD,
    INL_VISITOR_KNOCKING,
    INL_VISITOR_BUSY,
    INL_VISITOR_RAW,
    INL_VISITOR_LEAVING,
    INL_VISITOR_GONE,
    INL_VISITOR_NSTATES
};

/* One request and its answer. */
struct inl_visitor_exchange {
    uint64_t started_ms;
    uint64_t bytes_in, bytes_out;
    int64_t left;  /* declared response bytes still due; -1: not known */
    size_t unpaid; /* response bytes that credit is due for */
    unsigned status;
    int err;
    const char *limit; /* that struck, for the log; NULL: none */
    enum inl_http1_framing framing;
    bool is_head;      /* HEAD: the answer has no body */
    bool expects;      /* the body comes after our 100, or never */
    bool keep_alive;   /* after this exchange */
    bool request_done; /* all of it was read */
    bool no_request_body;
    bool upgrade;   /* a 101 may come */
    bool responded; /* the final head is out */
    bool response_done;
    bool held;        /* the way to the upstream is broken for now */
    uint64_t left_ms; /* of the timeout that stands still meanwhile */
    struct inl_permit permit;
    /* Into text. remote: whose request it is, which a trusted proxy says. */
    struct inlets_slice id, method, host, path, remote;
    struct inlets_slice protocol; /* that an upgrade asks for; empty: none */
    char text[];
};

/* A handshake that waits for an answer. */
struct inl_visitor_knock {
    struct inl_visitor *visitor;
    struct inl_ask ask;
    struct inlets_head *head; /* owned */
};

struct inl_visitor {
    struct inl_crowd_member member;
    const struct inl_visitor_config *config;
    struct inl_env *env;
    struct inl_link *link; /* NULL when gone */
    enum inl_visitor_state state;
    struct inl_http1 http;
    struct inl_flow flow;           /* our end: the caller */
    struct inl_visitor_exchange *x; /* owned; NULL when none */
    struct inl_visitor_knock *knock; /* owned; NULL but when KNOCKING */
    struct inl_queue held;
    struct inl_timer timer;
    struct inl_timer taking; /* while an answer is on its way */
    uint64_t taken;          /* bytes, when we looked last */
    unsigned taking_left;    /* times to look before it is cut */
    struct inl_timer look;   /* while reading is paused */
    uint64_t look_bytes;     /* that had moved when we looked last */
    unsigned look_left;      /* times that the visitor was not there */
    uint32_t requests;       /* so far */
    struct inl_later resume, free;
    bool trusted;   /* it is a proxy whose word counts */
    bool eof;       /* the visitor sends no more */
    bool feeding;   /* in the parser: it must not be reset now */
    bool over;      /* the exchange ended meanwhile */
    bool hand_over; /* the link belongs to a tunnel now */
};

/* ---- the connection (visitor.c) --------------------------------------- */

void inl_visitor_move(struct inl_visitor *v, enum inl_visitor_state to);
/* No more requests on this connection: flush, FIN, wait for the visitor. */
void inl_visitor_leave(struct inl_visitor *v);
/* The link has another machine now; what the visitor has sent behind its
 * handshake is dropped. */
void inl_visitor_give_link(struct inl_visitor *v);
/* For the next request. */
void inl_visitor_start_waiting(struct inl_visitor *v);
/* A part of an answer is about to be written: the visitor has to take it. */
void inl_visitor_begin_write(struct inl_visitor *v);

/* ---- one request (visitor_exchange.c) --------------------------------- */

extern const struct inl_http1_ops inl_visitor_http_ops;
extern const struct inl_flow_ops inl_visitor_flow_ops;

/* The exchange, if there is one, is logged and forgotten. */
void inl_visitor_drop_exchange(struct inl_visitor *v);
/* Both directions are done, or nothing more can be: the next one, please. */
void inl_visitor_exchange_over(struct inl_visitor *v);
/* The answer cannot be completed: what went out must not look whole. */
void inl_visitor_cut(struct inl_visitor *v, int err);

/* ---- one who wants to be a tunnel (visitor_tunnel.c) --------------------- */

bool inl_visitor_is_tunnel(const struct inl_visitor *v,
                           const struct inlets_head *head);
/* v->hand_over: it is one now. Else it is refused, or KNOCKING. */
void inl_visitor_start_tunnel(struct inl_visitor *v,
                              const struct inlets_head *head);
/* What it asks for is not to be answered any more. */
void inl_visitor_drop_knock(struct inl_visitor *v);

/* ---- answers of our own (visitor_answer.c) ------------------------------ */

/* Fills text and returns it. */
struct inlets_slice inl_visitor_new_id(struct inl_env *env,
                                       char text[INL_REQUEST_ID_LEN]);
/* The Connection line for a final answer, may be empty. */
struct inlets_slice inl_visitor_connection(const struct inl_visitor *v);
/* A request that never became one: answer, log and leave. */
void inl_visitor_refuse(struct inl_visitor *v, unsigned status,
                        const char *why);
/* The same for a tunnel's: to a program, which has no use for pages. */
void inl_visitor_refuse_tunnel(struct inl_visitor *v, unsigned status,
                               const char *why);
/* A connection that was one too many: the same, with fewer lines in the log
 * than connections. */
void inl_visitor_turn_away(struct inl_visitor *v,
                           enum inl_crowd_verdict verdict);
/* The service failed before its head. */
void inl_visitor_answer_error(struct inl_visitor *v, int err);
/* The visitor has: no head was sent yet. */
void inl_visitor_answer_status(struct inl_visitor *v, int err, unsigned status);

#endif
