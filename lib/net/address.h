/* net/address.h: socket addresses and their text. */
#ifndef INL_NET_ADDRESS_H
#define INL_NET_ADDRESS_H

#include <inlets/types.h>
#include <stdbool.h>
#include <uv.h>

/* Room for the longest numeric address with brackets, port and NUL. */
#define INL_ADDRESS_NAME_MAX 64

/* A numeric address ("192.0.2.1", "2001:db8::1", without brackets).
 * INLETS_EINVAL when it is a name or nonsense. */
int inl_address_parse(const char *host, unsigned port,
                      struct sockaddr_storage *ret_address);

/* "host:port", "[v6]:port" or ":port"; the last is "[::]:port" and sets
 * *ret_any. Port 0 is allowed. INLETS_EINVAL. */
int inl_address_parse_listen(const char *text,
                             struct sockaddr_storage *ret_address,
                             bool *ret_any);

/* Writes the address alone (ip) and with its port (name); an IPv4 address
 * mapped to IPv6 is shown as IPv4. "" for other families. */
void inl_address_format(const struct sockaddr_storage *address, char *ip,
                        size_t ip_size, char *name, size_t name_size);

unsigned inl_address_port(const struct sockaddr_storage *address);
void inl_address_set_port(struct sockaddr *address, unsigned port);
bool inl_address_is_loopback(const struct sockaddr_storage *address);
/* What connect, bind and the like want to know. */
unsigned inl_address_size(const struct sockaddr_storage *address);

#endif
