/* upstream_conn.c: see upstream_conn.h. One connection to an upstream.
 *
 *   DIALING   a request waits for it in `early`
 *   BUSY      request out, response in
 *   RAW       after a 101: bytes both ways
 *   IDLE      in the pool
 *   GONE      no link (any more); freed at the end of the turn
 *
 * A connection owns its dial and is the machine of its link. Request bytes
 * wait in the link's out queue (`early` until there is a link) and are paid
 * with credit as they leave it.
 *
 * It is used again only after a wholly read, well-framed exchange whose
 * request had gone out before its response was over, and with nothing behind
 * the response. A kept connection may have died unseen, or have bytes on it
 * that nobody asked for: a request of which nothing has left yet then goes to
 * a fresh one, and so does, once, an idempotent one without body that got not
 * one byte back (RFC 9110 9.2.2).
 *
 * Failure paths: no connection: the error of the dial; a bad or cut response:
 * EUPSTREAM, with the reason in the log. Before the head the visitor gets a
 * 502 or 504 of it, after it the answer is cut. */
#include "relay/upstream_conn.h"

#include "base/mem.h"
#include "base/slice.h"
#include <stdio.h>
#include <string.h>

/* Unasked-for bytes on an idle connection end it; this much is looked at. */
#define IDLE_ROOM 1024u
/* The response is whole, the request is not: for this long the upstream may
 * take no byte of the rest. Else whoever is answered early and sends on could
 * hold a window of memory and a connection for ever. */
#define EARLY_MS 30000u
/* An upstream that says for how long it keeps a connection is not made to
 * wait for the last moment: a request would cross its FIN. */
#define HINT_MARGIN_MS 500u
/* Longer hints are all the same; against an overflow. */
#define HINT_MAX_S 86400u

static const char *const state_names[INL_UPSTREAM_NSTATES] = {
    "dialing", "busy", "raw", "idle", "gone"};

#define TO(s) (1u << INL_UPSTREAM_##s)
static const unsigned moves[INL_UPSTREAM_NSTATES] = {
    [INL_UPSTREAM_DIALING] = TO(BUSY) | TO(GONE),
    [INL_UPSTREAM_BUSY] = TO(RAW) | TO(IDLE) | TO(GONE),
    [INL_UPSTREAM_RAW] = TO(GONE),
    [INL_UPSTREAM_IDLE] = TO(BUSY) | TO(GONE),
};

static void move(struct inl_upstream_conn *c, enum inl_upstream_state to)
{
    if ((moves[c->state] & (1u << to)) == 0) {
        inl_log(c->env, INLETS_LOG_ERROR, "impossible move",
                INL_KV("from", inl_str(state_names[c->state])),
                INL_KV("to", inl_str(state_names[to])));
        return;
    }
    inl_env_trace_move(c->env, "upstream", 0, state_names[c->state],
                       state_names[to]);
    c->state = to;
}

/* ---- life ------------------------------------------------------------- */

static void conn_free(struct inl_later *later)
{
    struct inl_upstream_conn *c =
        inl_container(later, struct inl_upstream_conn, free);
    struct inl_upstream *u = c->upstream;

    inl_timer_off(c->env, &c->timer);
    inl_http1_fini(&c->http);
    inl_queue_fini(&c->early);
    inl_queue_fini(&c->replay);
    inl_free(c);
    inl_upstream_conn_freed(u);
}

/* Out of its list for good; the link, if any, says gone by itself. */
static void conn_gone(struct inl_upstream_conn *c)
{
    if (c->state != INL_UPSTREAM_GONE) {
        inl_upstream_drop(c->upstream, c);
        move(c, INL_UPSTREAM_GONE);
        inl_timer_off(c->env, &c->timer);
        inl_dial_cancel(c->upstream->config.dialer, &c->dial);
        if (c->link == NULL) {
            inl_env_later(c->env, &c->free);
        }
    }
}

void inl_upstream_conn_fail(struct inl_upstream_conn *c, int err)
{
    conn_gone(c);
    if (c->link != NULL) {
        inl_link_reset(c->link, err);
    }
    inl_flow_stop(&c->flow, err);
}

static void bad_response(struct inl_upstream_conn *c, const char *reason)
{
    inl_log(c->env, INLETS_LOG_WARN, "bad response from upstream",
            INL_KV("upstream", inl_str(c->link->peer)),
            INL_KV("why", inl_str(reason)));
    inl_upstream_conn_fail(c, INLETS_EUPSTREAM);
}

/* ---- kept ------------------------------------------------------------- */

void inl_upstream_conn_close_idle(struct inl_upstream_conn *c)
{
    conn_gone(c);
    inl_link_close(c->link, 0);
}

bool inl_upstream_conn_is_dead(const struct inl_upstream_conn *c)
{
    const struct inl_carrier_ops *carrier = c->link->carrier;

    return carrier->peer_left != NULL && carrier->peer_left(c->link);
}

void inl_upstream_conn_keep(struct inl_upstream_conn *c)
{
    uint64_t due = c->idle_since_ms + c->idle_ms;

    if (c->env->now_ms >= due ||
        ((c->timer.due_ms == 0 || c->timer.due_ms > due) &&
         inl_timer_at(c->env, &c->timer, due) != 0)) {
        inl_upstream_conn_close_idle(c);
    }
}

/* Is it the upstream that does not take the rest, or the visitor who does not
 * send it? */
static void early_timeout(struct inl_upstream_conn *c)
{
    uint64_t now = c->env->now_ms;
    uint64_t due = c->idle_since_ms + EARLY_MS;

    if (c->link->out.bytes > 0 && now >= due) {
        inl_upstream_conn_fail(c, 0);
        return;
    }
    (void)inl_timer_at(c->env, &c->timer, due > now ? due : now + EARLY_MS);
}

static void conn_timeout(struct inl_timer *timer)
{
    struct inl_upstream_conn *c =
        inl_container(timer, struct inl_upstream_conn, timer);

    if (c->state == INL_UPSTREAM_BUSY && c->response_done) {
        early_timeout(c);
    } else if (c->state == INL_UPSTREAM_IDLE) {
        inl_upstream_conn_keep(c);
    } /* else: the next time it is idle starts it again */
}

/* ---- the end of an exchange ------------------------------------------- */

static void exchange_over(struct inl_upstream_conn *c)
{
    if (c->keep && c->link->out.bytes == 0 && !c->upstream->closed) {
        inl_queue_clear(&c->replay);
        move(c, INL_UPSTREAM_IDLE);
        inl_upstream_put_idle(c->upstream, c);
        return;
    }
    conn_gone(c);
    if (c->link->out.bytes > 0) {
        inl_link_finish(c->link); /* it answered before it read: it may read */
    } else {
        inl_link_close(c->link, 0);
    }
}

static void check_over(struct inl_upstream_conn *c)
{
    if (c->state == INL_UPSTREAM_BUSY && c->request_done && c->response_done) {
        exchange_over(c);
    }
}

/* ---- the response: events of the parser ------------------------------- */

/* RFC 9110 7.8, 15.2.2: what is wrong with a 101; NULL: nothing. */
static const char *wrong_switch(const struct inl_upstream_conn *c,
                                const struct inlets_head *head)
{
    if (c->protocol[0] == '\0') {
        return "a switch of protocol that nobody asked for";
    }
    return inl_slice_eq_case(inl_upgrade_of(head), inl_str(c->protocol))
               ? NULL
               : "a switch to a protocol that nobody asked for";
}

/* "Keep-Alive: timeout=5": many servers say how long they wait (RFC 2068
 * 19.7.1.1). A hint: what is not understood changes nothing. */
static void take_hint(struct inl_upstream_conn *c,
                      const struct inlets_head *head)
{
    struct inlets_slice list = inl_head_find(head, INL_LIT("Keep-Alive"));
    struct inlets_slice element;
    uint64_t seconds, ms;

    while (inl_slice_next_element(&list, &element)) {
        if (inl_slice_starts_case(element, INL_LIT("timeout=")) &&
            inl_slice_to_u64(inl_slice_from(element, 8), &seconds)) {
            ms = (seconds < HINT_MAX_S ? seconds : HINT_MAX_S) * 1000;
            ms = ms > HINT_MARGIN_MS ? ms - HINT_MARGIN_MS : 0;
            c->idle_ms = ms < c->idle_ms ? (uint32_t)ms : c->idle_ms;
        }
    }
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct inl_upstream_conn *c = user;
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head out;
    const char *wrong = head->status == 101 ? wrong_switch(c, head) : NULL;

    if (c->state != INL_UPSTREAM_BUSY) {
        return; /* it was stopped at the head before */
    }
    if (wrong == NULL && inl_forward_response(head, fields, &out) != 0) {
        wrong = "too many fields";
    }
    if (wrong != NULL) {
        bad_response(c, wrong);
        return;
    }
    if (head->status == 101) {
        move(c, INL_UPSTREAM_RAW);
    } else if (head->status >= 200) {
        c->keep = h->keep_alive && c->protocol[0] == '\0';
        c->idle_ms = c->upstream->config.idle_ms;
        take_hint(c, head);
    }
    inl_flow_head(&c->flow, &out);
}

static void on_body(struct inl_http1 *h, struct inlets_slice data, void *user)
{
    struct inl_upstream_conn *c = user;

    (void)h;
    inl_flow_body(&c->flow, data);
}

static void on_end(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user)
{
    struct inl_upstream_conn *c = user;

    (void)h;
    c->response_done = true;
    if (!c->request_done) {
        c->keep = false; /* who knows where it thinks that the request ends */
        c->idle_since_ms = c->env->now_ms;
        (void)inl_timer_at(c->env, &c->timer, c->env->now_ms + EARLY_MS);
    }
    inl_flow_end(&c->flow, trailers);
}

static const struct inl_http1_ops http_ops = {on_head, on_body, on_end};

/* ---- a second try ----------------------------------------------------- */

/* What can be said once more: what has not been sent, or an idempotent
 * request. NULL: nothing. */
static struct inl_queue *repeatable(struct inl_upstream_conn *c)
{
    if (!c->reused || c->got_byte) {
        return NULL;
    }
    if (!c->sent && c->link != NULL && c->link->out.bytes > 0) {
        return &c->link->out;
    }
    return c->replay.bytes > 0 ? &c->replay : NULL;
}

/* A reused connection is of no use, and said not a word of an answer: once
 * more, on a fresh one. The flow moves over, so the visitor sees nothing of
 * it. */
static bool retry(struct inl_upstream_conn *c)
{
    struct inl_upstream *u = c->upstream;
    struct inl_queue *request = repeatable(c);
    struct inl_upstream_conn *fresh;

    if (request == NULL || !inl_flow_tied(&c->flow) || u->closed) {
        return false;
    }
    fresh = inl_upstream_conn_new(u, c->http.response_to_head);
    if (fresh == NULL) {
        return false;
    }
    if (inl_queue_move(&fresh->early, request, request->bytes) != 0 ||
        inl_dial_start(u->config.dialer, &fresh->dial) != 0) {
        conn_gone(fresh);
        return false;
    }
    fresh->framing = c->framing;
    fresh->request_done = c->request_done;
    fresh->unpaid = c->unpaid;
    memcpy(fresh->protocol, c->protocol, sizeof(fresh->protocol));
    inl_flow_move(&fresh->flow, &c->flow);
    conn_gone(c);
    if (c->link != NULL) {
        inl_link_close(c->link, 0);
    }
    return true;
}

/* ---- input ------------------------------------------------------------ */

static void rx_raw(struct inl_upstream_conn *c, const uint8_t *p, size_t n)
{
    inl_flow_body(&c->flow, inl_slice(p, n));
}

static void rx_response(struct inl_upstream_conn *c, const uint8_t *p, size_t n)
{
    size_t used = 0;
    int err;

    c->got_byte = true;
    err = inl_http1_feed(&c->http, p, n, &used);
    if (c->state == INL_UPSTREAM_GONE) {
        return;
    }
    if (err != 0) {
        bad_response(c, inl_http1_reason(&c->http));
    } else if (c->state == INL_UPSTREAM_RAW && used < n) {
        rx_raw(c, p + used, n - used);
    } else if (used < n) {
        c->keep = false; /* bytes behind the end: not ours to believe */
    }
    check_over(c);
}

/* Bytes that were on their way before the request was: the rest of an answer
 * before, or one that nobody asked for. They must not answer this request. */
static void rx_stale(struct inl_upstream_conn *c)
{
    if (!retry(c)) {
        bad_response(c, "bytes came before the request was sent");
    }
}

static void conn_rx(void *machine, const uint8_t *p, size_t n)
{
    struct inl_upstream_conn *c = machine;

    if (c->state == INL_UPSTREAM_RAW) {
        rx_raw(c, p, n);
    } else if (c->state == INL_UPSTREAM_BUSY && !c->sent) {
        rx_stale(c);
    } else if (c->state == INL_UPSTREAM_BUSY && !c->response_done) {
        rx_response(c, p, n);
    } else if (c->state == INL_UPSTREAM_IDLE) {
        inl_upstream_conn_close_idle(c); /* nothing was asked */
    } else {
        c->keep = false;
    }
}

static size_t conn_rx_room(void *machine)
{
    const struct inl_upstream_conn *c = machine;
    size_t room = INL_LINK_READ_BYTES;

    if (c->state == INL_UPSTREAM_IDLE || c->response_done) {
        return IDLE_ROOM;
    }
    return c->flow.tx_credit < room ? c->flow.tx_credit : room;
}

/* The response is cut, or was delimited by this. */
static void eof_while_busy(struct inl_upstream_conn *c)
{
    c->keep = false;
    if (c->response_done) { /* it will not read the rest of the request */
        inl_upstream_conn_fail(c, 0);
        return;
    }
    if (retry(c)) {
        return;
    }
    if (inl_http1_eof(&c->http) != 0) {
        bad_response(c, inl_http1_reason(&c->http));
    } else if (c->state == INL_UPSTREAM_BUSY && !c->response_done) {
        bad_response(c, "the connection ended before the response");
    } else if (c->state == INL_UPSTREAM_BUSY && !c->request_done) {
        inl_upstream_conn_fail(c, 0);
    } else {
        check_over(c);
    }
}

static void conn_eof(void *machine)
{
    struct inl_upstream_conn *c = machine;

    switch (c->state) {
    case INL_UPSTREAM_IDLE:
        inl_upstream_conn_close_idle(c);
        break;
    case INL_UPSTREAM_BUSY:
        eof_while_busy(c);
        break;
    case INL_UPSTREAM_RAW:
        inl_flow_end(&c->flow, NULL);
        if (!inl_flow_tied(&c->flow)) {
            conn_gone(c);
            inl_link_finish(c->link);
        }
        break;
    case INL_UPSTREAM_DIALING:
    case INL_UPSTREAM_GONE:
    case INL_UPSTREAM_NSTATES:
        break;
    }
}

static void conn_taken(void *machine, size_t n)
{
    struct inl_upstream_conn *c = machine;

    (void)n;
    c->sent = true;
    if (c->response_done) {
        c->idle_since_ms = c->env->now_ms; /* it takes the rest */
    }
    inl_flow_credit_sent(&c->flow, &c->unpaid, c->link->out.bytes);
}

static void log_loss(const struct inl_upstream_conn *c, int err)
{
    inl_log(c->env, INLETS_LOG_WARN, "bad response from upstream",
            INL_KV("upstream", inl_str(c->link->peer)),
            INL_KV("why", inl_str(inlets_strerror(err))));
}

static void link_gone(void *machine, int err)
{
    struct inl_upstream_conn *c = machine;
    bool was_busy = c->state == INL_UPSTREAM_BUSY && !c->response_done;
    bool again = was_busy && retry(c);

    err = err == 0 ? INLETS_ECLOSED : err;
    if (was_busy && !again) {
        log_loss(c, err);
    }
    c->link = NULL;
    if (c->state == INL_UPSTREAM_GONE) {
        inl_env_later(c->env, &c->free);
    } else {
        conn_gone(c);
    }
    if (c->response_done) {
        inl_flow_stop(&c->flow, 0); /* it just did not want the rest */
    } else if (!again) {
        inl_flow_stop(&c->flow, err);
    }
}

static const struct inl_machine_ops machine_ops = {.rx = conn_rx,
                                                   .rx_room = conn_rx_room,
                                                   .rx_eof = conn_eof,
                                                   .tx_taken = conn_taken,
                                                   .gone = link_gone};

/* ---- connecting ------------------------------------------------------- */

static void log_unreachable(struct inl_upstream_conn *c, const char *why)
{
    const struct inl_upstream_config *u = &c->upstream->config;

    if (u->port == 0) {
        inl_log(c->env, INLETS_LOG_WARN, "upstream cannot be reached",
                INL_KV("socket", u->host), INL_KV("why", inl_str(why)));
        return;
    }
    inl_log(c->env, INLETS_LOG_WARN, "upstream cannot be reached",
            INL_KV("host", u->host), INL_KN("port", u->port),
            INL_KV("step", inl_str(c->dial.step)), INL_KV("why", inl_str(why)));
}

static void dial_done(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct inl_upstream_conn *c =
        inl_container(dial, struct inl_upstream_conn, dial);

    if (err != 0) {
        log_unreachable(c, inl_dial_why(dial, err));
        inl_upstream_conn_fail(c, err);
        return;
    }
    c->link = link;
    link->reads_to_end = true;
    move(c, INL_UPSTREAM_BUSY);
    inl_link_set_machine(link, &machine_ops, c);
    if (inl_queue_move(&link->out, &c->early, c->early.bytes) != 0) {
        inl_upstream_conn_fail(c, INLETS_ENOMEM);
        return;
    }
    inl_link_wake(link);
}

static void prepare(struct inl_upstream_conn *c, bool is_head)
{
    c->reused = c->sent = c->got_byte = false;
    c->request_done = c->response_done = c->keep = false;
    c->unpaid = 0;
    c->protocol[0] = '\0';
    inl_http1_next(&c->http, is_head);
}

static const struct inl_flow_ops flow_ops;

struct inl_upstream_conn *inl_upstream_conn_new(struct inl_upstream *u,
                                                bool is_head)
{
    struct inl_upstream_conn *c = inl_calloc(1, sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->upstream = u;
    c->env = u->config.env;
    c->state = INL_UPSTREAM_DIALING;
    c->dial = (struct inl_dial){.host = u->host,
                                .port = u->config.port,
                                .due_ms = c->env->now_ms + u->config.connect_ms,
                                .done = dial_done};
    inl_list_init(&c->node);
    inl_http1_init(&c->http, INL_HTTP1_RESPONSE, &http_ops, c);
    inl_flow_init(&c->flow, &flow_ops);
    inl_timer_init(&c->timer, conn_timeout);
    inl_later_init(&c->free, conn_free);
    prepare(c, is_head);
    inl_list_push_back(&u->busy, &c->node);
    u->nconns++;
    return c;
}

void inl_upstream_conn_reuse(struct inl_upstream_conn *c, bool is_head)
{
    move(c, INL_UPSTREAM_BUSY);
    prepare(c, is_head);
    c->reused = true;
}

/* ---- the request: events at our end of the flow ----------------------- */

static struct inl_queue *out_of(struct inl_upstream_conn *c)
{
    return c->link != NULL ? &c->link->out : &c->early;
}

static void flow_body(struct inl_flow *f, struct inlets_slice data)
{
    struct inl_upstream_conn *c =
        inl_container(f, struct inl_upstream_conn, flow);
    int err = c->state == INL_UPSTREAM_RAW
                  ? inl_queue_append_slice(&c->link->out, data)
                  : inl_http1_put_body(out_of(c), c->framing, data);

    inl_queue_clear(&c->replay);
    if (err != 0) {
        inl_upstream_conn_fail(c, err);
        return;
    }
    c->unpaid += data.len;
    if (c->link != NULL) {
        inl_link_wake(c->link);
    }
}

static void raw_half_closed(struct inl_upstream_conn *c)
{
    inl_link_shutdown(c->link);
    if (!inl_flow_tied(&c->flow)) {
        conn_gone(c);
        inl_link_finish(c->link);
    }
}

static void flow_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct inl_upstream_conn *c =
        inl_container(f, struct inl_upstream_conn, flow);

    if (c->state == INL_UPSTREAM_RAW) {
        raw_half_closed(c);
        return;
    }
    if (inl_http1_put_end(out_of(c), c->framing, trailers) != 0) {
        inl_upstream_conn_fail(c, INLETS_ENOMEM);
        return;
    }
    c->request_done = true;
    if (c->link != NULL) {
        inl_link_wake(c->link);
    }
    check_over(c);
}

static void flow_stop(struct inl_flow *f, int err)
{
    struct inl_upstream_conn *c =
        inl_container(f, struct inl_upstream_conn, flow);

    (void)err;
    conn_gone(c);
    if (c->link != NULL) {
        inl_link_reset(c->link, INLETS_ECANCELED);
    }
}

static void flow_credit(struct inl_flow *f, size_t bytes)
{
    struct inl_upstream_conn *c =
        inl_container(f, struct inl_upstream_conn, flow);

    (void)bytes;
    if (c->link != NULL) {
        inl_link_wake(c->link);
    }
}

static const struct inl_flow_ops flow_ops = {.body = flow_body,
                                             .end = flow_end,
                                             .stop = flow_stop,
                                             .credit = flow_credit};

/* ---- asking ----------------------------------------------------------- */

bool inl_upstream_may_repeat(const struct inlets_head *head)
{
    static const char *const idempotent[] = {"GET", "HEAD", "OPTIONS", "PUT",
                                             "DELETE"};

    if ((head->content_length != INLETS_LENGTH_NONE &&
         head->content_length != 0) ||
        (head->flags & INLETS_HEAD_UPGRADE) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(idempotent) / sizeof(idempotent[0]); i++) {
        if (inl_slice_eq(head->method, inl_str(idempotent[i]))) {
            return true;
        }
    }
    return false;
}

/* Puts the upstream's own path in front; *ret_owned is to be freed. */
static int full_target(const struct inl_upstream *u, struct inlets_slice target,
                       struct inlets_slice *ret_target, char **ret_owned)
{
    size_t n = u->config.path.len;
    char *owned;

    if (n == 0 || target.ptr[0] != '/') {
        *ret_target = target;
        return 0;
    }
    owned = inl_malloc(n + target.len);
    if (owned == NULL) {
        return INLETS_ENOMEM;
    }
    memcpy(owned, u->config.path.ptr, n);
    memcpy(owned + n, target.ptr, target.len);
    *ret_owned = owned;
    *ret_target = inl_slice(owned, n + target.len);
    return 0;
}

/* What the exit node let through, but whatever it let through: never another
 * HTTP, nor TLS. Without a field it is websocket (FRAME.md). */
static void choose_protocol(struct inl_upstream_conn *c,
                            const struct inlets_head *head)
{
    struct inlets_slice protocol = inl_head_find(head, INL_LIT("Upgrade"));

    if ((head->flags & INLETS_HEAD_UPGRADE) == 0) {
        return;
    }
    if (protocol.ptr == NULL) {
        protocol = INL_LIT("websocket");
    }
    if (inl_may_upgrade_to(protocol)) {
        memcpy(c->protocol, protocol.ptr, protocol.len);
        c->protocol[protocol.len] = '\0';
    }
}

static int put_request(struct inl_upstream_conn *c,
                       const struct inlets_head *head)
{
    char
        extra[INL_UPGRADE_MAX + sizeof("Connection: upgrade\r\nUpgrade: \r\n")];
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head out;
    struct inl_queue q = {0};
    char *owned = NULL;
    int n = 0;
    /* Hop-by-hop fields: an exit node must not frame our requests. */
    int err = inl_forward_response(head, fields, &out);

    if (err == 0) {
        err = full_target(c->upstream, head->target, &out.target, &owned);
    }
    if (c->upstream->config.host_field.len > 0) {
        out.host = c->upstream->config.host_field;
    }
    choose_protocol(c, head);
    if (c->protocol[0] != '\0') {
        n = snprintf(extra, sizeof(extra),
                     "Connection: upgrade\r\nUpgrade: %s\r\n", c->protocol);
    }
    if (err == 0) {
        err = inl_http1_put_request(&q, &out, inl_slice(extra, (size_t)n),
                                    &c->framing);
    }
    if (err == 0 && c->reused && inl_upstream_may_repeat(head)) {
        err = inl_queue_share(&c->replay, &q, 0, q.bytes);
    }
    if (err == 0) {
        err = inl_queue_move(out_of(c), &q, q.bytes);
    }
    inl_queue_fini(&q);
    inl_free(owned);
    return err;
}

int inl_upstream_conn_ask(struct inl_upstream_conn *c,
                          const struct inlets_head *head,
                          struct inl_flow *caller)
{
    int err = put_request(c, head);

    if (err == 0 && c->state == INL_UPSTREAM_DIALING) {
        err = inl_dial_start(c->upstream->config.dialer, &c->dial);
    }
    if (err != 0) {
        inl_upstream_conn_fail(c, err);
        return err;
    }
    inl_flow_tie(caller, &c->flow);
    if (c->link != NULL) {
        inl_link_wake(c->link);
    }
    return 0;
}
