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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
