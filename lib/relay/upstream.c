/* upstream.c: see upstream.h.
 *
 * A connection:
 *   DIALING   a request waits for it in `early`
 *   BUSY      request out, response in
 *   RAW       after a 101: bytes both ways
 *   IDLE      in the pool
 *   GONE      no link (any more); freed at the end of the turn
 *
 * The upstream owns its connections; a connection owns its dial and is the
 * machine of its link. Request bytes wait in the link's out queue (`early`
 * until there is a link) and are paid with credit as they leave it.
 *
 * A connection is used again only after a wholly read, well-framed exchange.
 * A kept connection may have died unseen: a request without body that gets
 * not one byte back on one is sent once more on a fresh connection
 * (RFC 9110 9.2.2: idempotent methods only).
 *
 * Failure paths: no connection: the error of the dial; a bad or cut response:
 * EUPSTREAM. Before the head the visitor gets a 502 or 504 of it, after it
 * the answer is cut. */
#include "relay/upstream.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1.h"
#include "relay/forwarding.h"
#include <string.h>

/* Unasked-for bytes on an idle connection end it; this much is looked at. */
#define IDLE_ROOM 1024u
/* More than idle_max connections are kept for this long, so that a burst does
 * not close and open them all the time. */
#define EXCESS_MS 1000u
/* The response is whole, the request is not: for this long the upstream may
 * take no byte of the rest. Else whoever is answered early and sends on could
 * hold a window of memory and a connection for ever. */
#define EARLY_MS 30000u

enum state { DIALING, BUSY, RAW, IDLE, GONE, NSTATES };

static const char *const state_names[NSTATES] = {"dialing", "busy", "raw",
                                                 "idle", "gone"};

#define TO(s) (1u << (s))
static const unsigned moves[NSTATES] = {
    [DIALING] = TO(BUSY) | TO(GONE),
    [BUSY] = TO(RAW) | TO(IDLE) | TO(GONE),
    [RAW] = TO(GONE),
    [IDLE] = TO(BUSY) | TO(GONE),
};

struct inl_upstream {
    struct inl_service service;
    struct inl_upstream_config config;
    char *host, *path;    /* owned; config's slices point here */
    struct inl_list idle; /* most recently used first */
    struct inl_list busy;
    size_t nidle, nconns;
    bool closed;
    struct inl_timer trim; /* runs while there is an excess */
    struct inl_later later;
};

struct conn {
    struct inl_list node; /* in idle or busy */
    struct inl_upstream *upstream;
    struct inl_env *env;
    enum state state;
    struct inl_dial dial;
    struct inl_link *link; /* NULL while dialing and when gone */
    struct inl_http1 http;
    struct inl_flow flow;    /* our end: the callee */
    struct inl_queue early;  /* until there is a link */
    struct inl_queue replay; /* the request again, if it may be repeated */
    enum inl_http1_framing framing; /* of the request */
    size_t unpaid;
    struct inl_timer timer; /* runs on while busy: no work per request */
    uint64_t idle_since_ms;
    struct inl_later free;
    bool reused;   /* this exchange got a kept connection */
    bool got_byte; /* of the response */
    bool asked_upgrade;
    bool request_done, response_done;
    bool keep; /* the response allows another exchange */
};

static void move(struct conn *c, enum state to)
{
    if ((moves[c->state] & TO(to)) == 0) {
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

static void upstream_free(struct inl_later *later)
{
    struct inl_upstream *u = inl_container(later, struct inl_upstream, later);

    inl_free(u->host);
    inl_free(u->path);
    inl_free(u);
}

static void free_if_over(struct inl_upstream *u)
{
    if (u->closed && u->nconns == 0) {
        inl_env_later(u->config.env, &u->later);
    }
}

static void conn_free(struct inl_later *later)
{
    struct conn *c = inl_container(later, struct conn, free);
    struct inl_upstream *u = c->upstream;

    inl_timer_off(c->env, &c->timer);
    inl_http1_fini(&c->http);
    inl_queue_fini(&c->early);
    inl_queue_fini(&c->replay);
    inl_free(c);
    u->nconns--;
    free_if_over(u);
}

/* Out of its list for good; the link, if any, says gone by itself. */
static void conn_gone(struct conn *c)
{
    if (c->state != GONE) {
        if (c->state == IDLE) {
            c->upstream->nidle--;
        }
        move(c, GONE);
        inl_list_remove(&c->node);
        inl_timer_off(c->env, &c->timer);
        inl_dial_cancel(c->upstream->config.dialer, &c->dial);
        if (c->link == NULL) {
            inl_env_later(c->env, &c->free);
        }
    }
}

/* Ends the connection and, if there is one, the exchange. */
static void fail(struct conn *c, int err)
{
    conn_gone(c);
    if (c->link != NULL) {
        inl_link_reset(c->link, err);
    }
    inl_flow_stop(&c->flow, err);
}

static void close_idle(struct conn *c)
{
    conn_gone(c);
    inl_link_close(c->link, 0);
}

/* Is it the upstream that does not take the rest, or the visitor who does not
 * send it? */
static void early_timeout(struct conn *c)
{
    uint64_t now = c->env->now_ms;
    uint64_t due = c->idle_since_ms + EARLY_MS;

    if (c->link->out.bytes > 0 && now >= due) {
        fail(c, 0);
        return;
    }
    (void)inl_timer_at(c->env, &c->timer, due > now ? due : now + EARLY_MS);
}

static void idle_timeout(struct inl_timer *timer)
{
    struct conn *c = inl_container(timer, struct conn, timer);
    uint64_t due = c->idle_since_ms + c->upstream->config.idle_ms;

    if (c->state == BUSY && c->response_done) {
        early_timeout(c);
        return;
    }
    if (c->state != IDLE) {
        return; /* make_idle starts it again */
    }
    if (c->env->now_ms >= due || inl_timer_at(c->env, timer, due) != 0) {
        close_idle(c);
    }
}

/* The tail has been idle for longest. */
static void trim_excess(struct inl_timer *timer)
{
    struct inl_upstream *u = inl_container(timer, struct inl_upstream, trim);
    uint64_t now = u->config.env->now_ms;

    while (u->nidle > u->config.idle_max) {
        struct conn *c = inl_container(u->idle.prev, struct conn, node);

        if (c->idle_since_ms + EXCESS_MS > now &&
            inl_timer_at(u->config.env, timer, now + EXCESS_MS) == 0) {
            return;
        }
        close_idle(c);
    }
}

static void make_idle(struct conn *c)
{
    struct inl_upstream *u = c->upstream;

    move(c, IDLE);
    inl_queue_clear(&c->replay);
    inl_list_remove(&c->node);
    inl_list_push_front(&u->idle, &c->node);
    u->nidle++;
    c->idle_since_ms = c->env->now_ms;
    if (u->config.idle_max == 0 ||
        (c->timer.due_ms == 0 &&
         inl_timer_at(c->env, &c->timer, c->env->now_ms + u->config.idle_ms) !=
             0)) {
        close_idle(c);
    } else if (u->nidle > u->config.idle_max && u->trim.due_ms == 0 &&
               inl_timer_at(c->env, &u->trim, c->env->now_ms + EXCESS_MS) !=
                   0) {
        close_idle(c);
    }
}

/* Both directions are done. */
static void exchange_over(struct conn *c)
{
    if (c->keep && c->link->out.bytes == 0 && !c->upstream->closed) {
        make_idle(c);
        return;
    }
    conn_gone(c);
    if (c->link->out.bytes > 0) {
        inl_link_finish(c->link); /* it answered before it read: it may read */
    } else {
        inl_link_close(c->link, 0);
    }
}

static void check_over(struct conn *c)
{
    if (c->state == BUSY && c->request_done && c->response_done) {
        exchange_over(c);
    }
}

/* ---- the response: events of the parser ------------------------------- */

static int check_switch(const struct conn *c, const struct inlets_head *head)
{
    return c->asked_upgrade && inl_is_websocket_upgrade(head)
               ? 0
               : INLETS_EUPSTREAM;
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct conn *c = user;
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head out;
    int err = head->status == 101 ? check_switch(c, head) : 0;

    if (err == 0) {
        err = inl_forward_response(head, fields, &out);
    }
    if (err != 0) {
        fail(c, err);
        return;
    }
    if (head->status == 101) {
        move(c, RAW);
    } else if (head->status >= 200) {
        c->keep = h->keep_alive && !c->asked_upgrade;
    }
    inl_flow_head(&c->flow, &out);
}

static void on_body(struct inl_http1 *h, struct inlets_slice data, void *user)
{
    struct conn *c = user;

    (void)h;
    inl_flow_body(&c->flow, data);
}

static void on_end(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user)
{
    struct conn *c = user;

    (void)h;
    c->response_done = true;
    if (!c->request_done) {
        c->idle_since_ms = c->env->now_ms;
        (void)inl_timer_at(c->env, &c->timer, c->env->now_ms + EARLY_MS);
    }
    inl_flow_end(&c->flow, trailers);
}

static const struct inl_http1_ops http_ops = {on_head, on_body, on_end};

static void bad_response(struct conn *c, const char *reason)
{
    inl_log(c->env, INLETS_LOG_WARN, "bad response from upstream",
            INL_KV("upstream", inl_str(c->link->peer)),
            INL_KV("why", inl_str(reason)));
    fail(c, INLETS_EUPSTREAM);
}

/* ---- input ------------------------------------------------------------ */

static void rx_raw(struct conn *c, const uint8_t *p, size_t n)
{
    inl_flow_body(&c->flow, inl_slice(p, n));
}

static void rx_response(struct conn *c, const uint8_t *p, size_t n)
{
    size_t used = 0;
    int err;

    c->got_byte = true;
    err = inl_http1_feed(&c->http, p, n, &used);
    if (c->state == GONE) {
        return;
    }
    if (err != 0) {
        bad_response(c, inl_http1_reason(&c->http));
    } else if (c->state == RAW && used < n) {
        rx_raw(c, p + used, n - used);
    } else if (used < n) {
        c->keep = false; /* bytes behind the end: not ours to believe */
    }
    check_over(c);
}

static void conn_rx(void *machine, const uint8_t *p, size_t n)
{
    struct conn *c = machine;

    if (c->state == RAW) {
        rx_raw(c, p, n);
    } else if (c->state == BUSY && !c->response_done) {
        rx_response(c, p, n);
    } else if (c->state == IDLE) {
        close_idle(c); /* nothing was asked */
    } else {
        c->keep = false;
    }
}

static size_t conn_rx_room(void *machine)
{
    const struct conn *c = machine;
    size_t room = INL_LINK_READ_BYTES;

    if (c->state == IDLE || c->response_done) {
        return IDLE_ROOM;
    }
    return c->flow.tx_credit < room ? c->flow.tx_credit : room;
}

static bool retry(struct conn *c);

/* The response is cut, or was delimited by this. */
static void eof_while_busy(struct conn *c)
{
    c->keep = false;
    if (c->response_done) { /* it will not read the rest of the request */
        fail(c, 0);
        return;
    }
    if (retry(c)) {
        return;
    }
    if (inl_http1_eof(&c->http) != 0 || !c->response_done) {
        if (c->state != GONE) {
            bad_response(c, "the connection ended before the response");
        }
        return;
    }
    if (c->state == BUSY && !c->request_done) {
        fail(c, 0);
        return;
    }
    check_over(c);
}

static void conn_eof(void *machine)
{
    struct conn *c = machine;

    switch (c->state) {
    case IDLE:
        close_idle(c);
        break;
    case BUSY:
        eof_while_busy(c);
        break;
    case RAW:
        inl_flow_end(&c->flow, NULL);
        if (!inl_flow_tied(&c->flow)) {
            conn_gone(c);
            inl_link_finish(c->link);
        }
        break;
    case DIALING:
    case GONE:
    case NSTATES:
        break;
    }
}

static void conn_taken(void *machine, size_t n)
{
    struct conn *c = machine;

    (void)n;
    if (c->response_done) {
        c->idle_since_ms = c->env->now_ms; /* it takes the rest */
    }
    inl_flow_credit_sent(&c->flow, &c->unpaid, c->link->out.bytes);
}

static void link_gone(void *machine, int err)
{
    struct conn *c = machine;
    bool again = c->state == BUSY && retry(c);

    c->link = NULL;
    if (c->state == GONE) {
        inl_env_later(c->env, &c->free);
    } else {
        conn_gone(c);
    }
    if (c->response_done) {
        inl_flow_stop(&c->flow, 0); /* it just did not want the rest */
    } else if (!again) {
        inl_flow_stop(&c->flow, err == 0 ? INLETS_ECLOSED : err);
    }
}

static const struct inl_machine_ops machine_ops = {.rx = conn_rx,
                                                   .rx_room = conn_rx_room,
                                                   .rx_eof = conn_eof,
                                                   .tx_taken = conn_taken,
                                                   .gone = link_gone};

/* ---- connecting ------------------------------------------------------- */

static void dial_done(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct conn *c = inl_container(dial, struct conn, dial);

    if (err != 0) {
        inl_log(c->env, INLETS_LOG_WARN, "upstream cannot be reached",
                INL_KV("host", c->upstream->config.host),
                INL_KN("port", c->upstream->config.port),
                INL_KV("step", inl_str(dial->step)),
                INL_KV("why", inl_str(inlets_strerror(err))));
        fail(c, err);
        return;
    }
    c->link = link;
    move(c, BUSY);
    inl_link_set_machine(link, &machine_ops, c);
    if (inl_queue_move(&link->out, &c->early, c->early.bytes) != 0) {
        fail(c, INLETS_ENOMEM);
        return;
    }
    inl_link_wake(link);
}

static void prepare(struct conn *c, bool is_head)
{
    c->reused = c->got_byte = c->asked_upgrade = false;
    c->request_done = c->response_done = c->keep = false;
    c->unpaid = 0;
    inl_http1_next(&c->http, is_head);
}

static const struct inl_flow_ops flow_ops;

static struct conn *conn_new(struct inl_upstream *u, bool is_head)
{
    struct conn *c = inl_calloc(1, sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->upstream = u;
    c->env = u->config.env;
    c->state = DIALING;
    c->dial = (struct inl_dial){.host = u->host,
                                .port = u->config.port,
                                .due_ms = c->env->now_ms + u->config.connect_ms,
                                .done = dial_done};
    inl_list_init(&c->node);
    inl_http1_init(&c->http, INL_HTTP1_RESPONSE, &http_ops, c);
    inl_flow_init(&c->flow, &flow_ops);
    inl_timer_init(&c->timer, idle_timeout);
    inl_later_init(&c->free, conn_free);
    prepare(c, is_head);
    inl_list_push_back(&u->busy, &c->node);
    u->nconns++;
    return c;
}

static struct conn *pop_idle(struct inl_upstream *u, bool is_head)
{
    struct inl_list *n = inl_list_pop(&u->idle);
    struct conn *c;

    if (n == NULL) {
        return NULL;
    }
    c = inl_container(n, struct conn, node);
    u->nidle--;
    inl_list_push_back(&u->busy, &c->node);
    move(c, BUSY);
    prepare(c, is_head);
    c->reused = true;
    return c;
}

/* ---- the request: events at our end of the flow ----------------------- */

static struct inl_queue *out_of(struct conn *c)
{
    return c->link != NULL ? &c->link->out : &c->early;
}

static void flow_body(struct inl_flow *f, struct inlets_slice data)
{
    struct conn *c = inl_container(f, struct conn, flow);
    int err = c->state == RAW ? inl_queue_append_slice(&c->link->out, data)
                              : inl_http1_put_body(out_of(c), c->framing, data);

    inl_queue_clear(&c->replay);
    if (err != 0) {
        fail(c, err);
        return;
    }
    c->unpaid += data.len;
    if (c->link != NULL) {
        inl_link_wake(c->link);
    }
}

static void raw_half_closed(struct conn *c)
{
    inl_link_shutdown(c->link);
    if (!inl_flow_tied(&c->flow)) {
        conn_gone(c);
        inl_link_finish(c->link);
    }
}

static void flow_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct conn *c = inl_container(f, struct conn, flow);

    if (c->state == RAW) {
        raw_half_closed(c);
        return;
    }
    if (!c->asked_upgrade &&
        inl_http1_put_end(out_of(c), c->framing, trailers) != 0) {
        fail(c, INLETS_ENOMEM);
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
    struct conn *c = inl_container(f, struct conn, flow);

    (void)err;
    conn_gone(c);
    if (c->link != NULL) {
        inl_link_reset(c->link, INLETS_ECANCELED);
    }
}

static void flow_credit(struct inl_flow *f, size_t bytes)
{
    struct conn *c = inl_container(f, struct conn, flow);

    (void)bytes;
    if (c->link != NULL) {
        inl_link_wake(c->link);
    }
}

static const struct inl_flow_ops flow_ops = {.body = flow_body,
                                             .end = flow_end,
                                             .stop = flow_stop,
                                             .credit = flow_credit};

/* ---- opening ---------------------------------------------------------- */

static bool may_repeat(const struct inlets_head *head)
{
    static const char *const idempotent[] = {"GET", "HEAD", "OPTIONS", "PUT",
                                             "DELETE"};

    if (head->content_length != INLETS_LENGTH_NONE ||
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

static int put_request(struct conn *c, const struct inlets_head *head)
{
    struct inlets_head out = *head;
    struct inl_queue q = {0};
    char *owned = NULL;
    struct inlets_slice extra = INL_LIT("");
    int err = full_target(c->upstream, head->target, &out.target, &owned);

    c->asked_upgrade = (head->flags & INLETS_HEAD_UPGRADE) != 0;
    if (c->asked_upgrade) {
        extra = INL_LIT("Connection: upgrade\r\nUpgrade: websocket\r\n");
    }
    if (err == 0) {
        err = inl_http1_put_request(&q, &out, extra, &c->framing);
    }
    if (err == 0 && c->reused && may_repeat(head)) {
        err = inl_queue_share(&c->replay, &q, 0, q.bytes);
    }
    if (err == 0) {
        err = inl_queue_move(out_of(c), &q, q.bytes);
    }
    inl_queue_fini(&q);
    inl_free(owned);
    return err;
}

/* A reused connection died before it said a word: once more, on a fresh one.
 * The flow moves over, so the visitor sees nothing of it. */
static bool retry(struct conn *c)
{
    struct inl_upstream *u = c->upstream;
    struct inl_flow *caller = c->flow.peer;
    struct conn *fresh;

    if (!c->reused || c->got_byte || c->replay.bytes == 0 || caller == NULL ||
        u->closed) {
        return false;
    }
    fresh = conn_new(u, c->http.response_to_head);
    if (fresh == NULL) {
        return false;
    }
    if (inl_queue_move(&fresh->early, &c->replay, c->replay.bytes) != 0 ||
        inl_dial_start(u->config.dialer, &fresh->dial) != 0) {
        conn_gone(fresh);
        return false;
    }
    fresh->framing = c->framing;
    fresh->request_done = c->request_done;
    inl_flow_move(&fresh->flow, &c->flow);
    conn_gone(c);
    if (c->link != NULL) {
        inl_link_close(c->link, 0);
    }
    return true;
}

static int upstream_open(struct inl_service *s, const struct inl_request *req,
                         struct inl_flow *caller)
{
    struct inl_upstream *u = inl_container(s, struct inl_upstream, service);
    bool is_head = inl_slice_eq(req->head->method, INL_LIT("HEAD"));
    struct conn *c;
    int err;

    if (u->closed) {
        return INLETS_EUNAVAILABLE;
    }
    c = pop_idle(u, is_head);
    if (c == NULL) {
        c = conn_new(u, is_head);
    }
    if (c == NULL) {
        return INLETS_ENOMEM;
    }
    err = put_request(c, req->head);
    if (err == 0 && c->state == DIALING) {
        err = inl_dial_start(u->config.dialer, &c->dial);
    }
    if (err != 0) {
        fail(c, err);
        return err;
    }
    inl_flow_tie(caller, &c->flow);
    if (c->link != NULL) {
        inl_link_wake(c->link);
    }
    return 0;
}

static const struct inl_service_ops service_ops = {.open = upstream_open};

struct inl_upstream *inl_upstream_new(const struct inl_upstream_config *config)
{
    struct inl_upstream *u = inl_calloc(1, sizeof(*u));

    if (u == NULL) {
        return NULL;
    }
    u->service.ops = &service_ops;
    u->config = *config;
    u->host = inl_slice_dup(config->host);
    u->path = inl_slice_dup(config->path);
    inl_list_init(&u->idle);
    inl_list_init(&u->busy);
    inl_timer_init(&u->trim, trim_excess);
    inl_later_init(&u->later, upstream_free);
    if (u->host == NULL || u->path == NULL) {
        upstream_free(&u->later);
        return NULL;
    }
    u->config.host.ptr = u->host;
    u->config.path.ptr = u->path;
    return u;
}

struct inl_service *inl_upstream_service(struct inl_upstream *u)
{
    return &u->service;
}

static void close_pool(struct inl_upstream *u)
{
    struct inl_list *n, *tmp;

    u->closed = true;
    inl_timer_off(u->config.env, &u->trim);
    inl_list_each(&u->idle, n, tmp)
    {
        close_idle(inl_container(n, struct conn, node));
    }
}

void inl_upstream_retire(struct inl_upstream *u)
{
    if (u != NULL && !u->closed) {
        close_pool(u);
        free_if_over(u);
    }
}

void inl_upstream_close(struct inl_upstream *u)
{
    if (u == NULL || u->closed) {
        return;
    }
    close_pool(u);
    while (!inl_list_empty(&u->busy)) {
        fail(inl_container(u->busy.next, struct conn, node), INLETS_ECLOSED);
    }
    free_if_over(u);
}
