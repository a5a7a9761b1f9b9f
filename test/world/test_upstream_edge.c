/* The upstream edge without a tunnel: an upstream of the library, a caller
 * that writes down what it gets, and an origin that is a script. Fake time, so
 * that what meets in one turn of the loop meets here for certain. */
#include "world/suite.h"

#include "base/slice.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define EVIL "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
#define CONNS 8u

/* One accepted connection, and all that came on it. */
struct conn {
    struct world_end *end;
    char said[4096];
    size_t len;
    bool eof, gone;
};

struct scene {
    struct world *w;
    struct inl_upstream *upstream;
    struct world_listener *listener;
    struct conn conns[CONNS];
    size_t nconns;
    const char *answer; /* said to each request head; NULL: nothing */
};

/* What a caller got. */
struct call {
    struct inl_flow flow;
    unsigned status;
    char body[4096];
    size_t len;
    bool ended, stopped;
    bool stops_at_head; /* it leaves as soon as there is one */
    int err;
};

/* ---- the origin ------------------------------------------------------- */

static void origin_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct scene *s = e->user;

    for (size_t i = 0; i < s->nconns; i++) {
        struct conn *c = &s->conns[i];

        if (c->end == e && n < sizeof(c->said) - c->len) {
            memcpy(c->said + c->len, p, n);
            c->len += n;
            c->said[c->len] = '\0';
        }
    }
    if (s->answer != NULL) { /* a head comes whole here */
        world_write(e, s->answer, strlen(s->answer));
    }
}

static void origin_eof(struct world_end *e)
{
    struct scene *s = e->user;

    for (size_t i = 0; i < s->nconns; i++) {
        s->conns[i].eof = s->conns[i].eof || s->conns[i].end == e;
    }
}

static void origin_gone(struct world_end *e, int err)
{
    struct scene *s = e->user;

    (void)err;
    for (size_t i = 0; i < s->nconns; i++) {
        s->conns[i].gone = s->conns[i].gone || s->conns[i].end == e;
    }
}

static const struct world_raw_ops origin_ops = {origin_rx, origin_eof,
                                                origin_gone};

static void on_accept(struct world_end *e, void *user)
{
    struct scene *s = user;

    WORLD_CHECK(s->nconns < CONNS);
    s->conns[s->nconns++].end = e;
    world_raw(e, &origin_ops, s);
}

/* The requests that came on all connections. */
static unsigned asked(const struct scene *s, const char *target)
{
    unsigned n = 0;

    for (size_t i = 0; i < s->nconns; i++) {
        for (const char *at = s->conns[i].said;
             (at = strstr(at, target)) != NULL; at++) {
            n++;
        }
    }
    return n;
}

static struct inl_link *link_of(const struct conn *c)
{
    return &c->end->other->link;
}

/* As a carrier would, in this very turn. */
static void comes_now(const struct conn *c, const char *text)
{
    inl_link_rx(link_of(c), (const uint8_t *)text, strlen(text));
}

/* ---- the caller ------------------------------------------------------- */

static void call_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct call *c = inl_container(f, struct call, flow);

    c->status = head->status;
    if (c->stops_at_head) {
        inl_flow_stop(f, INLETS_ECANCELED);
    }
}

static void call_body(struct inl_flow *f, struct inlets_slice data)
{
    struct call *c = inl_container(f, struct call, flow);

    if (data.len < sizeof(c->body) - c->len) {
        memcpy(c->body + c->len, data.ptr, data.len);
        c->len += data.len;
    }
    inl_flow_credit(f, data.len);
}

static void call_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    (void)trailers;
    inl_container(f, struct call, flow)->ended = true;
}

static void call_stop(struct inl_flow *f, int err)
{
    struct call *c = inl_container(f, struct call, flow);

    c->stopped = true;
    c->err = err;
}

static void call_credit(struct inl_flow *f, size_t bytes)
{
    (void)f;
    (void)bytes;
}

static const struct inl_flow_ops call_ops = {.head = call_head,
                                             .body = call_body,
                                             .end = call_end,
                                             .stop = call_stop,
                                             .credit = call_credit};

/* The head goes out; the request's body and end are the test's. */
static void begin(struct scene *s, struct call *c, const char *method,
                  const char *target, int64_t length)
{
    const struct inlets_head head = {.method = inl_str(method),
                                     .target = inl_str(target),
                                     .host = INL_LIT("app.test"),
                                     .content_length = length};
    const struct inl_request req = {.head = &head};
    struct inl_service *service = inl_upstream_service(s->upstream);

    *c = (struct call){0};
    inl_flow_init(&c->flow, &call_ops);
    assert_int_equal(inl_service_open(service, &req, &c->flow), 0);
}

/* A request without body. */
static void ask(struct scene *s, struct call *c, const char *method,
                const char *target)
{
    begin(s, c, method, target, INLETS_LENGTH_NONE);
    inl_flow_end(&c->flow, NULL);
}

static void expect(const struct call *c, unsigned status, const char *body)
{
    assert_int_equal(c->status, status);
    assert_int_equal(c->len, strlen(body));
    assert_memory_equal(c->body, body, c->len);
    assert_true(c->ended);
    assert_false(c->stopped);
}

static void expect_failed(const struct call *c, int err)
{
    assert_int_equal(c->status, 0);
    assert_true(c->stopped);
    assert_int_equal(c->err, err);
}

/* ---- life ------------------------------------------------------------- */

static void open_scene(struct scene *s)
{
    struct inl_upstream_config config = {.host = INL_LIT("origin"),
                                         .port = 80,
                                         .connect_ms = 1000,
                                         .idle_ms = 60000,
                                         .idle_max = 4};

    *s = (struct scene){.w = world_new(1), .answer = HELLO};
    config.env = &s->w->env;
    config.dialer = &s->w->dialer;
    s->upstream = inl_upstream_new(&config);
    assert_non_null(s->upstream);
    s->listener = world_listen(s->w, "origin", 80, on_accept, s);
}

static void close_scene(struct scene *s)
{
    inl_upstream_close(s->upstream);
    world_run(s->w, 70000);
    for (size_t i = 0; i < s->nconns; i++) {
        world_raw(s->conns[i].end, NULL, NULL);
        if (!s->conns[i].end->closed) {
            world_close(s->conns[i].end, false);
        }
    }
    world_free(s->w);
}

/* With one kept connection. */
static void open_kept(struct scene *s)
{
    struct call c;

    open_scene(s);
    ask(s, &c, "GET", "/first");
    world_run(s->w, 100);
    expect(&c, 200, "hello");
    assert_int_equal(s->nconns, 1);
}

/* ---- tests ------------------------------------------------------------ */

static void test_kept_connection_is_used_again(void **state)
{
    struct scene s;
    struct call c;

    (void)state;
    open_kept(&s);
    for (unsigned i = 0; i < 3; i++) {
        ask(&s, &c, "POST", "/again");
        world_run(s.w, 100);
        expect(&c, 200, "hello");
    }
    assert_int_equal(s.nconns, 1);
    close_scene(&s);
}

static const char *const methods[] = {"GET", "POST"};

/* Bytes that were there before the request had left answer nobody; as nothing
 * was sent, the request goes to another connection whatever its method. */
static void test_stale_bytes_answer_nobody(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        struct call c;

        open_kept(&s);
        ask(&s, &c, methods[i], "/next");
        comes_now(&s.conns[0], EVIL);
        world_run(s.w, 100);
        expect(&c, 200, "hello");
        assert_int_equal(s.nconns, 2);
        assert_int_equal(asked(&s, "/next"), 1);
        assert_null(strstr(s.conns[0].said, "/next"));
        close_scene(&s);
    }
}

/* The same with a FIN. The body that was already there moves along. */
static void test_fin_before_the_request_has_left(void **state)
{
    struct scene s;
    struct call c;

    (void)state;
    open_kept(&s);
    s.answer = NULL;
    begin(&s, &c, "POST", "/next", 8);
    inl_flow_body(&c.flow, INL_LIT("half"));
    inl_link_rx_eof(link_of(&s.conns[0]));
    inl_flow_body(&c.flow, INL_LIT("rest"));
    inl_flow_end(&c.flow, NULL);
    world_run(s.w, 100);
    assert_int_equal(s.nconns, 2);
    assert_int_equal(asked(&s, "/next"), 1);
    assert_non_null(strstr(s.conns[1].said, "\r\n\r\nhalfrest"));
    world_write(s.conns[1].end, HELLO, strlen(HELLO));
    world_run(s.w, 100);
    expect(&c, 200, "hello");
    /* all credit came back, although it was spent on two connections */
    assert_int_equal(c.flow.tx_credit, INL_FLOW_WINDOW);
    close_scene(&s);
}

/* On a fresh connection they are a bad answer: whoever talks first is no HTTP
 * server. */
static void on_accept_loudly(struct world_end *e, void *user)
{
    on_accept(e, user);
    world_write(e, EVIL, strlen(EVIL));
}

static void test_bytes_before_the_first_request(void **state)
{
    struct scene s;
    struct call c;

    (void)state;
    open_scene(&s);
    s.listener->accept = on_accept_loudly;
    s.w->net.latency_ms = 0;
    s.listener->net.latency_ms = 0;
    ask(&s, &c, "GET", "/first");
    world_run(s.w, 100);
    assert_int_equal(s.nconns, 1);
    expect_failed(&c, INLETS_EUPSTREAM);
    assert_int_equal(s.conns[0].len, 0);
    close_scene(&s);
}

/* Dead behind the request: an idempotent one is asked for once more, no other
 * is, and no third time. */
static void dies(const char *method, bool reset, bool twice, unsigned tries)
{
    struct scene s;
    struct call c;

    open_kept(&s);
    s.answer = twice ? NULL : HELLO;
    ask(&s, &c, method, "/next");
    s.conns[0].end->paused = true;
    world_run(s.w, 20);
    world_close(s.conns[0].end, reset);
    world_run(s.w, 20);
    assert_int_equal(s.nconns, tries);
    if (twice && tries == 2) {
        world_close(s.conns[1].end, reset);
        world_run(s.w, 1000);
        assert_int_equal(s.nconns, 2);
        assert_true(c.stopped);
        assert_int_equal(c.status, 0);
    } else if (tries == 2) {
        expect(&c, 200, "hello");
    } else {
        assert_true(c.stopped);
        assert_int_equal(c.status, 0);
    }
    close_scene(&s);
}

static void test_second_tries(void **state)
{
    (void)state;
    for (unsigned reset = 0; reset < 2; reset++) {
        dies("GET", reset == 1, false, 2);
        dies("PUT", reset == 1, false, 2);
        dies("GET", reset == 1, true, 2);
        dies("POST", reset == 1, false, 1);
        dies("PATCH", reset == 1, false, 1);
    }
}

/* One byte of an answer is an answer. */
static void test_no_second_try_behind_a_byte(void **state)
{
    struct scene s;
    struct call c;

    (void)state;
    open_kept(&s);
    s.answer = "H";
    ask(&s, &c, "GET", "/next");
    world_run(s.w, 20);
    world_close(s.conns[0].end, false);
    world_run(s.w, 100);
    expect_failed(&c, INLETS_EUPSTREAM);
    assert_int_equal(s.nconns, 1);
    close_scene(&s);
}

/* In one piece with the answer, or in the next one. */
static void test_bytes_behind_an_answer(void **state)
{
    static const char *const behind[] = {"\r\n", EVIL};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char text[256];
        struct scene s;
        struct call c;

        open_kept(&s);
        (void)snprintf(text, sizeof(text), "%s%s", HELLO,
                       i < 2 ? behind[i] : "");
        s.answer = text;
        ask(&s, &c, "GET", "/next");
        world_run(s.w, 10);
        expect(&c, 200, "hello");
        if (i >= 2) {
            world_write(s.conns[0].end, behind[i - 2], strlen(behind[i - 2]));
            world_run(s.w, 10);
        }
        assert_true(s.conns[0].gone || s.conns[0].eof);
        s.answer = HELLO;
        ask(&s, &c, "GET", "/last");
        world_run(s.w, 10);
        expect(&c, 200, "hello");
        assert_int_equal(s.nconns, 2);
        close_scene(&s);
    }
}

/* The answer was whole before the request was. */
static void test_early_answer_ends_the_connection(void **state)
{
    struct scene s;
    struct call c;

    (void)state;
    open_kept(&s);
    begin(&s, &c, "POST", "/early", 8);
    inl_flow_body(&c.flow, INL_LIT("half"));
    world_run(s.w, 100);
    expect(&c, 200, "hello");
    s.answer = NULL;
    inl_flow_body(&c.flow, INL_LIT("rest"));
    world_run(s.w, 100);
    assert_non_null(strstr(s.conns[0].said, "halfrest"));
    inl_flow_end(&c.flow, NULL);
    world_run(s.w, 100);
    s.answer = HELLO;
    ask(&s, &c, "GET", "/next");
    world_run(s.w, 100);
    expect(&c, 200, "hello");
    assert_int_equal(s.nconns, 2);
    close_scene(&s);
}

/* The caller leaves from inside the head; more comes in the same piece. */
static void test_caller_leaves_at_the_head(void **state)
{
    static const char *const answers[] = {
        HELLO, "HTTP/1.1 103 Hints\r\n\r\n" HELLO,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" EVIL};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct scene s;
        struct call c;

        open_kept(&s);
        s.answer = answers[i];
        ask(&s, &c, "GET", "/next");
        c.stops_at_head = true;
        world_run(s.w, 100);
        assert_int_equal(c.len, 0);
        assert_false(c.ended);
        assert_true(s.conns[0].gone); /* it is of no use any more */
        close_scene(&s);
    }
}

/* A switch that nobody asked for, with raw bytes behind it. */
static void test_unasked_switch(void **state)
{
    struct scene s;
    struct call c;

    (void)state;
    open_kept(&s);
    s.answer = "HTTP/1.1 101 Go\r\nConnection: upgrade\r\n"
               "Upgrade: websocket\r\n\r\nraw";
    ask(&s, &c, "GET", "/next");
    world_run(s.w, 100);
    expect_failed(&c, INLETS_EUPSTREAM);
    assert_int_equal(c.len, 0);
    assert_int_equal(s.nconns, 1);
    close_scene(&s);
}

/* "Keep-Alive: timeout=5": we leave before it does. */
static void test_hint_is_followed(void **state)
{
    static const struct {
        const char *value;
        uint32_t at_least_ms, at_most_ms;
    } hints[] = {
        {"timeout=5", 3000, 5000},
        {"max=7, Timeout=2", 1000, 2000},
        {"timeout=0", 0, 1},
        {"timeout=99999999999999999999", 59000, 61000},
        {"timeout=4000000", 59000, 61000},
        {"timeout", 59000, 61000},
        {"timeout=-1", 59000, 61000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        char text[256];
        struct scene s;
        struct call c;

        open_kept(&s); /* its timer runs for the longer time */
        (void)snprintf(text, sizeof(text),
                       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
                       "Keep-Alive: %s\r\n\r\nhello",
                       hints[i].value);
        s.answer = text;
        ask(&s, &c, "GET", "/next");
        world_run(s.w, 10);
        expect(&c, 200, "hello");
        world_run(s.w, hints[i].at_least_ms);
        assert_true(s.conns[0].eof == (hints[i].at_least_ms == 0));
        world_run(s.w, hints[i].at_most_ms - hints[i].at_least_ms);
        assert_true(s.conns[0].eof);
        close_scene(&s);
    }
}

/* What an exit node may say of an upgrade, and what the upstream hears. */
static void test_upgrades_of_an_exit_node(void **state)
{
    static const struct {
        const char *field; /* NULL: none */
        const char *heard; /* NULL: no upgrade */
    } cases[] = {{NULL, "websocket"},
                 {"echo/1", "echo/1"},
                 {"h2c", NULL},
                 {"H2C", NULL},
                 {"HTTP/2.0", NULL},
                 {"TLS/1.3", NULL},
                 {"websocket, h2c", NULL},
                 {"", NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct inlets_field fields[] = {
            {INL_LIT("Connection"), INL_LIT("close, X-Secret")},
            {INL_LIT("X-Secret"), INL_LIT("1")},
            {INL_LIT("Upgrade"), inl_str(cases[i].field)}};
        const struct inlets_head head = {.method = INL_LIT("GET"),
                                         .target = INL_LIT("/"),
                                         .host = INL_LIT("app.test"),
                                         .content_length = INLETS_LENGTH_NONE,
                                         .flags = INLETS_HEAD_UPGRADE,
                                         .fields = fields,
                                         .nfields =
                                             cases[i].field == NULL ? 2 : 3};
        const struct inl_request req = {.head = &head};
        char wanted[128];
        struct scene s;
        struct call c = {0};

        open_scene(&s);
        inl_flow_init(&c.flow, &call_ops);
        assert_int_equal(
            inl_service_open(inl_upstream_service(s.upstream), &req, &c.flow),
            0);
        world_run(s.w, 100);
        (void)snprintf(wanted, sizeof(wanted),
                       "Connection: upgrade\r\nUpgrade: %s\r\n\r\n",
                       cases[i].heard == NULL ? "" : cases[i].heard);
        assert_null(strstr(s.conns[0].said, "X-Secret"));
        assert_null(strstr(s.conns[0].said, "close"));
        if (cases[i].heard != NULL) {
            assert_non_null(strstr(s.conns[0].said, wanted));
        } else {
            assert_null(strstr(s.conns[0].said, "pgrade"));
        }
        assert_int_equal(c.status, 200); /* refused */
        inl_flow_stop(&c.flow, 0);
        close_scene(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_connection_is_used_again),
        cmocka_unit_test(test_stale_bytes_answer_nobody),
        cmocka_unit_test(test_fin_before_the_request_has_left),
        cmocka_unit_test(test_bytes_before_the_first_request),
        cmocka_unit_test(test_second_tries),
        cmocka_unit_test(test_no_second_try_behind_a_byte),
        cmocka_unit_test(test_bytes_behind_an_answer),
        cmocka_unit_test(test_early_answer_ends_the_connection),
        cmocka_unit_test(test_caller_leaves_at_the_head),
        cmocka_unit_test(test_unasked_switch),
        cmocka_unit_test(test_hint_is_followed),
        cmocka_unit_test(test_upgrades_of_an_exit_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
