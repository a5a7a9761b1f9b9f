/* test_url.c: URLs, Host fields and endpoints, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "base/url.h"
#include <inlets/err.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void assert_slice(struct inlets_slice s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    if (s.len > 0) {
        assert_memory_equal(s.ptr, expected, s.len);
    }
}

/* --- URLs --- */

static const struct {
    const char *text, *scheme, *userinfo, *host;
    unsigned port;
    const char *path, *query;
} urls[] = {
    {"http://localhost:8080", "http", "", "localhost", 8080, "", ""},
    {"http://Example.com", "http", "", "Example.com", 80, "", ""},
    {"HTTPS://example.com/", "HTTPS", "", "example.com", 443, "/", ""},
    {"ws://h/tunnel", "ws", "", "h", 80, "/tunnel", ""},
    {"wss://h", "wss", "", "h", 443, "", ""},
    {"unix+x.y-2://h", "unix+x.y-2", "", "h", 0, "", ""},
    {"host", "", "", "host", 80, "", ""},
    {"host:1", "", "", "host", 1, "", ""},
    {"host:65535/a/b", "", "", "host", 65535, "/a/b", ""},
    {"host:0080", "", "", "host", 80, "", ""},
    {"host/a://b", "", "", "host", 80, "/a://b", ""},
    {"10.0.0.1:80", "", "", "10.0.0.1", 80, "", ""},
    {"a_b.c-d.", "", "", "a_b.c-d.", 80, "", ""},
    {"http://[::1]:3000/x", "http", "", "::1", 3000, "/x", ""},
    {"[::ffff:127.0.0.1]", "", "", "::ffff:127.0.0.1", 80, "", ""},
    {"http://u:p%40w@h/", "http", "u:p%40w", "h", 80, "/", ""},
    {"http://@h", "http", "", "h", 80, "", ""},
    {"http://h?a=b", "http", "", "h", 80, "", "a=b"},
    {"http://h/p?a=b?c/d", "http", "", "h", 80, "/p", "a=b?c/d"},
    {"http://h/?", "http", "", "h", 80, "/", ""},
    {"http://h/a%2Fb;c@d:e!$&'()*+,=~", "http", "", "h", 80,
     "/a%2Fb;c@d:e!$&'()*+,=~", ""},
};

static void urls_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(urls); i++) {
        struct inl_url url;

        assert_int_equal(inl_url_parse(inl_str(urls[i].text), &url), 0);
        assert_slice(url.scheme, urls[i].scheme);
        assert_slice(url.userinfo, urls[i].userinfo);
        assert_slice(url.host, urls[i].host);
        assert_int_equal(url.port, urls[i].port);
        assert_slice(url.path, urls[i].path);
        assert_slice(url.query, urls[i].query);
        assert_int_equal(url.host_is_ipv6, strchr(urls[i].host, ':') != NULL);
    }
}

static void given_ports_are_told_from_defaults(void **state)
{
    struct inl_url url;

    (void)state;
    assert_int_equal(inl_url_parse(INL_LIT("http://h:80"), &url), 0);
    assert_true(url.port_is_given);
    assert_int_equal(inl_url_parse(INL_LIT("http://h"), &url), 0);
    assert_false(url.port_is_given);
}

static void wrong_urls_are_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "/",
        "/path",
        "?q",
        "http://",
        "http:///path",
        "://host",
        "1http://host",
        "+x://host",
        "http:/host",
        "http:host",
        "h_p://host",
        "http://http://host",
        "host:",
        "host:/",
        "host:0",
        "host:00000",
        "host:65536",
        "host:000080",
        "host:-1",
        "host:+80",
        "host:8 0",
        "host:80a",
        "host:80:80",
        ":80",
        "http://:80",
        "::1",
        "::1:80",
        "[]",
        "[::1",
        "::1]",
        "[::1]80",
        "[::1]x:80",
        "[::1]:",
        "[[::1]]",
        "[1:2]",
        "[12345::]",
        "[::g]",
        "[::1%eth0]",
        "[::1%25eth0]",
        "[127.0.0.1]",
        "[v1.x]",
        "[example.com]",
        ".host",
        "host..x",
        ".",
        "..",
        "ho st",
        "ho%20st",
        "ho\tst",
        "h\x80st",
        "h\xc3\xb6st",
        "host\n",
        " host",
        "host ",
        "ho,st",
        "ho*st",
        "*.host",
        "ho\\st",
        "a@b@c",
        "@",
        "u s@h",
        "u%4@h",
        "host/a b",
        "host/a\rb",
        "host/a#b",
        "host#",
        "host?a#b",
        "host/%",
        "host/%4",
        "host/%4g",
        "host/\"",
        "host/<",
        "host/[x]",
        "host/\\",
        "host/\x7f",
        "host/\xff",
        "host?\x01",
        "host?%zz",
        "host?{}",
    };
    struct inl_url url = {.port = 4711};

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(inl_url_parse(inl_str(wrong[i]), &url), INLETS_EINVAL);
        assert_int_equal(url.port, 4711); /* untouched */
    }
    /* The two digits are behind the end of the text. */
    assert_int_equal(inl_url_parse(inl_slice("host/%41", 6), &url),
                     INLETS_EINVAL);
    assert_int_equal(inl_url_parse(inl_slice("host/%41", 7), &url),
                     INLETS_EINVAL);
    assert_int_equal(inl_url_parse(inl_slice(NULL, 0), &url), INLETS_EINVAL);
    assert_int_equal(inl_url_parse(INL_LIT("ho\0st"), &url), INLETS_EINVAL);
    assert_int_equal(inl_url_parse(INL_LIT("host/\0"), &url), INLETS_EINVAL);
    assert_int_equal(inl_url_parse(INL_LIT("host:80\0"), &url), INLETS_EINVAL);
    assert_int_equal(inl_url_parse(INL_LIT("[::1\0]"), &url), INLETS_EINVAL);
}

static void hosts_have_a_longest_length(void **state)
{
    char text[400], buf[INL_HOST_MAX];
    struct inl_endpoint e;
    struct inl_url url;

    (void)state;
    memset(text, 'a', sizeof(text));
    assert_int_equal(inl_url_parse(inl_slice(text, 253), &url), 0);
    assert_int_equal(inl_url_parse(inl_slice(text, 254), &url), INLETS_EINVAL);
    assert_int_equal(inl_host_normalise(inl_slice(text, 253), buf, 253), 253);
    assert_int_equal(inl_host_normalise(inl_slice(text, 254), buf, 253),
                     INLETS_EINVAL);
    assert_int_equal(inl_endpoint_parse(inl_slice(text, 253), &e), 0);
    assert_int_equal(strlen(e.host), 253);
    assert_int_equal(inl_endpoint_parse(inl_slice(text, 254), &e),
                     INLETS_EINVAL);
    memcpy(text, "[::", 3);
    text[399] = ']';
    assert_int_equal(inl_url_parse(inl_slice(text, 400), &url), INLETS_EINVAL);
}

/* --- Host fields --- */

static void hosts_are_normalised(void **state)
{
    static const struct {
        const char *text, *host;
    } hosts[] = {
        {"Example.COM.:8080", "example.com"},
        {"example.com", "example.com"},
        {"EXAMPLE.com:1", "example.com"},
        {"a.", "a"},
        {"a:", "a"}, /* an empty port, RFC 3986 section 3.2.3 */
        {"a.:", "a"},
        {"[::1]:", "::1"},
        {"A_B-1", "a_b-1"},
        {"127.0.0.1:80", "127.0.0.1"},
        {"[::1]:80", "::1"},
        {"[::1]", "::1"},
        {"[0:0:0::0:1]", "::1"},
        {"[2001:DB8::Ab]", "2001:db8::ab"},
        {"[::FFFF:127.0.0.1]:9", "::ffff:127.0.0.1"},
    };
    char buf[INL_HOST_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(hosts); i++) {
        size_t n = strlen(hosts[i].host);

        assert_int_equal(
            inl_host_normalise(inl_str(hosts[i].text), buf, sizeof(buf)), n);
        assert_memory_equal(buf, hosts[i].host, n);
        assert_int_equal(inl_host_normalise(inl_str(hosts[i].text), buf, n), n);
        buf[0] = '!';
        assert_int_equal(inl_host_normalise(inl_str(hosts[i].text), buf, n - 1),
                         INLETS_EINVAL);
        assert_int_equal(buf[0], '!'); /* untouched */
    }
}

static void wrong_hosts_are_refused(void **state)
{
    static const char *const wrong[] = {
        "a:80:",       "[::1]:80:", "",         ":",       ":80",     ".",
        "..",          ".:80",      "a..",      "a..b",    ".a",      "a::",
        "a:0",         "a:65536",   "a:80:80",  "a:b",     "a:80 ",   "::1",
        "::1:80",      "[::1",      "[::1]a",   "[::1]::", "[::1]:0", "[::1].",
        "[]",          "[:]",       "[:::]",    "a b",     "a/b",     "a?b",
        "a#b",         "a@b",       "a%b",      "a%41",    "a,b",     "a\tb",
        "a\r\nb",      "\xc3\xa4",  "http://a", "*",       "*.a",     "a*",
        "[fe80::1%1]",
    };
    char buf[INL_HOST_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(
            inl_host_normalise(inl_str(wrong[i]), buf, sizeof(buf)),
            INLETS_EINVAL);
    }
    assert_int_equal(inl_host_normalise(inl_slice(NULL, 0), buf, sizeof(buf)),
                     INLETS_EINVAL);
    assert_int_equal(inl_host_normalise(INL_LIT("a\0b"), buf, sizeof(buf)),
                     INLETS_EINVAL);
    assert_int_equal(inl_host_normalise(INL_LIT("a\0"), buf, sizeof(buf)),
                     INLETS_EINVAL);
}

static void loopback_is_known(void **state)
{
    static const char *const loopback[] = {
        "localhost", "LocalHost", "127.0.0.1",       "127.255.255.254",
        "::1",       "0:0::1",    "::ffff:127.0.0.1"};
    static const char *const other[] = {
        "",
        "localhost.example.com",
        "xlocalhost",
        "127.0.0.1.example.com",
        "127.1",
        "127",
        "128.0.0.1",
        "0.0.0.0",
        "::",
        "::2",
        "::127.0.0.1",
        "::ffff:128.0.0.1",
        "1::ffff:127.0.0.1",
        "[::1]",
        "127.0.0.1 ",
        "2130706433",
        "0x7f.0.0.1",
        "example.com",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(loopback); i++) {
        assert_true(inl_host_is_loopback(inl_str(loopback[i])));
    }
    for (size_t i = 0; i < COUNT(other); i++) {
        assert_false(inl_host_is_loopback(inl_str(other[i])));
    }
    assert_false(inl_host_is_loopback(INL_LIT("127.0.0.1\0.example.com")));
    assert_false(inl_host_is_loopback(inl_slice(NULL, 0)));
}

/* --- Endpoints --- */

static const struct {
    const char *text, *host;
    bool wildcard;
    const char *path;
} endpoints[] = {
    {"", "", false, ""},
    {"*", "", false, ""},
    {"/", "", false, ""},
    {"*/", "", false, ""},
    {"/api", "", false, "/api"},
    {"/api/", "", false, "/api"},
    {"/api/v1//", "", false, "/api/v1"},
    {"*/api", "", false, "/api"},
    {"Example.com", "example.com", false, ""},
    {"example.com.", "example.com", false, ""},
    {"example.com/", "example.com", false, ""},
    {"example.com/a/b/", "example.com", false, "/a/b"},
    {"example.com/A%2f", "example.com", false, "/A%2f"},
    {"*.Example.com", "example.com", true, ""},
    {"*.example.com/x", "example.com", true, "/x"},
    {"*.com", "com", true, ""},
    {"[::1]", "::1", false, ""},
    {"[0::1]/x", "::1", false, "/x"},
    {"10.1.2.3", "10.1.2.3", false, ""},
};

static void endpoints_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(endpoints); i++) {
        struct inl_endpoint e;

        assert_int_equal(inl_endpoint_parse(inl_str(endpoints[i].text), &e), 0);
        assert_string_equal(e.host, endpoints[i].host);
        assert_int_equal(e.wildcard, endpoints[i].wildcard);
        assert_slice(e.path, endpoints[i].path);
    }
}

static void wrong_endpoints_are_refused(void **state)
{
    static const char *const wrong[] = {
        "*.",        "*.*",      "*.*.com", "**",       "*a",        "*.a:80",
        "*:80",      "a.*",      "a.*.b",   "*..a",     "*.[::1]",   "host:80",
        "host:80/x", "[::1]:80", "[::1",    "::1",      ":80",       ".",
        "a..b",      " ",        "a b",     "host/a b", "/a?b",      "/a#b",
        "/a\n",      "/\x7f",    "/%",      "/%1",      "/\xc3\xa4", "http://a",
        "u@host",    "?",        "host?q",  "host\\x",  "/a\\b",     "*./x",
    };
    struct inl_endpoint e = {.wildcard = true};

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(inl_endpoint_parse(inl_str(wrong[i]), &e),
                         INLETS_EINVAL);
        assert_true(e.wildcard); /* untouched */
    }
    assert_int_equal(inl_endpoint_parse(INL_LIT("/a\0"), &e), INLETS_EINVAL);
    assert_int_equal(inl_endpoint_parse(inl_slice(NULL, 0), &e), 0);
    assert_int_equal(e.path.len, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(given_ports_are_told_from_defaults),
        cmocka_unit_test(wrong_urls_are_refused),
        cmocka_unit_test(hosts_have_a_longest_length),
        cmocka_unit_test(hosts_are_normalised),
        cmocka_unit_test(wrong_hosts_are_refused),
        cmocka_unit_test(loopback_is_known),
        cmocka_unit_test(endpoints_are_taken_apart),
        cmocka_unit_test(wrong_endpoints_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
