/* test_visitors.c: the visitors file, and the guard that has its rules: who
 * passes, what is taken off, what is counted, and that it is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/slice.h"
#include "proto/plain_path.h"
#include "relay/guard.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>

/* ---- the file ------------------------------------------------------------ */

#define DIGEST                                                                 \
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ONE(members) "{\"visitors\": [{" members "}]}"
#define HOST "\"host\": \"x.test\", "
#define MAX "\"max_body\": 1"

static const struct {
    const char *text;
    const char *words; /* NULL: it is fine */
} files[] = {
    {"{\"visitors\": []}", NULL},
    {ONE(HOST MAX), NULL},
    {ONE("\"host\": \"*\", " MAX), NULL},
    {ONE("\"host\": \"*.x.test/a/b/\", " MAX), NULL},
    {ONE("\"host\": \"[::1]/caf%C3%A9\", " MAX), NULL},
    {ONE(HOST "\"tokens\": [\"" DIGEST "\", \"" DIGEST "\"]"), NULL},
    {ONE(HOST "\"allow\": [\"10.0.0.0/8\", \"::1\"], \"deny\": [\"10.1.1.1\"]"),
     NULL},
    {ONE(HOST "\"requests_per_second\": 1000000, \"burst\": 1, "
              "\"requests_per_second_per_address\": 1, "
              "\"burst_per_address\": 7, \"concurrent\": 1, "
              "\"concurrent_per_address\": 1, \"max_body\": 1099511627776"),
     NULL},
    {"{\"visitors\": [{\"host\": \"x.test\", " MAX "}, "
     "{\"host\": \"*.x.test\", " MAX "}, {\"host\": \"x.test/a\", " MAX "}]}",
     NULL},

    {"", "line 1"},
    {" \n", "not JSON"},
    {"{\"visitors\": [}", "line 1"},
    {"{\"visitors\": []\n,}", "line 2"},
    {"{\"visitors\": []} x", "line 1"},
    {"[]", "not like"},
    {"{}", "not like"},
    {"{\"visitors\": {}}", "not like"},
    {"{\"visitors\": [], \"more\": 1}", "not like"},
    {"{\"visitors\": [], \"visitors\": []}", "twice"},
    {"{\"visitors\": [1]}", "line 1: rule 1: not an object"},
    {ONE(MAX), "line 1: rule 1: host: not like"},
    {ONE("\"host\": 1, " MAX), "host: not like"},
    {ONE("\"host\": \"\", " MAX), "host: not like"},
    {ONE("\"host\": \"*.*.test\", " MAX), "host: not like"},
    {ONE("\"host\": \"x.test:80\", " MAX), "host: not like"},
    {ONE("\"host\": \"x.test/a//b\", " MAX), "plain characters"},
    {ONE("\"host\": \"x.test/a/../b\", " MAX), "plain characters"},
    {ONE("\"host\": \"x.test/%61\", " MAX), "plain characters"},
    {ONE("\"host\": \"x.test/a;b\", " MAX), "plain characters"},
    {ONE("\"host\": \"x.test\""), "(x.test): it says nothing but its host"},
    {ONE(HOST MAX ", \"max_body\": 2"), "twice"},
    {ONE(HOST "\"maxbody\": 1"), "'maxbody' is not known here"},
    {ONE(HOST MAX ", \"Deny\": [\"::1\"]"), "'Deny' is not known here"},
    {ONE(HOST "\"tokens\": []"), "tokens: not a list of one"},
    {ONE(HOST "\"tokens\": \"" DIGEST "\""), "tokens: not a list of one"},
    {ONE(HOST "\"tokens\": [\"secret\"]"), "tokens: not sha256:"},
    {ONE(HOST "\"tokens\": [\"sha256:0123\"]"), "tokens: not sha256:"},
    {ONE(HOST "\"allow\": []"), "allow: not a list of one"},
    {ONE(HOST "\"deny\": []"), "deny: not a list of one"},
    {ONE(HOST "\"allow\": [\"10.0.0.0/33\"]"), "allow: '10.0.0.0/33'"},
    {ONE(HOST "\"deny\": [\"x.test\"]"), "deny: 'x.test'"},
    {ONE(HOST "\"deny\": [1]"), "deny: ''"},
    {ONE(HOST "\"max_body\": 0"), "max_body: not a whole number from 1"},
    {ONE(HOST "\"max_body\": -1"), "max_body: not a whole number"},
    {ONE(HOST "\"max_body\": 1.5"), "max_body: not a whole number"},
    {ONE(HOST "\"max_body\": \"1\""), "max_body: not a whole number"},
    {ONE(HOST "\"max_body\": 1099511627777"), "max_body: not a whole number"},
    {ONE(HOST "\"concurrent\": 0"), "concurrent: not a whole number"},
    {ONE(HOST "\"concurrent_per_address\": 0"), "concurrent_per_address: not"},
    {ONE(HOST "\"requests_per_second\": 0"), "requests_per_second: not"},
    {ONE(HOST "\"requests_per_second\": 1000001"), "from 1 to 1000000"},
    {ONE(HOST "\"burst\": 5"), "burst: it needs requests_per_second"},
    {ONE(HOST "\"requests_per_second\": 1, \"burst_per_address\": 5"),
     "burst_per_address: it needs requests_per_second_per_address"},
    {"{\"visitors\": [\n{\"host\": \"x.test/a\", " MAX "},\n{\"host\": "
     "\"*\", " MAX "},\n{" MAX ", \"host\": \"X.test/A/\"}]}",
     "line 4: rule 3 (X.test/A/): rule 1 is for this host and path already"},
    {"{\"visitors\": [{\"host\": \"[\\\"{\", " MAX "}]}", "host: not like"},
    {"{\"visitors\":\n [\n {\"host\": \"a.test\", \"allow\": [\"::1\"]},\n\n"
     "{\"host\": \"b.test\", \"maxbody\": 1}]}",
     "line 5: rule 2 (b.test): 'maxbody'"},
};

static void test_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct inl_visitors_doc doc;
        char why[INL_VISITORS_WHY] = "";
        int err = inl_visitors_doc_parse(&doc, inl_str(files[i].text), why);

        if (err != (files[i].words == NULL ? 0 : INLETS_EINVAL) ||
            (files[i].words != NULL && strstr(why, files[i].words) == NULL)) {
            fail_msg("%s: %d, %s", files[i].text, err, why);
        }
        assert_null(strstr(why, "secret"));
        if (err == 0) {
            inl_visitors_doc_fini(&doc);
        }
    }
}

static void test_bursts(void **state)
{
    struct inl_visitors_doc doc;
    char why[INL_VISITORS_WHY];

    (void)state;
    assert_int_equal(
        inl_visitors_doc_parse(
            &doc,
            INL_LIT(ONE(HOST "\"requests_per_second\": 9, "
                             "\"requests_per_second_per_address\": 4, "
                             "\"burst_per_address\": 2")),
            why),
        0);
    assert_int_equal(doc.entries[0].burst, 9);
    assert_int_equal(doc.entries[0].burst_each, 2);
    inl_visitors_doc_fini(&doc);
}

/* ---- plain paths --------------------------------------------------------- */

static void test_plain_paths(void **state)
{
    static const struct {
        const char *path, *plain;
    } rows[] = {
        {"", ""},
        {"*", "*"},
        {"/", "/"},
        {"/Admin/X", "/admin/x"},
        {"//admin///x//", "/admin/x/"},
        {"/%61dmin", "/admin"},
        {"/%41dmin", "/admin"},
        {"/%2561dmin", "/admin"},
        {"/%25%36%31dmin", "/admin"},
        {"/%2f%2Fadmin%5cx\\y", "/admin/x/y"},
        {"/admin;a=b/x;c", "/admin/x"},
        {"/admin%3bx/y", "/admin/y"},
        {"/admin%00x/y", "/admin/y"},
        {"/a/..;x/b", "/a/../b"},
        {"/%", "/%"},
        {"/%4", "/%4"},
        {"/%zz%c3%A9", "/%zz\xc3\xa9"},
    };
    char buf[64];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct inlets_slice got =
            inl_slice(buf, inl_plain_path(inl_str(rows[i].path), buf));

        if (!inl_slice_eq(got, inl_str(rows[i].plain))) {
            fail_msg("%s: %.*s", rows[i].path, (int)got.len, got.ptr);
        }
    }
}

/* ---- a guard between nothing and nobody ---------------------------------- */

static struct inl_env env;
static struct inl_router router;
static struct inl_target target;
static struct inl_guard guard;
static struct inl_service behind;
static struct inl_cidr_set trusted;
static unsigned passed;
static char seen[4096]; /* the fields of what passed last, a line each */
static struct inl_request seen_request;

static void some_random(struct inl_env *e, void *ptr, size_t n)
{
    (void)e;
    memset(ptr, 7, n);
}

static const struct inl_env_ops env_ops = {.random = some_random};

static int behind_open(struct inl_service *s, const struct inl_request *req,
                       struct inl_flow *caller)
{
    size_t n = 0;

    (void)s;
    (void)caller;
    passed++;
    seen_request = *req;
    seen[0] = '\0';
    for (size_t i = 0; i < req->head->nfields && n < sizeof(seen); i++) {
        const struct inlets_field *f = &req->head->fields[i];

        n += (size_t)snprintf(seen + n, sizeof(seen) - n, "%.*s: %.*s\n",
                              (int)f->name.len, f->name.ptr, (int)f->value.len,
                              f->value.ptr);
    }
    return 0;
}

static const struct inl_service_ops behind_ops = {.open = behind_open};

static int set_rules(const char *text)
{
    struct inl_visitors_doc doc;
    char why[INL_VISITORS_WHY] = "";
    int err = inl_visitors_doc_parse(&doc, inl_str(text), why);

    if (err == 0) {
        err = inl_guard_set(&guard, &doc);
        inl_visitors_doc_fini(&doc);
    }
    return err;
}

static int set_up(void **state)
{
    const struct inl_endpoint any = {.path = {"", 0}};

    (void)state;
    inl_env_init(&env, &env_ops);
    env.now_ms = 1000000;
    inl_router_init(&router, &env);
    behind.ops = &behind_ops;
    inl_target_init(&target, &behind);
    assert_int_equal(inl_router_add(&router, &any, &target), 0);
    assert_int_equal(
        inl_cidr_set_add(&trusted, INL_LIT("203.0.113.0/24"), NULL), 0);
    inl_guard_init(&guard, &env, &router, &behind, &trusted);
    passed = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(guard.nrunning, 0);
    inl_guard_fini(&guard);
    inl_router_remove(&router, &target);
    inl_router_fini(&router);
    inl_cidr_set_fini(&trusted);
    inl_env_settle(&env);
    inl_env_fini(&env);
    return alloc_live == 0 ? 0 : -1;
}

#define FIELDS 3

/* One request. authorization: values of as many fields; NULL ends them. */
static int ask_with(struct inl_permit *permit, const char *host,
                    const char *path, const char *peer, int64_t length,
                    const char *const *authorization)
{
    struct inlets_field fields[FIELDS + 1] = {
        {INL_LIT("X-Authorization"), INL_LIT("kept")}};
    const struct inlets_head head = {.method = INL_LIT("GET"),
                                     .content_length = length,
                                     .fields = fields,
                                     .nfields = 1};
    struct inlets_head with = head;
    const struct inl_request req = {.head = &with,
                                    .host = inl_str(host),
                                    .path = inl_str(path),
                                    .peer = inl_str(peer),
                                    .permit = permit};
    struct inl_flow caller = {NULL};

    while (authorization != NULL && *authorization != NULL) {
        fields[with.nfields++] = (struct inlets_field){
            with.nfields % 2 == 0 ? INL_LIT("Authorization")
                                  : INL_LIT("AUTHORIZATION"),
            inl_str(*authorization++)};
    }
    *permit = (struct inl_permit){.limit = NULL};
    return inl_service_open(&guard.service, &req, &caller);
}

static int ask(struct inl_permit *permit, const char *host, const char *path,
               const char *peer)
{
    return ask_with(permit, host, path, peer, -1, NULL);
}

/* The rule {host, "tokens": [of "right", of "other"], more}. */
static void set_tokens(const char *host, const char *more)
{
    char text[1024], hex[2][2 * INL_SHA256_LEN + 1] = {"", ""};
    uint8_t digest[INL_SHA256_LEN];

    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            inl_sha256(i == 0 ? INL_LIT("other") : INL_LIT("right"), digest),
            0);
        inl_hex_encode(digest, sizeof(digest), hex[i]);
    }
    (void)snprintf(text, sizeof(text),
                   ONE("\"host\": \"%s\", \"tokens\": [\"sha256:%s\", "
                       "\"sha256:%s\"]%s"),
                   host, hex[0], hex[1], more);
    assert_int_equal(set_rules(text), 0);
}

/* ---- which rule ---------------------------------------------------------- */

static const char places_rules[] =
    "{\"visitors\": ["
    "{\"host\": \"*\", \"deny\": [\"10.0.0.1\"]},"
    "{\"host\": \"*.x.test\", \"deny\": [\"10.0.0.2\"]},"
    "{\"host\": \"a.x.test/Admin\", \"deny\": [\"10.0.0.3\"]},"
    "{\"host\": \"a.x.test/admin/open\", \"deny\": [\"10.0.0.4\"]}]}";

/* Who is refused tells which rule it was: 1 to 4; 0: EDOTS. */
static void test_the_most_specific_rule(void **state)
{
    static const struct {
        const char *host, *path;
        int rule;
    } rows[] = {
        {"", "/", 1},
        {"other.test", "/admin", 1},
        {"x.test", "/", 1},
        {"b.x.test", "/Admin", 2},
        {"c.b.x.test", "/", 1},
        {"a.x.test", "/", 2},
        {"a.x.test", "/Admins", 2},
        {"a.x.test", "/Admin", 3},
        {"a.x.test", "/Admin/", 3},
        {"a.x.test", "/Admin/open", 0}, /* may be read as the next */
        {"a.x.test", "/admin/open", 4},
        {"a.x.test", "/admin/open/x", 4},
        {"a.x.test", "*", 2},
        {"a.x.test", "/admin", 0},
        {"a.x.test", "/ADMIN/x", 0},
        {"a.x.test", "//Admin", 0},
        {"a.x.test", "/%41dmin", 0},
        {"a.x.test", "/%2541dmin", 0},
        {"a.x.test", "/Admin%2fx", 0},
        {"a.x.test", "/Admin;x", 0},
        {"a.x.test", "/Admin\\x", 0},
        {"a.x.test", "/x/../Admin", 0},
        {"a.x.test", "/x/%2e%2E/Admin", 0},
        {"a.x.test", "/x/%252e%252e/Admin", 0},
        {"a.x.test", "/x/..;/Admin", 0},
        {"a.x.test", "/Admin/.", 0},
        {"b.x.test", "/x/../Admin", 2}, /* no rules for its paths */
    };
    char peer[24];
    struct inl_permit permit;

    (void)state;
    assert_int_equal(set_rules(places_rules), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int rule = 1; rule <= 4; rule++) {
            int wanted = rows[i].rule == 0      ? INLETS_EDOTS
                         : rows[i].rule == rule ? INLETS_EFORBIDDEN
                                                : 0;
            int got;

            (void)snprintf(peer, sizeof(peer), "10.0.0.%d", rule);
            got = ask(&permit, rows[i].host, rows[i].path, peer);
            if (got != wanted) {
                fail_msg("%s%s, rule %d: %d", rows[i].host, rows[i].path, rule,
                         got);
            }
        }
    }
}

static void test_nothing_to_guard(void **state)
{
    struct inl_permit permit;

    (void)state;
    assert_int_equal(ask(&permit, "x.test", "/", "10.0.0.1"), 0);
    assert_int_equal(set_rules("{\"visitors\": []}"), 0);
    assert_int_equal(ask(&permit, "x.test", "/", "10.0.0.1"), 0);
    assert_int_equal(set_rules(places_rules), 0);
    assert_int_equal(ask(&permit, "x.test", "/", "10.0.0.1"),
                     INLETS_EFORBIDDEN);
    inl_router_remove(&router, &target); /* it is the router's to say so */
    assert_int_equal(ask(&permit, "x.test", "/", "10.0.0.1"), 0);
    assert_int_equal(passed, 3);
}

/* ---- addresses ----------------------------------------------------------- */

static void test_addresses(void **state)
{
    static const struct {
        const char *peer, *limit; /* NULL: it passes */
    } rows[] = {
        {"192.0.2.1", NULL},
        {"::ffff:192.0.2.1", NULL},
        {"192.0.2.7", "deny"},
        {"::ffff:192.0.2.7", "deny"},
        {"192.0.3.1", "allow"},
        {"2001:db8::1", NULL},
        {"2001:db8:0:1::1", "deny"},
        {"2001:db9::1", "allow"},
        {"", "deny"},
        {"unix", "deny"},
    };
    struct inl_permit permit;

    (void)state;
    assert_int_equal(
        set_rules(ONE(HOST "\"allow\": [\"192.0.2.0/24\", \"2001:db8::/32\"], "
                           "\"deny\": [\"192.0.2.7\", \"2001:db8:0:1::/64\"]")),
        0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int err = ask(&permit, "x.test", "/", rows[i].peer);

        assert_int_equal(err, rows[i].limit == NULL ? 0 : INLETS_EFORBIDDEN);
        if (rows[i].limit != NULL) {
            assert_string_equal(permit.limit, rows[i].limit);
        }
    }
    assert_int_equal(set_rules(ONE(HOST "\"allow\": [\"::/0\"]")), 0);
    assert_int_equal(ask(&permit, "x.test", "/", "192.0.2.1"),
                     INLETS_EFORBIDDEN);
    assert_int_equal(ask(&permit, "x.test", "/", ""), INLETS_EFORBIDDEN);
}

/* ---- credentials --------------------------------------------------------- */

static char oversized[8192];

static void test_credentials(void **state)
{
    static const struct {
        const char *values[3];
        int err;
        bool is_wrong;
    } rows[] = {
        {{"Bearer right"}, 0, false},
        {{"bearer other"}, 0, false},
        {{"BEARER   right \t"}, 0, false},
        {{NULL}, INLETS_EAUTH, false},
        {{""}, INLETS_EAUTH, false},
        {{"right"}, INLETS_EAUTH, false},
        {{"Bearer"}, INLETS_EAUTH, false},
        {{"Basic cmlnaHQ6cmlnaHQ="}, INLETS_EAUTH, false},
        {{"Bearer "}, INLETS_EAUTH, true},
        {{"Bearer wrong"}, INLETS_EAUTH, true},
        {{"Bearer Right"}, INLETS_EAUTH, true},
        {{"Bearer rightx"}, INLETS_EAUTH, true},
        {{"Bearer right,right"}, INLETS_EAUTH, true},
        {{"Bearer right", "Bearer right"}, INLETS_EAUTH, true},
        {{"Basic x", "Bearer right"}, INLETS_EAUTH, true},
        {{"Bearer right", "Basic x"}, INLETS_EAUTH, true},
        {{oversized}, INLETS_EAUTH, true},
    };
    struct inl_permit permit;

    (void)state;
    memset(oversized, 'x', sizeof(oversized) - 1);
    memcpy(oversized, "Bearer ", 7);
    set_tokens("x.test", "");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int err =
            ask_with(&permit, "x.test", "/", "127.0.0.1", -1, rows[i].values);

        if (err != rows[i].err || permit.is_wrong != rows[i].is_wrong ||
            (err != 0 && !permit.is_challenge)) {
            fail_msg("row %zu: %d", i, err);
        }
        if (err == 0) {
            assert_string_equal(seen, "X-Authorization: kept\n");
        }
    }
    assert_int_equal(passed, 3);
}

/* Where no token is asked for they are the upstream's. */
static void test_credentials_of_others_stay(void **state)
{
    const char *const basic[] = {"Basic x", NULL};
    struct inl_permit permit;

    (void)state;
    set_tokens("x.test/admin", "");
    assert_int_equal(ask_with(&permit, "x.test", "/", "::1", -1, basic), 0);
    assert_non_null(strstr(seen, "Basic x"));
    assert_int_equal(ask_with(&permit, "y.test", "/admin", "::1", -1, basic),
                     0);
    assert_non_null(strstr(seen, "Basic x"));
    assert_int_equal(ask_with(&permit, "x.test", "/admin", "::1", -1, basic),
                     INLETS_EAUTH);
}

static void test_wrong_tokens_are_counted(void **state)
{
    const char *const wrong[] = {"Bearer wrong", NULL};
    const char *const right[] = {"Bearer right", NULL};
    const char *const uncounted[] = {"127.0.0.1", "::1", "203.0.113.9"};
    struct inl_permit p;

    (void)state;
    set_tokens("x.test", "");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(&p, "x.test", "/", "192.0.2.1"), INLETS_EAUTH);
    }
    for (int i = 0; i < 12; i++) {
        assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.1", -1, wrong),
                         i < 10 ? INLETS_EAUTH : INLETS_ETOOMANY);
    }
    assert_string_equal(p.limit, "wrong_tokens");
    assert_in_range(p.retry_s, 1, 6);
    assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.1", -1, right),
                     INLETS_ETOOMANY);
    assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.2", -1, right), 0);
    assert_int_equal(ask(&p, "x.test", "/", "192.0.2.1"), INLETS_EAUTH);
    env.now_ms += p.retry_s * 1000 + 6000;
    assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.1", -1, right), 0);
    for (int i = 0; i < 36; i++) {
        assert_int_equal(
            ask_with(&p, "x.test", "/", uncounted[i % 3], -1, wrong),
            INLETS_EAUTH);
    }
}

/* ---- limits -------------------------------------------------------------- */

static void test_rates(void **state)
{
    struct inl_permit p;

    (void)state;
    assert_int_equal(
        set_rules(ONE(HOST "\"requests_per_second\": 2, \"burst\": 4, "
                           "\"requests_per_second_per_address\": 1, "
                           "\"burst_per_address\": 3")),
        0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&p, "x.test", "/", "2001:db8::1"), 0);
    }
    /* Who is of the same /64 is the same place. */
    assert_int_equal(ask(&p, "x.test", "/", "2001:db8::2"), INLETS_ETOOMANY);
    assert_string_equal(p.limit, "requests_per_second_per_address");
    assert_int_equal(p.retry_s, 1);
    /* What was refused has taken nothing of the others'. */
    assert_int_equal(ask(&p, "x.test", "/", "2001:db8:0:1::1"), 0);
    assert_int_equal(ask(&p, "x.test", "/", "192.0.2.1"), INLETS_ETOOMANY);
    assert_string_equal(p.limit, "requests_per_second");
    assert_int_equal(ask(&p, "y.test", "/", "192.0.2.1"), 0);
    env.now_ms += 500;
    assert_int_equal(ask(&p, "x.test", "/", "192.0.2.1"), 0);
    assert_int_equal(ask(&p, "x.test", "/", "192.0.2.1"), INLETS_ETOOMANY);
    env.now_ms += 500;
    assert_int_equal(ask(&p, "x.test", "/", "2001:db8::1"), 0);
}

static void test_slow_rates_say_when(void **state)
{
    struct inl_permit p;

    (void)state;
    assert_int_equal(set_rules(ONE(HOST "\"requests_per_second\": 1, "
                                        "\"burst\": 1000")),
                     0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(ask(&p, "x.test", "/", "::1"), 0);
    }
    assert_int_equal(ask(&p, "x.test", "/", "::1"), INLETS_ETOOMANY);
    assert_int_equal(p.retry_s, 1);
    /* Of what is owed new rules ask for no more than a burst of theirs. */
    assert_int_equal(set_rules(ONE(HOST "\"requests_per_second\": 1, "
                                        "\"burst\": 2")),
                     0);
    assert_int_equal(ask(&p, "x.test", "/", "::1"), INLETS_ETOOMANY);
    assert_int_equal(p.retry_s, 1);
    env.now_ms += 1000;
    assert_int_equal(ask(&p, "x.test", "/", "::1"), 0);
}

static void test_bodies(void **state)
{
    struct inl_permit p;

    (void)state;
    assert_int_equal(set_rules(ONE(HOST "\"max_body\": 100")), 0);
    assert_int_equal(ask_with(&p, "x.test", "/", "::1", 100, NULL), 0);
    assert_int_equal(p.max_body, 100);
    assert_int_equal(ask_with(&p, "x.test", "/", "::1", -1, NULL), 0);
    assert_int_equal(p.max_body, 100);
    assert_int_equal(ask_with(&p, "x.test", "/", "::1", 101, NULL),
                     INLETS_ETOOLARGE);
    assert_string_equal(p.limit, "max_body");
}

#define CONCURRENT ONE(HOST "\"concurrent\": 3, \"concurrent_per_address\": 2")

static void test_concurrent(void **state)
{
    struct inl_permit p[4];

    (void)state;
    assert_int_equal(set_rules(CONCURRENT), 0);
    assert_int_equal(ask(&p[0], "x.test", "/", "192.0.2.1"), 0);
    assert_int_equal(ask(&p[1], "x.test", "/", "192.0.2.1"), 0);
    assert_int_equal(ask(&p[2], "x.test", "/", "192.0.2.1"), INLETS_ETOOMANY);
    assert_string_equal(p[2].limit, "concurrent_per_address");
    assert_int_equal(p[2].retry_s, 1);
    inl_permit_end(&p[2]);
    assert_int_equal(ask(&p[2], "x.test", "/", "192.0.2.2"), 0);
    assert_int_equal(ask(&p[3], "x.test", "/", "192.0.2.3"), INLETS_ETOOMANY);
    assert_string_equal(p[3].limit, "concurrent");
    /* What runs is counted on, whatever the rules become. */
    assert_int_equal(set_rules(CONCURRENT), 0);
    assert_int_equal(ask(&p[3], "x.test", "/", "192.0.2.3"), INLETS_ETOOMANY);
    inl_permit_end(&p[0]);
    inl_permit_end(&p[0]);
    assert_int_equal(ask(&p[0], "x.test", "/", "192.0.2.1"), 0);
    assert_int_equal(set_rules("{\"visitors\": []}"), 0);
    for (size_t i = 0; i < 4; i++) {
        inl_permit_end(&p[i]);
    }
    assert_int_equal(set_rules(CONCURRENT), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ask(&p[i], "x.test", "/", "192.0.2.1"), 0);
        inl_permit_end(&p[i]);
    }
}

static void test_places_are_bounded(void **state)
{
    struct inl_permit *permits = calloc(INL_GUARD_PLACES + 1, sizeof(*permits));
    char peer[32];

    (void)state;
    assert_non_null(permits);
    assert_int_equal(set_rules(ONE(HOST "\"concurrent_per_address\": 1")), 0);
    for (unsigned i = 0; i < 2 * INL_GUARD_PLACES; i++) {
        (void)snprintf(peer, sizeof(peer), "2001:db8:%x:%x::1", i / 256,
                       i % 256);
        assert_int_equal(ask(&permits[0], "x.test", "/", peer), 0);
        inl_permit_end(&permits[0]);
        assert_true(guard.nplaces <= INL_GUARD_PLACES);
    }
    for (unsigned i = 0; i <= INL_GUARD_PLACES; i++) {
        (void)snprintf(peer, sizeof(peer), "2001:db8:%x:%x::1", i / 256,
                       i % 256);
        assert_int_equal(ask(&permits[i], "x.test", "/", peer),
                         i < INL_GUARD_PLACES ? 0 : INLETS_ELIMIT);
    }
    for (unsigned i = 0; i <= INL_GUARD_PLACES; i++) {
        inl_permit_end(&permits[i]);
    }
    assert_int_equal(guard.nplaces, INL_GUARD_PLACES);
    free(permits);
}

/* Address, credentials, limits: what one refuses costs nothing of the next. */
static void test_order(void **state)
{
    const char *const wrong[] = {"Bearer wrong", NULL};
    const char *const right[] = {"Bearer right", NULL};
    struct inl_permit p;

    (void)state;
    set_tokens("x.test", ", \"deny\": [\"192.0.2.0/25\"], "
                         "\"requests_per_second\": 1, \"max_body\": 9");
    for (int i = 0; i < 12; i++) {
        assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.1", -1, wrong),
                         INLETS_EFORBIDDEN);
        assert_false(p.is_challenge);
    }
    assert_int_equal(guard.attempts.n, 0);
    assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.129", 10, wrong),
                     INLETS_EAUTH);
    assert_int_equal(ask(&p, "x.test", "/", "192.0.2.129"), INLETS_EAUTH);
    assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.129", 10, right),
                     INLETS_ETOOLARGE);
    assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.129", 9, right), 0);
    assert_int_equal(ask_with(&p, "x.test", "/", "192.0.2.129", 9, right),
                     INLETS_ETOOMANY);
}

/* ---- without memory ------------------------------------------------------ */

/* Each allocation fails in its turn: either all of the new rules or none. */
static void test_rules_without_memory(void **state)
{
    struct inl_permit p;
    unsigned refused = 0;
    int err;

    (void)state;
    assert_int_equal(set_rules(CONCURRENT), 0);
    do {
        alloc_fail_nth = ++refused;
        err = set_rules(places_rules);
        if (alloc_fail_nth > 0) {
            break; /* it did not come to that */
        }
        assert_int_equal(err, INLETS_ENOMEM);
        assert_int_equal(ask(&p, "x.test", "/", "10.0.0.1"), 0);
        inl_permit_end(&p);
        assert_true(refused < 1000);
    } while (true);
    alloc_fail_nth = 0;
    assert_int_equal(err, 0);
    assert_true(refused > 10);
    assert_int_equal(ask(&p, "x.test", "/", "10.0.0.1"), INLETS_EFORBIDDEN);
}

static void test_requests_without_memory(void **state)
{
    struct inl_permit p;

    (void)state;
    assert_int_equal(set_rules(CONCURRENT), 0);
    alloc_fail_nth = 1;
    assert_int_equal(ask(&p, "x.test", "/", "192.0.2.1"), INLETS_ENOMEM);
    assert_null(p.guard);
    assert_int_equal(passed, 0);
    assert_int_equal(ask(&p, "x.test", "/", "192.0.2.1"), 0);
    inl_permit_end(&p);
}

#define GUARDED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_bursts),
        cmocka_unit_test(test_plain_paths),
        GUARDED(test_the_most_specific_rule),
        GUARDED(test_nothing_to_guard),
        GUARDED(test_addresses),
        GUARDED(test_credentials),
        GUARDED(test_credentials_of_others_stay),
        GUARDED(test_wrong_tokens_are_counted),
        GUARDED(test_rates),
        GUARDED(test_slow_rates_say_when),
        GUARDED(test_bodies),
        GUARDED(test_concurrent),
        GUARDED(test_places_are_bounded),
        GUARDED(test_order),
        GUARDED(test_rules_without_memory),
        GUARDED(test_requests_without_memory),
    };

    alloc_install();
    if (inl_crypto_init() != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
