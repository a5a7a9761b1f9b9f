/* frame.h: the tunnel protocol's frames; see FRAME.md beside this file for
 * the specification. Encoding appends to a queue, decoding is incremental
 * and takes any split of the bytes. */
#ifndef INL_PROTO_FRAME_H
#define INL_PROTO_FRAME_H

#include "base/queue.h"
#include "proto/ticket.h"
#include <inlets/err.h>
#include <inlets/types.h>
#include <stdbool.h>
#include <stdint.h>

/* Header: type (1) flags (1) payload length (3) stream (4), big endian. */
#define INL_FRAME_HEADER 9u
#define INL_FRAME_MAX_DATA 16384u       /* DATA payload */
#define INL_FRAME_MAX_HEAD (72u * 1024) /* OPEN, HEAD, TRAILERS payload */
#define INL_FRAME_MAX_CONTROL 4096u     /* any other */

enum inl_frame_type {
    INL_FRAME_HELLO = 0x01,    /* stream 0; first, each way */
    INL_FRAME_ROUTE = 0x02,    /* stream 0; client: I serve this */
    INL_FRAME_UNROUTE = 0x03,  /* stream 0; client: no more */
    INL_FRAME_ROUTED = 0x04,   /* stream 0; server: accepted or refused */
    INL_FRAME_OPEN = 0x05,     /* request head; opens the stream */
    INL_FRAME_HEAD = 0x06,     /* response head, 1xx or final */
    INL_FRAME_DATA = 0x07,     /* body bytes */
    INL_FRAME_TRAILERS = 0x08, /* ends a direction with trailers */
    INL_FRAME_CREDIT = 0x09,   /* send up to byte N (stream 0: session) */
    INL_FRAME_RESET = 0x0a,    /* the stream is over, with a reason */
    INL_FRAME_GOAWAY = 0x0b,   /* stream 0; no new streams please */
    INL_FRAME_SPREAD = 0x0c    /* stream 0; server: as in HELLO, anew */
};
/* Types from here on are extensions: skipped when unknown. An unknown type
 * below is a protocol error. */
#define INL_FRAME_OPTIONAL 0x80u

/* flags */
#define INL_FRAME_END 0x01u     /* OPEN, HEAD, DATA: this direction ends */
#define INL_FRAME_CHARGED 0x02u /* DATA: counts against the session credit */

/* A websocket message begins with one byte that says what follows. */
#define INL_MESSAGE_LANE 0x00u /* bytes of the lane: frames, counted */
#define INL_MESSAGE_ACK 0x01u  /* u64: lane bytes received so far */
#define INL_MESSAGE_MOVE 0x02u /* server: take a fresh websocket, please */

struct inl_frame {
    uint8_t type, flags;
    uint32_t stream;
    struct inlets_slice payload; /* dies with the callback */
};

struct inl_frame_reader_ops {
    /* A whole frame other than DATA. Return 0, or an error that stops the
     * reader and is returned by feed. */
    int (*on_frame)(void *user, const struct inl_frame *frame);
    /* A piece of a DATA frame, as it comes; last: the frame is complete
     * (flags apply then). An empty DATA frame gives one empty last piece. */
    int (*on_data)(void *user, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last);
};

struct inl_frame_reader {
    const struct inl_frame_reader_ops *ops;
    void *user;
    uint8_t header[INL_FRAME_HEADER];
    size_t have; /* bytes of the header, then of the payload, seen */
    size_t length;
    bool in_payload;
    int err;      /* the first error; sticks */
    uint8_t *buf; /* owned; the payload of a split non-DATA frame */
};

void inl_frame_reader_init(struct inl_frame_reader *r,
                           const struct inl_frame_reader_ops *ops, void *user);
void inl_frame_reader_fini(struct inl_frame_reader *r);
/* INLETS_EPROTO: a length over its type's limit, an unknown type below 0x80,
 * a stream number where none belongs or the reverse. Payloads that fit into
 * the fed bytes are not copied. */
int inl_frame_feed(struct inl_frame_reader *r, const uint8_t *p, size_t n);

/* HELLO: parameters as key (u16) length (u16) value; unknown keys skipped. */
struct inl_hello {
    uint32_t version;          /* 1 */
    uint32_t stream_window;    /* bytes per stream before credit */
    uint64_t session_window;   /* charged bytes before credit */
    uint32_t max_streams;      /* that the sender accepts */
    struct inlets_slice agent; /* "inlets/0.1.0"; at most 128 bytes */
    /* From the server; 0 is "not said". */
    uint64_t ticket; /* the session's name for its lanes' handshakes */
    uint8_t secret[INL_TICKET_SECRET_LEN]; /* of lane 0 */
    uint32_t resume_ms; /* how long a lane may be without a websocket */
    bool no_resume;     /* both sides: it may not at all (said as 0 ms) */
    uint32_t lanes;     /* at most, of this session; both sides */
    uint32_t spread_ms; /* spread your first retry over so long */
};
#define INL_HELLO_VERSION 1u

/* All encoders: INLETS_ENOMEM, or INLETS_EINVAL for what the peer would have
 * to refuse (a stray control character, a framing field); heads over
 * INL_FRAME_MAX_HEAD are INLETS_EHEADSIZE. The queue is then as it was. */
int inl_frame_put_hello(struct inl_queue *q, const struct inl_hello *hello);
/* INLETS_EPROTO malformed, INLETS_EVERSION version not 1. */
int inl_frame_get_hello(struct inlets_slice payload, struct inl_hello *ret);

/* ROUTE: id (u32), endpoint text ("", "host", "*.host", "host/path"). */
int inl_frame_put_route(struct inl_queue *q, uint32_t route,
                        struct inlets_slice endpoint);
int inl_frame_get_route(struct inlets_slice payload, uint32_t *ret_route,
                        struct inlets_slice *ret_endpoint);
int inl_frame_put_unroute(struct inl_queue *q, uint32_t route);
int inl_frame_get_unroute(struct inlets_slice payload, uint32_t *ret_route);
/* ROUTED: id (u32), error (u32, 0 = accepted, else -INLETS_E...), text. */
int inl_frame_put_routed(struct inl_queue *q, uint32_t route, int err,
                         struct inlets_slice text);
int inl_frame_get_routed(struct inlets_slice payload, uint32_t *ret_route,
                         int *ret_err, struct inlets_slice *ret_text);

/* OPEN: route (u32), request id, head. */
int inl_frame_put_open(struct inl_queue *q, uint32_t stream, uint8_t flags,
                       uint32_t route, struct inlets_slice id,
                       const struct inlets_head *head);
/* Decoding a head needs an array for its fields; more fields than max are
 * INLETS_EPROTO. Names, values, method and target are checked as RFC 9110
 * wants them (token, no CR LF NUL): a hostile peer cannot inject. */
int inl_frame_get_open(struct inlets_slice payload, uint32_t *ret_route,
                       struct inlets_slice *ret_id, struct inlets_head *ret,
                       struct inlets_field *fields, size_t max_fields);
int inl_frame_put_head(struct inl_queue *q, uint32_t stream, uint8_t flags,
                       const struct inlets_head *head);
int inl_frame_get_head(struct inlets_slice payload, struct inlets_head *ret,
                       struct inlets_field *fields, size_t max_fields);
int inl_frame_put_trailers(struct inl_queue *q, uint32_t stream,
                           const struct inlets_head *trailers);
int inl_frame_get_trailers(struct inlets_slice payload, struct inlets_head *ret,
                           struct inlets_field *fields, size_t max_fields);

/* Moves n <= INL_FRAME_MAX_DATA bytes from the front of body into a frame.
 * n == 0 needs INL_FRAME_END (and no body). The only encoder that can fail
 * half-way: after INLETS_ENOMEM with n > 1024 the queue may end in a lone
 * header, and the lane is of no use any more. */
int inl_frame_put_data(struct inl_queue *q, uint32_t stream, uint8_t flags,
                       struct inl_queue *body, size_t n);
int inl_frame_put_credit(struct inl_queue *q, uint32_t stream, uint64_t limit);
int inl_frame_get_credit(struct inlets_slice payload, uint64_t *ret_limit);
/* RESET: error (u32, 0 = nothing wrong, just no more, else -INLETS_E...). */
int inl_frame_put_reset(struct inl_queue *q, uint32_t stream, int err);
int inl_frame_get_reset(struct inlets_slice payload, int *ret_err);
/* SPREAD: ms (u32). */
int inl_frame_put_spread(struct inl_queue *q, uint32_t spread_ms);
int inl_frame_get_spread(struct inlets_slice payload, uint32_t *ret_spread_ms);
/* GOAWAY: last stream that is still served (u32), error (u32), text. */
int inl_frame_put_goaway(struct inl_queue *q, uint32_t last_stream, int err,
                         struct inlets_slice text);
int inl_frame_get_goaway(struct inlets_slice payload, uint32_t *ret_last,
                         int *ret_err, struct inlets_slice *ret_text);

#endif
