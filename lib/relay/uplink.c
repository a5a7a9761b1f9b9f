/* uplink.c: see uplink.h.
 *
 * The uplink is the machine of its link until the 101; then the owner sets
 * another and the uplink is ready for the next attempt. It has one timer for
 * the whole attempt. Every attempt ends with one call: up or failed, or with
 * cancel. */
#include "relay/uplink.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/tls.h"
#include "relay/answer.h"
#include <stdio.h>
#include <string.h>

static void finish(struct inl_uplink *u)
{
    u->done = true;
    inl_timer_off(u->config.env, &u->timer);
    inl_dial_cancel(u->config.dialer, &u->dial);
}

/* The link is left behind: its machine's calls do nothing any more. */
static void fail(struct inl_uplink *u, int err, const char *step)
{
    struct inl_link *link = u->link;

    if (u->done) {
        return;
    }
    finish(u);
    u->link = NULL;
    if (link != NULL) {
        inl_link_set_machine(link, NULL, NULL);
        inl_link_close(link, err);
    }
    u->config.failed(u, err, u->status, step);
}

/* ---- the server's answer ---------------------------------------------- */

/* A ticket that we did not show, or for another lane, is no answer. */
static int take_ticket(struct inl_uplink *u, const struct inlets_head *head)
{
    int err = inl_ticket_find(head, &u->answer);

    if (err == INLETS_ENOROUTE) {
        return 0;
    }
    u->answered = err == 0 && u->ticket != NULL &&
                  u->answer.session == u->ticket->session &&
                  u->answer.lane == u->ticket->lane;
    return u->answered ? 0 : INLETS_EHANDSHAKE;
}

/* In the server's own words, for the log. */
static void note_reason(struct inl_uplink *u, const struct inlets_head *head)
{
    struct inlets_slice text = inl_head_find(head, INL_LIT(INL_REASON_FIELD));
    size_t n = 0;

    for (; n < text.len && n + 1 < sizeof(u->dial.said); n++) {
        char c = text.ptr[n];

        u->dial.said[n] = c >= 0x20 && c <= 0x7e ? c : '?';
    }
    u->dial.said[n] = '\0';
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct inl_uplink *u = user;

    (void)h;
    u->status = head->status;
    if (head->status == 101) {
        u->err = inl_ws_check_response(head, u->key);
        if (u->err == 0) {
            u->err = take_ticket(u, head);
        }
        u->switched = u->err == 0;
    } else if (head->status >= 200) {
        note_reason(u, head);
        u->err = head->status == 401   ? INLETS_EAUTH
                 : head->status == 403 ? INLETS_EFORBIDDEN
                 : head->status == 429 ? INLETS_ETOOMANY
                                       : INLETS_EHANDSHAKE;
    }
}

static void on_body(struct inl_http1 *h, struct inlets_slice data, void *user)
{
    (void)h;
    (void)data;
    (void)user;
}

static void on_end(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user)
{
    (void)h;
    (void)trailers;
    (void)user;
}

static const struct inl_http1_ops http_ops = {on_head, on_body, on_end};

static void uplink_rx(void *machine, const uint8_t *p, size_t n)
{
    struct inl_uplink *u = machine;
    struct inl_link *link = u->link;
    size_t used = 0;
    int err = inl_http1_feed(&u->http, p, n, &used);

    if (err != 0 || u->err != 0) {
        fail(u, u->err != 0 ? u->err : INLETS_EHANDSHAKE, "handshake");
        return;
    }
    if (u->switched) {
        finish(u);
        u->link = NULL;
        u->config.up(u, link);
        inl_link_rx(link, p + used, n - used);
    }
}

static size_t uplink_rx_room(void *machine)
{
    (void)machine;
    return 16u * 1024;
}

static void uplink_eof(void *machine)
{
    fail(machine, INLETS_ECLOSED, "handshake");
}

static void uplink_gone(void *machine, int err)
{
    struct inl_uplink *u = machine;

    if (!u->done && err == INLETS_ECLIENTCERT) { /* late, by TLS 1.3 */
        (void)snprintf(u->dial.why, sizeof(u->dial.why), "%s",
                       inl_tls_why(u->link->tls));
    }
    u->link = NULL;
    fail(u, err == 0 ? INLETS_ECLOSED : err,
         err == INLETS_ECLIENTCERT ? "tls" : "handshake");
}

static const struct inl_machine_ops machine_ops = {.rx = uplink_rx,
                                                   .rx_room = uplink_rx_room,
                                                   .rx_eof = uplink_eof,
                                                   .gone = uplink_gone};

/* ---- the request ------------------------------------------------------ */

static int put_request(struct inl_uplink *u)
{
    char ticket[INL_TICKET_TEXT_MAX + 1];
    struct inlets_field fields[6] = {
        {INL_LIT("Sec-WebSocket-Version"), INL_LIT("13")},
        {INL_LIT("Sec-WebSocket-Key"), inl_slice(u->key, sizeof(u->key))},
        {INL_LIT("Sec-WebSocket-Protocol"), INL_LIT(INL_WS_PROTOCOL)},
        {INL_LIT("User-Agent"), u->config.agent},
    };
    struct inlets_head head = {.method = INL_LIT("GET"),
                               .target = u->config.target,
                               .host = u->config.authority,
                               .content_length = INLETS_LENGTH_NONE,
                               .fields = fields,
                               .nfields = 4};
    enum inl_http1_framing framing;
    int err;

    if (u->credentials->len > 0) {
        fields[head.nfields++] =
            (struct inlets_field){INL_LIT("Authorization"), *u->credentials};
    }
    if (u->ticket != NULL) {
        fields[head.nfields++] = (struct inlets_field){
            INL_LIT(INL_TICKET_FIELD),
            inl_slice(ticket, inl_ticket_format(u->ticket, ticket))};
    }
    err = inl_http1_put_request(
        &u->link->out, &head,
        INL_LIT("Connection: Upgrade\r\nUpgrade: websocket\r\n"), &framing);
    inl_wipe(ticket, sizeof(ticket));
    return err;
}

static void dial_done(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct inl_uplink *u = inl_container(dial, struct inl_uplink, dial);

    if (err != 0) {
        u->status = dial->status;
        fail(u, err, dial->step);
        return;
    }
    u->link = link;
    inl_link_set_machine(link, &machine_ops, u);
    inl_ws_make_key(u->config.env, u->key);
    err = put_request(u);
    if (err != 0) {
        fail(u, err, "handshake");
        return;
    }
    inl_link_wake(link);
}

static void attempt_timeout(struct inl_timer *timer)
{
    struct inl_uplink *u = inl_container(timer, struct inl_uplink, timer);

    /* A dial through others knows how far it came once it is cancelled. */
    inl_dial_cancel(u->config.dialer, &u->dial);
    fail(u, INLETS_ETIMEDOUT,
         u->link != NULL        ? "handshake"
         : u->dial.step != NULL ? u->dial.step
                                : "connect");
}

void inl_uplink_init(struct inl_uplink *u,
                     const struct inl_uplink_config *config)
{
    *u = (struct inl_uplink){.config = *config, .done = true};
    inl_http1_init(&u->http, INL_HTTP1_RESPONSE, &http_ops, u);
    inl_timer_init(&u->timer, attempt_timeout);
}

void inl_uplink_fini(struct inl_uplink *u)
{
    inl_uplink_cancel(u);
    inl_http1_fini(&u->http);
}

void inl_uplink_start(struct inl_uplink *u,
                      const struct inlets_slice *credentials,
                      const struct inl_ticket *ticket)
{
    uint64_t due = u->config.env->now_ms + u->config.timeout_ms;
    int err;

    inl_http1_fini(&u->http);
    inl_http1_init(&u->http, INL_HTTP1_RESPONSE, &http_ops, u);
    u->done = u->switched = u->answered = false;
    u->ticket = ticket;
    u->status = 0;
    u->err = 0;
    u->credentials = credentials;
    u->dial = (struct inl_dial){.host = u->config.host,
                                .port = u->config.port,
                                .due_ms = due,
                                .known = u->config.known,
                                .stays_here = u->config.stays_here,
                                .done = dial_done};
    err = inl_timer_at(u->config.env, &u->timer, due);
    if (err == 0) {
        err = inl_dial_start(u->config.dialer, &u->dial);
    }
    if (err != 0) {
        fail(u, err, "connect");
    }
}

void inl_uplink_cancel(struct inl_uplink *u)
{
    struct inl_link *link = u->link;

    if (!u->done) {
        finish(u);
        u->link = NULL;
        if (link != NULL) {
            inl_link_set_machine(link, NULL, NULL);
            inl_link_close(link, INLETS_ECANCELED);
        }
    }
}
