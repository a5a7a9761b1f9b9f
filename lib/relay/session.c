/* session.c: the life of a session; see session.h.
 *
 *   HELLO -> OPEN -> DRAINING -> CLOSED     (any state may go to CLOSED)
 *
 * The owner (node/) makes it, attaches a link, and frees it from `later`
 * after `down`, which comes when the last lane is down. Lanes are owned here
 * (session_lane.c), and so are the routes of the opener (session_route.c).
 *
 * What the peer does wrong ends the session with a reason. A lost websocket
 * ends nothing: see lane.h. */
#include "relay/session.h"

#include "base/mem.h"
#include "base/slice.h"
#include "relay/session_frames.h"
#include "relay/session_lane.h"
#include "relay/session_route.h"
#include <string.h>

static const char *const state_names[] = {"hello", "open", "draining",
                                          "closed"};

static const unsigned moves[] = {
    [INL_SESSION_HELLO] = 1u << INL_SESSION_OPEN | 1u << INL_SESSION_CLOSED,
    [INL_SESSION_OPEN] = 1u << INL_SESSION_DRAINING | 1u << INL_SESSION_CLOSED,
    [INL_SESSION_DRAINING] = 1u << INL_SESSION_CLOSED,
    [INL_SESSION_CLOSED] = 0,
};

void inl_session_move(struct inl_session *s, enum inl_session_state to)
{
    if ((moves[s->state] & 1u << to) == 0) {
        inl_log(s->env, INLETS_LOG_ERROR, "impossible move",
                INL_KV("from", inl_str(state_names[s->state])),
                INL_KV("to", inl_str(state_names[to])));
        return;
    }
    inl_env_trace_move(s->env, "session", s->id, state_names[s->state],
                       state_names[to]);
    s->state = to;
}

/* ---- frames of the session -------------------------------------------- */

static int got_hello(struct inl_session *s, const struct inl_frame *f)
{
    int err = inl_frame_get_hello(f->payload, &s->peer);

    if (err != 0) {
        return err;
    }
    inl_timer_off(s->env, &s->hello_timer);
    s->tx_charged_limit = s->peer.session_window;
    if (s->role == INL_SESSION_ANSWERER) {
        memcpy(s->lanes[0]->secret, s->peer.secret, sizeof(s->peer.secret));
        if (s->peer.lanes < s->most_lanes) {
            s->most_lanes = s->peer.lanes;
        }
    }
    inl_wipe(s->peer.secret, sizeof(s->peer.secret));
    inl_session_lanes_set_resume(s);
    inl_session_move(s, INL_SESSION_OPEN);
    s->ops->hello(s, &s->peer);
    s->peer.agent = (struct inlets_slice){NULL, 0};
    inl_session_want_more(s);
    return 0;
}

static int got_routed(struct inl_session *s, const struct inl_frame *f)
{
    struct inlets_slice text;
    uint32_t id;
    int reason;
    int err = inl_frame_get_routed(f->payload, &id, &reason, &text);

    if (err != 0 || s->role != INL_SESSION_ANSWERER) {
        return err != 0 ? err : INLETS_EPROTO;
    }
    s->ops->routed(s, id, reason, text);
    return 0;
}

static int got_spread(struct inl_session *s, const struct inl_frame *f)
{
    return s->role == INL_SESSION_ANSWERER
               ? inl_frame_get_spread(f->payload, &s->peer.spread_ms)
               : INLETS_EPROTO;
}

/* ---- the goodbye ------------------------------------------------------ */

/* Each lane has its own GOAWAY, since it says: no OPEN comes behind me. */
static void send_goaways(struct inl_session *s, int err,
                         struct inlets_slice text)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        struct inl_session_lane *sl = s->lanes[i];

        if (sl->goaway_sent) {
            continue;
        }
        sl->goaway_sent = true;
        if (inl_frame_put_goaway(&sl->control, s->last_stream, err, text) !=
            0) {
            inl_session_close(s, INLETS_ENOMEM);
            return;
        }
        inl_lane_wake(&sl->lane);
    }
}

static bool is_drained(const struct inl_session *s)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        const struct inl_session_lane *sl = s->lanes[i];

        /* Lane 0 takes the others with it: all must have arrived. */
        if (!sl->goaway_got || !sl->goaway_sent || sl->control.bytes > 0 ||
            sl->lane.kept.bytes > 0) {
            return false;
        }
    }
    return s->state == INL_SESSION_DRAINING && s->streams.count == 0;
}

static void close_lanes(struct inl_session *s, int err, uint16_t code,
                        struct inlets_slice reason)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        inl_lane_close(&s->lanes[i]->lane, err, code, reason);
    }
}

/* Nothing runs, and both sides know that nothing will. */
static void close_if_drained(struct inl_session *s)
{
    if (s->role == INL_SESSION_ANSWERER && is_drained(s)) {
        inl_session_move(s, INL_SESSION_CLOSED);
        close_lanes(s, 0, 1001, INL_LIT("drained"));
    }
}

static int got_goaway(struct inl_session_lane *sl, const struct inl_frame *f)
{
    struct inl_session *s = sl->session;
    struct inlets_slice text;
    uint32_t last;
    int reason;
    int err = inl_frame_get_goaway(f->payload, &last, &reason, &text);

    if (err != 0) {
        return err;
    }
    sl->goaway_got = true;
    if (s->state == INL_SESSION_OPEN) {
        inl_session_move(s, INL_SESSION_DRAINING);
        inl_session_drop_routes(s);
        s->ops->goaway(s, reason, text);
    }
    send_goaways(s, 0, INL_LIT("you asked for it"));
    inl_session_wake(s); /* it may be drained by now */
    return 0;
}

/* ---- events of lanes -------------------------------------------------- */

/* Frames about the session itself belong to lane 0. Those of streams name one,
 * as the frame reader has checked. */
static int dispatch_session(struct inl_session *s, const struct inl_frame *f)
{
    switch ((enum inl_frame_type)f->type) {
    case INL_FRAME_ROUTE:
        return inl_session_got_route(s, f);
    case INL_FRAME_UNROUTE:
        return inl_session_got_unroute(s, f);
    case INL_FRAME_ROUTED:
        return got_routed(s, f);
    case INL_FRAME_SPREAD:
        return got_spread(s, f);
    case INL_FRAME_HELLO:
    case INL_FRAME_OPEN:
    case INL_FRAME_HEAD:
    case INL_FRAME_DATA:
    case INL_FRAME_TRAILERS:
    case INL_FRAME_CREDIT:
    case INL_FRAME_RESET:
    case INL_FRAME_GOAWAY:
    default:
        return INLETS_EPROTO;
    }
}

static int dispatch(struct inl_session_lane *sl, const struct inl_frame *f)
{
    if (f->type == INL_FRAME_GOAWAY) {
        return got_goaway(sl, f);
    }
    if (f->stream != 0 || f->type == INL_FRAME_CREDIT) {
        return inl_session_stream_frame(sl, f);
    }
    return sl->number == 0 ? dispatch_session(sl->session, f) : INLETS_EPROTO;
}

static int on_frame(struct inl_lane *lane, const struct inl_frame *f)
{
    struct inl_session_lane *sl = inl_session_lane_of(lane);
    struct inl_session *s = sl->session;

    if (s->state == INL_SESSION_CLOSED) {
        return 0;
    }
    if (s->state == INL_SESSION_HELLO) {
        return f->type == INL_FRAME_HELLO ? got_hello(s, f) : INLETS_EPROTO;
    }
    if (sl->control.bytes > INL_SESSION_CONTROL_MAX) {
        return INLETS_ELIMIT;
    }
    return dispatch(sl, f);
}

static void on_fill(struct inl_lane *lane, struct inl_queue *q, size_t room)
{
    struct inl_session_lane *sl = inl_session_lane_of(lane);

    inl_session_fill(sl, q, room);
    close_if_drained(sl->session);
}

static void on_confirmed(struct inl_lane *lane)
{
    inl_session_lane_confirmed(inl_session_lane_of(lane));
}

static void on_asked_to_move(struct inl_lane *lane)
{
    struct inl_session_lane *sl = inl_session_lane_of(lane);
    struct inl_session *s = sl->session;

    if (s->role == INL_SESSION_ANSWERER && s->state != INL_SESSION_CLOSED) {
        s->ops->want(s, sl->number, INL_WANT_MOVE);
    }
}

/* The way to the opener alone may be stuck: then the answerer cannot know, but
 * can still be asked. */
static void on_doubted(struct inl_lane *lane)
{
    struct inl_session_lane *sl = inl_session_lane_of(lane);
    struct inl_session *s = sl->session;

    if (s->state == INL_SESSION_CLOSED || lane->resume_ms == 0) {
        return;
    }
    if (s->role == INL_SESSION_ANSWERER) {
        s->ops->want(s, sl->number, INL_WANT_DOUBT);
    } else {
        inl_lane_ask_to_move(lane);
    }
}

static void on_lost(struct inl_lane *lane, int err)
{
    inl_session_lane_lost(inl_session_lane_of(lane), err);
}

static void stop_streams(struct inl_session *s, int err)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        inl_session_stop_list(&s->lanes[i]->streams, err);
    }
    inl_session_stop_list(&s->parked, INLETS_EUNAVAILABLE); /* never sent */
}

static void end(struct inl_session *s, int err)
{
    if (s->state != INL_SESSION_CLOSED) {
        inl_session_move(s, INL_SESSION_CLOSED);
    }
    inl_timer_off(s->env, &s->hello_timer);
    inl_session_drop_routes(s);
    /* EGOAWAY would say that they were never sent */
    stop_streams(s, err == 0 || err == INLETS_EGOAWAY ? INLETS_ECLOSED : err);
}

static uint16_t close_code(int err)
{
    return err == INLETS_EGOAWAY ? 1001 : 1000;
}

/* The peer broke the rules, or said goodbye: what runs is over now, not when
 * the link has lingered. A lane above 0 may be closed alone. */
static void on_ending(struct inl_lane *lane, int err)
{
    struct inl_session_lane *sl = inl_session_lane_of(lane);
    struct inl_session *s = sl->session;

    if (s->state == INL_SESSION_CLOSED) {
        return;
    }
    if (sl->number > 0 && err == INLETS_ECLOSED) {
        inl_session_stop_list(&sl->streams, err);
        return;
    }
    end(s, err == 0 ? INLETS_ECLOSED : err);
    close_lanes(s, err, close_code(err), inl_str(inlets_strerror(err)));
}

/* Lane 0 takes the session with it, another only its own streams. */
static void on_down(struct inl_lane *lane, int err)
{
    struct inl_session_lane *sl = inl_session_lane_of(lane);
    struct inl_session *s = sl->session;

    inl_session_stop_list(&sl->streams, err == 0 ? INLETS_ECLOSED : err);
    if (sl->number == 0) {
        s->err = err;
        end(s, err);
        close_lanes(s, err, close_code(err), INL_LIT("lane 0 is gone"));
    } else if (s->state != INL_SESSION_CLOSED) {
        s->wants_more = false;
        if (s->ops->lane != NULL) {
            s->ops->lane(s, sl->number, INLETS_ETIMEDOUT);
        }
    }
    inl_session_lane_remove(sl);
    inl_session_wake(s); /* drained without it? */
    if (s->nlanes == 0) {
        s->ops->down(s, s->err);
    }
}

const struct inl_lane_ops inl_session_lane_ops = {
    .on_frame = on_frame,
    .on_data = inl_session_on_data,
    .fill = on_fill,
    .confirmed = on_confirmed,
    .asked_to_move = on_asked_to_move,
    .doubted = on_doubted,
    .lost = on_lost,
    .ending = on_ending,
    .down = on_down,
};

/* ---- life ------------------------------------------------------------- */

static void init_maps(struct inl_session *s)
{
    uint64_t seeds[2];

    inl_env_random(s->env, seeds, sizeof(seeds));
    inl_map_init(&s->streams, seeds[0]);
    inl_map_init(&s->routes, seeds[1]);
    s->id = seeds[0] >> 32;
}

static void hello_timeout(struct inl_timer *timer)
{
    inl_session_close(inl_container(timer, struct inl_session, hello_timer),
                      INLETS_ETIMEDOUT);
}

static void init_lists(struct inl_session *s)
{
    inl_list_init(&s->parked);
    inl_timer_init(&s->pressure, inl_session_relieve);
    inl_timer_init(&s->park_timer, inl_session_park_timeout);
    inl_timer_init(&s->hello_timer, hello_timeout);
}

/* The opener gives the session its name in tickets. */
static int put_hello(struct inl_session *s,
                     const struct inl_session_config *config)
{
    struct inl_session_lane *sl = s->lanes[0];
    struct inl_hello hello = {
        .version = INL_HELLO_VERSION,
        .stream_window = INL_FLOW_WINDOW,
        .session_window = INL_SESSION_WINDOW,
        .max_streams = config->max_streams,
        .agent = config->agent,
        .lanes = s->most_lanes,
    };
    int err;

    if (s->role == INL_SESSION_OPENER &&
        (s->resume_ms > 0 || s->most_lanes > 1)) {
        do {
            inl_env_random(s->env, &s->ticket, sizeof(s->ticket));
        } while (s->ticket == 0);
        inl_env_random(s->env, sl->secret, sizeof(sl->secret));
        hello.ticket = s->ticket;
        memcpy(hello.secret, sl->secret, sizeof(hello.secret));
        hello.resume_ms = s->resume_ms;
    }
    if (s->role == INL_SESSION_ANSWERER) {
        hello.resume_ms = s->resume_ms;
        hello.no_resume = s->resume_ms == 0;
    }
    hello.spread_ms = config->spread_ms;
    err = inl_frame_put_hello(&sl->control, &hello);
    inl_wipe(hello.secret, sizeof(hello.secret));
    return err;
}

static unsigned lanes_of(const struct inl_session_config *config)
{
    unsigned lanes = config->lanes;

    if (config->role == INL_SESSION_ANSWERER) {
        return INL_SESSION_LANES; /* as many as it may come to want */
    }
    return lanes == 0                  ? 1
           : lanes < INL_SESSION_LANES ? lanes
                                       : INL_SESSION_LANES;
}

struct inl_session *inl_session_new(struct inl_env *env,
                                    const struct inl_session_config *config)
{
    struct inl_session *s = inl_calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->ops = config->ops;
    s->owner = config->owner;
    s->env = env;
    s->role = config->role;
    s->max_streams = config->max_streams;
    s->resume_ms = config->resume_ms;
    s->lane_config = config->lane;
    s->most_lanes = lanes_of(config);
    s->wanted_lanes = config->lanes;
    s->next_lane = 1;
    s->rx_charged_limit = s->rx_charged_told = INL_SESSION_WINDOW;
    init_lists(s);
    init_maps(s);
    if (inl_session_lane_new(s, 0) == NULL || put_hello(s, config) != 0) {
        inl_session_free(s);
        return NULL;
    }
    return s;
}

void inl_session_free(struct inl_session *s)
{
    if (s != NULL) {
        inl_timer_off(s->env, &s->pressure);
        inl_timer_off(s->env, &s->park_timer);
        inl_timer_off(s->env, &s->hello_timer);
        for (unsigned i = 0; i < s->nlanes; i++) {
            inl_session_lane_free(s->lanes[i]);
        }
        inl_map_fini(&s->streams);
        inl_map_fini(&s->routes);
        inl_free(s);
    }
}

int inl_session_attach(struct inl_session *s, struct inl_link *link)
{
    int err = inl_timer_at(s->env, &s->hello_timer,
                           s->env->now_ms + INL_SESSION_HELLO_MS);

    if (err == 0) {
        err = inl_lane_attach(&s->lanes[0]->lane, link,
                              s->role == INL_SESSION_OPENER ? INL_WS_SERVER
                                                            : INL_WS_CLIENT);
    }
    return err;
}

int inl_session_offer(struct inl_session *s, uint32_t route,
                      struct inlets_slice endpoint)
{
    int err;

    if (s->state == INL_SESSION_CLOSED) {
        return INLETS_ECLOSED;
    }
    err = inl_frame_put_route(&s->lanes[0]->control, route, endpoint);
    inl_lane_wake(&s->lanes[0]->lane);
    return err;
}

int inl_session_withdraw(struct inl_session *s, uint32_t route)
{
    int err;

    if (s->state == INL_SESSION_CLOSED) {
        return INLETS_ECLOSED;
    }
    err = inl_frame_put_unroute(&s->lanes[0]->control, route);
    inl_lane_wake(&s->lanes[0]->lane);
    return err;
}

void inl_session_tell_spread(struct inl_session *s, uint32_t spread_ms)
{
    if (s->state == INL_SESSION_OPEN &&
        inl_frame_put_spread(&s->lanes[0]->control, spread_ms) == 0) {
        inl_lane_wake(&s->lanes[0]->lane);
    }
}

void inl_session_drain(struct inl_session *s, int err, struct inlets_slice text)
{
    if (s->state == INL_SESSION_HELLO) {
        inl_session_close(s, INLETS_EGOAWAY);
    } else if (s->state == INL_SESSION_OPEN) {
        inl_session_move(s, INL_SESSION_DRAINING);
        inl_session_drop_routes(s);
        inl_session_stop_list(&s->parked, INLETS_EGOAWAY); /* never sent */
        send_goaways(s, err, text);
    }
}

void inl_session_close(struct inl_session *s, int err)
{
    if (s->state == INL_SESSION_CLOSED) {
        return;
    }
    end(s, err);
    close_lanes(s, err, close_code(err),
                inl_str(err == 0 ? "bye" : inlets_strerror(err)));
}

size_t inl_session_nstreams(const struct inl_session *s)
{
    return s->streams.count;
}
