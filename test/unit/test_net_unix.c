/* test_net_unix.c: links over sockets in the file system: how they are dialled,
 * and what is other there than over TCP. */
#include "net_rig.h"

#include "net/tcp.h"
#include "unit/alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

static char folder[] = "/tmp/inlets-test-XXXXXX";

struct place {
    char path[96];
    int fd; /* listens */
};

static int bound(const char *path, int type)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type, 0);

    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void place_open(struct place *p, int backlog)
{
    (void)snprintf(p->path, sizeof(p->path), "%s/socket", folder);
    p->fd = bound(p->path, SOCK_STREAM);
    assert_int_equal(listen(p->fd, backlog), 0);
}

static void place_close(struct place *p)
{
    assert_int_equal(close(p->fd), 0);
    assert_int_equal(unlink(p->path), 0);
}

/* Dials it; the other end is a plain socket. */
static int connect_end(struct rig *r, struct end *client)
{
    struct place p;
    struct call call;
    int fd;

    client->rig = r;
    place_open(&p, 8);
    assert_int_equal(call_start(&call, client, p.path, 0, 5000), 0);
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, 0);
    fd = accept(p.fd, NULL, NULL);
    assert_true(fd >= 0);
    place_close(&p);
    return fd;
}

/* Both ends are ours. */
static void connect_both(struct rig *r, struct end *client, struct end *server)
{
    int fd = connect_end(r, client);
    int err;
    struct inl_tcp *t = inl_tcp_new_unix(&r->loop, &err);

    server->rig = r;
    assert_non_null(t);
    assert_int_equal(uv_pipe_open(&t->pipe, fd), 0);
    inl_tcp_started(t);
    end_attach(server, &t->link);
}

/* --- Links ---------------------------------------------------------------- */

static void check_whole(const struct end *from, const struct end *to)
{
    assert_int_equal(to->received, from->to_send);
    assert_false(to->bad);
    assert_true(to->eof);
    assert_int_equal(to->err, 0);
    assert_int_equal(to->gone, 1);
}

static void test_big_both_ways_with_backpressure(void **state)
{
    struct rig *r = *state;
    struct end client = {
        .to_send = 8 * MIB, .room = 10000, .pause_every = 100000};
    struct end server = {
        .to_send = 4 * MIB, .room = 65536, .pause_every = 300000};

    connect_both(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
    assert_in_range(client.out_peak, 1, 2 * MIB);
}

static void test_peer_is_named(void **state)
{
    struct rig *r = *state;
    struct end client = {.room = 10, .keep_open = true};
    struct inl_link_tuning tuning = {.dead_ms = 1000, .bbr = true};
    int fd = connect_end(r, &client);
    char wanted[sizeof(client.link->peer)];

    (void)snprintf(wanted, sizeof(wanted), "unix:%s/socket", folder);
    assert_string_equal(client.link->peer, wanted);
    assert_string_equal(client.link->peer_ip, "");
    assert_true(client.link->peer_is_loopback);
    assert_int_equal(inl_link_tune(client.link, &tuning), INLETS_ENOTSUP);
    inl_link_close(client.link, 0);
    RUN_UNTIL(r, client.gone);
    assert_int_equal(close(fd), 0);
}

/* What was written is the peer's, read or not: a request that is half read
 * must never pass for one that was not sent. */
static void test_all_is_delivered_at_once(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 1000, .room = 10, .keep_open = true};
    int fd = connect_end(r, &client);
    char buf[10];

    RUN_UNTIL(r, client.taken == 1000);
    assert_int_equal(inl_link_delivered(client.link), 1000);
    assert_int_equal(read(fd, buf, sizeof(buf)), sizeof(buf));
    assert_int_equal(inl_link_delivered(client.link), 1000);
    inl_link_close(client.link, 0);
    RUN_UNTIL(r, client.gone);
    assert_int_equal(close(fd), 0);
}

/* --- Peers that leave ------------------------------------------------------
 */

static bool has_left(const struct end *e)
{
    return e->link->carrier->peer_left(e->link);
}

/* It is seen without a read, and the bytes before it are not lost. */
static void test_close_while_paused(void **state)
{
    struct rig *r = *state;
    struct end client = {.room = 0, .keep_open = true};
    int fd = connect_end(r, &client);

    rig_pass(r, 20);
    assert_false(has_left(&client));
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_false(has_left(&client));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_true(has_left(&client));
    assert_int_equal(close(fd), 0);
    assert_true(has_left(&client));
    rig_pass(r, 1500); /* the watch has looked */
    assert_int_equal(client.gone, 0);
    client.room = 10;
    client.bad = false;
    inl_link_wake(client.link);
    RUN_UNTIL(r, client.eof);
    assert_int_equal(client.received, 3);
    inl_link_close(client.link, 0);
    RUN_UNTIL(r, client.gone);
}

/* It closed without having read what it was sent. */
static void test_reset_while_paused(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 100, .room = 0, .keep_open = true};
    int fd = connect_end(r, &client);
    uint64_t begin = r->loop.env.now_ms;

    RUN_UNTIL(r, client.taken == 100);
    assert_int_equal(close(fd), 0);
    RUN_UNTIL(r, client.gone);
    assert_int_equal(client.err, INLETS_ERESET);
    assert_in_range(r->loop.env.now_ms - begin, 0, 2500);
}

static void test_reset_while_reading(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 100, .room = 10, .keep_open = true};
    int fd = connect_end(r, &client);

    RUN_UNTIL(r, client.taken == 100);
    assert_int_equal(close(fd), 0);
    RUN_UNTIL(r, client.gone);
    assert_int_equal(client.err, INLETS_ERESET);
    assert_false(client.eof);
}

static void test_close_found_by_a_write(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 64 * MIB, .room = 10, .keep_open = true};
    int fd = connect_end(r, &client);

    RUN_UNTIL(r, client.taken > 0);
    assert_int_equal(close(fd), 0);
    RUN_UNTIL(r, client.gone);
    assert_int_equal(client.err, INLETS_ERESET);
}

/* --- Dialling ------------------------------------------------------------- */

static void expect_error(struct rig *r, const char *path, int err,
                         const char *why)
{
    struct end end = {.rig = r, .room = 1};
    struct call call;

    assert_int_equal(call_start(&call, &end, path, 0, 5000), 0);
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, err);
    assert_string_equal(call.dial.step, "connect");
    assert_string_equal(inl_dial_why(&call.dial, call.err), why);
    assert_null(end.link);
}

static void test_wrong_paths_are_explained(void **state)
{
    struct rig *r = *state;
    char path[96];
    int fd;

    expect_error(r, "/nonexistent/socket", INLETS_EREFUSED,
                 "no such file or directory");
    expect_error(r, folder, INLETS_EREFUSED, "connection refused");
    (void)snprintf(path, sizeof(path), "%s/dead", folder);
    fd = bound(path, SOCK_STREAM); /* nobody listens */
    expect_error(r, path, INLETS_EREFUSED, "connection refused");
    assert_int_equal(close(fd), 0);
    expect_error(r, path, INLETS_EREFUSED, "connection refused");
    assert_int_equal(unlink(path), 0);
    fd = bound(path, SOCK_DGRAM);
    expect_error(r, path, INLETS_EREFUSED, "protocol wrong type for socket");
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    if (getuid() != 0) { /* whom nothing is forbidden */
        fd = bound(path, SOCK_STREAM);
        assert_int_equal(chmod(path, 0), 0);
        expect_error(r, path, INLETS_EREFUSED, "permission denied");
        assert_int_equal(close(fd), 0);
        assert_int_equal(unlink(path), 0);
    }
}

static void test_longest_path(void **state)
{
    struct rig *r = *state;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    struct end end = {.rig = r, .room = 1};
    struct call call;

    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(call_start(&call, &end, path, 0, 5000), INLETS_EINVAL);
    path[sizeof(path) - 2] = '\0';
    expect_error(r, path, INLETS_EREFUSED, "no such file or directory");
}

/* A place with a full backlog; what fills it. */
static int fill(const struct place *p, int *fds, int max)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = 0;

    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", p->path);
    for (; n < max; n++) {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[n], (struct sockaddr *)&a, sizeof(a)) != 0) {
            assert_int_equal(errno, EAGAIN);
            (void)close(fds[n]);
            return n;
        }
    }
    fail_msg("the backlog has no end");
    return n;
}

/* There is room again: it gets in. There is none: the deadline comes, or who
 * dialled gives up. */
static void test_full_backlog(void **state)
{
    struct rig *r = *state;
    struct end first = {.rig = r, .room = 1, .keep_open = true};
    struct end late = {.rig = r, .room = 1};
    struct end never = {.rig = r, .room = 1};
    struct call calls[3];
    struct place p;
    int fds[8], n, fd;

    place_open(&p, 0);
    n = fill(&p, fds, 8);
    assert_int_equal(call_start(&calls[0], &late, p.path, 0, 100), 0);
    assert_int_equal(call_start(&calls[2], &never, p.path, 0, 5000), 0);
    RUN_UNTIL(r, calls[0].done > 0);
    assert_int_equal(calls[0].err, INLETS_ETIMEDOUT);
    inl_dial_cancel(&r->dialer, &calls[2].dial);
    assert_null(calls[2].dial.impl);
    assert_int_equal(call_start(&calls[1], &first, p.path, 0, 5000), 0);
    rig_pass(r, 50);
    assert_int_equal(calls[1].done, 0);
    fd = accept(p.fd, NULL, NULL);
    RUN_UNTIL(r, calls[1].done > 0);
    assert_int_equal(calls[1].err, 0);
    assert_int_equal(calls[2].done, 0);
    inl_link_close(first.link, 0);
    RUN_UNTIL(r, first.gone);
    (void)close(fd);
    while (n > 0) {
        (void)close(fds[--n]);
    }
    place_close(&p);
}

static void test_cancel_at_once(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r, .room = 1};
    struct call call;

    assert_int_equal(call_start(&call, &end, "/nonexistent", 0, 5000), 0);
    inl_dial_cancel(&r->dialer, &call.dial);
    assert_null(call.dial.impl);
    inl_dial_cancel(&r->dialer, &call.dial);
    rig_pass(r, 20);
    assert_int_equal(call.done, 0);
}

static void test_link_without_machine_is_closed(void **state)
{
    struct rig *r = *state;
    struct call call;
    struct end end = {.rig = r};
    struct place p;
    char c;
    int fd;

    place_open(&p, 8);
    assert_int_equal(call_start(&call, &end, p.path, 0, 5000), 0);
    call.end = NULL;
    RUN_UNTIL(r, call.done > 0);
    fd = accept(p.fd, NULL, NULL);
    rig_pass(r, 20);
    assert_int_equal(read(fd, &c, 1), 0);
    assert_int_equal(close(fd), 0);
    place_close(&p);
}

static void test_every_allocation_fails_once(void **state)
{
    struct rig *r = *state;
    struct place p;
    bool failed = true;
    size_t n;

    place_open(&p, 8);
    assert_int_equal(fcntl(p.fd, F_SETFL, O_NONBLOCK), 0);
    for (n = 1; failed; n++) {
        struct end end = {.rig = r, .to_send = 10, .room = 10};
        struct call call;
        int err, fd;

        alloc_fail_nth = n;
        err = call_start(&call, &end, p.path, 0, 5000);
        if (err == 0) {
            RUN_UNTIL(r, call.done > 0);
            err = call.err;
        }
        assert_true(err == 0 || err == INLETS_ENOMEM);
        while ((fd = accept(p.fd, NULL, NULL)) >= 0) {
            (void)close(fd);
        }
        RUN_UNTIL(r, err != 0 || end.gone);
        failed = alloc_fail_nth == 0;
        alloc_fail_nth = 0;
        assert_true(failed || err == 0);
    }
    assert_true(n > 3);
    place_close(&p);
}

#define NET_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_big_both_ways_with_backpressure),
        NET_TEST(test_peer_is_named),
        NET_TEST(test_all_is_delivered_at_once),
        NET_TEST(test_close_while_paused),
        NET_TEST(test_reset_while_paused),
        NET_TEST(test_reset_while_reading),
        NET_TEST(test_close_found_by_a_write),
        NET_TEST(test_wrong_paths_are_explained),
        NET_TEST(test_longest_path),
        NET_TEST(test_full_backlog),
        NET_TEST(test_cancel_at_once),
        NET_TEST(test_link_without_machine_is_closed),
        NET_TEST(test_every_allocation_fails_once),
    };
    int rc;

    alloc_install();
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    rc = cmocka_run_group_tests_name("net_unix", tests, NULL, NULL);
    return rmdir(folder) == 0 ? rc : 1;
}
