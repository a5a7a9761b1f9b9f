/* Links that die at random moments. Whatever happens, a cut answer is never
 * seen as whole, and a cut request neither; with resuming, a tunnel that is
 * cut costs no answer at all. */
#include "world/suite.h"

#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

#define SEEDS 240u

struct kind {
    const char *path; /* with one number */
    bool upload, http10;
};

static const struct kind kinds[] = {
    {"/len/%zu", false, false},    {"/chunked/%zu", false, false},
    {"/close/%zu", false, false},  {"/len/%zu", false, true},
    {"/chunked/%zu", false, true}, {"/close/%zu", false, true},
    {"/sum?%zu", true, false},     {"/echo?%zu", true, false},
};
#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

static void send_request(struct world_visitor *v, const struct kind *k,
                         size_t n, bool chunked)
{
    char path[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(path, sizeof(path), k->path, n);
#pragma GCC diagnostic pop
    wh_expect(&v->http, false);
    if (!k->upload) {
        world_send(v, "GET %s HTTP/1.%c\r\nHost: app.test\r\n\r\n", path,
                   k->http10 ? '0' : '1');
    } else if (chunked) {
        world_send(v,
                   "POST %s HTTP/1.1\r\nHost: app.test\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n",
                   path);
        world_write_chunked(v->end, 5, n);
    } else {
        world_send(v,
                   "POST %s HTTP/1.1\r\nHost: app.test\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   path, n);
        world_write_body(v->end, 5, n);
    }
}

/* What an answer must be if it is whole. */
static void check(struct world_chain *c, const struct world_visitor *v,
                  const struct kind *k, size_t n)
{
    const struct world_answer *a = &v->answers[0];

    assert_true(v->nanswers <= 1);
    if (c->origin->body_ended && k->upload) { /* the origin believed it */
        assert_int_equal(c->origin->body_len, n);
        assert_true(c->origin->body_hash == world_body_hash(5, n));
    }
    if (v->nanswers == 0 || !a->complete || a->status != 200) {
        return;
    }
    if (strncmp(k->path, "/sum", 4) != 0) {
        assert_int_equal(a->len, n);
        assert_true(a->hash == world_body_hash(5, n));
    }
}

/* An answer of the origin that ends with its connection, and a FIN that the
 * origin did not send: nobody could tell. */
static bool is_undecidable(const struct kind *k, enum world_cut how,
                           unsigned where)
{
    return where == 1 && how == WORLD_FIN && strncmp(k->path, "/close", 6) == 0;
}

/* Returns whether the answer came whole. */
static bool one(uint64_t seed, enum world_cut how, unsigned where,
                uint32_t resume_ms)
{
    const struct kind *k = &kinds[seed % NKINDS];
    struct world_net net = {(uint32_t)(seed % 4), 0, 0, 0};
    struct world_chain c;
    struct world_visitor *v;
    size_t n;
    bool whole;

    net.fragment = seed % 3 == 0 ? 0 : 200 + seed % 7 * 3000;
    net.rate = 500;
    net.buffer = 10000 + seed % 5 * 20000;
    world_chain_open_with(&c, seed, &net, resume_ms);
    n = world_below(c.w, seed % 2 == 0 ? 60000 : 2000);
    v = world_visit(c.exit);
    send_request(v, k, n, world_below(c.w, 2) == 0);
    world_run(c.w, world_below(c.w, 40 + n / 300));
    if (where == 0) {
        world_cut(c.dev->pipe, how);
    } else if (c.w->last_dialed != c.dev->pipe) {
        world_cut(c.w->last_dialed, how); /* dev machine and origin */
    }
    world_run(c.w, 100000);
    if (!is_undecidable(k, how, where)) {
        check(&c, v, k, n);
    }
    whole = world_is_whole(v, 0) && v->answers[0].status == 200;
    /* nobody waits for ever; a silent upstream is the visitor's to leave */
    if (!(where == 1 && how == WORLD_SILENCE)) {
        assert_true(v->gone || world_is_whole(v, 0) || v->eof);
        assert_int_equal(inl_session_nstreams(world_exit_session(c.exit)), 0);
    }
    if (where == 0) {
        assert_true(c.dev->links >= 2);
        assert_int_equal(c.dev->downs >= 1, resume_ms == 0);
    }
    /* the tunnel is there again */
    assert_int_equal(world_exit_ntunnels(c.exit), 1);
    world_visitor_free(v);
    v = world_visit(c.exit);
    world_get(v, "/len/100");
    world_run(c.w, 10000);
    world_expect_answer(v, 0, 200, 100, world_body_hash(5, 100));
    world_visitor_free(v);
    world_chain_close(&c);
    return whole;
}

static unsigned sweep(unsigned where, uint32_t resume_ms)
{
    unsigned whole = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        whole +=
            one(seed, (enum world_cut)(seed / NKINDS % 3), where, resume_ms);
    }
    return whole;
}

/* The moments were well chosen: some before, some after the end. */
static void assert_some(unsigned whole)
{
    assert_in_range(whole, SEEDS / 20, SEEDS - SEEDS / 10);
}

static void test_tunnel_is_cut(void **state)
{
    (void)state;
    assert_some(sweep(0, 0));
}

static void test_tunnel_is_cut_and_resumed(void **state)
{
    (void)state;
    assert_int_equal(sweep(0, 10000), SEEDS);
}

static void test_origin_is_cut(void **state)
{
    (void)state;
    assert_some(sweep(1, 0));
}

/* Answers that the origin itself cuts, for visitors of both versions. */
static void test_origin_lies(void **state)
{
    static const char *const paths[] = {"/cutlen/", "/rstlen/", "/cutchunk/"};

    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct world_net net = {(uint32_t)(seed % 2), 700, 0, 30000};
        struct world_chain c;
        struct world_visitor *v;

        world_chain_open(&c, seed, &net);
        v = world_visit(c.exit);
        wh_expect(&v->http, false);
        world_send(v, "GET %s%u HTTP/1.%u\r\nHost: app.test\r\n\r\n",
                   paths[seed % 3], seed % 5 == 0 ? 1 : 50000u,
                   (unsigned)(seed / 3 % 2));
        world_run(c.w, 5000);
        assert_true(v->nanswers <= 1);
        assert_true(v->nanswers == 0 || v->answers[0].status == 502 ||
                    !v->answers[0].complete);
        assert_true(v->gone);
        world_visitor_free(v);
        world_chain_close(&c);
    }
}

/* The exit node or the dev machine is closed in the middle. */
static void test_nodes_close(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        const struct kind *k = &kinds[seed % NKINDS];
        struct world_net net = {1, 3000, 500, 20000};
        struct world_chain c;
        struct world_visitor *v;
        size_t n = 30000;

        world_chain_open(&c, seed, &net);
        v = world_visit(c.exit);
        send_request(v, k, n, seed % 3 == 0);
        world_run(c.w, world_below(c.w, 200));
        if (seed % 2 == 0) {
            world_exit_close(c.exit);
            check(&c, v, k, n);
            world_dev_close(c.dev);
        } else {
            world_dev_close(c.dev);
            check(&c, v, k, n);
            world_exit_close(c.exit);
        }
        check(&c, v, k, n);
        assert_true(v->gone);
        world_visitor_free(v);
        world_origin_free(c.origin);
        world_free(c.w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tunnel_is_cut),
        cmocka_unit_test(test_tunnel_is_cut_and_resumed),
        cmocka_unit_test(test_origin_is_cut),
        cmocka_unit_test(test_origin_lies),
        cmocka_unit_test(test_nodes_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
