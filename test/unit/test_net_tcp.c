/* test_net_tcp.c: the TCP carrier over real loopback sockets: transfers with
 * backpressure, half-close, peers that leave in every way, and machines that
 * close from inside every callback. */
#include "net_rig.h"

#include "net/tcp.h"
#include "unit/alloc.h"
#include <dlfcn.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

/* --- TCP ----------------------------------------------------------------- */

static void check_whole(const struct end *from, const struct end *to)
{
    assert_int_equal(from->made, from->to_send);
    assert_int_equal(to->received, from->to_send);
    assert_false(to->bad);
    assert_true(to->eof);
    assert_int_equal(to->err, 0);
    assert_int_equal(to->gone, 1);
}

static void test_nothing_but_fins(void **state)
{
    struct rig *r = *state;
    struct end client = {.room = 1}, server = {.room = 1};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

static void test_half_close(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 10, .room = 4096};
    struct end server = {.room = 4096, .keep_open = true};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, server.eof);
    rig_pass(r, 20);
    assert_int_equal(client.gone + server.gone, 0);
    server.to_send = MIB;
    server.keep_open = false;
    inl_link_wake(server.link);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

/* One byte at a time, both ways. */
static void test_tiny_room(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 3000, .room = 1};
    struct end server = {.to_send = 3000, .room = 1};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

static uint64_t big(void)
{
    return (under_valgrind() ? 3 : 32) * (uint64_t)MIB;
}

static void test_big_both_ways_with_backpressure(void **state)
{
    struct rig *r = *state;
    struct end client = {
        .to_send = big(), .room = 70000, .pause_every = 3 * MIB};
    struct end server = {
        .to_send = big() + 12345, .room = 5000, .pause_every = MIB};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
    /* What waits in our memory is bounded, however slow the peer. */
    assert_true(client.out_peak <= 2 * INL_LINK_LOW_BYTES);
    assert_true(server.out_peak <= 2 * INL_LINK_LOW_BYTES);
    /* Nobody is asked for more while the socket is full: what waits then is
     * below one filling (up to 96 KiB here), less one wake-up record. */
    assert_true(client.out_when_asked <= INL_LINK_LOW_BYTES / 2);
    assert_true(server.out_when_asked <= INL_LINK_LOW_BYTES / 2);
}

static void on_ping(struct inl_timer *timer)
{
    timer->fire = NULL;
}

static void test_big_one_way_unthrottled(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = big(), .room = 1};
    struct end server = {.room = MIB};
    struct inl_timer ping;

    connect_ends(r, &client, &server);
    inl_timer_init(&ping, on_ping);
    assert_int_equal(inl_timer_at(&r->loop.env, &ping, r->loop.env.now_ms + 1),
                     0);
    r->turns = 0;
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    /* The sender does not hold the loop: others get their turn. */
    assert_true(ping.fire == NULL && r->turns > (int)(big() / MIB / 2));
}

/* Bytes that the kernel has taken and not yet sent. */
static int kernel_unsent(struct inl_link *link)
{
    struct inl_tcp *t = inl_container(link, struct inl_tcp, link);
    uv_os_fd_t fd;
    int n = -1;

    assert_int_equal(uv_fileno((uv_handle_t *)&t->tcp, &fd), 0);
    assert_int_equal(ioctl(fd, SIOCOUTQNSD, &n), 0);
    return n;
}

/* A peer that never reads: the sender stops, and holds little. */
static void test_peer_that_does_not_read(void **state)
{
    struct rig *r = *state;
    struct end server = {.rig = r, .room = 1, .to_send = UINT64_MAX};
    struct inl_listener *l;
    uint64_t made;
    int fd;

    assert_int_equal(
        inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, &server), 0);
    fd = raw_connect(inl_listener_port(l));
    do {
        made = server.made;
        rig_pass(r, 50);
    } while (made == 0 || made != server.made);
    assert_true(server.made - server.taken <= 2 * INL_LINK_LOW_BYTES);
    assert_true(kernel_unsent(server.link) <= 512 * 1024);

    /* It resets, with a write of ours in flight. */
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
    inl_listener_close(l);
}

/* Closing with a write in flight must not pull the bytes from under it. */
static void test_close_with_write_in_flight(void **state)
{
    struct rig *r = *state;

    for (int i = 0; i < 4; i++) {
        struct end client = {.to_send = UINT64_MAX, .room = 1};
        struct end server = {.to_send = 1, .keep_open = true};

        connect_ends(r, &client, &server);
        rig_pass(r, 30);
        end_act(&client, i % 2 == 0 ? CLOSE : RESET);
        if (i / 2 == 0) {
            rig_once(r);
        }
        end_act(&server, CLOSE);
        RUN_UNTIL(r, client.gone && server.gone);
        assert_int_equal(client.err, INLETS_ECANCELED);
    }
}

/* The same between two callbacks of one poll: the reader, whose event came
 * first, closes the writer, whose socket is writable again. */
static void test_close_with_write_pending_in_this_poll(void **state)
{
    struct rig *r = *state;

    for (int i = 0; i < 8; i++) {
        struct end client = {.to_send = UINT64_MAX, .room = 1};
        struct end server = {.to_send = 1, .room = MIB, .keep_open = true};

        connect_ends(r, &client, &server);
        server.paused = true;
        rig_pass(r, 20);
        server.victim = &client;
        server.hook = AT_RX;
        server.action = i % 2 == 0 ? CLOSE : RESET;
        server.misbehave_after = (uint64_t)i * MIB / 4;
        server.paused = false;
        inl_link_wake(server.link);
        RUN_UNTIL(r, client.gone);
        server.hook = NOWHERE;
        end_act(&server, CLOSE);
        RUN_UNTIL(r, server.gone);
        assert_int_equal(client.err, INLETS_ECANCELED);
    }
}

/* --- Peers that leave ---------------------------------------------------- */

/* A raw peer at a server end that has been given its link. */
static int raw_peer(struct rig *r, struct end *server)
{
    struct inl_listener *l;
    int fd;

    server->rig = r;
    assert_int_equal(
        inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, server), 0);
    fd = raw_connect(inl_listener_port(l));
    RUN_UNTIL(r, server->link != NULL);
    inl_listener_close(l);
    return fd;
}

static void test_reset_while_reading(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1, .keep_open = true};
    int fd = raw_peer(r, &server);

    rig_pass(r, 10);
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
    assert_false(server.eof);
}

/* What came before a reset is read, though a write has failed by then; but
 * the reset is not taken for the end of the message. */
static void test_reset_found_by_a_write(void **state)
{
    static const char words[200] = "last words";
    struct rig *r = *state;
    struct end server = {.room = 1, .to_send = UINT64_MAX};
    int fd = raw_peer(r, &server);

    rig_pass(r, 30); /* our end is stuck in a write */
    assert_int_equal(send(fd, words, sizeof(words), 0), sizeof(words));
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.received, sizeof(words));
    assert_false(server.eof);
    assert_int_equal(server.err, INLETS_ERESET);
}

/* The same after the peer's FIN, which was an honest end. */
static void test_reset_after_fin_found_by_a_write(void **state)
{
    static const char words[200] = "last words";
    struct rig *r = *state;
    struct end server = {.room = 1, .to_send = UINT64_MAX};
    int fd = raw_peer(r, &server);

    rig_pass(r, 30);
    assert_int_equal(send(fd, words, sizeof(words), 0), sizeof(words));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.received, sizeof(words));
    assert_true(server.eof);
    assert_int_equal(server.err, INLETS_ERESET);
}

static void test_reset_while_paused(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 0, .keep_open = true};
    int fd = raw_peer(r, &server);
    uint64_t begin;

    assert_int_equal(send(fd, "data", 4, 0), 4);
    rig_pass(r, 10);
    assert_false(server.link->carrier->peer_left(server.link));
    begin = uv_now(&r->uv);
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
    assert_int_equal(server.received, 0);
    assert_true(uv_now(&r->uv) - begin < 3000);
}

static void test_reset_after_eof(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1, .keep_open = true};
    int fd = raw_peer(r, &server);

    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    RUN_UNTIL(r, server.eof);
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
}

/* A FIN behind bytes that we do not read yet is no reason to lose them. */
static void test_fin_while_paused(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 0, .keep_open = true};
    struct end client = {.to_send = 5, .room = 1};

    connect_ends(r, &client, &server);
    rig_pass(r, 1500);
    assert_int_equal(server.gone, 0);
    assert_true(server.link->carrier->peer_left(server.link));
    server.room = 2;
    server.keep_open = false;
    inl_link_wake(server.link);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

/* After both FINs the kernel's state is the same as after a reset. */
static void test_both_fins_while_paused(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 0};
    struct end client = {.to_send = 5000, .room = 100};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone);
    rig_pass(r, 1500);
    assert_int_equal(server.gone, 0);
    assert_true(server.link->carrier->peer_left(server.link));
    server.room = 100;
    inl_link_wake(server.link);
    RUN_UNTIL(r, server.gone);
    check_whole(&client, &server);
}

/* What the raw peer reads last: 0 after a FIN, -1 with errno otherwise. */
static int raw_end(int fd)
{
    char buf[4096];
    ssize_t n;

    do {
        n = recv(fd, buf, sizeof(buf), 0);
    } while (n > 0);
    return (int)n;
}

static void test_close_sends_fin_and_reset_rst(void **state)
{
    static const enum action before[] = {NOTHING, SHUTDOWN};
    struct rig *r = *state;

    for (size_t i = 0; i < 2; i++) {
        for (int wait = 0; wait < 2; wait++) {
            struct end server = {.room = 1, .keep_open = true};
            int fd = raw_peer(r, &server);

            end_act(&server, before[i]);
            for (int turn = 0; turn < wait * 10; turn++) {
                rig_once(r);
            }
            end_act(&server, RESET);
            RUN_UNTIL(r, server.gone);
            rig_once(r);
            if (before[i] == NOTHING) {
                assert_int_equal(raw_end(fd), -1);
                assert_int_equal(errno, ECONNRESET);
            } else if (wait == 1) {
                /* The FIN came first; the RST is seen by a write. */
                assert_int_equal(raw_end(fd), 0);
                assert_int_equal(send(fd, "x", 1, 0), -1);
            }
            (void)close(fd);
        }
    }
}

static void test_close_lets_the_peer_see_a_clean_end(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1, .keep_open = true};
    int fd = raw_peer(r, &server);

    end_act(&server, CLOSE);
    RUN_UNTIL(r, server.gone);
    rig_once(r);
    assert_int_equal(raw_end(fd), 0);
    (void)close(fd);
}

/* linger: a peer that goes on sending still reads our last words. */
static void test_linger_discards(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 4 * MIB, .room = 100};
    struct end server = {.to_send = 100, .room = 100};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, server.made == 100);
    end_act(&server, LINGER);
    RUN_UNTIL(r, client.gone && server.gone);
    assert_int_equal(client.received, 100);
    assert_int_equal(client.err, 0);
    assert_int_equal(client.made, 4 * MIB);
}

/* --- Hostile callbacks --------------------------------------------------- */

static void hostile(struct rig *r, enum hook hook, enum action action,
                    bool both)
{
    struct end client = {
        .to_send = 300000, .room = 9000, .hook = hook, .action = action};
    struct end server = {.to_send = 200000, .room = 8000};

    if (both) {
        server.hook = hook;
        server.action = action;
    }
    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    assert_int_equal(client.gone, 1);
    assert_int_equal(server.gone, 1);
    assert_false(client.bad || server.bad);
}

static void test_misbehaviour_in_every_callback(void **state)
{
    for (int hook = AT_RX; hook <= AT_GONE; hook++) {
        for (int action = CLOSE; action < ACTIONS; action++) {
            hostile(*state, (enum hook)hook, (enum action)action, false);
            hostile(*state, (enum hook)hook, (enum action)action, true);
        }
    }
}

/* The loop is closed while connections are at work: they end first. */
static void test_close_loop_with_live_links(void **state)
{
    struct rig *r = *state;
    static struct end client, server;

    client = (struct end){.to_send = UINT64_MAX, .room = 1000};
    server = (struct end){.to_send = UINT64_MAX, .room = 1000};
    connect_ends(r, &client, &server);
    rig_pass(r, 20);
    inl_loop_close(&r->loop, NULL, NULL);
    rig_pass(r, 20);
    assert_int_equal(client.gone + server.gone, 0);
    end_act(&client, CLOSE);
    end_act(&server, RESET);
    RUN_UNTIL(r, r->loop.own_handles == 0);
    assert_int_equal(client.gone + server.gone, 2);
    /* For the rig's own teardown. */
    assert_int_equal(inl_loop_init(&r->loop, &r->uv), 0);
}

/* --- Tunnels ------------------------------------------------------------- */

/* Who asked for a congestion control, and what they are told: the kernel of
 * the test may or may not have BBR. */
static struct {
    int calls;
    int err; /* errno; 0: done */
    char name[16];
} congestion;

typedef int (*setsockopt_fn)(int, int, int, const void *, socklen_t);

/* The names of the parameters are of glibc's declaration. */
int setsockopt(int fd, int level, int optname, const void *optval,
               socklen_t optlen)
{
    setsockopt_fn real;

    if (level == IPPROTO_TCP && optname == TCP_CONGESTION) {
        assert_true(optlen < sizeof(congestion.name));
        congestion.calls++;
        memset(congestion.name, 0, sizeof(congestion.name));
        memcpy(congestion.name, optval, optlen);
        errno = congestion.err;
        return congestion.err == 0 ? 0 : -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "setsockopt");
    return real(fd, level, optname, optval, optlen);
}

static int option(struct inl_link *link, int level, int name)
{
    struct inl_tcp *t = inl_container(link, struct inl_tcp, link);
    int value = -1;
    socklen_t size = sizeof(value);
    uv_os_fd_t fd;

    assert_int_equal(uv_fileno((uv_handle_t *)&t->tcp, &fd), 0);
    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void check_dead_time(struct inl_link *link, int alive, int idle_s,
                            int interval_s)
{
    assert_int_equal(option(link, SOL_SOCKET, SO_KEEPALIVE), alive);
    assert_int_equal(option(link, IPPROTO_TCP, TCP_KEEPIDLE), idle_s);
    assert_int_equal(option(link, IPPROTO_TCP, TCP_KEEPINTVL), interval_s);
}

static void test_options_of_tunnels(void **state)
{
    struct rig *r = *state;
    struct end client = {.room = 1}, server = {.room = 1, .keep_open = true};
    struct inl_link_tuning tuning = {0};
    int idle_s, interval_s;

    connect_ends(r, &client, &server);
    assert_int_equal(option(client.link, IPPROTO_TCP, TCP_NOTSENT_LOWAT),
                     64 * 1024);
    idle_s = option(client.link, IPPROTO_TCP, TCP_KEEPIDLE);
    interval_s = option(client.link, IPPROTO_TCP, TCP_KEEPINTVL);
    assert_int_equal(inl_link_tune(client.link, &tuning), 0);
    check_dead_time(client.link, 0, idle_s, interval_s);
    tuning.dead_ms = 20000;
    assert_int_equal(inl_link_tune(client.link, &tuning), 0);
    check_dead_time(client.link, 1, 10, 3);
    assert_int_equal(option(client.link, IPPROTO_TCP, TCP_KEEPCNT), 3);
    tuning.dead_ms = 1; /* the shortest that the kernel knows */
    assert_int_equal(inl_link_tune(client.link, &tuning), 0);
    check_dead_time(client.link, 1, 1, 1);
    check_dead_time(server.link, 0, idle_s, interval_s);
    assert_int_equal(congestion.calls, 0);
    end_act(&client, CLOSE);
    end_act(&server, CLOSE);
    assert_int_equal(inl_link_tune(client.link, &tuning), INLETS_ECLOSED);
    RUN_UNTIL(r, client.gone && server.gone);
}

static void test_carriers_need_not_tune(void **state)
{
    static const struct inl_carrier_ops none = {.turn = NULL};
    const struct inl_link_tuning tuning = {.dead_ms = 1, .bbr = true};
    struct inl_link link = {.carrier = &none};

    (void)state;
    assert_int_equal(inl_link_tune(&link, &tuning), 0);
}

/* Answers a tunnel's wish for BBR with errno err. */
static void expect_bbr(struct rig *r, bool loopback, int err, int calls,
                       int expected)
{
    const struct inl_link_tuning tuning = {.dead_ms = 4000, .bbr = true};
    struct end client = {.room = 1}, server = {.room = 1, .keep_open = true};

    connect_ends(r, &client, &server);
    assert_true(client.link->peer_is_loopback);
    client.link->peer_is_loopback = loopback;
    memset(&congestion, 0, sizeof(congestion));
    congestion.err = err;
    assert_int_equal(inl_link_tune(client.link, &tuning), expected);
    assert_int_equal(congestion.calls, calls);
    assert_string_equal(congestion.name, calls > 0 ? "bbr" : "");
    assert_int_equal(option(client.link, IPPROTO_TCP, TCP_KEEPIDLE), 2);
    end_act(&client, CLOSE);
    end_act(&server, CLOSE);
    RUN_UNTIL(r, client.gone && server.gone);
}

static void test_tunnels_ask_for_bbr(void **state)
{
    struct rig *r = *state;

    expect_bbr(r, false, 0, 1, 0);
    expect_bbr(r, false, EPERM, 1, INLETS_EPERM);
    expect_bbr(r, false, ENOENT, 1, INLETS_ENOTSUP);
    expect_bbr(r, false, ENOMEM, 1, INLETS_ENOMEM);
    expect_bbr(r, true, EPERM, 0, 0);
}

/* --- Memory -------------------------------------------------------------- */

/* Connects, sends both ways. Every step may fail, nothing may leak. */
static void whole_life(struct rig *r)
{
    struct end client = {.rig = r, .to_send = 300000, .room = 9000};
    struct end server = {.rig = r, .to_send = 200000, .room = 8000};
    struct inl_listener *l;
    struct call call;

    if (inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, &server) !=
        0) {
        return;
    }
    if (call_start(&call, &client, "127.0.0.1", inl_listener_port(l), 5000) ==
        0) {
        RUN_UNTIL(r, call.done > 0);
        RUN_UNTIL(r, call.err != 0 || client.gone);
        RUN_UNTIL(r, server.link == NULL);
    }
    inl_listener_close(l);
}

static void test_every_allocation_fails_once(void **state)
{
    struct rig r;
    size_t n;
    bool failed = true;

    (void)state;
    for (n = 1; failed; n++) {
        alloc_fail_nth = n;
        if (rig_start(&r) == 0) {
            whole_life(&r);
            failed = alloc_fail_nth == 0;
            alloc_fail_nth = 0;
            rig_stop(&r);
        }
    }
    assert_true(n > 5);
}

#define NET_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_nothing_but_fins),
        NET_TEST(test_half_close),
        NET_TEST(test_tiny_room),
        NET_TEST(test_big_both_ways_with_backpressure),
        NET_TEST(test_big_one_way_unthrottled),
        NET_TEST(test_peer_that_does_not_read),
        NET_TEST(test_close_with_write_in_flight),
        NET_TEST(test_close_with_write_pending_in_this_poll),
        NET_TEST(test_reset_while_reading),
        NET_TEST(test_reset_found_by_a_write),
        NET_TEST(test_reset_after_fin_found_by_a_write),
        NET_TEST(test_reset_while_paused),
        NET_TEST(test_reset_after_eof),
        NET_TEST(test_fin_while_paused),
        NET_TEST(test_both_fins_while_paused),
        NET_TEST(test_close_sends_fin_and_reset_rst),
        NET_TEST(test_close_lets_the_peer_see_a_clean_end),
        NET_TEST(test_linger_discards),
        NET_TEST(test_misbehaviour_in_every_callback),
        NET_TEST(test_close_loop_with_live_links),
        NET_TEST(test_options_of_tunnels),
        NET_TEST(test_tunnels_ask_for_bbr),
        cmocka_unit_test(test_carriers_need_not_tune),
        cmocka_unit_test(test_every_allocation_fails_once),
    };

    alloc_install();
    return cmocka_run_group_tests_name("net_tcp", tests, NULL, NULL);
}
