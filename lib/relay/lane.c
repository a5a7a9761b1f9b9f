/* lane.c: see lane.h.
 *
 * Owned by the session that embeds it; the link is the carrier's until
 * `gone`. Failure paths: a protocol error of the peer is answered with a
 * close frame and `down(err)`; silence or a dead link gives `down(err)` from
 * `gone`. `down` runs once, from `later` (the link's). */
#include "relay/lane.h"

#include "base/slice.h"
#include <stdio.h>
#include <string.h>

static int on_frame(void *user, const struct inl_frame *frame)
{
    struct inl_lane *lane = user;

    if (lane->link == NULL || lane->closing) {
        return 0;
    }
    return lane->ops->on_frame(lane, frame);
}

static int on_data(void *user, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last)
{
    struct inl_lane *lane = user;

    return lane->link == NULL || lane->closing
               ? 0
               : lane->ops->on_data(lane, stream, flags, piece, last);
}

static const struct inl_frame_reader_ops reader_ops = {on_frame, on_data};

/* ---- acknowledging ---------------------------------------------------- */

static void arm_ack(struct inl_lane *lane)
{
    if (lane->ack_timer.due_ms == 0 &&
        inl_timer_at(lane->env, &lane->ack_timer,
                     lane->env->now_ms + INL_LANE_ACK_MS) != 0) {
        inl_link_close(lane->link, INLETS_ENOMEM);
    }
}

static void send_ack(struct inl_lane *lane)
{
    struct inl_queue q = {0};
    uint8_t be[8];

    if (lane->link->out.bytes > INL_LINK_LOW_BYTES) {
        arm_ack(lane); /* one more would wait too; a later one says it all */
        return;
    }
    for (size_t i = 0; i < 8; i++) {
        be[i] = (uint8_t)(lane->rx_total >> (56 - 8 * i));
    }
    if (inl_queue_append(&q, be, sizeof(be)) == 0 &&
        inl_ws_put_message(lane->ws, INL_MESSAGE_ACK, &q, 0, q.bytes) == 0) {
        lane->rx_told = lane->rx_total;
        inl_timer_off(lane->env, &lane->ack_timer);
        inl_link_wake(lane->link);
    } else {
        inl_link_close(lane->link, INLETS_ENOMEM);
    }
    inl_queue_fini(&q);
}

static void ack_due(struct inl_timer *timer)
{
    struct inl_lane *lane = inl_container(timer, struct inl_lane, ack_timer);

    if (lane->link != NULL && !lane->closing) {
        send_ack(lane);
    }
}

static int rx_lane_bytes(struct inl_lane *lane, struct inlets_slice piece)
{
    lane->rx_total += piece.len;
    if (lane->rx_total - lane->rx_told >= INL_LANE_ACK_BYTES) {
        send_ack(lane);
    } else if (piece.len > 0) {
        arm_ack(lane);
    }
    return inl_frame_feed(&lane->reader, (const uint8_t *)piece.ptr, piece.len);
}

static int got_ack(struct inl_lane *lane)
{
    uint64_t total = 0;

    for (size_t i = 0; i < 8; i++) {
        total = total << 8 | lane->ack_buf[i];
    }
    if (total < lane->tx_acked || total > lane->tx_total) {
        return INLETS_EPROTO;
    }
    inl_queue_consume(&lane->kept, (size_t)(total - lane->tx_acked));
    lane->tx_acked = total;
    lane->progress_ms = lane->env->now_ms;
    inl_link_wake(lane->link);
    return 0;
}

static int rx_ack_bytes(struct inl_lane *lane, struct inlets_slice piece)
{
    if (piece.len > sizeof(lane->ack_buf) - lane->ack_have) {
        return INLETS_EPROTO;
    }
    memcpy(lane->ack_buf + lane->ack_have, piece.ptr, piece.len);
    lane->ack_have += piece.len;
    return lane->ack_have == sizeof(lane->ack_buf) ? got_ack(lane) : 0;
}

/* ---- websocket events ------------------------------------------------- */

static int on_piece(void *user, struct inlets_slice piece, bool first)
{
    struct inl_lane *lane = user;

    if (first) {
        bool cut_ack = lane->message_kind == INL_MESSAGE_ACK &&
                       lane->ack_have != sizeof(lane->ack_buf);

        if (piece.len == 0 || cut_ack) {
            return INLETS_EPROTO;
        }
        lane->message_kind = (uint8_t)piece.ptr[0];
        lane->ack_have = 0;
        piece = inl_slice_from(piece, 1);
    }
    if (lane->closing) {
        return 0;
    }
    switch (lane->message_kind) {
    case INL_MESSAGE_LANE:
        return rx_lane_bytes(lane, piece);
    case INL_MESSAGE_ACK:
        return rx_ack_bytes(lane, piece);
    default: /* extensions have the high bit */
        return (lane->message_kind & INL_FRAME_OPTIONAL) != 0 ? 0
                                                              : INLETS_EPROTO;
    }
}

static void on_pong(void *user, struct inlets_slice payload)
{
    struct inl_lane *lane = user;
    uint64_t sent;

    if (payload.len == sizeof(sent)) {
        memcpy(&sent, payload.ptr, sizeof(sent));
        if (sent == lane->pinged_ms && sent <= lane->env->now_ms) {
            uint64_t rtt = lane->env->now_ms - sent;

            if (lane->rtt_ms == 0 || rtt < lane->rtt_ms) {
                lane->rtt_ms = rtt == 0 ? 1 : (uint32_t)rtt;
            }
        }
    }
}

static const struct inl_ws_ops ws_ops = {on_piece, on_pong};

static void send_ping(struct inl_lane *lane)
{
    uint64_t now = lane->env->now_ms;

    lane->pinged_ms = now;
    if (inl_ws_put_ping(lane->ws, inl_slice(&now, sizeof(now))) != 0) {
        inl_link_close(lane->link, INLETS_ENOMEM);
        return;
    }
    inl_link_wake(lane->link);
}

/* ---- liveness --------------------------------------------------------- */

static bool waits_for_ack(const struct inl_lane *lane, uint32_t ms)
{
    return lane->kept.bytes > 0 &&
           lane->env->now_ms >= lane->progress_ms + ms &&
           lane->env->now_ms >= lane->link->rx_at_ms + ms;
}

bool inl_lane_is_suspect(const struct inl_lane *lane)
{
    return lane->link == NULL || lane->closing ||
           waits_for_ack(lane, INL_LANE_SUSPECT_MS);
}

static void arm(struct inl_lane *lane)
{
    uint64_t now = lane->env->now_ms;
    uint64_t due = lane->pinged_ms + lane->config.ping_ms;
    uint64_t dead = lane->link->rx_at_ms + lane->config.dead_ms;

    if (lane->kept.bytes > 0 && now + INL_LANE_ANSWER_MS < due) {
        due = now + INL_LANE_ANSWER_MS;
    }
    due = dead < due ? dead : due;
    if (inl_timer_at(lane->env, &lane->timer, due > now ? due : now + 1) != 0) {
        inl_link_close(lane->link, INLETS_ENOMEM);
    }
}

static void check_alive(struct inl_timer *timer)
{
    struct inl_lane *lane = inl_container(timer, struct inl_lane, timer);
    uint64_t now = lane->env->now_ms;

    if (lane->link == NULL || lane->closing) {
        return;
    }
    if (now >= lane->link->rx_at_ms + lane->config.dead_ms) {
        inl_link_reset(lane->link, INLETS_ESILENT);
        return;
    }
    if (now >= lane->pinged_ms + lane->config.ping_ms ||
        (waits_for_ack(lane, INL_LANE_ANSWER_MS) &&
         now >= lane->pinged_ms + INL_LANE_ANSWER_MS)) {
        send_ping(lane);
    }
    arm(lane);
}

/* ---- the machine ------------------------------------------------------ */

static uint16_t close_code(int err)
{
    switch (err) {
    case INLETS_ELIMIT:
        return 1008;
    case INLETS_ENOMEM:
        return 1011;
    case INLETS_EGOAWAY:
        return 1001;
    default:
        return err == 0 ? 1000 : 1002;
    }
}

static void lane_rx(void *machine, const uint8_t *p, size_t n)
{
    struct inl_lane *lane = machine;
    int err = inl_ws_feed(lane->ws, p, n);

    if (err == 0 || lane->link == NULL || lane->closing) {
        return;
    }
    if (err == INLETS_ECLOSED) { /* the close frame is answered in `out` */
        lane->closing = true;
        lane->err = INLETS_ECLOSED;
        inl_link_linger(lane->link);
    } else {
        inl_lane_close(lane, err, close_code(err),
                       inl_str(inlets_strerror(err)));
    }
    lane->ops->ending(lane, err);
}

static size_t lane_rx_room(void *machine)
{
    (void)machine;
    return 64u * 1024; /* credit bounds what the peer may send */
}

static void lane_eof(void *machine)
{
    struct inl_lane *lane = machine;

    inl_link_close(lane->link, lane->closing ? 0 : INLETS_ECLOSED);
}

static void send_added(struct inl_lane *lane, size_t before, size_t added)
{
    if (before == 0) {
        lane->progress_ms = lane->env->now_ms;
        arm(lane);
    }
    lane->tx_total += added;
    if (inl_ws_put_message(lane->ws, INL_MESSAGE_LANE, &lane->kept, before,
                           added) != 0) {
        inl_link_close(lane->link, INLETS_ENOMEM);
    }
}

static void close_now(struct inl_lane *lane)
{
    lane->closing = true;
    (void)inl_ws_put_close(lane->ws, lane->close_code,
                           inl_str(lane->close_reason));
    inl_link_linger(lane->link);
}

/* One message of what there is to send, however small: frames that are ready
 * together travel together. */
static void lane_fill(void *machine)
{
    struct inl_lane *lane = machine;
    size_t before = lane->kept.bytes;
    size_t added;

    if (lane->closing || before >= INL_LANE_KEPT_MAX) {
        return;
    }
    lane->filling = true;
    lane->ops->fill(lane, &lane->kept, INL_LINK_LOW_BYTES);
    lane->filling = false;
    added = lane->kept.bytes - before;
    if (added > 0) {
        send_added(lane, before, added);
    }
    if (lane->close_code != 0) {
        close_now(lane);
    }
}

static void lane_gone(void *machine, int err)
{
    struct inl_lane *lane = machine;

    lane->link = NULL;
    inl_timer_off(lane->env, &lane->timer);
    inl_timer_off(lane->env, &lane->ack_timer);
    lane->ops->down(lane, lane->closing ? lane->err : err);
}

static const struct inl_machine_ops machine_ops = {.rx = lane_rx,
                                                   .rx_room = lane_rx_room,
                                                   .rx_eof = lane_eof,
                                                   .tx_fill = lane_fill,
                                                   .gone = lane_gone};

void inl_lane_init(struct inl_lane *lane, struct inl_env *env,
                   const struct inl_lane_ops *ops,
                   const struct inl_lane_config *config)
{
    *lane = (struct inl_lane){.ops = ops, .env = env, .config = *config};
    inl_frame_reader_init(&lane->reader, &reader_ops, lane);
    inl_timer_init(&lane->timer, check_alive);
    inl_timer_init(&lane->ack_timer, ack_due);
}

void inl_lane_fini(struct inl_lane *lane)
{
    inl_timer_off(lane->env, &lane->timer);
    inl_timer_off(lane->env, &lane->ack_timer);
    inl_ws_free(lane->ws);
    inl_frame_reader_fini(&lane->reader);
    inl_queue_fini(&lane->kept);
}

int inl_lane_attach(struct inl_lane *lane, struct inl_link *link,
                    enum inl_ws_role role)
{
    lane->ws = inl_ws_new(lane->env, role, &link->out, &ws_ops, lane);
    if (lane->ws == NULL) {
        return INLETS_ENOMEM;
    }
    lane->link = link;
    lane->pinged_ms = lane->env->now_ms;
    inl_link_set_machine(link, &machine_ops, lane);
    arm(lane);
    inl_link_wake(link);
    return 0;
}

void inl_lane_wake(struct inl_lane *lane)
{
    if (lane->link != NULL) {
        inl_link_wake(lane->link);
    }
}

void inl_lane_close(struct inl_lane *lane, int err, uint16_t code,
                    struct inlets_slice reason)
{
    if (lane->link == NULL || lane->closing) {
        return;
    }
    if (lane->close_code != 0) {
        return;
    }
    lane->err = err;
    lane->close_code = code;
    (void)snprintf(lane->close_reason, sizeof(lane->close_reason), "%.*s",
                   (int)reason.len, reason.ptr);
    if (!lane->filling) {
        lane_fill(lane); /* what is due goes first; then the close frame */
        if (!lane->closing && lane->link != NULL) {
            close_now(lane);
        }
    }
}
