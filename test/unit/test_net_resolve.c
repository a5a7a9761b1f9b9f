/* test_net_resolve.c: the addresses of a name, with a resolver of our own. */
#include "net_rig.h"

#include "net/resolve.h"
#include "unit/alloc.h"
#include "unit/resolver.h"
#include <string.h>

/* Like struct call of net_rig.h. */
struct query {
    struct inl_resolve resolve; /* first */
    struct rig *rig;
    int done; /* calls */
    int err;
    size_t n;
    char texts[INL_ADDRESSES_MAX][64];
    int again; /* so often it asks anew, from done */
};

static void on_done(struct inl_resolve *resolve, int err,
                    const char *const *addresses, size_t n)
{
    struct query *q = (struct query *)resolve;

    assert_null(resolve->impl);
    assert_true((err == 0) == (n > 0));
    assert_in_range(n, 0, INL_ADDRESSES_MAX);
    q->done++;
    q->err = err;
    q->n = n;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(q->texts[i], sizeof(q->texts[i]), "%s", addresses[i]);
    }
    if (q->again > 0) {
        q->again--;
        assert_int_equal(inl_resolve_start(&q->rig->dialer, resolve), 0);
    }
}

static int query_start(struct query *q, struct rig *r, const char *host)
{
    int err;

    *q = (struct query){.resolve = {.host = host, .done = on_done}, .rig = r};
    inl_loop_enter(&r->loop);
    err = inl_resolve_start(&r->dialer, &q->resolve);
    assert_int_equal(q->done, 0);
    assert_true((err == 0) == (q->resolve.impl != NULL));
    return err;
}

static void ask(struct query *q, struct rig *r, const char *host)
{
    assert_int_equal(query_start(q, r, host), 0);
    RUN_UNTIL(r, q->done > 0);
}

/* expected: with a space behind each. */
static void expect(struct rig *r, const char *host, const char *expected)
{
    struct query q;
    char got[1024] = "";

    ask(&q, r, host);
    assert_int_equal(q.err, 0);
    for (size_t i = 0; i < q.n; i++) {
        (void)strcat(got, q.texts[i]);
        (void)strcat(got, " ");
    }
    assert_string_equal(got, expected);
    RUN_UNTIL(r, r->loop.live == 0);
    assert_int_equal(q.done, 1);
}

static void test_addresses_of_a_name(void **state)
{
    expect(*state, "one.test", "127.0.0.1 ");
    expect(*state, "two.six.one.test", "127.0.0.2 ::1 127.0.0.1 ");
    expect(*state, "two.one.odd.two.one.six.six.test",
           "127.0.0.2 127.0.0.1 ::1 ");
    expect(*state, "local.test", "fe80::1%lo ");
}

static void test_numeric_gives_itself(void **state)
{
    expect(*state, "192.0.2.7", "192.0.2.7 ");
    expect(*state, "2001:db8::7", "2001:db8::7 ");
    expect(*state, "fe80::1%lo", "fe80::1%lo ");
}

static void test_no_more_than_the_limit(void **state)
{
    struct rig *r = *state;
    struct query q;

    ask(&q, r, "crowd.two.test");
    assert_int_equal(q.err, 0);
    assert_int_equal(q.n, INL_ADDRESSES_MAX);
    assert_string_equal(q.texts[0], "127.2.0.0");
    assert_string_equal(q.texts[63], "127.2.0.63");
}

static void test_unknown_name(void **state)
{
    struct query q;

    ask(&q, *state, "none.test");
    assert_int_equal(q.err, INLETS_EDNS);
    ask(&q, *state, "odd.test");
    assert_int_equal(q.err, INLETS_EDNS);
}

static void test_bad_arguments(void **state)
{
    struct rig *r = *state;
    struct inl_dialer_ops none = {.start = NULL};
    struct inl_dialer old = {.ops = &none, .env = &r->loop.env};
    struct query q;
    char name[300];

    memset(name, 'a', sizeof(name));
    name[254] = '\0'; /* one more than a name may have */
    assert_int_equal(query_start(&q, r, name), INLETS_EINVAL);
    assert_int_equal(query_start(&q, r, ""), INLETS_EINVAL);
    assert_int_equal(query_start(&q, r, NULL), INLETS_EINVAL);
    inl_resolve_cancel(&r->dialer, &q.resolve); /* idle: harmless */
    assert_int_equal(inl_resolve_start(&old, &q.resolve), INLETS_ENOTSUP);
    assert_int_equal(q.done, 0);
}

static void cancel_twice(struct rig *r, struct query *q)
{
    inl_resolve_cancel(&r->dialer, &q->resolve);
    assert_null(q->resolve.impl);
    inl_resolve_cancel(&r->dialer, &q->resolve);
    /* The caller's object may go now: nobody looks at it any more. */
    memset(q, 0xee, sizeof(*q));
}

static void test_cancel_at_once(void **state)
{
    struct rig *r = *state;
    struct query name, numeric;

    assert_int_equal(query_start(&name, r, "one.test"), 0);
    assert_int_equal(query_start(&numeric, r, "127.0.0.1"), 0);
    cancel_twice(r, &name);
    cancel_twice(r, &numeric);
    RUN_UNTIL(r, r->loop.live == 0);
}

static void test_cancel_while_asking(void **state)
{
    struct rig *r = *state;
    struct query q;

    assert_int_equal(query_start(&q, r, "slow.test"), 0);
    rig_once(r);
    uv_sem_wait(&slow_asked); /* on the thread: too late to cancel */
    cancel_twice(r, &q);
    rig_pass(r, 10);
    assert_true(r->loop.live > 0);
    uv_sem_post(&slow);
    RUN_UNTIL(r, r->loop.live == 0);
}

/* More than the pool has threads: those that wait can be cancelled. */
static void test_cancel_many_while_asking(void **state)
{
    struct rig *r = *state;
    struct query queries[12];

    for (int i = 0; i < 12; i++) {
        assert_int_equal(query_start(&queries[i], r, "slow.test"), 0);
    }
    rig_once(r);
    uv_sem_wait(&slow_asked);
    for (int i = 0; i < 12; i++) {
        cancel_twice(r, &queries[i]);
        uv_sem_post(&slow);
    }
    drain_slow(r);
}

static void test_ask_again_from_done(void **state)
{
    struct rig *r = *state;
    struct query q;

    for (int numeric = 0; numeric < 2; numeric++) {
        assert_int_equal(query_start(&q, r, numeric ? "::1" : "six.test"), 0);
        q.again = 2;
        RUN_UNTIL(r, q.done == 3);
        assert_string_equal(q.texts[0], "::1");
        RUN_UNTIL(r, r->loop.live == 0);
    }
}

static void test_close_loop_while_asking(void **state)
{
    struct rig *r = *state;
    struct query q;

    assert_int_equal(query_start(&q, r, "slow.test"), 0);
    rig_once(r);
    uv_sem_wait(&slow_asked);
    cancel_twice(r, &q);
    inl_loop_close(&r->loop, NULL, NULL);
    rig_pass(r, 20);
    assert_int_equal(r->loop.own_handles, 2);
    uv_sem_post(&slow);
    RUN_UNTIL(r, r->loop.own_handles == 0);
    assert_int_equal(inl_loop_init(&r->loop, &r->uv), 0);
}

static void test_every_allocation_fails_once(void **state)
{
    struct rig *r = *state;
    bool failed = true;
    size_t live = alloc_live;

    for (size_t n = 1; failed; n++) {
        struct query q;

        alloc_fail_nth = n;
        if (query_start(&q, r, "one.six.test") == 0) {
            RUN_UNTIL(r, q.done > 0);
            assert_true(q.err == 0 || q.err == INLETS_ENOMEM);
        }
        RUN_UNTIL(r, r->loop.live == 0);
        failed = alloc_fail_nth == 0;
        alloc_fail_nth = 0;
    }
    assert_int_equal(alloc_live, live);
}

/* --- The order in which the dialer tries --------------------------------- */

/* families: '4' and '6' as the resolver has them; expected: the places of
 * each in the new order. */
static void expect_order(const char *families, const char *expected)
{
    struct addrinfo infos[16] = {{0}};
    struct addrinfo *list[16];
    size_t n = strlen(families);
    char got[17] = "";

    for (size_t i = 0; i < n; i++) {
        infos[i].ai_family = families[i] == '6' ? AF_INET6 : AF_INET;
        list[i] = &infos[i];
    }
    inl_resolve_interleave(list, n);
    for (size_t i = 0; i < n; i++) {
        got[i] = "0123456789abcdef"[list[i] - infos];
    }
    assert_string_equal(got, expected);
}

static void test_families_take_turns(void **state)
{
    (void)state;
    expect_order("", "");
    expect_order("6", "0");
    expect_order("444", "012");
    expect_order("64", "01");
    expect_order("46", "01");
    expect_order("6644", "0213");
    expect_order("6664", "0312");
    expect_order("4666", "0123");
    expect_order("4466", "0213");
    expect_order("66644", "03142");
    expect_order("646464", "012345");
    expect_order("666666444", "061728345");
}

#define NET_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_addresses_of_a_name),
        NET_TEST(test_numeric_gives_itself),
        NET_TEST(test_no_more_than_the_limit),
        NET_TEST(test_unknown_name),
        NET_TEST(test_bad_arguments),
        NET_TEST(test_cancel_at_once),
        NET_TEST(test_cancel_while_asking),
        NET_TEST(test_cancel_many_while_asking),
        NET_TEST(test_ask_again_from_done),
        NET_TEST(test_close_loop_while_asking),
        NET_TEST(test_every_allocation_fails_once),
        cmocka_unit_test(test_families_take_turns),
    };

    resolver_init();
    alloc_install();
    return cmocka_run_group_tests_name("net_resolve", tests, NULL, NULL);
}
