/* session_frames.c: frames of streams, as they come over a lane: the opener's
 * become requests of a service, the answerer's the answers to them.
 *
 * What breaks FRAME.md is an error, which ends the session. A frame for a
 * stream that is over is normal (it crossed our RESET) and is ignored, its
 * charged bytes being paid back. Any call of a flow may end the stream or the
 * session: both stay in memory to the end of the turn. */
#include "relay/session_frames.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1.h"
#include "relay/answer.h"
#include "relay/forwarding.h"
#include "relay/session_lane.h"

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

static void serve(struct inl_session *s, struct inl_stream *st, uint32_t route,
                  const struct inl_request *req)
{
    struct inl_service *service = s->ops->service(s, route);
    int err = service == NULL ? INLETS_EUNAVAILABLE
                              : inl_service_open(service, req, &st->flow);

    if (err != 0) {
        if (st->log != NULL) {
            st->log->status = inl_status_of_error(err);
        }
        inl_stream_abort(st, err, true);
    }
}

static int got_open(struct inl_session_lane *sl, const struct inl_frame *f)
{
    struct inl_session *s = sl->session;
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
        f->stream <= sl->last_stream || s->streams.count >= s->max_streams ||
        inl_stream_find(s, f->stream) != NULL) {
        return err != 0 ? err : INLETS_EPROTO;
    }
    if (f->stream > s->last_stream) {
        s->last_stream = f->stream;
    }
    s->streams_served++;
    st = inl_stream_new(s, sl, f->stream);
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

/* The stream of a frame; NULL for one that is over. One that was never opened
 * on this lane is an invention of the peer. */
static int find(struct inl_session_lane *sl, uint32_t stream,
                struct inl_stream **ret_stream)
{
    struct inl_stream *st = inl_stream_find(sl->session, stream);

    *ret_stream = st;
    return stream > sl->last_stream || (st != NULL && st->lane != sl)
               ? INLETS_EPROTO
               : 0;
}

static void end_got(struct inl_stream *st, const struct inlets_head *trailers)
{
    st->rx_end_got = true;
    inl_flow_end(&st->flow, trailers);
    inl_stream_check_done(st);
}

static int got_head(struct inl_session_lane *sl, const struct inl_frame *f)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inl_stream *st;
    struct inlets_head head;
    int err =
        inl_frame_get_head(f->payload, &head, fields, INL_FORWARD_MAX_FIELDS);

    if (err == 0) {
        err = sl->session->role == INL_SESSION_OPENER ? find(sl, f->stream, &st)
                                                      : INLETS_EPROTO;
    }
    if (err != 0 || st == NULL) {
        return err;
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

static int got_trailers(struct inl_session_lane *sl, const struct inl_frame *f)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inl_stream *st = NULL;
    struct inlets_head head;
    int err = inl_frame_get_trailers(f->payload, &head, fields,
                                     INL_FORWARD_MAX_FIELDS);

    if (err == 0) {
        err = find(sl, f->stream, &st);
    }
    if (err != 0 || st == NULL) {
        return err;
    }
    if (st->rx_end_got ||
        (sl->session->role == INL_SESSION_OPENER && !st->got_head)) {
        return INLETS_EPROTO;
    }
    end_got(st, &head);
    return 0;
}

static void got_session_credit(struct inl_session *s, uint64_t limit)
{
    bool blocked = s->tx_charged == s->tx_charged_limit;

    if (limit > s->tx_charged_limit) {
        s->tx_charged_limit = limit;
        if (blocked) {
            inl_session_unblock(s);
        }
    }
}

static int got_credit(struct inl_session_lane *sl, const struct inl_frame *f)
{
    struct inl_stream *st = NULL;
    uint64_t limit;
    int err = inl_frame_get_credit(f->payload, &limit);

    if (err == 0 && f->stream == 0) {
        got_session_credit(sl->session, limit);
        return 0;
    }
    if (err == 0) {
        err = find(sl, f->stream, &st);
    }
    if (err == 0 && st != NULL && limit > st->tx_limit) {
        st->tx_limit = limit;
        if (st->pending.bytes > 0) {
            inl_stream_schedule(st);
        }
    }
    return err;
}

static int count_reset(struct inl_session *s)
{
    if (s->env->now_ms - s->resets_ms >= 1000) {
        s->resets_ms = s->env->now_ms;
        s->resets = 0;
    }
    return ++s->resets > INL_SESSION_MAX_RESETS ? INLETS_ELIMIT : 0;
}

static int got_reset(struct inl_session_lane *sl, const struct inl_frame *f)
{
    struct inl_stream *st = NULL;
    int reason;
    int err = inl_frame_get_reset(f->payload, &reason);

    if (err == 0) {
        err = count_reset(sl->session);
    }
    if (err == 0) {
        err = find(sl, f->stream, &st);
    }
    if (err != 0 || st == NULL) {
        return err;
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

int inl_session_on_data(struct inl_lane *lane, uint32_t stream, uint8_t flags,
                        struct inlets_slice piece, bool last)
{
    struct inl_session_lane *sl = inl_session_lane_of(lane);
    struct inl_session *s = sl->session;
    struct inl_stream *st = NULL;
    int err =
        s->state == INL_SESSION_HELLO ? INLETS_EPROTO : find(sl, stream, &st);

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
    inl_stream_count(st);
    inl_flow_body(&st->flow, piece);
    if (last && (flags & INL_FRAME_END) != 0 && !st->removed) {
        end_got(st, NULL);
    }
    return 0;
}

/* ---- dispatch --------------------------------------------------------- */

int inl_session_stream_frame(struct inl_session_lane *sl,
                             const struct inl_frame *f)
{
    switch ((enum inl_frame_type)f->type) {
    case INL_FRAME_OPEN:
        return got_open(sl, f);
    case INL_FRAME_HEAD:
        return got_head(sl, f);
    case INL_FRAME_TRAILERS:
        return got_trailers(sl, f);
    case INL_FRAME_CREDIT:
        return got_credit(sl, f);
    case INL_FRAME_RESET:
        return got_reset(sl, f);
    case INL_FRAME_HELLO:
    case INL_FRAME_ROUTE:
    case INL_FRAME_UNROUTE:
    case INL_FRAME_ROUTED:
    case INL_FRAME_DATA:
    case INL_FRAME_GOAWAY:
    case INL_FRAME_SPREAD:
    default:
        return INLETS_EPROTO;
    }
}
