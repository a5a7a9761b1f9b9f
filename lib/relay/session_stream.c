/* session_stream.c: see session_stream.h.
 *
 * Out: what a flow sends waits in its stream (at most one flow window) until
 * the schedule gives it a turn: at most one DATA frame, then the next stream.
 * Streams that have sent less than a window (`fresh`) go before bulk, four
 * turns to one, so that a small answer overtakes a download. A stream
 * without credit leaves the schedule and comes back with it.
 *
 * A stream ends when both directions have (END sent and got), by RESET from
 * either side, or with its session. It is freed from `later`. */
#include "base/mem.h"
#include "base/slice.h"
#include "relay/session_lane.h"
#include <string.h>

#define FRESH_TURNS 4u

static const struct inl_flow_ops flow_ops;

/* ---- life ------------------------------------------------------------- */

static void stream_free(struct inl_later *later)
{
    struct inl_stream *st = inl_container(later, struct inl_stream, later);

    inl_queue_fini(&st->pending);
    inl_queue_fini(&st->tail);
    inl_queue_fini(&st->opening);
    inl_free(st->log);
    inl_free(st);
}

static void join_lane(struct inl_stream *st, struct inl_session_lane *sl)
{
    st->lane = sl;
    inl_list_push_back(&sl->streams, &st->on_lane);
    sl->nstreams++;
    if (st->id > sl->last_stream) {
        sl->last_stream = st->id;
    }
}

static void leave_lane(struct inl_stream *st)
{
    inl_list_remove(&st->on_lane);
    inl_list_remove(&st->sched);
    inl_list_remove(&st->owes);
    if (st->lane != NULL) {
        st->lane->nstreams--;
        st->lane->nbulk -= st->is_bulk;
    } else {
        st->session->nparked--;
    }
}

struct inl_stream *inl_stream_new(struct inl_session *s,
                                  struct inl_session_lane *sl, uint32_t id)
{
    struct inl_stream *st = inl_calloc(1, sizeof(*st));

    if (st == NULL) {
        return NULL;
    }
    st->session = s;
    st->id = id;
    st->tx_limit = s->peer.stream_window;
    st->rx_limit = st->rx_told = st->rx_window = INL_FLOW_WINDOW;
    st->rx_moved_ms = st->epoch_ms = s->env->now_ms;
    inl_flow_init(&st->flow, &flow_ops);
    inl_list_init(&st->on_lane);
    inl_list_init(&st->sched);
    inl_list_init(&st->owes);
    inl_later_init(&st->later, stream_free);
    if (inl_map_add(&s->streams, &st->node,
                    inl_map_hash_u32(&s->streams, id)) != 0) {
        inl_free(st);
        return NULL;
    }
    if (sl != NULL) {
        join_lane(st, sl);
    } else {
        inl_session_park(st);
    }
    return st;
}

void inl_stream_take_lane(struct inl_stream *st, struct inl_session_lane *sl)
{
    join_lane(st, sl);
    if (inl_queue_move(&sl->control, &st->opening, st->opening.bytes) != 0) {
        inl_stream_abort(st, INLETS_EUNAVAILABLE, false);
        return;
    }
    inl_lane_wake(&sl->lane);
    if (st->pending.bytes > 0 || st->tx_end) {
        inl_stream_schedule(st);
    }
}

void inl_stream_count(struct inl_stream *st)
{
    if (!st->is_bulk && st->tx_sent + st->rx_got >= INL_SESSION_BULK_BYTES) {
        st->is_bulk = true;
        st->lane->nbulk++;
        inl_session_want_more(st->session);
    }
}

struct inl_stream *inl_stream_find(struct inl_session *s, uint32_t id)
{
    struct inl_map_node *n =
        inl_map_first(&s->streams, inl_map_hash_u32(&s->streams, id));

    for (; n != NULL; n = inl_map_next(n)) {
        struct inl_stream *st = inl_container(n, struct inl_stream, node);

        if (st->id == id) {
            return st;
        }
    }
    return NULL;
}

static void log_request(const struct inl_stream *st, int err)
{
    const struct inl_stream_log *l = st->log;

    if (l != NULL) {
        inl_log(
            st->session->env, INLETS_LOG_INFO, "request", INL_KV("id", l->id),
            INL_KV("method", l->method), INL_KV("host", l->host),
            INL_KV("path", l->path),
            INL_KN_IF(l->status != 0, "status", l->status),
            INL_KN("bytes_in", l->bytes_in), INL_KN("bytes_out", l->bytes_out),
            INL_KN("ms", st->session->env->now_ms - l->started_ms),
            INL_KV("result", inl_str(err == 0 ? "ok" : inlets_errname(err))));
    }
}

/* Consumed bytes of the first `n` that count against the session. */
static uint64_t charged_part(uint64_t n)
{
    return n > INL_STREAM_FREE_BYTES ? n - INL_STREAM_FREE_BYTES : 0;
}

/* What the peer may still send of charged bytes, as far as it knows. */
static uint64_t window_left(const struct inl_session *s)
{
    return s->rx_charged_told - s->rx_charged;
}

void inl_session_wake(struct inl_session *s)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        inl_lane_wake(&s->lanes[i]->lane);
    }
}

/* A limit that only grows may be told over any lane; a lane that has lost its
 * websocket would keep it to itself. */
static void pay_session(struct inl_session *s)
{
    struct inl_session_lane *sl = inl_session_lane_pick(s);

    sl = sl == NULL && s->nlanes > 0 ? s->lanes[0] : sl;
    if (sl == NULL) {
        return;
    }
    if (inl_frame_put_credit(&sl->control, 0, s->rx_charged_limit) != 0) {
        inl_session_close(s, INLETS_ENOMEM);
        return;
    }
    inl_lane_wake(&sl->lane);
}

/* Payments are gathered, unless the peer is about to run dry. */
void inl_session_repay(struct inl_session *s, uint64_t bytes)
{
    uint64_t due;

    s->rx_charged_limit += bytes;
    due = s->rx_charged_limit - s->rx_charged_told;
    if (due >= INL_SESSION_WINDOW / 8 ||
        (due >= INL_FRAME_MAX_DATA &&
         window_left(s) < INL_SESSION_RELIEF_BYTES) ||
        (due > 0 && window_left(s) == 0)) {
        s->rx_charged_told = s->rx_charged_limit;
        pay_session(s);
    }
}

/* ---- memory pressure -------------------------------------------------- */

/* Charged bytes that the next hop has not taken. */
static uint64_t held_bytes(const struct inl_stream *st)
{
    uint64_t paid = charged_part(st->rx_paid);

    return st->rx_charged > paid ? st->rx_charged - paid : 0;
}

static struct inl_stream *longest_stalled(struct inl_session *s)
{
    struct inl_stream *longest = NULL;
    struct inl_map_node *n = NULL;

    while ((n = inl_map_walk(&s->streams, n)) != NULL) {
        struct inl_stream *st = inl_container(n, struct inl_stream, node);

        if (held_bytes(st) > 0 &&
            s->env->now_ms - st->rx_moved_ms >= INL_SESSION_STALL_MS &&
            (longest == NULL || st->rx_moved_ms < longest->rx_moved_ms)) {
            longest = st;
        }
    }
    return longest;
}

static void look_again(struct inl_session *s, uint32_t ms)
{
    if (window_left(s) < INL_SESSION_PRESSURE_BYTES &&
        s->pressure.due_ms == 0 && s->state != INL_SESSION_CLOSED) {
        (void)inl_timer_at(s->env, &s->pressure, s->env->now_ms + ms);
    }
}

void inl_session_check_pressure(struct inl_session *s)
{
    look_again(s, INL_SESSION_STALL_MS);
}

void inl_session_relieve(struct inl_timer *timer)
{
    struct inl_session *s = inl_container(timer, struct inl_session, pressure);
    struct inl_stream *st;
    unsigned ended = 0;

    if (window_left(s) >= INL_SESSION_PRESSURE_BYTES) {
        return;
    }
    while (window_left(s) < INL_SESSION_RELIEF_BYTES &&
           (st = longest_stalled(s)) != NULL) {
        inl_stream_abort(st, INLETS_ELIMIT, true);
        ended++;
    }
    if (ended > 0) {
        inl_log(s->env, INLETS_LOG_WARN, "stalled requests ended",
                INL_KN("session", s->id), INL_KN("requests", ended),
                INL_KV("why", INL_LIT("they used up the tunnel's window")));
    }
    /* what was freed may go to others that stand still too */
    look_again(s, INL_SESSION_STALL_MS / 8);
}

/* ---- the end of a stream ---------------------------------------------- */

void inl_stream_remove(struct inl_stream *st, int err)
{
    struct inl_session *s = st->session;

    if (st->removed) {
        return;
    }
    st->removed = true;
    log_request(st, err);
    inl_map_remove(&s->streams, &st->node);
    leave_lane(st);
    inl_env_later(s->env, &st->later);
    if (s->state == INL_SESSION_DRAINING) {
        inl_session_wake(s); /* was it the last? */
    }
    if (held_bytes(st) > 0) {
        inl_session_repay(s, held_bytes(st));
    }
}

void inl_stream_check_done(struct inl_stream *st)
{
    if (st->tx_end_sent && st->rx_end_got && !inl_flow_tied(&st->flow)) {
        inl_stream_remove(st, 0);
    }
}

/* Nobody has heard of a parked stream. */
static void send_reset(struct inl_stream *st, int err)
{
    if (st->lane != NULL) {
        if (inl_frame_put_reset(&st->lane->control, st->id, err) != 0) {
            inl_session_close(st->session, INLETS_ENOMEM);
        }
        inl_lane_wake(&st->lane->lane);
    }
}

void inl_stream_abort(struct inl_stream *st, int err, bool reset)
{
    if (st->removed) {
        return;
    }
    inl_stream_remove(st, err);
    if (reset) {
        send_reset(st, err);
    }
    inl_flow_stop(&st->flow, err);
}

/* ---- schedule --------------------------------------------------------- */

void inl_stream_schedule(struct inl_stream *st)
{
    struct inl_session_lane *sl = st->lane;

    if (sl == NULL) {
        return;
    }
    if (!inl_list_linked(&st->sched) && !st->removed) {
        inl_list_push_back(st->tx_sent < INL_FLOW_WINDOW / 4 ? &sl->fresh
                                                             : &sl->bulk,
                           &st->sched);
    }
    inl_lane_wake(&sl->lane);
}

void inl_session_unblock(struct inl_session *s)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        struct inl_list *all = &s->lanes[i]->streams;
        struct inl_list *n, *tmp;

        inl_list_each(all, n, tmp)
        {
            struct inl_stream *st =
                inl_container(n, struct inl_stream, on_lane);

            if (st->pending.bytes > 0 && !inl_list_linked(&st->sched)) {
                inl_stream_schedule(st);
            }
        }
    }
}

/* What may go into the next DATA frame; wholly charged or wholly free. */
static size_t next_data(const struct inl_stream *st, bool *ret_charged)
{
    const struct inl_session *s = st->session;
    uint64_t n = st->pending.bytes;
    uint64_t credit = st->tx_limit - st->tx_sent;
    bool charged = st->tx_sent >= INL_STREAM_FREE_BYTES;
    uint64_t most = charged ? s->tx_charged_limit - s->tx_charged
                            : INL_STREAM_FREE_BYTES - st->tx_sent;

    n = n < INL_FRAME_MAX_DATA ? n : INL_FRAME_MAX_DATA;
    n = n < credit ? n : credit;
    n = n < most ? n : most;
    *ret_charged = charged;
    return (size_t)n;
}

static int put_end(struct inl_stream *st, struct inl_queue *q)
{
    if (st->tail.bytes > 0) {
        return inl_queue_move(q, &st->tail, st->tail.bytes);
    }
    return inl_frame_put_data(q, st->id, INL_FRAME_END, &st->pending, 0);
}

static int put_data(struct inl_stream *st, struct inl_queue *q, size_t n,
                    bool charged)
{
    uint8_t flags = charged ? INL_FRAME_CHARGED : 0;
    bool last = st->tx_end && n == st->pending.bytes && st->tail.bytes == 0;
    int err;

    flags |= last ? INL_FRAME_END : 0;
    err = inl_frame_put_data(q, st->id, flags, &st->pending, n);
    if (err == 0) {
        st->tx_sent += n;
        st->session->tx_charged += charged ? n : 0;
        st->session->bytes_out += n;
        st->tx_end_sent = last;
        inl_stream_count(st);
    }
    return err;
}

/* One frame of one stream. */
static int take_turn(struct inl_stream *st, struct inl_queue *q)
{
    bool charged;
    size_t n = next_data(st, &charged);
    int err = 0;

    inl_list_remove(&st->sched);
    if (n > 0) {
        err = put_data(st, q, n, charged);
    }
    if (err == 0 && st->pending.bytes == 0 && st->tx_end && !st->tx_end_sent) {
        err = put_end(st, q);
        st->tx_end_sent = true;
    }
    if (err != 0) {
        return err;
    }
    if (n > 0) {
        inl_flow_credit(&st->flow, n);
    }
    if (st->pending.bytes > 0 && next_data(st, &charged) > 0) {
        inl_stream_schedule(st);
    }
    if (st->tx_end_sent && st->reset_after_end && !st->removed) {
        send_reset(st, 0);
        inl_stream_remove(st, 0);
    }
    inl_stream_check_done(st);
    return 0;
}

static struct inl_stream *next_stream(struct inl_session_lane *sl)
{
    struct inl_list *n = NULL;

    if (sl->turns < FRESH_TURNS || inl_list_empty(&sl->bulk)) {
        n = inl_list_pop(&sl->fresh);
        sl->turns++;
    }
    if (n == NULL) {
        n = inl_list_pop(&sl->bulk);
        sl->turns = 0;
    }
    return n == NULL ? NULL : inl_container(n, struct inl_stream, sched);
}

static int put_credits(struct inl_session_lane *sl, struct inl_queue *q)
{
    struct inl_list *n;

    while ((n = inl_list_pop(&sl->owing)) != NULL) {
        struct inl_stream *st = inl_container(n, struct inl_stream, owes);
        int err = inl_frame_put_credit(q, st->id, st->rx_limit);

        if (err != 0) {
            return err;
        }
        st->rx_told = st->rx_limit;
    }
    return 0;
}

void inl_session_fill(struct inl_session_lane *sl, struct inl_queue *q,
                      size_t room)
{
    size_t limit = q->bytes + room;
    struct inl_stream *st;
    int err = inl_queue_move(q, &sl->control, sl->control.bytes);

    if (err == 0) {
        err = put_credits(sl, q);
    }
    while (err == 0 && q->bytes < limit && (st = next_stream(sl)) != NULL) {
        err = take_turn(st, q);
        if (err == 0) { /* a head made in there goes before its body */
            err = inl_queue_move(q, &sl->control, sl->control.bytes);
        }
    }
    if (err != 0) {
        inl_session_close(sl->session, err);
    }
}

/* ---- events at our end of the flow ------------------------------------ */

/* Opener only has callees' ends, so a head comes at the answerer's. */
static void flow_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct inl_stream *st = inl_container(f, struct inl_stream, flow);
    struct inl_session_lane *sl = st->lane;

    if (st->log != NULL && (head->status >= 200 || head->status == 101)) {
        st->log->status = head->status;
    }
    if (sl->control.bytes > INL_SESSION_CONTROL_BYTES ||
        inl_frame_put_head(&sl->control, st->id, 0, head) != 0) {
        inl_stream_abort(st, INLETS_EUPSTREAM, true);
        return;
    }
    inl_lane_wake(&sl->lane);
}

static void flow_body(struct inl_flow *f, struct inlets_slice data)
{
    struct inl_stream *st = inl_container(f, struct inl_stream, flow);

    if (inl_queue_append_slice(&st->pending, data) != 0) {
        inl_stream_abort(st, INLETS_ENOMEM, true);
        return;
    }
    if (st->log != NULL) {
        st->log->bytes_out += data.len;
    }
    inl_stream_schedule(st);
}

static void flow_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct inl_stream *st = inl_container(f, struct inl_stream, flow);

    if (trailers != NULL && trailers->nfields > 0 &&
        inl_frame_put_trailers(&st->tail, st->id, trailers) != 0) {
        inl_queue_clear(&st->tail); /* trailers that cannot be sent are lost */
    }
    st->tx_end = true;
    inl_stream_schedule(st);
}

static void flow_stop(struct inl_flow *f, int err)
{
    struct inl_stream *st = inl_container(f, struct inl_stream, flow);

    /* "complete for me" travels behind our own end, so that the answer is
     * whole before the stream is forgotten */
    if (err == 0 && st->tx_end && !st->tx_end_sent) {
        st->reset_after_end = true;
        inl_stream_schedule(st);
        return;
    }
    send_reset(st, err);
    inl_stream_remove(st, err);
}

/* Half a window used up in less than twice the round trip: the window, not
 * the link or the next hop, sets the pace (the rule of quic-go). */
static void grow_window(struct inl_stream *st)
{
    uint64_t now = st->session->env->now_ms;
    uint64_t used = st->rx_paid - st->epoch_paid;

    if (used < st->rx_window / 2 ||
        st->rx_window >= INL_SESSION_STREAM_WINDOW_MAX ||
        st->lane->lane.rtt_ms < INL_SESSION_GROW_RTT_MS) {
        return;
    }
    if ((now - st->epoch_ms) * st->rx_window <
        4 * (uint64_t)st->lane->lane.rtt_ms * used) {
        inl_flow_widen(&st->flow, (size_t)st->rx_window);
        st->rx_limit += st->rx_window;
        st->rx_window *= 2;
    }
    st->epoch_ms = now;
    st->epoch_paid = st->rx_paid;
}

static void flow_credit(struct inl_flow *f, size_t bytes)
{
    struct inl_stream *st = inl_container(f, struct inl_stream, flow);
    uint64_t before = charged_part(st->rx_paid);

    st->rx_moved_ms = st->session->env->now_ms;
    st->rx_paid += bytes;
    st->rx_limit += bytes;
    if (st->lane != NULL && !st->rx_end_got) {
        grow_window(st);
        if (st->rx_limit - st->rx_told >= st->rx_window / 4 &&
            !inl_list_linked(&st->owes)) {
            inl_list_push_back(&st->lane->owing, &st->owes);
            inl_lane_wake(&st->lane->lane);
        }
    }
    inl_session_repay(st->session, charged_part(st->rx_paid) - before);
}

static const struct inl_flow_ops flow_ops = {.head = flow_head,
                                             .body = flow_body,
                                             .end = flow_end,
                                             .stop = flow_stop,
                                             .credit = flow_credit};
