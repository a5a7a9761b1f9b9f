/* proxy_dial.c: see proxy_dial.h.
 *
 *   DIAL -> ASK -> OVER
 *
 * Happy path: the proxy is dialed (DIAL); on its link a machine of ours sends
 * CONNECT and reads the answer (ASK); behind a 2xx the link is the caller's,
 * who sets another machine, and bytes that came with the answer are that
 * machine's at once.
 *
 * Failure: any other answer, what is no answer, the end of the link, and the
 * deadline end the dial and close the link. The body of a refusal is not
 * waited for. Cancel does the same without a word.
 *
 * Who frees: `struct asking` goes from `later`, once it is OVER. */
#include "relay/proxy_dial.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1.h"
#include <stdio.h>

/* At once; less than any machine behind us has room for. */
#define ROOM (8u * 1024)

enum state { DIAL, ASK, OVER };

static const char *const state_names[] = {
    [DIAL] = "dial", [ASK] = "ask", [OVER] = "over"};

struct asking {
    struct inl_proxy_dialer *dialer;
    struct inl_dial *dial; /* the caller's; NULL when OVER */
    enum state state;
    struct inl_dial below; /* to the proxy */
    struct inl_link *link; /* ASK: ours */
    struct inl_http1 http;
    struct inl_timer timer; /* ASK */
    bool opened;            /* the answer is 2xx */
    struct inl_later free;
};

static struct inl_env *env_of(const struct asking *a)
{
    return a->dialer->dialer.env;
}

static void move(struct asking *a, enum state to)
{
    /* A bit for each state that may come next. */
    static const unsigned allowed[] = {
        [DIAL] = 1u << ASK | 1u << OVER, [ASK] = 1u << OVER, [OVER] = 0};

    if ((allowed[a->state] & 1u << to) == 0) {
        return;
    }
    inl_env_trace_move(env_of(a), "proxy", a->dial->port, state_names[a->state],
                       state_names[to]);
    a->state = to;
}

/* ---- the end ---------------------------------------------------------- */

static void free_asking(struct inl_later *later)
{
    struct asking *a = inl_container(later, struct asking, free);

    inl_http1_fini(&a->http);
    inl_free(a);
}

/* Parts with the caller, who may then do with `dial` what it likes, and with
 * the link, which has no machine any more. */
static struct inl_dial *end(struct asking *a)
{
    struct inl_dial *dial = a->dial;

    move(a, OVER);
    inl_timer_off(env_of(a), &a->timer);
    inl_dial_cancel(a->dialer->below, &a->below);
    if (a->link != NULL) {
        inl_link_set_machine(a->link, NULL, NULL);
        a->link = NULL;
    }
    inl_env_later(env_of(a), &a->free);
    a->dial = NULL;
    dial->impl = NULL;
    return dial;
}

static void give_up(struct asking *a, int err)
{
    struct inl_link *link = a->link;
    struct inl_dial *dial = end(a);

    if (link != NULL) {
        inl_link_close(link, err);
    }
    dial->done(dial, err, NULL);
}

static void succeed(struct asking *a, const uint8_t *rest, size_t n)
{
    struct inl_link *link = a->link;
    struct inl_dial *dial = end(a);

    dial->done(dial, 0, link);
    if (link->ops == NULL) {
        inl_link_close(link, INLETS_ECANCELED);
    }
    inl_link_rx(link, rest, n);
}

/* ---- the answer ------------------------------------------------------- */

/* Appends to what the proxy said, as far as there is room. It comes from
 * outside and goes to a log. */
static void say(struct inl_dial *dial, struct inlets_slice text)
{
    size_t at = strlen(dial->said);

    for (size_t i = 0; i < text.len && at + 1 < sizeof(dial->said); i++) {
        char c = text.ptr[i];

        dial->said[at++] = c >= 0x20 && c <= 0x7e ? c : '?';
    }
    dial->said[at] = '\0';
}

/* The first word of a challenge, or nothing: a parameter (RFC 9110 11.3). */
static struct inlets_slice scheme_of(struct inlets_slice challenge)
{
    struct inlets_slice word =
        inl_slice(challenge.ptr, inl_slice_find(challenge, ' '));

    return inl_slice_is_token(word) ? word : inl_slice(word.ptr, 0);
}

/* What the proxy takes instead of Basic: with that, no password will do. */
static void say_schemes(struct inl_dial *dial, const struct inlets_head *head)
{
    struct inl_dial others = {.said = ""};

    for (size_t i = 0; i < head->nfields; i++) {
        struct inlets_slice rest = head->fields[i].value;
        struct inlets_slice element, scheme;

        if (!inl_slice_eq_case(head->fields[i].name,
                               INL_LIT("Proxy-Authenticate"))) {
            continue;
        }
        while (inl_slice_next_element(&rest, &element)) {
            scheme = scheme_of(element);
            if (inl_slice_eq_case(scheme, INL_LIT("Basic"))) {
                return;
            }
            if (scheme.len > 0) {
                say(&others, others.said[0] == '\0' ? INL_LIT("; it takes ")
                                                    : INL_LIT(", "));
                say(&others, scheme);
            }
        }
    }
    if (others.said[0] != '\0') {
        say(dial, inl_str(others.said));
        say(dial, INL_LIT("; we have Basic"));
    }
}

/* 401 is what tinyproxy says of a wrong password. */
static bool is_about_user(unsigned status)
{
    return status == 407 || status == 401;
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct asking *a = user;

    (void)h;
    if (head->status < 200 && head->status != 101) {
        return;
    }
    a->opened = head->status >= 200 && head->status < 300;
    if (a->opened) {
        return;
    }
    a->dial->status = head->status;
    say(a->dial, head->reason.len > 0
                     ? head->reason
                     : inl_str(inl_http1_status_text(head->status)));
    if (head->status == 407) {
        say_schemes(a->dial, head);
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

static void asking_rx(void *machine, const uint8_t *p, size_t n)
{
    struct asking *a = machine;
    size_t used = 0;
    int err = inl_http1_feed(&a->http, p, n, &used);

    if (a->opened) {
        succeed(a, p + used, n - used);
    } else if (a->dial->status != 0) {
        give_up(a, is_about_user(a->dial->status) ? INLETS_EPROXYAUTH
                                                  : INLETS_EPROXY);
    } else if (err == INLETS_ENOMEM) {
        give_up(a, err);
    } else if (err != 0) {
        say(a->dial, inl_str(inl_http1_reason(&a->http)));
        give_up(a, INLETS_EPROXY);
    }
}

static size_t asking_rx_room(void *machine)
{
    (void)machine;
    return ROOM;
}

static void asking_eof(void *machine)
{
    give_up(machine, INLETS_ECLOSED);
}

static void asking_gone(void *machine, int err)
{
    struct asking *a = machine;

    a->link = NULL;
    give_up(a, err == 0 ? INLETS_ECLOSED : err);
}

static const struct inl_machine_ops machine_ops = {.rx = asking_rx,
                                                   .rx_room = asking_rx_room,
                                                   .rx_eof = asking_eof,
                                                   .gone = asking_gone};

/* ---- the question ----------------------------------------------------- */

/* RFC 9112 3.2.3: host and port always, brackets around IPv6; Host says the
 * same (RFC 9110 9.3.6). */
static int put_request(struct asking *a)
{
    const struct inl_proxy_config *c = &a->dialer->config;
    struct inl_queue *out = &a->link->out;
    const struct inlets_slice host = inl_str(a->dial->host);
    bool is_v6 = inl_slice_find(host, ':') < host.len;
    char port[16];
    const struct inlets_slice authority[] = {
        is_v6 ? INL_LIT("[") : INL_LIT(""), host,
        is_v6 ? INL_LIT("]:") : INL_LIT(":"),
        inl_slice(port,
                  (size_t)snprintf(port, sizeof(port), "%u", a->dial->port))};
    const struct inlets_slice nothing = INL_LIT("");
    const bool knows = c->authorization.len > 0;
    const struct inlets_slice parts[] = {
        INL_LIT("CONNECT "),
        authority[0],
        authority[1],
        authority[2],
        authority[3],
        INL_LIT(" HTTP/1.1\r\nHost: "),
        authority[0],
        authority[1],
        authority[2],
        authority[3],
        INL_LIT("\r\nUser-Agent: "),
        c->agent,
        knows ? INL_LIT("\r\nProxy-Authorization: ") : nothing,
        c->authorization,
        INL_LIT("\r\n\r\n")};
    int err = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && err == 0; i++) {
        err = inl_queue_append_slice(out, parts[i]);
    }
    return err;
}

static void timeout(struct inl_timer *timer)
{
    give_up(inl_container(timer, struct asking, timer), INLETS_ETIMEDOUT);
}

static void ask(struct asking *a)
{
    int err = inl_timer_at(env_of(a), &a->timer, a->dial->due_ms);

    move(a, ASK);
    a->dial->step = "proxy";
    inl_link_set_machine(a->link, &machine_ops, a);
    if (err == 0) {
        err = put_request(a);
    }
    if (err != 0) {
        give_up(a, err);
        return;
    }
    inl_link_wake(a->link);
}

/* Of the way to the proxy; as static strings, since steps outlive dials. */
static const char *step_below(const char *step)
{
    return step != NULL && strcmp(step, "resolve") == 0   ? "proxy-resolve"
           : step == NULL || strcmp(step, "connect") == 0 ? "proxy-connect"
                                                          : "proxy-tls";
}

static void reached(struct inl_dial *below, int err, struct inl_link *link)
{
    struct asking *a = inl_container(below, struct asking, below);

    if (err == 0) {
        a->link = link;
        ask(a);
        return;
    }
    a->dial->step = step_below(below->step);
    a->dial->status = below->status;
    memcpy(a->dial->why, below->why, sizeof(below->why));
    memcpy(a->dial->said, below->said, sizeof(below->said));
    give_up(a, err);
}

static int start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct inl_proxy_dialer *d =
        inl_container(dialer, struct inl_proxy_dialer, dialer);
    struct asking *a = inl_calloc(1, sizeof(*a));
    int err;

    if (a == NULL) {
        return INLETS_ENOMEM;
    }
    a->dialer = d;
    a->dial = dial;
    a->below = (struct inl_dial){.host = d->config.host,
                                 .port = d->config.port,
                                 .due_ms = dial->due_ms,
                                 .stays_here = dial->stays_here,
                                 .known = &d->known,
                                 .done = reached};
    inl_later_init(&a->free, free_asking);
    inl_timer_init(&a->timer, timeout);
    inl_http1_init(&a->http, INL_HTTP1_RESPONSE, &http_ops, a);
    a->http.limits.head = INL_PROXY_HEAD_MAX;
    a->http.response_to_connect = true;
    err = inl_dial_start(d->below, &a->below);
    if (err != 0) {
        inl_free(a);
        return err;
    }
    dial->impl = a;
    dial->step = "proxy-connect";
    return 0;
}

static void cancel(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct asking *a = dial->impl;
    struct inl_link *link = a->link;

    (void)dialer;
    (void)end(a);
    if (link != NULL) {
        inl_link_close(link, INLETS_ECANCELED);
    }
}

/* No `resolve`: the names are the proxy's to resolve. */
static const struct inl_dialer_ops dialer_ops = {.start = start,
                                                 .cancel = cancel};

void inl_proxy_dialer_init(struct inl_proxy_dialer *d, struct inl_env *env,
                           struct inl_dialer *below,
                           const struct inl_proxy_config *config)
{
    *d = (struct inl_proxy_dialer){.dialer = {.ops = &dialer_ops, .env = env},
                                   .below = below,
                                   .config = *config};
}
