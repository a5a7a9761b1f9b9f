/* The visitor's edge over fake time: every limit as it comes, and every way to
 * leave. Each time is looked at from both sides: not before, and not long
 * after. */
#include "world/suite.h"

#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>

static const struct world_net lan = {1, 0, 0, 100000};

/* How far apart "not yet" and "by now" are. */
#define SLACK_MS 20u

/* A chain with one visitor. */
static struct world_visitor *begin(struct world_chain *c)
{
    world_chain_open(c, 1, &lan);
    return world_visit(c->exit);
}

static void end(struct world_chain *c, struct world_visitor *v)
{
    world_visitor_free(v);
    world_chain_close(c);
}

static bool is_over(const struct world_visitor *v)
{
    return v->eof || v->reset || v->gone;
}

/* Not answered before, answered after so many ms: then with this status, and,
 * when the request was not whole, for the last time. */
static void expect_refusal(struct world_chain *c, struct world_visitor *v,
                           uint64_t ms, unsigned status)
{
    world_run(c->w, ms - SLACK_MS);
    assert_int_equal(v->nanswers, 0);
    assert_false(is_over(v));
    world_run(c->w, 2 * (uint64_t)SLACK_MS);
    assert_int_equal(v->nanswers, 1);
    assert_int_equal(v->answers[0].status, status);
    assert_true(v->answers[0].complete);
    assert_int_equal(v->answers[0].last, status == 408);
}

static void settle_origin(struct world_chain *c, unsigned nopen)
{
    world_run(c->w, 100);
    assert_int_equal(c->origin->nopen, nopen);
}

/* ---- time --------------------------------------------------------------- */

static void test_heads_have_ten_seconds(void **state)
{
    struct world_chain c;
    struct world_visitor *silent, *half, *drip;

    (void)state;
    world_chain_open(&c, 1, &lan);
    silent = world_visit(c.exit);
    half = world_visit(c.exit);
    drip = world_visit(c.exit);
    wh_expect(&half->http, false);
    wh_expect(&drip->http, false);
    world_send(half, "GET / HTTP/1.1\r\nHost: app.test\r\n");
    world_send(drip, "GET / HTTP/1.1\r\nHost: app.test\r\nX: ");
    for (unsigned i = 0; i < 9; i++) { /* to send on is no help */
        world_run(c.w, 1000);
        world_send(drip, "x");
    }
    assert_false(is_over(silent) || is_over(half) || is_over(drip));
    expect_refusal(&c, half, 1000, 408);
    assert_int_equal(drip->nanswers, 1);
    assert_int_equal(drip->answers[0].status, 408);
    assert_true(silent->eof && silent->nanswers == 0);
    assert_int_equal(c.origin->nrequests, 0);
    world_visitor_free(silent);
    world_visitor_free(half);
    world_visitor_free(drip);
    world_chain_close(&c);
}

/* An answer to nothing would be taken for the next request's. */
static void test_empty_lines_are_no_request(void **state)
{
    struct world_chain c;
    struct world_visitor *v = begin(&c);

    (void)state;
    world_send(v, "\r\n");
    world_run(c.w, 10100);
    assert_true(v->eof);
    assert_int_equal(v->nanswers, 0);
    end(&c, v);
}

/* It was told to go on, and does not: it is the visitor who is late. */
static void test_continue_is_not_followed(void **state)
{
    struct world_chain c;
    struct world_visitor *v = begin(&c);

    (void)state;
    wh_expect(&v->http, false);
    world_send(v, "POST /continue HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    world_run(c.w, 100);
    assert_int_equal(v->interim, 1);
    expect_refusal(&c, v, 59900, 408);
    settle_origin(&c, 0);
    end(&c, v);
}

static void test_idle_is_sixty_seconds(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    for (unsigned i = 0; i < 2; i++) {
        world_get(v, "/len/5");
        world_run(c.w, 59900);
        world_expect_answer(v, i, 200, 5, world_body_hash(5, 5));
        assert_false(is_over(v));
    }
    world_run(c.w, 200);
    assert_true(v->eof);
    end(&c, v);
    v = begin(&c);
    world_get(v, "/len/5");
    world_run(c.w, 100);
    world_send(v, "\r\n"); /* RFC 9112 2.2: nothing */
    world_run(c.w, 59800);
    assert_false(is_over(v));
    world_run(c.w, 300);
    assert_true(v->eof);
    assert_int_equal(v->nanswers, 1);
    end(&c, v);
}

/* The body's time begins anew with each byte. */
static void test_bodies_go_on(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    wh_expect(&v->http, false);
    world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 100\r\n\r\n");
    for (unsigned i = 0; i < 3; i++) {
        world_send(v, "x");
        world_run(c.w, 50000);
        assert_int_equal(v->nanswers, 0);
    }
    world_send(v, "x");
    expect_refusal(&c, v, 60000, 408);
    settle_origin(&c, 0);
    end(&c, v);
}

/* Its own limit holds from the head on, not only behind the first byte; and
 * when all has come it is the upstream's turn. */
static void test_bodies_that_never_begin(void **state)
{
    static const char *const framings[] = {"Content-Length: 5\r\n\r\n",
                                           "Transfer-Encoding: chunked\r\n\r\n",
                                           "Transfer-Encoding: chunked\r\n\r\n"
                                           "5\r\n"};
    struct world_chain c;
    struct world_visitor *v, *w;

    (void)state;
    world_chain_open(&c, 1, &lan);
    c.exit->config.body_timeout_ms = 5000;
    for (unsigned i = 0; i < 3; i++) {
        w = world_visit(c.exit);
        wh_expect(&w->http, false);
        world_send(w, "POST /sum HTTP/1.1\r\nHost: app.test\r\n");
        world_send(w, "%s", framings[i]);
        expect_refusal(&c, w, 5000, 408);
        world_visitor_free(w);
    }
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "POST /hang HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 3\r\n\r\nabc");
    expect_refusal(&c, v, 60000, 504);
    settle_origin(&c, 0);
    end(&c, v);
}

/* The answer streams already; half of the request never comes: it is cut. */
static void test_half_a_body_behind_the_answer(void **state)
{
    struct world_chain c;
    struct world_visitor *v = begin(&c);

    (void)state;
    c.exit->config.body_timeout_ms = 5000;
    wh_expect(&v->http, false);
    world_send(v, "POST /echo HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 100\r\n\r\n0123456789");
    world_run(c.w, 4900);
    world_send(v, "0123456789");
    world_run(c.w, 4900);
    assert_int_equal(v->nanswers, 1);
    assert_int_equal(v->answers[0].len, 20);
    assert_false(is_over(v));
    world_run(c.w, 300);
    assert_true(is_over(v));
    assert_false(v->answers[0].complete);
    settle_origin(&c, 0);
    end(&c, v);
}

/* An upstream that takes nothing is not the visitor's fault: 504, not 408. */
static void test_silent_upstream(void **state)
{
    struct world_chain c;
    struct world_visitor *v, *upload;

    (void)state;
    v = begin(&c);
    upload = world_visit(c.exit);
    wh_expect(&upload->http, false);
    world_get(v, "/hang");
    world_send(upload, "POST /hang HTTP/1.1\r\nHost: app.test\r\n"
                       "Content-Length: 3\r\n\r\nabc");
    expect_refusal(&c, upload, 60000, 504);
    assert_int_equal(v->answers[0].status, 504);
    settle_origin(&c, 0);
    world_visitor_free(v);
    world_visitor_free(upload);
    world_chain_close(&c);
}

/* A stalled download may stand still for as long as the upstream likes. */
static void test_answers_take_their_time(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    world_get(v, "/stall/1000");
    world_run(c.w, 3600000);
    assert_int_equal(v->nanswers, 1);
    assert_false(v->answers[0].complete || is_over(v));
    world_visitor_leave(v, true);
    settle_origin(&c, 0);
    end(&c, v);
}

/* ---- who leaves --------------------------------------------------------- */

static void test_fin_before_the_answer(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    world_get(v, "/hang");
    world_run(c.w, 100);
    assert_int_equal(c.origin->nopen, 1);
    world_shutdown(v->end);
    world_run(c.w, 700);
    assert_int_equal(c.origin->nopen, 1); /* it may be a half-close */
    world_run(c.w, 250);
    assert_int_equal(c.origin->nopen, 0);
    end(&c, v);
}

static void test_rst_before_the_answer(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    world_get(v, "/hang");
    world_run(c.w, 100);
    assert_int_equal(c.origin->nopen, 1);
    world_visitor_leave(v, true);
    world_run(c.w, 10);
    assert_int_equal(c.origin->nopen, 0);
    end(&c, v);
}

/* What waits behind the request hides no FIN. */
static void test_fin_behind_more(void **state)
{
    static const char *const behind[] = {
        "\r\n", "G", "GET /len/5 HTTP/1.1\r\nHost: app.test\r\n\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        struct world_chain c;
        struct world_visitor *v = begin(&c);

        world_get(v, i % 2 == 0 ? "/hang" : "/stall/10");
        world_send(v, "%s", behind[i]);
        world_run(c.w, 100000 * (i % 2)); /* there is no other timer left */
        world_run(c.w, 100);
        assert_int_equal(c.origin->nopen, 1);
        world_shutdown(v->end);
        world_run(c.w, 1000);
        assert_int_equal(c.origin->nopen, 0);
        assert_int_equal(c.origin->nrequests, 1);
        end(&c, v);
    }
}

/* Several requests and a FIN: all are answered. */
static void test_fin_behind_many(void **state)
{
    struct world_chain c;
    struct world_visitor *v = begin(&c);

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        world_get(v, "/len/70000");
    }
    world_shutdown(v->end);
    world_run(c.w, 5000);
    for (unsigned i = 0; i < 5; i++) {
        world_expect_answer(v, i, 200, 70000, world_body_hash(5, 70000));
    }
    assert_true(v->eof);
    end(&c, v);
}

/* Who closes its side and takes the answer gets all of it. */
static void test_half_close_gets_the_answer(void **state)
{
    static const struct world_net slow = {5, 0, 100, 20000};
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, &slow);
    v = world_visit(c.exit);
    world_get(v, "/len/1000000"); /* 10 s */
    world_shutdown(v->end);
    world_run(c.w, 20000);
    world_expect_answer(v, 0, 200, 1000000, world_body_hash(5, 1000000));
    assert_true(v->eof);
    end(&c, v);
}

/* Half of a body, and then nothing more ever: it is no request. */
static void test_fin_in_the_body(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    wh_expect(&v->http, false);
    world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 100\r\n\r\nabc");
    world_run(c.w, 100);
    assert_int_equal(c.origin->nopen, 1);
    world_shutdown(v->end);
    world_run(c.w, 10);
    assert_int_equal(c.origin->nopen, 0);
    assert_false(c.origin->body_ended);
    end(&c, v);
}

/* ---- order ----------------------------------------------------------------
 */

static void test_pipelining(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    for (unsigned i = 1; i <= 20; i++) {
        char path[32];

        (void)snprintf(path, sizeof(path), "/%s/%u",
                       i % 2 == 0 ? "len" : "chunked", i * 1000);
        world_get(v, path);
    }
    world_run(c.w, 1000);
    assert_int_equal(v->nanswers, 20);
    for (unsigned i = 1; i <= 20; i++) {
        world_expect_answer(v, i - 1, 200, (uint64_t)i * 1000,
                            world_body_hash(5, (uint64_t)i * 1000));
    }
    end(&c, v);
}

/* What follows a request to upgrade is never a request, taken or not. */
static void test_bytes_behind_an_upgrade(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    v = begin(&c);
    wh_expect(&v->http, false);
    world_send(v, "GET /len/5 HTTP/1.1\r\nHost: app.test\r\n"
                  "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                  "GET /len/7 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    world_run(c.w, 1000);
    world_expect_answer(v, 0, 200, 5, world_body_hash(5, 5));
    assert_true(v->answers[0].last && v->eof);
    assert_int_equal(v->nanswers, 1);
    assert_int_equal(c.origin->nrequests, 1);
    end(&c, v);
}

static void test_so_many_requests(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, &lan);
    c.exit->config.max_requests = 3;
    v = world_visit(c.exit);
    for (unsigned i = 0; i < 5; i++) {
        world_get(v, "/len/5");
    }
    world_run(c.w, 1000);
    assert_int_equal(v->nanswers, 3);
    assert_false(v->answers[1].last);
    assert_true(v->answers[2].last && v->eof);
    assert_int_equal(c.origin->nrequests, 3);
    end(&c, v);
}

/* ---- crowds ---------------------------------------------------------------
 */

static void test_the_longest_idle_gives_way(void **state)
{
    struct world_chain c;
    struct world_visitor *v[4];

    (void)state;
    world_chain_open(&c, 1, &lan);
    c.exit->visitors.max = 3;
    for (unsigned i = 0; i < 3; i++) {
        v[i] = world_visit(c.exit);
        world_get(v[i], i == 0 ? "/hang" : "/len/5");
        world_run(c.w, 100);
    }
    v[3] = world_visit(c.exit); /* 0 is busy, 1 is idle longest */
    world_get(v[3], "/hang");
    world_run(c.w, 100);
    assert_true(v[1]->eof);
    assert_false(is_over(v[0]) || is_over(v[2]) || is_over(v[3]));
    world_visitor_free(v[1]);
    world_get(v[2], "/hang");
    world_run(c.w, 100);
    v[1] = world_visit(c.exit);
    wh_expect(&v[1]->http, false);
    world_run(c.w, 100);
    assert_int_equal(v[1]->answers[0].status, 503);
    assert_true(v[1]->answers[0].last);
    for (unsigned i = 0; i < 4; i++) {
        world_visitor_free(v[i]);
    }
    world_run(c.w, 3000);
    assert_int_equal(c.exit->visitors.count, 0);
    assert_int_equal(c.exit->visitors.uncounted, 0);
    world_chain_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_have_ten_seconds),
        cmocka_unit_test(test_empty_lines_are_no_request),
        cmocka_unit_test(test_continue_is_not_followed),
        cmocka_unit_test(test_idle_is_sixty_seconds),
        cmocka_unit_test(test_bodies_go_on),
        cmocka_unit_test(test_bodies_that_never_begin),
        cmocka_unit_test(test_half_a_body_behind_the_answer),
        cmocka_unit_test(test_silent_upstream),
        cmocka_unit_test(test_answers_take_their_time),
        cmocka_unit_test(test_fin_before_the_answer),
        cmocka_unit_test(test_rst_before_the_answer),
        cmocka_unit_test(test_fin_behind_more),
        cmocka_unit_test(test_fin_behind_many),
        cmocka_unit_test(test_half_close_gets_the_answer),
        cmocka_unit_test(test_fin_in_the_body),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_bytes_behind_an_upgrade),
        cmocka_unit_test(test_so_many_requests),
        cmocka_unit_test(test_the_longest_idle_gives_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
