/* visitor.c: see visitor.h.
 *
 *   IDLE      between requests; nothing of the next one has come
 *   HEAD      a part of a head has come
 *   BUSY      a request is being answered (its body may still be coming)
 *   RAW       after a 101: bytes both ways
 *   LEAVING   the last answer is out; the link lingers
 *   GONE      the link is no more; freed at the end of the turn
 *
 * The visitor owns itself and its exchange (`x`, one block per request); the
 * link is the carrier's. Input that cannot be used yet (pipelined requests,
 * bytes behind an upgrade request) waits in `held`, at most HELD_MAX bytes;
 * reading stops there. Response bytes wait in the link's out queue and are
 * paid with credit as they leave it, so it holds at most one flow window.
 *
 * Failure paths: a malformed request is answered and the link lingers; a
 * service that refuses or stops before its head is answered by status; one
 * that stops later cuts the answer: without the last chunk, short of its
 * length, or, when only the end of the connection marks the end, by a reset.
 * A visitor who leaves stops the flow with ECANCELED. */
#include "relay/visitor.h"

#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "proto/http1.h"
#include "relay/answer.h"
#include "relay/forwarding.h"
#include <stdio.h>
#include <string.h>

/* Pipelined input is read up to here: it is how a FIN is seen in time. */
#define HELD_MAX (64u * 1024)
/* With more than this of the answers before it not yet sent, the next request
 * waits: against who asks for much in a row and reads nothing. */
#define UNSENT_MAX (64u * 1024)
/* A FIN while an answer is due: a half-close (RFC 9112 9.6) or somebody who
 * left? Who takes no bytes for this long has left. */
#define FIN_GRACE_MS 750u

enum state { IDLE, HEAD, BUSY, RAW, LEAVING, GONE, NSTATES };

static const char *const state_names[NSTATES] = {"idle", "head",    "busy",
                                                 "raw",  "leaving", "gone"};

#define TO(s) (1u << (s))
static const unsigned moves[NSTATES] = {
    [IDLE] = TO(HEAD) | TO(BUSY) | TO(LEAVING) | TO(GONE),
    [HEAD] = TO(BUSY) | TO(LEAVING) | TO(GONE),
    [BUSY] = TO(IDLE) | TO(RAW) | TO(LEAVING) | TO(GONE),
    [RAW] = TO(LEAVING) | TO(GONE),
    [LEAVING] = TO(GONE),
};

/* One request and its answer. */
struct exchange {
    uint64_t started_ms;
    uint64_t bytes_in, bytes_out;
    int64_t left;  /* declared response bytes still due; -1: not known */
    size_t unpaid; /* response bytes that credit is due for */
    unsigned status;
    int err;
    enum inl_http1_framing framing;
    char id[INL_REQUEST_ID_LEN];
    bool is_head;      /* HEAD: the answer has no body */
    bool keep_alive;   /* after this exchange */
    bool request_done; /* all of it was read */
    bool no_request_body;
    bool upgrade;   /* a 101 may come */
    bool responded; /* the final head is out */
    bool response_done;
    bool held;          /* the way to the upstream is broken for now */
    uint64_t left_ms;   /* of the timeout that stands still meanwhile */
    struct inlets_slice method, host, path; /* into text */
    char text[];
};

struct visitor {
    struct inl_list node;
    const struct inl_visitor_config *config;
    struct inl_env *env;
    struct inl_link *link; /* NULL when gone */
    enum state state;
    struct inl_http1 http;
    struct inl_flow flow; /* our end: the caller */
    struct exchange *x;   /* owned; NULL when none */
    struct inl_queue held;
    struct inl_timer timer;
    struct inl_later resume, free;
    bool eof;       /* the visitor sends no more */
    bool feeding;   /* in the parser: it must not be reset now */
    bool over;      /* the exchange ended meanwhile */
    bool hand_over; /* the link belongs to a tunnel now */
};

static void move(struct visitor *v, enum state to)
{
    if ((moves[v->state] & TO(to)) == 0) {
        inl_log(v->env, INLETS_LOG_ERROR, "impossible move",
                INL_KV("from", inl_str(state_names[v->state])),
                INL_KV("to", inl_str(state_names[to])));
        return;
    }
    inl_env_trace_move(v->env, "visitor", 0, state_names[v->state],
                       state_names[to]);
    v->state = to;
}

static void visitor_free(struct inl_later *later)
{
    struct visitor *v = inl_container(later, struct visitor, free);

    inl_timer_off(v->env, &v->timer);
    inl_list_remove(&v->resume.node);
    inl_http1_fini(&v->http);
    inl_queue_fini(&v->held);
    inl_free(v->x);
    inl_free(v);
}

/* ---- the end of things ------------------------------------------------ */

static void log_request(struct visitor *v)
{
    struct exchange *x = v->x;

    inl_log(
        v->env, INLETS_LOG_INFO, "request",
        INL_KV("id", inl_slice(x->id, sizeof(x->id))),
        INL_KV("method", x->method), INL_KV("host", x->host),
        INL_KV("path", x->path), INL_KN("status", x->status),
        INL_KN("bytes_in", x->bytes_in), INL_KN("bytes_out", x->bytes_out),
        INL_KN("ms", v->env->now_ms - x->started_ms),
        INL_KV("remote", inl_str(v->link->peer_ip)),
        INL_KV("result", inl_str(x->err == 0 ? "ok" : inlets_errname(x->err))));
}

static void drop_exchange(struct visitor *v)
{
    if (v->x != NULL) {
        log_request(v);
        inl_free(v->x);
        v->x = NULL;
    }
}

/* No more requests on this connection: flush, FIN, wait for the visitor. */
static void leave(struct visitor *v)
{
    if (v->state != LEAVING && v->state != GONE) {
        move(v, LEAVING);
        inl_timer_off(v->env, &v->timer);
        inl_link_finish(v->link);
    }
}

static void start_waiting(struct visitor *v)
{
    (void)inl_timer_at(v->env, &v->timer,
                       v->env->now_ms + v->config->idle_timeout_ms);
}

/* Of the response to its head, or of the request once that is over. */
static void wait_for_progress(struct visitor *v)
{
    if (v->x != NULL && v->x->held) {
        v->x->left_ms = v->config->gateway_timeout_ms;
        return;
    }
    (void)inl_timer_at(v->env, &v->timer,
                       v->env->now_ms + v->config->gateway_timeout_ms);
}

/* Both directions are done, or nothing more can be: the next one, please. */
static void exchange_over(struct visitor *v)
{
    bool again;

    if (v->feeding) {
        v->over = true;
        return;
    }
    v->over = false;
    again = v->x->keep_alive && v->x->request_done && v->x->response_done &&
            !v->config->draining && (!v->eof || v->held.bytes > 0);
    drop_exchange(v);
    if (!again) {
        leave(v);
        return;
    }
    inl_http1_next(&v->http, false);
    move(v, IDLE);
    start_waiting(v);
    inl_link_wake(v->link);
    if (v->held.bytes > 0) {
        inl_env_later(v->env, &v->resume);
    }
}

/* The answer cannot be completed: what went out must not look whole. */
static void cut(struct visitor *v, int err)
{
    bool only_close_marks_end =
        v->state == RAW || v->x->framing == INL_HTTP1_CLOSE;

    v->x->err = err;
    inl_flow_stop(&v->flow, INLETS_ECANCELED);
    drop_exchange(v);
    if (only_close_marks_end) {
        move(v, GONE);
        inl_link_reset(v->link, err);
    } else {
        inl_link_linger(v->link); /* no patience: it cannot become whole */
        leave(v);
    }
}

/* ---- answers of our own ----------------------------------------------- */

static void write_answer(struct visitor *v, unsigned status,
                         struct inlets_slice id, bool is_head)
{
    struct inlets_field fields[3] = {
        {INL_LIT("Content-Type"), INL_LIT("text/plain; charset=utf-8")}};
    struct inlets_head head = {
        .status = status, .fields = fields, .nfields = 1};
    enum inl_http1_framing framing;
    char body[256];
    int n = snprintf(body, sizeof(body), "%u %s\n%s\nrequest id: %.*s\n",
                     status, inl_http1_status_text(status),
                     inl_answer_text(status), (int)id.len, id.ptr);

    if (status == 503) {
        fields[head.nfields++] =
            (struct inlets_field){INL_LIT("Retry-After"), INL_LIT("2")};
    } else if (status == 401) {
        fields[head.nfields++] = (struct inlets_field){
            INL_LIT("WWW-Authenticate"), INL_LIT("Bearer realm=\"inlets\"")};
    } else if (status == 426) {
        fields[head.nfields++] = (struct inlets_field){
            INL_LIT("Sec-WebSocket-Version"), INL_LIT("13")};
    }
    head.content_length = n;
    if (inl_http1_put_response(&v->link->out, &head,
                               v->x == NULL || !v->x->keep_alive
                                   ? INL_LIT("Connection: close\r\n")
                                   : INL_LIT(""),
                               !is_head, false, &framing) != 0 ||
        inl_http1_put_body(&v->link->out, framing,
                           inl_slice(body, (size_t)n)) != 0) {
        inl_link_close(v->link, INLETS_ENOMEM);
    }
    inl_link_wake(v->link);
}

static void make_id(struct inl_env *env, char id[INL_REQUEST_ID_LEN])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t random[INL_REQUEST_ID_LEN / 2];

    inl_env_random(env, random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        id[2 * i] = digits[random[i] >> 4];
        id[2 * i + 1] = digits[random[i] & 15];
    }
}

/* A request that never became one: answer, log and leave. */
static void refuse(struct visitor *v, unsigned status, const char *why)
{
    char id[INL_REQUEST_ID_LEN];

    make_id(v->env, id);
    inl_log(v->env, INLETS_LOG_INFO, "request refused",
            INL_KV("id", inl_slice(id, sizeof(id))), INL_KN("status", status),
            INL_KV("why", inl_str(why)),
            INL_KV("remote", inl_str(v->link->peer_ip)));
    write_answer(v, status, inl_slice(id, sizeof(id)), false);
    leave(v);
}

/* The service failed before its head. */
static void answer_error(struct visitor *v, int err)
{
    struct exchange *x = v->x;

    x->err = err;
    x->status = inl_status_of_error(err);
    if (x->upgrade || (!x->request_done && !x->no_request_body)) {
        x->keep_alive = false; /* the rest of the body would follow */
    }
    write_answer(v, x->status, inl_slice(x->id, sizeof(x->id)), x->is_head);
    x->responded = x->response_done = true;
    if (v->state == BUSY) {
        exchange_over(v);
    }
}

/* ---- the response: events at our end of the flow ----------------------- */

static void put_connection(const struct visitor *v, unsigned status,
                           struct inlets_slice *ret_extra)
{
    if (status == 101) {
        *ret_extra = INL_LIT("Connection: upgrade\r\nUpgrade: websocket\r\n");
    } else if (status < 200) {
        *ret_extra = INL_LIT("");
    } else if (!v->x->keep_alive) {
        *ret_extra = INL_LIT("Connection: close\r\n");
    } else if (v->http.http10) {
        *ret_extra = INL_LIT("Connection: keep-alive\r\n");
    } else {
        *ret_extra = INL_LIT("");
    }
}

static void final_head(struct visitor *v, const struct inlets_head *head)
{
    struct exchange *x = v->x;
    bool bodiless = x->is_head || head->status == 204 || head->status == 304;

    x->responded = true;
    x->left = bodiless || head->content_length == INLETS_LENGTH_NONE
                  ? 0
                  : head->content_length;
    if (head->content_length == INLETS_LENGTH_UNKNOWN && !bodiless &&
        v->http.http10) {
        x->keep_alive = false;
    }
    if ((v->eof && v->held.bytes == 0) || v->config->draining) {
        x->keep_alive = false;
    }
    if (x->upgrade) {
        /* Refused. What the visitor sends now may be meant for the other
         * protocol: it must never be read as a request. */
        x->keep_alive = false;
    }
}

/* A second final head, a switch that nobody asked for, too many fields. */
static void bad_head(struct visitor *v)
{
    if (v->x->responded) {
        cut(v, INLETS_EUPSTREAM);
        return;
    }
    inl_flow_stop(&v->flow, INLETS_ECANCELED);
    answer_error(v, INLETS_EUPSTREAM);
}

static void flow_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct visitor *v = inl_container(f, struct visitor, flow);
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    enum inl_http1_framing framing;
    struct inlets_head out;
    struct inlets_slice extra;

    if (v->x->responded || (head->status == 101 && !v->x->upgrade) ||
        inl_forward_response(head, fields, &out) != 0) {
        bad_head(v);
        return;
    }
    if (head->status < 200 && head->status != 101 && v->http.http10) {
        return; /* RFC 9110 15.2: 1.0 knows no 1xx */
    }
    if (head->status >= 200) {
        final_head(v, head);
    }
    put_connection(v, head->status, &extra);
    if (inl_http1_put_response(&v->link->out, &out, extra, !v->x->is_head,
                               v->http.http10, &framing) != 0) {
        v->x->responded = false;
        inl_flow_stop(f, INLETS_ECANCELED);
        answer_error(v, INLETS_EUPSTREAM);
        return;
    }
    v->x->framing = framing;
    if (framing == INL_HTTP1_CLOSE || head->status == 101) {
        inl_link_guard(v->link);
    }
    if (head->status >= 200 || head->status == 101) {
        v->x->status = head->status;
    }
    inl_link_wake(v->link);
    if (head->status == 101) {
        v->x->responded = true;
        v->x->left = -1;
        move(v, RAW);
        inl_timer_off(v->env, &v->timer);
        inl_env_later(v->env, &v->resume);
    } else if (head->status >= 200 && v->x->upgrade) {
        inl_flow_end(f, NULL); /* refused; the last act: it may end us */
    }
}

static void flow_body(struct inl_flow *f, struct inlets_slice data)
{
    struct visitor *v = inl_container(f, struct visitor, flow);
    struct exchange *x = v->x;
    int err;

    if (x->is_head || (x->framing == INL_HTTP1_NO_BODY && v->state != RAW)) {
        inl_flow_credit(f, data.len); /* not ours to send */
        return;
    }
    if (x->left >= 0 && data.len > (uint64_t)x->left) {
        cut(v, INLETS_EUPSTREAM); /* more than was declared */
        return;
    }
    err = v->state == RAW ? inl_link_write(v->link, data.ptr, data.len)
                          : inl_http1_put_body(&v->link->out, x->framing, data);
    if (err != 0) {
        cut(v, err);
        return;
    }
    x->left = x->left < 0 ? x->left : x->left - (int64_t)data.len;
    x->bytes_out += data.len;
    x->unpaid += data.len;
    inl_link_wake(v->link);
}

static void raw_half_closed(struct visitor *v)
{
    v->x->response_done = true;
    inl_link_shutdown(v->link);
    if (!inl_flow_tied(&v->flow)) {
        drop_exchange(v);
        leave(v);
    }
}

static void flow_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct visitor *v = inl_container(f, struct visitor, flow);
    struct exchange *x = v->x;

    if (v->state == RAW) {
        raw_half_closed(v);
        return;
    }
    if (!x->responded) {
        inl_flow_stop(f, INLETS_ECANCELED);
        answer_error(v, INLETS_EUPSTREAM);
        return;
    }
    if (x->left > 0) {
        cut(v, INLETS_EUPSTREAM);
        return;
    }
    if (inl_http1_put_end(&v->link->out, x->framing, trailers) != 0) {
        cut(v, INLETS_ENOMEM);
        return;
    }
    x->response_done = true;
    inl_link_wake(v->link);
    if (!inl_flow_tied(f)) {
        exchange_over(v);
    } else if (!v->eof) {
        wait_for_progress(v);
    }
}

/* Only the wait for the other side stands still, not the visitor's own. */
static void flow_hold(struct inl_flow *f, bool held)
{
    struct visitor *v = inl_container(f, struct visitor, flow);
    uint64_t now = v->env->now_ms;

    if (v->x == NULL || v->x->held == held) {
        return;
    }
    v->x->held = held;
    if (held) {
        v->x->left_ms = 0;
        if (v->state == BUSY && !v->eof && v->timer.due_ms > now) {
            v->x->left_ms = v->timer.due_ms - now;
            inl_timer_off(v->env, &v->timer);
        }
    } else if (v->x->left_ms > 0) {
        (void)inl_timer_at(v->env, &v->timer, now + v->x->left_ms);
    }
}

static void flow_stop(struct inl_flow *f, int err)
{
    struct visitor *v = inl_container(f, struct visitor, flow);

    if (v->x == NULL) {
        return;
    }
    if (!v->x->responded) {
        answer_error(v, err == 0 ? INLETS_EUPSTREAM : err);
    } else if (v->x->response_done && v->state == BUSY) {
        exchange_over(v); /* an early response: the request is not needed */
    } else {
        cut(v, err == 0 ? INLETS_EUPSTREAM : err);
    }
}

static void flow_credit(struct inl_flow *f, size_t bytes)
{
    struct visitor *v = inl_container(f, struct visitor, flow);

    (void)bytes;
    if (v->held.bytes > 0) {
        inl_env_later(v->env, &v->resume);
    }
    inl_link_wake(v->link); /* there is room to read again */
}

static const struct inl_flow_ops flow_ops = {.head = flow_head,
                                             .body = flow_body,
                                             .end = flow_end,
                                             .stop = flow_stop,
                                             .credit = flow_credit,
                                             .hold = flow_hold};

/* ---- the request: events of the parser -------------------------------- */

/* What the log line will say lives as long as the exchange. */
static struct exchange *exchange_new(struct visitor *v,
                                     const struct inlets_head *head,
                                     struct inlets_slice host)
{
    struct inlets_slice path = inl_target_path(head->target);
    struct exchange *x =
        inl_malloc(sizeof(*x) + head->method.len + host.len + path.len);
    char *at;

    if (x == NULL) {
        return NULL;
    }
    *x = (struct exchange){.started_ms = v->env->now_ms, .left = -1};
    at = x->text;
    x->method = inl_slice_keep(&at, head->method);
    x->host = inl_slice_keep(&at, host);
    x->path = inl_slice_keep(&at, path);
    x->is_head = inl_slice_eq(head->method, INL_LIT("HEAD"));
    make_id(v->env, x->id);
    return x;
}

static bool is_tunnel(const struct visitor *v, const struct inlets_head *head)
{
    return v->config->tunnel_path.len > 0 &&
           inl_slice_eq(inl_target_path(head->target),
                        v->config->tunnel_path) &&
           (head->flags & INLETS_HEAD_UPGRADE) != 0;
}

static void start_tunnel(struct visitor *v, const struct inlets_head *head)
{
    int err = v->config->open_tunnel(v->config->user, v->link, head);

    if (err == 0) {
        v->hand_over = true;
        return;
    }
    refuse(v, err == INLETS_EVERSION ? 426 : inl_status_of_error(err),
           inlets_strerror(err));
}

static void open_service(struct visitor *v, const struct inlets_head *head,
                         struct inlets_slice host)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    char id_text[INL_REQUEST_ID_LEN]; /* outlives an exchange that is cut */
    struct inlets_slice id = inl_slice(id_text, sizeof(id_text));
    const struct inl_forwarding f = {inl_str(v->link->peer_ip), INL_LIT("http"),
                                     v->config->port, id};
    struct inlets_head out;
    struct inl_request req = {&out, host, inl_target_path(head->target), id,
                              f.peer_ip};
    int err;

    memcpy(id_text, v->x->id, sizeof(id_text));
    err = inl_forward_request(head, &f, fields, &out);
    v->x->upgrade = err == 0 && (out.flags & INLETS_HEAD_UPGRADE) != 0;
    if (err == 0) {
        err = inl_service_open(v->config->service, &req, &v->flow);
    }
    if (err != 0) {
        answer_error(v, err);
    }
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct visitor *v = user;
    char buf[INL_HOST_MAX + 1];
    int len = 0;

    if (is_tunnel(v, head)) {
        start_tunnel(v, head);
        return;
    }
    if (head->host.len > 0) {
        len = inl_host_normalise(head->host, buf, sizeof(buf));
    }
    if (len < 0) {
        refuse(v, 400, "bad Host");
        return;
    }
    v->x = exchange_new(v, head, inl_slice(buf, (size_t)len));
    if (v->x == NULL) {
        refuse(v, 503, "out of memory");
        return;
    }
    v->x->keep_alive = h->keep_alive;
    v->x->no_request_body =
        head->content_length == INLETS_LENGTH_NONE || head->content_length == 0;
    move(v, BUSY);
    wait_for_progress(v);
    open_service(v, head, inl_slice(buf, (size_t)len));
}

static void on_body(struct inl_http1 *h, struct inlets_slice data, void *user)
{
    struct visitor *v = user;

    (void)h;
    if (v->x != NULL) {
        v->x->bytes_in += data.len;
        if (!v->x->responded || v->x->response_done) {
            wait_for_progress(v);
        }
        inl_flow_body(&v->flow, data);
    }
}

static void on_end(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user)
{
    struct visitor *v = user;

    (void)h;
    if (v->x == NULL) {
        return;
    }
    v->x->request_done = true;
    if (v->x->upgrade && inl_flow_tied(&v->flow)) {
        return; /* the direction goes on as raw bytes if a 101 comes */
    }
    inl_flow_end(&v->flow, trailers);
    if (v->x != NULL && v->state == BUSY && v->x->response_done) {
        exchange_over(v);
    }
}

static const struct inl_http1_ops http_ops = {on_head, on_body, on_end};

/* ---- input ------------------------------------------------------------ */

static const char *why(const struct visitor *v, int err)
{
    return err == INLETS_EBADMESSAGE ? inl_http1_reason(&v->http)
                                     : inlets_strerror(err);
}

static void bad_request(struct visitor *v, int err)
{
    if (v->x == NULL) {
        refuse(v, inl_status_of_error(err), why(v, err));
        return;
    }
    /* in the body: what was opened must not look complete */
    inl_flow_stop(&v->flow, INLETS_ECANCELED);
    v->x->keep_alive = false;
    if (v->x->responded) {
        cut(v, err);
    } else {
        answer_error(v, err);
    }
}

/* May the next request begin? */
static bool may_begin(const struct visitor *v)
{
    return v->state == IDLE && v->link->out.bytes <= UNSENT_MAX;
}

/* Can the parser go on? */
static bool wants_input(const struct visitor *v)
{
    return !v->hand_over &&
           (may_begin(v) || v->state == HEAD ||
            (v->state == BUSY && v->x != NULL && !v->x->request_done));
}

/* Feeds what may be fed; returns how much was used. */
static size_t parse(struct visitor *v, const uint8_t *p, size_t n)
{
    bool begins = v->state == IDLE;
    size_t used = 0;
    int err;

    if (begins) {
        move(v, HEAD);
    }
    if (v->state == BUSY && n > v->flow.tx_credit) {
        n = v->flow.tx_credit;
    }
    v->feeding = true;
    err = inl_http1_feed(&v->http, p, n, &used);
    v->feeding = false;
    if (begins && v->state == HEAD) { /* most heads come whole: no timer */
        (void)inl_timer_at(v->env, &v->timer,
                           v->env->now_ms + v->config->head_timeout_ms);
    }
    if (v->over) {
        exchange_over(v);
    } else if (err != 0 && wants_input(v)) {
        bad_request(v, err);
        return n;
    }
    return used;
}

/* Uses what it can of p; the rest stays with the caller. */
static size_t use(struct visitor *v, const uint8_t *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        size_t step;

        if (v->state == RAW) {
            step = n - done;
            step = step < v->flow.tx_credit ? step : v->flow.tx_credit;
            v->x->bytes_in += step;
            inl_flow_body(&v->flow, inl_slice(p + done, step));
        } else if (wants_input(v)) {
            step = parse(v, p + done, n - done);
        } else {
            return v->state == LEAVING || v->state == GONE ? n : done;
        }
        if (step == 0) {
            return done;
        }
        done += step;
    }
    return done;
}

static void raw_eof(struct visitor *v)
{
    inl_flow_end(&v->flow, NULL);
    if (v->x != NULL && !inl_flow_tied(&v->flow)) {
        drop_exchange(v);
        leave(v);
    }
}

/* All input is used and there will be no more. */
static void eof_reached(struct visitor *v)
{
    switch (v->state) {
    case IDLE:
    case HEAD:
        leave(v);
        break;
    case BUSY:
        if (v->x->request_done) {
            v->x->keep_alive = false;
            (void)inl_timer_at(v->env, &v->timer,
                               v->env->now_ms + FIN_GRACE_MS);
        } else {
            v->x->responded = true; /* nobody is there to be answered */
            cut(v, INLETS_ECANCELED);
        }
        break;
    case RAW:
        raw_eof(v);
        break;
    case LEAVING:
    case GONE:
    case NSTATES:
        break;
    }
}

static void give_link_away(struct visitor *v, const uint8_t *p, size_t n)
{
    struct inl_link *link = v->link;

    move(v, GONE);
    v->link = NULL;
    inl_list_remove(&v->node);
    inl_env_later(v->env, &v->free);
    if (n > 0) {
        inl_link_rx(link, p, n);
    }
}

static void hold(struct visitor *v, const uint8_t *p, size_t n)
{
    if (n > 0 && inl_queue_append(&v->held, p, n) != 0) {
        inl_link_close(v->link, INLETS_ENOMEM);
    }
}

static void visitor_rx(void *machine, const uint8_t *p, size_t n)
{
    struct visitor *v = machine;
    size_t used = v->held.bytes > 0 ? 0 : use(v, p, n);

    if (v->hand_over) {
        give_link_away(v, p + used, n - used);
    } else if (v->state != GONE) {
        hold(v, p + used, n - used);
        if (v->held.bytes > 0 && (wants_input(v) || v->state == RAW)) {
            inl_env_later(v->env, &v->resume);
        }
    }
}

/* There is held input, and maybe somebody who can use it. */
static void visitor_resume(struct inl_later *later)
{
    struct visitor *v = inl_container(later, struct visitor, resume);

    while (v->held.bytes > 0) {
        struct inlets_slice s = inl_queue_front(&v->held);
        size_t used = use(v, (const uint8_t *)s.ptr, s.len);

        inl_queue_consume(&v->held, used);
        if (v->hand_over) {
            inl_queue_clear(&v->held); /* nobody speaks before our 101 */
            give_link_away(v, NULL, 0);
            return;
        }
        if (used < s.len) {
            break;
        }
    }
    if (v->state == GONE) {
        return;
    }
    if (v->eof && v->held.bytes == 0) {
        eof_reached(v);
    } else {
        inl_link_wake(v->link);
    }
}

static size_t visitor_rx_room(void *machine)
{
    const struct visitor *v = machine;
    size_t room = v->held.bytes < HELD_MAX ? HELD_MAX - v->held.bytes : 0;

    if (v->state == RAW || (v->state == BUSY && !v->x->request_done)) {
        if (v->held.bytes > 0) {
            return 0;
        }
        return v->flow.tx_credit < room ? v->flow.tx_credit : room;
    }
    return room;
}

static void visitor_eof(void *machine)
{
    struct visitor *v = machine;

    v->eof = true;
    if (v->held.bytes == 0) {
        eof_reached(v);
    }
}

static void visitor_taken(void *machine, size_t n)
{
    struct visitor *v = machine;

    (void)n;
    if (v->state == IDLE) { /* the answers before are still on their way */
        start_waiting(v);
        if (v->held.bytes > 0 && may_begin(v)) {
            inl_env_later(v->env, &v->resume);
        }
    }
    if (v->x == NULL) {
        return;
    }
    if (v->eof && v->state == BUSY) { /* it still takes bytes: it is there */
        (void)inl_timer_at(v->env, &v->timer, v->env->now_ms + FIN_GRACE_MS);
    }
    inl_flow_credit_sent(&v->flow, &v->x->unpaid, v->link->out.bytes);
}

static void visitor_gone(void *machine, int err)
{
    struct visitor *v = machine;

    if (v->x != NULL) {
        v->x->err = err == 0 ? INLETS_ECANCELED : err;
        inl_flow_stop(&v->flow, INLETS_ECANCELED);
        drop_exchange(v);
    }
    if (v->state != GONE) {
        move(v, GONE);
    }
    v->link = NULL;
    inl_list_remove(&v->node);
    inl_env_later(v->env, &v->free);
}

static const struct inl_machine_ops machine_ops = {.rx = visitor_rx,
                                                   .rx_room = visitor_rx_room,
                                                   .rx_eof = visitor_eof,
                                                   .tx_taken = visitor_taken,
                                                   .gone = visitor_gone};

static void busy_too_long(struct visitor *v)
{
    if (v->eof) {
        v->x->responded = true;
        cut(v, INLETS_ECANCELED);
    } else if (!v->x->responded) {
        inl_flow_stop(&v->flow, INLETS_ETIMEDOUT);
        answer_error(v, INLETS_ETIMEDOUT);
    } else if (v->x->response_done) { /* an early response */
        v->x->err = INLETS_ETIMEDOUT;
        inl_flow_stop(&v->flow, INLETS_ETIMEDOUT);
        exchange_over(v);
    }
}

static void visitor_timeout(struct inl_timer *timer)
{
    struct visitor *v = inl_container(timer, struct visitor, timer);

    switch (v->state) {
    case IDLE:
        leave(v);
        break;
    case HEAD:
        refuse(v, 408, "the head did not arrive in time");
        break;
    case BUSY:
        busy_too_long(v);
        break;
    case RAW:
    case LEAVING:
    case GONE:
    case NSTATES:
        break;
    }
}

/* ---- life ------------------------------------------------------------- */

void inl_visitor_config_init(struct inl_visitor_config *c)
{
    *c = (struct inl_visitor_config){.head_timeout_ms = 10000,
                                     .idle_timeout_ms = 60000,
                                     .gateway_timeout_ms = 60000};
}

void inl_visitor_start(const struct inl_visitor_config *config,
                       struct inl_list *visitors, struct inl_link *link)
{
    struct visitor *v = inl_calloc(1, sizeof(*v));

    if (v == NULL) {
        inl_link_close(link, INLETS_ENOMEM);
        return;
    }
    v->config = config;
    v->env = link->env;
    v->link = link;
    inl_list_init(&v->node);
    inl_list_push_back(visitors, &v->node);
    inl_http1_init(&v->http, INL_HTTP1_REQUEST, &http_ops, v);
    inl_flow_init(&v->flow, &flow_ops);
    inl_timer_init(&v->timer, visitor_timeout);
    inl_later_init(&v->resume, visitor_resume);
    inl_later_init(&v->free, visitor_free);
    inl_link_set_machine(link, &machine_ops, v);
    /* the first head has the head's time, so that silence costs little */
    (void)inl_timer_at(v->env, &v->timer,
                       v->env->now_ms + config->head_timeout_ms);
}

void inl_visitors_drain(struct inl_list *visitors)
{
    struct inl_list *n, *tmp;

    inl_list_each(visitors, n, tmp)
    {
        struct visitor *v = inl_container(n, struct visitor, node);

        if (v->state == IDLE) {
            leave(v);
        }
    }
}

void inl_visitors_close(struct inl_list *visitors)
{
    struct inl_list *n, *tmp;

    inl_list_each(visitors, n, tmp)
    {
        struct visitor *v = inl_container(n, struct visitor, node);

        if (v->x == NULL) {
            if (v->link->out.bytes > 0) { /* the rest of an answer */
                inl_link_reset(v->link, INLETS_ECLOSED);
            } else {
                inl_link_close(v->link, 0);
            }
            continue;
        }
        /* Cut, and seen to be cut. The exchange stays until `gone`: its own
         * service may be who closes us, from inside a callback. */
        inl_flow_stop(&v->flow, INLETS_ECANCELED);
        inl_link_reset(v->link, INLETS_ECLOSED);
    }
}
