/* session.c: frames in, and the life of a session; see session.h.
 *
 *   HELLO -> OPEN -> DRAINING -> CLOSED     (any state may go to CLOSED)
 *
 * The owner (node/) makes it, attaches a link, and frees it from `later`
 * after `down`. Routes of the opener are owned here and are taken back one by
 * one before `down`; they belong to the session, so a late close of an old
 * session removes nothing of a new one.
 *
 * What the peer does wrong ends the session with a reason; a frame for a
 * stream that is over is normal (it crossed our RESET) and is ignored, its
 * charged bytes being paid back. */
#include "relay/session.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1.h"
#include "relay/forwarding.h"
#include "relay/session_stream.h"
#include <string.h>

/* A client's endpoint, as the opener sees it. */
struct session_route {
    struct inl_map_node node;
    struct inl_session *session;
    struct inl_service service; /* opens streams to this route */
    struct inl_target target;
    uint32_t id;
    size_t text_len;
    char text[];
};

static const char *const state_names[] = {"hello", "open", "draining",
                                          "closed"};

static const unsigned moves[] = {
    [INL_SESSION_HELLO] = 1u << INL_SESSION_OPEN | 1u << INL_SESSION_CLOSED,
    [INL_SESSION_OPEN] = 1u << INL_SESSION_DRAINING | 1u << INL_SESSION_CLOSED,
    [INL_SESSION_DRAINING] = 1u << INL_SESSION_CLOSED,
    [INL_SESSION_CLOSED] = 0,
};

static void move(struct inl_session *s, enum inl_session_state to)
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

/* ---- routes of the opener --------------------------------------------- */

static struct session_route *find_route(struct inl_session *s, uint32_t id)
{
    struct inl_map_node *n =
        inl_map_first(&s->routes, inl_map_hash_u32(&s->routes, id));

    for (; n != NULL; n = inl_map_next(n)) {
        struct session_route *r = inl_container(n, struct session_route, node);

        if (r->id == id) {
            return r;
        }
    }
    return NULL;
}

static void drop_route(struct inl_session *s, struct session_route *r)
{
    inl_map_remove(&s->routes, &r->node); /* unroute may close the session */
    s->ops->unroute(s, &r->target, inl_slice(r->text, r->text_len));
    inl_free(r);
}

static void drop_routes(struct inl_session *s)
{
    struct inl_map_node *n;

    while ((n = inl_map_walk(&s->routes, NULL)) != NULL) {
        drop_route(s, inl_container(n, struct session_route, node));
    }
}

static enum inl_health route_health(struct inl_target *t)
{
    const struct inl_session *s =
        inl_container(t, struct session_route, target)->session;

    if (s->state != INL_SESSION_OPEN) {
        return INL_HEALTH_OUT;
    }
    return inl_lane_is_suspect(&s->lane) ? INL_HEALTH_SUSPECT : INL_HEALTH_GOOD;
}

static int route_open(struct inl_service *service,
                      const struct inl_request *req, struct inl_flow *caller);

static const struct inl_service_ops route_ops = {.open = route_open};

static struct session_route *route_new(struct inl_session *s, uint32_t id,
                                       struct inlets_slice text)
{
    struct session_route *r = inl_malloc(sizeof(*r) + text.len);

    if (r == NULL) {
        return NULL;
    }
    *r = (struct session_route){
        .session = s, .service = {&route_ops}, .id = id, .text_len = text.len};
    memcpy(r->text, text.ptr, text.len);
    inl_target_init(&r->target, &r->service);
    r->target.health = route_health;
    if (inl_map_add(&s->routes, &r->node, inl_map_hash_u32(&s->routes, id)) !=
        0) {
        inl_free(r);
        return NULL;
    }
    return r;
}

/* Takes or refuses an offered endpoint; the answer is the ROUTED frame. */
static int take_route(struct inl_session *s, uint32_t id,
                      struct inlets_slice text, struct inlets_slice *ret_why)
{
    struct inl_endpoint endpoint;
    struct session_route *r;
    int err = inl_endpoint_parse(text, &endpoint);

    if (err == 0 && s->routes.count >= INL_SESSION_MAX_ROUTES) {
        err = INLETS_ELIMIT;
    }
    if (err != 0) {
        return err;
    }
    r = route_new(s, id, text);
    if (r == NULL) {
        return INLETS_ENOMEM;
    }
    err = s->ops->route(s, &r->target, &endpoint, text, ret_why);
    if (err != 0) {
        inl_map_remove(&s->routes, &r->node);
        inl_free(r);
    }
    return err;
}

/* ---- opening a stream (exit node) ------------------------------------- */

static int may_open(const struct inl_session *s)
{
    uint32_t most = s->peer.max_streams < s->max_streams ? s->peer.max_streams
                                                         : s->max_streams;

    if (s->state != INL_SESSION_OPEN) {
        return INLETS_EUNAVAILABLE;
    }
    if (s->streams.count >= most ||
        s->control.bytes > INL_SESSION_CONTROL_BYTES) {
        return INLETS_ELIMIT;
    }
    return 0;
}

static int route_open(struct inl_service *service,
                      const struct inl_request *req, struct inl_flow *caller)
{
    struct session_route *r =
        inl_container(service, struct session_route, service);
    struct inl_session *s = r->session;
    struct inl_stream *st;
    int err = may_open(s);

    if (err != 0) {
        return err;
    }
    st = inl_stream_new(s, s->last_stream + 1);
    if (st == NULL) {
        return INLETS_ENOMEM;
    }
    err = inl_frame_put_open(&s->control, st->id, 0, r->id, req->id, req->head);
    if (err != 0) {
        inl_stream_remove(st, err);
        return err;
    }
    s->last_stream++;
    s->streams_served++;
    inl_flow_tie(caller, &st->flow);
    inl_lane_wake(&s->lane);
    if (s->last_stream >= 0x7fffffff) { /* ids are never reused */
        inl_session_drain(s, 0, INL_LIT("out of stream numbers"));
    }
    return 0;
}

/* ---- serving a stream (dev machine) ----------------------------------- */

static struct inl_stream_log *log_new(const struct inl_session *s,
                                      const struct inl_request *req)
{
    struct inl_stream_log *l =
        inl_malloc(sizeof(*l) + req->id.len + req->head->method.len +
                   req->host.len + req->path.len);
    char *at;

    if (l != NULL) {
        *l = (struct inl_stream_log){.started_ms = s->env->now_ms};
        at = l->text;
        l->id = inl_slice_keep(&at, req->id);
        l->method = inl_slice_keep(&at, req->head->method);
        l->host = inl_slice_keep(&at, req->host);
        l->path = inl_slice_keep(&at, req->path);
    }
    return l;
}

static unsigned status_of_refusal(int err)
{
    return err == INLETS_ENOROUTE ? 404 : 502;
}

static void serve(struct inl_session *s, struct inl_stream *st, uint32_t route,
                  const struct inl_request *req)
{
    struct inl_service *service = s->ops->service(s, route);
    int err = service == NULL ? INLETS_EUNAVAILABLE
                              : inl_service_open(service, req, &st->flow);

    if (err != 0) {
        if (st->log != NULL) {
            st->log->status = status_of_refusal(err);
        }
        inl_stream_abort(st, err, true);
    }
}

static int got_open(struct inl_session *s, const struct inl_frame *f)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    char host[INL_HOST_MAX + 1];
    struct inlets_head head;
    struct inl_request req = {.head = &head};
    struct inl_stream *st;
    uint32_t route;
    int len;
    int err = inl_frame_get_open(f->payload, &route, &req.id, &head, fields,
                                 INL_FORWARD_MAX_FIELDS);

    if (err != 0 || s->role != INL_SESSION_ANSWERER ||
        f->stream <= s->last_stream || s->streams.count >= s->max_streams) {
        return err != 0 ? err : INLETS_EPROTO;
    }
    s->last_stream = f->stream;
    s->streams_served++;
    st = inl_stream_new(s, f->stream);
    if (st == NULL) {
        return INLETS_ENOMEM;
    }
    len = head.host.len == 0
              ? 0
              : inl_host_normalise(head.host, host, sizeof(host));
    req.host = inl_slice(host, len < 0 ? 0 : (size_t)len);
    req.path = inl_target_path(head.target);
    st->log = log_new(s, &req);
    serve(s, st, route, &req);
    if ((f->flags & INL_FRAME_END) != 0) {
        st->rx_end_got = true;
        inl_flow_end(&st->flow, NULL);
        inl_stream_check_done(st);
    }
    return 0;
}

/* ---- frames of streams ------------------------------------------------ */

/* Was it ever opened? Else the peer made it up. */
static int check_known(const struct inl_session *s, uint32_t stream)
{
    return stream > s->last_stream ? INLETS_EPROTO : 0;
}

static void end_got(struct inl_stream *st, const struct inlets_head *trailers)
{
    st->rx_end_got = true;
    inl_flow_end(&st->flow, trailers);
    inl_stream_check_done(st);
}

static int got_head(struct inl_session *s, const struct inl_frame *f)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inl_stream *st = inl_stream_find(s, f->stream);
    struct inlets_head head;
    int err =
        inl_frame_get_head(f->payload, &head, fields, INL_FORWARD_MAX_FIELDS);

    if (err != 0 || s->role != INL_SESSION_OPENER || st == NULL) {
        return err != 0                        ? err
               : s->role != INL_SESSION_OPENER ? INLETS_EPROTO
                                               : check_known(s, f->stream);
    }
    if (st->got_head || st->rx_end_got ||
        ((f->flags & INL_FRAME_END) != 0 && head.status < 200)) {
        return INLETS_EPROTO;
    }
    st->got_head = head.status >= 200 || head.status == 101;
    if (!st->got_head) {
        st->interim_bytes += f->payload.len;
    }
    if (st->interim_bytes > INL_HTTP1_MAX_HEAD) { /* as from an upstream */
        inl_stream_abort(st, INLETS_EUPSTREAM, true);
        return 0;
    }
    inl_flow_head(&st->flow, &head);
    if ((f->flags & INL_FRAME_END) != 0 && !st->removed) {
        end_got(st, NULL);
    }
    return 0;
}

static int got_trailers(struct inl_session *s, const struct inl_frame *f)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inl_stream *st = inl_stream_find(s, f->stream);
    struct inlets_head head;
    int err = inl_frame_get_trailers(f->payload, &head, fields,
                                     INL_FORWARD_MAX_FIELDS);

    if (err != 0 || st == NULL) {
        return err != 0 ? err : check_known(s, f->stream);
    }
    if (st->rx_end_got || (s->role == INL_SESSION_OPENER && !st->got_head)) {
        return INLETS_EPROTO;
    }
    end_got(st, &head);
    return 0;
}

static int got_credit(struct inl_session *s, const struct inl_frame *f)
{
    struct inl_stream *st;
    uint64_t limit;
    int err = inl_frame_get_credit(f->payload, &limit);

    if (err != 0) {
        return err;
    }
    if (f->stream == 0) {
        bool blocked = s->tx_charged == s->tx_charged_limit;

        if (limit > s->tx_charged_limit) {
            s->tx_charged_limit = limit;
            if (blocked) {
                inl_session_unblock(s);
            }
        }
        return 0;
    }
    st = inl_stream_find(s, f->stream);
    if (st == NULL) {
        return check_known(s, f->stream);
    }
    if (limit > st->tx_limit) {
        st->tx_limit = limit;
        if (st->pending.bytes > 0) {
            inl_stream_schedule(st);
        }
    }
    return 0;
}

static int count_reset(struct inl_session *s)
{
    if (s->env->now_ms - s->resets_ms >= 1000) {
        s->resets_ms = s->env->now_ms;
        s->resets = 0;
    }
    return ++s->resets > INL_SESSION_MAX_RESETS ? INLETS_ELIMIT : 0;
}

static int got_reset(struct inl_session *s, const struct inl_frame *f)
{
    struct inl_stream *st = inl_stream_find(s, f->stream);
    int reason;
    int err = inl_frame_get_reset(f->payload, &reason);

    if (err == 0) {
        err = count_reset(s);
    }
    if (err != 0 || st == NULL) {
        return err != 0 ? err : check_known(s, f->stream);
    }
    if (reason == 0 && !st->rx_end_got) {
        reason = INLETS_EUPSTREAM; /* "complete", but it is not */
    }
    inl_stream_abort(st, reason, false);
    return 0;
}

/* ---- DATA ------------------------------------------------------------- */

static int charge(struct inl_session *s, struct inl_stream *st, uint8_t flags,
                  size_t n)
{
    if ((flags & INL_FRAME_CHARGED) != 0) {
        if (n > s->rx_charged_told - s->rx_charged) {
            return INLETS_EPROTO;
        }
        s->rx_charged += n;
        inl_session_check_pressure(s);
        if (st == NULL) {
            inl_session_repay(s, n); /* of a stream that is over */
        } else {
            st->rx_charged += n;
        }
    } else if (st != NULL) {
        if (n > INL_STREAM_FREE_BYTES - st->rx_free) {
            return INLETS_EPROTO;
        }
        st->rx_free += n;
    }
    return 0;
}

static int check_data(const struct inl_session *s, const struct inl_stream *st,
                      size_t n)
{
    if (st->rx_end_got || n > st->rx_limit - st->rx_got) {
        return INLETS_EPROTO;
    }
    if (s->role == INL_SESSION_OPENER && !st->got_head) {
        return INLETS_EPROTO; /* a body before its head */
    }
    return 0;
}

static int on_data(struct inl_lane *lane, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last)
{
    struct inl_session *s = inl_container(lane, struct inl_session, lane);
    struct inl_stream *st = inl_stream_find(s, stream);
    int err =
        s->state == INL_SESSION_HELLO ? INLETS_EPROTO : check_known(s, stream);

    if (err == 0 && st != NULL) {
        err = check_data(s, st, piece.len);
    }
    if (err == 0) {
        err = charge(s, st, flags, piece.len);
    }
    if (err != 0 || st == NULL) {
        return err;
    }
    st->rx_got += piece.len;
    s->bytes_in += piece.len;
    if (st->log != NULL) {
        st->log->bytes_in += piece.len;
    }
    inl_flow_body(&st->flow, piece);
    if (last && (flags & INL_FRAME_END) != 0 && !st->removed) {
        end_got(st, NULL);
    }
    return 0;
}

/* ---- frames of the session -------------------------------------------- */

static int got_hello(struct inl_session *s, const struct inl_frame *f)
{
    int err = inl_frame_get_hello(f->payload, &s->peer);

    if (err != 0) {
        return err;
    }
    s->tx_charged_limit = s->peer.session_window;
    move(s, INL_SESSION_OPEN);
    s->ops->hello(s, &s->peer);
    s->peer.agent = (struct inlets_slice){NULL, 0};
    return 0;
}

static int got_route(struct inl_session *s, const struct inl_frame *f)
{
    struct inlets_slice text, why = {NULL, 0};
    uint32_t id;
    int err = inl_frame_get_route(f->payload, &id, &text);

    if (err != 0 || s->role != INL_SESSION_OPENER ||
        find_route(s, id) != NULL) {
        return err != 0 ? err : INLETS_EPROTO;
    }
    err = take_route(s, id, text, &why);
    if (err == INLETS_ENOMEM) {
        return err; /* not a verdict: the client had better come again */
    }
    if (inl_frame_put_routed(
            &s->control, id, err,
            why.len > 0 ? why : inl_str(inlets_strerror(err))) != 0) {
        return INLETS_ENOMEM;
    }
    inl_lane_wake(&s->lane);
    return 0;
}

static int got_unroute(struct inl_session *s, const struct inl_frame *f)
{
    struct session_route *r;
    uint32_t id;
    int err = inl_frame_get_unroute(f->payload, &id);

    if (err != 0 || s->role != INL_SESSION_OPENER) {
        return err != 0 ? err : INLETS_EPROTO;
    }
    r = find_route(s, id);
    if (r != NULL) {
        drop_route(s, r);
    }
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

/* Drained: nothing runs, and both sides know that nothing will. */
static void close_if_drained(struct inl_session *s)
{
    if (s->state == INL_SESSION_DRAINING && s->streams.count == 0 &&
        s->goaway_got && s->goaway_sent && s->control.bytes == 0 &&
        s->role == INL_SESSION_ANSWERER) {
        move(s, INL_SESSION_CLOSED);
        inl_lane_close(&s->lane, 0, 1001, INL_LIT("drained"));
    }
}

static void send_goaway(struct inl_session *s, int err,
                        struct inlets_slice text)
{
    if (!s->goaway_sent) {
        s->goaway_sent = true;
        if (inl_frame_put_goaway(&s->control, s->last_stream, err, text) != 0) {
            inl_session_close(s, INLETS_ENOMEM);
            return;
        }
        inl_lane_wake(&s->lane);
    }
}

static int got_goaway(struct inl_session *s, const struct inl_frame *f)
{
    struct inlets_slice text;
    uint32_t last;
    int reason;
    int err = inl_frame_get_goaway(f->payload, &last, &reason, &text);

    if (err != 0) {
        return err;
    }
    s->goaway_got = true;
    if (s->state == INL_SESSION_OPEN) {
        move(s, INL_SESSION_DRAINING);
        drop_routes(s);
        s->ops->goaway(s, reason, text);
    }
    send_goaway(s, 0, INL_LIT("you asked for it"));
    inl_lane_wake(&s->lane); /* it may be drained by now */
    return 0;
}

static int dispatch(struct inl_session *s, const struct inl_frame *f)
{
    switch ((enum inl_frame_type)f->type) {
    case INL_FRAME_ROUTE:
        return got_route(s, f);
    case INL_FRAME_UNROUTE:
        return got_unroute(s, f);
    case INL_FRAME_ROUTED:
        return got_routed(s, f);
    case INL_FRAME_OPEN:
        return got_open(s, f);
    case INL_FRAME_HEAD:
        return got_head(s, f);
    case INL_FRAME_TRAILERS:
        return got_trailers(s, f);
    case INL_FRAME_CREDIT:
        return got_credit(s, f);
    case INL_FRAME_RESET:
        return got_reset(s, f);
    case INL_FRAME_GOAWAY:
        return got_goaway(s, f);
    case INL_FRAME_HELLO:
    case INL_FRAME_DATA:
    default:
        return INLETS_EPROTO;
    }
}

static int on_frame(struct inl_lane *lane, const struct inl_frame *f)
{
    struct inl_session *s = inl_container(lane, struct inl_session, lane);

    if (s->state == INL_SESSION_CLOSED) {
        return 0;
    }
    if (s->state == INL_SESSION_HELLO) {
        return f->type == INL_FRAME_HELLO ? got_hello(s, f) : INLETS_EPROTO;
    }
    if (s->control.bytes > INL_SESSION_CONTROL_MAX) {
        return INLETS_ELIMIT;
    }
    return dispatch(s, f);
}

static void on_fill(struct inl_lane *lane, struct inl_queue *q, size_t room)
{
    struct inl_session *s = inl_container(lane, struct inl_session, lane);

    inl_session_fill(s, q, room);
    close_if_drained(s);
}

static void stop_streams(struct inl_session *s, int err)
{
    struct inl_map_node *n;

    while ((n = inl_map_walk(&s->streams, NULL)) != NULL) {
        inl_stream_abort(inl_container(n, struct inl_stream, node), err, false);
    }
}

/* The peer broke the rules, or said goodbye: what runs is over now, not when
 * the link has lingered. */
static void on_ending(struct inl_lane *lane, int err)
{
    struct inl_session *s = inl_container(lane, struct inl_session, lane);

    if (s->state != INL_SESSION_CLOSED) {
        move(s, INL_SESSION_CLOSED);
        drop_routes(s);
        stop_streams(s, err == 0 ? INLETS_ECLOSED : err);
    }
}

static void on_down(struct inl_lane *lane, int err)
{
    struct inl_session *s = inl_container(lane, struct inl_session, lane);

    if (s->state != INL_SESSION_CLOSED) {
        move(s, INL_SESSION_CLOSED);
    }
    drop_routes(s);
    stop_streams(s, err == 0 ? INLETS_ECLOSED : err);
    s->ops->down(s, err);
}

static const struct inl_lane_ops lane_ops = {on_frame, on_data, on_fill,
                                             on_ending, on_down};

/* ---- life ------------------------------------------------------------- */

static void init_maps(struct inl_session *s)
{
    uint64_t seeds[2];

    inl_env_random(s->env, seeds, sizeof(seeds));
    inl_map_init(&s->streams, seeds[0]);
    inl_map_init(&s->routes, seeds[1]);
    s->id = seeds[0] >> 32;
}

struct inl_session *inl_session_new(struct inl_env *env,
                                    const struct inl_session_config *config)
{
    const struct inl_hello hello = {
        .version = INL_HELLO_VERSION,
        .stream_window = INL_FLOW_WINDOW,
        .session_window = INL_SESSION_WINDOW,
        .max_streams = config->max_streams,
        .agent = config->agent,
    };
    struct inl_session *s = inl_calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->ops = config->ops;
    s->owner = config->owner;
    s->env = env;
    s->role = config->role;
    s->max_streams = config->max_streams;
    s->rx_charged_limit = s->rx_charged_told = INL_SESSION_WINDOW;
    inl_list_init(&s->fresh);
    inl_list_init(&s->bulk);
    inl_list_init(&s->owing);
    inl_timer_init(&s->pressure, inl_session_relieve);
    init_maps(s);
    inl_lane_init(&s->lane, env, &lane_ops, &config->lane);
    if (inl_frame_put_hello(&s->control, &hello) != 0) {
        inl_session_free(s);
        return NULL;
    }
    return s;
}

void inl_session_free(struct inl_session *s)
{
    if (s != NULL) {
        inl_timer_off(s->env, &s->pressure);
        inl_lane_fini(&s->lane);
        inl_map_fini(&s->streams);
        inl_map_fini(&s->routes);
        inl_queue_fini(&s->control);
        inl_free(s);
    }
}

int inl_session_attach(struct inl_session *s, struct inl_link *link)
{
    return inl_lane_attach(&s->lane, link,
                           s->role == INL_SESSION_OPENER ? INL_WS_SERVER
                                                         : INL_WS_CLIENT);
}

int inl_session_offer(struct inl_session *s, uint32_t route,
                      struct inlets_slice endpoint)
{
    int err = inl_frame_put_route(&s->control, route, endpoint);

    inl_lane_wake(&s->lane);
    return err;
}

int inl_session_withdraw(struct inl_session *s, uint32_t route)
{
    int err = inl_frame_put_unroute(&s->control, route);

    inl_lane_wake(&s->lane);
    return err;
}

void inl_session_drain(struct inl_session *s, int err, struct inlets_slice text)
{
    if (s->state == INL_SESSION_HELLO) {
        inl_session_close(s, INLETS_EGOAWAY);
    } else if (s->state == INL_SESSION_OPEN) {
        move(s, INL_SESSION_DRAINING);
        drop_routes(s);
        send_goaway(s, err, text);
    }
}

void inl_session_close(struct inl_session *s, int err)
{
    if (s->state == INL_SESSION_CLOSED) {
        return;
    }
    move(s, INL_SESSION_CLOSED);
    drop_routes(s);
    stop_streams(s, err == 0 ? INLETS_ECLOSED : err);
    inl_lane_close(&s->lane, err, err == INLETS_EGOAWAY ? 1001 : 1000,
                   inl_str(err == 0 ? "bye" : inlets_strerror(err)));
}

size_t inl_session_nstreams(const struct inl_session *s)
{
    return s->streams.count;
}
