/* net_rig.c: see net_rig.h. */
#include "net_rig.h"

#include "base/mem.h"
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE 32768u
#define PATIENCE_S 60u

int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

/* --- The loop --- */

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_log(enum inlets_log_level level, const char *event,
                   const struct inlets_log_field *fields, size_t nfields,
                   void *user)
{
    struct rig *r = user;

    (void)event;
    (void)fields;
    (void)nfields;
    if (level <= INLETS_LOG_WARN) {
        r->warnings++;
    }
}

int rig_start(struct rig *r)
{
    int err;

    memset(r, 0, sizeof(*r));
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(PATIENCE_S);
    r->fds = count_fds();
    assert_int_equal(uv_loop_init(&r->uv), 0);
    err = inl_loop_init(&r->loop, &r->uv);
    if (err != 0) {
        assert_int_equal(uv_loop_close(&r->uv), 0);
        return err;
    }
    assert_int_equal(uv_timer_init(&r->uv, &r->tick), 0);
    assert_int_equal(uv_timer_start(&r->tick, on_tick, 2, 2), 0);
    r->loop.env.log = on_log;
    r->loop.env.log_user = r;
    inl_net_dialer_init(&r->dialer, &r->loop);
    return 0;
}

static void on_closed(void *user)
{
    struct rig *r = user;

    assert_false(r->closed);
    r->closed = true;
}

void rig_stop(struct rig *r)
{
    inl_loop_close(&r->loop, on_closed, r);
    inl_loop_close(&r->loop, NULL, NULL);
    RUN_UNTIL(r, r->closed);
    assert_int_equal(r->loop.live, 0);
    uv_close((uv_handle_t *)&r->tick, NULL);
    assert_int_equal(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&r->uv), 0);
    assert_int_equal(count_fds(), r->fds);
    (void)alarm(0);
}

int rig_setup(void **state)
{
    struct rig *r = malloc(sizeof(*r));
    uv_loop_t uv;

    assert_non_null(r);
    /* The first loop of a process opens descriptors that stay. */
    assert_int_equal(uv_loop_init(&uv), 0);
    assert_int_equal(uv_loop_close(&uv), 0);
    assert_int_equal(rig_start(r), 0);
    *state = r;
    return 0;
}

int rig_teardown(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

void rig_once(struct rig *r)
{
    r->turns++;
    (void)uv_run(&r->uv, UV_RUN_ONCE);
}

void rig_pass(struct rig *r, uint64_t ms)
{
    uint64_t until = uv_now(&r->uv) + ms;

    RUN_UNTIL(r, uv_now(&r->uv) >= until);
}

/* --- The machine --- */

/* The i-th byte that every end sends. */
static uint8_t pattern(uint64_t i)
{
    uint64_t word = (i / 8 + 1) * 0x9e3779b97f4a7c15u;

    return (uint8_t)(word >> (8 * (i % 8)));
}

void end_act(struct end *e, enum action action)
{
    if (e->link == NULL) {
        return;
    }
    switch (action) {
    case CLOSE:
        inl_link_close(e->link, INLETS_ECANCELED);
        break;
    case RESET:
        inl_link_reset(e->link, INLETS_ECANCELED);
        break;
    case SHUTDOWN:
        e->to_send = e->made;
        inl_link_shutdown(e->link);
        break;
    case LINGER:
        e->to_send = e->made;
        inl_link_linger(e->link);
        break;
    case NOTHING:
    case ACTIONS:
        break;
    }
}

static void misbehave(struct end *e, enum hook here)
{
    if (e->hook == here && e->received >= e->misbehave_after) {
        end_act(e->victim != NULL ? e->victim : e, e->action);
    }
}

/* Both directions are over: wait until libuv has sent the FIN, and go. */
static void end_if_done(struct end *e)
{
    if (e->eof && e->made == e->to_send) {
        inl_link_linger(e->link);
    }
}

static void end_rx(void *machine, const uint8_t *p, size_t n)
{
    struct end *e = machine;

    assert_true(n > 0 && n <= e->room);
    assert_false(e->paused || e->link->closed);
    for (size_t i = 0; i < n; i++) {
        e->bad = e->bad || p[i] != pattern(e->received + i);
    }
    if (e->pause_every > 0 &&
        e->received / e->pause_every != (e->received + n) / e->pause_every) {
        e->paused = true;
        assert_int_equal(
            inl_timer_at(e->link->env, &e->resume, e->link->env->now_ms + 1),
            0);
    }
    e->received += n;
    misbehave(e, AT_RX);
}

static void on_resume(struct inl_timer *timer)
{
    struct end *e = inl_container(timer, struct end, resume);

    e->paused = false;
    if (e->link != NULL) {
        inl_link_wake(e->link);
    }
}

static size_t end_room(void *machine)
{
    struct end *e = machine;

    misbehave(e, AT_ROOM);
    return e->paused ? 0 : e->room;
}

static void end_eof(void *machine)
{
    struct end *e = machine;

    assert_false(e->eof);
    e->eof = true;
    misbehave(e, AT_EOF);
    if (!e->keep_open) {
        end_if_done(e);
    }
}

static void end_taken(void *machine, size_t n)
{
    struct end *e = machine;

    e->taken += n;
    assert_true(e->taken <= e->made);
    misbehave(e, AT_TAKEN);
}

static void end_fill(void *machine)
{
    struct end *e = machine;
    static uint8_t piece[PIECE];

    if (e->link->out.bytes > e->out_when_asked) {
        e->out_when_asked = e->link->out.bytes;
    }
    misbehave(e, AT_FILL);
    while (!e->link->closed && e->made < e->to_send &&
           e->link->out.bytes < INL_LINK_LOW_BYTES) {
        size_t n = sizeof(piece) - (size_t)(e->made % 1000);
        int err;

        if (n > e->to_send - e->made) {
            n = (size_t)(e->to_send - e->made);
        }
        for (size_t i = 0; i < n; i++) {
            piece[i] = pattern(e->made + i);
        }
        err = inl_link_write(e->link, piece, n);
        if (err != 0) {
            inl_link_close(e->link, err);
            return;
        }
        e->made += n;
    }
    if (e->link->out.bytes > e->out_peak) {
        e->out_peak = e->link->out.bytes;
    }
    if (e->made == e->to_send && !e->keep_open) {
        inl_link_shutdown(e->link);
        end_if_done(e);
    }
}

static void end_gone(void *machine, int err)
{
    struct end *e = machine;

    misbehave(e, AT_GONE);
    inl_timer_off(e->link->env, &e->resume);
    e->gone++;
    e->err = err;
    e->link = NULL;
}

static const struct inl_machine_ops end_ops = {
    .rx = end_rx,
    .rx_room = end_room,
    .rx_eof = end_eof,
    .tx_taken = end_taken,
    .tx_fill = end_fill,
    .gone = end_gone,
};

void end_attach(struct end *e, struct inl_link *link)
{
    assert_null(e->link);
    e->link = link;
    inl_timer_init(&e->resume, on_resume);
    inl_link_set_machine(link, &end_ops, e);
}

void end_listen(struct inl_link *link, void *user)
{
    end_attach(user, link);
}

/* --- Connections --- */

static void on_done(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct call *c = (struct call *)dial;

    assert_int_equal(c->done, 0);
    assert_null(dial->impl);
    assert_true((err == 0) == (link != NULL));
    c->done++;
    c->err = err;
    if (link != NULL && c->end != NULL) {
        end_attach(c->end, link);
    }
}

int call_start(struct call *c, struct end *end, const char *host, unsigned port,
               uint64_t timeout_ms)
{
    struct rig *r = end->rig;
    int err;

    inl_loop_enter(&r->loop);
    *c = (struct call){
        .dial = {.host = host,
                 .port = port,
                 .due_ms = r->loop.env.now_ms + timeout_ms,
                 .done = on_done},
        .end = end,
    };
    err = inl_dial_start(&r->dialer, &c->dial);
    assert_int_equal(c->done, 0);
    return err;
}

void connect_ends(struct rig *r, struct end *client, struct end *server)
{
    struct inl_listener *listener;
    struct call call;

    client->rig = server->rig = r;
    assert_int_equal(inl_listener_new(&listener, &r->loop, "127.0.0.1:0",
                                      end_listen, server),
                     0);
    assert_int_equal(call_start(&call, client, "127.0.0.1",
                                inl_listener_port(listener), 5000),
                     0);
    RUN_UNTIL(r, call.done > 0 && (server->link != NULL || server->gone > 0));
    assert_int_equal(call.err, 0);
    inl_listener_close(listener);
}

int raw_connect(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)),
                     0);
    return fd;
}

void raw_reset(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)),
                     0);
    assert_int_equal(close(fd), 0);
}
