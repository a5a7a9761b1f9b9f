/* session_route.c: the opener's routes: what a client offers, each a target
 * of the router, and the streams that visitors open through them.
 *
 * A route lives from ROUTE to UNROUTE or to the end of its session, and takes
 * its target out of the router before it goes; so a late close of an old
 * session removes nothing of a new one. */
#include "relay/session_route.h"

#include "base/mem.h"
#include "base/slice.h"
#include "relay/session_lane.h"
#include <string.h>

_Static_assert(INL_SESSION_MAX_ROUTES == 1024, "take_route names it");

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

void inl_session_drop_routes(struct inl_session *s)
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
    const struct inl_session_lane *sl;

    if (s->state != INL_SESSION_OPEN) {
        return INL_HEALTH_OUT;
    }
    sl = inl_session_lane_pick(s);
    if (sl == NULL) {
        return INL_HEALTH_LOST;
    }
    return inl_lane_is_suspect(&sl->lane) ? INL_HEALTH_SUSPECT
                                          : INL_HEALTH_GOOD;
}

static unsigned route_busy(struct inl_target *t)
{
    const struct session_route *r =
        inl_container(t, struct session_route, target);

    return (unsigned)r->session->streams.count;
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
    r->target.busy = route_busy;
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

    if (err == 0 &&
        s->routes.count >= INL_SESSION_MAX_ROUTES + INL_SESSION_SPARE_ROUTES) {
        *ret_why =
            INL_LIT("an exit node takes at most 1024 endpoints of one client");
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

/* Over which lane; *ret_lane is NULL when the request may wait for one. */
static int may_open(const struct inl_session *s,
                    struct inl_session_lane **ret_lane)
{
    uint32_t most = s->peer.max_streams < s->max_streams ? s->peer.max_streams
                                                         : s->max_streams;
    struct inl_session_lane *sl;

    if (s->state != INL_SESSION_OPEN) {
        return INLETS_EUNAVAILABLE;
    }
    sl = inl_session_lane_pick(s);
    if (sl == NULL &&
        (s->resume_ms == 0 || s->nparked >= INL_SESSION_PARKED_MAX)) {
        return INLETS_EUNAVAILABLE;
    }
    if (s->streams.count >= most ||
        (sl != NULL && sl->control.bytes > INL_SESSION_CONTROL_BYTES)) {
        return INLETS_ELIMIT;
    }
    *ret_lane = sl;
    return 0;
}

static int route_open(struct inl_service *service,
                      const struct inl_request *req, struct inl_flow *caller)
{
    struct session_route *r =
        inl_container(service, struct session_route, service);
    struct inl_session *s = r->session;
    struct inl_session_lane *sl;
    struct inl_stream *st;
    int err = may_open(s, &sl);

    if (err == 0 && s->ops->stream != NULL) {
        err = s->ops->stream(s);
    }
    if (err != 0) {
        return err;
    }
    st = inl_stream_new(s, sl, s->last_stream + 1);
    if (st == NULL) {
        return INLETS_ENOMEM;
    }
    err = inl_frame_put_open(sl != NULL ? &sl->control : &st->opening, st->id,
                             0, r->id, req->id, req->head);
    if (err != 0) {
        inl_stream_remove(st, err);
        return err;
    }
    s->last_stream++;
    s->streams_served++;
    inl_flow_tie(caller, &st->flow);
    if (sl != NULL) {
        inl_lane_wake(&sl->lane);
    } else {
        inl_flow_hold(&st->flow, true); /* until unpark sends it */
    }
    if (s->last_stream >= 0x7fffffff) { /* ids are never reused */
        inl_session_drain(s, 0, INL_LIT("out of stream numbers"));
    }
    return 0;
}

/* ---- frames about routes ---------------------------------------------- */

int inl_session_got_route(struct inl_session *s, const struct inl_frame *f)
{
    struct inlets_slice text, why = {NULL, 0};
    uint32_t id;
    int err = inl_frame_get_route(f->payload, &id, &text);

    if (err != 0 || s->role != INL_SESSION_OPENER || id <= s->last_route) {
        return err != 0 ? err : INLETS_EPROTO;
    }
    s->last_route = id;
    err = take_route(s, id, text, &why);
    if (err == INLETS_ENOMEM) {
        return err; /* not a verdict: the client had better come again */
    }
    if (inl_frame_put_routed(
            &s->lanes[0]->control, id, err,
            why.len > 0 ? why : inl_str(inlets_strerror(err))) != 0) {
        return INLETS_ENOMEM;
    }
    inl_lane_wake(&s->lanes[0]->lane);
    return 0;
}

int inl_session_got_unroute(struct inl_session *s, const struct inl_frame *f)
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
