/* no_proxy.h: which hosts are reached without the proxy: lists as NO_PROXY
 * has them, read as curl reads them. */
#ifndef INL_BASE_NO_PROXY_H
#define INL_BASE_NO_PROXY_H

#include <inlets/types.h>
#include <stdbool.h>

/* Is the host of a URL (a name, or an address without brackets) in the list?
 *
 * The list has commas between its elements, and blanks around them count for
 * nothing. "*" alone is every host. A name stands for itself and for all names
 * below it ("example.com" for "a.example.com"), in either case, with or without
 * a dot in front or behind. An address stands for itself, "10.0.0.0/8" and
 * "2001:db8::/32" for a range; a range of 0 bits is the address alone. A port
 * is part of no name: "example.com:80" is in no list.
 *
 * More than curl has: brackets around an address of IPv6 do not count. */
bool inl_no_proxy_has(struct inlets_slice list, struct inlets_slice host);

#endif
