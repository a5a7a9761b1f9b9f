/* lane.h: an ordered, counted channel of frames that a websocket carries:
 * the machine of a tunnel's link, on either side.
 *
 * Lane bytes are counted both ways from 0. What was sent and is not yet
 * acknowledged is kept, by reference, so that a lost websocket can be
 * replaced and the other side be given what it lacks. (Replacing itself is
 * not there yet: today a lane falls with its websocket.)
 *
 * The lane is pulled: when the link can send, `fill` is asked for frames.
 * Liveness: a websocket ping every ping_ms, dead after dead_ms without a
 * received byte; a peer that does not acknowledge in ANSWER_MS is asked by a
 * ping, and is suspect when that brings nothing either. */
#ifndef INL_RELAY_LANE_H
#define INL_RELAY_LANE_H

#include "base/env.h"
#include "base/link.h"
#include "proto/frame.h"
#include "proto/websocket.h"

/* Kept bytes at which no new frames are made until some are acknowledged:
 * against a peer that reads but never acknowledges. Above the session
 * window, so that it never throttles an honest one. */
#define INL_LANE_KEPT_MAX (24u * 1024 * 1024)
#define INL_LANE_ACK_BYTES (64u * 1024)
#define INL_LANE_ACK_MS 250u
#define INL_LANE_ANSWER_MS 1000u  /* then ask */
#define INL_LANE_SUSPECT_MS 3000u /* then others are preferred */

struct inl_lane;

struct inl_lane_ops {
    /* As in inl_frame_reader_ops; an error closes the lane. */
    int (*on_frame)(struct inl_lane *lane, const struct inl_frame *frame);
    int (*on_data)(struct inl_lane *lane, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last);
    /* Append whole frames to q, about `room` bytes of them, if any. */
    void (*fill)(struct inl_lane *lane, struct inl_queue *q, size_t room);
    /* No frame will be taken or made any more: the peer's close frame has
     * come, or an error of the peer's. Not for inl_lane_close. */
    void (*ending)(struct inl_lane *lane, int err);
    /* The lane is down; its last call. err 0: closed cleanly. */
    void (*down)(struct inl_lane *lane, int err);
};

struct inl_lane_config {
    uint32_t ping_ms, dead_ms;
};

/* Embedded in the session. */
struct inl_lane {
    const struct inl_lane_ops *ops;
    struct inl_env *env;
    struct inl_link *link; /* NULL: down */
    struct inl_ws *ws;     /* owned */
    struct inl_frame_reader reader;
    struct inl_lane_config config;

    struct inl_queue kept; /* sent and not acknowledged */
    uint64_t tx_total, tx_acked;
    uint64_t rx_total, rx_told;
    uint64_t progress_ms; /* when `kept` began to wait for this ack */
    uint64_t pinged_ms;   /* last ping; 0: none */
    uint32_t rtt_ms;      /* smallest seen; 0: not known */

    uint8_t message_kind; /* of the message being received */
    uint8_t ack_buf[8];
    size_t ack_have;

    struct inl_timer timer; /* liveness */
    struct inl_timer ack_timer;
    bool closing;        /* a close frame is out */
    bool filling;        /* in `fill`: a close waits for what it makes */
    int err;             /* why it was closed */
    uint16_t close_code; /* to send after the fill; 0: none */
    char close_reason[64];
};

void inl_lane_init(struct inl_lane *lane, struct inl_env *env,
                   const struct inl_lane_ops *ops,
                   const struct inl_lane_config *config);
void inl_lane_fini(struct inl_lane *lane);
/* Takes a link whose websocket handshake is done. INLETS_ENOMEM. */
int inl_lane_attach(struct inl_lane *lane, struct inl_link *link,
                    enum inl_ws_role role);
/* There may be frames to send. */
void inl_lane_wake(struct inl_lane *lane);
/* A close frame with code and reason, then the link lingers; `down` follows. */
void inl_lane_close(struct inl_lane *lane, int err, uint16_t code,
                    struct inlets_slice reason);
/* Has the peer kept us waiting? */
bool inl_lane_is_suspect(const struct inl_lane *lane);

#endif
