/* test_relay.c: the n-th allocation of the library fails, for n = 1, 2, ...
 * until a run needs no more. Whatever fails: no crash, no leak (world_free
 * checks), no answer that is wrong, and with memory back all works again. */
#include "world/suite.h"

#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

#define BODY_BYTES 70000u /* several DATA frames, charged ones among them */

/* A part of a run in which one allocation may fail. */
typedef void (*scenario_fn)(struct world_chain *c, struct world_visitor *v);

static void expect_right_or_cut(struct world_visitor *v, size_t n)
{
    if (world_is_whole(v, n) && v->answers[n].status == 200) {
        assert_int_equal(v->answers[n].len, BODY_BYTES);
        assert_true(v->answers[n].hash == world_body_hash(5, BODY_BYTES));
    }
}

static void download(struct world_chain *c, struct world_visitor *v)
{
    world_get(v, "/len/70000");
    world_run(c->w, 3000);
    expect_right_or_cut(v, 0);
}

static void download_chunked(struct world_chain *c, struct world_visitor *v)
{
    world_get(v, "/chunked/70000");
    world_run(c->w, 3000);
    expect_right_or_cut(v, 0);
}

static void echo(struct world_chain *c, struct world_visitor *v)
{
    wh_expect(&v->http, false);
    world_send(v, "POST /echo?70000 HTTP/1.1\r\nHost: app.test\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n");
    world_write_chunked(v->end, 5, BODY_BYTES);
    world_run(c->w, 3000);
    expect_right_or_cut(v, 0);
}

static void two_in_a_row(struct world_chain *c, struct world_visitor *v)
{
    world_get(v, "/len/70000");
    world_get(v, "/chunked/70000");
    world_run(c->w, 3000);
    expect_right_or_cut(v, 0);
    expect_right_or_cut(v, 1);
}

static void reconnect(struct world_chain *c, struct world_visitor *v)
{
    (void)v;
    world_cut(c->dev->pipe, WORLD_RST);
    world_run(c->w, 5000);
}

static void leave_in_the_middle(struct world_chain *c, struct world_visitor *v)
{
    world_get(v, "/len/70000");
    world_run(c->w, 2);
    world_visitor_leave(v, true);
    world_run(c->w, 3000);
}

/* With memory back: the tunnel too, and a request is answered. */
static void expect_recovery(struct world_chain *c)
{
    struct world_visitor *v;

    world_run(c->w, 60000);
    v = world_visit(c->exit);
    world_get(v, "/len/5");
    world_run(c->w, 3000);
    world_expect_answer(v, 0, 200, 5, world_body_hash(5, 5));
    world_visitor_free(v);
}

/* Returns whether the n-th allocation was reached. */
static bool run_failing(scenario_fn scenario, uint64_t n)
{
    struct world_chain c;
    struct world_visitor *v;
    bool reached;

    world_chain_open(&c, 1, &(struct world_net){1, 0, 0, 128 * 1024});
    v = world_visit(c.exit);
    world_run(c.w, 10);
    world_alloc.failed = false;
    world_alloc.fail_at = world_alloc.calls + n;
    scenario(&c, v);
    reached = world_alloc.failed;
    world_alloc.fail_at = 0;
    world_visitor_free(v);
    expect_recovery(&c);
    world_chain_close(&c);
    return reached;
}

static void sweep(scenario_fn scenario)
{
    uint64_t n = 1;

    while (run_failing(scenario, n)) {
        n++;
        assert_true(n < 5000);
    }
    assert_true(n > 3); /* else nothing was tried */
}

static void test_download(void **state)
{
    (void)state;
    sweep(download);
}

static void test_download_chunked(void **state)
{
    (void)state;
    sweep(download_chunked);
}

static void test_echo(void **state)
{
    (void)state;
    sweep(echo);
}

static void test_two_in_a_row(void **state)
{
    (void)state;
    sweep(two_in_a_row);
}

static void test_reconnect(void **state)
{
    (void)state;
    sweep(reconnect);
}

static void test_leave_in_the_middle(void **state)
{
    (void)state;
    sweep(leave_in_the_middle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_download),
        cmocka_unit_test(test_download_chunked),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_two_in_a_row),
        cmocka_unit_test(test_reconnect),
        cmocka_unit_test(test_leave_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
