/* date.c: see date.h. The names of days and months are English in every
 * locale, so strftime is not asked. */
#include "base/date.h"

#include "base/slice.h"
#include <stdio.h>
#include <time.h>

struct inlets_slice inl_date_format(int64_t seconds, char buf[INL_DATE_TEXT])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const time_t at = (time_t)seconds;
    struct tm tm;
    int n = -1;

    if (seconds >= 0 && gmtime_r(&at, &tm) != NULL) {
        n = snprintf(buf, INL_DATE_TEXT,
                     "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                     days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
                     tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    }
    if (n != INL_DATE_TEXT - 1) {
        buf[0] = '\0';
    }
    return inl_str(buf);
}

struct inlets_slice inl_date_now(char buf[INL_DATE_TEXT])
{
    return inl_date_format((int64_t)time(NULL), buf);
}

/* ---- RFC 3339 ----------------------------------------------------------- */

/* n digits at `at`; -1: they are none. */
static int digits(struct inlets_slice text, size_t at, size_t n)
{
    int value = 0;

    for (size_t i = at; i < at + n; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return -1;
        }
        value = value * 10 + (text.ptr[i] - '0');
    }
    return value;
}

static bool has_marks(struct inlets_slice text, const char *marks)
{
    for (size_t i = 0; i < text.len; i++) {
        if (marks[i] != '0' && text.ptr[i] != marks[i]) {
            return false;
        }
    }
    return true;
}

/* timegm says what a date that does not exist (30 February) would be. */
static bool is_same_day(const struct tm *a, const struct tm *b)
{
    return a->tm_year == b->tm_year && a->tm_mon == b->tm_mon &&
           a->tm_mday == b->tm_mday;
}

bool inl_date_parse(struct inlets_slice text, int64_t *ret_seconds)
{
    const bool has_time = text.len == 20;
    struct tm tm = {0}, real;
    time_t at;

    if ((text.len != 10 && !has_time) ||
        !has_marks(text, "0000-00-00T00:00:00Z")) {
        return false;
    }
    tm.tm_year = digits(text, 0, 4) - 1900;
    tm.tm_mon = digits(text, 5, 2) - 1;
    tm.tm_mday = digits(text, 8, 2);
    if (has_time) {
        tm.tm_hour = digits(text, 11, 2);
        tm.tm_min = digits(text, 14, 2);
        tm.tm_sec = digits(text, 17, 2);
    }
    if (tm.tm_year < 70 || tm.tm_mon < 0 || tm.tm_mday < 1 || tm.tm_hour < 0 ||
        tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 ||
        tm.tm_sec > 59) {
        return false;
    }
    real = tm;
    at = timegm(&real);
    if (!is_same_day(&real, &tm)) {
        return false;
    }
    *ret_seconds = (int64_t)at;
    return true;
}
