/* visitor_exchange.c: one request of a visitor and its answer: what the parser
 * and our end of the flow tell. Answers of our own are in visitor_answer.c. */
#include "base/date.h"
#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "proto/tls.h"
#include "relay/answer.h"
#include "relay/forwarding.h"
#include "relay/visitor_machine.h"
#include <stdio.h>
#include <string.h>

/* ---- the end of things ------------------------------------------------ */

static void log_request(struct inl_visitor *v)
{
    struct inl_visitor_exchange *x = v->x;

    inl_log(
        v->env, INLETS_LOG_INFO, "request", INL_KV("id", x->id),
        INL_KV("method", x->method), INL_KV("host", x->host),
        INL_KV("path", x->path), INL_KN("status", x->status),
        INL_KN("bytes_in", x->bytes_in), INL_KN("bytes_out", x->bytes_out),
        INL_KN("ms", v->env->now_ms - x->started_ms),
        INL_KV("remote", x->remote),
        INL_KV("result", inl_str(x->err == 0 ? "ok" : inlets_errname(x->err))),
        INL_KV(x->limit == NULL ? NULL : "limit", inl_str(x->limit)));
}

void inl_visitor_drop_exchange(struct inl_visitor *v)
{
    if (v->x != NULL) {
        log_request(v);
        inl_permit_end(&v->x->permit);
        inl_free(v->x);
        v->x = NULL;
    }
}

/* Of the response to its head, or of the request once that is over. */
static void wait_for_progress(struct inl_visitor *v)
{
    const struct inl_visitor_exchange *x = v->x;
    uint32_t ms = v->config->gateway_timeout_ms;

    if (x != NULL && x->request_done && v->eof) {
        ms = INL_VISITOR_FIN_GRACE_MS; /* it goes on for who has left, too */
    } else {
        if (x != NULL && !x->request_done && !x->no_request_body &&
            !x->expects && v->flow.tx_credit > 0) {
            ms = v->config->body_timeout_ms; /* it is the visitor's turn */
        }
        if (x != NULL && x->held) {
            v->x->left_ms = ms;
            return;
        }
    }
    (void)inl_timer_at(v->env, &v->timer, v->env->now_ms + ms);
}

void inl_visitor_exchange_over(struct inl_visitor *v)
{
    bool again;

    if (v->feeding) {
        v->over = true;
        return;
    }
    v->over = false;
    again = v->x->keep_alive && v->x->request_done && v->x->response_done &&
            !v->config->draining && (!v->eof || v->held.bytes > 0);
    inl_visitor_drop_exchange(v);
    if (!again) {
        inl_visitor_leave(v);
        return;
    }
    inl_http1_next(&v->http, false);
    inl_visitor_move(v, INL_VISITOR_IDLE);
    inl_visitor_start_waiting(v);
    inl_link_wake(v->link);
    if (v->held.bytes > 0) {
        inl_env_later(v->env, &v->resume);
    }
}

void inl_visitor_cut(struct inl_visitor *v, int err)
{
    bool only_close_marks_end =
        v->state == INL_VISITOR_RAW || v->x->framing == INL_HTTP1_CLOSE;

    v->x->err = err;
    inl_flow_stop(&v->flow, INLETS_ECANCELED);
    inl_visitor_drop_exchange(v);
    if (only_close_marks_end) {
        inl_visitor_move(v, INL_VISITOR_GONE);
        inl_link_reset(v->link, err);
    } else {
        inl_link_linger(v->link); /* no patience: it cannot become whole */
        inl_visitor_leave(v);
    }
}

/* ---- the response: events at our end of the flow ----------------------- */

/* Room for what put_connection says. */
#define CONNECTION_TEXT (64u + INL_UPGRADE_MAX)

static void put_connection(const struct inl_visitor *v, unsigned status,
                           char text[CONNECTION_TEXT],
                           struct inlets_slice *ret_extra)
{
    if (status == 101) {
        (void)snprintf(text, CONNECTION_TEXT,
                       "Connection: upgrade\r\nUpgrade: %.*s\r\n",
                       (int)v->x->protocol.len, v->x->protocol.ptr);
        *ret_extra = inl_str(text);
    } else if (status < 200) {
        *ret_extra = INL_LIT("");
    } else {
        *ret_extra = inl_visitor_connection(v);
    }
}

static void final_head(struct inl_visitor *v, const struct inlets_head *head)
{
    struct inl_visitor_exchange *x = v->x;
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
    /* RFC 9110 10.1.1: whoever waits for our 100 may send the body or not,
     * and an error mostly means that nobody wants the rest of it. Said here,
     * or the visitor takes its next request for what is still to be sent. */
    if (!x->request_done && (x->expects || head->status >= 400)) {
        x->keep_alive = false;
    }
}

/* A second final head, a switch that nobody asked for, too many fields. */
static void bad_head(struct inl_visitor *v)
{
    if (v->x->responded) {
        inl_visitor_cut(v, INLETS_EUPSTREAM);
        return;
    }
    inl_flow_stop(&v->flow, INLETS_ECANCELED);
    inl_visitor_answer_error(v, INLETS_EUPSTREAM);
}

static void flow_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct inl_visitor *v = inl_container(f, struct inl_visitor, flow);
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    enum inl_http1_framing framing;
    struct inlets_head out;
    struct inlets_slice extra;
    char text[CONNECTION_TEXT], date[INL_DATE_TEXT];

    if (v->x->responded || (head->status == 101 && !v->x->upgrade) ||
        inl_forward_response(head, fields, &out) != 0) {
        bad_head(v);
        return;
    }
    if (head->status < 200 && head->status != 101 && v->http.http10) {
        return; /* RFC 9110 15.2: 1.0 knows no 1xx */
    }
    if (head->status == 100) {
        v->x->expects = false; /* now it is the visitor's turn */
    } else if (head->status >= 200) {
        final_head(v, head);
    }
    /* Any other 1xx is no progress: they could hold an upload up for ever. */
    if (!v->x->request_done && (head->status == 100 || head->status >= 200)) {
        wait_for_progress(v);
    }
    inl_forward_date(&out, fields, date);
    inl_visitor_begin_write(v);
    put_connection(v, head->status, text, &extra);
    if (inl_http1_put_response(&v->link->out, &out, extra, !v->x->is_head,
                               v->http.http10, &framing) != 0) {
        v->x->responded = false;
        inl_flow_stop(f, INLETS_ECANCELED);
        inl_visitor_answer_error(v, INLETS_EUPSTREAM);
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
        inl_visitor_move(v, INL_VISITOR_RAW);
        inl_timer_off(v->env, &v->timer);
        inl_env_later(v->env, &v->resume);
    } else if (head->status >= 200 && v->x->upgrade) {
        inl_flow_end(f, NULL); /* refused; the last act: it may end us */
    }
}

static void flow_body(struct inl_flow *f, struct inlets_slice data)
{
    struct inl_visitor *v = inl_container(f, struct inl_visitor, flow);
    struct inl_visitor_exchange *x = v->x;
    int err;

    if (x->is_head ||
        (x->framing == INL_HTTP1_NO_BODY && v->state != INL_VISITOR_RAW)) {
        inl_flow_credit(f, data.len); /* not ours to send */
        return;
    }
    if (x->left >= 0 && data.len > (uint64_t)x->left) {
        inl_visitor_cut(v, INLETS_EUPSTREAM); /* more than was declared */
        return;
    }
    inl_visitor_begin_write(v);
    err = v->state == INL_VISITOR_RAW
              ? inl_link_write(v->link, data.ptr, data.len)
              : inl_http1_put_body(&v->link->out, x->framing, data);
    if (err != 0) {
        inl_visitor_cut(v, err);
        return;
    }
    x->left = x->left < 0 ? x->left : x->left - (int64_t)data.len;
    x->bytes_out += data.len;
    x->unpaid += data.len;
    inl_link_wake(v->link);
}

static void raw_half_closed(struct inl_visitor *v)
{
    v->x->response_done = true;
    inl_link_shutdown(v->link);
    if (!inl_flow_tied(&v->flow)) {
        inl_visitor_drop_exchange(v);
        inl_visitor_leave(v);
    }
}

static void flow_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct inl_visitor *v = inl_container(f, struct inl_visitor, flow);
    struct inl_visitor_exchange *x = v->x;

    if (v->state == INL_VISITOR_RAW) {
        raw_half_closed(v);
        return;
    }
    if (!x->responded) {
        inl_flow_stop(f, INLETS_ECANCELED);
        inl_visitor_answer_error(v, INLETS_EUPSTREAM);
        return;
    }
    if (x->left > 0) {
        inl_visitor_cut(v, INLETS_EUPSTREAM);
        return;
    }
    if (inl_http1_put_end(&v->link->out, x->framing, trailers) != 0) {
        inl_visitor_cut(v, INLETS_ENOMEM);
        return;
    }
    x->response_done = true;
    inl_link_wake(v->link);
    if (inl_flow_tied(f) && x->expects) {
        inl_flow_stop(f, INLETS_ECANCELED); /* nor will there be a 100 */
    }
    if (!inl_flow_tied(f)) {
        inl_visitor_exchange_over(v);
        return;
    }
    if (!x->keep_alive) { /* RFC 9112 9.6; the request may go on */
        inl_link_shutdown(v->link);
    }
    if (!v->eof) {
        wait_for_progress(v);
    }
}

/* Without a client nobody's time runs, for nobody can go on: at most for the
 * time in which a client may resume. That of who has left does. */
static void flow_hold(struct inl_flow *f, bool held)
{
    struct inl_visitor *v = inl_container(f, struct inl_visitor, flow);
    uint64_t now = v->env->now_ms;

    if (v->x == NULL || v->x->held == held) {
        return;
    }
    v->x->held = held;
    if (held) {
        v->x->left_ms = 0;
        if (v->state == INL_VISITOR_BUSY && !v->eof && v->timer.due_ms > now) {
            v->x->left_ms = v->timer.due_ms - now;
            inl_timer_off(v->env, &v->timer);
        }
    } else if (v->x->left_ms > 0) {
        (void)inl_timer_at(v->env, &v->timer, now + v->x->left_ms);
    }
}

static void flow_stop(struct inl_flow *f, int err)
{
    struct inl_visitor *v = inl_container(f, struct inl_visitor, flow);

    if (v->x == NULL) {
        return;
    }
    if (!v->x->responded) {
        inl_visitor_answer_error(v, err == 0 ? INLETS_EUPSTREAM : err);
    } else if (v->x->response_done && v->state == INL_VISITOR_BUSY) {
        inl_visitor_exchange_over(
            v); /* an early response: the request is not needed */
    } else {
        inl_visitor_cut(v, err == 0 ? INLETS_EUPSTREAM : err);
    }
}

static void flow_credit(struct inl_flow *f, size_t bytes)
{
    struct inl_visitor *v = inl_container(f, struct inl_visitor, flow);

    (void)bytes;
    if (v->held.bytes > 0) {
        inl_env_later(v->env, &v->resume);
    }
    if (v->state == INL_VISITOR_BUSY && !v->x->request_done &&
        v->timer.due_ms == 0) {
        wait_for_progress(v); /* it is the visitor's turn again */
    }
    inl_link_wake(v->link); /* there is room to read again */
}

const struct inl_flow_ops inl_visitor_flow_ops = {.head = flow_head,
                                                  .body = flow_body,
                                                  .end = flow_end,
                                                  .stop = flow_stop,
                                                  .credit = flow_credit,
                                                  .hold = flow_hold};

/* ---- the request: events of the parser -------------------------------- */

/* What the log line will say lives as long as the exchange. */
static struct inl_visitor_exchange *exchange_new(struct inl_visitor *v,
                                                 const struct inlets_head *head,
                                                 struct inlets_slice host)
{
    struct inlets_slice path = inl_target_path(head->target);
    struct inlets_slice remote = inl_str(v->link->peer_ip);
    struct inlets_slice id = {NULL, 0}, protocol = {NULL, 0};
    char remote_text[INL_IP_TEXT], id_text[INL_REQUEST_ID_LEN], *at;
    struct inl_visitor_exchange *x;

    if (v->trusted) {
        remote =
            inl_forward_client(head, v->config->trusted, remote, remote_text);
        id = inl_forward_id(head);
    }
    if (id.len == 0) {
        id = inl_visitor_new_id(v->env, id_text);
    }
    if ((head->flags & INLETS_HEAD_UPGRADE) != 0) {
        protocol = inl_upgrade_of(head);
    }
    x = inl_malloc(sizeof(*x) + id.len + head->method.len + host.len +
                   path.len + remote.len + protocol.len);

    if (x == NULL) {
        return NULL;
    }
    *x =
        (struct inl_visitor_exchange){.started_ms = v->env->now_ms, .left = -1};
    at = x->text;
    x->id = inl_slice_keep(&at, id);
    x->method = inl_slice_keep(&at, head->method);
    x->host = inl_slice_keep(&at, host);
    x->path = inl_slice_keep(&at, path);
    x->remote = inl_slice_keep(&at, remote);
    x->protocol = inl_slice_keep(&at, protocol);
    x->is_head = inl_slice_eq(head->method, INL_LIT("HEAD"));
    return x;
}

/* That of a proxy in front of us, when it said so. */
static struct inlets_slice visitors_port(const struct inl_visitor *v,
                                         char buf[8])
{
    if (v->link->told_port == 0) {
        return v->config->port;
    }
    (void)snprintf(buf, 8, "%u", (unsigned)v->link->told_port);
    return inl_str(buf);
}

static void open_service(struct inl_visitor *v, const struct inlets_head *head,
                         struct inlets_slice host)
{
    /* These two outlive an exchange that is cut. */
    char text[INL_FORWARD_ID_MAX + INL_IP_TEXT], *at = text;
    struct inlets_slice id = inl_slice_keep(&at, v->x->id);
    struct inlets_slice remote = inl_slice_keep(&at, v->x->remote);
    char port[8];
    const struct inl_forwarding f = {
        .peer_ip = inl_str(v->link->peer_ip),
        .proto = v->link->tls != NULL ? INL_LIT("https") : INL_LIT("http"),
        .port = visitors_port(v, port),
        .id = id,
        .http10 = v->http.http10,
        .trusted = v->trusted,
        .forwarded = v->config->forwarded,
        .upgrades = v->config->upgrades};
    struct inl_forward_room room;
    struct inlets_head out;
    struct inl_request req = {&out, host,   inl_target_path(head->target),
                              id,   remote, &v->x->permit};
    int err;

    err = inl_forward_request(head, &f, &room, &out);
    v->x->upgrade = err == 0 && (out.flags & INLETS_HEAD_UPGRADE) != 0;
    if (err == 0) {
        err = inl_service_open(v->config->service, &req, &v->flow);
    }
    if (err != 0) {
        if (v->x->permit.limit != NULL) {
            v->x->limit = v->x->permit.limit;
        }
        inl_visitor_answer_error(v, err);
    }
}

/* An OPTIONS that may go no further: of this node there is nothing to say. */
static void answer_options(struct inl_visitor *v)
{
    char date[INL_DATE_TEXT];
    const struct inlets_field field = {INL_LIT("Date"), inl_date_now(date)};
    const struct inlets_head head = {.status = 204,
                                     .content_length = INLETS_LENGTH_NONE,
                                     .fields = &field,
                                     .nfields = 1};
    struct inl_visitor_exchange *x = v->x;
    enum inl_http1_framing framing;
    struct inlets_slice extra;
    char text[CONNECTION_TEXT];

    x->status = 204;
    x->keep_alive = x->keep_alive && x->no_request_body;
    put_connection(v, 204, text, &extra);
    if (inl_http1_put_response(&v->link->out, &head, extra, true,
                               v->http.http10, &framing) != 0) {
        inl_link_close(v->link, INLETS_ENOMEM);
    }
    inl_link_wake(v->link);
    x->responded = x->response_done = true;
    inl_visitor_exchange_over(v);
}

/* RFC 9110 10.1.1: there is but one. */
static bool can_expect(const struct inlets_head *head)
{
    for (size_t i = 0; i < head->nfields; i++) {
        struct inlets_slice list = head->fields[i].value, word;

        if (!inl_slice_eq_case(head->fields[i].name, INL_LIT("Expect"))) {
            continue;
        }
        while (inl_slice_next_element(&list, &word)) {
            if (!inl_slice_eq_case(word, INL_LIT("100-continue"))) {
                return false;
            }
        }
    }
    return true;
}

/* RFC 9110 15.5.20: the visitor was shown a certificate that is not for this
 * host, which may be another tenant's. Who named nobody was shown any. */
static bool is_misdirected(const struct inl_visitor *v,
                           struct inlets_slice host)
{
    const struct inl_tls *tls = v->link->tls;

    return tls != NULL && inl_tls_sni(tls).len > 0 &&
           !inl_slice_eq(inl_tls_sni(tls), host) && !inl_tls_covers(tls, host);
}

/* What follows a request for another protocol may be meant for that: it must
 * never be read as a request, whatever becomes of this one. */
static bool may_stay(const struct inl_visitor *v, const struct inl_http1 *h,
                     const struct inlets_head *head)
{
    if (h->keep_alive && v->config->max_requests > 0 &&
        v->requests >= v->config->max_requests) {
        v->x->limit = "max_requests_per_connection";
        return false;
    }
    return h->keep_alive &&
           ((head->flags & INLETS_HEAD_UPGRADE) == 0 || inl_asks_for_h2c(head));
}

static bool is_too_large(const struct inl_visitor *v, int64_t bytes)
{
    uint64_t most = v->config->max_body;

    if (v->x != NULL && v->x->permit.max_body > 0 &&
        (most == 0 || v->x->permit.max_body < most)) {
        most = v->x->permit.max_body;
    }
    return most > 0 && bytes > 0 && (uint64_t)bytes > most;
}

/* It did not say so before. */
static void body_too_large(struct inl_visitor *v)
{
    inl_log(v->env, INLETS_LOG_INFO, "request refused", INL_KV("id", v->x->id),
            INL_KV("why", INL_LIT("the body is larger than max_body")));
    inl_flow_stop(&v->flow, INLETS_ECANCELED);
    v->x->keep_alive = false;
    if (v->x->responded) {
        inl_visitor_cut(v, INLETS_ETOOLARGE);
    } else {
        inl_visitor_answer_status(v, INLETS_ETOOLARGE, 413);
    }
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct inl_visitor *v = user;
    char buf[INL_HOST_MAX + 1];
    int len = 0;

    if (inl_visitor_is_tunnel(v, head)) {
        inl_visitor_start_tunnel(v, head);
        return;
    }
    if (head->host.len > 0) {
        len = inl_host_normalise(head->host, buf, sizeof(buf));
    }
    if (len < 0) {
        inl_visitor_refuse(v, 400, "bad Host");
        return;
    }
    if (is_misdirected(v, inl_slice(buf, (size_t)len))) {
        inl_visitor_refuse(v, 421, "TLS was for another host");
        return;
    }
    if (!can_expect(head)) {
        inl_visitor_refuse(v, 417, "Expect is not 100-continue");
        return;
    }
    if (is_too_large(v, head->content_length)) {
        inl_visitor_refuse(v, 413, "the body is larger than max_body");
        return;
    }
    v->x = exchange_new(v, head, inl_slice(buf, (size_t)len));
    if (v->x == NULL) {
        inl_visitor_refuse(v, 503, "out of memory");
        return;
    }
    v->requests++;
    v->x->keep_alive = may_stay(v, h, head);
    v->x->expects =
        !h->http10 && inl_head_find(head, INL_LIT("Expect")).ptr != NULL;
    v->x->no_request_body =
        head->content_length == INLETS_LENGTH_NONE || head->content_length == 0;
    inl_visitor_move(v, INL_VISITOR_BUSY);
    if (inl_forward_ends_here(head)) {
        answer_options(v);
    } else {
        open_service(v, head, inl_slice(buf, (size_t)len));
    }
    if (v->x != NULL && v->state == INL_VISITOR_BUSY && !v->over) {
        wait_for_progress(v); /* whose turn it is depends on the credit */
    }
}

static void on_body(struct inl_http1 *h, struct inlets_slice data, void *user)
{
    struct inl_visitor *v = user;

    (void)h;
    if (v->x == NULL || v->over) { /* answered already */
        return;
    }
    v->x->bytes_in += data.len;
    v->x->expects = false; /* it does not wait for us any more */
    if (is_too_large(v, (int64_t)v->x->bytes_in)) {
        body_too_large(v);
        return;
    }
    inl_flow_body(&v->flow, data);
    if (v->x != NULL && !v->over) {
        wait_for_progress(v);
    }
}

static void on_end(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user)
{
    struct inl_visitor *v = user;

    (void)h;
    if (v->x == NULL) {
        return;
    }
    v->x->request_done = true;
    if ((!v->x->no_request_body || v->eof) && !v->x->responded && !v->over) {
        wait_for_progress(v); /* it is the upstream's turn */
    }
    if (v->x->upgrade && inl_flow_tied(&v->flow)) {
        return; /* the direction goes on as raw bytes if a 101 comes */
    }
    inl_flow_end(&v->flow, trailers);
    if (v->x != NULL && v->state == INL_VISITOR_BUSY && v->x->response_done) {
        inl_visitor_exchange_over(v);
    }
}

const struct inl_http1_ops inl_visitor_http_ops = {on_head, on_body, on_end};
