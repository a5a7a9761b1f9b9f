/* test_env.c: the end of a turn, timers, randomness, log and trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/mem.h"
#include "base/slice.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>

static struct inl_env env;
static unsigned wakes;
static size_t random_bytes; /* asked of the system */
static uint8_t random_next;

static void fake_random(struct inl_env *e, void *ptr, size_t n)
{
    uint8_t *p = ptr;

    (void)e;
    random_bytes += n;
    while (n-- > 0) {
        *p++ = ++random_next != 0 ? random_next : ++random_next;
    }
}

static void fake_wake(struct inl_env *e)
{
    (void)e;
    wakes++;
}

static const struct inl_env_ops ops = {fake_random, fake_wake};

static int setup(void **state)
{
    (void)state;
    wakes = 0;
    random_bytes = 0;
    inl_env_init(&env, &ops);
    env.now_ms = 1000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    inl_env_settle(&env);
    inl_env_fini(&env);
    return alloc_live == 0 ? 0 : -1;
}

/* --- later --- */

struct work {
    struct inl_later later;
    struct inl_env *env;
    unsigned runs;
    unsigned again;        /* how often it queues itself anew */
    struct work *other;    /* queued from within run */
    struct work *canceled; /* taken out from within run */
};

static void work_run(struct inl_later *later)
{
    struct work *w = inl_container(later, struct work, later);

    w->runs++;
    if (w->again > 0) {
        w->again--;
        inl_env_later(w->env, &w->later);
        inl_env_later(w->env, &w->later);
    }
    if (w->other != NULL) {
        inl_env_later(w->env, &w->other->later);
    }
    if (w->canceled != NULL) {
        inl_list_remove(&w->canceled->later.node);
    }
    inl_env_settle(w->env); /* ignored: one is on the stack */
}

static void work_init(struct work *w, struct inl_env *e)
{
    w->env = e;
    inl_later_init(&w->later, work_run);
}

static void later_runs_once_at_the_end(void **state)
{
    struct work w = {0};

    (void)state;
    work_init(&w, &env);
    inl_env_later(&env, &w.later);
    inl_env_later(&env, &w.later);
    assert_int_equal(w.runs, 0);
    inl_env_settle(&env);
    assert_int_equal(w.runs, 1);
    inl_env_settle(&env);
    assert_int_equal(w.runs, 1);
    inl_env_later(&env, &w.later);
    inl_env_settle(&env);
    assert_int_equal(w.runs, 2);
}

static void later_from_within_later_runs_in_the_same_turn(void **state)
{
    struct work a = {.again = 5}, b = {0};

    (void)state;
    work_init(&a, &env);
    work_init(&b, &env);
    a.other = &b;
    inl_env_later(&env, &a.later);
    inl_env_settle(&env);
    assert_int_equal(a.runs, 6);
    assert_int_equal(b.runs, 3); /* it was still to run every other time */
}

static void later_can_be_taken_out_by_another(void **state)
{
    struct work a = {0}, b = {0};

    (void)state;
    work_init(&a, &env);
    work_init(&b, &env);
    a.canceled = &b;
    inl_env_later(&env, &a.later);
    inl_env_later(&env, &b.later);
    inl_env_settle(&env);
    assert_int_equal(b.runs, 0);
}

static void free_self(struct inl_later *later)
{
    inl_free(later);
}

static void later_may_free_its_object(void **state)
{
    struct inl_later *later = inl_malloc(sizeof(*later));

    (void)state;
    inl_later_init(later, free_self);
    inl_env_later(&env, later);
    inl_env_settle(&env);
}

static void livelock_waits_for_the_next_turn(void **state)
{
    struct work w = {.again = 2500};

    (void)state;
    work_init(&w, &env);
    inl_env_later(&env, &w.later);
    assert_int_equal(wakes, 1);
    inl_env_settle(&env);
    assert_int_equal(w.runs, 1000);
    assert_int_equal(wakes, 2);
    inl_env_settle(&env);
    assert_int_equal(wakes, 3);
    inl_env_settle(&env);
    assert_int_equal(w.runs, 2501);
    assert_int_equal(wakes, 3);
}

static void wake_comes_once_a_turn(void **state)
{
    struct work a = {.again = 1}, b = {0};

    (void)state;
    work_init(&a, &env);
    work_init(&b, &env);
    inl_env_later(&env, &a.later);
    inl_env_later(&env, &a.later);
    inl_env_later(&env, &b.later);
    assert_int_equal(wakes, 1);
    inl_env_settle(&env); /* a queues itself: the turn is already there */
    assert_int_equal(wakes, 1);
    inl_env_later(&env, &b.later);
    assert_int_equal(wakes, 2);
    inl_env_settle(&env);
}

static void wake_is_optional(void **state)
{
    static const struct inl_env_ops silent = {fake_random, NULL};
    struct work w = {.again = 1500};
    struct inl_env e;

    (void)state;
    inl_env_init(&e, &silent);
    work_init(&w, &e);
    inl_env_later(&e, &w.later);
    inl_env_settle(&e);
    assert_int_equal(w.runs, 1000);
    inl_env_settle(&e);
    assert_int_equal(w.runs, 1501);
    inl_env_fini(&e);
}

/* --- timers --- */

struct alarm {
    struct inl_timer timer;
    unsigned fired;
    uint64_t fired_at_ms;
    struct alarm *off;   /* turned off from within fire */
    uint64_t rearm_ms;   /* set again from within fire */
    struct alarm *moved; /* set to now from within fire */
    unsigned order;
};

static unsigned fire_count;

static void alarm_fire(struct inl_timer *t)
{
    struct alarm *a = inl_container(t, struct alarm, timer);

    assert_int_equal(t->due_ms, 0);
    assert_int_equal(t->index, 0);
    a->fired++;
    a->fired_at_ms = env.now_ms;
    a->order = ++fire_count;
    if (a->off != NULL) {
        inl_timer_off(&env, &a->off->timer);
    }
    if (a->rearm_ms != 0) {
        assert_int_equal(inl_timer_at(&env, t, a->rearm_ms), 0);
    }
    if (a->moved != NULL) {
        assert_int_equal(inl_timer_at(&env, &a->moved->timer, env.now_ms), 0);
    }
}

static void alarm_at(struct alarm *a, uint64_t due_ms)
{
    assert_int_equal(inl_timer_at(&env, &a->timer, due_ms), 0);
}

static void fire_at(uint64_t now_ms)
{
    env.now_ms = now_ms;
    inl_env_fire_timers(&env);
}

static void timer_fires_when_due(void **state)
{
    struct alarm a = {0};

    (void)state;
    inl_timer_init(&a.timer, alarm_fire);
    inl_timer_off(&env, &a.timer);
    assert_true(inl_env_next_due(&env) == UINT64_MAX);
    alarm_at(&a, 1500);
    assert_int_equal(inl_env_next_due(&env), 1500);
    fire_at(1499);
    assert_int_equal(a.fired, 0);
    fire_at(1500);
    assert_int_equal(a.fired, 1);
    assert_true(inl_env_next_due(&env) == UINT64_MAX);
    fire_at(9999);
    assert_int_equal(a.fired, 1);
}

static void past_deadlines_fire_at_the_next_occasion(void **state)
{
    struct alarm a = {0};

    (void)state;
    inl_timer_init(&a.timer, alarm_fire);
    alarm_at(&a, 0);
    assert_true(a.timer.index != 0);
    fire_at(1000);
    assert_int_equal(a.fired, 1);
    alarm_at(&a, 1000);
    fire_at(1000);
    assert_int_equal(a.fired, 2);
}

static void moving_away_is_lazy(void **state)
{
    struct alarm a = {0};

    (void)state;
    inl_timer_init(&a.timer, alarm_fire);
    alarm_at(&a, 1500);
    alarm_at(&a, 1600);
    alarm_at(&a, 1900);
    assert_int_equal(inl_env_next_due(&env), 1500); /* the heap was not told */
    fire_at(1500);
    assert_int_equal(a.fired, 0);
    assert_int_equal(inl_env_next_due(&env), 1900);
    alarm_at(&a, 1700); /* nearer: at once */
    assert_int_equal(inl_env_next_due(&env), 1700);
    fire_at(1700);
    assert_int_equal(a.fired, 1);
    alarm_at(&a, 1800);
    alarm_at(&a, 2000);
    inl_timer_off(&env, &a.timer);
    inl_timer_off(&env, &a.timer);
    fire_at(5000);
    assert_int_equal(a.fired, 1);
}

static void nearer_than_due_but_not_than_armed(void **state)
{
    struct alarm a = {0};

    (void)state;
    inl_timer_init(&a.timer, alarm_fire);
    alarm_at(&a, 1100);
    alarm_at(&a, 1900);
    alarm_at(&a, 1300);
    fire_at(1299);
    assert_int_equal(a.fired, 0);
    fire_at(1300);
    assert_int_equal(a.fired, 1);
}

static void timers_act_on_each_other_while_firing(void **state)
{
    struct alarm a = {0}, b = {0}, c = {0};

    (void)state;
    inl_timer_init(&a.timer, alarm_fire);
    inl_timer_init(&b.timer, alarm_fire);
    inl_timer_init(&c.timer, alarm_fire);
    a.off = &b;   /* due in the same turn, but a comes first */
    a.moved = &c; /* to now: next turn, not this one */
    alarm_at(&a, 1100);
    alarm_at(&b, 1101);
    alarm_at(&c, 9000);
    fire_at(1200);
    assert_int_equal(a.fired, 1);
    assert_int_equal(b.fired, 0);
    assert_int_equal(c.fired, 0);
    assert_int_equal(inl_env_next_due(&env), 1201);
    fire_at(1201);
    assert_int_equal(c.fired, 1);
}

static void rearmed_in_fire_is_no_endless_loop(void **state)
{
    struct alarm a = {.rearm_ms = 1};

    (void)state;
    inl_timer_init(&a.timer, alarm_fire);
    alarm_at(&a, 1000);
    fire_at(1000);
    assert_int_equal(a.fired, 1);
    fire_at(1000);
    assert_int_equal(a.fired, 1);
    fire_at(1001);
    assert_int_equal(a.fired, 2);
    a.off = &a; /* off, then set again by itself */
    fire_at(1002);
    assert_int_equal(a.fired, 3);
    inl_timer_off(&env, &a.timer);
}

static void timer_without_memory_stays_off(void **state)
{
    struct alarm alarms[17];

    (void)state;
    for (size_t i = 0; i < 17; i++) {
        alarms[i] = (struct alarm){0};
        inl_timer_init(&alarms[i].timer, alarm_fire);
        if (i == 0 || i == 16) { /* the heap is made, and doubled */
            alloc_fail_nth = 1;
            assert_int_equal(inl_timer_at(&env, &alarms[i].timer, 2000),
                             INLETS_ENOMEM);
            assert_int_equal(alarms[i].timer.due_ms, 0);
            assert_int_equal(alarms[i].timer.index, 0);
            inl_timer_off(&env, &alarms[i].timer);
        }
        alarm_at(&alarms[i], 2000 + i);
    }
    fire_at(3000);
    for (size_t i = 0; i < 17; i++) {
        assert_int_equal(alarms[i].fired, 1);
    }
}

#define ALARMS 300u

/* Sets, moves and stops at random: each fires exactly at its deadline. */
static void random_timers_fire_in_order(void **state)
{
    static struct alarm alarms[ALARMS];
    uint64_t due[ALARMS] = {0};
    uint32_t seed = 12345;

    (void)state;
    for (size_t i = 0; i < ALARMS; i++) {
        inl_timer_init(&alarms[i].timer, alarm_fire);
    }
    for (size_t step = 0; step < 20000; step++) {
        size_t i;

        seed = seed * 1664525u + 1013904223u;
        i = (seed >> 8) % ALARMS;
        if ((seed >> 28) == 0) {
            inl_timer_off(&env, &alarms[i].timer);
            due[i] = 0;
        } else {
            due[i] = env.now_ms + 1 + (seed >> 12) % 200;
            alarm_at(&alarms[i], due[i]);
        }
        if (step % 4 == 0) {
            fire_at(env.now_ms + 1);
            for (size_t k = 0; k < ALARMS; k++) {
                bool is_due = due[k] == env.now_ms;

                assert_int_equal(alarms[k].fired, is_due);
                alarms[k].fired = 0;
                due[k] = is_due ? 0 : due[k];
                assert_int_equal(alarms[k].timer.due_ms, due[k]);
            }
        }
    }
    for (size_t i = 0; i < ALARMS; i++) {
        inl_timer_off(&env, &alarms[i].timer);
    }
    assert_int_equal(env.nheap, 0);
}

/* --- randomness --- */

static void random_bytes_are_given_once_and_wiped(void **state)
{
    bool seen[256] = {false};
    size_t nzero = 0;

    (void)state;
    random_next = 0;
    for (size_t i = 0; i < 60; i++) {
        uint8_t bytes[4];

        inl_env_random(&env, bytes, sizeof(bytes));
        for (size_t k = 0; k < sizeof(bytes); k++) {
            assert_true(bytes[k] != 0);
            assert_false(seen[bytes[k]] && bytes[k] > 1);
            seen[bytes[k]] = true;
        }
    }
    assert_int_equal(random_bytes, sizeof(env.random_pool));
    assert_int_equal(env.random_left, sizeof(env.random_pool) - 240);
    for (size_t i = 0; i < sizeof(env.random_pool); i++) {
        nzero += env.random_pool[i] == 0;
    }
    assert_int_equal(nzero, 240);
}

static void random_pool_is_refilled(void **state)
{
    uint8_t bytes[300];

    (void)state;
    inl_env_random(&env, bytes, 0);
    assert_int_equal(random_bytes, 0);
    inl_env_random(&env, bytes, sizeof(bytes)); /* large: not from the pool */
    assert_int_equal(random_bytes, 300);
    for (size_t i = 0; i < 10; i++) {
        inl_env_random(&env, bytes, 64);
    }
    assert_int_equal(random_bytes, 300 + 3 * sizeof(env.random_pool));
    assert_true(inl_env_random_u32(&env) != inl_env_random_u32(&env));
}

/* --- log and trace --- */

static char logged[512];

static void take_log(enum inlets_log_level level, const char *event,
                     const struct inlets_log_field *fields, size_t nfields,
                     void *user)
{
    size_t at =
        (size_t)snprintf(logged, sizeof(logged), "%d %s", (int)level, event);

    assert_ptr_equal(user, &env);
    for (size_t i = 0; i < nfields; i++) {
        if (fields[i].text.ptr != NULL) {
            at += (size_t)snprintf(logged + at, sizeof(logged) - at, " %s=%.*s",
                                   fields[i].key, (int)fields[i].text.len,
                                   fields[i].text.ptr);
        } else {
            at += (size_t)snprintf(logged + at, sizeof(logged) - at, " %s=%lld",
                                   fields[i].key, (long long)fields[i].number);
        }
    }
}

static int never(void)
{
    fail_msg("evaluated below the log level");
    return 0;
}

static void log_keeps_to_its_level(void **state)
{
    (void)state;
    inl_log(&env, INLETS_LOG_ERROR, "nobody listens", INL_KN("n", never()));
    env.log = take_log;
    env.log_user = &env;
    inl_log(&env, INLETS_LOG_INFO, "request", INL_KV("method", INL_LIT("GET")),
            INL_KN("status", 200));
    assert_string_equal(logged, "2 request method=GET status=200");
    inl_log(&env, INLETS_LOG_INFO, "dial", INL_KN_IF(false, "status", 0),
            INL_KN_IF(true, "ms", 7));
    assert_string_equal(logged, "2 dial ms=7");
    inl_log(&env, INLETS_LOG_INFO, "request", INL_KV("method", INL_LIT("GET")),
            INL_KN("status", 200));
    inl_log(&env, INLETS_LOG_DEBUG, "detail", INL_KN("n", never()));
    inl_env_log(&env, INLETS_LOG_DEBUG, "detail", NULL, 0);
    assert_string_equal(logged, "2 request method=GET status=200");
    env.log_level = INLETS_LOG_ERROR;
    assert_false(inl_env_logs(&env, INLETS_LOG_WARN));
    assert_true(inl_env_logs(&env, INLETS_LOG_ERROR));
}

static char traced[256];

static void take_trace(struct inl_env *e, const char *line, void *user)
{
    assert_ptr_equal(e, &env);
    assert_ptr_equal(user, traced);
    (void)snprintf(traced, sizeof(traced), "%s", line);
}

static void trace_writes_moves(void **state)
{
    char name[300];

    (void)state;
    inl_env_trace_move(&env, "session", 1, "open", "draining"); /* no one */
    env.trace = take_trace;
    env.trace_user = traced;
    inl_env_trace_move(&env, "session", 1, "open", "draining");
    assert_string_equal(traced, "session 1: open -> draining");
    env.log = take_log;
    env.log_user = &env;
    env.log_level = INLETS_LOG_DEBUG;
    inl_env_trace_move(&env, "lane", UINT64_MAX, "a", "b");
    assert_string_equal(traced, "lane 18446744073709551615: a -> b");
    inl_env_trace_move(&env, "lane", 7, "a", "b");
    assert_string_equal(logged, "3 state machine=lane id=7 from=a to=b");
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    env.log = NULL;
    inl_env_trace_move(&env, name, 7, "a", "b"); /* is cut */
    assert_int_equal(strlen(traced), 159);
}

#define ENV_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        ENV_TEST(later_runs_once_at_the_end),
        ENV_TEST(later_from_within_later_runs_in_the_same_turn),
        ENV_TEST(later_can_be_taken_out_by_another),
        ENV_TEST(later_may_free_its_object),
        ENV_TEST(livelock_waits_for_the_next_turn),
        ENV_TEST(wake_comes_once_a_turn),
        ENV_TEST(wake_is_optional),
        ENV_TEST(timer_fires_when_due),
        ENV_TEST(past_deadlines_fire_at_the_next_occasion),
        ENV_TEST(moving_away_is_lazy),
        ENV_TEST(nearer_than_due_but_not_than_armed),
        ENV_TEST(timers_act_on_each_other_while_firing),
        ENV_TEST(rearmed_in_fire_is_no_endless_loop),
        ENV_TEST(timer_without_memory_stays_off),
        ENV_TEST(random_timers_fire_in_order),
        ENV_TEST(random_bytes_are_given_once_and_wiped),
        ENV_TEST(random_pool_is_refilled),
        ENV_TEST(log_keeps_to_its_level),
        ENV_TEST(trace_writes_moves),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
