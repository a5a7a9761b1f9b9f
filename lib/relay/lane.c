/* lane.c: see lane.h.
 *
 *   NEW -> UP <-> LOST        UP -> CLOSING -> DOWN      LOST -> DOWN
 *
 * Owned by the session that embeds it; the link is the carrier's until
 * `gone`. Failure paths: a protocol error of the peer is answered with a
 * close frame and `down(err)`; silence or a dead link is a loss (`lost`), and
 * `down(err)` when no other websocket comes in time, or at once without
 * resuming. `down` runs once, from `later` or a timer.
 *
 * The kept bytes are [tx_acked, tx_total); this websocket has been given
 * them up to tx_put. A new one starts at what its other end has got, so what
 * was lost on the way is sent again before anything new is made. A receiver
 * that got more of the old websocket than it had said in the handshake is
 * sent that twice: it skips it, and until then acknowledges only as far as
 * the new websocket has come. */
#include "relay/lane.h"

#include "base/slice.h"
#include <stdio.h>
#include <string.h>

static const char *const state_names[] = {"new", "up", "lost", "closing",
                                          "down"};

#define TO(s) (1u << (s))
static const unsigned moves[] = {
    [INL_LANE_NEW] = TO(INL_LANE_UP),
    [INL_LANE_UP] =
        TO(INL_LANE_LOST) | TO(INL_LANE_CLOSING) | TO(INL_LANE_DOWN),
    [INL_LANE_LOST] = TO(INL_LANE_UP) | TO(INL_LANE_DOWN),
    [INL_LANE_CLOSING] = TO(INL_LANE_DOWN),
    [INL_LANE_DOWN] = 0,
};

static void move(struct inl_lane *lane, enum inl_lane_state to)
{
    if ((moves[lane->state] & TO(to)) == 0) {
        inl_log(lane->env, INLETS_LOG_ERROR, "impossible move",
                INL_KV("from", inl_str(state_names[lane->state])),
                INL_KV("to", inl_str(state_names[to])));
        return;
    }
    inl_env_trace_move(lane->env, "lane", lane->id, state_names[lane->state],
                       state_names[to]);
    lane->state = to;
}

static bool is_up(const struct inl_lane *lane)
{
    return lane->state == INL_LANE_UP;
}

static int on_frame(void *user, const struct inl_frame *frame)
{
    struct inl_lane *lane = user;

    return is_up(lane) ? lane->ops->on_frame(lane, frame) : 0;
}

static int on_data(void *user, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last)
{
    struct inl_lane *lane = user;

    return is_up(lane) ? lane->ops->on_data(lane, stream, flags, piece, last)
                       : 0;
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

/* How far this websocket has come in what the peer sends. */
static uint64_t rx_at(const struct inl_lane *lane)
{
    return lane->rx_total - lane->rx_skip;
}

static void send_ack(struct inl_lane *lane)
{
    struct inl_queue q = {0};
    uint64_t at = rx_at(lane);
    uint8_t be[8];

    if (lane->link->out.bytes > lane->link->low_bytes) {
        arm_ack(lane); /* one more would wait too; a later one says it all */
        return;
    }
    for (size_t i = 0; i < 8; i++) {
        be[i] = (uint8_t)(at >> (56 - 8 * i));
    }
    if (inl_queue_append(&q, be, sizeof(be)) == 0 &&
        inl_ws_put_message(lane->ws, INL_MESSAGE_ACK, &q, 0, q.bytes) == 0) {
        lane->rx_told = at;
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

    if (is_up(lane)) {
        send_ack(lane);
    }
}

static int rx_lane_bytes(struct inl_lane *lane, struct inlets_slice piece)
{
    size_t skip = lane->rx_skip < piece.len ? (size_t)lane->rx_skip : piece.len;

    lane->rx_skip -= skip;
    piece = inl_slice_from(piece, skip);
    lane->rx_total += piece.len;
    if (rx_at(lane) - lane->rx_told >= INL_LANE_ACK_BYTES) {
        send_ack(lane);
    } else if (rx_at(lane) > lane->rx_told) {
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
    if (total < lane->tx_acked || total > lane->tx_put) {
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
    if (!is_up(lane)) {
        return 0;
    }
    switch (lane->message_kind) {
    case INL_MESSAGE_LANE:
        return rx_lane_bytes(lane, piece);
    case INL_MESSAGE_ACK:
        return rx_ack_bytes(lane, piece);
    case INL_MESSAGE_MOVE:
        if (first) {
            lane->ops->asked_to_move(lane);
        }
        return piece.len == 0 ? 0 : INLETS_EPROTO;
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

    if (lane->link->rx_at_ms >= lane->asked_ms) {
        lane->asked_ms = now;
    }
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

static bool waits_for_pong(const struct inl_lane *lane)
{
    return lane->link->rx_at_ms < lane->asked_ms &&
           lane->env->now_ms >=
               lane->asked_ms + INL_LANE_SUSPECT_MS - INL_LANE_ANSWER_MS;
}

bool inl_lane_is_suspect(const struct inl_lane *lane)
{
    return !is_up(lane) || waits_for_ack(lane, INL_LANE_SUSPECT_MS) ||
           waits_for_pong(lane);
}

static bool is_asking(const struct inl_lane *lane)
{
    return lane->kept.bytes > 0 || lane->link->rx_at_ms < lane->asked_ms;
}

static void arm(struct inl_lane *lane)
{
    uint64_t now = lane->env->now_ms;
    uint64_t due = lane->pinged_ms + lane->config.ping_ms;
    uint64_t dead = lane->link->rx_at_ms + lane->config.dead_ms;

    if (is_asking(lane) && now + INL_LANE_ANSWER_MS < due) {
        due = now + INL_LANE_ANSWER_MS;
    }
    due = dead < due ? dead : due;
    if (inl_timer_at(lane->env, &lane->timer, due > now ? due : now + 1) != 0) {
        inl_link_close(lane->link, INLETS_ENOMEM);
    }
}

static void check_doubt(struct inl_lane *lane)
{
    bool suspect = inl_lane_is_suspect(lane);

    if (suspect && !lane->doubts) {
        lane->doubts = true;
        lane->ops->doubted(lane);
    }
    lane->doubts = suspect;
}

static void check_alive(struct inl_lane *lane)
{
    uint64_t now = lane->env->now_ms;

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
    check_doubt(lane);
}

static void fall(struct inl_lane *lane, int err)
{
    move(lane, INL_LANE_DOWN);
    lane->ops->down(lane, err);
}

static void timer_due(struct inl_timer *timer)
{
    struct inl_lane *lane = inl_container(timer, struct inl_lane, timer);

    if (is_up(lane) && lane->link != NULL) {
        check_alive(lane);
    } else if (lane->state == INL_LANE_LOST) {
        fall(lane, lane->err); /* nobody came in time */
    }
}

static void fall_later(struct inl_later *later)
{
    struct inl_lane *lane = inl_container(later, struct inl_lane, fall);

    lane->ops->down(lane, lane->err);
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
    int err;

    if (lane->unconfirmed) {
        lane->unconfirmed = false;
        lane->ops->confirmed(lane);
    }
    err = inl_ws_feed(lane->ws, p, n);
    if (lane->link != NULL && lane->link->out.bytes > 0 && is_up(lane)) {
        inl_link_wake(lane->link); /* a pong would wait for what comes next */
    }
    if (err == 0 || lane->link == NULL || !is_up(lane)) {
        return;
    }
    if (err == INLETS_ECLOSED) { /* the close frame is answered in `out` */
        move(lane, INL_LANE_CLOSING);
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
    return INL_LINK_READ_BYTES; /* credit bounds what the peer may send */
}

static void lane_eof(void *machine)
{
    struct inl_lane *lane = machine;

    inl_link_close(lane->link, is_up(lane) ? INLETS_ECLOSED : 0);
}

/* Gives the websocket the next n kept bytes. */
static void put_kept(struct inl_lane *lane, size_t n)
{
    if (inl_ws_put_message(lane->ws, INL_MESSAGE_LANE, &lane->kept,
                           (size_t)(lane->tx_put - lane->tx_acked), n) != 0) {
        inl_link_close(lane->link, INLETS_ENOMEM);
        return;
    }
    lane->tx_put += n;
}

static void close_now(struct inl_lane *lane)
{
    move(lane, INL_LANE_CLOSING);
    (void)inl_ws_put_close(lane->ws, lane->close_code,
                           inl_str(lane->close_reason));
    inl_link_linger(lane->link);
}

/* Up to the mark and not beyond: what is in `out` is past all scheduling. */
static void make_frames(struct inl_lane *lane)
{
    size_t waiting = lane->link->out.bytes;
    size_t room =
        waiting < lane->link->low_bytes ? lane->link->low_bytes - waiting : 0;
    size_t before = lane->kept.bytes;
    size_t added;

    lane->filling = true;
    lane->ops->fill(lane, &lane->kept, room);
    lane->filling = false;
    added = lane->kept.bytes - before;
    if (added > 0) {
        if (before == 0) {
            lane->progress_ms = lane->env->now_ms;
            arm(lane);
        }
        lane->tx_total += added;
        put_kept(lane, added);
    }
    if (lane->close_code != 0) {
        close_now(lane);
    }
}

/* One message of what there is to send, however small: frames that are ready
 * together travel together. */
static void lane_fill(void *machine)
{
    struct inl_lane *lane = machine;
    uint64_t again = lane->tx_total - lane->tx_put;

    if (!is_up(lane)) {
        return;
    }
    if (again > 0) {
        put_kept(lane, again < lane->link->low_bytes ? (size_t)again
                                                     : lane->link->low_bytes);
    } else if (lane->kept.bytes < INL_LANE_KEPT_MAX) {
        make_frames(lane);
    }
}

static void be_lost(struct inl_lane *lane, int err)
{
    lane->err = err;
    move(lane, INL_LANE_LOST);
    if (inl_timer_at(lane->env, &lane->timer,
                     lane->env->now_ms + lane->resume_ms) != 0) {
        fall(lane, INLETS_ENOMEM);
        return;
    }
    lane->ops->lost(lane, err);
}

/* From `later`: nothing of the websocket is on the stack. */
static void lane_gone(void *machine, int err)
{
    struct inl_lane *lane = machine;

    lane->link = NULL;
    inl_ws_free(lane->ws);
    lane->ws = NULL;
    inl_timer_off(lane->env, &lane->timer);
    inl_timer_off(lane->env, &lane->ack_timer);
    if (!is_up(lane)) {
        fall(lane, lane->err);
    } else if (lane->resume_ms > 0) {
        be_lost(lane, err);
    } else {
        fall(lane, err);
    }
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
    inl_timer_init(&lane->timer, timer_due);
    inl_timer_init(&lane->ack_timer, ack_due);
    inl_later_init(&lane->fall, fall_later);
}

void inl_lane_fini(struct inl_lane *lane)
{
    inl_timer_off(lane->env, &lane->timer);
    inl_timer_off(lane->env, &lane->ack_timer);
    inl_list_remove(&lane->fall.node);
    inl_ws_free(lane->ws);
    inl_frame_reader_fini(&lane->reader);
    inl_queue_fini(&lane->kept);
}

/* The ping at once tells the round trip, which windows grow by. */
static void take_link(struct inl_lane *lane, struct inl_link *link)
{
    lane->link = link;
    lane->unconfirmed = true;
    lane->doubts = false;
    lane->asked_ms = 0;
    lane->progress_ms = lane->env->now_ms;
    move(lane, INL_LANE_UP);
    inl_link_set_machine(link, &machine_ops, lane);
    send_ping(lane);
    arm(lane);
    inl_link_wake(link);
}

int inl_lane_attach(struct inl_lane *lane, struct inl_link *link,
                    enum inl_ws_role role)
{
    lane->ws = inl_ws_new(lane->env, role, &link->out, &ws_ops, lane);
    if (lane->ws == NULL) {
        return INLETS_ENOMEM;
    }
    take_link(lane, link);
    return 0;
}

uint64_t inl_lane_start(const struct inl_lane *lane, uint64_t received)
{
    return received > lane->tx_acked ? received : lane->tx_acked;
}

bool inl_lane_can_resume(const struct inl_lane *lane, uint64_t received)
{
    return (is_up(lane) || lane->state == INL_LANE_LOST) &&
           lane->resume_ms > 0 && received >= lane->tx_acked &&
           received <= lane->tx_total;
}

/* The old websocket is of no use any more. It is another link's event that
 * brought the new one, so nothing of the old one is on the stack. */
static void leave_link(struct inl_lane *lane)
{
    struct inl_link *link = lane->link;

    if (link != NULL) {
        inl_link_set_machine(link, NULL, NULL);
        inl_link_reset(link, INLETS_ECLOSED);
        inl_timer_off(lane->env, &lane->ack_timer);
        inl_ws_free(lane->ws);
        lane->ws = NULL;
        lane->link = NULL;
        move(lane, INL_LANE_LOST);
    }
}

int inl_lane_resume(struct inl_lane *lane, struct inl_link *link,
                    enum inl_ws_role role, uint64_t received, uint64_t told)
{
    struct inl_ws *ws = inl_ws_new(lane->env, role, &link->out, &ws_ops, lane);

    if (ws == NULL) {
        return INLETS_ENOMEM;
    }
    leave_link(lane);
    lane->ws = ws;
    lane->message_kind = INL_MESSAGE_LANE;
    lane->ack_have = 0;
    inl_queue_consume(&lane->kept, (size_t)(received - lane->tx_acked));
    lane->tx_acked = lane->tx_put = received;
    lane->rx_skip = lane->rx_total - told;
    lane->rx_told = told;
    take_link(lane, link);
    return 0;
}

void inl_lane_ask_to_move(struct inl_lane *lane)
{
    const struct inl_queue nothing = {0};

    if (is_up(lane) && lane->link != NULL &&
        inl_ws_put_message(lane->ws, INL_MESSAGE_MOVE, &nothing, 0, 0) == 0) {
        inl_link_wake(lane->link);
    }
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
    if (lane->state == INL_LANE_LOST) {
        move(lane, INL_LANE_DOWN);
        lane->err = err;
        inl_timer_off(lane->env, &lane->timer);
        inl_env_later(lane->env, &lane->fall);
        return;
    }
    if (!is_up(lane) || lane->close_code != 0) {
        return;
    }
    lane->err = err;
    lane->close_code = code;
    (void)snprintf(lane->close_reason, sizeof(lane->close_reason), "%.*s",
                   (int)reason.len, reason.ptr);
    if (!lane->filling) {
        lane_fill(lane); /* what is due goes first; then the close frame */
        if (is_up(lane) && lane->link != NULL) {
            close_now(lane);
        }
    }
}
