/* test_crowd.c: who is welcome, who gives way, and what the log hears of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "relay/crowd.h"
#include "unit/alloc.h"

#define MEMBERS 8u

static struct {
    struct inl_env env;
    struct inl_crowd crowd;
    struct inl_crowd_member members[MEMBERS];
    struct inl_crowd_member *instead;
} rig;

static void no_random(struct inl_env *env, void *ptr, size_t n)
{
    (void)env;
    memset(ptr, 7, n);
}

static const struct inl_env_ops env_ops = {.random = no_random};

static void open_crowd(uint32_t max, uint32_t max_per_address)
{
    memset(&rig, 0, sizeof(rig));
    inl_env_init(&rig.env, &env_ops);
    inl_crowd_init(&rig.crowd, &rig.env, max, max_per_address);
}

static void close_crowd(void)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        inl_crowd_leave(&rig.members[i]);
        inl_crowd_leave(&rig.members[i]);
    }
    assert_int_equal(rig.crowd.count, 0);
    assert_int_equal(rig.crowd.uncounted, 0);
    assert_int_equal(rig.crowd.places.count, 0);
    assert_true(inl_list_empty(&rig.crowd.members));
    assert_true(inl_list_empty(&rig.crowd.idle));
    inl_crowd_fini(&rig.crowd);
    inl_env_fini(&rig.env);
    assert_int_equal(alloc_live, 0);
}

static enum inl_crowd_verdict join(size_t i, const char *ip)
{
    return inl_crowd_join(&rig.crowd, &rig.members[i], inl_str(ip),
                          &rig.instead);
}

static void without_limits_all_are_welcome(void **state)
{
    (void)state;
    open_crowd(0, 0);
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_int_equal(join(i, "192.0.2.1"), INL_CROWD_WELCOME);
        assert_null(rig.instead);
    }
    assert_int_equal(rig.crowd.count, MEMBERS);
    close_crowd();
}

static void one_too_many_is_refused(void **state)
{
    (void)state;
    open_crowd(2, 0);
    assert_int_equal(join(0, "192.0.2.1"), INL_CROWD_WELCOME);
    assert_int_equal(join(1, "192.0.2.2"), INL_CROWD_WELCOME);
    assert_int_equal(join(2, "192.0.2.3"), INL_CROWD_FULL);
    assert_null(rig.instead);
    assert_int_equal(rig.crowd.count, 2);
    assert_int_equal(rig.crowd.uncounted, 1);
    inl_crowd_leave(&rig.members[2]);
    assert_int_equal(rig.crowd.uncounted, 0);
    assert_int_equal(join(3, "192.0.2.3"), INL_CROWD_FULL);
    inl_crowd_leave(&rig.members[0]);
    assert_int_equal(join(4, "192.0.2.3"), INL_CROWD_WELCOME);
    close_crowd();
}

static void the_longest_idle_gives_way(void **state)
{
    (void)state;
    open_crowd(3, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(join(i, "192.0.2.1"), INL_CROWD_WELCOME);
        inl_crowd_idle(&rig.members[i], true);
    }
    inl_crowd_idle(&rig.members[0], false);
    inl_crowd_idle(&rig.members[0], true); /* 1, 2, 0 now */
    assert_int_equal(join(3, "192.0.2.2"), INL_CROWD_WELCOME);
    assert_ptr_equal(rig.instead, &rig.members[1]);
    inl_crowd_idle(&rig.members[1], true); /* it has given way: once */
    inl_crowd_idle(&rig.members[2], false);
    assert_int_equal(join(4, "192.0.2.2"), INL_CROWD_WELCOME);
    assert_ptr_equal(rig.instead, &rig.members[0]);
    assert_int_equal(join(5, "192.0.2.2"), INL_CROWD_FULL);
    assert_int_equal(rig.crowd.count, 3);
    assert_int_equal(rig.crowd.uncounted, 3);
    close_crowd();
}

static void an_address_has_its_number(void **state)
{
    static const struct {
        const char *ip;
        enum inl_crowd_verdict verdict;
    } rows[] = {
        {"192.0.2.1", INL_CROWD_WELCOME},
        {"192.0.2.1", INL_CROWD_WELCOME},
        {"192.0.2.1", INL_CROWD_ADDRESS},
        {"::ffff:192.0.2.1", INL_CROWD_ADDRESS}, /* the same one */
        {"192.0.2.2", INL_CROWD_WELCOME},
        {"", INL_CROWD_WELCOME}, /* outside of the limit */
        {"", INL_CROWD_WELCOME},
        {"", INL_CROWD_WELCOME},
    };

    (void)state;
    open_crowd(0, 2);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(join(i, rows[i].ip), rows[i].verdict);
    }
    inl_crowd_leave(&rig.members[2]); /* it never counted */
    assert_int_equal(join(2, "192.0.2.1"), INL_CROWD_ADDRESS);
    inl_crowd_leave(&rig.members[0]);
    inl_crowd_leave(&rig.members[2]);
    assert_int_equal(join(2, "192.0.2.1"), INL_CROWD_WELCOME);
    close_crowd();
}

static void an_address_of_ipv6_is_a_network(void **state)
{
    (void)state;
    open_crowd(0, 1);
    assert_int_equal(join(0, "2001:db8:0:1::1"), INL_CROWD_WELCOME);
    assert_int_equal(join(1, "2001:db8:0:1:ffff::2"), INL_CROWD_ADDRESS);
    assert_int_equal(join(2, "2001:db8:0:2::1"), INL_CROWD_WELCOME);
    assert_int_equal(rig.crowd.places.count, 2);
    close_crowd();
}

/* Who has too many already takes nobody's place. */
static void the_address_is_looked_at_first(void **state)
{
    (void)state;
    open_crowd(2, 1);
    assert_int_equal(join(0, "192.0.2.1"), INL_CROWD_WELCOME);
    assert_int_equal(join(1, "192.0.2.2"), INL_CROWD_WELCOME);
    inl_crowd_idle(&rig.members[1], true);
    assert_int_equal(join(2, "192.0.2.1"), INL_CROWD_ADDRESS);
    assert_null(rig.instead);
    assert_true(rig.members[1].counts);
    /* and who is refused since all is full keeps no place of its address */
    inl_crowd_idle(&rig.members[1], false);
    assert_int_equal(join(3, "192.0.2.3"), INL_CROWD_FULL);
    assert_int_equal(rig.crowd.places.count, 2);
    close_crowd();
}

static void the_log_hears_once_a_second(void **state)
{
    uint32_t unsaid = 99;

    (void)state;
    open_crowd(1, 0);
    rig.env.now_ms = 5000;
    assert_true(inl_crowd_should_say(&rig.crowd, &unsaid));
    assert_int_equal(unsaid, 0);
    rig.env.now_ms += 999;
    assert_false(inl_crowd_should_say(&rig.crowd, &unsaid));
    assert_false(inl_crowd_should_say(&rig.crowd, &unsaid));
    rig.env.now_ms++;
    assert_true(inl_crowd_should_say(&rig.crowd, &unsaid));
    assert_int_equal(unsaid, 2);
    close_crowd();
}

static void without_memory_nobody_gets_in_uncounted(void **state)
{
    (void)state;
    open_crowd(0, 1);
    for (size_t nth = 1; nth <= 2; nth++) {
        alloc_fail_nth = nth;
        assert_int_equal(join(0, "192.0.2.1"), INL_CROWD_ADDRESS);
        inl_crowd_leave(&rig.members[0]);
        assert_int_equal(rig.crowd.places.count, 0);
    }
    assert_int_equal(join(1, "192.0.2.1"), INL_CROWD_WELCOME);
    close_crowd();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits_all_are_welcome),
        cmocka_unit_test(one_too_many_is_refused),
        cmocka_unit_test(the_longest_idle_gives_way),
        cmocka_unit_test(an_address_has_its_number),
        cmocka_unit_test(an_address_of_ipv6_is_a_network),
        cmocka_unit_test(the_address_is_looked_at_first),
        cmocka_unit_test(the_log_hears_once_a_second),
        cmocka_unit_test(without_memory_nobody_gets_in_uncounted),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
