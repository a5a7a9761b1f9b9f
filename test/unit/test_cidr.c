/* test_cidr.c: addresses and ranges of them, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cidr.h"
#include "base/slice.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- Addresses --- */

static const struct {
    const char *text, *formatted; /* NULL: no address */
    bool is_v4, is_loopback;
} addresses[] = {
    {"0.0.0.0", "0.0.0.0", true, false},
    {"192.0.2.1", "192.0.2.1", true, false},
    {"255.255.255.255", "255.255.255.255", true, false},
    {"127.0.0.1", "127.0.0.1", true, true},
    {"127.255.0.9", "127.255.0.9", true, true},
    {"::ffff:192.0.2.1", "192.0.2.1", true, false},
    {"::FFFF:7f00:1", "127.0.0.1", true, true},
    {"::1", "::1", false, true},
    {"::", "::", false, false},
    {"2001:DB8:0:0::1", "2001:db8::1", false, false},
    {"fe80::1", "fe80::1", false, false},
    {"1111:2222:3333:4444:5555:6666:7777:8888",
     "1111:2222:3333:4444:5555:6666:7777:8888", false, false},
    {"", NULL, false, false},
    {"1", NULL, false, false},
    {"1.2.3", NULL, false, false},
    {"1.2.3.4.5", NULL, false, false},
    {"1.2.3.256", NULL, false, false},
    {"1.2.3.04", NULL, false, false},
    {" 1.2.3.4", NULL, false, false},
    {"1.2.3.4 ", NULL, false, false},
    {"1.2.3.4:80", NULL, false, false},
    {"[::1]", NULL, false, false},
    {"fe80::1%eth0", NULL, false, false},
    {":::", NULL, false, false},
    {"1::2::3", NULL, false, false},
    {"localhost", NULL, false, false},
    {"11111111111111111111111111111111111111111111111", NULL, false, false},
};

static void addresses_are_read_and_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        char buf[INL_IP_TEXT];
        struct inl_ip ip;
        bool good = inl_ip_parse(inl_str(addresses[i].text), &ip);

        if (good != (addresses[i].formatted != NULL)) {
            fail_msg("%s", addresses[i].text);
        }
        if (good) {
            assert_string_equal(inl_ip_format(&ip, buf).ptr,
                                addresses[i].formatted);
            assert_int_equal(inl_ip_is_v4(&ip), addresses[i].is_v4);
            assert_int_equal(inl_ip_is_loopback(&ip), addresses[i].is_loopback);
        }
    }
}

static void a_nul_does_not_end_an_address(void **state)
{
    struct inl_ip ip;

    (void)state;
    assert_false(inl_ip_parse(INL_LIT("1.2.3.4\0"), &ip));
    assert_false(inl_ip_parse(inl_slice(NULL, 0), &ip));
}

static void bytes_make_addresses(void **state)
{
    static const uint8_t v4[] = {192, 0, 2, 1};
    static const uint8_t v6[16] = {0x20, 0x01, [15] = 1};
    char buf[INL_IP_TEXT];
    struct inl_ip ip = inl_ip_v4(v4);

    (void)state;
    assert_string_equal(inl_ip_format(&ip, buf).ptr, "192.0.2.1");
    ip = inl_ip_v6(v6);
    assert_string_equal(inl_ip_format(&ip, buf).ptr, "2001::1");
}

/* --- Ranges --- */

static const struct {
    const char *range, *in, *out; /* space lists */
} ranges[] = {
    {"10.0.0.0/8", "10.0.0.0 10.255.255.255 ::ffff:10.1.2.3",
     "9.255.255.255 11.0.0.0 ::1 a00::"},
    {"10.1.2.3/8", "10.0.0.0 10.9.9.9", "11.1.2.3"},
    {"192.0.2.128/25", "192.0.2.128 192.0.2.255", "192.0.2.127 192.0.3.128"},
    {"192.0.2.4/30", "192.0.2.4 192.0.2.7", "192.0.2.3 192.0.2.8"},
    {"192.0.2.1", "192.0.2.1 ::ffff:c000:201", "192.0.2.0 192.0.2.2"},
    {"192.0.2.1/32", "192.0.2.1", "192.0.2.0"},
    {"0.0.0.0/0", "0.0.0.0 255.255.255.255 ::ffff:1.2.3.4", ":: ::1 2001::"},
    {"::/0", ":: ::1 ffff::", "1.2.3.4 ::ffff:1.2.3.4"},
    {"2001:db8::/32", "2001:db8:: 2001:db8:ffff::1", "2001:db9:: 1.2.3.4"},
    {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
    {"2001:db8::1", "2001:db8::1", "2001:db8::2"},
    {"::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0 ::1"},
    {"::ffff:0:0/96", "1.2.3.4", "::1"},
    {"::ffff:0:0/95", "", "1.2.3.4"},
    {"::1/128", "::1", "::2 127.0.0.1"},
};

static void expect_all(const char *range, const char *list, bool inside)
{
    struct inl_cidr_set set = {0};
    struct inlets_slice word = inl_str(list), rest;

    assert_int_equal(inl_cidr_set_add(&set, inl_str(range), NULL), 0);
    assert_int_equal(set.n, 1);
    while (word.len > 0) {
        size_t end = inl_slice_find(word, ' ');

        rest = inl_slice_from(word, end + 1);
        word.len = end;
        if (inl_cidr_set_has_text(&set, word) != inside) {
            fail_msg("%s and %.*s", range, (int)word.len, word.ptr);
        }
        word = rest;
    }
    inl_cidr_set_fini(&set);
}

static void ranges_hold_what_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(ranges); i++) {
        expect_all(ranges[i].range, ranges[i].in, true);
        expect_all(ranges[i].range, ranges[i].out, false);
    }
}

static const char *const bad_ranges[] = {
    "",           "/8",           "10.0.0.0/",   "10.0.0.0/33", "10.0.0.0/-1",
    "10.0.0.0/a", "10.0.0.0/8/8", "10.0.0/8",    "::/129",      "::1/1000",
    "[::1]/128",  "host",         "10.0.0.0\\8", "10.0.0.0/ 8", "*",
};

static void bad_ranges_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad_ranges); i++) {
        struct inl_cidr range;

        if (inl_cidr_parse(inl_str(bad_ranges[i]), &range)) {
            fail_msg("%s", bad_ranges[i]);
        }
    }
}

/* --- Sets --- */

static void lists_have_commas_and_spaces(void **state)
{
    struct inl_cidr_set set = {0};

    (void)state;
    assert_int_equal(
        inl_cidr_set_add(&set, INL_LIT(" 10.0.0.0/8,, ::1\t192.0.2.1 ,\n"),
                         NULL),
        0);
    assert_int_equal(inl_cidr_set_add(&set, INL_LIT("2001:db8::/32"), NULL), 0);
    assert_int_equal(inl_cidr_set_add(&set, inl_slice(NULL, 0), NULL), 0);
    assert_int_equal(set.n, 4);
    assert_true(inl_cidr_set_has_text(&set, INL_LIT("10.1.1.1")));
    assert_true(inl_cidr_set_has_text(&set, INL_LIT("::1")));
    assert_true(inl_cidr_set_has_text(&set, INL_LIT("192.0.2.1")));
    assert_true(inl_cidr_set_has_text(&set, INL_LIT("2001:db8::9")));
    assert_false(inl_cidr_set_has_text(&set, INL_LIT("192.0.2.2")));
    assert_false(inl_cidr_set_has_text(&set, INL_LIT("localhost")));
    assert_false(inl_cidr_set_has_text(&set, INL_LIT("")));
    inl_cidr_set_fini(&set);
    assert_false(inl_cidr_set_has_text(&set, INL_LIT("10.1.1.1")));
}

static void what_is_wrong_is_named(void **state)
{
    struct inl_cidr_set set = {0};
    struct inlets_slice bad = {NULL, 0};

    (void)state;
    assert_int_equal(
        inl_cidr_set_add(&set, INL_LIT("::1, 10.0.0.0/33 ::2"), &bad),
        INLETS_EINVAL);
    assert_true(inl_slice_eq(bad, INL_LIT("10.0.0.0/33")));
    assert_int_equal(set.n, 1);
    inl_cidr_set_fini(&set);
}

static void sets_are_bounded(void **state)
{
    struct inl_cidr_set set = {0};
    struct inlets_slice bad = {NULL, 0};
    char text[32];

    (void)state;
    for (unsigned i = 0; i < INL_CIDR_SET_MAX; i++) {
        snprintf(text, sizeof(text), "10.0.%u.%u", i / 256, i % 256);
        assert_int_equal(inl_cidr_set_add(&set, inl_str(text), NULL), 0);
    }
    assert_true(inl_cidr_set_has_text(&set, inl_str(text)));
    assert_true(inl_cidr_set_has_text(&set, INL_LIT("10.0.0.0")));
    assert_int_equal(inl_cidr_set_add(&set, INL_LIT("::1"), &bad),
                     INLETS_EINVAL);
    assert_true(inl_slice_eq(bad, INL_LIT("::1")));
    inl_cidr_set_fini(&set);
}

static void memory_that_runs_out_is_told(void **state)
{
    struct inl_cidr_set set = {0};
    size_t live = alloc_live;

    (void)state;
    alloc_fail_nth = 2; /* when the set grows */
    assert_int_equal(inl_cidr_set_add(&set,
                                      INL_LIT("10.0.0.1 10.0.0.2 10.0.0.3 "
                                              "10.0.0.4 10.0.0.5 10.0.0.6 "
                                              "10.0.0.7 10.0.0.8 10.0.0.9"),
                                      NULL),
                     INLETS_ENOMEM);
    alloc_fail_nth = 0;
    assert_true(inl_cidr_set_has_text(&set, INL_LIT("10.0.0.8")));
    assert_false(inl_cidr_set_has_text(&set, INL_LIT("10.0.0.9")));
    inl_cidr_set_fini(&set);
    assert_int_equal(alloc_live, live);
}

static void no_set_holds_nothing(void **state)
{
    struct inl_ip ip;

    (void)state;
    assert_true(inl_ip_parse(INL_LIT("10.0.0.1"), &ip));
    assert_false(inl_cidr_set_has(NULL, &ip));
    assert_false(inl_cidr_set_has_text(NULL, INL_LIT("10.0.0.1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_written),
        cmocka_unit_test(a_nul_does_not_end_an_address),
        cmocka_unit_test(bytes_make_addresses),
        cmocka_unit_test(ranges_hold_what_they_should),
        cmocka_unit_test(bad_ranges_are_refused),
        cmocka_unit_test(lists_have_commas_and_spaces),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(sets_are_bounded),
        cmocka_unit_test(memory_that_runs_out_is_told),
        cmocka_unit_test(no_set_holds_nothing),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
