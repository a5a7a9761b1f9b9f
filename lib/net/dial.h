/* net/dial.h: the dialer of <base/dial.h> over libuv: getaddrinfo on the
 * thread pool, and happy eyeballs (RFC 8305): the addresses, IPv6 and IPv4
 * in turns, race for the link, each starting 250 ms after the one before or
 * when that one failed, until one answers or the deadline comes. The race does
 * not wait for the slower of the two families' answers.
 *
 * Numeric addresses are not asked of the resolver, and a host that begins with
 * / is a socket of this machine (dial_unix.h). Errors: INLETS_EDNS,
 * INLETS_EREFUSED, INLETS_ETIMEDOUT, INLETS_ENETWORK, INLETS_EMFILE,
 * INLETS_ENOMEM and what else connect(2) says. due_ms is required. A loop
 * closes only when the resolver has answered, also for a cancelled dial. */
#ifndef INL_NET_DIAL_H
#define INL_NET_DIAL_H

#include "base/dial.h"
#include "net/loop.h"

void inl_net_dialer_init(struct inl_dialer *dialer, struct inl_loop *loop);

#endif
