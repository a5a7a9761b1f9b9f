/* fuzz_url.c: URLs, Host fields and endpoints. Any bytes may come: a visitor
 * chooses the Host field, a client its endpoints. Beyond not crashing: what
 * is accepted is inside the text, and normalising twice is normalising once,
 * or two parts of the program could see two hosts. */
#include "base/slice.h"
#include "base/url.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            abort();                                                           \
        }                                                                      \
    } while (0)

static void check_inside(struct inlets_slice text, struct inlets_slice part)
{
    CHECK(part.len == 0 ||
          (part.ptr >= text.ptr && part.ptr + part.len <= text.ptr + text.len));
}

static void check_host(struct inlets_slice text, bool is_ipv6)
{
    char once[INL_HOST_MAX + 2], twice[INL_HOST_MAX];
    int n = inl_host_normalise(text, once + 1, INL_HOST_MAX);
    int again;

    if (n < 0) {
        return;
    }
    CHECK(n > 0 && n <= INL_HOST_MAX);
    for (int i = 1; i <= n; i++) {
        CHECK(once[i] > ' ' && once[i] < 0x7f && once[i] == inl_lower(once[i]));
    }
    /* An address loses its brackets; it needs them to be read again. */
    if (is_ipv6) {
        once[0] = '[';
        once[n + 1] = ']';
        again = inl_host_normalise(inl_slice(once, (size_t)n + 2), twice,
                                   sizeof(twice));
    } else {
        again = inl_host_normalise(inl_slice(once + 1, (size_t)n), twice,
                                   sizeof(twice));
    }
    CHECK(again == n && memcmp(once + 1, twice, (size_t)n) == 0);
    CHECK(inl_host_normalise(text, twice, (size_t)n - 1) < 0);
}

static void check_url(struct inlets_slice text)
{
    struct inl_url url;

    if (inl_url_parse(text, &url) != 0) {
        return;
    }
    check_inside(text, url.scheme);
    check_inside(text, url.userinfo);
    check_inside(text, url.host);
    check_inside(text, url.path);
    check_inside(text, url.query);
    CHECK(url.host.len > 0 && url.host.len <= INL_HOST_MAX);
    CHECK(url.port <= 65535 && (url.port > 0 || !url.port_is_given));
    CHECK(url.path.len == 0 || url.path.ptr[0] == '/');
    CHECK(inl_slice_find(url.path, '?') == url.path.len);
    if (!url.host_is_ipv6) {
        char host[INL_HOST_MAX];

        CHECK(inl_host_normalise(url.host, host, sizeof(host)) > 0);
    }
}

static void check_endpoint(struct inlets_slice text)
{
    struct inl_endpoint e;
    size_t len;

    if (inl_endpoint_parse(text, &e) != 0) {
        return;
    }
    len = strnlen(e.host, sizeof(e.host));
    CHECK(len <= INL_HOST_MAX);
    CHECK(len > 0 || !e.wildcard);
    check_inside(text, e.path);
    CHECK(e.path.len == 0 ||
          (e.path.ptr[0] == '/' && e.path.ptr[e.path.len - 1] != '/'));
    if (len > 0 && strchr(e.host, ':') == NULL) {
        char host[INL_HOST_MAX];

        CHECK(inl_host_normalise(inl_str(e.host), host, sizeof(host)) ==
              (int)len);
        CHECK(memcmp(host, e.host, len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inlets_slice text = inl_slice(data, size);

    check_url(text);
    check_host(text, size > 0 && data[0] == '[');
    check_endpoint(text);
    (void)inl_host_is_loopback(text);
    return 0;
}
