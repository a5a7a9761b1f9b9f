/* test_passwords.c: slow hashes, and the questions about them: who shares an
 * answer, what is remembered, and what has an upper bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "proto/password.h"
#include "relay/passwords.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

/* bcrypt at its lowest cost, of "secret": the tests compute many. */
#define HASH "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"

static struct inl_env env;
static size_t nworks; /* that are not done yet */
static size_t nbegun;
static struct inl_work *works[64];
static bool refuses_work;

static void count_up(struct inl_env *e, void *ptr, size_t n)
{
    static uint8_t next;

    (void)e;
    memset(ptr, ++next, n);
}

static int keep_work(struct inl_env *e, struct inl_work *work)
{
    (void)e;
    if (refuses_work) {
        return INLETS_ENOMEM;
    }
    works[nworks++] = work;
    nbegun++;
    return 0;
}

static const struct inl_env_ops env_ops = {.random = count_up,
                                           .work = keep_work};

static char hash[INL_PASSWORD_HASH_SIZE];

static struct inl_passwords start(void)
{
    nworks = nbegun = 0;
    refuses_work = false;
    inl_env_init(&env, &env_ops);
    env.now_ms = 1000;
    return (struct inl_passwords){.env = NULL};
}

/* The oldest ends, as another thread and then the loop would end it. */
static void end_one(void)
{
    struct inl_work *work = works[0];

    assert_true(nworks > 0);
    memmove(works, works + 1, --nworks * sizeof(works[0]));
    work->run(work);
    work->done(work);
    inl_env_settle(&env);
}

static void end_all(struct inl_passwords *p)
{
    while (nworks > 0) {
        end_one();
    }
    inl_passwords_fini(p);
    inl_env_settle(&env);
    inl_env_fini(&env);
    assert_int_equal(alloc_live, 0);
}

/* One who asks, and comes again when told to. */
struct asker {
    struct inl_ask ask;
    struct inl_passwords *passwords;
    const char *hash, *password;
    int answer; /* INL_ASKED: none yet */
};

static void ask(struct asker *a)
{
    a->answer = inl_passwords_check(a->passwords, a->hash, inl_str(a->password),
                                    &a->ask);
}

static void ask_again(struct inl_ask *told)
{
    ask(inl_container(told, struct asker, ask));
}

static int begin(struct asker *a, struct inl_passwords *p, const char *of,
                 const char *password)
{
    *a = (struct asker){.passwords = p, .hash = of, .password = password};
    inl_ask_init(&a->ask, ask_again);
    ask(a);
    inl_env_settle(&env);
    return a->answer;
}

/* ---- hashes -------------------------------------------------------------- */

static void hashes_are_slow_ones(void **state)
{
    static const struct {
        const char *text;
        bool is;
    } rows[] = {
        {HASH, true},
        {"$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", true},
        {"", false},
        {"secret", false},
        {"*", false},
        {"$y$", false},
        {"$y$j9T$SINa0dRPO4mRtr7riaJGS.", false},
        {"$2b$04$abcdefghijklmnopqrstuu", false},
        {"$1$abcdefgh$hi5mvXxOFCYhNjiVkq3zP1", false},
        {"$6$abcdefgh$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         false},
        {"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab",
         false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (inl_password_is_hash(rows[i].text) != rows[i].is) {
            fail_msg("%s", rows[i].text);
        }
    }
    assert_true(inl_password_is_hash(inl_password_nobodys));
}

static void hashes_match_their_password(void **state)
{
    char other[INL_PASSWORD_HASH_SIZE], longest[INL_PASSWORD_MAX + 2];

    (void)state;
    assert_int_equal(inl_password_hash(INL_LIT("secret"), hash), 0);
    assert_int_equal(inl_password_hash(INL_LIT("secret"), other), 0);
    assert_string_not_equal(hash, other); /* salt */
    assert_true(inl_password_is_hash(hash));
    assert_memory_equal(hash, "$y$", 3);
    assert_true(inl_password_matches(hash, INL_LIT("secret")));
    assert_false(inl_password_matches(hash, INL_LIT("secreT")));
    assert_false(inl_password_matches(hash, INL_LIT("secret\0")));
    assert_false(inl_password_matches(hash, INL_LIT("")));
    assert_false(inl_password_matches(hash, inl_str(hash)));
    assert_false(inl_password_matches("", INL_LIT("")));
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(inl_password_hash(inl_str(longest), hash), INLETS_EINVAL);
    longest[INL_PASSWORD_MAX] = '\0';
    assert_int_equal(inl_password_hash(inl_str(longest), hash), 0);
    assert_true(inl_password_matches(hash, inl_str(longest)));
    longest[INL_PASSWORD_MAX - 1] = 'y';
    assert_false(inl_password_matches(hash, inl_str(longest)));
    assert_int_equal(inl_password_hash(INL_LIT(""), hash), INLETS_EINVAL);
    assert_int_equal(inl_password_hash(INL_LIT("a\0b"), hash), INLETS_EINVAL);
}

/* ---- questions ----------------------------------------------------------- */

static void answers_come_later_and_are_kept(void **state)
{
    struct inl_passwords p = start();
    struct asker right, wrong, again;

    (void)state;
    inl_passwords_init(&p, &env);
    assert_int_equal(begin(&right, &p, HASH, "secret"), INL_ASKED);
    assert_int_equal(begin(&wrong, &p, HASH, "other"), INL_ASKED);
    assert_int_equal(nworks, 2);
    end_one();
    assert_int_equal(right.answer, 0);
    assert_int_equal(wrong.answer, INL_ASKED);
    end_one();
    assert_int_equal(wrong.answer, INLETS_EAUTH);
    assert_int_equal(begin(&again, &p, HASH, "secret"), 0);
    assert_int_equal(nworks, 0);
    /* What is wrong is computed each time, as is what is of another hash. */
    assert_int_equal(begin(&wrong, &p, HASH, "other"), INL_ASKED);
    assert_int_equal(begin(&again, &p, NULL, "secret"), INL_ASKED);
    end_one();
    end_one();
    assert_int_equal(again.answer, INLETS_EAUTH);
    env.now_ms += INL_PASSWORDS_KNOWN_MS;
    assert_int_equal(begin(&again, &p, HASH, "secret"), INL_ASKED);
    end_all(&p);
}

static void those_who_ask_the_same_share_an_answer(void **state)
{
    struct inl_passwords p = start();
    struct asker a[5];

    (void)state;
    inl_passwords_init(&p, &env);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(begin(&a[i], &p, HASH, "secret"), INL_ASKED);
    }
    assert_int_equal(nworks, 1);
    inl_ask_drop(&a[1].ask);
    end_one();
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(a[i].answer, i == 1 ? INL_ASKED : 0);
    }
    end_all(&p);
}

static void few_run_and_few_wait(void **state)
{
    enum { MOST = INL_PASSWORDS_AT_ONCE + INL_PASSWORDS_WAITING };
    struct inl_passwords p = start();
    struct asker a[MOST], more;
    char words[MOST][8];

    (void)state;
    inl_passwords_init(&p, &env);
    for (size_t i = 0; i < MOST; i++) {
        (void)snprintf(words[i], sizeof(words[i]), "w%zu", i);
        assert_int_equal(begin(&a[i], &p, HASH, words[i]), INL_ASKED);
    }
    assert_int_equal(nworks, INL_PASSWORDS_AT_ONCE);
    assert_int_equal(begin(&more, &p, HASH, "more"), INLETS_ETOOMANY);
    inl_ask_drop(&a[MOST - 1].ask); /* who leaves makes room */
    assert_int_equal(begin(&more, &p, HASH, "more"), INL_ASKED);
    while (nworks > 0) {
        assert_true(nworks <= INL_PASSWORDS_AT_ONCE);
        end_one();
    }
    assert_int_equal(more.answer, INLETS_EAUTH);
    assert_int_equal(nbegun, MOST); /* what nobody waited for was not begun */
    end_all(&p);
}

static void an_address_has_its_share(void **state)
{
    enum { EACH = INL_PASSWORDS_WAITING_EACH, ALL = EACH + 5 };
    struct inl_passwords p = start();
    struct asker a[ALL];
    char words[ALL][8];
    const uint8_t here[4] = {192, 0, 2, 1}, there[4] = {192, 0, 2, 2};

    (void)state;
    inl_passwords_init(&p, &env);
    for (size_t i = 0; i < ALL; i++) {
        (void)snprintf(words[i], sizeof(words[i]), "w%zu", i);
        a[i] =
            (struct asker){.passwords = &p, .hash = HASH, .password = words[i]};
        inl_ask_init(&a[i].ask, ask_again);
        a[i].ask.is_limited = i < ALL - 1;
        a[i].ask.from = inl_ip_v4(i < ALL - 2 ? here : there);
        ask(&a[i]);
        inl_env_settle(&env);
    }
    assert_int_equal(nworks, INL_PASSWORDS_AT_ONCE);
    assert_int_equal(a[ALL - 4].answer, INL_ASKED); /* two run, eight wait */
    assert_int_equal(a[ALL - 3].answer, INLETS_ETOOMANY);
    assert_int_equal(a[ALL - 2].answer, INL_ASKED); /* elsewhere */
    assert_int_equal(a[ALL - 1].answer, INL_ASKED); /* not limited */
    end_all(&p);
}

static void what_is_known_is_bounded(void **state)
{
    struct inl_passwords p = start();
    struct asker a;

    (void)state;
    inl_passwords_init(&p, &env);
    assert_int_equal(begin(&a, &p, HASH, "secret"), INL_ASKED);
    end_one();
    assert_int_equal(p.nknown, 1);
    for (size_t i = 0; i < INL_PASSWORDS_KNOWN + 10; i++) {
        p.key[0] = (uint8_t)(i + 1); /* so that it is another question */
        p.key[1] = (uint8_t)(i >> 8);
        assert_int_equal(begin(&a, &p, HASH, "secret"), INL_ASKED);
        end_one();
        assert_true(p.nknown <= INL_PASSWORDS_KNOWN);
    }
    assert_int_equal(p.nknown, INL_PASSWORDS_KNOWN);
    end_all(&p);
}

static void an_end_with_work_in_flight(void **state)
{
    struct inl_passwords p = start();
    struct asker a[3];

    (void)state;
    inl_passwords_init(&p, &env);
    assert_int_equal(begin(&a[0], &p, HASH, "secret"), INL_ASKED);
    assert_int_equal(begin(&a[1], &p, HASH, "other"), INL_ASKED);
    assert_int_equal(begin(&a[2], &p, HASH, "third"), INL_ASKED);
    inl_passwords_fini(&p);
    while (nworks > 0) {
        end_one();
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(a[i].answer, INL_ASKED); /* nobody was told */
    }
    inl_env_fini(&env);
    assert_int_equal(alloc_live, 0);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    for (size_t nth = 1; nth < 8; nth++) {
        struct inl_passwords p = start();
        struct asker a;

        inl_passwords_init(&p, &env);
        alloc_fail_nth = nth;
        (void)begin(&a, &p, HASH, "secret");
        while (nworks > 0) {
            end_one();
        }
        alloc_fail_nth = 0;
        assert_true(a.answer == 0 || a.answer == INLETS_EAUTH ||
                    a.answer == INLETS_ENOMEM);
        end_all(&p);
    }
}

static void no_thread_is_no_answer(void **state)
{
    struct inl_passwords p = start();
    struct asker a;

    (void)state;
    inl_passwords_init(&p, &env);
    refuses_work = true;
    (void)begin(&a, &p, HASH, "secret");
    assert_int_equal(a.answer, INLETS_ENOMEM);
    end_all(&p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_slow_ones),
        cmocka_unit_test(hashes_match_their_password),
        cmocka_unit_test(answers_come_later_and_are_kept),
        cmocka_unit_test(those_who_ask_the_same_share_an_answer),
        cmocka_unit_test(few_run_and_few_wait),
        cmocka_unit_test(an_address_has_its_share),
        cmocka_unit_test(what_is_known_is_bounded),
        cmocka_unit_test(an_end_with_work_in_flight),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(no_thread_is_no_answer),
    };

    alloc_install();
    return cmocka_run_group_tests_name("passwords", tests, NULL, NULL);
}
