/* net/dial_unix.c: see dial_unix.h.
 *
 * The kernel answers connect(2) at once: there is nothing to wait for but a
 * full backlog, which it has no event for (EAGAIN, unix(7)). So the only state
 * is a timer: knock, and knock again in KNOCK_MS until the deadline.
 *
 * start() puts the first try off to the end of the turn, so that `done` never
 * runs during start. Who frees: `later`, once dial is NULL. */
#include "net/dial_unix.h"

#include "base/mem.h"
#include "net/tcp.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define KNOCK_MS 10u

struct knocking {
    struct inl_loop *loop;
    struct inl_dial *dial; /* the caller's; NULL: it is over */
    struct inl_timer timer;
    struct inl_later later; /* begin, or free */
};

/* --- The end ------------------------------------------------------------- */

/* Parts with the caller, who may then do with `dial` what it likes. */
static struct inl_dial *end(struct knocking *k)
{
    struct inl_dial *dial = k->dial;

    inl_timer_off(&k->loop->env, &k->timer);
    inl_env_later(&k->loop->env, &k->later);
    k->dial = NULL;
    dial->impl = NULL;
    return dial;
}

/* Whatever is wrong with the path, nobody is behind it. */
static int error_of(int status)
{
    int err = inl_error_from_uv(status);

    return err == INLETS_ENOMEM || err == INLETS_EMFILE ||
                   err == INLETS_ETIMEDOUT
               ? err
               : INLETS_EREFUSED;
}

static void give_up(struct knocking *k, int status)
{
    struct inl_dial *dial = end(k);

    (void)snprintf(dial->why, sizeof(dial->why), "%s", uv_strerror(status));
    dial->done(dial, error_of(status), NULL);
}

/* Takes over fd. */
static void succeed(struct knocking *k, int fd)
{
    int err = 0;
    struct inl_tcp *t = inl_tcp_new_unix(k->loop, &err);
    struct inl_dial *dial = k->dial;

    if (t != NULL) {
        err = uv_pipe_open(&t->pipe, fd);
        if (err == 0) {
            (void)end(k);
            inl_tcp_started(t);
            (void)snprintf(t->link.peer, sizeof(t->link.peer), "unix:%s",
                           dial->host);
            dial->done(dial, 0, &t->link);
            if (t->link.ops == NULL) {
                inl_link_close(&t->link, INLETS_ECANCELED);
            }
            return;
        }
        inl_tcp_discard(t);
    }
    (void)close(fd);
    give_up(k, t == NULL ? UV_ENOMEM : err);
}

/* --- Knocking ------------------------------------------------------------ */

/* A descriptor that blocks nobody and is not inherited, or a negative uv
 * error. */
static int open_socket(void)
{
#ifdef SOCK_CLOEXEC
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    }
#endif
    return fd >= 0 ? fd : uv_translate_sys_error(errno);
}

/* A connected descriptor, or a negative uv error. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = open_socket();
    int err;

    if (fd < 0) {
        return fd;
    }
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        return fd;
    }
    err = uv_translate_sys_error(errno);
    (void)close(fd);
    return err;
}

static void knock(struct knocking *k)
{
    struct inl_env *env = &k->loop->env;
    int fd;

    if (env->now_ms >= k->dial->due_ms) {
        give_up(k, UV_ETIMEDOUT);
        return;
    }
    fd = connect_to(k->dial->host);
    if (fd >= 0) {
        succeed(k, fd);
    } else if ((fd != UV_EAGAIN && fd != UV_EINTR) ||
               inl_timer_at(env, &k->timer, env->now_ms + KNOCK_MS) != 0) {
        give_up(k, fd);
    }
}

static void on_timer(struct inl_timer *timer)
{
    knock(inl_container(timer, struct knocking, timer));
}

static void run_later(struct inl_later *later)
{
    struct knocking *k = inl_container(later, struct knocking, later);

    if (k->dial != NULL) {
        knock(k);
    } else {
        k->loop->live--;
        inl_free(k);
    }
}

int inl_dial_unix_start(struct inl_loop *loop, struct inl_dial *dial)
{
    struct knocking *k;

    if (strlen(dial->host) >= sizeof(((struct sockaddr_un *)0)->sun_path) ||
        dial->due_ms == 0) {
        return INLETS_EINVAL;
    }
    k = inl_calloc(1, sizeof(*k));
    if (k == NULL) {
        return INLETS_ENOMEM;
    }
    k->loop = loop;
    k->dial = dial;
    dial->impl = k;
    dial->step = "connect";
    loop->live++;
    inl_timer_init(&k->timer, on_timer);
    inl_later_init(&k->later, run_later);
    inl_env_later(&loop->env, &k->later);
    return 0;
}

void inl_dial_unix_cancel(struct inl_dial *dial)
{
    (void)end(dial->impl);
}
