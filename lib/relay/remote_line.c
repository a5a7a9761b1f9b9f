/* remote_line.c: a remote's attempts: with which ticket a line dials, and what
 * becomes of the websocket that comes of it.
 *
 * Failure paths:
 *   an attempt fails        again later; beside a websocket: never mind
 *   the server forgot us    (no ticket in its answer) the session is over;
 *                           the same websocket becomes a new one
 *   no ticket any more      line 0 dials for a new session
 *   out of memory           the link is closed and the attempt counts as
 *                           failed; a lane for which no line can be made is
 *                           given up */
#include "relay/remote_line.h"

#include "base/mem.h"
#include "base/slice.h"

/* The session of lane 0 cannot be had back; the next attempt is for another. */
static void abandon(struct inl_remote_line *home)
{
    struct inl_remote *r = home->remote;
    struct inl_remote_tunnel *t = home->tunnel;

    home->tunnel = NULL;
    home->lost_ms = 0;
    if (r->current == t) {
        r->current = NULL;
    }
    inl_session_forget(t->session, 0);
}

/* There is nothing to dial for. */
static void line_stop(struct inl_remote_line *line)
{
    struct inl_remote_tunnel *t = line->tunnel;

    if (line->beside) {
        line->beside = false;
        inl_reconnect_kept(&line->reconnect);
    } else if (inl_remote_is_home(line)) {
        inl_reconnect_close(&line->reconnect);
        inl_remote_check_over(line->remote);
    } else if (t != NULL) {
        inl_session_forget(t->session, line->lane);
        inl_remote_line_drop(line);
    }
}

/* Twice in the window: an attempt over a way that is gone must not use it up.
 */
static uint32_t resume_timeout(const struct inl_remote *r)
{
    uint32_t half = r->config.resume_ms / 2 + 1;

    return half < r->config.connect_timeout_ms ? half
                                               : r->config.connect_timeout_ms;
}

void inl_remote_line_dial(struct inl_reconnect *rc)
{
    struct inl_remote_line *line =
        inl_container(rc, struct inl_remote_line, reconnect);
    struct inl_remote *r = line->remote;
    struct inl_remote_tunnel *t = line->tunnel;
    bool has_ticket =
        t != NULL && inl_session_ticket(t->session, line->lane, &line->ticket);

    if (t != NULL && !has_ticket && inl_remote_is_home(line) && !line->beside) {
        abandon(line);
        t = NULL;
    }
    if (!has_ticket && (t != NULL || inl_remote_is_leaving(r))) {
        line_stop(line);
        return;
    }
    if (t == NULL) {
        inl_remote_changed(r, 0);
    }
    if (rc->state == INL_RECONNECT_DIALING) { /* nobody closed us */
        line->began_ms = r->config.env->now_ms;
        line->uplink.config.timeout_ms =
            has_ticket ? resume_timeout(r) : r->config.connect_timeout_ms;
        inl_uplink_start(&line->uplink, r->config.credentials,
                         has_ticket ? &line->ticket : NULL);
    }
}

/* What asking again will hardly change. A proxy's 4xx is about us and what we
 * ask for, its 5xx about the way and the server. */
static bool is_refusal(int err, unsigned status)
{
    return err == INLETS_EAUTH || err == INLETS_EFORBIDDEN ||
           err == INLETS_EPROXYAUTH || err == INLETS_ECERT ||
           err == INLETS_ECLIENTCERT ||
           (err == INLETS_EHANDSHAKE && status < 500) ||
           (err == INLETS_EPROXY && status >= 400 && status < 500);
}

void inl_remote_line_failed(struct inl_uplink *u, int err, unsigned status,
                            const char *step)
{
    struct inl_remote_line *line =
        inl_container(u, struct inl_remote_line, uplink);
    struct inl_remote *r = line->remote;
    bool beside = line->beside;
    bool is_new = !inl_remote_is_home(line) && line->lost_ms == 0 && !beside;
    int64_t wait = -1;

    if (beside || (is_new && status != 0)) {
        line_stop(line); /* what there is goes on without it */
    } else {
        r->refused = is_refusal(err, status) ? err : 0;
        wait = inl_remote_line_lost(line, err, r->spread_ms);
    }
    /* Without a further lane the tunnel is slower, and that is all. */
    inl_log(
        r->config.env,
        inl_remote_is_home(line) ? INLETS_LOG_WARN : INLETS_LOG_INFO,
        "cannot connect", INL_KV("server", r->config.label),
        INL_KN_IF(!inl_remote_is_home(line), "lane", line->lane),
        INL_KV("step", inl_str(step)), INL_KN_IF(status != 0, "status", status),
        INL_KV("why", inl_str(inl_dial_why(&u->dial, err))),
        INL_KV(u->dial.said[0] == '\0' ? NULL : "said", inl_str(u->dial.said)),
        INL_KN_IF(wait >= 0, "retry_in_ms", wait));
    if (!beside) {
        inl_remote_changed(r, err);
    }
}

static void tune(struct inl_remote *r, struct inl_link *link)
{
    const struct inl_link_tuning tuning = {.dead_ms = r->config.lane.dead_ms,
                                           .bbr = r->config.bbr};
    int err = inl_link_tune(link, &tuning);

    if (err == INLETS_EPERM && !r->said_bbr) {
        r->said_bbr = true;
        inl_log(r->config.env, INLETS_LOG_INFO,
                "this process may not use BBR, which keeps long and lossy "
                "links fast",
                INL_KV("server", r->config.label),
                INL_KV("sysctl",
                       INL_LIT("net.ipv4.tcp_allowed_congestion_control")));
    } else if (err != 0 && err != INLETS_EPERM) {
        inl_log(r->config.env, INLETS_LOG_DEBUG, "link not tuned",
                INL_KV("why", inl_str(inlets_strerror(err))));
    }
}

/* The websocket did not become what it was for: the caller's link is closed
 * and the line tries again. */
static void line_retry(struct inl_remote_line *line, struct inl_link *link,
                       int err)
{
    inl_link_close(link, err);
    if (line->beside) {
        line->beside = false;
        inl_reconnect_kept(&line->reconnect);
    } else {
        (void)inl_remote_line_lost(line, err, line->remote->spread_ms);
        inl_remote_changed(line->remote, err);
    }
}

static void begin_session(struct inl_remote_line *home, struct inl_link *link)
{
    struct inl_remote *r = home->remote;
    struct inl_remote_tunnel *t = inl_remote_tunnel_new(r);
    int err = t == NULL ? INLETS_ENOMEM : r->config.ops->offer(r, t->session);

    if (err == 0) {
        err = inl_session_attach(t->session, link);
    }
    if (err != 0) {
        if (t != NULL) {
            t->free.run(&t->free);
        }
        line_retry(home, link, err);
        return;
    }
    inl_list_push_back(&r->tunnels, &t->node);
    home->tunnel = r->current = t;
    home->beside = false;
    inl_reconnect_ready(&home->reconnect);
    if (r->config.ops->linked != NULL) {
        r->config.ops->linked(r, link);
    }
    inl_remote_changed(r, 0);
}

static void log_back(const struct inl_remote_line *line, bool was_beside)
{
    const struct inl_remote *r = line->remote;
    const char *what = line->lost_ms != 0 ? "tunnel websocket resumed"
                       : was_beside       ? "tunnel websocket replaced"
                                          : "tunnel lane added";

    inl_log(r->config.env, INLETS_LOG_INFO, what,
            INL_KV("server", r->config.label), INL_KN("lane", line->lane),
            INL_KN("after_ms", line->lost_ms == 0
                                   ? 0
                                   : r->config.env->now_ms - line->lost_ms));
}

static void resume(struct inl_remote_line *line, struct inl_link *link)
{
    struct inl_remote *r = line->remote;
    bool was_beside = line->beside;
    int err;

    /* Before the call, since it may ask for more at once. */
    line->beside = false;
    err = inl_session_resume(line->tunnel->session, link, &line->ticket,
                             &line->uplink.answer);
    inl_wipe(&line->uplink.answer, sizeof(line->uplink.answer));
    if (err == 0) {
        inl_reconnect_ready(&line->reconnect);
        log_back(line, was_beside);
        line->lost_ms = 0;
        if (r->config.ops->linked != NULL) {
            r->config.ops->linked(r, link);
        }
        inl_remote_changed(r, 0);
        return;
    }
    line->beside = was_beside;
    if (err == INLETS_ECLOSED && !inl_remote_is_home(line) && !was_beside) {
        inl_link_close(link, err);
        inl_remote_line_drop(line);
        return;
    }
    line_retry(line, link, err);
}

/* Another server answered (they share a name, or a balancer) while the
 * websocket of ours lives on: it takes over what is new, and what runs ends
 * where it is. */
static void part(struct inl_remote_line *home, struct inl_link *link)
{
    struct inl_session *old = home->tunnel->session;

    inl_log(home->remote->config.env, INLETS_LOG_INFO,
            "another server answered",
            INL_KV("server", home->remote->config.label));
    home->tunnel = NULL;
    home->remote->current = NULL;
    home->lost_ms = 0;
    begin_session(home, link);
    inl_session_drain(old, 0, INL_LIT("moved to another server"));
}

/* The server knows nothing of this lane. */
static void forgotten(struct inl_remote_line *line, struct inl_link *link)
{
    struct inl_remote *r = line->remote;

    if (inl_remote_is_home(line) && line->beside && !inl_remote_is_leaving(r) &&
        inl_session_is_up(line->tunnel->session)) {
        part(line, link);
        return;
    }
    if (inl_remote_is_home(line)) {
        inl_log(r->config.env, INLETS_LOG_INFO, "server has lost the tunnel",
                INL_KV("server", r->config.label));
        abandon(line);
        if (!inl_remote_is_leaving(r)) {
            begin_session(line, link);
            return;
        }
        inl_reconnect_close(&line->reconnect);
    } else if (line->beside) { /* its websocket lives: leave it alone */
        inl_remote_line_drop(line);
    } else {
        inl_session_forget(line->tunnel->session, line->lane);
        inl_remote_line_drop(line);
    }
    inl_link_close(link, 0);
    inl_remote_check_over(r);
}

void inl_remote_line_up(struct inl_uplink *u, struct inl_link *link)
{
    struct inl_remote_line *line =
        inl_container(u, struct inl_remote_line, uplink);
    struct inl_remote *r = line->remote;

    r->refused = 0;
    tune(r, link);
    if (line->tunnel != NULL && u->answered) {
        resume(line, link);
    } else if (line->tunnel != NULL) {
        forgotten(line, link);
    } else if (u->answered) { /* for a session that is over by now */
        line_retry(line, link, INLETS_ECLOSED);
    } else {
        begin_session(line, link);
    }
}
