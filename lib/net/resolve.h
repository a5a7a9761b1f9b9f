/* net/resolve.h: names to addresses, over libuv: getaddrinfo on its thread
 * pool. What the dialer and inl_resolve of <base/dial.h> share.
 *
 * The dialer asks one question for each family, since getaddrinfo answers one
 * for both (AF_UNSPEC) only when the last of its A and AAAA queries has ended,
 * and a name server that drops AAAA queries then costs what resolv.conf says
 * (RFC 8305 section 3). inl_resolve wants all addresses and asks for both.
 *
 * libuv lets half of its threads (two of four) resolve at a time, so a dead
 * resolver leaves the others for files. What has not begun is cancelled with
 * its dial. */
#ifndef INL_NET_RESOLVE_H
#define INL_NET_RESOLVE_H

#include "base/dial.h"
#include "net/loop.h"
#include <netdb.h>
#include <stdbool.h>

/* Is this a name that may be asked for, or an address? */
bool inl_resolve_is_host(const char *host);

/* Asks for a family, or AF_UNSPEC; 0 or libuv's error (then `answered` does
 * not run). */
int inl_resolve_ask(struct inl_loop *loop, uv_getaddrinfo_t *req,
                    const char *host, int family, uv_getaddrinfo_cb answered);

/* What libuv says of a question, to ours: INLETS_ENOMEM or INLETS_EDNS. */
int inl_resolve_error(int status);

/* Adds the addresses of a list, in its order, to the n that were picked: those
 * that are not among them, up to INL_ADDRESSES_MAX. Returns how many there are
 * then. */
size_t inl_resolve_pick(struct addrinfo *list,
                        struct addrinfo *picked[INL_ADDRESSES_MAX], size_t n);

/* An address with the name of its interface: "fe80::1%eth0". Asks nobody and
 * does not block. */
bool inl_resolve_to_text(const struct addrinfo *ai,
                         char text[INL_DIAL_ADDRESS_MAX]);

/* RFC 8305 section 4: the first stays the first, then its family and the
 * other take turns; within a family the order stays. */
void inl_resolve_interleave(struct addrinfo **addresses, size_t n);

/* The two of struct inl_dialer_ops. */
int inl_resolve_begin(struct inl_dialer *dialer, struct inl_resolve *r);
void inl_resolve_forget(struct inl_dialer *dialer, struct inl_resolve *r);

#endif
