/* The bench's other origin, for what nginx cannot be: it reads an upload to
 * its end before it answers, and holds thousands of open event streams.
 *
 *     origin ADDRESS PORT        prints "ready" and serves until it is killed
 *
 *     POST /anything   reads the body (Content-Length) and throws it away
 *     GET /events      a head and one event, then nothing, for ever
 *     GET /anything    twelve bytes
 *
 * A connection is in one of two states: a request head is awaited (unread is
 * 0), or a body (unread is what remains of it). The peer's end closes it, and
 * so does anything that is no request; a head must come in one piece of less
 * than HEAD bytes each time, as all heads here do. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 2048, SCRATCH = 256 << 10 };

struct connection {
    int fd;
    unsigned long long unread;
    size_t have;
    char head[HEAD];
};

static const char small[] = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n"
                            "Content-Type: text/plain\r\n\r\nhello world\n";
static const char events[] = "HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\n"
                             "Content-Type: text/event-stream\r\n\r\n"
                             "data: 1\n\n";

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "origin: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* A few hundred bytes into an empty socket buffer: they fit, or the peer is
 * not one of the bench's. */
static bool say(struct connection *c, const char *text)
{
    size_t length = strlen(text);
    return send(c->fd, text, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static bool answer_head(struct connection *c, char *end)
{
    *end = '\0';
    bool is_upload = strncmp(c->head, "POST ", 5) == 0;
    bool is_events = strncmp(c->head, "GET /events", 11) == 0;
    if (is_upload) {
        const char *length = strcasestr(c->head, "\r\nContent-Length:");
        if (length == NULL) {
            return false;
        }
        c->unread = strtoull(length + 17, NULL, 10);
    }
    if (!is_upload && !say(c, is_events ? events : small)) {
        return false;
    }
    size_t more = c->have - (size_t)(end + 4 - c->head);
    if (more > c->unread) {
        return false; /* nobody here pipelines */
    }
    c->unread -= more;
    c->have = 0;
    return !is_upload || c->unread > 0 || say(c, small);
}

static bool read_head(struct connection *c)
{
    ssize_t got = recv(c->fd, c->head + c->have, HEAD - 1 - c->have, 0);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    c->have += (size_t)got;
    c->head[c->have] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    return end == NULL ? c->have < HEAD - 1 : answer_head(c, end);
}

static bool read_body(struct connection *c)
{
    static char scratch[SCRATCH];
    size_t want = c->unread < SCRATCH ? (size_t)c->unread : SCRATCH;
    ssize_t got = recv(c->fd, scratch, want, 0);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    c->unread -= (size_t)got;
    return c->unread > 0 || say(c, small);
}

static int listen_on(const char *address, const char *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (inet_pton(AF_INET, address, &in.sin_addr) != 1 || fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 ||
        listen(fd, 4096) != 0) {
        die("listening");
    }
    return fd;
}

static void accept_all(int poll, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
           0) {
        struct connection *c = calloc(1, sizeof(*c));
        if (c == NULL) {
            die("memory");
        }
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: origin ADDRESS PORT\n", stderr);
        return 2;
    }
    int poll = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(argv[1], argv[2]);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event got[64];
        int count = epoll_wait(poll, got, 64, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = got[i].data.ptr;
            if (c == NULL) {
                accept_all(poll, listener);
            } else if (!(c->unread > 0 ? read_body(c) : read_head(c))) {
                close(c->fd);
                free(c);
            }
        }
    }
}
