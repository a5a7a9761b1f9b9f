/* address.c: see address.h. */
#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IPv4 is kept as an IPv4-mapped IPv6 address; is_v4 tells them apart. */
struct parsed {
    struct in6_addr ip;
    bool is_v4;
};

static bool parse_v4(const char *text, struct parsed *ret)
{
    struct in_addr v4;

    if (inet_pton(AF_INET, text, &v4) != 1) {
        return false;
    }
    memset(&ret->ip, 0, sizeof(ret->ip));
    ret->ip.s6_addr[10] = 0xff;
    ret->ip.s6_addr[11] = 0xff;
    memcpy(&ret->ip.s6_addr[12], &v4, 4);
    ret->is_v4 = true;
    return true;
}

static bool parse_v6(const char *text, struct parsed *ret)
{
    char bare[INET6_ADDRSTRLEN];
    size_t len = strlen(text);

    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len >= sizeof(bare)) {
        return false;
    }
    memcpy(bare, text, len);
    bare[len] = '\0';
    ret->is_v4 = false;
    return inet_pton(AF_INET6, bare, &ret->ip) == 1;
}

static bool parse(const char *text, struct parsed *ret)
{
    return parse_v4(text, ret) || parse_v6(text, ret);
}

bool cmd_address_is_valid(const char *text)
{
    struct parsed a;

    return parse(text, &a);
}

bool cmd_address_is_loopback(const char *text)
{
    struct parsed a;

    if (text == NULL || !parse(text, &a)) {
        return false;
    }
    return IN6_IS_ADDR_LOOPBACK(&a.ip) ||
           (IN6_IS_ADDR_V4MAPPED(&a.ip) && a.ip.s6_addr[12] == 127);
}

bool cmd_address_is_range(const char *text, size_t len)
{
    char bare[INET6_ADDRSTRLEN + sizeof("/128")];
    char *slash, *end;
    struct parsed a;
    long bits;

    if (len >= sizeof(bare) || memchr(text, '[', len) != NULL) {
        return false;
    }
    memcpy(bare, text, len);
    bare[len] = '\0';
    slash = strchr(bare, '/');
    if (slash == NULL) {
        return parse(bare, &a);
    }
    *slash = '\0';
    /* strtol alone would take "+8" and " 8" */
    if (!parse(bare, &a) || slash[1] < '0' || slash[1] > '9') {
        return false;
    }
    bits = strtol(slash + 1, &end, 10);
    return *end == '\0' && bits <= (a.is_v4 ? 32 : 128);
}

bool cmd_address_is_any(const char *text)
{
    static const unsigned char zero[4];
    struct parsed a;

    if (text == NULL || !parse(text, &a)) {
        return true;
    }
    return IN6_IS_ADDR_UNSPECIFIED(&a.ip) ||
           (a.is_v4 && memcmp(&a.ip.s6_addr[12], zero, 4) == 0);
}

static bool is_same(const char *one, const char *other)
{
    struct parsed a;
    struct parsed b;

    return parse(one, &a) && parse(other, &b) && a.is_v4 == b.is_v4 &&
           memcmp(&a.ip, &b.ip, sizeof(a.ip)) == 0;
}

void cmd_address_join(const char *address, int port, const char *all, char *buf,
                      size_t size)
{
    bool needs_brackets =
        address != NULL && address[0] != '[' && strchr(address, ':') != NULL;

    (void)snprintf(buf, size, needs_brackets ? "[%s]:%d" : "%s:%d",
                   address == NULL ? all : address, port);
}

/* Both planes have the same port number: which addresses? */
static int share_port(struct cmd_listen_plan *plan, struct cmd_problem *p)
{
    const char *data = plan->data_addr;
    const char *control = plan->control_addr;

    plan->shared = true;
    if (control == NULL) {
        plan->control_addr = data;
    } else if (data == NULL) {
        plan->data_addr = control;
        plan->data_narrowed = !cmd_address_is_any(control);
    } else if (!is_same(data, control)) {
        plan->shared = false;
        if (cmd_address_is_any(data) || cmd_address_is_any(control)) {
            return cmd_problem_set(
                p,
                "--data-addr %s and --control-addr %s overlap on port %d; "
                "give the clients a port of their own with --control-port",
                data, control, plan->port);
        }
    }
    return 0;
}

int cmd_listen_plan_make(const struct cmd_listen_options *o,
                         struct cmd_listen_plan *ret_plan,
                         struct cmd_problem *p)
{
    struct cmd_listen_plan plan = {
        .data_addr = o->data_addr != NULL ? o->data_addr : o->bind_addr,
        .control_addr =
            o->control_addr != NULL ? o->control_addr : o->bind_addr,
        .port = o->port,
        .control_port = o->control_port < 0 ? o->port : o->control_port};
    /* Two zeros ask the system for two ports. */
    bool same_port =
        o->control_port < 0 || (o->control_port == o->port && o->port != 0);

    if (same_port && share_port(&plan, p) != 0) {
        return -1;
    }
    *ret_plan = plan;
    return 0;
}
