/* sockets.c: see sockets.h. */
#include "common/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <inlets/server.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The first one, by the protocol. */
#define FIRST_FD 3
#define BOTH (INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS)

static int read_number(const char *text, long *ret)
{
    char *end;

    errno = 0;
    *ret = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' ? 0 : -1;
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* A TCP socket that listens; also made ours. */
static int check_socket(int fd, struct cmd_problem *p)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        return cmd_problem_set(p, "LISTEN_FDS: descriptor %d is not a socket",
                               fd);
    }
    if ((address.ss_family != AF_INET && address.ss_family != AF_INET6) ||
        option_of(fd, SO_TYPE) != SOCK_STREAM) {
        return cmd_problem_set(
            p, "LISTEN_FDS: descriptor %d is not a TCP socket", fd);
    }
    if (option_of(fd, SO_ACCEPTCONN) != 1) {
        return cmd_problem_set(p,
                               "LISTEN_FDS: descriptor %d does not listen; "
                               "Accept=no is needed",
                               fd);
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return cmd_problem_set(p, "LISTEN_FDS: descriptor %d: %s", fd,
                               strerror(errno));
    }
    return 0;
}

static bool is_name(const char *name, size_t len, const char *expected)
{
    return strlen(expected) == len && memcmp(name, expected, len) == 0;
}

static int purpose_of(const char *name, size_t len, bool is_alone,
                      unsigned *ret, struct cmd_problem *p)
{
    if (is_name(name, len, "visitors")) {
        *ret = INLETS_LISTEN_VISITORS;
    } else if (is_name(name, len, "control")) {
        *ret = INLETS_LISTEN_TUNNELS;
    } else if (is_alone) {
        *ret = BOTH;
    } else {
        return cmd_problem_set(p,
                               "LISTEN_FDNAMES: '%.*s' is not \"visitors\" or "
                               "\"control\" (FileDescriptorName= of the "
                               "socket unit)",
                               (int)len, name);
    }
    return 0;
}

static int take_all(struct cmd_sockets *s, size_t count, const char *names,
                    struct cmd_problem *p)
{
    unsigned served = 0;

    for (size_t i = 0; i < count; i++) {
        struct cmd_socket *item = &s->items[i];
        size_t len = strcspn(names, ":");

        item->fd = FIRST_FD + (int)i;
        if (check_socket(item->fd, p) != 0 ||
            purpose_of(names, len, count == 1, &item->what, p) != 0) {
            return -1;
        }
        served |= item->what;
        names += len + (names[len] == ':');
    }
    if (served != BOTH) {
        return cmd_problem_set(
            p,
            "LISTEN_FDNAMES: no socket is for %s; both "
            "\"visitors\" and \"control\" are needed",
            (served & INLETS_LISTEN_VISITORS) != 0 ? "clients" : "visitors");
    }
    s->count = count;
    return 0;
}

static int take(struct cmd_sockets *s, struct cmd_problem *p)
{
    const char *pid = getenv("LISTEN_PID");
    const char *fds = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    long n;

    /* Meant for a parent of ours: not a mistake. */
    if (pid == NULL || fds == NULL || read_number(pid, &n) != 0 ||
        n != (long)getpid()) {
        return 0;
    }
    if (read_number(fds, &n) != 0 || n < 1 || n > CMD_SOCKETS_MAX) {
        return cmd_problem_set(p, "LISTEN_FDS: '%s' is not 1 to %d", fds,
                               CMD_SOCKETS_MAX);
    }
    return take_all(s, (size_t)n, names != NULL ? names : "", p);
}

int cmd_sockets_take(struct cmd_sockets *ret, struct cmd_problem *p)
{
    int rc;

    *ret = (struct cmd_sockets){.count = 0};
    rc = take(ret, p);
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    (void)unsetenv("LISTEN_PIDFDID");
    return rc;
}

/* --- telling --------------------------------------------------------------*/

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int fd;

    if ((*path != '/' && *path != '@') || len >= sizeof(address.sun_path)) {
        return -1;
    }
    memcpy(address.sun_path, path, len);
    if (*path == '@') {
        address.sun_path[0] = '\0'; /* Linux's abstract names */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) {
        return -1;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
        connect(fd, (const struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) !=
            0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

int cmd_notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    int fd = path == NULL ? -1 : connect_to(path);

    (void)unsetenv("NOTIFY_SOCKET");
    return fd;
}

static void tell(int fd, const char *text)
{
    if (fd >= 0) {
        (void)send(fd, text, strlen(text), 0);
    }
}

void cmd_notify_ready(int fd)
{
    tell(fd, "READY=1");
}

void cmd_notify_reloading(int fd)
{
    struct timespec now;
    char text[64];

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell(fd, text);
}

void cmd_notify_stopping(int fd)
{
    tell(fd, "STOPPING=1");
}
