/* Visitors and origins who stop: nobody else waits for them, and what is held
 * for them is bounded. */
#include "world/suite.h"

#include "relay/session_stream.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

#define BIG 3000000u
/* One window per hop, and what framing adds. */
#define HOP_MAX (INL_FLOW_WINDOW + INL_FLOW_WINDOW / 8 + 65536u)

static size_t pending_in(const struct inl_session *s)
{
    size_t sum = 0;

    for (struct inl_map_node *n = inl_map_walk(&s->streams, NULL); n != NULL;
         n = inl_map_walk(&s->streams, n)) {
        size_t one = inl_container(n, struct inl_stream, node)->pending.bytes;

        assert_true(one <= INL_FLOW_WINDOW);
        sum += one;
    }
    return sum;
}

static void test_stalled_visitor(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world_net net = {5, 20000, 2000, 100000};
        struct world_chain c;
        struct world_visitor *stalled, *other;
        struct inl_link *out;

        world_chain_open(&c, seed, &net);
        stalled = world_visit(c.exit);
        out = &stalled->end->other->link;
        stalled->end->paused = true;
        world_get(stalled, seed == 2 ? "/chunked/3000000" : "/len/3000000");
        world_run(c.w, 10000);
        assert_true(out->out.bytes <= HOP_MAX);
        assert_true(pending_in(world_dev_session(c.dev)) <= INL_FLOW_WINDOW);
        assert_true(world_dev_session(c.dev)->lanes[0]->lane.kept.bytes <
                    100000);

        other = world_visit(c.exit);
        for (unsigned i = 0; i < 10; i++) {
            world_get(other, "/len/20000");
            world_run(c.w, 500);
            world_expect_answer(other, i, 200, 20000,
                                world_body_hash(5, 20000));
        }
        assert_true(out->out.bytes <= HOP_MAX);
        stalled->end->paused = false;
        world_run(c.w, 20000);
        world_expect_answer(stalled, 0, 200, BIG, world_body_hash(5, BIG));
        world_visitor_free(stalled);
        world_visitor_free(other);
        world_chain_close(&c);
    }
}

/* Who takes no byte of an answer for the body timeout (60 s) is cut, and so is
 * what the origin sends; who takes a little now and then is not, nor one who
 * has nothing to take. */
static void test_who_takes_nothing(void **state)
{
    struct world_net net = {5, 20000, 2000, 100000};
    struct world_chain c;
    struct world_visitor *gone, *slow, *idle;

    (void)state;
    world_chain_open(&c, 1, &net);
    gone = world_visit(c.exit);
    slow = world_visit(c.exit);
    idle = world_visit(c.exit);
    world_get(gone, "/len/3000000");
    world_get(slow, "/len/3000000");
    world_get(idle, "/len/0");
    gone->end->paused = true;
    slow->end->paused = true;
    for (unsigned i = 0; i < 5; i++) {
        world_run(c.w, 30000);
        slow->end->paused = false;
        world_run(c.w, 10);
        slow->end->paused = true;
        assert_int_equal(gone->end->closed || gone->end->other->closed, i >= 2);
    }
    gone->end->paused = slow->end->paused = false;
    world_run(c.w, 20000);
    assert_false(world_is_whole(gone, 0));
    assert_true(gone->gone);
    world_expect_answer(slow, 0, 200, BIG, world_body_hash(5, BIG));
    world_expect_answer(idle, 0, 200, 0, WORLD_HASH_INIT);
    world_visitor_free(gone);
    world_visitor_free(slow);
    world_visitor_free(idle);
    world_chain_close(&c);
}

/* The origin does not read the request body: the visitor is slowed down, and
 * the tunnel is free for others. */
static void test_stalled_upload(void **state)
{
    struct world_net net = {5, 20000, 2000, 100000};
    struct world_chain c;
    struct world_visitor *stalled, *other;
    struct world_end *origin;

    (void)state;
    world_chain_open(&c, 1, &net);
    stalled = world_visit(c.exit);
    wh_expect(&stalled->http, false);
    world_send(stalled,
               "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
               "Content-Length: %u\r\n\r\n",
               BIG);
    world_run(c.w, 100);
    origin = &c.w->last_dialed->end[1];
    assert_false(origin->is_link);
    origin->paused = true;
    world_write_body(stalled->end, 7, BIG);
    world_run(c.w, 10000);
    assert_true(stalled->end->unsent.len > BIG / 2);
    assert_true(origin->other->link.out.bytes <= HOP_MAX);
    assert_true(pending_in(world_exit_session(c.exit)) <= INL_FLOW_WINDOW);
    other = world_visit(c.exit);
    for (unsigned i = 0; i < 10; i++) {
        world_get(other, "/len/20000");
        world_run(c.w, 500);
        world_expect_answer(other, i, 200, 20000, world_body_hash(5, 20000));
    }
    origin->paused = false;
    world_run(c.w, 20000);
    assert_int_equal(stalled->nanswers, 1);
    assert_int_equal(c.origin->body_len, BIG);
    assert_true(c.origin->body_hash == world_body_hash(7, BIG));
    world_visitor_free(stalled);
    world_visitor_free(other);
    world_chain_close(&c);
}

/* So many stalled downloads that the session's credit is used up. A small
 * answer still comes, since the first 16 KiB of each stream are free; big
 * ones come after the longest-stalled have been ended; nobody takes a cut
 * answer for whole, and nothing of the account is lost. */
#define MANY 80u

static void expect_small_ones(struct world_chain *c)
{
    struct world_visitor *v = world_visit(c->exit);

    for (unsigned i = 0; i < 10; i++) {
        world_get(v, "/len/16384");
        world_run(c->w, 50);
        world_expect_answer(v, i, 200, 16384, world_body_hash(5, 16384));
    }
    world_visitor_free(v);
}

static void expect_a_big_one(struct world_chain *c, uint64_t ms)
{
    struct world_visitor *v = world_visit(c->exit);

    world_get(v, "/len/500000");
    world_run(c->w, ms);
    world_expect_answer(v, 0, 200, 500000, world_body_hash(5, 500000));
    world_visitor_free(v);
}

static void check_many(struct world_visitor **many)
{
    unsigned ended = 0;

    for (unsigned i = 0; i < MANY; i++) {
        many[i]->end->paused = false;
    }
    world_run(many[0]->world, 20000);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(many[i]->nanswers,
                         many[i]->end->closed && many[i]->nanswers == 0 ? 0
                                                                        : 1);
        if (world_is_whole(many[i], 0)) {
            world_expect_answer(many[i], 0, 200, 500000,
                                world_body_hash(5, 500000));
        } else {
            assert_true(many[i]->gone);
            ended++;
        }
        world_visitor_free(many[i]);
    }
    assert_in_range(ended, 1, MANY - 1);
}

static void test_session_credit(void **state)
{
    struct world_net net = {1, 0, 0, 60000};
    struct world_visitor *many[MANY];
    struct world_chain c;
    struct inl_session *dev, *exit;

    (void)state;
    world_chain_open(&c, 1, &net);
    for (unsigned i = 0; i < MANY; i++) {
        many[i] = world_visit(c.exit);
        many[i]->end->paused = true;
        world_get(many[i], "/len/500000");
    }
    world_run(c.w, 1000);
    dev = world_dev_session(c.dev);
    exit = world_exit_session(c.exit);
    /* nearly all of it, whatever "nearly" is for the one who pays */
    assert_true(dev->tx_charged_limit - dev->tx_charged < 100000);
    assert_true(exit->rx_charged_limit - exit->rx_charged <=
                INL_SESSION_WINDOW);
    expect_small_ones(&c);
    expect_a_big_one(&c, 6000);
    expect_small_ones(&c);
    world_visitor_leave(many[0], true); /* their credit comes back, too */
    world_visitor_leave(many[1], false);
    check_many(many);
    expect_a_big_one(&c, 2000);
    assert_true(exit->rx_charged_limit - exit->rx_charged ==
                INL_SESSION_WINDOW);
    assert_true(exit->rx_charged == dev->tx_charged);
    world_chain_close(&c);
}

/* A tunnel that is slow: the small answer overtakes the big one. */
static void test_small_beside_big(void **state)
{
    struct world_net net = {10, 0, 100, 40000}; /* 100 KB/s */
    struct world_visitor *big, *small;
    struct world_chain c;
    uint64_t started;

    (void)state;
    world_chain_open(&c, 1, &net);
    big = world_visit(c.exit);
    world_get(big, "/len/3000000");
    world_run(c.w, 3000);
    small = world_visit(c.exit);
    started = c.w->env.now_ms;
    world_get(small, "/len/1000");
    while (!world_is_whole(small, 0) && c.w->env.now_ms < started + 20000) {
        world_run(c.w, 50);
    }
    /* at most what is in the pipe (400 ms) and in the link (650 ms) */
    assert_true(c.w->env.now_ms - started < 2500);
    world_run(c.w, 60000);
    world_expect_answer(big, 0, 200, BIG, world_body_hash(5, BIG));
    world_visitor_free(big);
    world_visitor_free(small);
    world_chain_close(&c);
}

/* Window sums at each step of random traffic. */
static void test_random_load(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world_net net = {3, 15000, 3000, 50000};
        struct world_visitor *v[12];
        size_t want[12];
        struct world_chain c;

        world_chain_open(&c, seed, &net);
        for (unsigned i = 0; i < 12; i++) {
            char path[32];

            want[i] = world_below(c.w, i % 3 == 0 ? 900000 : 30000);
            (void)snprintf(path, sizeof(path), "/%s/%zu",
                           i % 2 == 0 ? "len" : "chunked", want[i]);
            v[i] = world_visit(c.exit);
            world_get(v[i], path);
        }
        for (unsigned step = 0; step < 400; step++) {
            struct world_visitor *one = v[world_below(c.w, 12)];

            one->end->paused = world_below(c.w, 3) == 0;
            world_run(c.w, world_below(c.w, 8));
            for (unsigned i = 0; i < 12; i++) {
                assert_true(v[i]->end->closed ||
                            v[i]->end->other->link.out.bytes <= HOP_MAX);
            }
            (void)pending_in(world_dev_session(c.dev));
        }
        for (unsigned i = 0; i < 12; i++) {
            v[i]->end->paused = false;
        }
        world_run(c.w, 20000);
        for (unsigned i = 0; i < 12; i++) {
            world_expect_answer(v[i], 0, 200, want[i],
                                world_body_hash(5, want[i]));
            world_visitor_free(v[i]);
        }
        world_chain_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stalled_visitor),
        cmocka_unit_test(test_who_takes_nothing),
        cmocka_unit_test(test_stalled_upload),
        cmocka_unit_test(test_session_credit),
        cmocka_unit_test(test_small_beside_big),
        cmocka_unit_test(test_random_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
