/* flow.h: one side of an HTTP exchange. Two ends are tied back to back; what
 * one end does arrives at the other as a call of its ops.
 *
 *      caller (has the request)          callee (has the response)
 *      request body, end, stop   ---->
 *                                <----   heads (1xx..., final), body, end, stop
 *      credit for the response   ---->
 *                                <----   credit for the request body
 *
 * The request head is the argument of inl_service_open(), where the ends are
 * tied. After a head with status 101 the bodies are raw bytes both ways and
 * `end` is a half-close.
 *
 * Credit: nobody sends a body byte without credit from the one who consumes.
 * Tying gives each end INL_FLOW_WINDOW; inl_flow_credit() gives more as
 * bytes have been passed on. So each hop holds at most one window per
 * direction, and no body is ever held whole.
 *
 * Ends of an exchange:
 *   both sides called end     untied; complete
 *   one side called stop(e)   untied; the other gets stop(e), its last call
 * A callee that has ended its response and does not want the rest of the
 * request calls stop(0): "complete for me" (an early response).
 * After it is untied (peer == NULL) every inl_flow_ call is harmless.
 *
 * A callback may do anything, including stop: look at f->peer after each
 * call that leaves this file. Nothing is freed inside a callback. */
#ifndef INL_RELAY_FLOW_H
#define INL_RELAY_FLOW_H

#include <inlets/err.h>
#include <inlets/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an end may send before it is granted more (TUNNEL.md: the first
 * stream window). */
#define INL_FLOW_WINDOW (256u * 1024)

struct inl_flow;

/* Events arriving AT an end, from its peer. */
struct inl_flow_ops {
    /* A response head; several if 1xx. Never at a callee's end. */
    void (*head)(struct inl_flow *f, const struct inlets_head *head);
    /* Body bytes; data.len > 0 and within the credit that we gave. */
    void (*body)(struct inl_flow *f, struct inlets_slice data);
    /* The peer's direction is complete. trailers is NULL when there are none.
     * f->peer == NULL means: ours was too, the exchange is over. */
    void (*end)(struct inl_flow *f, const struct inlets_head *trailers);
    /* The peer is gone (already untied). The last call. */
    void (*stop)(struct inl_flow *f, int err);
    /* We may send `bytes` more. Comes after our end too: what was held for
     * us is free again. */
    void (*credit)(struct inl_flow *f, size_t bytes);
    /* The way to the peer is broken for now (held), or is there again: let
     * timeouts that wait for the peer stand still. May be NULL. */
    void (*hold)(struct inl_flow *f, bool held);
};

struct inl_flow {
    const struct inl_flow_ops *ops;
    struct inl_flow *peer; /* NULL: untied */
    size_t tx_credit;      /* body bytes that we may still send */
    bool tx_ended;         /* we called end */
    bool head_sent;        /* callee: the final response head went out */
};

void inl_flow_init(struct inl_flow *f, const struct inl_flow_ops *ops);
void inl_flow_tie(struct inl_flow *caller, struct inl_flow *callee);

/* `to` (untied) takes the place of `from` in its exchange. */
void inl_flow_move(struct inl_flow *to, struct inl_flow *from);

/* Unties without a word to the peer. */
void inl_flow_untie(struct inl_flow *f);
/* A go-between steps aside: the peers of `a` and `b` are tied to each other;
 * their credit and ends stay as they are, so nothing may be on its way
 * inside the go-between. */
void inl_flow_join(struct inl_flow *a, struct inl_flow *b);

static inline bool inl_flow_tied(const struct inl_flow *f)
{
    return f->peer != NULL;
}

/* Things to do AS an end; each arrives at the peer. */
void inl_flow_head(struct inl_flow *f, const struct inlets_head *head);
/* data.len <= f->tx_credit; an empty slice does nothing. */
void inl_flow_body(struct inl_flow *f, struct inlets_slice data);
void inl_flow_end(struct inl_flow *f, const struct inlets_head *trailers);
void inl_flow_stop(struct inl_flow *f, int err);
void inl_flow_credit(struct inl_flow *f, size_t bytes);
void inl_flow_hold(struct inl_flow *f, bool held);
/* We may send `bytes` more, although the peer has not asked: for an end that
 * itself bounds what its peers hold (a session, whose window grows). */
void inl_flow_widen(struct inl_flow *f, size_t bytes);

/* Pays credit for bytes that have left us: *unpaid body bytes were put into
 * an out queue that now holds `waiting` bytes (framing included). Gathers
 * small payments. */
void inl_flow_credit_sent(struct inl_flow *f, size_t *unpaid, size_t waiting);

#endif
