/* net/listen.c: accepting connections.
 *
 * The socket is our own, watched by a uv_poll_t, rather than a uv_tcp_t with
 * uv_listen: when descriptors run out libuv accepts and at once closes all
 * who wait. Here accepting pauses instead, and they wait in the kernel's
 * backlog until there is a descriptor or they give up.
 *
 * Happy path: readable -> accept4 -> inl_tcp -> on_link, up to ACCEPT_MAX
 * times per event. Failure: what concerns one connection is skipped; anything
 * else pauses accepting for PAUSE_MS and is logged at most once a second. No
 * error ends a listener.
 *
 * Who frees: on_closed, the close callback of the uv_poll_t. */
#include "net/listen.h"

#include "base/mem.h"
#include "base/slice.h"
#include "net/address.h"
#include "net/tcp.h"
#include <errno.h>
#include <fcntl.h>
#include <inlets/err.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel cuts it to net.core.somaxconn (4096). */
#define BACKLOG 1024
/* Then the other events of the loop get their turn. */
#define ACCEPT_MAX 128
#define PAUSE_MS 100u
#define WARN_MS 1000u

struct inl_listener {
    struct inl_loop *loop;
    uv_poll_t poll;
    int fd;                          /* owned; -1 once closed */
    struct sockaddr_storage address; /* as bound */
    inl_listen_fn on_link;
    void *user;
    struct inl_timer pause;
    uint64_t warn_at_ms; /* not before */
};

static void on_readable(uv_poll_t *handle, int status, int events);

static void accept_again(struct inl_listener *l)
{
    (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

static void on_pause_over(struct inl_timer *timer)
{
    accept_again(inl_container(timer, struct inl_listener, pause));
}

static void warn(struct inl_listener *l, int status)
{
    struct inl_env *env = &l->loop->env;

    if (env->now_ms < l->warn_at_ms) {
        return;
    }
    l->warn_at_ms = env->now_ms + WARN_MS;
    inl_log(
        env, INLETS_LOG_WARN, "cannot accept connections",
        INL_KV("error", inl_str(inlets_strerror(inl_error_from_uv(status)))),
        INL_KN("port", inl_listener_port(l)));
}

static void pause_accepting(struct inl_listener *l)
{
    struct inl_env *env = &l->loop->env;

    (void)uv_poll_stop(&l->poll);
    if (inl_timer_at(env, &l->pause, env->now_ms + PAUSE_MS) != 0) {
        /* No memory for the pause: a busy loop beats deafness. */
        accept_again(l);
    }
}

/* The accepted descriptor, or a negative uv error. */
static int accept_one(int fd)
{
#ifdef SOCK_CLOEXEC
    int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
    int got = accept(fd, NULL, NULL);

    if (got >= 0) {
        (void)fcntl(got, F_SETFD, FD_CLOEXEC);
    }
#endif
    return got >= 0 ? got : uv_translate_sys_error(errno);
}

/* Takes over fd. 0 or a negative uv error. */
static int deliver(struct inl_listener *l, int fd)
{
    struct inl_tcp *t;
    int err;

    t = inl_tcp_new(l->loop, &err);
    if (t == NULL) {
        (void)close(fd);
        return UV_ENOMEM;
    }
    err = uv_tcp_open(&t->tcp, fd);
    if (err != 0) {
        (void)close(fd);
        inl_tcp_discard(t);
        return err;
    }
    inl_tcp_started(t);
    l->on_link(&t->link, l->user);
    if (t->link.ops == NULL) {
        inl_link_close(&t->link, INLETS_ECANCELED);
    }
    return 0;
}

/* Did only this connection fail, before we got it? See accept(2): Linux hands
 * errors of the network on to the accepting program. */
static bool concerns_one_connection(int status)
{
    switch (status) {
    case UV_EINTR:
    case UV_ECONNABORTED:
    case UV_EPROTO:
    case UV_EPERM:
    case UV_ENETDOWN:
    case UV_ENETUNREACH:
    case UV_EHOSTUNREACH:
    case UV_ENOPROTOOPT:
    case UV_ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    struct inl_listener *l = handle->data;
    int i;

    (void)events;
    inl_loop_enter(l->loop);
    for (i = 0; i < ACCEPT_MAX && status >= 0 && l->fd >= 0; i++) {
        int fd = accept_one(l->fd);

        if (fd == UV_EAGAIN) {
            return;
        }
        if (fd >= 0) {
            status = deliver(l, fd);
        } else if (!concerns_one_connection(fd)) {
            status = fd;
        }
    }
    if (status < 0 && l->fd >= 0) {
        warn(l, status);
        pause_accepting(l);
    }
}

/* A bound, listening socket; else a negative uv error. */
static int open_socket(const struct sockaddr_storage *address)
{
    const int on = 1, off = 0;
    int fd = socket(address->ss_family, SOCK_STREAM, 0);
    int err;

    if (fd < 0) {
        return uv_translate_sys_error(errno);
    }
    /* A restart must not wait for the connections of the last run. */
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        (address->ss_family != AF_INET6 ||
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0) &&
        bind(fd, (const struct sockaddr *)address, inl_address_size(address)) ==
            0 &&
        listen(fd, BACKLOG) == 0) {
        return fd;
    }
    err = uv_translate_sys_error(errno);
    (void)close(fd);
    return err;
}

/* The same, for the text that users write. */
static int open_address(const char *text, int *ret_fd)
{
    struct sockaddr_storage address;
    bool any;
    int fd;

    if (inl_address_parse_listen(text, &address, &any) != 0) {
        return INLETS_EINVAL;
    }
    fd = open_socket(&address);
    if (any && (fd == UV_EAFNOSUPPORT || fd == UV_EADDRNOTAVAIL)) {
        (void)inl_address_parse("0.0.0.0", inl_address_port(&address),
                                &address);
        fd = open_socket(&address);
    }
    if (fd < 0) {
        /* Our own fault (EINVAL) only when the text cannot be read. */
        return fd == UV_EAFNOSUPPORT || fd == UV_EINVAL ? INLETS_EADDRNOTAVAIL
                                                        : inl_error_from_uv(fd);
    }
    *ret_fd = fd;
    return 0;
}

int inl_listener_new(struct inl_listener **ret, struct inl_loop *loop,
                     const char *address, inl_listen_fn on_link, void *user)
{
    int fd = -1;
    int err = open_address(address, &fd);

    return err != 0 ? err : inl_listener_take(ret, loop, fd, on_link, user);
}

int inl_listener_take(struct inl_listener **ret, struct inl_loop *loop, int fd,
                      inl_listen_fn on_link, void *user)
{
    struct inl_listener *l = inl_calloc(1, sizeof(*l));
    socklen_t size = sizeof(l->address);
    int err;

    if (l == NULL) {
        (void)close(fd);
        return INLETS_ENOMEM;
    }
    err = uv_poll_init(loop->uv, &l->poll, fd);
    if (err != 0) {
        (void)close(fd);
        inl_free(l);
        return inl_error_from_uv(err);
    }
    l->loop = loop;
    l->fd = fd;
    l->on_link = on_link;
    l->user = user;
    l->poll.data = l;
    inl_timer_init(&l->pause, on_pause_over);
    (void)getsockname(fd, (struct sockaddr *)&l->address, &size);
    loop->live++;
    accept_again(l);
    *ret = l;
    return 0;
}

unsigned inl_listener_port(const struct inl_listener *l)
{
    return inl_address_port(&l->address);
}

bool inl_listener_is_loopback(const struct inl_listener *l)
{
    return inl_address_is_loopback(&l->address);
}

static void on_closed(uv_handle_t *handle)
{
    struct inl_listener *l = handle->data;

    l->loop->live--;
    inl_free(l);
}

void inl_listener_close(struct inl_listener *l)
{
    if (l == NULL || l->fd < 0) {
        return;
    }
    inl_timer_off(&l->loop->env, &l->pause);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    (void)close(l->fd); /* after uv_close has taken it from the poller */
    l->fd = -1;
}
