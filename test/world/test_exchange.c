/* Requests and answers through the whole chain: visitor, exit node, tunnel,
 * dev machine, origin. */
#include "world/suite.h"

#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

static const size_t sizes[] = {0,     1,     16383,      16384,
                               16385, 65536, 256 * 1024, 1024 * 1024};
#define NSIZES (sizeof(sizes) / sizeof(sizes[0]))

static void expect_sum(struct world_visitor *v, size_t n, size_t len,
                       unsigned tag)
{
    char text[64];
    int k = snprintf(text, sizeof(text), "%zu %016llx", len,
                     (unsigned long long)world_body_hash(tag, len));

    world_expect_answer(v, n, 200, (size_t)k,
                        world_hash(WORLD_HASH_INIT, text, (size_t)k));
}

static void test_small(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    assert_int_equal(c.dev->routed, 1);
    v = world_visit(c.exit);
    world_get(v, "/len/5");
    world_run(c.w, 100);
    world_expect_answer(v, 0, 200, 5, world_body_hash(5, 5));
    assert_non_null(
        strstr(c.origin->last_head, "X-Forwarded-For: 203.0.113.9"));
    assert_non_null(strstr(c.origin->last_head, "Host: app.test"));
    assert_false(v->gone); /* kept alive */
    world_visitor_free(v);
    world_chain_close(&c);
}

/* Responses of each size and framing, over nets of several kinds. */
static void down(uint64_t seed, const struct world_net *net)
{
    static const char *const kinds[] = {"len", "chunked", "close"};
    struct world_chain c;
    struct world_visitor *v;
    size_t n = 0;

    world_chain_open(&c, seed, net);
    v = world_visit(c.exit);
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < NSIZES; i++, n++) {
            char path[64];

            (void)snprintf(path, sizeof(path), "/%s/%zu", kinds[k], sizes[i]);
            world_get(v, path);
            world_run(c.w, 20000);
            world_expect_answer(v, n, 200, sizes[i],
                                world_body_hash(5, sizes[i]));
            assert_int_equal(v->answers[n].has_length, k == 0);
        }
    }
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_bodies_down(void **state)
{
    (void)state;
    down(1, &(struct world_net){1, 0, 0, 128 * 1024});
    down(2, &(struct world_net){0, 3000, 0, 5000});
    down(3, &(struct world_net){30, 100000, 1000, 300000});
}

static void up(uint64_t seed, const struct world_net *net, bool chunked)
{
    struct world_chain c;
    struct world_visitor *v;

    world_chain_open(&c, seed, net);
    v = world_visit(c.exit);
    for (size_t i = 0; i < NSIZES; i++) {
        wh_expect(&v->http, false);
        if (chunked) {
            world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n");
            world_write_chunked(v->end, 7, sizes[i]);
        } else {
            world_send(v,
                       "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       sizes[i]);
            world_write_body(v->end, 7, sizes[i]);
        }
        world_run(c.w, 20000);
        expect_sum(v, i, sizes[i], 7);
    }
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_bodies_up(void **state)
{
    (void)state;
    for (unsigned chunked = 0; chunked < 2; chunked++) {
        up(1, &(struct world_net){1, 0, 0, 128 * 1024}, chunked != 0);
        up(2, &(struct world_net){0, 3000, 0, 5000}, chunked != 0);
        up(3, &(struct world_net){30, 100000, 1000, 300000}, chunked != 0);
    }
}

/* Both directions of one exchange at once, byte by byte where it is small. */
static void test_echo(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        size_t n = seed < 4 ? 700 : 300000;
        struct world_net net = {1, seed < 4 ? 1 : 9000, 0, 20000};
        struct world_chain c;
        struct world_visitor *v;

        world_chain_open(&c, seed, &net);
        v = world_visit(c.exit);
        wh_expect(&v->http, false);
        world_send(v, "PUT /echo HTTP/1.1\r\nHost: app.test\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n");
        world_write_chunked(v->end, 9, n);
        world_run(c.w, 20000);
        world_expect_answer(v, 0, 200, n, world_body_hash(9, n));
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

static void test_heads(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    v = world_visit(c.exit);
    wh_expect(&v->http, true);
    world_send(v, "HEAD /len/1000 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    world_run(c.w, 100);
    world_expect_answer(v, 0, 200, 0, WORLD_HASH_INIT);
    assert_non_null(strstr(v->answers[0].head, "Content-Length: 1000"));
    wh_expect(&v->http, true);
    world_send(v, "HEAD /chunked/1000 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    world_run(c.w, 100);
    world_expect_answer(v, 1, 200, 0, WORLD_HASH_INIT);
    world_get(v, "/empty/204");
    world_get(v, "/empty/304");
    world_get(v, "/hints");
    world_get(v, "/trailers/77");
    world_run(c.w, 100);
    world_expect_answer(v, 2, 204, 0, WORLD_HASH_INIT);
    world_expect_answer(v, 3, 304, 0, WORLD_HASH_INIT);
    world_expect_answer(v, 4, 200, 5, world_body_hash(5, 5));
    assert_int_equal(v->interim, 1);
    world_expect_answer(v, 5, 200, 3, world_hash(WORLD_HASH_INIT, "abc", 3));
    assert_string_equal(v->answers[5].trailer, "77");
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_expect_continue(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "POST /continue HTTP/1.1\r\nHost: app.test\r\n"
                  "Expect: 100-continue\r\nContent-Length: 3000\r\n\r\n");
    world_run(c.w, 1000);
    assert_int_equal(v->interim, 1);
    assert_int_equal(v->nanswers, 0);
    world_write_body(v->end, 7, 3000);
    world_run(c.w, 1000);
    expect_sum(v, 0, 3000, 7);
    world_visitor_free(v);
    world_chain_close(&c);
}

/* The origin answers without wanting the body: the visitor gets the answer,
 * whole, although it is still sending. */
static void test_early_response(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world_net net = {(uint32_t)(seed % 3), 20000, 0, 50000};
        struct world_chain c;
        struct world_visitor *v;

        world_chain_open(&c, seed, &net);
        v = world_visit(c.exit);
        wh_expect(&v->http, false);
        world_send(v, "POST /early HTTP/1.1\r\nHost: app.test\r\n"
                      "Content-Length: 3000000\r\n\r\n");
        world_write_body(v->end, 7, 3000000 * (seed % 2));
        world_run(c.w, 40000);
        assert_int_equal(v->nanswers, 1);
        assert_int_equal(v->answers[0].status, 413);
        assert_true(v->answers[0].complete);
        assert_true(v->gone);
        assert_int_equal(inl_session_nstreams(world_exit_session(c.exit)), 0);
        assert_int_equal(inl_session_nstreams(world_dev_session(c.dev)), 0);
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

/* It answers, keeps the connection and does not read the rest: nothing is
 * held for it for ever. One that reads slowly may take its time. */
static void early(bool is_polite, size_t n)
{
    struct world_chain c;
    struct world_visitor *v;
    struct world_end *origin;

    world_chain_open(&c, 1, NULL);
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v,
               "POST /rude HTTP/1.1\r\nHost: app.test\r\n"
               "Content-Length: %zu\r\n\r\n",
               n);
    world_write_body(v->end, 7, n);
    world_run(c.w, 1000);
    assert_true(world_is_whole(v, 0));
    assert_int_equal(inl_session_nstreams(world_dev_session(c.dev)), 1);
    origin = &c.w->last_dialed->end[1];
    origin->pipe->net.rate = 5; /* 200 s for a million */
    origin->paused = !is_polite;
    world_run(c.w, is_polite ? 300000 : 65000);
    assert_int_equal(inl_session_nstreams(world_exit_session(c.exit)), 0);
    assert_int_equal(inl_session_nstreams(world_dev_session(c.dev)), 0);
    assert_int_equal(c.origin->body_ended, is_polite);
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_early_and_rude(void **state)
{
    (void)state;
    early(true, 1000000);
    early(true, 600000); /* all of it is under way: the visitor is done */
    early(false, 1000000);
    early(false, 600000);
}

static void test_pipelining(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world_net net = {1, seed < 5 ? 3 : 2000, 0, 8000};
        struct world_chain c;
        struct world_visitor *v;

        world_chain_open(&c, seed, &net);
        v = world_visit(c.exit);
        for (unsigned i = 0; i < 30; i++) {
            char path[32];

            (void)snprintf(path, sizeof(path), "/%s/%u",
                           i % 3 == 0 ? "chunked" : "len", i * 50);
            world_get(v, path);
            if (i % 5 == 4) {
                wh_expect(&v->http, false);
                world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                              "Content-Length: 2000\r\n\r\n");
                world_write_body(v->end, 7, 2000);
            }
        }
        world_run(c.w, 30000);
        for (unsigned i = 0, n = 0; i < 30; i++) {
            world_expect_answer(v, n++, 200, i * 50,
                                world_body_hash(5, i * 50));
            if (i % 5 == 4) {
                expect_sum(v, n++, 2000, 7);
            }
        }
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

/* More pipelined bytes than are read ahead. */
static void test_pipelining_much(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 3, NULL);
    v = world_visit(c.exit);
    for (unsigned i = 0; i < 50; i++) {
        char long_path[3000];

        memset(long_path, 'x', sizeof(long_path));
        memcpy(long_path, "/len/9?", 7);
        long_path[sizeof(long_path) - 1] = '\0';
        long_path[200] = '\0'; /* what the origin's reader takes */
        wh_expect(&v->http, false);
        world_send(v,
                   "GET %s HTTP/1.1\r\nHost: app.test\r\nX-Long: %03000d"
                   "\r\n\r\n",
                   long_path, 7);
    }
    world_run(c.w, 10000);
    assert_int_equal(v->nanswers, 50);
    for (unsigned i = 0; i < 50; i++) {
        world_expect_answer(v, i, 200, 9, world_body_hash(5, 9));
    }
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_upgrade(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world_net net = {1, seed < 5 ? 7 : 30000, 0, 30000};
        size_t n = seed < 5 ? 2000 : 900000;
        uint64_t hash =
            world_hash(WORLD_HASH_INIT, "hello from the origin", 21);
        struct world_chain c;
        struct world_visitor *v;
        uint8_t byte;

        world_chain_open(&c, seed, &net);
        v = world_visit(c.exit);
        wh_expect(&v->http, false);
        world_send(v, "GET /upgrade HTTP/1.1\r\nHost: app.test\r\n"
                      "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                      "Sec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        if (seed % 2 == 0) { /* some do not wait for the 101 */
            world_write_body(v->end, 3, n);
        }
        world_run(c.w, 1000);
        assert_int_equal(v->answers[0].status, 101);
        if (seed % 2 != 0) {
            world_write_body(v->end, 3, n);
        }
        world_run(c.w, 5000);
        assert_int_equal(v->raw_len, 21 + n);
        assert_false(v->eof);
        /* a half-close: the origin says goodbye, and that arrives */
        world_shutdown(v->end);
        world_run(c.w, 5000);
        for (size_t i = 0; i < n; i++) {
            byte = world_byte(3, i);
            hash = world_hash(hash, &byte, 1);
        }
        hash = world_hash(hash, "goodbye", 7);
        assert_int_equal(v->raw_len, 21 + n + 7);
        assert_true(v->raw_hash == hash);
        assert_true(v->eof);
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

/* A websocket that dies must not look like one that ended. */
static void test_upgrade_cut(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct world_chain c;
        struct world_visitor *v;

        world_chain_open_with(&c, how + 1, NULL, 0);
        v = world_visit(c.exit);
        wh_expect(&v->http, false);
        world_send(v, "GET /upgrade HTTP/1.1\r\nHost: app.test\r\n"
                      "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                      "Sec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        world_run(c.w, 1000);
        assert_int_equal(v->answers[0].status, 101);
        if (how == 0) {
            world_origin_drop(c.origin, true);
        } else {
            world_cut(c.dev->pipe, how == 1 ? WORLD_RST : WORLD_SILENCE);
        }
        world_run(c.w, 35000);
        assert_true(v->reset);
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

/* Nobody asked for another protocol: a 101 is an upstream's lie. */
static void test_unasked_switch(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    v = world_visit(c.exit);
    world_get(v, "/switch");
    world_run(c.w, 1000);
    assert_int_equal(v->nanswers, 1);
    assert_int_equal(v->answers[0].status, 502);
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_pool_is_used_again(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    v = world_visit(c.exit);
    for (unsigned i = 0; i < 20; i++) {
        world_get(v, "/len/100");
        world_run(c.w, 50);
        world_expect_answer(v, i, 200, 100, world_body_hash(5, 100));
    }
    assert_int_equal(c.origin->nconns, 1);
    assert_int_equal(c.origin->nrequests, 20);
    world_run(c.w, 70000); /* kept for a minute */
    assert_int_equal(c.origin->nopen, 0);
    world_visitor_free(v);
    world_chain_close(&c);
}

/* What is kept may die at any time; a GET is asked once more. */
static void test_retry_of_a_dead_connection(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        struct world_chain c;
        struct world_visitor *v;

        world_chain_open(&c, 5 + how, NULL);
        v = world_visit(c.exit);
        world_get(v, "/len/100");
        world_run(c.w, 200);
        world_expect_answer(v, 0, 200, 100, world_body_hash(5, 100));
        if (how == 0) {
            c.origin->die_on_reuse = true; /* RST instead of an answer */
        } else if (how == 1) {
            world_cut(c.w->last_dialed, WORLD_RST);
        } else if (how == 2) {
            world_origin_drop(c.origin, false); /* crosses the request */
        } else {
            world_origin_drop(c.origin, true);
        }
        world_get(v, "/chunked/200");
        world_run(c.w, 2000);
        world_expect_answer(v, 1, 200, 200, world_body_hash(5, 200));
        assert_int_equal(c.origin->nconns, 2);
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

/* A POST is not: it may have been done already. */
static void test_no_retry_of_a_post(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 5, NULL);
    v = world_visit(c.exit);
    world_get(v, "/len/100");
    world_run(c.w, 200);
    c.origin->die_on_reuse = true;
    wh_expect(&v->http, false);
    world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 0\r\n\r\n");
    world_run(c.w, 2000);
    assert_int_equal(v->nanswers, 2);
    assert_int_equal(v->answers[1].status, 502);
    assert_int_equal(c.origin->nrequests, 2);
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_refusals(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 5, NULL);
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
    world_run(c.w, 100);
    assert_int_equal(v->answers[0].status, 503);
    world_get(v, "/garbage");
    world_get(v, "/die");
    world_run(c.w, 1000);
    assert_int_equal(v->answers[1].status, 502);
    assert_int_equal(v->answers[2].status, 502);
    c.origin->listener->mode = WORLD_REFUSE;
    world_get(v, "/len/5");
    world_run(c.w, 1000);
    assert_int_equal(v->answers[3].status, 502);
    c.origin->listener->mode = WORLD_IGNORE;
    world_get(v, "/len/5");
    world_run(c.w, 6000);
    assert_int_equal(v->answers[4].status, 504);
    c.origin->listener->mode = WORLD_ACCEPT;
    world_get(v, "/hang");
    world_run(c.w, 61000);
    assert_int_equal(v->answers[5].status, 504);
    world_get(v, "/len/5");
    world_run(c.w, 100);
    world_expect_answer(v, 6, 200, 5, world_body_hash(5, 5));
    for (unsigned i = 0; i < 7; i++) {
        assert_true(v->answers[i].complete);
    }
    assert_int_equal(inl_session_nstreams(world_dev_session(c.dev)), 0);
    world_visitor_free(v);
    world_chain_close(&c);
}

/* The visitor leaves: everything behind it stops. */
static void test_visitor_leaves(void **state)
{
    static const char *const paths[] = {"/hang", "/stall/5", "/len/900000",
                                        "/chunked/900000"};
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct world_net net = {2, 4000, 300, 9000};
        struct world_chain c;
        struct world_visitor *v;

        world_chain_open(&c, 5 + i, &net);
        v = world_visit(c.exit);
        world_get(v, paths[i / 2]);
        world_run(c.w, 100);
        world_visitor_leave(v, i % 2 == 0);
        world_run(c.w, 5000);
        assert_int_equal(inl_session_nstreams(world_exit_session(c.exit)), 0);
        assert_int_equal(inl_session_nstreams(world_dev_session(c.dev)), 0);
        assert_int_equal(c.origin->nopen, 0);
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_bodies_down),
        cmocka_unit_test(test_bodies_up),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_early_response),
        cmocka_unit_test(test_early_and_rude),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_pipelining_much),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_upgrade_cut),
        cmocka_unit_test(test_unasked_switch),
        cmocka_unit_test(test_pool_is_used_again),
        cmocka_unit_test(test_retry_of_a_dead_connection),
        cmocka_unit_test(test_no_retry_of_a_post),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_visitor_leaves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
