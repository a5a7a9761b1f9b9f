/* lane.h: an ordered, counted channel of frames that outlives the websockets
 * that carry it: the machine of a tunnel's link, on either side.
 *
 * Lane bytes are counted both ways from 0. What was sent and is not yet
 * acknowledged is kept, by reference. When the websocket is lost, the lane
 * waits for another, at most resume_ms; each side then says how far it has
 * got, and the other goes on from there (FRAME.md section 2). Nobody above
 * notices but by the time that passed.
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
    /* The peer got what it needed of a new websocket's handshake: the first
     * byte has come over it. */
    void (*confirmed)(struct inl_lane *lane);
    /* The peer asks for a fresh websocket. */
    void (*asked_to_move)(struct inl_lane *lane);
    /* The peer has not answered for SUSPECT_MS. Once, until it does. */
    void (*doubted)(struct inl_lane *lane);
    /* The websocket is lost; the lane waits for another. */
    void (*lost)(struct inl_lane *lane, int err);
    /* No frame will be taken or made any more: the peer's close frame has
     * come, or an error of the peer's. Not for inl_lane_close. */
    void (*ending)(struct inl_lane *lane, int err);
    /* The lane is down; its last call, never from within inl_lane_close.
     * err 0: closed cleanly. */
    void (*down)(struct inl_lane *lane, int err);
};

struct inl_lane_config {
    uint32_t ping_ms, dead_ms;
};

enum inl_lane_state {
    INL_LANE_NEW, /* no websocket yet */
    INL_LANE_UP,
    INL_LANE_LOST,    /* waits for another websocket */
    INL_LANE_CLOSING, /* a close frame was sent or answered */
    INL_LANE_DOWN
};

/* Embedded in its owner. */
struct inl_lane {
    const struct inl_lane_ops *ops;
    struct inl_env *env;
    enum inl_lane_state state;
    uint64_t id;           /* for the trace */
    struct inl_link *link; /* NULL: no websocket */
    struct inl_ws *ws;     /* owned */
    struct inl_frame_reader reader;
    struct inl_lane_config config;
    uint32_t resume_ms; /* 0: falls with its websocket */

    struct inl_queue kept; /* made and not acknowledged */
    uint64_t tx_total, tx_acked;
    uint64_t tx_put; /* of tx_total, what this websocket has been given */
    uint64_t rx_total, rx_told;
    uint64_t rx_skip;     /* bytes to come that we have already */
    uint64_t progress_ms; /* when `kept` began to wait for this ack */
    uint64_t pinged_ms;   /* last ping */
    uint64_t asked_ms;    /* the first of them that was not answered */
    uint32_t rtt_ms;      /* smallest seen; 0: not known */

    uint8_t message_kind; /* of the message being received */
    uint8_t ack_buf[8];
    size_t ack_have;

    struct inl_timer timer; /* liveness; the end of waiting */
    struct inl_timer ack_timer;
    struct inl_later fall; /* down without a link */
    bool unconfirmed;      /* nothing has come over this websocket yet */
    bool doubts;           /* `doubted` was called */
    bool filling;          /* in `fill`: a close waits for what it makes */
    int err;               /* why it was closed or lost */
    uint16_t close_code;   /* to send after the fill; 0: none */
    char close_reason[64];
};

void inl_lane_init(struct inl_lane *lane, struct inl_env *env,
                   const struct inl_lane_ops *ops,
                   const struct inl_lane_config *config);
void inl_lane_fini(struct inl_lane *lane);
/* Takes a link whose websocket handshake is done. INLETS_ENOMEM. */
int inl_lane_attach(struct inl_lane *lane, struct inl_link *link,
                    enum inl_ws_role role);
/* May a websocket take over whose other end has got `received` bytes? */
/* Where sending begins again for a peer that says it has got `received`: more
 * than that when it has acknowledged more since it said so. */
uint64_t inl_lane_start(const struct inl_lane *lane, uint64_t received);
bool inl_lane_can_resume(const struct inl_lane *lane, uint64_t received);
/* It does: the old one is closed. told: what we said that we have. 0, or
 * INLETS_ENOMEM: then the lane is as lost as before. */
int inl_lane_resume(struct inl_lane *lane, struct inl_link *link,
                    enum inl_ws_role role, uint64_t received, uint64_t told);
/* Asks the peer to take a fresh websocket. */
void inl_lane_ask_to_move(struct inl_lane *lane);
/* There may be frames to send. */
void inl_lane_wake(struct inl_lane *lane);
/* A close frame with code and reason, then the link lingers; `down` follows. */
void inl_lane_close(struct inl_lane *lane, int err, uint16_t code,
                    struct inlets_slice reason);
/* Has the peer kept us waiting? */
bool inl_lane_is_suspect(const struct inl_lane *lane);

#endif
