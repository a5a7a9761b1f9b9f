/* resolver.h: a resolver for tests of lib/net: getaddrinfo is defined here, so
 * libuv's thread pool calls this one. Include it in one .c file per program,
 * and call resolver_init first.
 *
 * Names in .test are ours: "A.B.test" has the addresses of A and then those
 * of B, by the tables below. "none.test" does not exist, and "slow.test" has
 * that of "one", once `slow` is posted; "slow6.A.test" has those of A, but IPv6
 * ones only once `slow` is posted. */
#ifndef TEST_UNIT_RESOLVER_H
#define TEST_UNIT_RESOLVER_H

#include "net_rig.h"

#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const struct {
    const char *name;
    const char *address;
} hosts[] = {
    {"one", "127.0.0.1"},
    {"two", "127.0.0.2"},
    {"six", "::1"},
    {"local", "fe80::1%lo"},
    {"reject", "255.255.255.255"},
    {"slow", "127.0.0.1"},
};

static const char *const dozen[12] = {
    "127.0.1.1", "127.0.1.2",  "127.0.1.3",  "127.0.1.4",
    "127.0.1.5", "127.0.1.6",  "127.0.1.7",  "127.0.1.8",
    "127.0.1.9", "127.0.1.10", "127.0.1.11", "127.0.1.12",
};

/* "crowd": 127.2.0.0 and so many more. */
#define CROWD 100

static uv_sem_t slow;       /* posted to let slow.test answer */
static uv_sem_t slow_asked; /* posted when it is asked for */

static void resolver_init(void)
{
    if (uv_sem_init(&slow, 0) != 0 || uv_sem_init(&slow_asked, 0) != 0) {
        abort();
    }
}

/* Lets what is left in the resolver answer. Its thread may or may not have
 * got as far as asking before it was cancelled. */
static inline void drain_slow(struct rig *r)
{
    uv_sem_post(&slow);
    RUN_UNTIL(r, r->loop.live == 0);
    while (uv_sem_trywait(&slow) == 0) {
    }
    while (uv_sem_trywait(&slow_asked) == 0) {
    }
}

/* One node as glibc's freeaddrinfo wants it: a single block. */
static struct addrinfo *new_address(const char *text)
{
    struct node {
        struct addrinfo info;
        struct sockaddr_storage address;
    } *node = calloc(1, sizeof(*node));
    struct sockaddr_in6 *v6;

    if (node == NULL) {
        abort();
    }
    v6 = (struct sockaddr_in6 *)&node->address;
    if (uv_ip6_addr(text, 0, v6) == 0) {
        node->info.ai_family = AF_INET6;
        node->info.ai_addrlen = sizeof(struct sockaddr_in6);
    } else {
        (void)uv_ip4_addr(text, 0, (struct sockaddr_in *)&node->address);
        node->info.ai_family = AF_INET;
        node->info.ai_addrlen = sizeof(struct sockaddr_in);
    }
    node->info.ai_socktype = SOCK_STREAM;
    node->info.ai_addr = (struct sockaddr *)&node->address;
    return &node->info;
}

/* Appends the addresses of one label. Returns the new end. */
static struct addrinfo **add_label(struct addrinfo **tail, const char *label)
{
    char text[32];

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        if (strcmp(hosts[i].name, label) == 0) {
            *tail = new_address(hosts[i].address);
            tail = &(*tail)->ai_next;
        }
    }
    for (size_t i = 0; i < 12 && strcmp(label, "dozen") == 0; i++) {
        *tail = new_address(dozen[i]);
        tail = &(*tail)->ai_next;
    }
    for (unsigned i = 0; i < CROWD && strcmp(label, "crowd") == 0; i++) {
        (void)snprintf(text, sizeof(text), "127.2.0.%u", i);
        *tail = new_address(text);
        tail = &(*tail)->ai_next;
    }
    if (strcmp(label, "odd") == 0) { /* of no family that we know */
        *tail = new_address("127.0.0.1");
        (*tail)->ai_family = AF_UNIX;
        tail = &(*tail)->ai_next;
    }
    return tail;
}

/* Takes out what is not of the family. */
static void keep_family(struct addrinfo **list, int family)
{
    while (family != AF_UNSPEC && *list != NULL) {
        struct addrinfo *ai = *list;

        if (ai->ai_family == family) {
            list = &ai->ai_next;
        } else {
            *list = ai->ai_next;
            free(ai);
        }
    }
}

static int our_addresses(const char *name, int family, struct addrinfo **ret)
{
    struct addrinfo **tail = ret;
    size_t n;

    *ret = NULL;
    for (; strcmp(name, "test") != 0; name += n + 1) {
        char label[64] = "";

        n = strcspn(name, ".");
        if (n < sizeof(label)) {
            memcpy(label, name, n);
        }
        tail = add_label(tail, label);
    }
    keep_family(ret, family);
    return *ret == NULL ? EAI_NONAME : 0;
}

typedef int (*resolver_fn)(const char *, const char *, const struct addrinfo *,
                           struct addrinfo **);

/* The names of the parameters are of glibc's declaration. */
int getaddrinfo(const char *name, const char *service,
                const struct addrinfo *req, struct addrinfo **pai)
{
    size_t n = strlen(name);
    resolver_fn real;

    if ((strcmp(name, "slow.test") == 0 && req->ai_family != AF_INET6) ||
        (strncmp(name, "slow6.", 6) == 0 && req->ai_family == AF_INET6)) {
        uv_sem_post(&slow_asked);
        uv_sem_wait(&slow);
    }
    if (n > 5 && strcmp(name + n - 5, ".test") == 0) {
        return our_addresses(name, req->ai_family, pai);
    }
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, req, pai);
}

#endif
