/* test_turns.c: addresses take turns, a turn of the loop serves so many, and
 * who has the most loses one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "relay/turns.h"
#include "unit/alloc.h"

#define TURNS 200u

static struct {
    struct inl_env env;
    struct inl_turns turns;
    struct inl_turn all[TURNS];
    size_t served[TURNS], nserved;
    bool takes_long, leaves, asks_again;
} rig;

static void no_random(struct inl_env *env, void *ptr, size_t n)
{
    (void)env;
    memset(ptr, 7, n);
}

static const struct inl_env_ops env_ops = {.random = no_random};

static bool serve(struct inl_turn *turn)
{
    assert_true(rig.nserved < TURNS);
    rig.served[rig.nserved++] = (size_t)(turn - rig.all);
    if (rig.leaves) {
        inl_turns_leave(&rig.turns, turn);
    }
    if (rig.asks_again) {
        inl_turns_ask(&rig.turns, turn);
    }
    return rig.takes_long;
}

static void open_turns(void)
{
    memset(&rig, 0, sizeof(rig));
    inl_env_init(&rig.env, &env_ops);
    inl_turns_init(&rig.turns, &rig.env, serve);
}

static void close_turns(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        inl_turns_leave(&rig.turns, &rig.all[i]);
        inl_turns_leave(&rig.turns, &rig.all[i]);
    }
    assert_int_equal(rig.turns.waiting, 0);
    assert_null(inl_turns_surplus(&rig.turns));
    inl_env_settle(&rig.env);
    assert_int_equal(inl_env_next_due(&rig.env), UINT64_MAX);
    inl_env_fini(&rig.env);
    assert_int_equal(alloc_live, 0);
}

static void join(size_t i, const char *ip)
{
    inl_turns_join(&rig.turns, &rig.all[i], inl_str(ip));
}

static void ask(size_t i)
{
    inl_turns_ask(&rig.turns, &rig.all[i]);
}

/* Returns how many were served in it. */
static size_t turn_of_the_loop(void)
{
    size_t before = rig.nserved;

    rig.env.now_ms++;
    inl_env_fire_timers(&rig.env);
    inl_env_settle(&rig.env);
    return rig.nserved - before;
}

static void addresses_take_turns(void **state)
{
    (void)state;
    open_turns();
    rig.takes_long = true;
    for (size_t i = 0; i < 100; i++) {
        join(i, "192.0.2.1");
        ask(i);
        ask(i);
    }
    join(100, "192.0.2.2");
    ask(100);
    join(101, "2001:db8::1");
    ask(101);
    inl_env_settle(&rig.env);
    assert_int_equal(rig.nserved, 0);
    assert_int_equal(turn_of_the_loop(), 4);
    assert_int_equal(rig.served[0] + rig.served[1] + rig.served[2], 201);
    assert_true(rig.served[3] == 0 || rig.served[3] == 1);
    while (turn_of_the_loop() > 0) {
    }
    assert_int_equal(rig.nserved, 102);
    assert_int_equal(rig.served[101], 99);
    close_turns(102);
}

static void what_is_short_is_not_put_off_for_long(void **state)
{
    (void)state;
    open_turns();
    rig.leaves = true;
    for (size_t i = 0; i < 100; i++) {
        join(i, "192.0.2.1");
        ask(i);
    }
    inl_env_settle(&rig.env);
    assert_int_equal(turn_of_the_loop(), 64);
    assert_int_equal(turn_of_the_loop(), 36);
    assert_int_equal(turn_of_the_loop(), 0);
    close_turns(100);
}

static void who_asks_again_waits_again(void **state)
{
    (void)state;
    open_turns();
    rig.asks_again = true;
    rig.takes_long = true;
    join(0, "192.0.2.1");
    ask(0);
    inl_env_settle(&rig.env);
    assert_int_equal(turn_of_the_loop(), 4);
    rig.asks_again = false;
    assert_int_equal(turn_of_the_loop(), 1);
    close_turns(1);
}

static void who_has_the_most_loses_the_oldest(void **state)
{
    (void)state;
    open_turns();
    assert_null(inl_turns_surplus(&rig.turns));
    join(0, "192.0.2.9");
    join(1, "2001:db8:0:1::1");
    join(2, "2001:db8:0:1::ffff");
    assert_ptr_equal(inl_turns_surplus(&rig.turns), &rig.all[1]);
    join(3, "192.0.2.9");
    join(4, "192.0.2.9");
    assert_ptr_equal(inl_turns_surplus(&rig.turns), &rig.all[0]);
    inl_turns_leave(&rig.turns, &rig.all[0]);
    inl_turns_leave(&rig.turns, &rig.all[3]);
    assert_ptr_equal(inl_turns_surplus(&rig.turns), &rig.all[1]);
    join(5, "");
    join(6, "");
    join(7, "no address");
    assert_ptr_equal(inl_turns_surplus(&rig.turns), &rig.all[5]);
    close_turns(8);
}

static void without_memory_they_are_served_at_once(void **state)
{
    (void)state;
    open_turns();
    join(0, "192.0.2.1");
    ask(0);
    alloc_fail_nth = 1;
    inl_env_settle(&rig.env);
    assert_int_equal(rig.nserved, 1);
    close_turns(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_take_turns),
        cmocka_unit_test(what_is_short_is_not_put_off_for_long),
        cmocka_unit_test(who_asks_again_waits_again),
        cmocka_unit_test(who_has_the_most_loses_the_oldest),
        cmocka_unit_test(without_memory_they_are_served_at_once),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
