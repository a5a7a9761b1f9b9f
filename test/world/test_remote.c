/* test_remote.c: a client that follows its exit node: when it tries again,
 * what it resumes, what it begins anew. */
#include "world/suite.h"

#include "base/slice.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

#define BODY 300000u

/* One exit node and one dev machine, with a download of BODY bytes that takes
 * about 600 ms. */
struct scene {
    struct world *w;
    struct world_exit *exit;
    struct world_dev *dev;
    struct world_origin *origin;
    struct world_visitor *v;
};

static void begin(struct scene *s, uint64_t seed, unsigned lanes,
                  uint32_t resume_ms)
{
    struct inl_remote_config config;

    s->w = world_new(seed);
    s->w->net = (struct world_net){1, seed % 2 == 0 ? 3000 : 0, 500, 20000};
    s->exit = world_exit_new(s->w);
    s->origin = world_origin_new(s->w, 8000);
    world_dev_config(s->w, &config);
    config.lanes = lanes;
    config.resume_ms = resume_ms;
    config.refused_retry_ms = 60000;
    s->dev = world_dev_new_with(s->w, &config);
    world_dev_upstream(s->dev, "app.test", 8000, "");
    world_dev_start(s->dev);
    world_run(s->w, 200);
    assert_int_equal(s->dev->ups, 1);
    s->v = world_visit(s->exit);
}

static void finish(struct scene *s)
{
    world_visitor_free(s->v);
    world_dev_close(s->dev);
    world_exit_close(s->exit);
    world_origin_free(s->origin);
    world_free(s->w);
}

static void begin_download(struct scene *s)
{
    world_get(s->v,
              s->w->random_state % 2 == 0 ? "/len/300000" : "/chunked/300000");
    world_run(s->w, 150);
    assert_int_equal(s->v->nanswers, 1);
    assert_false(world_is_whole(s->v, 0));
}

static void expect_download(struct scene *s)
{
    world_expect_answer(s->v, 0, 200, BODY, world_body_hash(5, BODY));
}

static void expect_works(struct scene *s)
{
    struct world_visitor *v = world_visit(s->exit);

    world_get(v, "/len/10");
    world_run(s->w, 200);
    world_expect_answer(v, 0, 200, 10, world_body_hash(5, 10));
    world_visitor_free(v);
}

static uint64_t attempts(const struct scene *s)
{
    return s->dev->remote.home.reconnect.attempts;
}

/* ---- when it tries again ---------------------------------------------- */

static void test_first_retry_at_once(void **state)
{
    (void)state;
    for (unsigned how = WORLD_RST; how <= WORLD_FIN; how++) {
        struct scene s;

        begin(&s, how, 1, how == WORLD_RST ? 10000 : 0);
        world_run(s.w, 2000);
        world_cut(s.dev->pipe, (enum world_cut)how);
        world_run(s.w, 20);
        assert_int_equal(s.dev->links, 2);
        assert_int_equal(s.dev->downs, how == WORLD_RST ? 0 : 1);
        expect_works(&s);
        finish(&s);
    }
}

/* Requests wait for it, for as long as the window is open: the steps between
 * attempts grow to a second and no further. */
static void test_urgent_retries_stay_close(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct scene s;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        s.exit->listener->mode = WORLD_REFUSE;
        world_cut(s.dev->pipe, WORLD_RST);
        world_run(s.w, 8500);
        s.exit->listener->mode = WORLD_ACCEPT;
        world_run(s.w, 1100);
        assert_int_equal(s.dev->links, 2);
        world_run(s.w, 3000);
        expect_download(&s);
        finish(&s);
    }
}

/* How long it took to be back after a cut, with this spread. */
static uint64_t time_to_return(uint64_t seed, uint32_t spread_ms, bool busy)
{
    struct scene s;
    uint64_t began;

    begin(&s, seed, 1, 10000);
    inl_session_tell_spread(world_exit_session(s.exit), spread_ms);
    if (busy) {
        world_get(s.v, "/hang");
    }
    world_run(s.w, 2000);
    world_cut(s.dev->pipe, WORLD_RST);
    began = s.w->env.now_ms;
    while (s.dev->links < 2) {
        world_run(s.w, 1);
        assert_true(s.w->env.now_ms - began <= spread_ms + 20);
    }
    began = s.w->env.now_ms - began;
    finish(&s);
    return began;
}

static void test_spread(void **state)
{
    uint64_t sum = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sum += time_to_return(seed, 5000, false);
        assert_true(time_to_return(seed, 5000, true) <= 20);
    }
    assert_in_range(sum / 20, 1500, 3500);
}

/* The spread is remembered when the session is over: a server that was
 * restarted is not met by all at once. */
static void test_spread_outlives_the_session(void **state)
{
    unsigned early = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct scene s;

        begin(&s, seed, 1, 0);
        inl_session_tell_spread(world_exit_session(s.exit), 4000);
        world_run(s.w, 2000);
        world_cut(s.dev->pipe, WORLD_RST);
        world_run(s.w, 2000);
        early += s.dev->ups == 2;
        world_run(s.w, 2100);
        assert_int_equal(s.dev->ups, 2);
        finish(&s);
    }
    assert_in_range(early, 3, 17);
}

/* A restarted server says "no crowd" at first. That counts only when the
 * session has lasted. */
static void test_smaller_spread_is_believed_late(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 0);
    inl_session_tell_spread(world_exit_session(s.exit), 4000);
    world_run(s.w, 2000);
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 4100);
    assert_int_equal(s.dev->ups, 2);
    assert_int_equal(s.dev->remote.spread_ms, 4000);
    world_run(s.w, 30000);
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 4100);
    assert_int_equal(s.dev->ups, 3);
    assert_int_equal(s.dev->remote.spread_ms, 4000);
    world_run(s.w, 60000);
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 20);
    assert_int_equal(s.dev->ups, 4);
    assert_int_equal(s.dev->remote.spread_ms, 0);
    finish(&s);
}

/* A server cannot send a client away for days. */
static void test_spread_is_bounded(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 0);
    inl_session_tell_spread(world_exit_session(s.exit), UINT32_MAX);
    world_run(s.w, 2000);
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, INL_REMOTE_SPREAD_MAX_MS + 100);
    assert_int_equal(s.dev->ups, 2);
    finish(&s);
}

/* With requests waiting in a crowd: at once, and then not too often. */
static void test_urgent_in_a_crowd(void **state)
{
    struct scene s;
    uint64_t before;

    (void)state;
    begin(&s, 1, 1, 10000);
    inl_session_tell_spread(world_exit_session(s.exit), 20000);
    world_get(s.v, "/hang");
    world_run(s.w, 2000);
    before = attempts(&s);
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 100);
    assert_true(attempts(&s) > before);
    world_run(s.w, 9000);
    assert_in_range(attempts(&s) - before, 4, 7);
    s.exit->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 20100);
    finish(&s);
}

/* "0 turns it off, on either side": the exit node ends what ran at once, though
 * its own window is 10 s. */
static void test_client_does_not_resume(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 0);
    begin_download(&s);
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 1000);
    assert_true(s.v->gone);
    assert_int_equal(s.exit->downs, 1);
    finish(&s);
    begin(&s, 1, 1, 3000); /* the smaller window counts */
    begin_download(&s);
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 2500);
    assert_int_equal(s.exit->downs, 0);
    world_run(s.w, 1500);
    assert_int_equal(s.exit->downs, 1);
    finish(&s);
}

/* In the first second a server that comes back is found within 100 ms. */
static void test_back_within_100_ms(void **state)
{
    (void)state;
    for (uint64_t away = 0; away <= 900; away += 50) {
        struct scene s;

        begin(&s, away, 1, 10000);
        world_run(s.w, 2000);
        s.exit->listener->mode = WORLD_REFUSE;
        world_cut(s.dev->pipe, WORLD_FIN);
        world_run(s.w, away);
        s.exit->listener->mode = WORLD_ACCEPT;
        world_run(s.w, 100);
        assert_int_equal(s.dev->links, 2);
        finish(&s);
    }
}

static void test_refused(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 10000);
    world_run(s.w, 2000);
    s.exit->refuses = true;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 50000);
    assert_int_equal(attempts(&s), 2); /* it was told, and keeps away */
    assert_int_equal(s.dev->remote.refused, INLETS_EAUTH);
    assert_int_equal(s.dev->downs, 1); /* the window is over */
    assert_int_equal(inl_remote_state(&s.dev->remote), INL_REMOTE_WAITING);
    s.exit->refuses = false;
    world_run(s.w, 20000);
    assert_int_equal(s.dev->ups, 2);
    assert_int_equal(s.dev->remote.refused, 0);
    expect_works(&s);
    finish(&s);
}

/* ---- what is resumed --------------------------------------------------- */

static void test_resume(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        enum world_cut how = (enum world_cut)(seed % 3);
        struct scene s;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        for (unsigned cuts = 1; cuts <= 3; cuts++) {
            world_run(s.w, world_below(s.w, 60));
            world_cut(s.dev->pipe, how);
            world_run(s.w, how == WORLD_SILENCE ? 25000 : 60);
            assert_int_equal(s.dev->links, 1 + cuts);
        }
        world_run(s.w, 3000);
        expect_download(&s);
        assert_int_equal(s.dev->ups, 1);
        assert_int_equal(s.dev->downs, 0);
        assert_int_equal(s.exit->downs, 0);
        finish(&s);
    }
}

/* Nobody comes back in time: the session is over, cleanly, and there is
 * another when the exit node can be reached. */
static void test_window_is_over(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 10000);
    begin_download(&s);
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 9000);
    assert_int_equal(s.dev->downs, 0);
    assert_false(s.v->gone);
    world_run(s.w, 1500);
    assert_int_equal(s.dev->downs, 1);
    assert_true(s.v->gone);
    assert_false(world_is_whole(s.v, 0));
    s.exit->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 32000);
    assert_int_equal(s.dev->ups, 2);
    expect_works(&s);
    finish(&s);
}

/* It was restarted: what runs ends, and the websocket that asked for the old
 * session is the new one's. */
static void test_server_forgot_us(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct scene s;
        uint64_t before;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        before = attempts(&s);
        world_cut(s.dev->pipe, WORLD_RST);
        inl_session_close(world_exit_session(s.exit), 0);
        world_run(s.w, 100);
        assert_int_equal(attempts(&s), before + 1);
        assert_int_equal(s.dev->downs, 1);
        assert_int_equal(s.dev->ups, 2);
        assert_true(s.v->gone);
        assert_false(world_is_whole(s.v, 0));
        expect_works(&s);
        finish(&s);
    }
}

/* ---- beside a websocket that lives ------------------------------------- */

/* A link that says nothing is replaced long before it counts as dead. */
static void test_doubt(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct scene s;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        world_cut(s.dev->pipe, WORLD_SILENCE);
        world_run(s.w, 4500);
        assert_int_equal(s.dev->links, 2);
        world_run(s.w, 2000);
        expect_download(&s);
        assert_int_equal(s.dev->downs, 0);
        finish(&s);
    }
}

static void stall(struct world_pipe *p, bool stalled)
{
    p->end[0].way.stalled = p->end[1].way.stalled = stalled;
}

/* The dial beside fails, and the old link was only slow. */
static void test_doubt_in_vain(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 2, 1, 10000);
    begin_download(&s);
    s.exit->listener->mode = WORLD_REFUSE;
    stall(s.dev->pipe, true);
    world_run(s.w, 8000);
    assert_int_equal(attempts(&s), 2);
    assert_int_equal(inl_remote_state(&s.dev->remote), INL_REMOTE_UP);
    stall(s.dev->pipe, false);
    world_run(s.w, 5000);
    expect_download(&s);
    assert_int_equal(s.dev->links, 1);
    assert_int_equal(attempts(&s), 3); /* the server had asked for one, too */
    finish(&s);
}

/* The old link dies while a new one is being dialed beside it: that attempt
 * went the same way, and another is made at once, which counts. */
static void test_doubt_turns_into_loss(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 10000);
    begin_download(&s);
    s.exit->listener->mode = WORLD_IGNORE;
    stall(s.dev->pipe, true);
    world_run(s.w, 5000);
    assert_int_equal(attempts(&s), 2);
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_RST);
    inl_link_reset(&s.dev->pipe->end[0].link, INLETS_ERESET);
    world_run(s.w, 100);
    assert_true(attempts(&s) > 3);
    s.exit->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 1000);
    assert_int_equal(s.dev->links, 2);
    world_run(s.w, 2000);
    expect_download(&s);
    finish(&s);
}

/* An attempt to resume that nobody answers does not use up the window. */
static void test_resume_is_tried_twice(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 10000);
    begin_download(&s);
    s.exit->listener->mode = WORLD_IGNORE;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 2000);
    s.exit->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 6000);
    assert_int_equal(s.dev->downs, 0);
    world_run(s.w, 2000);
    expect_download(&s);
    finish(&s);
}

static void test_move(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scene s;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        inl_session_rotate(world_exit_session(s.exit));
        world_run(s.w, 100);
        assert_int_equal(s.dev->links, 2);
        world_run(s.w, 3000);
        expect_download(&s);
        assert_int_equal(s.dev->ups, 1);
        assert_int_equal(s.dev->downs, 0);
        finish(&s);
    }
}

/* A balancer gave the fresh websocket to a server that does not know us. */
static void test_move_to_another_server(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct inl_gate_client *c;
        struct scene s;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        c = inl_container(s.exit->gate.clients.next, struct inl_gate_client,
                          node);
        (void)strcpy(c->shown.account, "not ours"); /* so its ticket is not */
        inl_session_rotate(c->session);
        world_run(s.w, 100);
        assert_int_equal(s.dev->links, 2);
        expect_works(&s);
        world_run(s.w, 3000);
        expect_download(&s);
        assert_int_equal(s.dev->ups, 2);
        assert_int_equal(s.dev->downs, 1);
        assert_int_equal(world_exit_ntunnels(s.exit), 1);
        finish(&s);
    }
}

/* ---- several lanes ------------------------------------------------------ */

static size_t count(const struct inl_list *list)
{
    size_t n = 0;

    for (const struct inl_list *l = list->next; l != list; l = l->next) {
        n++;
    }
    return n;
}

static void test_more_lanes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scene s;

        begin(&s, seed, 3, 10000);
        assert_int_equal(s.dev->links, 3);
        assert_int_equal(world_dev_session(s.dev)->nlanes, 3);
        assert_int_equal(count(&s.dev->remote.lines), 2);
        begin_download(&s);
        world_cut(s.dev->pipe, WORLD_RST); /* the newest: lane 2 */
        world_run(s.w, 60);
        assert_int_equal(s.dev->links, 4);
        assert_int_equal(world_dev_session(s.dev)->nlanes, 3);
        world_run(s.w, 3000);
        expect_download(&s);
        finish(&s);
    }
}

/* The server takes no second one: the line for it goes, the first stays. */
static void test_more_is_refused(void **state)
{
    struct inl_remote_config config;
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 10000);
    world_dev_close(s.dev);
    world_dev_config(s.w, &config);
    config.lanes = 2;
    s.dev = world_dev_new_with(s.w, &config);
    world_dev_upstream(s.dev, "app.test", 8000, "");
    world_dev_start(s.dev);
    while (count(&s.dev->remote.lines) == 0) {
        world_run(s.w, 1);
    }
    /* It forgets the secret that the new lane is asked for with. */
    memset(world_exit_session(s.exit)->lanes[0]->secret, 1,
           sizeof(world_exit_session(s.exit)->lanes[0]->secret));
    world_run(s.w, 1000);
    assert_int_equal(count(&s.dev->remote.lines), 0);
    assert_int_equal(s.dev->links, 1);
    expect_works(&s);
    finish(&s);
}

/* A lane that nobody can bring back is given up with its line; the session
 * goes on. */
static void test_lane_given_up(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 2, 10000);
    assert_int_equal(s.dev->links, 2);
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 10500);
    assert_int_equal(world_dev_session(s.dev)->nlanes, 1);
    assert_int_equal(count(&s.dev->remote.lines), 0);
    expect_works(&s);
    s.exit->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 35000);
    expect_works(&s);
    assert_int_equal(s.dev->downs, 0);
    finish(&s);
}

/* ---- leaving ------------------------------------------------------------ */

/* The server asks to leave: a new session at once, and the old one goes on,
 * through a cut as well. */
static void test_goaway(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scene s;
        struct world_pipe *old;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        old = s.dev->pipe;
        inl_session_drain(world_exit_session(s.exit), INLETS_EGOAWAY,
                          INL_LIT("leave"));
        world_run(s.w, 100);
        assert_int_equal(s.dev->ups, 2);
        expect_works(&s);
        if (seed % 2 == 0) {
            world_cut(old, WORLD_RST);
            world_run(s.w, 60);
            assert_int_equal(s.dev->links, 3);
        }
        world_run(s.w, 3000);
        expect_download(&s);
        assert_int_equal(s.dev->downs, 1);
        assert_int_equal(count(&s.dev->remote.lines), 0);
        finish(&s);
    }
}

/* A client that leaves still resumes what runs. */
static void test_drain_through_a_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scene s;

        begin(&s, seed, 1, 10000);
        begin_download(&s);
        if (seed % 2 == 0) {
            world_cut(s.dev->pipe, WORLD_RST);
            world_run(s.w, 1);
        }
        world_dev_drain(s.dev);
        assert_false(s.dev->over);
        if (seed % 2 == 1) {
            world_cut(s.dev->pipe, WORLD_RST);
        }
        world_run(s.w, 3000);
        expect_download(&s);
        assert_true(s.dev->over);
        assert_int_equal(s.dev->ups, 1);
        finish(&s);
    }
}

/* Nothing runs and there is no link: nobody waits for a goodbye. */
static void test_drain_without_a_link(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 1, 1, 10000);
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 500);
    world_dev_drain(s.dev);
    world_run(s.w, 1);
    assert_true(s.dev->over);
    finish(&s);
}

/* ---- several remotes ----------------------------------------------------- */

static struct world_exit *another_exit(struct scene *s, const char *host)
{
    struct world_exit *x = world_exit_new(s->w);

    strcpy(x->listener->host, host);
    return x;
}

static struct world_dev *another_dev(struct scene *s, const char *host)
{
    struct inl_remote_config config;
    struct world_dev *d;

    world_dev_config(s->w, &config);
    config.host = host;
    d = world_dev_new_with(s->w, &config);
    world_dev_upstream(d, "app.test", 8000, "");
    world_dev_start(d);
    world_run(s->w, 100);
    assert_int_equal(d->ups, 1);
    return d;
}

/* Two exit nodes; one is cut off, one is left: the other notices nothing. */
static void test_two_remotes(void **state)
{
    struct scene s;
    struct world_exit *x;
    struct world_dev *d;
    struct world_visitor *v;

    (void)state;
    begin(&s, 1, 1, 10000);
    x = another_exit(&s, "exit2");
    d = another_dev(&s, "exit2");
    begin_download(&s);
    v = world_visit(x);
    world_get(v, "/len/300000");
    world_run(s.w, 100);
    x->listener->mode = WORLD_REFUSE;
    world_cut(d->pipe, WORLD_RST);
    world_run(s.w, 3000);
    expect_download(&s);
    assert_int_equal(s.dev->links, 1);
    x->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 5000);
    inl_remote_drain(&d->remote, INL_LIT("not in use"));
    world_run(s.w, 3000);
    world_expect_answer(v, 0, 200, BODY, world_body_hash(5, BODY));
    assert_true(d->over);
    expect_works(&s);
    world_visitor_free(v);
    world_dev_close(d);
    world_exit_close(x);
    finish(&s);
}

/* ---- traces -------------------------------------------------------------- */

/* A bad quarter of an hour with resuming, as a trace. */
static void test_trace(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 7, 1, 10000);
    world_get(s.v, "/hang");
    world_run(s.w, 2000);
    world_trace_on(s.w);
    world_note(s.w, "-- the link is reset");
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 3000);
    world_note(s.w, "-- the link goes silent");
    world_cut(s.dev->pipe, WORLD_SILENCE);
    world_run(s.w, 30000);
    world_note(s.w, "-- the exit node asks for a fresh websocket");
    inl_session_rotate(world_exit_session(s.exit));
    world_run(s.w, 3000);
    world_note(s.w, "-- the exit node is away for 700 ms");
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_FIN);
    world_run(s.w, 700);
    s.exit->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 3000);
    world_note(s.w, "-- it has forgotten us");
    world_cut(s.dev->pipe, WORLD_RST);
    inl_session_close(world_exit_session(s.exit), 0);
    world_run(s.w, 3000);
    world_note(s.w, "-- it asks us to leave");
    inl_session_drain(world_exit_session(s.exit), INLETS_EGOAWAY,
                      INL_LIT("leave"));
    world_run(s.w, 3000);
    world_note(s.w, "-- it is away for longer than the window");
    s.exit->listener->mode = WORLD_REFUSE;
    world_cut(s.dev->pipe, WORLD_RST);
    world_run(s.w, 12000);
    s.exit->listener->mode = WORLD_ACCEPT;
    world_run(s.w, 32000);
    world_note(s.w, "-- the dev machine is closed");
    world_dev_close(s.dev);
    world_expect_trace(s.w, "remote");
    s.dev = world_dev_new(s.w); /* for the end */
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_retry_at_once),
        cmocka_unit_test(test_urgent_retries_stay_close),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_spread_outlives_the_session),
        cmocka_unit_test(test_smaller_spread_is_believed_late),
        cmocka_unit_test(test_spread_is_bounded),
        cmocka_unit_test(test_urgent_in_a_crowd),
        cmocka_unit_test(test_client_does_not_resume),
        cmocka_unit_test(test_back_within_100_ms),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_window_is_over),
        cmocka_unit_test(test_server_forgot_us),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_doubt_in_vain),
        cmocka_unit_test(test_doubt_turns_into_loss),
        cmocka_unit_test(test_resume_is_tried_twice),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_move_to_another_server),
        cmocka_unit_test(test_more_lanes),
        cmocka_unit_test(test_more_is_refused),
        cmocka_unit_test(test_lane_given_up),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_drain_through_a_cut),
        cmocka_unit_test(test_drain_without_a_link),
        cmocka_unit_test(test_two_remotes),
        cmocka_unit_test(test_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
