/* net/address.c: socket addresses and their text. Numeric only: nothing here
 * asks a resolver, allocates or blocks. */
#include "net/address.h"

#include "base/slice.h"
#include <inlets/err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* The casts between the faces of a sockaddr, in one place. */
union face {
    struct sockaddr_storage any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

int inl_address_parse(const char *host, unsigned port,
                      struct sockaddr_storage *ret_address)
{
    union face a = {0};

    if (port > 65535) {
        return INLETS_EINVAL;
    }
    if (uv_ip4_addr(host, (int)port, &a.v4) != 0) {
        memset(&a, 0, sizeof(a));
        if (uv_ip6_addr(host, (int)port, &a.v6) != 0) {
            return INLETS_EINVAL;
        }
    }
    *ret_address = a.any;
    return 0;
}

/* Splits at the last colon; an address with colons needs brackets. */
static int split(const char *text, struct inlets_slice *ret_host,
                 uint64_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    struct inlets_slice host;

    if (colon == NULL || !inl_slice_to_u64(inl_str(colon + 1), ret_port) ||
        *ret_port > 65535) {
        return INLETS_EINVAL;
    }
    host = inl_slice(text, (size_t)(colon - text));
    if (host.len >= 2 && host.ptr[0] == '[' && colon[-1] == ']') {
        host = inl_slice(host.ptr + 1, host.len - 2);
        if (memchr(host.ptr, ':', host.len) == NULL) {
            return INLETS_EINVAL;
        }
    } else if (memchr(text, ':', host.len) != NULL) {
        return INLETS_EINVAL;
    }
    *ret_host = host;
    return 0;
}

int inl_address_parse_listen(const char *text,
                             struct sockaddr_storage *ret_address,
                             bool *ret_any)
{
    char buf[INL_ADDRESS_NAME_MAX];
    struct inlets_slice host;
    uint64_t port;
    int err;

    if (text == NULL || split(text, &host, &port) != 0 ||
        host.len >= sizeof(buf)) {
        return INLETS_EINVAL;
    }
    memcpy(buf, host.ptr, host.len);
    buf[host.len] = '\0';
    err = inl_address_parse(host.len == 0 ? "::" : buf, (unsigned)port,
                            ret_address);
    if (err == 0) {
        *ret_any = host.len == 0;
    }
    return err;
}

/* The IPv4 address that an IPv6 one stands for; else a copy. */
static union face unmap(const struct sockaddr_storage *address)
{
    union face a = {.any = *address};
    union face v4 = {0};

    if (a.any.ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr)) {
        return a;
    }
    v4.v4.sin_family = AF_INET;
    v4.v4.sin_port = a.v6.sin6_port;
    memcpy(&v4.v4.sin_addr, &a.v6.sin6_addr.s6_addr[12], 4);
    return v4;
}

void inl_address_format(const struct sockaddr_storage *address, char *ip,
                        size_t ip_size, char *name, size_t name_size)
{
    union face a = unmap(address);
    char text[INET6_ADDRSTRLEN] = "";

    ip[0] = name[0] = '\0';
    if (a.any.ss_family == AF_INET) {
        (void)uv_ip4_name(&a.v4, text, sizeof(text));
        (void)snprintf(name, name_size, "%s:%u", text,
                       inl_address_port(&a.any));
    } else if (a.any.ss_family == AF_INET6) {
        (void)uv_ip6_name(&a.v6, text, sizeof(text));
        (void)snprintf(name, name_size, "[%s]:%u", text,
                       inl_address_port(&a.any));
    }
    (void)snprintf(ip, ip_size, "%s", text);
}

unsigned inl_address_port(const struct sockaddr_storage *address)
{
    union face a = {.any = *address};

    if (a.any.ss_family == AF_INET) {
        return ntohs(a.v4.sin_port);
    }
    return a.any.ss_family == AF_INET6 ? ntohs(a.v6.sin6_port) : 0;
}

void inl_address_set_port(struct sockaddr *address, unsigned port)
{
    in_port_t net_port = htons((uint16_t)port);

    if (address->sa_family == AF_INET) {
        ((struct sockaddr_in *)(void *)address)->sin_port = net_port;
    } else if (address->sa_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = net_port;
    }
}

bool inl_address_is_loopback(const struct sockaddr_storage *address)
{
    union face a = unmap(address);

    if (a.any.ss_family == AF_INET) {
        return ntohl(a.v4.sin_addr.s_addr) >> 24 == 127;
    }
    return a.any.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr);
}

unsigned inl_address_size(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                         : sizeof(struct sockaddr_in6);
}
