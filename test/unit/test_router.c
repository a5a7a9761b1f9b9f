/* test_router.c: which target gets a request: health, busyness, turns,
 * ejection, stickiness. Fake targets, fake clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "relay/router.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

#define TARGETS 10u

struct fake {
    struct inl_target target;
    struct inl_service service;
    enum inl_health health;
    unsigned busy;
};

struct rig {
    struct inl_env env;
    struct inl_router router;
    struct inl_endpoint endpoint;
    struct fake fakes[TARGETS];
    size_t nfakes;
    unsigned ejected, back; /* lines of the log */
    char endpoint_logged[64];
};

static uint64_t random_state;

static void fake_random(struct inl_env *env, void *ptr, size_t n)
{
    uint8_t *p = ptr;

    (void)env;
    for (size_t i = 0; i < n; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963u;
        p[i] = (uint8_t)(random_state >> 56);
    }
}

static const struct inl_env_ops env_ops = {.random = fake_random};

static void on_log(enum inlets_log_level level, const char *event,
                   const struct inlets_log_field *fields, size_t nfields,
                   void *user)
{
    struct rig *rig = user;
    bool ejected = strcmp(event, "target ejected") == 0;

    assert_true(nfields > 0);
    assert_int_equal(level, ejected ? INLETS_LOG_WARN : INLETS_LOG_INFO);
    rig->ejected += ejected;
    rig->back += strcmp(event, "target back") == 0;
    (void)snprintf(rig->endpoint_logged, sizeof(rig->endpoint_logged), "%.*s",
                   (int)fields[0].text.len, fields[0].text.ptr);
}

static enum inl_health health_of(struct inl_target *t)
{
    return inl_container(t, struct fake, target)->health;
}

static unsigned busy_of(struct inl_target *t)
{
    return inl_container(t, struct fake, target)->busy;
}

static void rig_add(struct rig *rig, unsigned i)
{
    struct fake *f = &rig->fakes[i];

    inl_target_init(&f->target, &f->service);
    f->target.health = health_of;
    f->target.busy = busy_of;
    assert_int_equal(inl_router_add(&rig->router, &rig->endpoint, &f->target),
                     0);
}

static void rig_open_at(struct rig *rig, unsigned n, const char *endpoint)
{
    *rig = (struct rig){.nfakes = n};
    random_state = 1;
    inl_env_init(&rig->env, &env_ops);
    rig->env.now_ms = 1000000;
    rig->env.log = on_log;
    rig->env.log_user = rig;
    rig->env.log_level = INLETS_LOG_INFO;
    inl_router_init(&rig->router, &rig->env);
    assert_int_equal(inl_endpoint_parse(inl_str(endpoint), &rig->endpoint), 0);
    for (unsigned i = 0; i < n; i++) {
        rig_add(rig, i);
    }
}

static void rig_open(struct rig *rig, unsigned n)
{
    rig_open_at(rig, n, "app.test/api");
}

static void rig_close(struct rig *rig)
{
    for (unsigned i = 0; i < rig->nfakes; i++) {
        inl_router_remove(&rig->router, &rig->fakes[i].target);
    }
    inl_router_fini(&rig->router);
    inl_env_fini(&rig->env);
    assert_int_equal(alloc_live, 0);
}

static struct fake *picked(struct rig *rig, const struct inl_pick *pick)
{
    struct inl_target *t = NULL;
    int err =
        inl_router_pick(&rig->router,
                        rig->endpoint.host[0] == '\0' ? INL_LIT("any.test")
                                                      : INL_LIT("app.test"),
                        INL_LIT("/api/x"), pick, &t);

    return err != 0 ? NULL : inl_container(t, struct fake, target);
}

/* The number of the target; -1: none. */
static int take(struct rig *rig)
{
    const struct inl_pick any = {.ntried = 0};
    struct fake *f = picked(rig, &any);

    return f == NULL ? -1 : (int)(f - rig->fakes);
}

/* A whole request at target i. */
static void ask(struct rig *rig, unsigned i, enum inl_outcome outcome)
{
    struct inl_target *t = &rig->fakes[i].target;

    inl_router_outcome(&rig->router, t,
                       inl_outlier_begin(&t->outlier, rig->env.now_ms),
                       outcome);
}

static void flunk(struct rig *rig, unsigned i, unsigned times)
{
    while (times-- > 0) {
        ask(rig, i, INL_OUTCOME_BAD);
    }
}

/* ---- health, busyness, turns ------------------------------------------ */

static void equals_take_turns(void **state)
{
    struct rig rig;

    (void)state;
    rig_open(&rig, 3);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(take(&rig), i % 3);
    }
    rig_close(&rig);
}

static void the_least_busy_first(void **state)
{
    struct rig rig;

    (void)state;
    rig_open(&rig, 3);
    rig.fakes[0].busy = 2;
    rig.fakes[1].busy = 1;
    rig.fakes[2].busy = 2;
    assert_int_equal(take(&rig), 1);
    assert_int_equal(take(&rig), 1);
    rig.fakes[1].busy = 2; /* now they take turns */
    assert_int_equal(take(&rig), 0);
    assert_int_equal(take(&rig), 2);
    assert_int_equal(take(&rig), 1);
    rig.fakes[0].target.busy = NULL; /* counts as idle */
    assert_int_equal(take(&rig), 0);
    assert_int_equal(take(&rig), 0);
    rig_close(&rig);
}

static void health_before_busyness(void **state)
{
    struct rig rig;

    (void)state;
    rig_open(&rig, 4);
    rig.fakes[0].health = INL_HEALTH_OUT;
    rig.fakes[1].health = INL_HEALTH_LOST;
    rig.fakes[2].health = INL_HEALTH_SUSPECT;
    rig.fakes[3].busy = 1000;
    assert_int_equal(take(&rig), 3);
    rig.fakes[3].health = INL_HEALTH_OUT;
    assert_int_equal(take(&rig), 2);
    rig.fakes[2].health = INL_HEALTH_OUT;
    assert_int_equal(take(&rig), 1);
    rig.fakes[1].health = INL_HEALTH_OUT;
    assert_int_equal(take(&rig), -1);
    rig_close(&rig);
}

static void what_was_tried_is_not_taken(void **state)
{
    struct rig rig;
    uint64_t tried[3];
    struct inl_pick pick = {.tried = tried};
    struct fake *f;

    (void)state;
    rig_open(&rig, 3);
    for (pick.ntried = 0; pick.ntried < 3;) {
        f = picked(&rig, &pick);
        assert_non_null(f);
        for (size_t i = 0; i < pick.ntried; i++) {
            assert_true(tried[i] != f->target.serial);
        }
        tried[pick.ntried++] = f->target.serial;
    }
    assert_null(picked(&rig, &pick));
    /* the same client, back: it is another target */
    inl_router_remove(&rig.router, &rig.fakes[1].target);
    rig_add(&rig, 1);
    assert_ptr_equal(picked(&rig, &pick), &rig.fakes[1]);
    rig_close(&rig);
}

static void a_lost_one_is_waited_for_once(void **state)
{
    struct rig rig;
    const struct inl_pick again = {.not_lost = true};

    (void)state;
    rig_open(&rig, 2);
    rig.fakes[0].health = rig.fakes[1].health = INL_HEALTH_LOST;
    assert_true(take(&rig) >= 0);
    assert_null(picked(&rig, &again));
    rig.fakes[1].health = INL_HEALTH_SUSPECT;
    assert_ptr_equal(picked(&rig, &again), &rig.fakes[1]);
    rig_close(&rig);
}

static void has_good_means_well(void **state)
{
    struct rig rig;
    uint64_t tried[1];
    const struct inl_pick pick = {.tried = tried, .ntried = 1};
    const struct inlets_slice host = INL_LIT("app.test"),
                              path = INL_LIT("/api");

    (void)state;
    rig_open(&rig, 2);
    tried[0] = rig.fakes[0].target.serial;
    assert_true(inl_router_has_good(&rig.router, host, path, &pick));
    rig.fakes[1].health = INL_HEALTH_SUSPECT;
    assert_false(inl_router_has_good(&rig.router, host, path, &pick));
    rig.fakes[1].health = INL_HEALTH_GOOD;
    flunk(&rig, 1, 3);
    assert_false(inl_router_has_good(&rig.router, host, path, &pick));
    assert_false(inl_router_has_good(&rig.router, INL_LIT("x"), path, &pick));
    rig_close(&rig);
}

/* ---- ejection --------------------------------------------------------- */

static void three_failures_in_a_row(void **state)
{
    struct rig rig;

    (void)state;
    rig_open(&rig, 2);
    rig.fakes[1].busy = 50;
    for (unsigned i = 0; i < 10; i++) { /* never three in a row */
        flunk(&rig, 0, 2);
        ask(&rig, 0, INL_OUTCOME_GOOD);
    }
    assert_int_equal(take(&rig), 0);
    flunk(&rig, 0, 2);
    ask(&rig, 0, INL_OUTCOME_NONE); /* says nothing */
    assert_int_equal(take(&rig), 0);
    flunk(&rig, 0, 1);
    assert_int_equal(take(&rig), 1); /* busy, but it works */
    assert_int_equal(rig.ejected, 1);
    assert_string_equal(rig.endpoint_logged, "app.test/api");
    flunk(&rig, 0, 5); /* what was under way: no news */
    assert_int_equal(rig.ejected, 1);
    rig_close(&rig);
}

static void the_probe_decides(void **state)
{
    struct rig rig;
    struct inl_target *t = &rig.fakes[0].target;
    struct inl_trial probe;

    (void)state;
    rig_open(&rig, 2);
    rig.fakes[1].busy = 50;
    flunk(&rig, 0, 3);
    rig.env.now_ms += INL_OUTLIER_MIN_MS - 1;
    assert_int_equal(take(&rig), 1);
    rig.env.now_ms++;
    assert_int_equal(take(&rig), 0);
    probe = inl_outlier_begin(&t->outlier, rig.env.now_ms);
    assert_int_equal(take(&rig), 1); /* one at a time */
    inl_router_outcome(&rig.router, t, probe, INL_OUTCOME_NONE);
    assert_int_equal(take(&rig), 0); /* the visitor left: another one */
    probe = inl_outlier_begin(&t->outlier, rig.env.now_ms);
    inl_router_outcome(&rig.router, t, probe, INL_OUTCOME_BAD);
    assert_int_equal(take(&rig), 1);
    assert_int_equal(rig.ejected, 1); /* said once */
    rig.env.now_ms += 2 * INL_OUTLIER_MIN_MS;
    ask(&rig, 0, INL_OUTCOME_GOOD);
    assert_int_equal(take(&rig), 0);
    assert_int_equal(rig.back, 1);
    assert_string_equal(rig.endpoint_logged, "app.test/api");
    rig_close(&rig);
}

static uint64_t time_out(struct rig *rig, unsigned i)
{
    const struct inl_outlier *o = &rig->fakes[i].target.outlier;
    uint64_t from = rig->env.now_ms;

    while (inl_outlier_is_out(o, rig->env.now_ms)) {
        rig->env.now_ms += 100;
    }
    return rig->env.now_ms - from;
}

static void each_time_twice_as_long(void **state)
{
    static const uint64_t out_ms[] = {1000,  2000,  4000, 8000,
                                      16000, 30000, 30000};
    struct rig rig;

    (void)state;
    rig_open(&rig, 2);
    flunk(&rig, 0, 3);
    for (size_t i = 0; i < sizeof(out_ms) / sizeof(out_ms[0]); i++) {
        assert_int_equal(time_out(&rig, 0), out_ms[i]);
        flunk(&rig, 0, 1); /* the probe */
    }
    assert_int_equal(time_out(&rig, 0), 30000);
    ask(&rig, 0, INL_OUTCOME_GOOD);
    rig.env.now_ms += INL_OUTLIER_MAX_MS - 1;
    flunk(&rig, 0, 3); /* soon again: the same trouble */
    assert_int_equal(time_out(&rig, 0), 30000);
    ask(&rig, 0, INL_OUTCOME_GOOD);
    rig.env.now_ms += INL_OUTLIER_MAX_MS;
    flunk(&rig, 0, 3);
    assert_int_equal(time_out(&rig, 0), 1000);
    rig_close(&rig);
}

static void old_requests_say_nothing(void **state)
{
    struct rig rig;
    struct inl_target *t = &rig.fakes[0].target;
    struct inl_trial old, late;

    (void)state;
    rig_open(&rig, 2);
    old = inl_outlier_begin(&t->outlier, rig.env.now_ms);
    flunk(&rig, 0, 3);
    late = inl_outlier_begin(&t->outlier, rig.env.now_ms);
    inl_router_outcome(&rig.router, t, old, INL_OUTCOME_GOOD);
    assert_true(inl_outlier_is_out(&t->outlier, rig.env.now_ms));
    /* begun after the ejection, because there was nobody else */
    inl_router_outcome(&rig.router, t, late, INL_OUTCOME_GOOD);
    assert_false(inl_outlier_is_out(&t->outlier, rig.env.now_ms));
    rig_close(&rig);
}

static void the_last_one_stays(void **state)
{
    struct rig rig;

    (void)state;
    rig_open(&rig, 2);
    flunk(&rig, 0, 3);
    flunk(&rig, 1, 3);
    rig.fakes[0].busy = 1; /* as if none were */
    assert_int_equal(take(&rig), 1);
    rig.fakes[1].health = INL_HEALTH_OUT;
    assert_int_equal(take(&rig), 0);
    rig_close(&rig);
    rig_open(&rig, 1); /* alone: it is not even counted */
    flunk(&rig, 0, 100);
    assert_false(
        inl_outlier_is_out(&rig.fakes[0].target.outlier, rig.env.now_ms));
    assert_int_equal(rig.ejected, 0);
    assert_int_equal(take(&rig), 0);
    rig_close(&rig);
}

/* Even when it is the busiest: what may be repeated goes there first. */
static void a_due_probe_is_not_starved(void **state)
{
    const struct inl_pick repeatable = {.may_probe = true};
    struct rig rig;

    (void)state;
    rig_open(&rig, 2);
    rig.fakes[0].busy = 50;
    assert_ptr_equal(picked(&rig, &repeatable), &rig.fakes[1]);
    flunk(&rig, 0, 3);
    rig.env.now_ms += INL_OUTLIER_MIN_MS;
    assert_int_equal(take(&rig), 1);
    assert_ptr_equal(picked(&rig, &repeatable), &rig.fakes[0]);
    rig_close(&rig);
}

static void endpoints_in_the_log(void **state)
{
    static const char *const texts[] = {"", "/api", "app.test", "*.test/api"};
    static const char *const shown[] = {"*", "/api", "app.test", "*.test/api"};
    struct rig rig;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        rig_open_at(&rig, 2, texts[i]);
        flunk(&rig, 0, 3);
        assert_string_equal(rig.endpoint_logged, shown[i]);
        rig_close(&rig);
    }
}

/* ---- by address ------------------------------------------------------- */

#define PEERS 1000u

static int by_address(struct rig *rig, unsigned peer)
{
    char text[32];
    struct inl_pick pick = {.ntried = 0};
    struct fake *f;

    (void)snprintf(text, sizeof(text), "10.1.%u.%u", peer / 250, peer % 250);
    pick.peer = inl_str(text);
    f = picked(rig, &pick);
    return f == NULL ? -1 : (int)(f - rig->fakes);
}

/* Who comes or goes moves only its own share, and each has one. */
static void rendezvous(void **state)
{
    struct rig rig;
    int before[PEERS];
    unsigned share[TARGETS] = {0};
    uint64_t key;

    (void)state;
    rig_open(&rig, TARGETS);
    rig.router.stick = INL_STICK_ADDRESS;
    for (unsigned i = 0; i < PEERS; i++) {
        before[i] = by_address(&rig, i);
        assert_int_equal(by_address(&rig, i), before[i]);
        share[before[i]]++;
    }
    for (unsigned i = 0; i < TARGETS; i++) {
        assert_in_range(share[i], 60, 140);
    }
    key = rig.fakes[3].target.key;
    inl_router_remove(&rig.router, &rig.fakes[3].target);
    for (unsigned i = 0; i < PEERS; i++) {
        int now = by_address(&rig, i);

        assert_int_not_equal(now, 3);
        assert_true(before[i] == 3 || now == before[i]);
    }
    inl_target_init(&rig.fakes[3].target, &rig.fakes[3].service);
    rig.fakes[3].target.key = key; /* the same client, back */
    assert_int_equal(
        inl_router_add(&rig.router, &rig.endpoint, &rig.fakes[3].target), 0);
    for (unsigned i = 0; i < PEERS; i++) {
        assert_int_equal(by_address(&rig, i), before[i]);
    }
    rig_close(&rig);
}

static void unfit_by_address(void **state)
{
    struct rig rig;
    const struct inl_pick nobody = {.ntried = 0};
    int first, next;

    (void)state;
    rig_open(&rig, 4);
    rig.router.stick = INL_STICK_ADDRESS;
    first = by_address(&rig, 7);
    rig.fakes[first].busy = 1000; /* does not matter */
    assert_int_equal(by_address(&rig, 7), first);
    rig.fakes[first].health = INL_HEALTH_SUSPECT;
    next = by_address(&rig, 7);
    assert_int_not_equal(next, first);
    flunk(&rig, (unsigned)next, 3);
    assert_int_not_equal(by_address(&rig, 7), next);
    assert_int_not_equal(by_address(&rig, 7), first);
    rig.fakes[first].health = INL_HEALTH_GOOD;
    assert_int_equal(by_address(&rig, 7), first);
    assert_int_not_equal(picked(&rig, &nobody) - rig.fakes, first); /* busy */
    rig_close(&rig);
}

/* ---- by cookie -------------------------------------------------------- */

static void the_cookie_names_it(void **state)
{
    struct rig rig;
    struct inl_pick pick = {.may_probe = true};

    (void)state;
    rig_open(&rig, 3);
    rig.router.stick = INL_STICK_COOKIE;
    assert_int_equal(take(&rig), 0); /* none: as without */
    assert_int_equal(take(&rig), 1);
    pick.key = rig.fakes[2].target.key;
    assert_true(pick.key != 0 && pick.key != rig.fakes[1].target.key);
    rig.fakes[2].busy = 1000;
    for (unsigned i = 0; i < 5; i++) {
        assert_ptr_equal(picked(&rig, &pick), &rig.fakes[2]);
    }
    rig.fakes[2].health = INL_HEALTH_LOST;
    assert_ptr_not_equal(picked(&rig, &pick), &rig.fakes[2]);
    rig.fakes[2].health = INL_HEALTH_GOOD;
    flunk(&rig, 2, 3);
    assert_ptr_not_equal(picked(&rig, &pick), &rig.fakes[2]);
    pick.key = rig.fakes[0].target.key;
    rig.env.now_ms += INL_OUTLIER_MIN_MS; /* a probe is due, at another's */
    assert_ptr_equal(picked(&rig, &pick), &rig.fakes[0]);
    pick.key = 12345; /* unknown */
    rig.fakes[0].busy = 1;
    assert_ptr_equal(picked(&rig, &pick), &rig.fakes[1]);
    rig_close(&rig);
}

#define K1 "inlets_stick=00000000000000a1"
#define K2 "inlets_stick=00000000000000b2"

/* rest NULL: left as it is. */
static const struct {
    const char *value, *rest;
    uint64_t key;
} cookies[] = {
    {K1, "", 0xa1},
    {"a=b; " K1, "a=b", 0xa1},
    {K1 "; a=b", "a=b", 0xa1},
    {"a=b; " K1 "; c=d", "a=b; c=d", 0xa1},
    {"a=b;" K1 ";c=d", "a=b;c=d", 0xa1},
    {K1 "; " K2, "", 0xa1},
    {" \t" K1 " ; a=b ", "a=b", 0xa1},
    {"inlets_stick = 00000000000000a1; x=1", "x=1", 0xa1},
    /* ours, but not a key: gone, and it names nothing */
    {"inlets_stick=", "", 0},
    {"inlets_stick=00000000000000A1", "", 0},
    {"inlets_stick=0000000000000000", "", 0},
    {"inlets_stick=a1", "", 0},
    {"inlets_stick=00000000000000a1f; a=b", "a=b", 0},
    {"inlets_stick=\"00000000000000a1\"; a=b", "a=b", 0},
    {"inlets_stick=zzzzzzzzzzzzzzzz; " K2, "", 0xb2},
    /* odd, but clear: the rest stays as it is */
    {"; ;" K1 ";;x;=y; a=b;", "; ;;x;=y; a=b;", 0xa1},
    {"a=\"b\"; " K1, "a=\"b\"", 0xa1},
    {"a=b=c; " K1, "a=b=c", 0xa1},
    /* not ours */
    {"", NULL, 0},
    {";", NULL, 0},
    {"a=b; c=d", NULL, 0},
    {"inlets_stick", NULL, 0},
    {"xinlets_stick=00000000000000a1", NULL, 0},
    {"Inlets_Stick=00000000000000a1", NULL, 0},
    {"a=inlets_stick=00000000000000a1", NULL, 0},
    {"inlets_stick2=00000000000000a1", NULL, 0},
    /* malformed: who knows where a cookie ends? */
    {"a=\"b; " K1, NULL, 0},
    {"a=\"b; " K1 "; c=d\"", NULL, 0},
    {K1 "; a=\"b", NULL, 0},
};

static void cookies_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cookies) / sizeof(cookies[0]); i++) {
        struct inlets_slice value = inl_str(cookies[i].value), rest;
        char buf[128];
        uint64_t key = 0;
        bool cut = inl_stick_cut(value, buf, &rest, &key);

        if (cut != (cookies[i].rest != NULL) ||
            (cut && (!inl_slice_eq(rest, inl_str(cookies[i].rest)) ||
                     key != cookies[i].key))) {
            fail_msg("\"%s\": cut %d, rest \"%.*s\", key %llx",
                     cookies[i].value, cut, cut ? (int)rest.len : 0, rest.ptr,
                     (unsigned long long)key);
        }
    }
}

static void heads_are_stripped(void **state)
{
    const struct inlets_field in[] = {
        {INL_LIT("Accept"), INL_LIT("*/*")},
        {INL_LIT("cookie"), INL_LIT(K1)},
        {INL_LIT("COOKIE"), INL_LIT("a=b; " K2)},
        {INL_LIT("X-Cookie"), INL_LIT(K2)},
        {INL_LIT("Cookie"), INL_LIT("c=\"d; " K2)},
    };
    const struct inlets_head head = {.fields = in, .nfields = 5};
    struct inlets_field out[5];
    struct inlets_head got;
    char buf[256];
    uint64_t key;

    (void)state;
    assert_int_equal(inl_stick_bytes(&head), in[1].value.len + in[2].value.len);
    inl_stick_strip(&head, out, buf, &got, &key);
    assert_true(key == 0xa1);
    assert_int_equal(got.nfields, 4);
    assert_true(inl_slice_eq(got.fields[0].name, INL_LIT("Accept")));
    assert_true(inl_slice_eq(got.fields[1].value, INL_LIT("a=b")));
    assert_true(inl_slice_eq(got.fields[2].value, INL_LIT(K2)));
    assert_true(inl_slice_eq(got.fields[3].value, in[4].value));
}

static void a_cookie_comes_back(void **state)
{
    char text[INL_STICK_SET_SIZE], buf[INL_STICK_SET_SIZE];
    struct inlets_slice set, rest;
    uint64_t key = 0;

    (void)state;
    set = inl_stick_set_cookie(0xfedcba9876543210u, text);
    assert_true(inl_slice_eq(set, INL_LIT("inlets_stick=fedcba9876543210; "
                                          "Path=/; HttpOnly; SameSite=Lax")));
    set.len = inl_slice_find(set, ';');
    assert_true(inl_stick_cut(set, buf, &rest, &key));
    assert_true(key == 0xfedcba9876543210u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_take_turns),
        cmocka_unit_test(the_least_busy_first),
        cmocka_unit_test(health_before_busyness),
        cmocka_unit_test(what_was_tried_is_not_taken),
        cmocka_unit_test(a_lost_one_is_waited_for_once),
        cmocka_unit_test(has_good_means_well),
        cmocka_unit_test(three_failures_in_a_row),
        cmocka_unit_test(the_probe_decides),
        cmocka_unit_test(each_time_twice_as_long),
        cmocka_unit_test(old_requests_say_nothing),
        cmocka_unit_test(the_last_one_stays),
        cmocka_unit_test(a_due_probe_is_not_starved),
        cmocka_unit_test(endpoints_in_the_log),
        cmocka_unit_test(rendezvous),
        cmocka_unit_test(unfit_by_address),
        cmocka_unit_test(the_cookie_names_it),
        cmocka_unit_test(cookies_are_cut),
        cmocka_unit_test(heads_are_stripped),
        cmocka_unit_test(a_cookie_comes_back),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
