/* session_stream.h: a stream of a session: one exchange on the wire. Shared
 * by session.c (frames in) and session_stream.c (flows in, frames out). */
#ifndef INL_RELAY_SESSION_STREAM_H
#define INL_RELAY_SESSION_STREAM_H

#include "relay/session.h"

struct inl_stream {
    struct inl_map_node node;
    struct inl_session *session;
    struct inl_session_lane *lane; /* NULL: parked */
    uint32_t id;
    struct inl_flow flow;    /* opener: the callee; answerer: the caller */
    struct inl_list on_lane; /* in lane->streams, or session->parked */
    struct inl_list sched;   /* in lane->fresh or ->bulk */
    struct inl_list owes;    /* in lane->owing */
    struct inl_later later;

    struct inl_queue pending; /* body bytes that wait for their turn */
    struct inl_queue tail;    /* the encoded TRAILERS frame, if any */
    struct inl_queue opening; /* parked: the encoded OPEN frame */
    uint64_t parked_ms;
    uint64_t tx_sent, tx_limit;
    uint64_t rx_got, rx_limit, rx_told; /* body bytes from the peer */
    uint64_t rx_free, rx_charged;       /* of them */
    uint64_t rx_paid;                   /* consumed by the next hop */
    uint64_t rx_moved_ms;               /* when the next hop last took any */
    uint64_t rx_window;                 /* rx_limit is so far above rx_paid */
    uint64_t epoch_ms, epoch_paid;      /* how fast it is used: since, from */
    bool is_bulk;                       /* counted in lane->nbulk */
    bool tx_end; /* our direction ends behind `pending` */
    bool tx_end_sent, rx_end_got;
    bool reset_after_end; /* then RESET(0): no more of the request, please */
    bool got_head;        /* opener: the final response head has come */
    size_t interim_bytes; /* opener: of 1xx heads, which need no credit */
    bool removed;

    struct inl_stream_log *log; /* answerer: owned; for the request line */
};

/* One line per request on the dev machine too. */
struct inl_stream_log {
    uint64_t started_ms, bytes_in, bytes_out;
    unsigned status;
    struct inlets_slice id, method, host, path; /* into text */
    char text[];
};

/* NULL: out of memory. Without a lane: to be parked. */
struct inl_stream *inl_stream_new(struct inl_session *s,
                                  struct inl_session_lane *sl, uint32_t id);
/* A parked stream, out of its list, goes over this lane now. */
void inl_stream_take_lane(struct inl_stream *st, struct inl_session_lane *sl);
/* Body bytes moved: is it bulk by now? */
void inl_stream_count(struct inl_stream *st);
struct inl_stream *inl_stream_find(struct inl_session *s, uint32_t id);
/* Takes it out of the session and frees it at the end of the turn; err is
 * for the log. The flow must be untied. */
void inl_stream_remove(struct inl_stream *st, int err);
/* Removes it if both directions are done. */
void inl_stream_check_done(struct inl_stream *st);
/* Stops the flow with err and removes it; tells the peer if `reset`. */
void inl_stream_abort(struct inl_stream *st, int err, bool reset);
/* It has something to send: it queues for a turn. */
void inl_stream_schedule(struct inl_stream *st);
/* The session credit grew, or this stream's: those that waited may go. */
void inl_session_unblock(struct inl_session *s);
/* Pays back charged bytes that are no longer held. */
void inl_session_repay(struct inl_session *s, uint64_t bytes);

/* Looks whether the session window is nearly used up. */
void inl_session_check_pressure(struct inl_session *s);
/* The timer's callback. */
void inl_session_relieve(struct inl_timer *timer);

/* The lane's `fill`. */
void inl_session_fill(struct inl_session_lane *sl, struct inl_queue *q,
                      size_t room);
/* There is something to send over some lane. */
void inl_session_wake(struct inl_session *s);

#endif
