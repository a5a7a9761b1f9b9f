/* fuzz_proxy_protocol.c: PROXY headers from whoever reaches the port as a
 * trusted proxy. The first byte says how the rest is cut into pieces. Beyond
 * not crashing: pieces do not matter, no more bytes are waited for than a
 * header has, and what was read is read the same when it is written as a line
 * of version 1. */
#include "base/slice.h"
#include "proto/proxy_protocol.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* Returns what the reader said; *ret_used: all that it used. */
static int feed(const uint8_t *data, size_t size, size_t step, size_t *ret_used,
                struct inl_proxy_header *ret)
{
    struct inl_proxy_reader r = {0};
    size_t at = 0;
    int rc = 0;

    while (rc == 0 && at < size) {
        size_t n = size - at < step ? size - at : step;
        size_t used = n + 1;

        rc = inl_proxy_feed(&r, data + at, n, &used, ret);
        CHECK(used <= n && (rc != 0 || used == n));
        at += used;
        CHECK(r.seen == at && r.have <= sizeof(r.buf));
    }
    CHECK(rc == 0 || rc == 1 || rc == INLETS_EBADMESSAGE);
    CHECK(rc >= 0 || r.reason != NULL);
    *ret_used = at;
    return rc;
}

static void check_equal(const struct inl_proxy_header *a,
                        const struct inl_proxy_header *b)
{
    CHECK(a->kind == b->kind);
    CHECK(a->kind != INL_PROXY_TOLD ||
          (memcmp(&a->source, &b->source, sizeof(a->source)) == 0 &&
           memcmp(&a->destination, &b->destination, sizeof(a->source)) == 0 &&
           a->source_port == b->source_port &&
           a->destination_port == b->destination_port));
}

/* As TCP6 when one of the two is of IPv6. */
static void check_line(const struct inl_proxy_header *h)
{
    bool v4 = inl_ip_is_v4(&h->source) && inl_ip_is_v4(&h->destination);
    bool mixed = inl_ip_is_v4(&h->source) != inl_ip_is_v4(&h->destination);
    char source[INL_IP_TEXT], destination[INL_IP_TEXT], line[128];
    struct inl_proxy_header again;
    size_t used;
    int n;

    if (mixed) {
        return; /* a line has no way to say it without "::ffff:" */
    }
    n = snprintf(line, sizeof(line), "PROXY %s %s %s %u %u\r\n",
                 v4 ? "TCP4" : "TCP6", inl_ip_format(&h->source, source).ptr,
                 inl_ip_format(&h->destination, destination).ptr,
                 (unsigned)h->source_port, (unsigned)h->destination_port);
    CHECK(n > 0 && n <= (int)INL_PROXY_LINE_MAX);
    CHECK(feed((const uint8_t *)line, (size_t)n, (size_t)n, &used, &again) ==
          1);
    CHECK(used == (size_t)n);
    check_equal(h, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inl_proxy_header whole = {0}, cut = {0};
    size_t used, used_cut, step;
    int rc;

    if (size < 2) {
        return 0;
    }
    step = data[0] == 0 ? 1 : data[0];
    rc = feed(data + 1, size - 1, size, &used, &whole);
    CHECK(feed(data + 1, size - 1, step, &used_cut, &cut) == rc);
    CHECK(used == used_cut);
    CHECK(rc != 0 ||
          used < (data[1] == 'P' ? INL_PROXY_LINE_MAX : 16 + INL_PROXY_V2_MAX));
    if (rc == 1) {
        check_equal(&whole, &cut);
        if (whole.kind == INL_PROXY_TOLD) {
            check_line(&whole);
        }
    }
    return 0;
}
