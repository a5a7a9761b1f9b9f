/* remote.c: see remote.h.
 *
 * States are those of its parts: each line's reconnect machine says whether
 * it dials or waits, `current` whether there is a session.
 *
 * Who owns what: the remote owns its lines and tunnels, a tunnel its session.
 * A line above `home` goes with its lane, or with its tunnel.
 *
 * What becomes of an attempt to dial is in remote_line.c.
 */
#include "relay/remote_line.h"

#include "base/mem.h"
#include "base/slice.h"

bool inl_remote_is_home(const struct inl_remote_line *line)
{
    return line == &line->remote->home;
}

bool inl_remote_is_leaving(const struct inl_remote *r)
{
    return r->draining || r->closed;
}

static void over_later(struct inl_later *later)
{
    struct inl_remote *r = inl_container(later, struct inl_remote, over);

    if (r->config.ops->over != NULL) {
        r->config.ops->over(r);
    }
}

void inl_remote_check_over(struct inl_remote *r)
{
    if (inl_remote_is_leaving(r) && !r->is_over &&
        inl_list_empty(&r->tunnels) && inl_list_empty(&r->lines)) {
        r->is_over = true;
        inl_uplink_cancel(&r->home.uplink);
        inl_reconnect_close(&r->home.reconnect);
        inl_env_later(r->config.env, &r->over);
    }
}

void inl_remote_changed(struct inl_remote *r, int err)
{
    if (!r->closed) {
        r->config.ops->changed(r, err);
    }
    inl_remote_check_over(r);
}

/* ---- lines ------------------------------------------------------------ */

static void line_free(struct inl_later *later)
{
    struct inl_remote_line *line =
        inl_container(later, struct inl_remote_line, free);

    inl_uplink_fini(&line->uplink);
    inl_wipe(&line->ticket, sizeof(line->ticket));
    inl_free(line);
}

static void line_init(struct inl_remote_line *line, struct inl_remote *r,
                      struct inl_remote_tunnel *t, unsigned lane)
{
    const struct inl_uplink_config uplink = {
        .env = r->config.env,
        .dialer = r->config.dialer,
        .host = r->config.host,
        .port = r->config.port,
        .known = &r->known,
        .authority = r->config.authority,
        .target = r->config.target,
        .agent = r->config.agent,
        .timeout_ms = r->config.connect_timeout_ms,
        .stays_here = r->config.stays_here,
        .up = inl_remote_line_up,
        .failed = inl_remote_line_failed,
    };

    *line = (struct inl_remote_line){.remote = r, .tunnel = t, .lane = lane};
    inl_list_init(&line->node);
    inl_later_init(&line->free, line_free);
    inl_uplink_init(&line->uplink, &uplink);
    inl_reconnect_init(&line->reconnect, r->config.env, r->config.retry_max_ms,
                       inl_remote_line_dial);
    line->reconnect.id = lane;
}

static struct inl_remote_line *line_new(struct inl_remote_tunnel *t,
                                        unsigned lane)
{
    struct inl_remote_line *line = inl_malloc(sizeof(*line));

    if (line != NULL) {
        line_init(line, t->remote, t, lane);
        inl_list_push_back(&t->remote->lines, &line->node);
    }
    return line;
}

void inl_remote_line_drop(struct inl_remote_line *line)
{
    struct inl_remote *r = line->remote;

    if (line->tunnel != NULL) {
        line->tunnel = NULL;
        inl_uplink_cancel(&line->uplink);
        inl_reconnect_close(&line->reconnect);
        inl_list_remove(&line->node);
        inl_env_later(r->config.env, &line->free);
        inl_remote_check_over(r);
    }
}

static struct inl_remote_line *find_line(struct inl_remote_tunnel *t,
                                         unsigned lane)
{
    struct inl_remote *r = t->remote;

    if (r->home.tunnel == t && lane == 0) {
        return &r->home;
    }
    for (struct inl_list *n = r->lines.next; n != &r->lines; n = n->next) {
        struct inl_remote_line *line =
            inl_container(n, struct inl_remote_line, node);

        if (line->tunnel == t && line->lane == lane) {
            return line;
        }
    }
    return NULL;
}

/* A loss under a crowd is spread out, but not for who has requests waiting. */
static uint32_t spread_of(const struct inl_remote *r,
                          const struct inl_remote_tunnel *t)
{
    return t != NULL && inl_session_nstreams(t->session) > 0 ? 0 : r->spread_ms;
}

/* Requests wait for it, and not for long. */
static bool is_urgent(const struct inl_remote_line *line)
{
    return line->tunnel != NULL &&
           inl_session_nstreams(line->tunnel->session) > 0;
}

int64_t inl_remote_line_lost(struct inl_remote_line *line, int err,
                             uint32_t spread_ms)
{
    struct inl_remote *r = line->remote;

    if (r->closed || (r->draining && line->tunnel == NULL) ||
        !r->config.ops->may_retry(r, err)) {
        inl_reconnect_close(&line->reconnect);
        return -1;
    }
    line->reconnect.max_ms =
        is_urgent(line) && r->config.retry_max_ms > INL_REMOTE_URGENT_MS
            ? INL_REMOTE_URGENT_MS
            : r->config.retry_max_ms;
    if (is_urgent(line) && spread_ms > INL_REMOTE_URGENT_SPREAD_MS) {
        spread_ms = INL_REMOTE_URGENT_SPREAD_MS;
    }
    return (int64_t)inl_reconnect_lost(
        &line->reconnect, r->refused != 0 ? r->config.refused_retry_ms : 0,
        spread_ms);
}

/* ---- sessions --------------------------------------------------------- */

static void tunnel_free(struct inl_later *later)
{
    struct inl_remote_tunnel *t =
        inl_container(later, struct inl_remote_tunnel, free);

    inl_session_free(t->session);
    inl_free(t);
}

static void note_spread(struct inl_remote *r, const struct inl_session *s)
{
    const struct inl_remote_tunnel *t = s->owner;
    uint32_t told = s->peer.spread_ms < INL_REMOTE_SPREAD_MAX_MS
                        ? s->peer.spread_ms
                        : INL_REMOTE_SPREAD_MAX_MS;

    if (s->peer.version != 0 && /* it said hello */
        (told >= r->spread_ms ||
         s->env->now_ms - t->since_ms >= INL_REMOTE_SPREAD_KEPT_MS)) {
        r->spread_ms = told;
    }
}

static void on_hello(struct inl_session *s, const struct inl_hello *hello)
{
    struct inl_remote_tunnel *t = s->owner;
    struct inl_remote *r = t->remote;

    note_spread(r, s);
    inl_log(s->env, INLETS_LOG_INFO, "tunnel connected",
            INL_KV("server", r->config.label), INL_KV("agent", hello->agent));
    if (r->current == t && !r->closed) {
        r->config.ops->hello(r);
    }
}

static void on_routed(struct inl_session *s, uint32_t route, int err,
                      struct inlets_slice text)
{
    struct inl_remote_tunnel *t = s->owner;

    if (t->remote->current == t && !t->remote->closed) {
        t->remote->config.ops->routed(t->remote, route, err, text);
    }
}

static struct inl_service *on_service(struct inl_session *s, uint32_t route)
{
    struct inl_remote_tunnel *t = s->owner;

    return t->remote->closed ? NULL
                             : t->remote->config.ops->service(t->remote, route);
}

static void drop_lines(struct inl_remote *r, struct inl_remote_tunnel *t)
{
    struct inl_list *n, *tmp;

    inl_list_each(&r->lines, n, tmp)
    {
        struct inl_remote_line *line =
            inl_container(n, struct inl_remote_line, node);

        if (line->tunnel == t) {
            inl_remote_line_drop(line);
        }
    }
}

/* Home has no session any more. An attempt that is under way for the old one
 * goes on: its websocket serves a new one as well. */
static int64_t home_is_free(struct inl_remote *r, int err)
{
    struct inl_remote_line *home = &r->home;

    home->tunnel = NULL;
    home->beside = false;
    home->lost_ms = 0;
    if (inl_remote_is_leaving(r)) {
        inl_uplink_cancel(&home->uplink);
        inl_reconnect_close(&home->reconnect);
        return -1;
    }
    if (home->reconnect.state == INL_RECONNECT_DIALING) {
        return 0;
    }
    return inl_remote_line_lost(home, err, r->spread_ms);
}

static void log_down(const struct inl_remote_tunnel *t, int err, int64_t wait)
{
    const struct inl_session *s = t->session;

    inl_log(s->env, INLETS_LOG_INFO, "tunnel disconnected",
            INL_KV("server", t->remote->config.label),
            INL_KV("why", inl_str(err == 0 ? "closed by this side"
                                           : inlets_strerror(err))),
            INL_KN("requests", s->streams_served),
            INL_KN("bytes_in", s->bytes_in), INL_KN("bytes_out", s->bytes_out),
            INL_KN("ms", s->env->now_ms - t->since_ms),
            INL_KN_IF(wait >= 0, "retry_in_ms", wait));
}

static void on_down(struct inl_session *s, int err)
{
    struct inl_remote_tunnel *t = s->owner;
    struct inl_remote *r = t->remote;
    bool was_home = r->home.tunnel == t;
    int64_t wait = -1;

    note_spread(r, s);
    inl_list_remove(&t->node);
    inl_env_later(s->env, &t->free);
    if (r->current == t) {
        r->current = NULL;
    }
    drop_lines(r, t);
    if (was_home) {
        wait = home_is_free(r, err);
    }
    log_down(t, err, wait);
    if (r->config.ops->down != NULL) {
        r->config.ops->down(r, err);
    }
    inl_remote_changed(r, err);
}

static void want(struct inl_session *s, unsigned lane, enum inl_want why);

/* The server is leaving: what runs may end, new requests want a new session.
 * Lane 0 of the old one gets a line of its own should it need it. */
static void on_goaway(struct inl_session *s, int err, struct inlets_slice text)
{
    struct inl_remote_tunnel *t = s->owner;
    struct inl_remote *r = t->remote;
    struct inl_remote_line *home = &r->home;
    bool was_lost = home->tunnel == t && home->lost_ms != 0;
    int64_t wait;

    note_spread(r, s);
    if (inl_remote_is_leaving(r) || r->current != t) {
        return; /* the answer to our own */
    }
    r->current = NULL;
    home->tunnel = NULL;
    home->beside = false;
    home->lost_ms = 0;
    inl_uplink_cancel(&home->uplink);
    err = err == 0 ? INLETS_EGOAWAY : err;
    wait = inl_remote_line_lost(home, err, spread_of(r, t));
    inl_log(s->env, INLETS_LOG_INFO, "server asks to leave",
            INL_KV("server", r->config.label), INL_KV("why", text),
            INL_KN_IF(wait >= 0, "retry_in_ms", wait));
    if (was_lost) {
        want(s, 0, INL_WANT_LOST);
    }
    inl_remote_changed(r, err);
}

/* ---- lanes without a websocket ---------------------------------------- */

static void on_lane(struct inl_session *s, unsigned lane, int err)
{
    struct inl_remote_tunnel *t = s->owner;
    struct inl_remote_line *line = find_line(t, lane);
    struct inl_ticket ticket = {0};

    note_spread(t->remote, s);
    t->lost_err = err;
    if (err != 0 && lane != 0 && !inl_session_ticket(s, lane, &ticket)) {
        inl_log(s->env, INLETS_LOG_INFO, "tunnel lane ended",
                INL_KV("server", t->remote->config.label),
                INL_KN("lane", lane));
        if (line != NULL) {
            inl_remote_line_drop(line);
        }
    }
    inl_wipe(&ticket, sizeof(ticket));
}

static void want_lost(struct inl_remote_tunnel *t, unsigned lane,
                      struct inl_remote_line *line)
{
    struct inl_session *s = t->session;
    struct inl_remote *r = t->remote;
    int64_t wait = 0;

    if (r->draining && inl_session_nstreams(s) == 0) {
        inl_session_close(s, 0); /* not for a goodbye */
        return;
    }
    line->lost_ms = s->env->now_ms;
    line->beside = false; /* now it counts */
    if (line->reconnect.state == INL_RECONNECT_DIALING &&
        s->env->now_ms - line->began_ms >= INL_REMOTE_STALE_MS) {
        inl_uplink_cancel(&line->uplink); /* over the way that just died */
        inl_reconnect_kept(&line->reconnect);
    }
    if (line->reconnect.state != INL_RECONNECT_DIALING) {
        wait = inl_remote_line_lost(line, t->lost_err, spread_of(r, t));
    }
    inl_log(s->env, INLETS_LOG_INFO, "tunnel websocket lost",
            INL_KV("server", r->config.label), INL_KN("lane", lane),
            INL_KV("why", inl_str(inlets_strerror(t->lost_err))),
            INL_KN("requests", inl_session_nstreams(s)),
            INL_KN_IF(wait >= 0, "retry_in_ms", wait));
    inl_remote_changed(r, t->lost_err);
}

static void want(struct inl_session *s, unsigned lane, enum inl_want why)
{
    struct inl_remote_tunnel *t = s->owner;
    struct inl_remote_line *line = find_line(t, lane);

    if (t->remote->closed ||
        (why != INL_WANT_LOST &&
         !t->remote->config.ops->may_retry(t->remote, 0))) {
        return;
    }
    if (line == NULL && (line = line_new(t, lane)) == NULL) {
        if (why == INL_WANT_LOST || why == INL_WANT_MORE) {
            inl_session_forget(s, lane);
        }
        return;
    }
    switch (why) {
    case INL_WANT_LOST:
        want_lost(t, lane, line);
        break;
    case INL_WANT_DOUBT:
    case INL_WANT_MOVE:
        if (line->reconnect.state == INL_RECONNECT_READY ||
            line->reconnect.state == INL_RECONNECT_IDLE) {
            line->beside = true;
            (void)inl_reconnect_beside(&line->reconnect);
        }
        break;
    case INL_WANT_MORE:
        inl_reconnect_start(&line->reconnect);
        break;
    }
}

static const struct inl_session_ops session_ops = {
    .hello = on_hello,
    .routed = on_routed,
    .service = on_service,
    .goaway = on_goaway,
    .want = want,
    .lane = on_lane,
    .down = on_down,
};

struct inl_remote_tunnel *inl_remote_tunnel_new(struct inl_remote *r)
{
    const struct inl_session_config config = {
        .ops = &session_ops,
        .role = INL_SESSION_ANSWERER,
        .lane = r->config.lane,
        .max_streams = r->config.max_streams,
        .agent = r->config.agent,
        .resume_ms = r->config.resume_ms,
        .lanes = r->config.lanes,
    };
    struct inl_remote_tunnel *t = inl_calloc(1, sizeof(*t));

    if (t == NULL) {
        return NULL;
    }
    t->session = inl_session_new(r->config.env, &config);
    if (t->session == NULL) {
        inl_free(t);
        return NULL;
    }
    t->session->owner = t;
    t->remote = r;
    t->since_ms = r->config.env->now_ms;
    inl_list_init(&t->node);
    inl_later_init(&t->free, tunnel_free);
    return t;
}

/* ---- life ------------------------------------------------------------- */

void inl_remote_init(struct inl_remote *r,
                     const struct inl_remote_config *config)
{
    *r = (struct inl_remote){.config = *config};
    inl_list_init(&r->lines);
    inl_list_init(&r->tunnels);
    inl_later_init(&r->over, over_later);
    line_init(&r->home, r, NULL, 0);
}

void inl_remote_fini(struct inl_remote *r)
{
    inl_uplink_fini(&r->home.uplink);
    inl_reconnect_close(&r->home.reconnect);
    inl_wipe(&r->home.ticket, sizeof(r->home.ticket));
    inl_list_remove(&r->over.node);
}

void inl_remote_start(struct inl_remote *r)
{
    inl_reconnect_start(&r->home.reconnect);
}

void inl_remote_refresh(struct inl_remote *r)
{
    struct inl_ticket ticket = {0};

    if (r->current != NULL &&
        inl_session_ticket(r->current->session, 0, &ticket)) {
        want(r->current->session, 0, INL_WANT_MOVE);
    }
    inl_wipe(&ticket, sizeof(ticket));
    if (r->refused != 0) {
        inl_reconnect_hurry(&r->home.reconnect);
    }
}

void inl_remote_drain(struct inl_remote *r, struct inlets_slice text)
{
    struct inl_list *n, *tmp;

    if (inl_remote_is_leaving(r)) {
        return;
    }
    r->draining = true;
    r->current = NULL;
    if (r->home.tunnel == NULL) {
        inl_uplink_cancel(&r->home.uplink);
        inl_reconnect_close(&r->home.reconnect);
    }
    inl_list_each(&r->tunnels, n, tmp)
    {
        struct inl_session *s =
            inl_container(n, struct inl_remote_tunnel, node)->session;

        inl_session_drain(s, 0, text);
        if (!inl_session_is_up(s) && inl_session_nstreams(s) == 0) {
            inl_session_close(s, 0); /* not for a goodbye */
        }
    }
    inl_remote_check_over(r);
}

void inl_remote_close(struct inl_remote *r)
{
    struct inl_list *n, *tmp;

    if (r->closed) {
        return;
    }
    r->closed = true;
    r->current = NULL;
    r->home.tunnel = NULL;
    inl_uplink_cancel(&r->home.uplink);
    inl_reconnect_close(&r->home.reconnect);
    inl_list_each(&r->lines, n, tmp)
    {
        inl_remote_line_drop(inl_container(n, struct inl_remote_line, node));
    }
    inl_list_each(&r->tunnels, n, tmp)
    {
        inl_session_close(
            inl_container(n, struct inl_remote_tunnel, node)->session, 0);
    }
    inl_remote_check_over(r);
}

enum inl_remote_state inl_remote_state(const struct inl_remote *r)
{
    if (inl_remote_is_leaving(r)) {
        return INL_REMOTE_STOPPED;
    }
    if (r->current != NULL) {
        return INL_REMOTE_UP;
    }
    switch (r->home.reconnect.state) {
    case INL_RECONNECT_IDLE:
        return INL_REMOTE_IDLE;
    case INL_RECONNECT_DIALING:
        return INL_REMOTE_DIALING;
    case INL_RECONNECT_CLOSED:
        return INL_REMOTE_STOPPED;
    case INL_RECONNECT_READY:
    case INL_RECONNECT_WAITING:
        break;
    }
    return INL_REMOTE_WAITING;
}

struct inl_session *inl_remote_session(const struct inl_remote *r)
{
    return r->current == NULL ? NULL : r->current->session;
}
