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
