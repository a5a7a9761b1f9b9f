/* net/resolve.h: names to addresses, over libuv: getaddrinfo on its thread
 * pool. What the dialer and inl_resolve of <base/dial.h> share.
 *
 * One question for both families (AF_UNSPEC): getaddrinfo answers when the
 * last of its A and AAAA queries has ended, so RFC 8305's head start for the
 * first answer (its Resolution Delay, section 3) is not to be had with it. A
 * name server that drops AAAA queries costs what resolv.conf says. */
#ifndef INL_NET_RESOLVE_H
#define INL_NET_RESOLVE_H

#include "base/dial.h"
#include "net/loop.h"
#include <netdb.h>
#include <stdbool.h>

/* Is this a name that may be asked for, or an address? */
bool inl_resolve_is_host(const char *host);

/* Asks; 0 or libuv's error (then `answered` does not run). */
int inl_resolve_ask(struct inl_loop *loop, uv_getaddrinfo_t *req,
                    const char *host, uv_getaddrinfo_cb answered);

/* What libuv says of a question, to ours: INLETS_ENOMEM or INLETS_EDNS. */
int inl_resolve_error(int status);

/* Points to the first INL_ADDRESSES_MAX different addresses of a list, in its
 * order. Returns how many. */
size_t inl_resolve_pick(struct addrinfo *list,
                        struct addrinfo *ret_picked[INL_ADDRESSES_MAX]);

/* RFC 8305 section 4: the first stays the first, then its family and the
 * other take turns; within a family the order stays. */
void inl_resolve_interleave(struct addrinfo **addresses, size_t n);

/* The two of struct inl_dialer_ops. */
int inl_resolve_begin(struct inl_dialer *dialer, struct inl_resolve *r);
void inl_resolve_forget(struct inl_dialer *dialer, struct inl_resolve *r);

#endif
