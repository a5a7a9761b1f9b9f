/* net/listen.h: accepting connections. */
#ifndef INL_NET_LISTEN_H
#define INL_NET_LISTEN_H

#include "base/link.h"
#include "net/loop.h"

struct inl_listener;

/* A connection came: a link without a machine; set one before returning. */
typedef void (*inl_listen_fn)(struct inl_link *link, void *user);

/* address: "host:port", "[v6]:port" or ":port" (all addresses: one
 * dual-stack IPv6 socket, or IPv4 where IPv6 is missing); "0.0.0.0" is IPv4
 * only, "[::]" is dual-stack. Numeric addresses only. Errors as in
 * inlets_server_listen. When descriptors run out accepting pauses (no busy
 * loop) and is tried again after 100 ms. */
int inl_listener_new(struct inl_listener **ret, struct inl_loop *loop,
                     const char *address, inl_listen_fn on_link, void *user);
/* The same for a socket that listens already and does not block. fd is taken
 * over, also on failure. */
int inl_listener_take(struct inl_listener **ret, struct inl_loop *loop, int fd,
                      inl_listen_fn on_link, void *user);
unsigned inl_listener_port(const struct inl_listener *l);
bool inl_listener_is_loopback(const struct inl_listener *l);
/* Stops; freed by itself. NULL is fine. */
void inl_listener_close(struct inl_listener *l);

#endif
