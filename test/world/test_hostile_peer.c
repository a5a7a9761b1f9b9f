/* Peers that cheat. Each cheat ends its session, with a reason; visitors and
 * clients beside it notice nothing, and nothing is left behind. */
#include "world/suite.h"

#include "relay/session_stream.h"
#include "world/peer.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

enum {
    HELLO = 1,
    ROUTE,
    UNROUTE,
    ROUTED,
    OPEN,
    HEAD,
    DATA,
    TRAILERS,
    CREDIT,
    RESET,
    GOAWAY
};
#define END 1u
#define CHARGED 2u

/* ---- a client that cheats the exit node --------------------------------- */

struct stage {
    struct world_chain c;        /* honest neighbours */
    struct world_peer *p;        /* serves "evil.test" by route 1 */
    struct world_visitor *v[80]; /* of evil.test, streams 1, 2 ... */
    size_t nv;
};

static void visit_evil(struct stage *s, size_t n, bool stalled)
{
    for (size_t i = 0; i < n; i++) {
        struct world_visitor *v = world_visit(s->c.exit);

        v->end->paused = stalled;
        wh_expect(&v->http, false);
        world_send(v, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
        s->v[s->nv++] = v;
    }
    world_run(s->c.w, 50);
}

static void bad_version(struct stage *s)
{
    peer_frame(s->p, HELLO, 0, 0, "\0\1\0\4\0\0\0\2", 8);
}

static void second_hello(struct stage *s)
{
    peer_hello(s->p);
}

static void wrong_side_open(struct stage *s)
{
    peer_open(s->p, 7, END, 1, "GET", "/");
}

static void wrong_side_routed(struct stage *s)
{
    peer_frame(s->p, ROUTED, 0, 0, "\0\0\0\1\0\0\0\0", 8);
}

static void route_twice(struct stage *s)
{
    peer_route(s->p, 2, "a.evil.test");
    peer_route(s->p, 2, "b.evil.test");
}

static void head_never_opened(struct stage *s)
{
    peer_head(s->p, 99, 0, 200, -1);
}

static void data_never_opened(struct stage *s)
{
    peer_data(s->p, 99, 0, 10);
}

static void credit_never_opened(struct stage *s)
{
    peer_credit(s->p, 99, 1u << 20);
}

static void reset_never_opened(struct stage *s)
{
    peer_reset(s->p, 99, 12);
}

static void trailers_never_opened(struct stage *s)
{
    peer_frame(s->p, TRAILERS, 0, 99, "\0\0", 2);
}

static void data_before_head(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_data(s->p, 1, 0, 10);
}

static void data_behind_100(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_head(s->p, 1, 0, 103, -2);
    peer_data(s->p, 1, 0, 10);
}

static void trailers_before_head(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_frame(s->p, TRAILERS, 0, 1, "\0\0", 2);
}

static void two_heads(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_head(s->p, 1, 0, 200, -1);
    peer_head(s->p, 1, 0, 200, -1);
}

static void interim_after_head(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_head(s->p, 1, 0, 200, -1);
    peer_head(s->p, 1, 0, 100, -2);
}

static void interim_with_end(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_head(s->p, 1, END, 100, -2);
}

/* The visitor's upload keeps the stream open on its other side. */
static void after_end(struct stage *s)
{
    struct world_visitor *v = world_visit(s->c.exit);

    wh_expect(&v->http, false);
    world_send(v, "POST / HTTP/1.1\r\nHost: evil.test\r\n"
                  "Content-Length: 1000000\r\n\r\n");
    s->v[s->nv++] = v;
    world_run(s->c.w, 50);
    peer_head(s->p, 1, 0, 200, -1);
    peer_data(s->p, 1, END, 10);
}

static void data_after_end(struct stage *s)
{
    after_end(s);
    peer_data(s->p, 1, 0, 10);
}

static void trailers_after_end(struct stage *s)
{
    after_end(s);
    peer_frame(s->p, TRAILERS, 0, 1, "\0\0", 2);
}

static void head_after_end(struct stage *s)
{
    after_end(s);
    peer_head(s->p, 1, 0, 200, -1);
}

static void empty_data(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_head(s->p, 1, 0, 200, -1);
    peer_frame(s->p, DATA, 0, 1, NULL, 0);
}

static void stream_overrun(struct stage *s)
{
    visit_evil(s, 1, true);
    peer_head(s->p, 1, 0, 200, -1);
    peer_honest_data(s->p, 1, 0, 262144);
    world_run(s->c.w, 100);
    WORLD_CHECK(!s->p->gone);            /* so much is allowed... */
    peer_data(s->p, 1, CHARGED, 200000); /* the visitor's pipe took some */
}

static void free_overrun(struct stage *s)
{
    visit_evil(s, 1, true);
    peer_head(s->p, 1, 0, 200, -1);
    peer_data(s->p, 1, 0, 16384);
    world_run(s->c.w, 50);
    WORLD_CHECK(!s->p->gone);
    peer_data(s->p, 1, 0, 1);
}

static void session_overrun(struct stage *s)
{
    s->c.w->net.buffer = 2000; /* of the visitors' pipes */
    visit_evil(s, 75, true);
    for (uint32_t i = 1; i <= 75; i++) {
        peer_head(s->p, i, 0, 200, -1);
        peer_honest_data(s->p, i, 0, 262144);
    }
    world_run(s->c.w, 3000);
}

static void long_data(struct stage *s)
{
    static uint8_t many[16385];

    visit_evil(s, 1, false);
    peer_head(s->p, 1, 0, 200, -1);
    peer_frame(s->p, DATA, 0, 1, many, sizeof(many));
}

static void giant_head(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_message(s->p, 0, "\6\0\xff\xff\xff\0\0\0\1", 9);
}

static void giant_control(struct stage *s)
{
    peer_message(s->p, 0, "\2\0\0\x10\1\0\0\0\0", 9);
}

static void lying_field(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_frame(s->p, HEAD, 0, 1,
               "\0\xc8\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\1"
               "\xff\xff\xff\xff"
               "A",
               20);
}

static void unknown_type(struct stage *s)
{
    peer_frame(s->p, 0x7f, 0, 0, "x", 1);
}

static void stream_on_hello_type(struct stage *s)
{
    peer_frame(s->p, GOAWAY, 0, 5, "\0\0\0\0\0\0\0\0", 8);
}

static void ack_beyond(struct stage *s)
{
    peer_ack(s->p, s->p->rx_lane + 1);
}

static void ack_backwards(struct stage *s)
{
    peer_ack(s->p, s->p->rx_lane - 1);
}

static void ack_short(struct stage *s)
{
    peer_message(s->p, 1, "\0\0\0", 3);
    peer_message(s->p, 0x80, "x", 1);
}

static void ack_long(struct stage *s)
{
    peer_message(s->p, 1, "\0\0\0\0\0\0\0\0\0", 9);
}

static void unknown_kind(struct stage *s)
{
    peer_message(s->p, 5, "x", 1);
}

static void empty_message(struct stage *s)
{
    peer_ws(s->p, 0x82, "", 0);
}

static void text_message(struct stage *s)
{
    peer_ws(s->p, 0x81, "hello", 5);
}

static void unmasked(struct stage *s)
{
    world_write(s->p->end, "\x82\x02\0x", 4);
}

static void reserved_bits(struct stage *s)
{
    peer_ws(s->p, 0xc2, "\0x", 2);
}

static void endless_frame(struct stage *s)
{
    world_write(s->p->end, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4x",
                15);
}

static void ping_flood(struct stage *s)
{
    for (unsigned i = 0; i < 1000; i++) {
        peer_ws(s->p, 0x89, "ping", 4);
    }
}

static void fragment_flood(struct stage *s)
{
    peer_ws(s->p, 0x02, "\0", 1);
    for (unsigned i = 0; i < 1000; i++) {
        peer_ws(s->p, 0x00, "", 0);
    }
}

static void reset_flood(struct stage *s)
{
    visit_evil(s, 1, false);
    peer_batch(s->p);
    for (unsigned i = 0; i < 30000; i++) {
        peer_reset(s->p, 1, 12);
    }
    peer_flush(s->p);
}

static void garbage(struct stage *s)
{
    uint8_t bytes[3000];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)world_random(s->c.w);
    }
    peer_message(s->p, 0, bytes, sizeof(bytes));
}

/* Asks for answers and does not read them. */
static void routes_unread(struct stage *s)
{
    s->p->end->pipe->net.fragment = 0; /* there is much to send */
    s->p->end->paused = true;
    s->p->keeps_silent = true;
    for (uint32_t i = 0; i < 40; i++) {
        peer_batch(s->p);
        for (uint32_t k = 0; k < 10000; k++) {
            peer_route(s->p, 1000 + i * 10000 + k, "b@d");
        }
        peer_flush(s->p);
        world_run(s->c.w, 20);
        if (world_exit_ntunnels(s->c.exit) < 2) {
            break;
        }
        WORLD_CHECK(world_exit_session(s->c.exit)->lanes[0]->control.bytes <
                    8u * 1024 * 1024);
    }
    s->p->end->paused = false;
}

struct cheat {
    const char *name;
    void (*run)(struct stage *s);
    int err;       /* why the session ends; 0: it does not */
    unsigned code; /* of the close frame; 0: any */
    bool no_hello;
};

static const struct cheat cheats[] = {
    {"bad version", bad_version, INLETS_EVERSION, 1002, true},
    {"route before hello", route_twice, INLETS_EPROTO, 1002, true},
    {"data before hello", data_never_opened, INLETS_EPROTO, 1002, true},
    {"second hello", second_hello, INLETS_EPROTO, 1002, false},
    {"client opens", wrong_side_open, INLETS_EPROTO, 1002, false},
    {"client says routed", wrong_side_routed, INLETS_EPROTO, 1002, false},
    {"route twice", route_twice, INLETS_EPROTO, 1002, false},
    {"head, never opened", head_never_opened, INLETS_EPROTO, 1002, false},
    {"data, never opened", data_never_opened, INLETS_EPROTO, 1002, false},
    {"credit, never opened", credit_never_opened, INLETS_EPROTO, 1002, false},
    {"reset, never opened", reset_never_opened, INLETS_EPROTO, 1002, false},
    {"trailers, never opened", trailers_never_opened, INLETS_EPROTO, 1002,
     false},
    {"data before head", data_before_head, INLETS_EPROTO, 1002, false},
    {"data behind 103", data_behind_100, INLETS_EPROTO, 1002, false},
    {"trailers before head", trailers_before_head, INLETS_EPROTO, 1002, false},
    {"two heads", two_heads, INLETS_EPROTO, 1002, false},
    {"100 after 200", interim_after_head, INLETS_EPROTO, 1002, false},
    {"100 with end", interim_with_end, INLETS_EPROTO, 1002, false},
    {"data after end", data_after_end, INLETS_EPROTO, 1002, false},
    {"trailers after end", trailers_after_end, INLETS_EPROTO, 1002, false},
    {"head after end", head_after_end, INLETS_EPROTO, 1002, false},
    {"empty data", empty_data, INLETS_EPROTO, 1002, false},
    {"stream overrun", stream_overrun, INLETS_EPROTO, 1002, false},
    {"free bytes overrun", free_overrun, INLETS_EPROTO, 1002, false},
    {"session overrun", session_overrun, INLETS_EPROTO, 1002, false},
    {"long data", long_data, INLETS_EPROTO, 1002, false},
    {"giant head", giant_head, INLETS_EPROTO, 1002, false},
    {"giant control", giant_control, INLETS_EPROTO, 1002, false},
    {"lying field", lying_field, INLETS_EPROTO, 1002, false},
    {"unknown type", unknown_type, INLETS_EPROTO, 1002, false},
    {"goaway on a stream", stream_on_hello_type, INLETS_EPROTO, 1002, false},
    {"ack beyond", ack_beyond, INLETS_EPROTO, 1002, false},
    {"ack backwards", ack_backwards, INLETS_EPROTO, 1002, false},
    {"short ack", ack_short, INLETS_EPROTO, 1002, false},
    {"long ack", ack_long, INLETS_EPROTO, 1002, false},
    {"unknown kind", unknown_kind, INLETS_EPROTO, 1002, false},
    {"empty message", empty_message, INLETS_EPROTO, 1002, false},
    {"text", text_message, INLETS_EPROTO, 1003, false},
    {"unmasked", unmasked, INLETS_EPROTO, 1002, false},
    {"reserved bits", reserved_bits, INLETS_EPROTO, 1002, false},
    {"endless frame", endless_frame, INLETS_EPROTO, 0, false},
    {"ping flood", ping_flood, INLETS_ELIMIT, 1008, false},
    {"fragment flood", fragment_flood, INLETS_ELIMIT, 1008, false},
    {"reset flood", reset_flood, INLETS_ELIMIT, 1008, false},
    {"garbage", garbage, INLETS_EPROTO, 1002, false},
    {"unread answers", routes_unread, INLETS_ELIMIT, 1008, false},
};

static void stage_open(struct stage *s, uint64_t seed, bool no_hello)
{
    struct world_net net = {1, seed % 3 == 0 ? 40 : 0, 0, 100000};

    *s = (struct stage){0};
    world_chain_open(&s->c, seed, &net);
    s->p = peer_to_exit(s->c.exit);
    s->p->no_hello = no_hello;
    world_run(s->c.w, 50);
    assert_true(s->p->up);
    if (!no_hello) {
        peer_route(s->p, 1, "evil.test");
        world_run(s->c.w, 50);
        assert_int_equal(s->p->frames[ROUTED], 1);
    }
}

/* The neighbours' requests: one is under way during the cheat. */
static void one_cheat(const struct cheat *cheat, uint64_t seed)
{
    struct stage s;
    struct world_visitor *before, *after;

    stage_open(&s, seed, cheat->no_hello);
    before = world_visit(s.c.exit);
    before->end->paused = true;
    world_get(before, "/chunked/600000");
    world_run(s.c.w, 20);
    cheat->run(&s);
    world_run(s.c.w, 500);
    if (s.c.exit->downs != 1 || s.c.exit->last_down != cheat->err ||
        (cheat->code != 0 && s.p->close_code != cheat->code)) {
        fprintf(stderr, "# %s: %u down, %s (wanted %s), code %u\n", cheat->name,
                s.c.exit->downs, inlets_errname(s.c.exit->last_down),
                inlets_errname(cheat->err), s.p->close_code);
    }
    assert_int_equal(s.c.exit->downs, 1);
    assert_int_equal(s.c.exit->last_down, cheat->err);
    if (cheat->code != 0) {
        assert_int_equal(s.p->close_code, cheat->code);
    }
    assert_int_equal(world_exit_ntunnels(s.c.exit), 1);
    after = world_visit(s.c.exit);
    world_get(after, "/len/1000");
    before->end->paused = false;
    for (size_t i = 0; i < s.nv; i++) {
        s.v[i]->end->paused = false;
    }
    world_run(s.c.w, 3000);
    world_expect_answer(after, 0, 200, 1000, world_body_hash(5, 1000));
    world_expect_answer(before, 0, 200, 600000, world_body_hash(5, 600000));
    for (size_t i = 0; i < s.nv; i++) {
        /* cut or told so, never whole: the cheats declare no length */
        assert_true(s.v[i]->nanswers == 0 || !s.v[i]->answers[0].complete ||
                    s.v[i]->answers[0].status >= 500 || s.v[i]->gone);
        world_visitor_free(s.v[i]);
    }
    world_visitor_free(before);
    world_visitor_free(after);
    peer_free(s.p);
    world_chain_close(&s.c);
}

static void test_clients_that_cheat(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cheats) / sizeof(cheats[0]); i++) {
        one_cheat(&cheats[i], i + 1);
    }
}

/* What looks odd and is allowed. */
static void test_odd_and_allowed(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, 1, false);
    visit_evil(&s, 3, false);
    peer_frame(s.p, 0x80, 0xff, 77, "later", 5);
    peer_message(s.p, 0x99, "later", 5);
    peer_ws(s.p, 0x02, "\0", 1);
    peer_ws(s.p, 0x80, "", 0); /* a message of its kind alone */
    peer_ack(s.p, s.p->rx_lane);
    peer_ack(s.p, s.p->rx_lane);
    peer_credit(s.p, 0, 5); /* lower than before */
    peer_credit(s.p, 1, 5);
    peer_frame(s.p, UNROUTE, 0, 0, "\0\0\0\x63", 4);
    /* late frames for a stream that was reset from both sides */
    peer_reset(s.p, 1, 12);
    peer_head(s.p, 1, 0, 200, -1);
    peer_honest_data(s.p, 1, 0, 100000);
    peer_credit(s.p, 1, 1u << 20);
    peer_reset(s.p, 1, 12);
    peer_frame(s.p, TRAILERS, 0, 1, "\0\0", 2);
    /* RESET(0) before the end: an error of that stream only */
    peer_head(s.p, 2, 0, 200, 10);
    peer_reset(s.p, 2, 0);
    /* routes that are refused, and beyond the limit */
    for (uint32_t i = 0; i < 1100; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), i % 100 == 0 ? "b@d" : "h%u.test",
                       (unsigned)i);
        peer_route(s.p, 10 + i, name);
    }
    world_run(s.c.w, 1000);
    assert_int_equal(s.c.exit->downs, 0);
    assert_false(s.p->gone);
    assert_int_equal(s.p->frames[ROUTED], 1101);
    assert_int_equal(s.c.exit->router.nroutes,
                     INL_SESSION_MAX_ROUTES + INL_SESSION_SPARE_ROUTES + 1);
    assert_int_equal(s.v[0]->answers[0].status, 502);
    assert_false(world_is_whole(s.v[1], 0));
    assert_true(s.v[1]->gone);
    peer_head(s.p, 3, END, 200, 0);
    world_run(s.c.w, 100);
    assert_true(world_is_whole(s.v[2], 0));
    assert_int_equal(inl_session_nstreams(world_exit_session(s.c.exit)), 0);
    /* the charged bytes of the dead stream came back */
    assert_true(world_exit_session(s.c.exit)->rx_charged_limit -
                    world_exit_session(s.c.exit)->rx_charged ==
                INL_SESSION_WINDOW);
    for (size_t i = 0; i < s.nv; i++) {
        world_visitor_free(s.v[i]);
    }
    peer_free(s.p);
    world_chain_close(&s.c);
}

/* Shorter or longer than it said: cut, and what follows on the connection is
 * never read as its body. */
static void test_other_lengths(void **state)
{
    (void)state;
    for (size_t n = 8; n <= 12; n++) {
        struct stage s;

        stage_open(&s, n, false);
        visit_evil(&s, 1, false);
        wh_expect(&s.v[0]->http, false); /* pipelined */
        world_send(s.v[0], "GET /2 HTTP/1.1\r\nHost: evil.test\r\n\r\n");
        peer_head(s.p, 1, 0, 200, 10);
        peer_data(s.p, 1, END, n);
        world_run(s.c.w, 50);
        peer_head(s.p, s.p->last_stream, 0, 200, 3);
        peer_data(s.p, s.p->last_stream, END, 3);
        world_run(s.c.w, 5000);
        assert_int_equal(s.v[0]->nanswers, n == 10 ? 2 : 1);
        if (n <= 10) { /* of more, the first ten may have come before */
            assert_true(world_is_whole(s.v[0], 0) == (n == 10));
        }
        assert_true(s.v[0]->answers[0].len <= (n < 10 ? n : 10));
        assert_true(s.v[0]->gone == (n != 10));
        world_visitor_free(s.v[0]);
        peer_free(s.p);
        world_chain_close(&s.c);
    }
}

/* 101 for a visitor who did not ask for it: that stream is broken, and the
 * visitor's connection is never turned into a tunnel of raw bytes. */
static void test_unasked_101(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, 1, false);
    visit_evil(&s, 1, false);
    peer_head(s.p, 1, 0, 101, -2);
    peer_data(s.p, 1, 0, 100);
    world_run(s.c.w, 5000);
    assert_int_equal(s.v[0]->nanswers, 1);
    assert_int_equal(s.v[0]->answers[0].status, 502);
    assert_int_equal(s.v[0]->raw_len, 0);
    world_visitor_free(s.v[0]);
    peer_free(s.p);
    world_chain_close(&s.c);
}

/* A client that reads and never acknowledges: what is kept for it stays
 * within the bound, and it is not preferred. */
static void test_never_acks(void **state)
{
    struct stage s;
    struct world_visitor *v;

    (void)state;
    stage_open(&s, 1, false);
    s.p->keeps_silent = true;
    v = world_visit(s.c.exit);
    wh_expect(&v->http, false);
    world_send(v, "POST / HTTP/1.1\r\nHost: evil.test\r\n"
                  "Content-Length: 40000000\r\n\r\n");
    world_write_body(v->end, 1, 40000000);
    world_run(s.c.w, 100);
    for (uint64_t limit = 4u << 20; limit < 48000000; limit += 4u << 20) {
        peer_credit(s.p, 1, limit);
        peer_credit(s.p, 0, limit);
        world_run(s.c.w, 400);
        assert_true(world_exit_session(s.c.exit)->lanes[0]->lane.kept.bytes <=
                    INL_LANE_KEPT_MAX + 200000);
    }
    assert_true(
        inl_lane_is_suspect(&world_exit_session(s.c.exit)->lanes[0]->lane) ||
        world_exit_session(s.c.exit)->lanes[0]->lane.link->rx_at_ms > 0);
    assert_true(s.p->data[1] < 40000000);
    world_visitor_leave(v, true);
    world_run(s.c.w, 100);
    world_visitor_free(v);
    peer_free(s.p);
    world_chain_close(&s.c);
}

/* GOAWAY of a client: no new stream, what runs may end, then it closes. */
static void test_goaway_of_a_client(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, 1, false);
    visit_evil(&s, 1, false);
    peer_frame(s.p, GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0bye", 11);
    world_run(s.c.w, 50);
    assert_int_equal(s.p->frames[GOAWAY], 1);
    visit_evil(&s, 1, false);
    assert_int_equal(s.v[1]->answers[0].status, 503);
    assert_int_equal(s.p->last_stream, 1);
    peer_frame(s.p, GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0bye", 11);
    peer_route(s.p, 8, "late.test");
    peer_head(s.p, 1, 0, 200, 3);
    peer_data(s.p, 1, END, 3);
    world_run(s.c.w, 100);
    world_expect_answer(s.v[0], 0, 200, 3,
                        world_hash(WORLD_HASH_INIT, "\0\0\0", 3));
    assert_int_equal(s.p->frames[GOAWAY], 1);
    peer_ws(s.p, 0x88, "\x03\xe9", 2);
    world_run(s.c.w, 3000);
    assert_true(s.p->gone);
    assert_int_equal(s.c.exit->downs, 1);
    for (size_t i = 0; i < s.nv; i++) {
        world_visitor_free(s.v[i]);
    }
    peer_free(s.p);
    world_chain_close(&s.c);
}

/* ---- an exit node that cheats the dev machine --------------------------- */

struct scene {
    struct world *w;
    struct world_peer *p;
    struct world_dev *d;
    struct world_origin *o;
};

static void scene_open(struct scene *s, uint64_t seed, bool no_hello)
{
    s->w = world_new(seed);
    s->w->net.fragment = seed % 3 == 0 ? 50 : 0;
    s->p = peer_as_exit(s->w);
    s->p->no_hello = no_hello;
    s->o = world_origin_new(s->w, 8000);
    s->d = world_dev_new(s->w);
    world_dev_upstream(s->d, "app.test", 8000, "");
    world_dev_start(s->d);
    world_run(s->w, 100);
    assert_true(s->p->up);
    assert_int_equal(s->d->ups, 1);
    s->d->stays_away = true;
}

static void scene_close(struct scene *s)
{
    world_dev_close(s->d);
    peer_free(s->p);
    world_origin_free(s->o);
    world_free(s->w);
}

static void s_open_twice(struct scene *s)
{
    peer_open(s->p, 1, END, 1, "GET", "/hang");
    peer_open(s->p, 1, END, 1, "GET", "/hang");
}

static void s_open_lower(struct scene *s)
{
    peer_open(s->p, 5, END, 1, "GET", "/hang");
    peer_open(s->p, 3, END, 1, "GET", "/hang");
}

static void s_reused(struct scene *s)
{
    peer_open(s->p, 1, END, 1, "GET", "/len/1");
    world_run(s->w, 100);
    peer_open(s->p, 1, END, 1, "GET", "/len/1");
}

static void s_head(struct scene *s)
{
    peer_open(s->p, 1, END, 1, "GET", "/hang");
    peer_head(s->p, 1, 0, 200, -1);
}

static void s_route(struct scene *s)
{
    peer_route(s->p, 1, "x.test");
}

static void s_unroute(struct scene *s)
{
    peer_frame(s->p, UNROUTE, 0, 0, "\0\0\0\1", 4);
}

static void s_unknown(struct scene *s)
{
    peer_data(s->p, 9, 0, 5);
}

static void s_after_end(struct scene *s)
{
    peer_open(s->p, 1, END, 1, "GET", "/hang");
    peer_data(s->p, 1, 0, 5);
}

static void s_trailers_twice(struct scene *s)
{
    peer_open(s->p, 1, 0, 1, "POST", "/hang");
    peer_frame(s->p, TRAILERS, 0, 1, "\0\0", 2);
    peer_frame(s->p, TRAILERS, 0, 1, "\0\0", 2);
}

static void s_stream_overrun(struct scene *s)
{
    peer_open(s->p, 1, 0, 1, "POST", "/sum");
    world_run(s->w, 100);
    s->w->last_dialed->end[1].paused = true;
    peer_honest_data(s->p, 1, 0, 262144);
    world_run(s->w, 50);
    WORLD_CHECK(!s->p->gone);
    peer_data(s->p, 1, CHARGED, 262144);
}

static void s_free_overrun(struct scene *s)
{
    peer_open(s->p, 1, 0, 1, "POST", "/sum");
    peer_data(s->p, 1, 0, 16385);
}

static void s_too_many(struct scene *s)
{
    s->p->end->pipe->net.fragment = 0;
    s->o->listener->mode = WORLD_IGNORE; /* dials wait: it is cheaper */
    peer_batch(s->p);
    for (uint32_t i = 1; i <= 16385; i++) {
        peer_open(s->p, i, END, 1, "GET", "/hang");
    }
    peer_flush(s->p);
}

/* CVE-2023-44487: open and reset, again and again. */
static void s_rapid_reset(struct scene *s)
{
    s->p->end->pipe->net.fragment = 0;
    s->o->listener->mode = WORLD_IGNORE; /* dials wait: it is cheaper */
    peer_batch(s->p);
    for (uint32_t i = 1; i <= 30000; i++) {
        peer_open(s->p, i, END, 1, "GET", "/hang");
        peer_reset(s->p, i, 12);
    }
    peer_flush(s->p);
}

/* Asks for refusals and does not read them. */
static void s_unread(struct scene *s)
{
    s->p->end->pipe->net.fragment = 0; /* there is much to send */
    s->p->end->paused = true;
    s->p->keeps_silent = true;
    for (uint32_t i = 0; i < 100; i++) {
        peer_batch(s->p);
        for (uint32_t k = 1; k <= 10000; k++) {
            peer_open(s->p, i * 10000 + k, END, 99, "GET", "/");
        }
        peer_flush(s->p);
        world_run(s->w, 20);
        if (inl_list_empty(&s->d->remote.tunnels)) {
            break;
        }
        WORLD_CHECK(inl_container(s->d->remote.tunnels.next,
                                  struct inl_remote_tunnel, node)
                        ->session->lanes[0]
                        ->control.bytes < 8u * 1024 * 1024);
    }
    s->p->end->paused = false;
}

struct server_cheat {
    const char *name;
    void (*run)(struct scene *s);
    int err;
    bool no_hello;
};

static const struct server_cheat server_cheats[] = {
    {"no hello", s_open_twice, INLETS_EPROTO, true},
    {"opened twice", s_open_twice, INLETS_EPROTO, false},
    {"lower number", s_open_lower, INLETS_EPROTO, false},
    {"used number", s_reused, INLETS_EPROTO, false},
    {"server's head", s_head, INLETS_EPROTO, false},
    {"server's route", s_route, INLETS_EPROTO, false},
    {"server's unroute", s_unroute, INLETS_EPROTO, false},
    {"unknown stream", s_unknown, INLETS_EPROTO, false},
    {"data after end", s_after_end, INLETS_EPROTO, false},
    {"trailers twice", s_trailers_twice, INLETS_EPROTO, false},
    {"stream overrun", s_stream_overrun, INLETS_EPROTO, false},
    {"free overrun", s_free_overrun, INLETS_EPROTO, false},
    {"too many streams", s_too_many, INLETS_EPROTO, false},
    {"rapid reset", s_rapid_reset, INLETS_ELIMIT, false},
    {"unread refusals", s_unread, INLETS_ELIMIT, false},
};

static void test_servers_that_cheat(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(server_cheats) / sizeof(server_cheats[0]);
         i++) {
        const struct server_cheat *cheat = &server_cheats[i];
        struct scene s;

        scene_open(&s, i + 1, cheat->no_hello);
        cheat->run(&s);
        world_run(s.w, 3000);
        if (s.d->last_err != cheat->err) {
            fprintf(stderr, "# %s: %s\n", cheat->name,
                    inlets_errname(s.d->last_err));
        }
        assert_int_equal(s.d->last_err, cheat->err);
        assert_int_equal(s.d->downs, 1);
        world_run(s.w, 65000);           /* what is kept alive goes, too */
        assert_int_equal(s.o->nopen, 0); /* nothing of it runs on */
        scene_close(&s);
    }
}

/* A route that the client does not know is an error of that stream. */
static void test_unknown_route(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, 1, false);
    peer_open(s.p, 1, END, 9, "GET", "/");
    peer_open(s.p, 2, END, 0, "GET", "/");
    peer_open(s.p, 3, 0, 0xffffffff, "POST", "/");
    peer_honest_data(s.p, 3, 0, 50000); /* it has crossed the RESET */
    peer_frame(s.p, ROUTED, 0, 0, "\0\0\0\x63\0\0\0\0", 8);
    world_run(s.w, 100);
    assert_int_equal(s.p->frames[RESET], 3);
    assert_int_equal(s.p->last_reset_err, -INLETS_EUNAVAILABLE);
    peer_open(s.p, 4, END, 1, "GET", "/len/100");
    world_run(s.w, 100);
    assert_int_equal(s.p->data[4], 100);
    assert_int_equal(s.p->frames[RESET], 3);
    assert_int_equal(s.d->downs, 0);
    scene_close(&s);
}

/* ---- random frames ------------------------------------------------------ */

/* Well-formed frames in any order, with live streams on the other side. */
static void random_frames(uint64_t seed)
{
    struct stage s;
    static const unsigned types[] = {ROUTE, UNROUTE,  HEAD,   DATA,  DATA,
                                     DATA,  TRAILERS, CREDIT, RESET, GOAWAY};

    stage_open(&s, seed, false);
    visit_evil(&s, 6, seed % 2 == 0);
    for (unsigned i = 0; i < 60 && !s.p->gone; i++) {
        uint32_t stream = 1 + (uint32_t)world_below(s.c.w, 6);
        unsigned flags = world_below(s.c.w, 8) == 0 ? END : 0;

        switch (types[world_below(s.c.w, 10)]) {
        case ROUTE:
            peer_route(s.p, 100 + i, "more.evil.test");
            break;
        case UNROUTE:
            peer_frame(s.p, UNROUTE, 0, 0, "\0\0\0\1", 4);
            break;
        case HEAD:
            peer_head(s.p, stream, flags,
                      world_below(s.c.w, 3) == 0 ? 103 : 200,
                      world_below(s.c.w, 2) == 0 ? -1 : 5000);
            break;
        case DATA:
            peer_data(s.p, stream,
                      flags | (world_below(s.c.w, 2) == 0 ? CHARGED : 0),
                      1 + world_below(s.c.w, 9000));
            break;
        case TRAILERS:
            peer_frame(s.p, TRAILERS, 0, stream, "\0\1\0\1\0\1AB", 8);
            break;
        case CREDIT:
            peer_credit(s.p, world_below(s.c.w, 2) == 0 ? 0 : stream,
                        world_random(s.c.w) >> world_below(s.c.w, 64));
            break;
        case RESET:
            peer_reset(s.p, stream, (uint32_t)world_below(s.c.w, 40));
            break;
        default:
            peer_frame(s.p, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
            break;
        }
        world_run(s.c.w, world_below(s.c.w, 3));
    }
    for (size_t i = 0; i < s.nv; i++) {
        s.v[i]->end->paused = false;
    }
    world_run(s.c.w, 200);
    peer_free(s.p);
    world_run(s.c.w, 30000);
    for (size_t i = 0; i < s.nv; i++) {
        const struct world_answer *a = &s.v[i]->answers[0];

        /* "not known" until END, or 5000 bytes */
        assert_true(s.v[i]->nanswers == 0 || !a->complete || !a->has_length ||
                    a->status != 200 || a->len == 5000 || a->len == 0);
        world_visitor_free(s.v[i]);
    }
    assert_int_equal(world_exit_ntunnels(s.c.exit), 1);
    world_chain_close(&s.c);
}

static void test_random_frames(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        random_frames(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_that_cheat),
        cmocka_unit_test(test_odd_and_allowed),
        cmocka_unit_test(test_other_lengths),
        cmocka_unit_test(test_unasked_101),
        cmocka_unit_test(test_never_acks),
        cmocka_unit_test(test_goaway_of_a_client),
        cmocka_unit_test(test_servers_that_cheat),
        cmocka_unit_test(test_unknown_route),
        cmocka_unit_test(test_random_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
