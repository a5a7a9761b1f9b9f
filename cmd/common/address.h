/* address.h: the addresses a server listens on: as users give them, and which
 * listening sockets follow from them. */
#ifndef CMD_COMMON_ADDRESS_H
#define CMD_COMMON_ADDRESS_H

#include "common/problem.h"
#include <stdbool.h>
#include <stddef.h>

/* "[", 45 bytes of IPv6, "]:", a port, NUL */
#define CMD_ADDRESS_MAX 64

/* An IPv4 or IPv6 address, the latter with or without brackets. */
bool cmd_address_is_valid(const char *text);
/* 127.0.0.0/8 or ::1 (or the former inside the latter). NULL, which means
 * all addresses, is not. */
bool cmd_address_is_loopback(const char *text);
/* Does it stand for all addresses: 0.0.0.0, ::, NULL? What is none does too. */
bool cmd_address_is_any(const char *text);

/* An address without brackets, or a range of them like "10.0.0.0/8". */
bool cmd_address_is_range(const char *text, size_t len);

/* "127.0.0.1:80", "[::1]:80"; NULL gives `all` and the port, e.g. ":80". */
void cmd_address_join(const char *address, int port, const char *all, char *buf,
                      size_t size);

/* NULL or a negative port: not given. */
struct cmd_listen_options {
    const char *bind_addr; /* stands in for the other two */
    const char *data_addr;
    const char *control_addr;
    int port;
    int control_port;
};

struct cmd_listen_plan {
    const char *data_addr; /* NULL: all */
    const char *control_addr;
    int port;
    int control_port;
    bool shared;        /* visitors and tunnels come to one socket */
    bool data_narrowed; /* data_addr is control_addr's, for want of its own */
};

/* One port has one address: with the same port for both, the address that is
 * given counts for both, and two that overlap are a problem. 0 or -1. */
int cmd_listen_plan_make(const struct cmd_listen_options *o,
                         struct cmd_listen_plan *ret_plan,
                         struct cmd_problem *p);

#endif
