/* Goings and comings: drain of both sides, reconnecting, failover, and golden
 * traces of the machines. */
#include "world/suite.h"

#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

static void test_server_drains(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct world_net net = {2, 5000, 200, 30000};
        struct world_chain c;
        struct world_visitor *busy, *idle;

        world_chain_open(&c, seed, &net);
        busy = world_visit(c.exit);
        idle = world_visit(c.exit);
        world_get(idle, "/len/10");
        world_run(c.w, 200);
        world_get(busy, seed % 2 == 0 ? "/len/200000" : "/chunked/200000");
        world_run(c.w, 100 + 20 * seed);
        assert_false(world_is_whole(busy, 0));
        world_exit_drain(c.exit);
        world_run(c.w, 30000);
        world_expect_answer(busy, 0, 200, 200000, world_body_hash(5, 200000));
        assert_true(busy->gone && idle->gone);
        assert_int_equal(world_exit_ntunnels(c.exit), 0);
        assert_int_equal(c.dev->downs, 1);
        assert_true(inl_list_empty(&c.dev->remote.tunnels));
        world_visitor_free(busy);
        world_visitor_free(idle);
        world_chain_close(&c);
    }
}

static void test_client_drains(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct world_net net = {2, 5000, 200, 30000};
        struct world_chain c;
        struct world_visitor *busy, *late;

        world_chain_open(&c, seed, &net);
        busy = world_visit(c.exit);
        world_get(busy, seed % 2 == 0 ? "/len/200000" : "/chunked/200000");
        world_run(c.w, 100 + 20 * seed);
        world_dev_drain(c.dev);
        world_run(c.w, 400); /* the goaway waits in the pipe, too */
        assert_false(world_is_whole(busy, 0));
        late = world_visit(c.exit);
        world_get(late, "/len/10");
        world_run(c.w, 30000);
        world_expect_answer(busy, 0, 200, 200000, world_body_hash(5, 200000));
        assert_int_equal(late->answers[0].status, 503);
        assert_int_equal(world_exit_ntunnels(c.exit), 0);
        assert_true(inl_list_empty(&c.dev->remote.tunnels));
        assert_int_equal(c.dev->ups, 1);
        world_visitor_free(busy);
        world_visitor_free(late);
        world_chain_close(&c);
    }
}

/* Requests at every moment of a drain: each ends, whole or with a status. */
static void test_requests_during_drain(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world_net net = {3, 0, 0, 30000};
        struct world_chain c;
        struct world_visitor *v[10];

        world_chain_open(&c, seed, &net);
        for (unsigned i = 0; i < 10; i++) {
            v[i] = world_visit(c.exit);
            world_get(v[i], "/len/1000");
            world_run(c.w, world_below(c.w, 4));
            if (i == 4 && seed % 2 == 0) {
                world_exit_drain(c.exit);
            } else if (i == 4) {
                world_dev_drain(c.dev);
            }
        }
        world_run(c.w, 30000);
        for (unsigned i = 0; i < 10; i++) {
            assert_true(world_is_whole(v[i], 0) || v[i]->gone);
            if (v[i]->nanswers > 0) {
                assert_true(v[i]->answers[0].status == 200 ||
                            v[i]->answers[0].status == 503);
            }
            world_visitor_free(v[i]);
        }
        assert_int_equal(world_exit_ntunnels(c.exit), 0);
        world_chain_close(&c);
    }
}

/* ---- a crowd ---------------------------------------------------------- */

#define CROWD 1000u
#define CROWD_SPREAD_MS 20000u
#define CROWD_TRIES 100000u

/* A thousand reconnect machines, and a server that is away until back_ms. */
struct crowd {
    struct inl_reconnect members[CROWD];
    bool tries[CROWD]; /* its attempt is to be answered */
    bool back[CROWD];
    uint64_t tried[CROWD_TRIES]; /* when */
    size_t ntried, nback;
};

static struct crowd crowd; /* too large for the stack */

static void crowd_dial(struct inl_reconnect *r)
{
    assert_true(crowd.ntried < CROWD_TRIES);
    crowd.tries[r->id] = true;
    crowd.tried[crowd.ntried++] = r->env->now_ms;
}

static void crowd_lose(struct world *w, uint32_t spread_ms)
{
    crowd.nback = 0;
    for (unsigned i = 0; i < CROWD; i++) {
        (void)inl_reconnect_lost(&crowd.members[i], 0, spread_ms);
        crowd.back[i] = false;
    }
    world_settle(w);
}

/* The answers to those who tried. */
static void crowd_answer(bool is_there)
{
    for (unsigned i = 0; i < CROWD; i++) {
        if (!crowd.tries[i]) {
            continue;
        }
        crowd.tries[i] = false;
        if (is_there) {
            inl_reconnect_ready(&crowd.members[i]);
            crowd.back[i] = true;
            crowd.nback++;
        } else {
            (void)inl_reconnect_lost(&crowd.members[i], 0, CROWD_SPREAD_MS);
        }
    }
}

/* The most attempts in any second. */
static size_t crowd_peak(void)
{
    size_t peak = 0, from = 0;

    for (size_t i = 0; i < crowd.ntried; i++) {
        while (crowd.tried[i] - crowd.tried[from] >= 1000) {
            from++;
        }
        peak = i + 1 - from > peak ? i + 1 - from : peak;
    }
    return peak;
}

static void crowd_outage(uint64_t seed, uint64_t away_ms)
{
    struct world *w = world_new(seed);
    uint64_t back_ms;

    crowd.ntried = 0;
    for (unsigned i = 0; i < CROWD; i++) {
        inl_reconnect_init(&crowd.members[i], &w->env, 30000, crowd_dial);
        crowd.members[i].id = i;
        (void)inl_reconnect_beside(&crowd.members[i]);
        inl_reconnect_ready(&crowd.members[i]);
        crowd.tries[i] = false;
    }
    crowd.ntried = 0;
    world_run(w, 60000);
    crowd_lose(w, CROWD_SPREAD_MS);
    back_ms = w->env.now_ms + away_ms;
    while (crowd.nback < CROWD) {
        crowd_answer(w->env.now_ms >= back_ms);
        world_run(w, 10);
        assert_true(w->env.now_ms <= back_ms + 35000);
    }
    assert_in_range(crowd_peak(), 1, 100);
    for (unsigned i = 0; i < CROWD; i++) {
        inl_reconnect_close(&crowd.members[i]);
    }
    world_free(w);
}

/* However long it is away: never 100 in a second, and all are back. */
static void test_crowd_comes_back_evenly(void **state)
{
    static const uint64_t away_ms[] = {0, 1000, 3000, 12000, 25000, 50000};

    (void)state;
    for (unsigned i = 0; i < sizeof(away_ms) / sizeof(away_ms[0]); i++) {
        crowd_outage(i + 1, away_ms[i]);
    }
}

/* Fifteen minutes of a bad day, as a trace. */
static void test_reconnect_trace(void **state)
{
    struct world *w = world_new(7);
    struct world_exit *x = world_exit_new(w);
    struct world_dev *d = world_dev_new(w);

    (void)state;
    world_dev_upstream(d, "", 8000, "");
    world_trace_on(w);
    x->listener->mode = WORLD_REFUSE;
    world_dev_start(d);
    world_run(w, 60000);
    world_note(w, "-- the exit node is there");
    x->listener->mode = WORLD_ACCEPT;
    world_run(w, 90000);
    assert_int_equal(world_exit_ntunnels(x), 1);
    world_note(w, "-- the link is reset");
    world_cut(d->pipe, WORLD_RST);
    world_run(w, 5000);
    assert_int_equal(world_exit_ntunnels(x), 1);
    world_note(w, "-- the link goes silent");
    world_cut(d->pipe, WORLD_SILENCE);
    world_run(w, 60000);
    assert_int_equal(world_exit_ntunnels(x), 1);
    world_note(w, "-- cut every 500 ms");
    for (unsigned i = 0; i < 8; i++) {
        world_cut(d->pipe, WORLD_FIN);
        world_run(w, 500);
    }
    world_run(w, 60000);
    world_note(w, "-- packets vanish on the way in");
    x->listener->mode = WORLD_IGNORE;
    world_cut(d->pipe, WORLD_RST);
    world_run(w, 120000);
    world_note(w, "-- the token is refused");
    x->listener->mode = WORLD_ACCEPT;
    x->refuses = true;
    world_run(w, 120000);
    world_note(w, "-- all is well");
    x->refuses = false;
    world_run(w, 200000);
    assert_int_equal(world_exit_ntunnels(x), 1);
    world_note(w, "-- the dev machine is closed");
    world_dev_close(d);
    world_run(w, 15 * 60000 - (w->env.now_ms - 1000));
    world_expect_trace(w, "reconnect");
    world_exit_close(x);
    world_free(w);
}

static void test_visitor_trace(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    world_trace_on(c.w);
    world_note(c.w, "-- two requests, one after the other");
    v = world_visit(c.exit);
    world_get(v, "/len/5");
    world_run(c.w, 100);
    world_get(v, "/chunked/5");
    world_run(c.w, 100);
    world_note(c.w, "-- half a head, then nothing");
    wh_expect(&v->http, false);
    world_send(v, "GET / HT");
    world_run(c.w, 15000);
    assert_int_equal(v->answers[2].status, 408);
    world_visitor_free(v);
    world_note(c.w, "-- silence from the first");
    v = world_visit(c.exit);
    world_run(c.w, 15000);
    world_visitor_free(v);
    world_note(c.w, "-- what is not HTTP");
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "\x16\x03\x01 is TLS\r\n\r\n");
    world_run(c.w, 5000);
    assert_int_equal(v->answers[0].status, 400);
    world_visitor_free(v);
    world_note(c.w, "-- an upgrade");
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "GET /upgrade HTTP/1.1\r\nHost: app.test\r\n"
                  "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    world_run(c.w, 100);
    world_shutdown(v->end);
    world_run(c.w, 5000);
    world_visitor_free(v);
    world_note(c.w, "-- an answer that is cut");
    v = world_visit(c.exit);
    world_get(v, "/rstlen/100");
    world_run(c.w, 5000);
    world_visitor_free(v);
    world_note(c.w, "-- a visitor who leaves");
    v = world_visit(c.exit);
    world_get(v, "/hang");
    world_run(c.w, 100);
    world_visitor_leave(v, false);
    world_run(c.w, 5000);
    world_visitor_free(v);
    world_note(c.w, "-- an idle minute");
    v = world_visit(c.exit);
    world_get(v, "/len/5");
    world_run(c.w, 65000);
    assert_true(v->gone);
    world_visitor_free(v);
    world_expect_trace(c.w, "visitor");
    world_chain_close(&c);
}

/* Two dev machines for one host; one freezes. A GET that waits there goes to
 * the other one within seconds. */
static void test_failover(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 6; how++) {
        struct world_chain c;
        struct world_dev *second;
        struct world_visitor *v[4];

        world_chain_open(&c, how + 1, NULL);
        second = world_dev_new(c.w);
        world_dev_upstream(second, "app.test", 8000, "");
        world_dev_start(second);
        world_run(c.w, 100);
        assert_int_equal(world_exit_ntunnels(c.exit), 2);
        if (how % 3 == 0) {
            world_cut(c.dev->pipe, WORLD_SILENCE);
        }
        for (unsigned i = 0; i < 4; i++) {
            v[i] = world_visit(c.exit);
            world_get(v[i], "/len/1000");
        }
        if (how % 3 == 1) {
            world_cut(c.dev->pipe, WORLD_RST);
        } else if (how % 3 == 2) {
            world_run(c.w, how - 1);
            world_cut(c.dev->pipe, WORLD_FIN);
        }
        world_run(c.w, 5000);
        for (unsigned i = 0; i < 4; i++) {
            world_expect_answer(v[i], 0, 200, 1000, world_body_hash(5, 1000));
            /* and the frozen one is not asked again */
            world_get(v[i], "/len/10");
        }
        world_run(c.w, 500);
        for (unsigned i = 0; i < 4; i++) {
            world_expect_answer(v[i], 1, 200, 10, world_body_hash(5, 10));
            world_visitor_free(v[i]);
        }
        world_dev_close(second);
        world_chain_close(&c);
    }
}

/* An endpoint is taken back while requests for it run and wait. */
static void test_withdraw(void **state)
{
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    v = world_visit(c.exit);
    world_get(v, "/hang");
    world_run(c.w, 50);
    assert_int_equal(inl_session_withdraw(world_dev_session(c.dev), 1), 0);
    world_run(c.w, 50);
    assert_int_equal(inl_session_nstreams(world_exit_session(c.exit)), 1);
    assert_int_equal(c.exit->router.nroutes, 0);
    world_visitor_leave(v, true);
    world_run(c.w, 50);
    world_visitor_free(v);
    v = world_visit(c.exit);
    world_get(v, "/len/5");
    world_run(c.w, 50);
    assert_int_equal(v->answers[0].status, 503);
    world_dev_upstream(c.dev, "app.test", 8000, ""); /* route 2 */
    assert_int_equal(inl_session_offer(world_dev_session(c.dev), 2,
                                       (struct inlets_slice){"app.test", 8}),
                     0);
    world_run(c.w, 50);
    world_get(v, "/len/5");
    world_run(c.w, 50);
    world_expect_answer(v, 1, 200, 5, world_body_hash(5, 5));
    world_visitor_free(v);
    world_chain_close(&c);
}

/* An old session that ends late takes nothing from a new one. */
static void test_old_session_ends_late(void **state)
{
    struct world_chain c;
    struct world_dev *second;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    world_cut(c.dev->pipe, WORLD_SILENCE);
    c.dev->stays_away = true;
    second = world_dev_new(c.w);
    world_dev_upstream(second, "app.test", 8000, "");
    world_dev_start(second);
    world_run(c.w, 60000);
    assert_int_equal(world_exit_ntunnels(c.exit), 1);
    assert_int_equal(c.exit->last_down, INLETS_ESILENT);
    v = world_visit(c.exit);
    world_get(v, "/len/10");
    world_run(c.w, 100);
    world_expect_answer(v, 0, 200, 10, world_body_hash(5, 10));
    world_visitor_free(v);
    world_dev_close(second);
    world_chain_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_drains),
        cmocka_unit_test(test_client_drains),
        cmocka_unit_test(test_requests_during_drain),
        cmocka_unit_test(test_crowd_comes_back_evenly),
        cmocka_unit_test(test_reconnect_trace),
        cmocka_unit_test(test_visitor_trace),
        cmocka_unit_test(test_failover),
        cmocka_unit_test(test_withdraw),
        cmocka_unit_test(test_old_session_ends_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
