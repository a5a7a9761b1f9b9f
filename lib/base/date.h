/* date.h: the wall clock, as HTTP writes it (IMF-fixdate, RFC 9110 5.6.7) for
 * people and caches, and as people write it (RFC 3339). */
#ifndef INL_BASE_DATE_H
#define INL_BASE_DATE_H

#include <inlets/types.h>
#include <stdbool.h>

/* "Sun, 06 Nov 1994 08:49:37 GMT" and NUL. */
#define INL_DATE_TEXT 30

/* Seconds since 1970 in UTC; empty beyond the year 9999. Returns buf. */
struct inlets_slice inl_date_format(int64_t seconds, char buf[INL_DATE_TEXT]);
struct inlets_slice inl_date_now(char buf[INL_DATE_TEXT]);
/* "2027-01-31", when that day begins, or "2027-01-31T12:00:00Z"; only in UTC.
 * false: it is no such date. */
bool inl_date_parse(struct inlets_slice text, int64_t *ret_seconds);

#endif
