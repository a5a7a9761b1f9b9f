/* test_proxy_dial.c: out through a proxy, over fake pipes: all that a proxy
 * can answer, cut at each byte; who cancels, and when; the whole tunnel. */
#include "world/suite.h"

#include "base/slice.h"
#include "relay/proxy_dial.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DUE_MS 5000u

/* What the proxy does behind its answer. */
enum then { STAYS, SENDS_FIN, SENDS_RST };

/* What the caller does with the link that it gets. */
enum caller { READS, CLOSES, RESETS, FORGETS };

struct scene {
    struct world *w;
    struct world_listener *listener;
    struct inl_proxy_config config;
    struct inl_proxy_dialer dialer;
    struct inl_dial dial;
    /* the proxy */
    struct world_end *end; /* NULL: gone */
    char asked[2048];
    size_t nasked;
    int end_err;
    /* the caller */
    enum caller caller;
    unsigned dones, gones;
    int err;
    struct inl_link *link;
    char got[8192];
    size_t ngot;
    bool eof;
};

/* ---- the proxy -------------------------------------------------------- */

static void proxy_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct scene *s = e->user;

    assert_true(n < sizeof(s->asked) - s->nasked);
    memcpy(s->asked + s->nasked, p, n);
    s->nasked += n;
    s->asked[s->nasked] = '\0';
}

static void proxy_gone(struct world_end *e, int err)
{
    struct scene *s = e->user;

    s->end = NULL;
    s->end_err = err;
}

static void proxy_eof(struct world_end *e)
{
    world_close(e, false);
    proxy_gone(e, 0);
}

static const struct world_raw_ops proxy_ops = {proxy_rx, proxy_eof, proxy_gone};

static void proxy_accept(struct world_end *e, void *user)
{
    struct scene *s = user;

    world_raw(e, &proxy_ops, s);
    s->end = e;
}

static void answer(struct scene *s, const void *text, size_t n)
{
    if (s->end != NULL) {
        world_write(s->end, text, n);
        world_run(s->w, 5);
    }
}

/* ---- the caller ------------------------------------------------------- */

static void caller_rx(void *machine, const uint8_t *p, size_t n)
{
    struct scene *s = machine;

    assert_true(n < sizeof(s->got) - s->ngot);
    memcpy(s->got + s->ngot, p, n);
    s->ngot += n;
    s->got[s->ngot] = '\0';
}

static size_t caller_room(void *machine)
{
    (void)machine;
    return 4096;
}

static void caller_eof(void *machine)
{
    struct scene *s = machine;

    s->eof = true;
}

static void caller_gone(void *machine, int err)
{
    struct scene *s = machine;

    (void)err;
    s->gones++;
    s->link = NULL;
}

static const struct inl_machine_ops caller_ops = {
    .rx = caller_rx,
    .rx_room = caller_room,
    .rx_eof = caller_eof,
    .gone = caller_gone,
};

static void dial_done(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct scene *s = inl_container(dial, struct scene, dial);

    assert_null(dial->impl);
    assert_true((err == 0) == (link != NULL));
    s->dones++;
    s->err = err;
    if (link == NULL || s->caller == FORGETS) {
        return;
    }
    assert_null(link->ops);
    inl_link_set_machine(link, &caller_ops, s);
    s->link = link;
    if (s->caller == CLOSES) {
        inl_link_close(link, 0);
    } else if (s->caller == RESETS) {
        inl_link_reset(link, INLETS_ECANCELED);
    }
}

static int start(struct scene *s, const char *host, unsigned port)
{
    s->dial = (struct inl_dial){.host = host,
                                .port = port,
                                .due_ms = s->w->env.now_ms + DUE_MS,
                                .done = dial_done};
    return inl_dial_start(&s->dialer.dialer, &s->dial);
}

static void begin_with(struct scene *s, const char *authorization)
{
    memset(s, 0, sizeof(*s));
    s->w = world_new(7);
    s->listener = world_listen(s->w, "proxy", 3128, proxy_accept, s);
    s->config =
        (struct inl_proxy_config){.host = "proxy",
                                  .port = 3128,
                                  .authorization = inl_str(authorization),
                                  .agent = INL_LIT("world")};
    inl_proxy_dialer_init(&s->dialer, &s->w->env, &s->w->dialer, &s->config);
    s->err = 1;
}

/* Up to the question. */
static void begin(struct scene *s)
{
    begin_with(s, NULL);
    assert_int_equal(start(s, "exit", 80), 0);
    world_run(s->w, 10);
    assert_non_null(s->end);
    assert_int_equal(s->dones, 0);
    assert_string_equal(s->dial.step, "proxy");
}

static void finish(struct scene *s)
{
    inl_dial_cancel(&s->dialer.dialer, &s->dial);
    inl_dial_cancel(&s->dialer.dialer, &s->dial);
    if (s->link != NULL) {
        inl_link_close(s->link, 0);
    }
    world_free(s->w); /* nothing is left */
}

/* ---- what is asked ---------------------------------------------------- */

static void test_the_question(void **state)
{
    static const struct {
        const char *host, *authorization, *text;
        unsigned port;
    } rows[] = {
        {"exit.example.com", NULL,
         "CONNECT exit.example.com:80 HTTP/1.1\r\n"
         "Host: exit.example.com:80\r\nUser-Agent: world\r\n\r\n",
         80},
        {"Exit.", NULL,
         "CONNECT Exit.:443 HTTP/1.1\r\nHost: Exit.:443\r\n"
         "User-Agent: world\r\n\r\n",
         443},
        {"192.0.2.1", "Basic dTpw",
         "CONNECT 192.0.2.1:65535 HTTP/1.1\r\nHost: 192.0.2.1:65535\r\n"
         "User-Agent: world\r\nProxy-Authorization: Basic dTpw\r\n\r\n",
         65535},
        {"2001:db8::1", NULL,
         "CONNECT [2001:db8::1]:1 HTTP/1.1\r\nHost: [2001:db8::1]:1\r\n"
         "User-Agent: world\r\n\r\n",
         1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct scene s;

        begin_with(&s, rows[i].authorization);
        assert_int_equal(start(&s, rows[i].host, rows[i].port), 0);
        world_run(s.w, 10);
        assert_string_equal(s.asked, rows[i].text);
        finish(&s);
    }
}

/* ---- what is answered ------------------------------------------------- */

struct row {
    const char *name;
    struct inlets_slice answer;
    enum then then;
    int err;
    unsigned status;
    const char *said; /* or, of a tunnel, what its machine gets */
};

/* INL_LIT is no constant. */
#define TEXT(s)                                                                \
    {                                                                          \
        "" s, sizeof(s) - 1                                                    \
    }
#define OPENS(name, text, rest)                                                \
    {                                                                          \
        name, TEXT(text rest), STAYS, 0, 0, rest                               \
    }
#define REFUSES(name, text, status, said)                                      \
    {                                                                          \
        name, TEXT(text), STAYS, INLETS_EPROXY, status, said                   \
    }
#define WANTS_USER(name, fields, said)                                         \
    {                                                                          \
        name,                                                                  \
            TEXT("HTTP/1.1 407 Proxy Authentication Required\r\n" fields       \
                 "\r\n"),                                                      \
            STAYS, INLETS_EPROXYAUTH, 407,                                     \
            "Proxy Authentication Required" said                               \
    }
#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

static const struct row rows[] = {
    OPENS("200", "HTTP/1.1 200 Connection established\r\n\r\n", ""),
    OPENS("HTTP/1.0", "HTTP/1.0 200 Connection established\r\n\r\n", ""),
    OPENS("fields",
          "HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy\r\n"
          "Via: 1.1 proxy\r\nConnection: close\r\n\r\n",
          ""),
    OPENS("no reason", "HTTP/1.1 200 \r\n\r\n", ""),
    OPENS("bytes behind", "HTTP/1.1 200 OK\r\n\r\n",
          "\r\nSERVER FIRST\r\n\r\n"),
    OPENS("two answers", "HTTP/1.1 200 OK\r\n\r\n",
          "HTTP/1.1 200 OK\r\n\r\nmore"),
    OPENS("a refusal behind", "HTTP/1.1 200 OK\r\n\r\n",
          "HTTP/1.1 407 No\r\n\r\n"),
    OPENS("Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
          "hello, and more"),
    OPENS("Content-Length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
          "hello"),
    OPENS("Transfer-Encoding",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
          "5\r\nhello\r\n0\r\n\r\n"),
    OPENS("Transfer-Encoding that is not chunked",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "hello"),
    OPENS("Transfer-Encoding of 1.0",
          "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "hello"),
    OPENS("204", "HTTP/1.1 204 No Content\r\n\r\n", "hello"),
    OPENS("299", "HTTP/1.1 299 Well\r\nContent-Length: 9\r\n\r\n", "hello"),
    OPENS("100 before", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
          "hello"),
    OPENS("many before",
          "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 102 \r\n\r\n"
          "HTTP/1.1 199 a\r\n\r\nHTTP/1.0 200 OK\r\n\r\n",
          "hello"),

    REFUSES("101", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nx", 101,
            "Switching"),
    REFUSES("302", "HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n",
            302, "Found"),
    REFUSES("304", "HTTP/1.1 304 Not Modified\r\n\r\n", 304, "Not Modified"),
    REFUSES("403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!",
            403, "Forbidden"),
    REFUSES("chunked",
            "HTTP/1.1 405 No\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nno!\r\n0\r\n\r\n",
            405, "No"),
    REFUSES("a broken body",
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nno!", 403,
            "No"),
    REFUSES("503", "HTTP/1.1 503 Service Unavailable\r\n\r\nsorry", 503,
            "Service Unavailable"),
    REFUSES("599", "HTTP/1.0 599 x\r\n\r\n", 599, "x"),
    REFUSES("no words", "HTTP/1.1 403 \r\n\r\n", 403, "Forbidden"),
    REFUSES("no words that are known", "HTTP/1.1 499 \r\n\r\n", 499, ""),
    REFUSES("100 before a refusal",
            "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 502 Bad\r\n\r\n", 502, "Bad"),
    REFUSES("words not of ASCII", "HTTP/1.1 403 d\xc3\xa9nied\r\n\r\n", 403,
            "d??nied"),
    REFUSES("words with a tab", "HTTP/1.1 403 a\tb\r\n\r\n", 403, "a?b"),
    REFUSES("many words", "HTTP/1.1 403 " SIXTY SIXTY SIXTY "\r\n\r\n", 403,
            SIXTY SIXTY TEN TEN TEN "012345678"),

    WANTS_USER("407", "", ""),
    WANTS_USER("407 Basic", "Proxy-Authenticate: Basic realm=\"a, b\"\r\n", ""),
    WANTS_USER("407 basic", "Proxy-Authenticate: basic\r\n", ""),
    WANTS_USER("407 NTLM",
               "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n",
               "; it takes Negotiate, NTLM; we have Basic"),
    WANTS_USER("407 NTLM and Basic",
               "Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic "
               "realm=\"x\"\r\n",
               ""),
    WANTS_USER("407 both in one field",
               "Proxy-Authenticate: NTLM, Basic realm=\"x\"\r\n", ""),
    WANTS_USER("407 Digest",
               "Proxy-Authenticate: Digest realm=\"x\", qop=\"auth\", "
               "stale=false\r\n",
               "; it takes Digest; we have Basic"),
    WANTS_USER("407 with a body", "Content-Length: 900\r\n", ""),

    {"401", TEXT("HTTP/1.0 401 Unauthorized\r\n\r\n"), STAYS, INLETS_EPROXYAUTH,
     401, "Unauthorized"},

    REFUSES("ssh", "SSH-2.0-OpenSSH_9.2\r\n", 0, "Not HTTP"),
    REFUSES("a TLS alert", "\x15\x03\x01\x00\x02\x02\x28", 0, "Not HTTP"),
    REFUSES("a page", "<html>502 Bad Gateway</html>", 0, "Not HTTP"),
    REFUSES("zeros", "\0\0\0\0", 0, "Not HTTP"),
    REFUSES("socks", "\x05\x00", 0, "Not HTTP"),
    REFUSES("a line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", 0, "Not HTTP"),
    REFUSES("a request", "CONNECT exit:80 HTTP/1.1\r\n\r\n", 0, "Not HTTP"),

    {"nothing, then FIN", TEXT(""), SENDS_FIN, INLETS_ECLOSED, 0, ""},
    {"nothing, then RST", TEXT(""), SENDS_RST, INLETS_ERESET, 0, ""},
    {"half a line, then FIN", TEXT("HTTP/1.1 20"), SENDS_FIN, INLETS_ECLOSED, 0,
     ""},
    {"half a head, then FIN", TEXT("HTTP/1.1 200 OK\r\nVia: x\r\n"), SENDS_FIN,
     INLETS_ECLOSED, 0, ""},
    {"half a head, then RST", TEXT("HTTP/1.1 200 OK\r\n"), SENDS_RST,
     INLETS_ERESET, 0, ""},
    {"100, then FIN", TEXT("HTTP/1.1 100 Continue\r\n\r\n"), SENDS_FIN,
     INLETS_ECLOSED, 0, ""},
    {"half a head, then silence", TEXT("HTTP/1.1 200 OK\r\nVia: "), STAYS,
     INLETS_ETIMEDOUT, 0, ""},
    {"100, then silence", TEXT("HTTP/1.1 100 Continue\r\n\r\n"), STAYS,
     INLETS_ETIMEDOUT, 0, ""},
    {"silence", TEXT(""), STAYS, INLETS_ETIMEDOUT, 0, ""},
    {"200, then FIN", TEXT("HTTP/1.1 200 OK\r\n\r\nbye"), SENDS_FIN, 0, 0,
     "bye"},
};

static void expect(struct scene *s, const struct row *row)
{
    world_run(s->w, row->err == INLETS_ETIMEDOUT ? DUE_MS : 50);
    assert_int_equal(s->dones, 1);
    assert_int_equal(s->err, row->err);
    assert_null(s->dial.impl);
    assert_int_equal(s->dial.status, row->status);
    if (row->err == 0) {
        assert_string_equal(s->got, row->said);
        assert_string_equal(s->dial.said, "");
        assert_int_equal(s->eof, row->then == SENDS_FIN);
        assert_int_equal(s->gones, 0);
        inl_link_write(s->link, "ours", 4);
        world_run(s->w, 10);
        assert_non_null(strstr(s->asked, "\r\n\r\nours"));
    } else {
        assert_string_equal(s->dial.said, row->said);
        assert_string_equal(s->dial.step, "proxy");
        assert_null(s->end); /* it was hung up on */
    }
}

static void play(const struct row *row, size_t cut)
{
    struct scene s;

    begin(&s);
    answer(&s, row->answer.ptr, cut);
    answer(&s, row->answer.ptr + cut, row->answer.len - cut);
    if (s.end != NULL && row->then == SENDS_FIN) {
        world_shutdown(s.end);
    } else if (s.end != NULL && row->then == SENDS_RST) {
        world_close(s.end, true);
        s.end = NULL;
    }
    expect(&s, row);
    finish(&s);
}

static void test_all_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t cut = 0; cut <= rows[i].answer.len; cut++) {
            if (getenv("WORLD_LOG") != NULL) {
                fprintf(stderr, "# %s, cut at %zu\n", rows[i].name, cut);
            }
            play(&rows[i], cut);
        }
    }
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct scene s;

        if (rows[i].then != STAYS || rows[i].err == INLETS_ETIMEDOUT) {
            continue;
        }
        begin(&s);
        for (size_t at = 0; at < rows[i].answer.len; at++) {
            answer(&s, rows[i].answer.ptr + at, 1);
        }
        expect(&s, &rows[i]);
        finish(&s);
    }
}

/* A head without an end, in small fields, in one field, in a status line, and
 * in many heads: all are bounded. */
static void test_endless_heads(void **state)
{
    static const struct {
        const char *first, *again, *said;
        size_t most;
    } endless[] = {
        {"HTTP/1.1 200 OK\r\n", "A: bbbbbbbb\r\n", "Too many fields", 17000},
        {"HTTP/1.1 200 OK\r\n", "A: " SIXTY SIXTY SIXTY SIXTY "\r\n",
         "Head too large", 17000},
        {"HTTP/1.1 200 OK\r\nA: ", SIXTY, "Head too large", 17000},
        {"HTTP/1.1 200 ", SIXTY, "Status line too long", 17000},
        {"", "HTTP/1.1 100 " SIXTY "\r\nA: " SIXTY "\r\n\r\n",
         "Too many interim responses", 66000},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(endless); i++) {
        struct scene s;
        size_t sent = 0;

        begin(&s);
        answer(&s, endless[i].first, strlen(endless[i].first));
        while (s.dones == 0 && sent < 200000) {
            answer(&s, endless[i].again, strlen(endless[i].again));
            sent += strlen(endless[i].again);
        }
        assert_int_equal(s.dones, 1);
        assert_int_equal(s.err, INLETS_EPROXY);
        assert_int_equal(s.dial.status, 0);
        assert_string_equal(s.dial.said, endless[i].said);
        assert_true(sent <= endless[i].most);
        finish(&s);
    }
}

/* One byte a second does not make the time longer. */
static void test_the_deadline_stays(void **state)
{
    struct scene s;

    (void)state;
    begin(&s);
    for (unsigned i = 0; i < 4; i++) {
        answer(&s, &"HTTP"[i], 1);
        world_run(s.w, 1000);
        assert_int_equal(s.dones, 0);
    }
    world_run(s.w, 1000);
    assert_int_equal(s.dones, 1);
    assert_int_equal(s.err, INLETS_ETIMEDOUT);
    finish(&s);
}

/* More than the next machine has room for comes with the answer. */
static void test_much_behind_the_answer(void **state)
{
    char text[6000] = "HTTP/1.1 200 OK\r\n\r\n";
    size_t head = strlen(text);
    struct scene s;

    (void)state;
    for (size_t i = head; i < sizeof(text); i++) {
        text[i] = (char)('a' + i % 26);
    }
    begin(&s);
    answer(&s, text, sizeof(text));
    world_run(s.w, 100);
    assert_int_equal(s.ngot, sizeof(text) - head);
    assert_memory_equal(s.got, text + head, s.ngot);
    finish(&s);
}

/* ---- the way to the proxy --------------------------------------------- */

static void test_no_proxy_there(void **state)
{
    static const struct {
        enum world_listen mode;
        int err;
    } ways[] = {{WORLD_REFUSE, INLETS_EREFUSED},
                {WORLD_IGNORE, INLETS_ETIMEDOUT}};

    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct scene s;

        begin_with(&s, NULL);
        s.listener->mode = ways[i].mode;
        assert_int_equal(start(&s, "exit", 80), 0);
        assert_int_equal(s.dones, 0);
        world_run(s.w, DUE_MS);
        assert_int_equal(s.dones, 1);
        assert_int_equal(s.err, ways[i].err);
        assert_string_equal(s.dial.step, "proxy-connect");
        assert_string_equal(s.dial.said, "");
        finish(&s);
    }
}

/* A dialer below that fails as a TLS stage would. */
struct below {
    struct inl_dialer dialer;
    struct inl_dial *dial;
};

static int below_start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    assert_string_equal(dial->host, "proxy");
    assert_int_equal(dial->port, 3128);
    assert_non_null(dial->known);
    dial->impl = dialer;
    inl_container(dialer, struct below, dialer)->dial = dial;
    return 0;
}

static void below_cancel(struct inl_dialer *dialer, struct inl_dial *dial)
{
    (void)dialer;
    dial->impl = NULL;
}

static int below_fails(struct inl_dialer *dialer, struct inl_dial *dial)
{
    (void)dialer;
    (void)dial;
    return INLETS_EINVAL;
}

static void test_steps_of_the_dialer_below(void **state)
{
    static const struct inl_dialer_ops ops = {.start = below_start,
                                              .cancel = below_cancel};
    static const char *const steps[][2] = {{"resolve", "proxy-resolve"},
                                           {"connect", "proxy-connect"},
                                           {NULL, "proxy-connect"},
                                           {"tls", "proxy-tls"}};

    (void)state;
    for (size_t i = 0; i < COUNT(steps); i++) {
        struct scene s;
        struct below below;

        begin_with(&s, NULL);
        below.dialer = (struct inl_dialer){&ops, &s.w->env};
        s.dialer.below = &below.dialer;
        assert_int_equal(start(&s, "exit", 80), 0);
        below.dial->impl = NULL;
        below.dial->step = steps[i][0];
        below.dial->status = 42;
        strcpy(below.dial->said, "its words");
        strcpy(below.dial->why, "why");
        below.dial->done(below.dial, INLETS_EHANDSHAKE, NULL);
        assert_int_equal(s.dones, 1);
        assert_int_equal(s.err, INLETS_EHANDSHAKE);
        assert_string_equal(s.dial.step, steps[i][1]);
        assert_int_equal(s.dial.status, 42);
        assert_string_equal(s.dial.said, "its words");
        assert_string_equal(s.dial.why, "why");
        finish(&s);
    }
}

static void test_the_dialer_below_may_refuse(void **state)
{
    static const struct inl_dialer_ops ops = {.start = below_fails,
                                              .cancel = below_cancel};
    struct scene s;
    struct inl_dialer below;

    (void)state;
    begin_with(&s, NULL);
    below = (struct inl_dialer){&ops, &s.w->env};
    s.dialer.below = &below;
    assert_int_equal(start(&s, "exit", 80), INLETS_EINVAL);
    assert_null(s.dial.impl);
    finish(&s);
    assert_int_equal(s.dones, 0);
}

static void test_names_are_not_resolved_here(void **state)
{
    struct scene s;
    struct inl_resolve r = {.host = "exit"};

    (void)state;
    begin_with(&s, NULL);
    assert_int_equal(inl_resolve_start(&s.dialer.dialer, &r), INLETS_ENOTSUP);
    inl_resolve_cancel(&s.dialer.dialer, &r);
    finish(&s);
}

/* ---- who leaves, and when --------------------------------------------- */

static void test_cancel_at_any_time(void **state)
{
    static const char text[] = "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\n\r";

    (void)state;
    for (unsigned at = 0; at < 4 + sizeof(text); at++) {
        struct scene s;

        begin_with(&s, NULL);
        assert_int_equal(start(&s, "exit", 80), 0);
        world_run(s.w, at < 4 ? at : 10);
        for (size_t i = 0; at >= 4 && i < at - 4; i++) {
            answer(&s, text + i, 1);
        }
        assert_int_equal(s.dones, 0);
        inl_dial_cancel(&s.dialer.dialer, &s.dial);
        assert_null(s.dial.impl);
        world_run(s.w, 2 * DUE_MS);
        assert_int_equal(s.dones, 0);
        assert_null(s.end);
        finish(&s);
    }
}

static void test_what_the_caller_does_with_the_link(void **state)
{
    (void)state;
    for (enum caller caller = CLOSES; caller <= FORGETS; caller++) {
        struct scene s;

        begin(&s);
        s.caller = caller;
        answer(&s, "HTTP/1.1 200 OK\r\n\r\nmore", 23);
        world_run(s.w, 100);
        assert_int_equal(s.dones, 1);
        assert_int_equal(s.err, 0);
        assert_int_equal(s.ngot, 0);
        assert_int_equal(s.gones, caller != FORGETS);
        assert_null(s.end);
        finish(&s);
    }
}

/* The same object dials again, from its own callback too. */
static void again_done(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct scene *s = inl_container(dial, struct scene, dial);

    assert_null(link);
    assert_int_not_equal(err, 0);
    if (++s->dones < 3) {
        assert_int_equal(start(s, "exit", 80), 0);
        s->dial.done = s->dones < 2 ? again_done : dial_done;
    }
}

static void test_again_from_its_callback(void **state)
{
    struct scene s;

    (void)state;
    begin(&s);
    s.dial.done = again_done;
    for (unsigned i = 0; i < 2; i++) {
        answer(&s, "HTTP/1.1 503 No\r\n\r\n", 19);
        world_run(s.w, 100);
        assert_int_equal(s.dones, i + 1);
        s.nasked = 0;
    }
    answer(&s, "HTTP/1.1 200 OK\r\n\r\n", 19);
    assert_int_equal(s.dones, 3);
    assert_int_equal(s.err, 0);
    assert_int_equal(s.dial.status, 0);
    finish(&s);
}

static void test_without_memory(void **state)
{
    bool reached = true;

    (void)state;
    for (uint64_t n = 1; reached; n++) {
        struct scene s;
        int err;

        begin_with(&s, "Basic dTpw");
        world_alloc.failed = false;
        world_alloc.fail_at = world_alloc.calls + n;
        err = start(&s, "exit", 80);
        world_run(s.w, 10);
        answer(&s, "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n", 27);
        reached = world_alloc.failed;
        world_alloc.fail_at = 0;
        assert_true(!reached || err == INLETS_ENOMEM || s.err == INLETS_ENOMEM);
        assert_true(reached || s.err == 0);
        assert_true(n < 100);
        finish(&s);
    }
}

/* ---- the whole tunnel ------------------------------------------------- */

/* A proxy that opens a way to the exit node, with an answer of its own. */
struct relay {
    struct scene *s;
    struct world_exit *exit;
    const char *answer;
    struct world_end *near, *far;
};

static void relay_gone(struct world_end *e, int err)
{
    struct relay *r = e->user;
    struct world_end *other = e == r->near ? r->far : r->near;

    if (e == r->near) {
        r->near = NULL;
    } else {
        r->far = NULL;
    }
    if (other != NULL) {
        world_close(other, err != 0);
    }
}

static void relay_eof(struct world_end *e)
{
    world_close(e, false);
    relay_gone(e, 0);
}

static void far_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct relay *r = e->user;

    if (r->near != NULL) {
        world_write(r->near, p, n);
    }
}

static const struct world_raw_ops far_ops = {far_rx, relay_eof, relay_gone};

static void near_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct relay *r = e->user;
    struct world *w = r->s->w;
    struct world_pipe *pipe;

    if (r->far != NULL) {
        world_write(r->far, p, n);
        return;
    }
    r->s->nasked = r->s->nasked > 1000 ? 0 : r->s->nasked;
    proxy_rx(&(struct world_end){.user = r->s}, p, n);
    if (strstr(r->s->asked, "\r\n\r\n") == NULL) {
        return;
    }
    r->s->nasked = 0;
    world_write(e, r->answer, strlen(r->answer));
    if (strstr(r->answer, " 200 ") == NULL) {
        return;
    }
    pipe = world_pipe(w, &w->net);
    r->far = &pipe->end[0];
    world_raw(r->far, &far_ops, r);
    world_exit_accept(&pipe->end[1], r->exit);
}

static const struct world_raw_ops near_ops = {near_rx, relay_eof, relay_gone};

static void relay_accept(struct world_end *e, void *user)
{
    struct relay *r = user;

    r->near = e;
    r->far = NULL;
    world_raw(e, &near_ops, r);
}

static void expect_download(struct world *w, struct world_exit *exit)
{
    struct world_visitor *v = world_visit(exit);

    world_get(v, "/len/300000");
    world_run(w, 3000);
    world_expect_answer(v, 0, 200, 300000, world_body_hash(5, 300000));
    world_visitor_free(v);
}

static void test_a_tunnel(void **state)
{
    (void)state;
    for (size_t fragment = 0; fragment <= 2000; fragment += 1000) {
        struct scene s;
        struct relay r = {&s, NULL, "HTTP/1.1 502 Later\r\n\r\n", NULL, NULL};
        struct inl_remote_config config;
        struct world_origin *origin;
        struct world_dev *dev;

        begin_with(&s, NULL);
        s.w->net.fragment = fragment;
        s.listener->accept = relay_accept;
        s.listener->user = &r;
        r.exit = world_exit_new(s.w);
        origin = world_origin_new(s.w, 8000);
        world_dev_config(s.w, &config);
        config.dialer = &s.dialer.dialer;
        config.resume_ms = 5000;
        dev = world_dev_new_with(s.w, &config);
        world_dev_upstream(dev, "app.test", 8000, "");
        world_dev_start(dev);
        world_run(s.w, 300);
        assert_int_equal(dev->ups, 0);
        assert_int_equal(dev->last_err, INLETS_EPROXY);
        assert_int_equal(dev->remote.refused, 0); /* a 5xx is not for ever */
        r.answer = "HTTP/1.0 200 Connection established\r\n\r\n";
        world_run(s.w, 5000);
        assert_int_equal(dev->ups, 1);
        expect_download(s.w, r.exit);
        world_close(r.near, true); /* the proxy restarts */
        if (r.far != NULL) {
            world_close(r.far, true);
        }
        world_run(s.w, 2000);
        assert_int_equal(dev->links, 2);
        assert_int_equal(dev->downs, 0); /* resumed */
        expect_download(s.w, r.exit);
        world_dev_close(dev);
        world_exit_close(r.exit);
        world_origin_free(origin);
        finish(&s);
    }
}

/* 407 and 403 are refusals: asked again seldom, not at once. */
static void test_a_refused_tunnel(void **state)
{
    static const struct {
        const char *answer;
        int err;
    } refusals[] = {
        {"HTTP/1.1 407 Who?\r\n\r\n", INLETS_EPROXYAUTH},
        {"HTTP/1.1 403 No\r\n\r\n", INLETS_EPROXY},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct scene s;
        struct relay r = {&s, NULL, refusals[i].answer, NULL, NULL};
        struct inl_remote_config config;
        struct world_dev *dev;

        begin_with(&s, NULL);
        s.listener->accept = relay_accept;
        s.listener->user = &r;
        r.exit = world_exit_new(s.w);
        world_dev_config(s.w, &config);
        config.dialer = &s.dialer.dialer;
        config.refused_retry_ms = 60000;
        dev = world_dev_new_with(s.w, &config);
        world_dev_start(dev);
        world_run(s.w, 100);
        assert_int_equal(dev->last_err, refusals[i].err);
        assert_int_equal(dev->remote.refused, refusals[i].err);
        world_dev_close(dev);
        world_exit_close(r.exit);
        finish(&s);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_question),
        cmocka_unit_test(test_all_answers),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_endless_heads),
        cmocka_unit_test(test_the_deadline_stays),
        cmocka_unit_test(test_much_behind_the_answer),
        cmocka_unit_test(test_no_proxy_there),
        cmocka_unit_test(test_steps_of_the_dialer_below),
        cmocka_unit_test(test_the_dialer_below_may_refuse),
        cmocka_unit_test(test_names_are_not_resolved_here),
        cmocka_unit_test(test_cancel_at_any_time),
        cmocka_unit_test(test_what_the_caller_does_with_the_link),
        cmocka_unit_test(test_again_from_its_callback),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_a_tunnel),
        cmocka_unit_test(test_a_refused_tunnel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
