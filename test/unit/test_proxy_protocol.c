/* test_proxy_protocol.c: PROXY headers of both versions, whole and byte by
 * byte, and what only looks like one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "proto/proxy_protocol.h"
#include <inlets/err.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
/* Bytes with NULs in them. */
#define BYTES(s)                                                               \
    {                                                                          \
        (s), sizeof(s) - 1                                                     \
    }

static const char request[] = "GET / HTTP/1.1\r\n";

/* Feeds data in pieces of `step` bytes; *ret_used: all that were used. */
static int feed(struct inlets_slice data, size_t step, size_t *ret_used,
                struct inl_proxy_header *ret)
{
    struct inl_proxy_reader r = {0};
    size_t at = 0;
    int rc = 0;

    while (rc == 0 && at < data.len) {
        size_t n = data.len - at < step ? data.len - at : step;
        size_t used = 0;

        rc = inl_proxy_feed(&r, (const uint8_t *)data.ptr + at, n, &used, ret);
        assert_true(used <= n);
        assert_true(rc != 0 || used == n);
        at += used;
    }
    if (rc < 0) {
        assert_int_equal(rc, INLETS_EBADMESSAGE);
        assert_non_null(r.reason);
    }
    *ret_used = at;
    return rc;
}

static struct inlets_slice with_request(struct inlets_slice header, char *buf,
                                        size_t size)
{
    assert_true(header.len + sizeof(request) <= size);
    memcpy(buf, header.ptr, header.len);
    memcpy(buf + header.len, request, sizeof(request) - 1);
    return inl_slice(buf, header.len + sizeof(request) - 1);
}

/* --- What is right --- */

static const struct {
    struct inlets_slice header;
    enum inl_proxy_kind kind;
    const char *source, *destination;
    unsigned source_port, destination_port;
} good[] = {
    {BYTES("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), INL_PROXY_TOLD,
     "192.168.0.1", "192.168.0.11", 56324, 443},
    {BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
     INL_PROXY_TOLD, "255.255.255.255", "255.255.255.255", 65535, 65535},
    {BYTES("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), INL_PROXY_TOLD, "0.0.0.0",
     "0.0.0.0", 0, 0},
    {BYTES("PROXY TCP6 2001:DB8::1 ::1 1 80\r\n"), INL_PROXY_TOLD,
     "2001:db8::1", "::1", 1, 80},
    {BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     INL_PROXY_TOLD, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, 65535},
    {BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n"),
     INL_PROXY_TOLD, "192.0.2.1", "192.0.2.2", 1, 2},
    {BYTES("PROXY UNKNOWN\r\n"), INL_PROXY_UNKNOWN, "", "", 0, 0},
    {BYTES("PROXY UNKNOWN \r\n"), INL_PROXY_UNKNOWN, "", "", 0, 0},
    {BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     INL_PROXY_UNKNOWN, "", "", 0, 0},
    {BYTES("PROXY UNKNOWN TCP4 what ever\r\n"), INL_PROXY_UNKNOWN, "", "", 0,
     0},
    {BYTES(SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\x04\1\xbb"),
     INL_PROXY_TOLD, "192.0.2.1", "192.0.2.2", 56324, 443},
    {BYTES(SIGNATURE "\x21\x11\0\x10\xc0\0\2\1\xc0\0\2\2\xdc\x04\1\xbb"
                     "\4\0\1\0"),
     INL_PROXY_TOLD, "192.0.2.1", "192.0.2.2", 56324, 443}, /* a NOOP TLV */
    {BYTES(SIGNATURE "\x21\x11\0\x0e\xc0\0\2\1\xc0\0\2\2\0\1\0\2\xff\xff"),
     INL_PROXY_TOLD, "192.0.2.1", "192.0.2.2", 1, 2}, /* a TLV cut short */
    {BYTES(SIGNATURE "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\x50"),
     INL_PROXY_TOLD, "2001:db8::1", "::1", 1, 80},
    {BYTES(SIGNATURE "\x20\0\0\0"), INL_PROXY_LOCAL, "", "", 0, 0},
    {BYTES(SIGNATURE "\x20\xff\0\4abcd"), INL_PROXY_LOCAL, "", "", 0, 0},
    {BYTES(SIGNATURE "\x20\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\x04\1\xbb"),
     INL_PROXY_LOCAL, "", "", 0, 0},
    {BYTES(SIGNATURE "\x21\0\0\0"), INL_PROXY_UNKNOWN, "", "", 0, 0},
    {BYTES(SIGNATURE "\x21\0\0\3abc"), INL_PROXY_UNKNOWN, "", "", 0, 0},
    {BYTES(SIGNATURE "\x21\x10\0\0"), INL_PROXY_UNKNOWN, "", "", 0, 0},
    {BYTES(SIGNATURE "\x21\x12\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\0\2"),
     INL_PROXY_UNKNOWN, "", "", 0, 0}, /* a datagram */
};

static void expect_good(size_t i, size_t step)
{
    struct inl_proxy_header got = {0};
    struct inlets_slice data;
    char buf[512], text[INL_IP_TEXT];
    size_t used;

    data = with_request(good[i].header, buf, sizeof(buf));
    if (feed(data, step, &used, &got) != 1 || used != good[i].header.len ||
        got.kind != good[i].kind) {
        fail_msg("case %zu by %zu: used %zu, kind %d", i, step, used,
                 (int)got.kind);
    }
    if (got.kind == INL_PROXY_TOLD) {
        assert_string_equal(inl_ip_format(&got.source, text).ptr,
                            good[i].source);
        assert_string_equal(inl_ip_format(&got.destination, text).ptr,
                            good[i].destination);
        assert_int_equal(got.source_port, good[i].source_port);
        assert_int_equal(got.destination_port, good[i].destination_port);
    }
}

static void headers_are_read_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        for (size_t step = 1; step <= good[i].header.len + 3; step++) {
            expect_good(i, step);
        }
    }
}

/* Every beginning of a header is only a beginning. */
static void beginnings_wait_for_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        for (size_t len = 0; len < good[i].header.len; len++) {
            struct inl_proxy_header got;
            size_t used;

            assert_int_equal(
                feed(inl_slice(good[i].header.ptr, len), 200, &used, &got), 0);
            assert_int_equal(used, len);
        }
    }
}

static void unix_addresses_and_tlvs_are_skipped(void **state)
{
    static const struct {
        unsigned char family, high, low;
        enum inl_proxy_kind kind;
    } cases[] = {{0x31, 0, 216, INL_PROXY_UNKNOWN},
                 {0x32, 0, 250, INL_PROXY_UNKNOWN},
                 {0x00, 0x10, 0, INL_PROXY_UNKNOWN},
                 {0x11, 0x10, 0, INL_PROXY_TOLD},
                 {0x21, 0x0f, 0xff, INL_PROXY_TOLD}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t size = 16u + cases[i].high * 256u + cases[i].low;
        char buf[16 + INL_PROXY_V2_MAX + 100] = {0};
        struct inl_proxy_header got;
        size_t used;

        memcpy(buf, SIGNATURE "\x21", 13);
        buf[13] = (char)cases[i].family;
        buf[14] = (char)cases[i].high;
        buf[15] = (char)cases[i].low;
        for (size_t step = 1; step < sizeof(buf); step = 2 * step + 1) {
            assert_int_equal(
                feed(inl_slice(buf, sizeof(buf)), step, &used, &got), 1);
            assert_int_equal(used, size);
            assert_int_equal(got.kind, cases[i].kind);
        }
    }
}

/* --- What is wrong --- */

/* `used`: at which byte it is seen, at the latest. */
static const struct {
    struct inlets_slice data;
    size_t used;
} bad[] = {
    {BYTES("GET / HTTP/1.1\r\n"), 1},
    {BYTES("POST / HTTP/1.1\r\n"), 2},
    {BYTES("PRI * HTTP/2.0\r\n"), 3},
    {BYTES("\x16\x03\x01"), 1},
    {BYTES("\r\nGET / HTTP/1.1\r\n"), 3},
    {BYTES("\n"), 1},
    {BYTES("\0"), 1},
    {BYTES("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), 1},
    {BYTES("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n"), 6},
    {BYTES("PROXY\r\n"), 6},
    {BYTES("PROXY \r\n"), 8},
    {BYTES("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP4\r\n"), 0},
    {BYTES("PROXY TCP4 \r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4  1 2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 +2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 0x2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 000002\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n"), 0},
    {BYTES("PROXY TCP4 ::1 ::1 1 2\r\n"), 0},
    {BYTES("PROXY TCP4 ::ffff:1.2.3.4 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP6 ::1 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY TCP6 [::1] [::1] 1 2\r\n"), 0},
    {BYTES("PROXY TCP6 fe80::1%lo ::1 1 2\r\n"), 0},
    {BYTES("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n"), 0},
    {BYTES("PROXY UNKNOWNS\r\n"), 0},
    {BYTES("PROXY unknown\r\n"), 0},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"), 31},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX"), 32},
    {BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n"), 32},
    {BYTES("PROXY UNKNOWN a\nb\r\n"), 16},
    {BYTES("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"), 0},
    {BYTES("\r\n\r\n\0\r\nQUIX\n\x21\x11"), 11},
    {BYTES(SIGNATURE "\x11\x11\0\x0c"), 13}, /* version 1 */
    {BYTES(SIGNATURE "\x31\x11\0\x0c"), 13}, /* version 3 */
    {BYTES(SIGNATURE "\x22\x11\0\x0c"), 16}, /* an unknown command */
    {BYTES(SIGNATURE "\x2f\x11\0\x0c"), 16},
    {BYTES(SIGNATURE "\x21\x41\0\x0c"), 16}, /* an unknown family */
    {BYTES(SIGNATURE "\x21\xf1\0\x0c"), 16},
    {BYTES(SIGNATURE "\x21\x13\0\x0c"), 16}, /* an unknown transport */
    {BYTES(SIGNATURE "\x21\x11\0\x0b"), 16}, /* too short */
    {BYTES(SIGNATURE "\x21\x21\0\x23"), 16},
    {BYTES(SIGNATURE "\x21\x31\0\xd7"), 16},
    {BYTES(SIGNATURE "\x21\x11\0\0"), 16},
    {BYTES(SIGNATURE "\x21\x11\x10\1"), 16}, /* too long */
    {BYTES(SIGNATURE "\x20\0\xff\xff"), 16},
    {BYTES(SIGNATURE "\x21\0\xff\xff"), 16},
};

static void what_is_no_header_is_seen_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        size_t limit = bad[i].used > 0 ? bad[i].used : bad[i].data.len;

        for (size_t step = 1; step <= bad[i].data.len; step++) {
            struct inl_proxy_header got;
            size_t used;

            if (feed(bad[i].data, step, &used, &got) >= 0 || used > limit) {
                fail_msg("case %zu by %zu: used %zu", i, step, used);
            }
        }
    }
}

/* 107 bytes with CRLF are a line, 108 are not, and no more are waited for. */
static void lines_are_bounded(void **state)
{
    char buf[200];
    struct inl_proxy_header got;
    size_t used;

    (void)state;
    memset(buf, 'x', sizeof(buf));
    memcpy(buf, "PROXY UNKNOWN ", 14);
    memcpy(buf + 105, "\r\n", 2);
    assert_int_equal(feed(inl_slice(buf, 200), 1, &used, &got), 1);
    assert_int_equal(used, INL_PROXY_LINE_MAX);
    memcpy(buf + 105, "x\r\n", 3);
    assert_true(feed(inl_slice(buf, 200), 1, &used, &got) < 0);
    assert_true(used <= INL_PROXY_LINE_MAX);
    assert_true(feed(inl_slice(buf, 200), 200, &used, &got) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_read_in_any_pieces),
        cmocka_unit_test(beginnings_wait_for_more),
        cmocka_unit_test(unix_addresses_and_tlvs_are_skipped),
        cmocka_unit_test(what_is_no_header_is_seen_at_once),
        cmocka_unit_test(lines_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
