/* test_no_proxy.c: which hosts are reached without a proxy, and the URLs of
 * proxies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/no_proxy.h"
#include "base/proxy_url.h"
#include "base/slice.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What curl 7.88.1 does with --noproxy (a fake proxy was asked, or was not),
 * but for these: that curl reads no ranges of IPv6, which its manual has; nor
 * brackets; and it takes "8x" for 8, and nothing for 0. */
static const struct {
    const char *list, *host;
    bool has;
} lists[] = {
    {"*", "a.test", true},
    {"*", "::1", true},
    {"*", "10.0.0.1", true},
    {" *", "a.test", false},
    {"*,b", "a.test", false},
    {"", "a.test", false},
    {"a.test", "a.test", true},
    {"a.test", "A.TEST", true},
    {"A.Test", "a.test", true},
    {"a.test", "b.a.test", true},
    {"a.test", "c.b.a.test", true},
    {"a.test", "ba.test", false},
    {".a.test", "a.test", true},
    {".a.test", "b.a.test", true},
    {".a.test", "ba.test", false},
    {"..a.test", "a.test", false},
    {"a.test.", "a.test", true},
    {"a.test", "a.test.", true},
    {".a.test.", "b.a.test.", true},
    {"*.a.test", "b.a.test", false},
    {"b.test,a.test", "a.test", true},
    {"b.test, a.test", "a.test", true},
    {"b.test ,a.test", "a.test", true},
    {"b.test , a.test", "a.test", true},
    {"b.test a.test", "a.test", true},
    {"b.test  a.test", "a.test", true},
    {",,a.test", "a.test", true},
    {",a.test", "a.test", true},
    {", a.test", "a.test", true},
    {"b.test,,a.test", "a.test", true},
    {"b.test, ,a.test", "a.test", true},
    {"\ta.test", "a.test", true},
    {"a.test:80", "a.test", false},
    {"a.test:81", "a.test", false},
    {"test", "a.test", true},
    {".", "a.test", false},
    {"..", "a.test", false},
    {"b.a.test", "a.test", false},
    {"10.0.0.1", "10.0.0.1", true},
    {"10.0.0.1", "10.0.0.2", false},
    {"10.0.0.0/8", "10.1.2.3", true},
    {"10.1.2.3/8", "10.9.9.9", true},
    {"10.0.0.0/8", "11.1.2.3", false},
    {"10.0.0.0/32", "10.0.0.0", true},
    {"10.0.0.0/33", "10.0.0.0", false},
    {"10.0.0.0/0", "10.0.0.1", false},
    {"10.0.0.0/0", "10.0.0.0", true},
    {"0.0.0.0/0", "10.0.0.0", false},
    {"10.0.0.0/1", "10.0.0.0", true},
    {"10.0.0.", "10.0.0.1", false},
    {"0.0.1", "10.0.0.1", false},
    {".10.0.0.1", "10.0.0.1", false},
    {"10.0.0.1:80", "10.0.0.1", false},
    {"a.test,10.0.0.1", "10.0.0.1", true},
    {"localhost", "127.0.0.1", false},
    {"127.0.0.1", "localhost", false},
    {"localhost", "localhost", true},
    {"::1", "::1", true},
    {"::1", "0:0:0:0:0:0:0:1", true},
    {"[::1]", "::1", true},
    {"::1/128", "::1", true},
    {"::1/0", "::1", true},
    {"::/0", "::1", false},
    {"2001:db8::/32", "2001:db8:1::1", true},
    {"2001:db8::/32", "2001:db9::1", false},
    {"2001:DB8::/32", "2001:db8::1", true},
    {"2001:db8::/129", "2001:db8::", false},
    {"::ffff:10.0.0.1", "10.0.0.1", false},
    {"10.0.0.1", "::ffff:10.0.0.1", false},
    {"10.0.0.0/8", "::ffff:10.0.0.1", false},
    {"::ffff:0:0/96", "::ffff:10.0.0.1", true},
    {"::/1", "::1", true},
    {"::1", "::2", false},
    {"a.test/8", "a.test", false},
    {"10.0.0.0/8x", "10.1.1.1", false},
    {"10.0.0.0/", "10.0.0.0", false},
    {"10.0.0.0/-1", "10.0.0.0", false},
};

static void lists_are_read_as_curl_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(lists); i++) {
        /* Copies of their own length: nobody may read beyond. */
        struct inlets_slice list = inl_str(lists[i].list);
        struct inlets_slice host = inl_str(lists[i].host);
        char *a = malloc(list.len + 1), *b = malloc(host.len + 1);

        assert_non_null(a);
        assert_non_null(b);
        memcpy(a + 1, list.ptr, list.len);
        memcpy(b + 1, host.ptr, host.len);
        if (inl_no_proxy_has(inl_slice(a + 1, list.len),
                             inl_slice(b + 1, host.len)) != lists[i].has) {
            fail_msg("'%s' of '%s'", lists[i].host, lists[i].list);
        }
        free(a);
        free(b);
    }
    assert_false(inl_no_proxy_has(inl_str(NULL), INL_LIT("a.test")));
}

static const struct {
    const char *text, *host, *authorization, *label;
    unsigned port;
    bool is_tls;
} urls[] = {
    {"proxy", "proxy", NULL, "http://proxy:80", 80, false},
    {"proxy:3128", "proxy", NULL, "http://proxy:3128", 3128, false},
    {"http://proxy:3128", "proxy", NULL, "http://proxy:3128", 3128, false},
    {"http://proxy:3128/", "proxy", NULL, "http://proxy:3128", 3128, false},
    {"HTTP://Proxy", "Proxy", NULL, "http://Proxy:80", 80, false},
    {"https://proxy", "proxy", NULL, "https://proxy:443", 443, true},
    {"https://proxy:8443/", "proxy", NULL, "https://proxy:8443", 8443, true},
    {"http://[2001:db8::1]:8080", "2001:db8::1", NULL,
     "http://[2001:db8::1]:8080", 8080, false},
    {"http://user:pass@proxy:1", "proxy", "Basic dXNlcjpwYXNz",
     "http://proxy:1", 1, false},
    {"user:pass@proxy:1", "proxy", "Basic dXNlcjpwYXNz", "http://proxy:1", 1,
     false},
    {"http://user@proxy:1", "proxy", "Basic dXNlcjo=", "http://proxy:1", 1,
     false},
    {"http://user:@proxy:1", "proxy", "Basic dXNlcjo=", "http://proxy:1", 1,
     false},
    {"http://:pass@proxy:1", "proxy", "Basic OnBhc3M=", "http://proxy:1", 1,
     false},
    {"http://:@proxy:1", "proxy", "Basic Og==", "http://proxy:1", 1, false},
    {"http://@proxy:1", "proxy", NULL, "http://proxy:1", 1, false},
    {"http://a:b:c@proxy:1", "proxy", "Basic YTpiOmM=", "http://proxy:1", 1,
     false},
    {"http://a%40b:p%3a%2F%C3%a9@proxy:1", "proxy", "Basic YUBiOnA6L8Op",
     "http://proxy:1", 1, false},
    {"http://%20:+@proxy:1", "proxy", "Basic IDor", "http://proxy:1", 1, false},
};

static void proxies_have_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(urls); i++) {
        struct inl_proxy_url url;

        if (inl_proxy_url_parse(inl_str(urls[i].text), &url) != 0) {
            fail_msg("'%s'", urls[i].text);
        }
        assert_string_equal(url.host, urls[i].host);
        assert_string_equal(url.label, urls[i].label);
        assert_int_equal(url.port, urls[i].port);
        assert_int_equal(url.is_tls, urls[i].is_tls);
        if (urls[i].authorization == NULL) {
            assert_null(url.authorization);
        } else {
            assert_non_null(url.authorization);
            assert_string_equal(url.authorization, urls[i].authorization);
        }
        inl_proxy_url_fini(&url);
        inl_proxy_url_fini(&url);
        assert_int_equal(alloc_live, 0);
    }
}

static const struct {
    const char *text;
    int err;
} wrong_urls[] = {
    {"", INLETS_EINVAL},
    {"http://", INLETS_EINVAL},
    {"http://proxy:0", INLETS_EINVAL},
    {"http://proxy:65536", INLETS_EINVAL},
    {"http://proxy:3128/path", INLETS_EINVAL},
    {"http://proxy:3128?q", INLETS_EINVAL},
    {"http://proxy:3128#f", INLETS_EINVAL},
    {"http://pro xy", INLETS_EINVAL},
    {"http://a:b@c@proxy", INLETS_EINVAL}, /* which one is the host? */
    {"http://a:p/w@proxy", INLETS_EINVAL},
    {"http://a:%4@proxy", INLETS_EINVAL},
    {"http://a:%zz@proxy", INLETS_EINVAL},
    {"http://a%3Ab:c@proxy", INLETS_EINVAL}, /* RFC 7617 2 */
    {"http://a:b%0d%0aX:%20y@proxy", INLETS_EINVAL},
    {"http://a%00:b@proxy", INLETS_EINVAL},
    {"http://a:b%7f@proxy", INLETS_EINVAL},
    {"http://a:b\r\n@proxy", INLETS_EINVAL},
    {"socks5://proxy:1080", INLETS_ENOTSUP},
    {"socks5h://u:p@proxy:1080", INLETS_ENOTSUP},
    {"ftp://proxy", INLETS_ENOTSUP},
    {"ws://proxy:1", INLETS_ENOTSUP},
};

static void what_is_no_proxy_is_refused(void **state)
{
    struct inl_proxy_url url = {.port = 7};
    char text[5000] = "http://";

    (void)state;
    for (size_t i = 0; i < COUNT(wrong_urls); i++) {
        if (inl_proxy_url_parse(inl_str(wrong_urls[i].text), &url) !=
            wrong_urls[i].err) {
            fail_msg("'%s'", wrong_urls[i].text);
        }
        assert_int_equal(alloc_live, 0);
    }
    memset(text + 7, 'a', 4096);
    strcpy(text + 7 + 4096, "@p");
    assert_int_equal(inl_proxy_url_parse(inl_str(text), &url), 0);
    inl_proxy_url_fini(&url);
    strcpy(text + 7 + 4096, "a@p");
    url.port = 7;
    assert_int_equal(inl_proxy_url_parse(inl_str(text), &url), INLETS_EINVAL);
    assert_int_equal(url.port, 7); /* untouched */
}

static void without_memory_there_is_no_proxy(void **state)
{
    struct inl_proxy_url url;

    (void)state;
    for (size_t nth = 1; nth <= 3; nth++) {
        alloc_fail_nth = nth;
        assert_int_equal(
            inl_proxy_url_parse(INL_LIT("http://u:p@proxy:1"), &url),
            INLETS_ENOMEM);
        assert_int_equal(alloc_fail_nth, 0);
        assert_int_equal(alloc_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read_as_curl_does),
        cmocka_unit_test(proxies_have_urls),
        cmocka_unit_test(what_is_no_proxy_is_refused),
        cmocka_unit_test(without_memory_there_is_no_proxy),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
