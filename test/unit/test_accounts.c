/* test_accounts.c: the accounts file: what is one, what it says about hosts and
 * tokens, how it changes; who failed too often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "relay/accounts.h"
#include "relay/attempts.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>

#define NOW_S 1700000000

static struct inl_env env;
static int64_t wall_s = NOW_S;

static void some_random(struct inl_env *e, void *ptr, size_t n)
{
    (void)e;
    memset(ptr, 7, n);
}

static int64_t fake_wall_s(struct inl_env *e)
{
    (void)e;
    return wall_s;
}

static const struct inl_env_ops env_ops = {.random = some_random,
                                           .wall_s = fake_wall_s};

static void digest_of(const char *token, uint8_t digest[INL_SHA256_LEN])
{
    assert_int_equal(inl_sha256(inl_str(token), digest), 0);
}

/* ---- the file ------------------------------------------------------------ */

#define DIGEST                                                                 \
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ONE(members) "{\"accounts\": {\"a\": {" members "}}}"
#define TWO "\"" DIGEST "\", \"" DIGEST "\""
#define NINE TWO ", " TWO ", " TWO ", " TWO ", \"" DIGEST "\""
#define HOSTS "\"hosts\": [\"x.test\"]"

static const struct {
    const char *text;
    const char *words; /* NULL: it is fine */
} files[] = {
    {"", NULL},
    {" \r\n\t", NULL},
    {"{\"accounts\": {}}", NULL},
    {ONE(HOSTS), NULL},
    {ONE(HOSTS ", \"tokens\": []"), NULL},
    {ONE(HOSTS ", \"tokens\": [\"" DIGEST "\", \"" DIGEST "\"]"), NULL},
    {ONE("\"hosts\": [\"*\", \"*.x.test\", \"x.test/a/b\", \"/a\"]"), NULL},
    {ONE(HOSTS ", \"networks\": [\"10.0.0.0/8\", \"::1\"]"), NULL},
    {ONE(HOSTS ", \"expires\": \"2027-01-31\""), NULL},
    {ONE(HOSTS ", \"certificates\": [\"" DIGEST "\"]"), NULL},
    {ONE(HOSTS ", \"sessions\": 0, \"streams\": 1000000, "
               "\"streams_per_second\": 1"),
     NULL},

    {"{", "line 1"},
    {"{\"accounts\": {}\n,}", "line 2"},
    {"[]", "not like"},
    {"{}", "not like"},
    {"{\"accounts\": []}", "not like"},
    {"{\"accounts\": {}, \"more\": 1}", "not like"},
    {"{\"accounts\": {}} x", "line 1"},
    {"{\"accounts\": {\"a\": {" HOSTS "}, \"a\": {" HOSTS "}}}", "twice"},
    {"{\"accounts\": {\"a\": 1}}", "account a: not an object"},
    {"{\"accounts\": {\"\": {" HOSTS "}}}", "'' is not a name"},
    {"{\"accounts\": {\"-a\": {" HOSTS "}}}", "'-a' is not a name"},
    {"{\"accounts\": {\"a b\": {" HOSTS "}}}", "'a b' is not a name"},
    {"{\"accounts\": {\"\\u00e4\": {" HOSTS "}}}", "is not a name"},
    {"{\"accounts\": {\"a\\u0000b\": {" HOSTS "}}}", "not JSON"},
    {ONE(""), "hosts"},
    {ONE("\"hosts\": []"), "hosts"},
    {ONE("\"hosts\": \"x.test\""), "hosts"},
    {ONE("\"hosts\": [1]"), "hosts"},
    {ONE("\"hosts\": [\"\"]"), "hosts: ''"},
    {ONE("\"hosts\": [\"x.test:80\"]"), "hosts: 'x.test:80'"},
    {ONE("\"hosts\": [\"*.*.test\"]"), "hosts: '*.*.test'"},
    {ONE("\"hosts\": [\"x*.test\"]"), "hosts: 'x*.test'"},
    {ONE("\"hosts\": [\"http://x.test\"]"), "hosts: 'http"},
    {ONE(HOSTS ", \"Hosts\": []"), "'Hosts' is not known"},
    {ONE(HOSTS ", \"session\": 1"), "'session' is not known"},
    {ONE(HOSTS ", \"sessions\": -1"), "sessions"},
    {ONE(HOSTS ", \"sessions\": 1000001"), "sessions"},
    {ONE(HOSTS ", \"sessions\": \"1\""), "sessions"},
    {ONE(HOSTS ", \"streams\": 1.5"), "streams"},
    {ONE(HOSTS ", \"expires\": \"tomorrow\""), "expires: 'tomorrow'"},
    {ONE(HOSTS ", \"expires\": 1801353600"), "expires"},
    {ONE(HOSTS ", \"networks\": [\"10.0.0.0/33\"]"), "networks: '10.0.0.0/33'"},
    {ONE(HOSTS ", \"networks\": [\"\"]"), "networks: ''"},
    {ONE(HOSTS ", \"certificates\": []"), "certificates: not a list"},
    {ONE(HOSTS ", \"certificates\": \"" DIGEST "\""), "certificates"},
    {ONE(HOSTS ", \"certificates\": [1]"), "certificates: not sha256:"},
    {ONE(HOSTS ", \"certificates\": [\"" DIGEST "00\"]"), "certificates"},
    {ONE(HOSTS ", \"certificates\": [" NINE "]"), "one to 8"},
    {ONE(HOSTS ", \"tokens\": [\"secret\"]"), "tokens"},
    {ONE(HOSTS ", \"tokens\": [\"sha256:0123\"]"), "tokens"},
    {ONE(HOSTS ", \"tokens\": [\"" DIGEST "\", \"" DIGEST "\", \"" DIGEST
               "\"]"),
     "tokens"},
};

static void files_are_read_strictly(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct inl_account_doc doc = {NULL, NULL, 0};
        char why[INL_ACCOUNT_WHY] = "";
        int err = inl_account_doc_parse(&doc, inl_str(files[i].text), why);

        if (files[i].words == NULL) {
            assert_string_equal(why, "");
            assert_int_equal(err, 0);
            inl_account_doc_fini(&doc);
            continue;
        }
        if (err != INLETS_EINVAL || strstr(why, files[i].words) == NULL) {
            fail_msg("%s: %d, '%s'", files[i].text, err, why);
        }
        assert_null(strstr(why, "0123456789abcdef"));
        assert_null(strstr(why, "secret"));
    }
    assert_int_equal(alloc_live, 0);
}

/* Every cut of a good file is refused, and none of them crashes. */
static void cut_files_are_refused(void **state)
{
    const char *text = ONE(HOSTS ", \"tokens\": [\"" DIGEST "\"], "
                                 "\"networks\": [\"10.0.0.0/8\"]");
    char why[INL_ACCOUNT_WHY];
    struct inl_account_doc doc;

    (void)state;
    for (size_t n = 1; n < strlen(text); n++) {
        assert_int_equal(inl_account_doc_parse(&doc, inl_slice(text, n), why),
                         INLETS_EINVAL);
    }
    assert_int_equal(alloc_live, 0);
}

static const char *const abc[] = {"a.test", "*.b.test", "c.test/api"};

static void add(struct inl_account_doc *doc, const char *name,
                const char *token, const char *const *hosts, size_t n)
{
    char why[INL_ACCOUNT_WHY];
    const char *copy[8];
    struct inl_account_entry e = {
        .name = name, .ntokens = 1, .hosts = copy, .nhosts = n};

    memcpy(copy, hosts, n * sizeof(*hosts));
    digest_of(token, e.tokens[0]);
    assert_int_equal(inl_account_doc_add(doc, &e, why), 0);
}

static void parse(struct inl_account_doc *doc, const char *text)
{
    char why[INL_ACCOUNT_WHY] = "";

    assert_int_equal(inl_account_doc_parse(doc, inl_str(text), why), 0);
}

static void changes_are_written(void **state)
{
    struct inl_account_doc doc, again;
    char *text;

    (void)state;
    parse(&doc, "");
    add(&doc, "one", "token-1", abc, 3);
    add(&doc, "two", "token-2", abc, 1);
    assert_int_equal(inl_account_doc_remove(&doc, "three"), INLETS_ENOROUTE);
    assert_int_equal(inl_account_doc_remove(&doc, "two"), 0);
    text = inl_account_doc_print(&doc);
    assert_non_null(text);
    assert_null(strstr(text, "token-1"));
    parse(&again, text);
    inl_account_doc_free_text(text);
    assert_int_equal(again.n, 1);
    assert_string_equal(again.entries[0].name, "one");
    assert_string_equal(again.entries[0].hosts[2], "c.test/api");
    inl_account_doc_fini(&again);
    inl_account_doc_fini(&doc);
    assert_int_equal(alloc_live, 0);
}

/* ---- who ----------------------------------------------------------------- */

struct scene {
    struct inl_accounts accounts;
    struct inl_list orphans;
};

static void scene_init(struct scene *s)
{
    inl_env_init(&env, &env_ops);
    env.now_ms = 1000;
    wall_s = NOW_S;
    s->accounts = (struct inl_accounts){.is_set = false};
    inl_list_init(&s->orphans);
}

static void use(struct scene *s, struct inl_account_doc *doc)
{
    assert_int_equal(inl_accounts_set(&s->accounts, &env, doc, &s->orphans), 0);
}

static void scene_fini(struct scene *s)
{
    inl_accounts_fini(&s->accounts);
    inl_env_fini(&env);
    assert_int_equal(alloc_live, 0);
}

static struct inl_account *by_token(struct scene *s, const char *token)
{
    uint8_t digest[INL_SHA256_LEN];

    digest_of(token, digest);
    return inl_accounts_by_token(&s->accounts, digest);
}

static void tokens_name_accounts(void **state)
{
    struct scene s;
    struct inl_account_doc doc;
    uint8_t digest[INL_SHA256_LEN];

    (void)state;
    scene_init(&s);
    assert_null(by_token(&s, "token-1")); /* of none */
    parse(&doc, "");
    add(&doc, "one", "token-1", abc, 1);
    add(&doc, "two", "token-2", abc, 1);
    digest_of("token-3", digest);
    assert_int_equal(inl_account_doc_rotate(&doc, "two", false, digest), 0);
    digest_of("token-4", digest);
    assert_int_equal(inl_account_doc_rotate(&doc, "one", true, digest), 0);
    use(&s, &doc);
    assert_string_equal(by_token(&s, "token-2")->says->name, "two");
    assert_string_equal(by_token(&s, "token-3")->says->name, "two");
    assert_string_equal(by_token(&s, "token-4")->says->name, "one");
    assert_null(by_token(&s, "token-1")); /* dropped */
    assert_null(by_token(&s, ""));
    /* What an account without a second token has in its place. */
    memset(digest, 0, sizeof(digest));
    assert_null(inl_accounts_by_token(&s.accounts, digest));
    scene_fini(&s);
}

static const struct {
    const char *endpoint; /* as a client offers it */
    bool is_owned;
} offers[] = {
    {"a.test", true},       {"A.TEST.", true},     {"a.test/x", true},
    {"*.a.test", false},    {"x.a.test", false},   {"b.test", false},
    {"x.b.test", true},     {"x.b.test/y", true},  {"*.b.test", true},
    {"x.y.b.test", false},  {"*.x.b.test", false}, {"c.test", false},
    {"c.test/api", true},   {"c.test/api/", true}, {"c.test/api/v1", true},
    {"c.test/apis", false}, {"c.test/ap", false},  {"*.c.test/api", false},
    {"test", false},        {"", false},           {"/api", false},
    {"d.test", false},
};

static void accounts_own_hosts(void **state)
{
    static const char *const any[] = {"*"};
    struct scene s;
    struct inl_account_doc doc;

    (void)state;
    scene_init(&s);
    parse(&doc, "");
    add(&doc, "abc", "token-1", abc, 3);
    add(&doc, "any", "token-2", any, 1);
    use(&s, &doc);
    for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
        struct inl_endpoint e;

        assert_int_equal(inl_endpoint_parse(inl_str(offers[i].endpoint), &e),
                         0);
        if (inl_account_owns(&s.accounts, by_token(&s, "token-1"), &e) !=
            offers[i].is_owned) {
            fail_msg("%s", offers[i].endpoint);
        }
        assert_true(inl_account_owns(&s.accounts, by_token(&s, "token-2"), &e));
    }
    scene_fini(&s);
}

static const struct {
    const char *host, *path;
    bool may;
} visits[] = {
    {"a.test", "/", true},       {"a.test", "", true},
    {"b.test", "/", false},      {"x.b.test", "/", true},
    {"x.y.b.test", "/", false},  {"c.test", "/", false},
    {"c.test", "/api", true},    {"c.test", "/api/x", true},
    {"c.test", "/apix", false},  {"", "/", false},
    {"203.0.113.9", "/", false}, {"test", "/", false},
};

static void some_hosts_nobody_may_serve(void **state)
{
    struct scene s;
    struct inl_account_doc doc;

    (void)state;
    scene_init(&s);
    parse(&doc, "");
    add(&doc, "abc", "token-1", abc, 3);
    use(&s, &doc);
    for (size_t i = 0; i < sizeof(visits) / sizeof(visits[0]); i++) {
        if (inl_accounts_may_serve(&s.accounts, inl_str(visits[i].host),
                                   inl_str(visits[i].path)) != visits[i].may) {
            fail_msg("%s%s", visits[i].host, visits[i].path);
        }
    }
    scene_fini(&s);
}

static int check(const struct inl_account *a, const char *token, const char *ip)
{
    uint8_t digest[INL_SHA256_LEN];
    const char *why = NULL;
    struct inl_ip from;
    int err;

    digest_of(token, digest);
    assert_true(inl_ip_parse(inl_str(ip), &from));
    err = inl_account_check(a, &env, digest, NULL, &from, &why);
    assert_int_equal(err != 0, why != NULL);
    return err;
}

static void dates_and_networks_count(void **state)
{
    struct scene s;
    struct inl_account_doc doc;
    const struct inl_account *a;

    (void)state;
    scene_init(&s);
    parse(&doc,
          "{\"accounts\": {\"a\": {\"hosts\": [\"*\"], \"expires\": "
          "\"2027-01-31\", \"networks\": [\"192.0.2.0/24\", "
          "\"2001:db8::/32\"], \"tokens\": [\"sha256:"
          "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\""
          "]}}}"); /* of "secret" */
    use(&s, &doc);
    assert_true(inl_accounts_have_dates(&s.accounts));
    a = inl_accounts_find(&s.accounts, "a");
    assert_int_equal(check(a, "secret", "192.0.2.255"), 0);
    assert_int_equal(check(a, "secret", "::ffff:192.0.2.1"), 0);
    assert_int_equal(check(a, "secret", "2001:db8:1::1"), 0);
    assert_int_equal(check(a, "secret", "192.0.3.0"), INLETS_EFORBIDDEN);
    assert_int_equal(check(a, "secret", "2001:db9::1"), INLETS_EFORBIDDEN);
    assert_int_equal(check(a, "Secret", "192.0.2.1"), INLETS_EAUTH);
    wall_s = 1801353600 - 1;
    assert_int_equal(check(a, "secret", "192.0.2.1"), 0);
    wall_s++;
    assert_int_equal(check(a, "secret", "192.0.2.1"), INLETS_EFORBIDDEN);
    scene_fini(&s);
}

/* Of the bytes 01 and 02; the token is "secret". */
static void certificates_count(void **state)
{
    uint8_t shown[INL_SHA256_LEN], digest[INL_SHA256_LEN];
    const struct inl_account *a;
    struct inl_ip from = {{0}};
    struct inl_account_doc doc;
    const char *why = NULL;
    struct scene s;

    (void)state;
    scene_init(&s);
    parse(&doc,
          "{\"accounts\": {\"a\": {\"hosts\": [\"*\"], \"tokens\": [\"sha256:"
          "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
          "\"], \"certificates\": [\"sha256:"
          "0101010101010101010101010101010101010101010101010101010101010101"
          "\", \"sha256:"
          "0202020202020202020202020202020202020202020202020202020202020202"
          "\"]}}}");
    use(&s, &doc);
    a = inl_accounts_find(&s.accounts, "a");
    digest_of("secret", digest);
    for (uint8_t byte = 0; byte < 4; byte++) {
        bool is_right = byte == 1 || byte == 2;

        memset(shown, byte, sizeof(shown));
        why = NULL;
        assert_int_equal(inl_account_check(a, &env, digest, shown, &from, &why),
                         is_right ? 0 : INLETS_EFORBIDDEN);
        assert_int_equal(why == NULL, is_right);
    }
    assert_int_equal(inl_account_check(a, &env, digest, NULL, &from, &why),
                     INLETS_EFORBIDDEN);
    assert_string_equal(why, "this account needs its certificate");
    memset(shown, 1, sizeof(shown));
    digest_of("other", digest);
    assert_int_equal(inl_account_check(a, &env, digest, shown, &from, &why),
                     INLETS_EAUTH);
    scene_fini(&s);
}

static void clients_stay_with_their_accounts(void **state)
{
    struct inl_list clients[3];
    struct inl_account_doc doc;
    struct inl_account *one;
    struct scene s;

    (void)state;
    scene_init(&s);
    parse(&doc, "");
    add(&doc, "one", "token-1", abc, 1);
    add(&doc, "two", "token-2", abc, 1);
    use(&s, &doc);
    for (size_t i = 0; i < 3; i++) {
        inl_list_init(&clients[i]);
        inl_account_join(inl_accounts_find(&s.accounts, i == 2 ? "two" : "one"),
                         &clients[i]);
    }
    parse(&doc, "");
    add(&doc, "zero", "token-0", abc, 2);
    add(&doc, "one", "token-9", abc, 2);
    use(&s, &doc);
    one = inl_accounts_find(&s.accounts, "one");
    assert_int_equal(one->nclients, 2);
    assert_true(one->has_new_hosts);
    assert_ptr_equal(inl_list_pop(&s.orphans), &clients[2]);
    assert_true(inl_list_empty(&s.orphans));
    inl_account_leave(one, &clients[0]);
    inl_account_leave(one, &clients[1]);
    assert_int_equal(one->nclients, 0);
    scene_fini(&s);
}

static void streams_have_a_pace(void **state)
{
    struct scene s;
    struct inl_account_doc doc;
    struct inl_account *a;
    const char *limit = NULL;
    unsigned begun = 0;

    (void)state;
    scene_init(&s);
    parse(&doc, ONE(HOSTS ", \"streams\": 5, \"streams_per_second\": 10"));
    use(&s, &doc);
    a = inl_accounts_find(&s.accounts, "a");
    assert_int_equal(inl_account_begin_stream(a, &env, 5, &limit),
                     INLETS_ELIMIT);
    assert_string_equal(limit, "streams");
    for (unsigned i = 0; i < 100; i++) { /* at once */
        begun += inl_account_begin_stream(a, &env, 0, &limit) == 0;
    }
    assert_int_equal(begun, 10);
    assert_string_equal(limit, "streams_per_second");
    for (unsigned ms = 0; ms < 2000; ms++) {
        env.now_ms++;
        begun += inl_account_begin_stream(a, &env, 0, &limit) == 0;
    }
    assert_int_equal(begun, 30);
    env.now_ms += 3600 * 1000; /* nothing is saved up beyond the burst */
    for (unsigned i = 0; i < 100; i++) {
        begun += inl_account_begin_stream(a, &env, 0, &limit) == 0;
    }
    assert_int_equal(begun, 40);
    scene_fini(&s);
}

/* Memory that runs out anywhere changes nothing. */
static void sets_are_all_or_nothing(void **state)
{
    struct inl_account_doc doc;
    struct scene s;
    int err = INLETS_ENOMEM;

    (void)state;
    scene_init(&s);
    parse(&doc, "");
    add(&doc, "one", "token-1", abc, 3);
    use(&s, &doc);
    parse(&doc, "");
    add(&doc, "two", "token-2", abc, 3);
    for (size_t nth = 1; err == INLETS_ENOMEM; nth++) {
        alloc_fail_nth = nth;
        err = inl_accounts_set(&s.accounts, &env, &doc, &s.orphans);
        alloc_fail_nth = 0;
        assert_true(err == 0 || by_token(&s, "token-1") != NULL);
    }
    assert_int_equal(err, 0);
    assert_non_null(by_token(&s, "token-2"));
    scene_fini(&s);
}

/* ---- attempts -------------------------------------------------------------
 */

static struct inl_ip ip(const char *text)
{
    struct inl_ip value;

    assert_true(inl_ip_parse(inl_str(text), &value));
    return value;
}

static void miss(struct inl_attempts *a, const char *text)
{
    const struct inl_ip from = ip(text);

    inl_attempts_failed(a, &from);
}

static uint64_t wait_of(const struct inl_attempts *a, const char *text)
{
    const struct inl_ip from = ip(text);

    return inl_attempts_wait_ms(a, &from);
}

static void who_fails_has_to_wait(void **state)
{
    struct inl_attempts a;

    (void)state;
    inl_env_init(&env, &env_ops);
    env.now_ms = 5000;
    inl_attempts_init(&a, &env);
    for (unsigned i = 0; i < INL_ATTEMPTS_BURST; i++) {
        assert_int_equal(wait_of(&a, "192.0.2.1"), 0);
        miss(&a, "192.0.2.1");
        miss(&a, "2001:db8::1");
    }
    assert_int_equal(wait_of(&a, "192.0.2.1"), INL_ATTEMPTS_EACH_MS);
    assert_int_equal(wait_of(&a, "::ffff:192.0.2.1"), INL_ATTEMPTS_EACH_MS);
    assert_int_equal(wait_of(&a, "192.0.2.2"), 0);
    assert_true(wait_of(&a, "2001:db8::ffff:1") > 0); /* the same 64 bits */
    assert_int_equal(wait_of(&a, "2001:db8:0:1::1"), 0);
    env.now_ms += INL_ATTEMPTS_EACH_MS;
    assert_int_equal(wait_of(&a, "192.0.2.1"), 0);
    miss(&a, "192.0.2.1");
    assert_int_equal(wait_of(&a, "192.0.2.1"), INL_ATTEMPTS_EACH_MS);
    inl_attempts_fini(&a);
    inl_env_fini(&env);
    assert_int_equal(alloc_live, 0);
}

static void attempts_are_bounded(void **state)
{
    struct inl_attempts a;
    char text[32];

    (void)state;
    inl_env_init(&env, &env_ops);
    inl_attempts_init(&a, &env);
    for (unsigned i = 0; i < 2 * INL_ATTEMPTS_PLACES; i++) {
        (void)snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16 & 255,
                       i >> 8 & 255, i & 255);
        for (unsigned k = 0; k <= INL_ATTEMPTS_BURST; k++) {
            miss(&a, text);
        }
    }
    assert_int_equal(a.n, INL_ATTEMPTS_PLACES);
    assert_true(wait_of(&a, text) > 0);
    assert_int_equal(wait_of(&a, "10.0.0.1"), 0); /* forgotten */
    inl_attempts_fini(&a);
    inl_env_fini(&env);
    assert_int_equal(alloc_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_strictly),
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(changes_are_written),
        cmocka_unit_test(tokens_name_accounts),
        cmocka_unit_test(accounts_own_hosts),
        cmocka_unit_test(some_hosts_nobody_may_serve),
        cmocka_unit_test(dates_and_networks_count),
        cmocka_unit_test(certificates_count),
        cmocka_unit_test(clients_stay_with_their_accounts),
        cmocka_unit_test(streams_have_a_pace),
        cmocka_unit_test(sets_are_all_or_nothing),
        cmocka_unit_test(who_fails_has_to_wait),
        cmocka_unit_test(attempts_are_bounded),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
