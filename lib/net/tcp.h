/* net/tcp.h: the carrier of links: one uv_tcp_t, or a uv_pipe_t for a socket in
 * the file system, which is the same but for what only TCP has. */
#ifndef INL_NET_TCP_H
#define INL_NET_TCP_H

#include "base/link.h"
#include "net/loop.h"

struct inl_tcp {
    struct inl_link link; /* first */
    struct inl_loop *loop;
    union {
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    bool is_unix; /* it is `pipe` */
    uv_write_t write;
    uv_shutdown_t shutdown;
    size_t write_bytes; /* in flight in `write`; 0: none */
    /* What is in flight, by reference: link.out is dropped when the link
     * closes, but libuv reads these bytes until the write's callback. */
    struct inl_queue sending;
    bool reading, shutting, released;
    bool resets_if_lost; /* SO_LINGER is set for a guarded link */
    int tx_err; /* writing failed; what the peer sent before is still read */
    struct inl_timer watch; /* is a paused peer still there? */
    /* TCP_NOTSENT_LOWAT, and since when and from where the rate is measured. */
    unsigned lowat;
    uint64_t rate_at_ms, rate_from;
};

/* A fresh socket that is not connected; NULL: out of memory or descriptors
 * (then *ret_err). The caller connects or accepts on &tcp->tcp, then calls
 * inl_tcp_started, or inl_tcp_discard. */
struct inl_tcp *inl_tcp_new(struct inl_loop *loop, int *ret_err);
/* The same for uv_pipe_open on &t->pipe. */
struct inl_tcp *inl_tcp_new_unix(struct inl_loop *loop, int *ret_err);
/* Connected: TCP_NODELAY, names of the peer; may be given a machine now.
 * Reading starts at the end of the turn. */
void inl_tcp_started(struct inl_tcp *t);
void inl_tcp_discard(struct inl_tcp *t);

#endif
