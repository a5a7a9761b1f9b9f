/* test_date.c: dates as HTTP writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/date.h"
#include "base/slice.h"

static const struct {
    int64_t seconds;
    const char *text;
} dates[] = {
    {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, /* of RFC 9110 */
    {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
    {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
    {1798761599, "Thu, 31 Dec 2026 23:59:59 GMT"},
    {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
    {253402300800, ""},
    {INT64_MAX, ""},
    {-1, ""},
};

static void dates_are_written(void **state)
{
    char buf[INL_DATE_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
        assert_string_equal(inl_date_format(dates[i].seconds, buf).ptr,
                            dates[i].text);
    }
    assert_int_equal(inl_date_now(buf).len, INL_DATE_TEXT - 1);
}

static const struct {
    const char *text;
    int64_t seconds; /* -1: it is no date */
} stamps[] = {
    {"1970-01-01", 0},
    {"2000-02-29", 951782400},
    {"2026-12-31T23:59:59Z", 1798761599},
    {"2027-01-31", 1801353600},
    {"2027-01-31T12:00:00Z", 1801396800},
    {"2027-02-29", -1},
    {"2027-00-10", -1},
    {"2027-13-01", -1},
    {"2027-01-32", -1},
    {"1969-12-31", -1},
    {"2027-01-31T24:00:00Z", -1},
    {"2027-01-31T23:60:00Z", -1},
    {"2027-01-31T23:59:60Z", -1},
    {"2027-01-31T12:00:00", -1},
    {"2027-01-31T12:00:00+01:00", -1},
    {"2027-01-31t12:00:00z", -1},
    {"2027/01/31", -1},
    {"2027-1-31", -1},
    {"+027-01-31", -1},
    {"", -1},
};

static void dates_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(stamps) / sizeof(stamps[0]); i++) {
        int64_t seconds = -1;
        bool is_date = inl_date_parse(inl_str(stamps[i].text), &seconds);

        assert_int_equal(is_date, stamps[i].seconds >= 0);
        assert_int_equal(seconds, stamps[i].seconds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_written),
        cmocka_unit_test(dates_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
