/* test_lanes.c: two sessions and the websockets between them, which come and
 * go: streams live on, bytes neither lost nor doubled.
 *
 * No visitor and no gate here: a rig opens streams at the opener by flows of
 * its own, and carries tickets from the one session to the other as the two
 * handshakes would, with the net's latency between the steps. */
#include "suite.h"

#include "base/slice.h"
#include "proto/crypto.h"
#include "world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS 64u
#define DIALS 16u

/* A stream as its two ends see it: body `up` goes to the answerer, `down`
 * comes back. */
struct call {
    struct rig *rig;
    struct inl_flow caller, callee;
    uint64_t up, down;        /* how much there is */
    uint64_t up_sent, up_got; /* at the two ends */
    uint64_t down_sent, down_got;
    bool up_ended, down_ended, stopped;
    bool held;
    unsigned holds;
    int err;
    bool lazy; /* the caller gives no credit */
};

/* A websocket on its way: ticket shown, then taken, then answered. */
struct dialing {
    struct rig *rig;
    struct inl_timer timer;
    struct inl_ticket shown, answer;
    struct world_pipe *pipe;
    bool taken, busy;
};

struct rig {
    struct world *w;
    struct inl_session *opener, *answerer;
    struct inl_router router;
    struct inl_service service; /* of the answerer */
    struct call calls[CALLS];
    size_t ncalls, nserved;
    struct dialing dials[DIALS];
    struct world_pipe *pipe[INL_TICKET_LANES]; /* newest of each lane */
    uint32_t redial_ms;                        /* pause before each dial */
    bool no_dials;
    unsigned wants[4], lost, back, given_up;
    bool opener_down, answerer_down;
    int opener_err, answerer_err;
    unsigned refused; /* tickets */
};

/* ---- the ends of a stream --------------------------------------------- */

static void check_bytes(unsigned tag, uint64_t at, struct inlets_slice data)
{
    for (size_t i = 0; i < data.len; i++) {
        WORLD_CHECK((uint8_t)data.ptr[i] == world_byte(tag, at + i));
    }
}

static void pump(struct inl_flow *f, unsigned tag, uint64_t total,
                 uint64_t *sent)
{
    char buf[16384];

    while (inl_flow_tied(f) && !f->tx_ended && *sent < total &&
           f->tx_credit > 0) {
        size_t n = f->tx_credit < sizeof(buf) ? f->tx_credit : sizeof(buf);

        n = total - *sent < n ? (size_t)(total - *sent) : n;
        for (size_t i = 0; i < n; i++) {
            buf[i] = (char)world_byte(tag, *sent + i);
        }
        *sent += n;
        inl_flow_body(f, inl_slice(buf, n));
    }
    if (*sent == total) {
        inl_flow_end(f, NULL);
    }
}

static void caller_head(struct inl_flow *f, const struct inlets_head *head)
{
    (void)f;
    WORLD_CHECK(head->status == 200);
}

static void caller_body(struct inl_flow *f, struct inlets_slice data)
{
    struct call *c = inl_container(f, struct call, caller);

    check_bytes(2, c->down_got, data);
    c->down_got += data.len;
    if (!c->lazy) {
        inl_flow_credit(f, data.len);
    }
}

static void caller_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    (void)trailers;
    inl_container(f, struct call, caller)->down_ended = true;
}

static void caller_stop(struct inl_flow *f, int err)
{
    struct call *c = inl_container(f, struct call, caller);

    c->stopped = true;
    c->err = err;
}

static void caller_credit(struct inl_flow *f, size_t bytes)
{
    struct call *c = inl_container(f, struct call, caller);

    (void)bytes;
    pump(f, 1, c->up, &c->up_sent);
}

static void caller_hold(struct inl_flow *f, bool held)
{
    struct call *c = inl_container(f, struct call, caller);

    c->held = held;
    c->holds += held;
}

static const struct inl_flow_ops caller_ops = {
    .head = caller_head,
    .body = caller_body,
    .end = caller_end,
    .stop = caller_stop,
    .credit = caller_credit,
    .hold = caller_hold,
};

static void callee_body(struct inl_flow *f, struct inlets_slice data)
{
    struct call *c = inl_container(f, struct call, callee);

    check_bytes(1, c->up_got, data);
    c->up_got += data.len;
    inl_flow_credit(f, data.len);
}

static void callee_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    (void)trailers;
    inl_container(f, struct call, callee)->up_ended = true;
}

static void callee_stop(struct inl_flow *f, int err)
{
    (void)f;
    (void)err;
}

static void callee_credit(struct inl_flow *f, size_t bytes)
{
    struct call *c = inl_container(f, struct call, callee);

    (void)bytes;
    pump(f, 2, c->down, &c->down_sent);
}

static const struct inl_flow_ops callee_ops = {.body = callee_body,
                                               .end = callee_end,
                                               .stop = callee_stop,
                                               .credit = callee_credit};

/* The target says which call it is: "/7". */
static int serve(struct inl_service *service, const struct inl_request *req,
                 struct inl_flow *caller)
{
    struct rig *r = inl_container(service, struct rig, service);
    struct call *c;
    uint64_t number = CALLS;
    const struct inlets_head head = {.status = 200,
                                     .content_length = INLETS_LENGTH_UNKNOWN};

    WORLD_CHECK(inl_slice_to_u64(inl_slice_from(req->path, 1), &number) &&
                number < CALLS);
    c = &r->calls[number];
    r->nserved++;
    inl_flow_init(&c->callee, &callee_ops);
    inl_flow_tie(caller, &c->callee);
    inl_flow_head(&c->callee, &head);
    pump(&c->callee, 2, c->down, &c->down_sent);
    return 0;
}

static const struct inl_service_ops service_ops = {.open = serve};

static struct call *open_call(struct rig *r, uint64_t up, uint64_t down)
{
    struct call *c = &r->calls[r->ncalls];
    char target[16];
    int n = snprintf(target, sizeof(target), "/%zu", r->ncalls);
    const struct inlets_head head = {.method = INL_LIT("POST"),
                                     .target = inl_slice(target, (size_t)n),
                                     .host = INL_LIT("app.test"),
                                     .content_length = INLETS_LENGTH_UNKNOWN};
    const struct inl_request req = {.head = &head,
                                    .host = INL_LIT("app.test"),
                                    .path = head.target,
                                    .id = INL_LIT("id")};

    WORLD_CHECK(r->ncalls++ < CALLS);
    *c = (struct call){.rig = r, .up = up, .down = down};
    inl_flow_init(&c->caller, &caller_ops);
    c->err = inl_service_open(&r->router.service, &req, &c->caller);
    if (c->err == 0) {
        pump(&c->caller, 1, c->up, &c->up_sent);
    } else {
        c->stopped = true;
    }
    return c;
}

static bool is_done(const struct call *c)
{
    return c->down_ended && c->up_ended && !c->stopped &&
           c->down_got == c->down && c->up_got == c->up;
}

/* ---- websockets ------------------------------------------------------- */

/* The server's half of the handshake, then, a latency later, the client's. */
static void step(struct inl_timer *timer)
{
    struct dialing *d = inl_container(timer, struct dialing, timer);
    struct rig *r = d->rig;
    struct inl_link *link;

    if (!d->taken) {
        if (r->opener_down ||
            inl_session_check_ticket(r->opener, &d->shown, &d->answer) != 0) {
            r->refused++;
            d->busy = false;
            if (!r->answerer_down) {
                inl_session_forget(r->answerer, d->shown.lane);
            }
            return;
        }
        d->pipe = world_pipe(r->w, &r->w->net);
        link = world_link(&d->pipe->end[0], "203.0.113.9");
        WORLD_CHECK(inl_session_take(r->opener, link, &d->shown, &d->answer) ==
                    0);
        d->taken = true;
        (void)inl_timer_at(&r->w->env, timer,
                           r->w->env.now_ms + r->w->net.latency_ms);
        return;
    }
    d->busy = false;
    link = world_link(&d->pipe->end[1], "198.51.100.1");
    if (r->answerer_down ||
        inl_session_resume(r->answerer, link, &d->shown, &d->answer) != 0) {
        inl_link_close(link, 0);
        return;
    }
    r->pipe[d->shown.lane] = d->pipe;
}

static void dial_lane(struct rig *r, unsigned lane, uint32_t pause_ms)
{
    struct dialing *d = &r->dials[lane];

    WORLD_CHECK(lane < DIALS);
    if (d->busy) {
        return;
    }
    *d = (struct dialing){.rig = r};
    if (!inl_session_ticket(r->answerer, lane, &d->shown)) {
        return;
    }
    d->busy = true;
    inl_timer_init(&d->timer, step);
    (void)inl_timer_at(&r->w->env, &d->timer,
                       r->w->env.now_ms + r->w->net.latency_ms + pause_ms);
}

static void on_want(struct inl_session *s, unsigned lane, enum inl_want why)
{
    struct rig *r = s->owner;

    r->wants[why]++;
    if (!r->no_dials) {
        dial_lane(r, lane, why == INL_WANT_LOST ? r->redial_ms : 0);
    }
}

static void on_lane(struct inl_session *s, unsigned lane, int err)
{
    struct rig *r = s->owner;

    (void)lane;
    r->lost += err != 0 && err != INLETS_ETIMEDOUT;
    r->given_up += err == INLETS_ETIMEDOUT;
    r->back += err == 0;
}

/* ---- sessions --------------------------------------------------------- */

static void on_hello(struct inl_session *s, const struct inl_hello *hello)
{
    (void)s;
    (void)hello;
}

static int on_route(struct inl_session *s, struct inl_target *target,
                    const struct inl_endpoint *endpoint,
                    struct inlets_slice text, struct inlets_slice *ret_text)
{
    struct rig *r = s->owner;

    (void)text;
    (void)ret_text;
    return inl_router_add(&r->router, endpoint, target);
}

static void on_unroute(struct inl_session *s, struct inl_target *target,
                       struct inlets_slice text)
{
    struct rig *r = s->owner;

    (void)text;
    inl_router_remove(&r->router, target);
}

static void on_routed(struct inl_session *s, uint32_t route, int err,
                      struct inlets_slice text)
{
    (void)s;
    (void)route;
    (void)text;
    WORLD_CHECK(err == 0);
}

static struct inl_service *on_service(struct inl_session *s, uint32_t route)
{
    struct rig *r = s->owner;

    return route == 1 ? &r->service : NULL;
}

static void on_goaway(struct inl_session *s, int err, struct inlets_slice text)
{
    (void)s;
    (void)err;
    (void)text;
}

static void on_down(struct inl_session *s, int err)
{
    struct rig *r = s->owner;

    if (s == r->opener) {
        WORLD_CHECK(!r->opener_down);
        r->opener_down = true;
        r->opener_err = err;
    } else {
        WORLD_CHECK(!r->answerer_down);
        r->answerer_down = true;
        r->answerer_err = err;
    }
}

static const struct inl_session_ops session_ops = {
    .hello = on_hello,
    .route = on_route,
    .unroute = on_unroute,
    .routed = on_routed,
    .service = on_service,
    .goaway = on_goaway,
    .want = on_want,
    .lane = on_lane,
    .down = on_down,
};

/* Knobs of a rig; zero is the usual. */
struct rig_opts {
    uint64_t seed;
    struct world_net net;
    unsigned lanes;     /* that the answerer wants */
    unsigned taken;     /* by the opener; 0: 8 */
    uint32_t resume_ms; /* 0: 10,000; UINT32_MAX: off */
};

static struct inl_session *make_session(struct rig *r, const struct rig_opts *o,
                                        enum inl_session_role role)
{
    const struct inl_session_config config = {
        .ops = &session_ops,
        .role = role,
        .lane = {10000, 20000},
        .max_streams = 16384,
        .agent = INL_LIT("rig"),
        .resume_ms = o->resume_ms == 0            ? 10000
                     : o->resume_ms == UINT32_MAX ? 0
                                                  : o->resume_ms,
        .lanes = role == INL_SESSION_ANSWERER ? o->lanes
                 : o->taken == 0              ? 8
                                              : o->taken,
    };
    struct inl_session *s = inl_session_new(&r->w->env, &config);

    WORLD_CHECK(s != NULL);
    s->owner = r;
    return s;
}

static struct rig *rig_new(const struct rig_opts *o)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct world_pipe *pipe;

    WORLD_CHECK(r != NULL && inl_crypto_init() == 0);
    r->w = world_new(o->seed + 1);
    r->w->net = o->net;
    r->service.ops = &service_ops;
    inl_router_init(&r->router, &r->w->env);
    r->opener = make_session(r, o, INL_SESSION_OPENER);
    r->answerer = make_session(r, o, INL_SESSION_ANSWERER);
    pipe = r->pipe[0] = world_pipe(r->w, &r->w->net);
    WORLD_CHECK(inl_session_attach(
                    r->opener, world_link(&pipe->end[0], "203.0.113.9")) == 0);
    WORLD_CHECK(inl_session_offer(r->answerer, 1, INL_LIT("app.test")) == 0);
    WORLD_CHECK(inl_session_attach(r->answerer,
                                   world_link(&pipe->end[1], "exit")) == 0);
    world_run(r->w, 10 * o->net.latency_ms + 10);
    WORLD_CHECK(r->router.nroutes == 1);
    return r;
}

static void rig_free(struct rig *r)
{
    for (size_t i = 0; i < DIALS; i++) {
        if (r->dials[i].busy) {
            inl_timer_off(&r->w->env, &r->dials[i].timer);
            if (r->dials[i].taken) {
                world_close(&r->dials[i].pipe->end[1], true);
            }
        }
    }
    r->no_dials = true;
    inl_session_close(r->answerer, 0);
    inl_session_close(r->opener, 0);
    world_run(r->w, 65000);
    WORLD_CHECK(r->opener_down && r->answerer_down);
    inl_session_free(r->opener);
    inl_session_free(r->answerer);
    inl_router_fini(&r->router);
    world_free(r->w);
    free(r);
}

/* Runs until the first n calls are done, or ms have passed. */
static void run_calls(struct rig *r, size_t n, uint64_t ms)
{
    uint64_t end = r->w->env.now_ms + ms;
    size_t i = 0;

    while (i < n && r->w->env.now_ms < end) {
        world_run(r->w, 10);
        while (i < n && is_done(&r->calls[i])) {
            i++;
        }
    }
}

/* ---- scenarios -------------------------------------------------------- */

/* Both ways, while the websocket is cut again and again in every way. */
static void test_cuts(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct rig_opts o = {.seed = seed,
                             .net = {(uint32_t)(seed % 3) * 10,
                                     seed % 4 == 0 ? 700 : 0,
                                     seed % 5 == 0 ? 0 : 500, 100000}};
        struct rig *r = rig_new(&o);

        for (size_t i = 0; i < 6; i++) {
            (void)open_call(r, 200000 * (i % 3), 300000 * (i % 4));
        }
        for (size_t cuts = 0; cuts < 10; cuts++) {
            world_run(r->w, world_below(r->w, 120));
            r->redial_ms = (uint32_t)world_below(r->w, 3) * 700;
            world_cut(r->pipe[0],
                      world_below(r->w, 2) == 0 ? WORLD_RST : WORLD_FIN);
        }
        run_calls(r, r->ncalls, 60000);
        for (size_t i = 0; i < r->ncalls; i++) {
            assert_true(is_done(&r->calls[i]));
        }
        assert_int_equal(r->nserved, r->ncalls);
        world_run(r->w, 5000); /* all acknowledged: nothing is kept */
        assert_true(r->back >= 2);
        assert_false(r->opener_down || r->answerer_down);
        assert_int_equal(r->opener->lanes[0]->lane.kept.bytes, 0);
        assert_int_equal(r->answerer->lanes[0]->lane.kept.bytes, 0);
        rig_free(r);
    }
}

/* The opener sees the loss, the answerer does not until its ping is due, and
 * the other way round: the new websocket takes over from one that still
 * seems to be there. */
static void test_silence(void **state)
{
    (void)state;
    for (unsigned both = 0; both < 2; both++) {
        struct rig_opts o = {.net = {5, 0, 300, 100000}};
        struct rig *r = rig_new(&o);
        struct call *c = open_call(r, 500000, 3000000);

        world_run(r->w, 100);
        world_cut(r->pipe[0], WORLD_SILENCE);
        r->no_dials = both;
        world_run(r->w, 4500);
        if (both) { /* nobody dials on a doubt: dead after 20 s */
            assert_false(is_done(c));
            r->no_dials = false;
            assert_true(r->wants[INL_WANT_DOUBT] >= 1);
            world_run(r->w, 16600);
        }
        run_calls(r, 1, 30000);
        assert_true(is_done(c));
        if (!both) { /* it took over in time: nobody noticed */
            assert_int_equal(c->holds, 0);
        }
        rig_free(r);
    }
}

/* Beside the present websocket, while bytes flow: none is lost or doubled. */
static void test_moves(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct rig_opts o = {.seed = seed, .net = {7, 0, 400, 60000}};
        struct rig *r = rig_new(&o);
        struct call *a = open_call(r, 1000000, 4000000);

        for (size_t i = 0; i < 20; i++) {
            world_run(r->w, world_below(r->w, 60));
            inl_session_rotate(r->opener);
        }
        run_calls(r, 1, 60000);
        assert_true(is_done(a));
        assert_int_equal(a->holds, 0); /* nobody noticed */
        assert_true(r->wants[INL_WANT_MOVE] >= 5);
        assert_int_equal(r->lost, 0);
        rig_free(r);
    }
}

/* Who receives much acknowledges over the old websocket after the ticket was
 * written: the server begins where that got, and refuses nobody. */
static void test_acks_pass_the_ticket(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct rig_opts o = {.seed = seed, .net = {50, 0, 0, 1024 * 1024}};
        struct rig *r = rig_new(&o);
        struct call *up = open_call(r, 20000000, 0);
        struct call *both = open_call(r, 5000000, 5000000);

        for (size_t i = 0; i < 10; i++) {
            world_run(r->w, 100 + world_below(r->w, 400));
            inl_session_rotate(r->opener);
        }
        run_calls(r, 2, 120000);
        assert_true(is_done(up) && is_done(both));
        assert_true(r->wants[INL_WANT_MOVE] >= 5);
        assert_int_equal(r->refused, 0);
        assert_int_equal(r->lost, 0);
        rig_free(r);
    }
}

/* After the window both sides end what runs, and say so. */
static void test_window_passes(void **state)
{
    struct rig_opts o = {.net = {1, 0, 100, 10000}, .resume_ms = 5000};
    struct rig *r = rig_new(&o);
    struct call *c = open_call(r, 100, 1000000);

    (void)state;
    world_run(r->w, 50);
    r->no_dials = true;
    world_cut(r->pipe[0], WORLD_RST);
    world_run(r->w, 4900);
    assert_false(c->stopped);
    assert_true(c->held);
    world_run(r->w, 200);
    assert_true(c->stopped);
    assert_false(c->down_ended);
    assert_true(r->opener_down && r->answerer_down);
    assert_int_equal(c->err, INLETS_ERESET);
    rig_free(r);
}

static void test_without_resuming(void **state)
{
    struct rig_opts o = {.net = {1, 0, 100, 10000}, .resume_ms = UINT32_MAX};
    struct rig *r = rig_new(&o);
    struct call *c = open_call(r, 100, 1000000);

    (void)state;
    world_run(r->w, 50);
    world_cut(r->pipe[0], WORLD_RST);
    world_run(r->w, 10);
    assert_true(c->stopped && r->opener_down && r->answerer_down);
    assert_int_equal(r->wants[INL_WANT_LOST], 0);
    rig_free(r);
}

/* New requests wait for a lane, at most 2 s and so many. */
static void test_parking(void **state)
{
    struct rig_opts o = {.net = {1, 0, 0, 100000}};
    struct rig *r = rig_new(&o);
    struct call *late, *soon, *left;

    (void)state;
    r->no_dials = true;
    world_cut(r->pipe[0], WORLD_RST);
    world_run(r->w, 10);
    late = open_call(r, 5, 5);
    left = open_call(r, 5, 5);
    world_run(r->w, 1000);
    soon = open_call(r, 50000, 50000);
    inl_flow_stop(&left->caller, INLETS_ECANCELED);
    assert_false(late->stopped || soon->stopped);
    world_run(r->w, 1100);
    assert_true(late->stopped);
    assert_int_equal(late->err, INLETS_EUNAVAILABLE);
    assert_false(soon->stopped);
    r->no_dials = false;
    dial_lane(r, 0, 0);
    world_run(r->w, 200);
    assert_true(is_done(soon));
    assert_int_equal(r->nserved, 1); /* the others were never sent */
    assert_int_equal(r->opener->nparked, 0);
    rig_free(r);
}

static void test_parked_are_bounded(void **state)
{
    struct rig_opts o = {.net = {1, 0, 0, 100000}};
    struct rig *r = rig_new(&o);
    struct call *c;

    (void)state;
    r->no_dials = true;
    world_cut(r->pipe[0], WORLD_RST);
    world_run(r->w, 10);
    for (size_t i = 0; i < INL_SESSION_PARKED_MAX; i++) {
        r->ncalls = 1;
        c = open_call(r, 0, 0);
        assert_false(c->stopped);
        inl_flow_untie(&c->caller); /* the rig's calls are few */
    }
    c = open_call(r, 0, 0);
    assert_true(c->stopped);
    assert_int_equal(c->err, INLETS_EUNAVAILABLE);
    rig_free(r);
}

/* A second lane, for bulk; new streams go to it; each lane is lost and found
 * on its own. */
static void test_two_lanes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct rig_opts o = {.seed = seed,
                             .net = {5, 0, 1000, 200000},
                             .lanes = seed % 2 == 0 ? 0 : 4};
        struct rig *r = rig_new(&o);
        struct call *bulk = open_call(r, 0, 6000000), *small;

        world_run(r->w, 2000);
        assert_int_equal(r->opener->nlanes, seed % 2 == 0 ? 2 : 4);
        assert_int_equal(r->answerer->nlanes, seed % 2 == 0 ? 2 : 4);
        small = open_call(r, 3000, 3000);
        assert_int_equal(r->opener->lanes[0]->nstreams, 1);
        assert_int_equal(r->opener->lanes[1]->nstreams, 1);
        for (size_t i = 0; i < 6; i++) {
            world_run(r->w, world_below(r->w, 100));
            world_cut(r->pipe[world_below(r->w, 2)], WORLD_RST);
            (void)open_call(r, 1000, 20000);
        }
        run_calls(r, r->ncalls, 60000);
        for (size_t i = 0; i < r->ncalls; i++) {
            assert_true(is_done(&r->calls[i]));
        }
        assert_true(is_done(bulk) && is_done(small));
        rig_free(r);
    }
}

/* A lane above 0 that is lost for good takes only its own streams along. */
static void test_lane_given_up(void **state)
{
    struct rig_opts o = {
        .net = {1, 0, 200, 50000}, .lanes = 2, .resume_ms = 3000};
    struct rig *r = rig_new(&o);
    struct call *on0, *on1;

    (void)state;
    world_run(r->w, 100);
    on0 = open_call(r, 0, 2000000);
    on1 = open_call(r, 0, 2000000);
    assert_int_equal(r->opener->lanes[1]->nstreams, 1);
    r->no_dials = true;
    world_run(r->w, 50);
    world_cut(r->pipe[1], WORLD_RST);
    world_run(r->w, 3100);
    assert_true(on1->stopped);
    assert_int_equal(r->given_up, 2);
    assert_int_equal(r->opener->nlanes, 1);
    assert_int_equal(r->answerer->nlanes, 1);
    r->no_dials = false;
    run_calls(r, 1, 30000);
    assert_true(is_done(on0));
    rig_free(r);
}

/* The server takes one lane only: the answerer lives with it. */
static void test_one_lane_taken(void **state)
{
    struct rig_opts o = {.net = {1, 0, 200, 50000}, .lanes = 4, .taken = 1};
    struct rig *r = rig_new(&o);
    struct call *c = open_call(r, 0, 2000000);

    (void)state;
    run_calls(r, 1, 30000);
    assert_true(is_done(c));
    assert_int_equal(r->wants[INL_WANT_MORE], 0);
    rig_free(r);
}

/* What a thief of tickets can do. */
static void test_tickets(void **state)
{
    struct rig_opts o = {.net = {1, 0, 0, 100000}};
    struct rig *r = rig_new(&o);
    struct inl_ticket old, bad, answer, again;

    (void)state;
    assert_true(inl_session_ticket(r->answerer, 0, &old));
    bad = old;
    bad.secret[3] ^= 1;
    assert_int_equal(inl_session_check_ticket(r->opener, &bad, &answer),
                     INLETS_EUNAVAILABLE);
    bad = old;
    bad.session ^= 1;
    assert_int_equal(inl_session_check_ticket(r->opener, &bad, &answer),
                     INLETS_EUNAVAILABLE);
    bad = old;
    bad.received = r->opener->lanes[0]->lane.tx_total + 1;
    assert_int_equal(inl_session_check_ticket(r->opener, &bad, &answer),
                     INLETS_EUNAVAILABLE);
    bad = old;
    bad.lane = 5; /* not asked for from byte 0 */
    bad.received = 1;
    assert_int_equal(inl_session_check_ticket(r->opener, &bad, &answer),
                     INLETS_EUNAVAILABLE);

    /* Good, but its answer is lost: the old secret still opens, and the one
     * of the lost answer too. */
    assert_int_equal(inl_session_check_ticket(r->opener, &old, &answer), 0);
    assert_memory_not_equal(answer.secret, old.secret, sizeof(old.secret));
    assert_int_equal(inl_session_check_ticket(r->opener, &old, &again), 0);
    assert_memory_not_equal(answer.secret, again.secret, sizeof(old.secret));

    /* Used and confirmed: worth nothing any more. */
    inl_session_rotate(r->opener);
    world_run(r->w, 100);
    assert_int_equal(r->wants[INL_WANT_MOVE], 1);
    assert_int_equal(r->back, 2); /* each side says so */
    assert_true(inl_session_ticket(r->answerer, 0, &bad));
    assert_memory_not_equal(bad.secret, old.secret, sizeof(old.secret));
    old.received = bad.received;
    assert_int_equal(inl_session_check_ticket(r->opener, &old, &answer),
                     INLETS_EUNAVAILABLE);
    assert_int_equal(inl_session_check_ticket(r->opener, &bad, &answer), 0);
    rig_free(r);
}

/* Goodbyes cross, with a lane that is away meanwhile. */
static void test_drain(void **state)
{
    (void)state;
    for (unsigned who = 0; who < 3; who++) {
        struct rig_opts o = {.net = {3, 0, 500, 50000}, .lanes = 2};
        struct rig *r = rig_new(&o);
        struct call *a, *b;

        world_run(r->w, 100);
        a = open_call(r, 0, 500000);
        b = open_call(r, 500000, 0);
        world_run(r->w, 30);
        world_cut(r->pipe[1], WORLD_RST);
        r->redial_ms = 300;
        if (who != 1) {
            inl_session_drain(r->opener, 0, INL_LIT("bye"));
        }
        if (who != 0) {
            inl_session_drain(r->answerer, 0, INL_LIT("bye"));
        }
        run_calls(r, 2, 20000);
        assert_true(is_done(a) && is_done(b));
        world_run(r->w, 5000);
        assert_true(r->opener_down && r->answerer_down);
        assert_int_equal(r->answerer_err, 0);
        rig_free(r);
    }
}

/* The window grows while the next hop keeps up, and only then. */
static void test_windows_grow(void **state)
{
    (void)state;
    for (unsigned lazy = 0; lazy < 2; lazy++) {
        struct rig_opts o = {.net = {50, 0, 0, 64u * 1024 * 1024}};
        struct rig *r = rig_new(&o);
        struct call *c = open_call(r, 0, 20000000);
        uint64_t start = r->w->env.now_ms;

        c->lazy = lazy;
        run_calls(r, 1, 3000);
        if (lazy) {
            assert_int_equal(c->down_got, INL_FLOW_WINDOW);
        } else {
            assert_true(is_done(c));
            /* 256 KiB a round trip would take 8 s */
            assert_true(r->w->env.now_ms - start < 2500);
        }
        rig_free(r);
    }
}

/* 600 kB over 20 kB/s: what was sent is acknowledged as it comes, and nobody
 * doubts the other. */
static void test_thin_link(void **state)
{
    (void)state;
    for (unsigned upwards = 0; upwards < 2; upwards++) {
        struct rig_opts o = {.net = {5, 0, 20, 65536}, .lanes = 1};
        struct rig *r = rig_new(&o);
        struct call *c =
            upwards ? open_call(r, 600000, 0) : open_call(r, 0, 600000);
        const struct inl_lane *lane =
            upwards ? &r->opener->lanes[0]->lane : &r->answerer->lanes[0]->lane;
        uint64_t acked = 0, at = r->w->env.now_ms, gap = 0;

        for (size_t i = 0; i < 700 && !is_done(c); i++) {
            world_run(r->w, 50);
            if (lane->tx_acked > acked) {
                acked = lane->tx_acked;
                at = r->w->env.now_ms;
            } else if (r->w->env.now_ms - at > gap) {
                gap = r->w->env.now_ms - at;
            }
        }
        assert_true(is_done(c));
        assert_true(gap <= 1000);
        assert_int_equal(r->wants[INL_WANT_DOUBT] + r->wants[INL_WANT_MOVE], 0);
        rig_free(r);
    }
}

static void test_spread(void **state)
{
    struct rig_opts o = {.net = {1, 0, 0, 100000}};
    struct rig *r = rig_new(&o);

    (void)state;
    assert_int_equal(r->answerer->peer.spread_ms, 0);
    inl_session_tell_spread(r->opener, 4321);
    world_run(r->w, 10);
    assert_int_equal(r->answerer->peer.spread_ms, 4321);
    rig_free(r);
}

/* The life of lanes, to be read: lanes.trace. */
static void test_trace(void **state)
{
    struct rig_opts o = {.net = {10, 0, 0, 100000}, .lanes = 2};
    struct rig *r = rig_new(&o);
    struct call *c;

    (void)state;
    world_run(r->w, 100);
    world_trace_on(r->w);
    world_note(r->w, "-- lane 0 is reset, and comes back");
    c = open_call(r, 100000, 100000);
    world_run(r->w, 15);
    world_cut(r->pipe[0], WORLD_RST);
    world_run(r->w, 400);
    assert_true(is_done(c));
    world_note(r->w, "-- both lanes move to fresh websockets");
    inl_session_rotate(r->opener);
    world_run(r->w, 400);
    world_note(r->w, "-- lane 1 is reset, and nobody dials");
    r->no_dials = true;
    world_cut(r->pipe[1], WORLD_RST);
    world_run(r->w, 11000);
    world_note(r->w, "-- the exit node drains");
    inl_session_drain(r->opener, 0, INL_LIT("bye"));
    world_run(r->w, 5000);
    assert_true(r->opener_down && r->answerer_down);
    world_expect_trace(r->w, "lanes");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_acks_pass_the_ticket),
        cmocka_unit_test(test_window_passes),
        cmocka_unit_test(test_without_resuming),
        cmocka_unit_test(test_parking),
        cmocka_unit_test(test_parked_are_bounded),
        cmocka_unit_test(test_two_lanes),
        cmocka_unit_test(test_lane_given_up),
        cmocka_unit_test(test_one_lane_taken),
        cmocka_unit_test(test_tickets),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_windows_grow),
        cmocka_unit_test(test_thin_link),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
