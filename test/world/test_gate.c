/* test_gate.c: clients played by hand at the gate of an exit node: who gets a
 * lane's next websocket, and who gets nothing; how far apart clients are told
 * to come back; when they are asked to move. */
#include "suite.h"

#include "base/slice.h"
#include "peer.h"
#include "proto/ticket.h"
#include "world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY 10u
#define ROUND_TRIP (4 * LATENCY)
#define CROWD 160u

struct scene {
    struct world *w;
    struct inl_gate_config config;
    struct world_exit *x;
};

static void scene_new(struct scene *s)
{
    s->w = world_new(7);
    s->w->net.latency_ms = LATENCY;
    world_exit_config(s->w, &s->config);
}

static void scene_open(struct scene *s)
{
    s->x = world_exit_new_with(s->w, &s->config);
}

static void scene_close(struct scene *s)
{
    world_exit_close(s->x);
    world_free(s->w);
}

/* The value of a parameter of the server's HELLO; NULL: it has none. */
static const uint8_t *parameter(const struct world_peer *p, unsigned key)
{
    for (size_t at = 0; at + 4 <= p->hello_len;) {
        const uint8_t *h = p->hello + at;

        if ((unsigned)(h[0] << 8 | h[1]) == key) {
            return h + 4;
        }
        at += 4 + (size_t)(h[2] << 8 | h[3]);
    }
    return NULL;
}

static uint32_t number_of(const struct world_peer *p, unsigned key)
{
    const uint8_t *v = parameter(p, key);

    return v == NULL ? 0
                     : (uint32_t)v[0] << 24 | (uint32_t)v[1] << 16 |
                           (uint32_t)v[2] << 8 | v[3];
}

/* For lane 0, as far as this peer has got. */
static struct inl_ticket ticket_of(const struct world_peer *p)
{
    const uint8_t *v = parameter(p, 0x10);
    struct inl_ticket t = {.received = p->rx_lane};

    assert_non_null(v);
    for (size_t i = 0; i < 8; i++) {
        t.session = t.session << 8 | v[i];
    }
    memcpy(t.secret, v + 8, sizeof(t.secret));
    return t;
}

/* What the server answered; false: not with a ticket. */
static bool answer_of(const struct world_peer *p, struct inl_ticket *ret)
{
    const char *at = strcasestr(p->handshake, INL_TICKET_FIELD ": ");

    if (p->status != 101 || at == NULL) {
        return false;
    }
    at += strlen(INL_TICKET_FIELD ": ");
    assert_int_equal(inl_ticket_parse(inl_slice(at, strcspn(at, "\r")), ret),
                     0);
    return true;
}

static bool is_taken(const struct world_peer *p)
{
    struct inl_ticket t;

    return answer_of(p, &t);
}

/* A websocket with a ticket, on its way. */
static struct world_peer *dial_with(struct scene *s, const struct inl_ticket *t,
                                    const char *more)
{
    char text[INL_TICKET_TEXT_MAX + 1];
    char fields[300];
    struct world_peer *p;

    (void)inl_ticket_format(t, text);
    (void)snprintf(fields, sizeof(fields), INL_TICKET_FIELD ": %s\r\n%s", text,
                   more);
    p = peer_to_exit_with(s->x, fields);
    p->rx_lane = t->received;
    return p;
}

static struct world_peer *show(struct scene *s, const struct inl_ticket *t)
{
    struct world_peer *p = dial_with(s, t, "");
    struct inl_ticket answer;

    world_run(s->w, ROUND_TRIP);
    if (answer_of(p, &answer)) {
        p->tx_lane = answer.received;
    }
    return p;
}

/* Nothing comes or goes over it any more; the server does not know. */
static void go_silent(struct world_peer *p)
{
    world_cut(p->end->pipe, WORLD_SILENCE);
}

static void cut(struct scene *s, struct world_peer *p)
{
    world_cut(p->end->pipe, WORLD_RST);
    world_run(s->w, ROUND_TRIP);
}

static struct world_peer *client(struct scene *s)
{
    struct world_peer *p = peer_to_exit(s->x);

    world_run(s->w, ROUND_TRIP);
    assert_true(p->hello_len > 0);
    peer_route(p, 1, "app.test");
    world_run(s->w, ROUND_TRIP);
    assert_int_equal(p->frames[4], 1);
    return p;
}

static void answer_stream(struct world_peer *p, uint32_t stream)
{
    peer_head(p, stream, 0, 200, 3);
    peer_frame(p, 7, 1, stream, "\x05\x88\x0b", 3); /* world_byte(5, 0..2) */
}

static void expect_answer(struct scene *s, struct world_visitor *v, size_t n)
{
    world_run(s->w, ROUND_TRIP);
    world_expect_answer(v, n, 200, 3, world_body_hash(5, 3));
}

/* ---- who comes back --------------------------------------------------- */

static void test_lane_is_resumed(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct world_visitor *v;
    struct inl_ticket shown, answer;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    assert_int_equal(number_of(p, 0x11), 10000);
    assert_int_equal(number_of(p, 0x12), INL_SESSION_LANES);
    v = world_visit(s.x);
    world_get(v, "/");
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(p->last_stream, 1);
    shown = ticket_of(p);
    cut(&s, p);
    assert_int_equal(world_exit_ntunnels(s.x), 1);
    q = show(&s, &shown);
    assert_true(answer_of(q, &answer));
    assert_true(answer.session == shown.session && answer.lane == 0);
    assert_true(answer.received == p->tx_lane);
    assert_memory_not_equal(answer.secret, shown.secret, sizeof(shown.secret));
    assert_int_equal(q->hello_len, 0);
    answer_stream(q, 1);
    expect_answer(&s, v, 0);
    world_get(v, "/again");
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(q->last_stream, 2);
    answer_stream(q, 2);
    expect_answer(&s, v, 1);
    assert_int_equal(s.x->downs, 0);
    peer_free(p);
    peer_free(q);
    world_visitor_free(v);
    scene_close(&s);
}

enum twist {
    UNKNOWN_SESSION,
    WRONG_SECRET,
    OTHER_ACCOUNT,
    NEVER_SENT, /* claims bytes that were not sent */
    TWISTS
};

static struct world_peer *show_twisted(struct scene *s, struct inl_ticket t,
                                       enum twist twist)
{
    struct world_peer *p;
    const char *more = "";

    switch (twist) {
    case UNKNOWN_SESSION:
        t.session ^= 1;
        break;
    case WRONG_SECRET:
        t.secret[15] ^= 1;
        break;
    case OTHER_ACCOUNT:
        more = "World-Account: eve\r\n";
        break;
    case NEVER_SENT:
        t.received++;
        break;
    case TWISTS:
    default:
        break;
    }
    p = dial_with(s, &t, more);
    world_run(s->w, ROUND_TRIP);
    return p;
}

/* What is wrong with a ticket is not to be learned from the answer, nor does
 * it do anything to whose it is. */
static void test_stranger_gets_nothing(void **state)
{
    struct scene s;
    struct world_peer *p, *q, *fresh, *first = NULL;
    struct inl_ticket t;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    fresh = peer_to_exit(s.x);
    world_run(s.w, ROUND_TRIP);
    t = ticket_of(p);
    for (unsigned i = 0; i < TWISTS; i++) {
        q = show_twisted(&s, t, (enum twist)i);
        assert_string_equal(q->handshake, fresh->handshake);
        assert_true(q->hello_len > 0); /* a session of its own, and empty */
        peer_free(q);
    }
    t.lane = 1;
    t.received = 0;
    for (unsigned i = 0; i < TWISTS; i++) {
        q = show_twisted(&s, t, (enum twist)i);
        assert_int_equal(q->status, 503);
        if (first == NULL) {
            first = q;
            continue;
        }
        assert_string_equal(q->handshake, first->handshake);
        peer_free(q);
    }
    peer_free(first);
    peer_free(fresh);
    world_run(s.w, 10500); /* they are all over */
    assert_int_equal(world_exit_ntunnels(s.x), 1);
    assert_false(p->gone);
    t = ticket_of(p);
    q = show(&s, &t);
    assert_true(is_taken(q));
    peer_free(p);
    peer_free(q);
    scene_close(&s);
}

/* Who acknowledged more than the ticket says is told where it goes on. */
static void test_count_behind_what_was_acknowledged(void **state)
{
    struct inl_ticket t, answer;
    struct world_peer *p, *q;
    struct scene s;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    world_run(s.w, ROUND_TRIP);
    t = ticket_of(p);
    assert_true(t.received > 0);
    t.received--;
    q = show(&s, &t);
    assert_true(answer_of(q, &answer));
    assert_int_equal(answer.start, t.received + 1);
    assert_int_equal(world_exit_ntunnels(s.x), 1);
    peer_free(p);
    peer_free(q);
    scene_close(&s);
}

/* A message of which the websocket took the end with it is no part of the next
 * websocket's. */
static void test_half_a_message_is_forgotten(void **state)
{
    static const uint8_t half_ack[] = {INL_MESSAGE_ACK, 0, 0, 0};
    struct scene s;
    struct world_peer *p, *q;
    struct world_visitor *v;
    struct inl_ticket shown;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    v = world_visit(s.x);
    world_get(v, "/");
    world_run(s.w, ROUND_TRIP);
    shown = ticket_of(p);
    peer_ws(p, 0x02, half_ack, sizeof(half_ack)); /* more would follow */
    world_run(s.w, ROUND_TRIP);
    cut(&s, p);
    q = show(&s, &shown);
    assert_true(is_taken(q));
    answer_stream(q, 1);
    expect_answer(&s, v, 0);
    assert_int_equal(s.x->downs, 0);
    peer_free(p);
    peer_free(q);
    world_visitor_free(v);
    scene_close(&s);
}

/* What is to be sent again has not been sent: to acknowledge it is a lie. */
static void test_acknowledged_too_early(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct world_visitor *v;
    struct inl_ticket shown;
    uint64_t sent;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    v = world_visit(s.x);
    wh_expect(&v->http, false);
    world_send(v, "POST / HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 200000\r\n\r\n");
    world_run(s.w, ROUND_TRIP);
    shown = ticket_of(p);
    p->keeps_silent = true;
    world_write_body(v->end, 7, 200000);
    world_run(s.w, ROUND_TRIP);
    sent = p->rx_lane;
    assert_true(sent > shown.received + 200000);
    cut(&s, p);
    s.w->net.rate = 1; /* the rest takes minutes */
    s.w->net.buffer = 2000;
    q = dial_with(&s, &shown, "");
    world_run(s.w, 3000);
    assert_true(is_taken(q));
    assert_true(q->rx_lane < shown.received + 10000);
    peer_ack(q, sent);
    world_run(s.w, 35000); /* our last words linger */
    assert_int_equal(s.x->downs, 1);
    assert_int_equal(s.x->last_down, INLETS_EPROTO);
    peer_free(p);
    peer_free(q);
    world_visitor_free(v);
    scene_close(&s);
}

/* What stood still while the lane was lost goes on with it. */
static void test_time_goes_on_after_a_return(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct world_visitor *v;
    struct inl_ticket shown;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    v = world_visit(s.x);
    world_get(v, "/");
    world_run(s.w, ROUND_TRIP);
    shown = ticket_of(p);
    cut(&s, p);
    world_run(s.w, 9000);
    q = show(&s, &shown);
    assert_true(is_taken(q));
    world_run(s.w, 59000);
    assert_int_equal(v->nanswers, 0);
    world_run(s.w, 2000);
    assert_int_equal(v->nanswers, 1);
    assert_int_equal(v->answers[0].status, 504);
    peer_free(p);
    peer_free(q);
    world_visitor_free(v);
    scene_close(&s);
}

static void test_account_may_resume_its_own(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct inl_ticket t;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = peer_to_exit_with(s.x, "World-Account: bob\r\n");
    world_run(s.w, ROUND_TRIP);
    t = ticket_of(p);
    q = show(&s, &t); /* no account */
    assert_false(is_taken(q));
    peer_free(q);
    q = dial_with(&s, &t, "World-Account: bo\r\n");
    world_run(s.w, ROUND_TRIP);
    assert_false(is_taken(q));
    peer_free(q);
    s.x->refuses = true; /* bob's token was taken away */
    q = dial_with(&s, &t, "World-Account: bob\r\n");
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(q->status, 401);
    peer_free(q);
    s.x->refuses = false;
    q = dial_with(&s, &t, "World-Account: bob\r\n");
    world_run(s.w, ROUND_TRIP);
    assert_true(is_taken(q));
    peer_free(p);
    peer_free(q);
    scene_close(&s);
}

static void test_malformed_is_refused(void **state)
{
    static const char good[] =
        "Inlets-Lane: 0123456789abcdef.0.000102030405060708090a0b0c0d0e0f.0"
        "\r\n";
    static const char *const bad[] = {
        "Inlets-Lane: \r\n",
        "Inlets-Lane: x\r\n",
        "Inlets-Lane: 0123456789abcdef.256.000102030405060708090a0b0c0d0e0f.0"
        "\r\n",
        "Inlets-Lane: 0123456789ABCDEF.0.000102030405060708090a0b0c0d0e0f.0"
        "\r\n",
        "Inlets-Lane: 0123456789abcdef.0.000102030405060708090a0b0c0d0e0f.00"
        "\r\n",
    };
    struct scene s;
    struct world_peer *p;
    char twice[300];

    (void)state;
    scene_new(&s);
    scene_open(&s);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        p = peer_to_exit_with(s.x, bad[i]);
        world_run(s.w, ROUND_TRIP);
        assert_int_equal(p->status, 400);
        peer_free(p);
    }
    (void)snprintf(twice, sizeof(twice), "%s%s", good, good);
    p = peer_to_exit_with(s.x, twice);
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(p->status, 400);
    peer_free(p);
    s.x->refuses = true; /* who may not come in learns nothing else */
    p = peer_to_exit_with(s.x, bad[0]);
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(p->status, 401);
    peer_free(p);
    assert_int_equal(world_exit_ntunnels(s.x), 0);
    scene_close(&s);
}

/* The old secret is good until a byte has come over the new websocket, for the
 * answer may be lost; then it opens nothing. */
static void test_replay(void **state)
{
    struct scene s;
    struct world_peer *p, *lost, *q, *r;
    struct inl_ticket first, second;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    first = ticket_of(p);
    lost = dial_with(&s, &first, "");
    world_run(s.w, LATENCY + LATENCY / 2); /* the answer is under way */
    go_silent(lost);
    q = show(&s, &first);
    assert_true(answer_of(q, &second)); /* and its pong has come */
    r = show(&s, &first);
    assert_false(is_taken(r));
    assert_false(q->gone);
    peer_free(r);
    second.received = q->rx_lane;
    r = show(&s, &second);
    assert_true(is_taken(r));
    world_run(s.w, ROUND_TRIP);
    assert_true(q->gone);
    peer_free(p);
    peer_free(lost);
    peer_free(q);
    peer_free(r);
    scene_close(&s);
}

/* Two of them on the way at once: the newer has the lane, and what the older
 * says is heard by nobody. */
static void test_crossing(void **state)
{
    struct scene s;
    struct world_peer *p, *q, *r;
    struct world_visitor *v;
    struct inl_ticket t, older, newer;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    v = world_visit(s.x);
    world_get(v, "/");
    world_run(s.w, ROUND_TRIP);
    t = ticket_of(p);
    q = dial_with(&s, &t, "");
    world_run(s.w, 1);
    r = dial_with(&s, &t, "");
    world_run(s.w, ROUND_TRIP);
    assert_true(answer_of(r, &newer));
    assert_true(r->up && !r->gone);
    assert_true(p->gone && q->gone);
    r->tx_lane = newer.received;
    answer_stream(r, 1);
    expect_answer(&s, v, 0);
    if (answer_of(q, &older)) { /* a reset may overtake it */
        older.received = r->rx_lane;
        peer_free(q);
        q = show(&s, &older);
        assert_false(is_taken(q));
    }
    assert_int_equal(s.x->downs, 0);
    peer_free(p);
    peer_free(q);
    peer_free(r);
    world_visitor_free(v);
    scene_close(&s);
}

static void test_window(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct world_visitor *v;
    struct inl_ticket t;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    v = world_visit(s.x);
    world_get(v, "/");
    world_run(s.w, ROUND_TRIP);
    t = ticket_of(p);
    cut(&s, p);
    world_run(s.w, 9500);
    q = show(&s, &t);
    assert_true(answer_of(q, &t));
    t.received = q->rx_lane;
    cut(&s, q);
    world_run(s.w, 10100);
    assert_int_equal(s.x->downs, 1);
    assert_int_equal(world_exit_ntunnels(s.x), 0);
    assert_true(v->nanswers == 1 && v->answers[0].status >= 502);
    peer_free(q);
    q = show(&s, &t);
    assert_false(is_taken(q));
    assert_true(q->hello_len > 0);
    peer_free(p);
    peer_free(q);
    world_visitor_free(v);
    scene_close(&s);
}

static void test_without_window(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct inl_ticket t;

    (void)state;
    scene_new(&s);
    s.config.resume_ms = 0;
    s.config.lanes = 2;
    scene_open(&s);
    p = client(&s);
    assert_null(parameter(p, 0x11));
    t = ticket_of(p);
    assert_int_equal(inl_gate_rotate(&s.x->gate), 0);
    q = show(&s, &t);
    assert_false(is_taken(q));
    peer_free(q);
    t.lane = 1; /* lanes are another thing */
    t.received = 0;
    q = show(&s, &t);
    assert_true(is_taken(q));
    peer_free(q);
    cut(&s, p);
    assert_int_equal(world_exit_ntunnels(s.x), 0);
    peer_free(p);
    scene_close(&s);
}

static void test_draining(void **state)
{
    struct scene s;
    struct world_peer *p, *q, *r;
    struct world_visitor *v;
    struct inl_ticket t, wrong;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    v = world_visit(s.x);
    world_get(v, "/");
    world_run(s.w, ROUND_TRIP);
    t = ticket_of(p);
    cut(&s, p);
    world_exit_drain(s.x);
    world_run(s.w, 1000);
    assert_int_equal(inl_gate_nstreams(&s.x->gate), 1);
    wrong = t;
    wrong.secret[0] ^= 1;
    r = show(&s, &wrong);
    assert_int_equal(r->status, 503);
    peer_free(r);
    r = peer_to_exit_with(s.x, "World-Account: new\r\n");
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(r->status, 503);
    peer_free(r);
    q = show(&s, &t);
    assert_true(is_taken(q));
    assert_int_equal(q->frames[11], 1); /* GOAWAY was waiting */
    answer_stream(q, 1);
    expect_answer(&s, v, 0);
    assert_int_equal(inl_gate_nstreams(&s.x->gate), 0);
    peer_free(p);
    peer_free(q);
    world_visitor_free(v);
    scene_close(&s);
}

/* ---- more lanes ------------------------------------------------------- */

static struct world_peer *lane(struct scene *s, struct inl_ticket t,
                               unsigned number)
{
    t.lane = number;
    t.received = 0;
    return show(s, &t);
}

static void expect_lane(struct scene *s, struct inl_ticket t, unsigned number,
                        unsigned status)
{
    struct world_peer *p = lane(s, t, number);

    assert_int_equal(p->status, status);
    peer_free(p);
}

static void test_lanes(void **state)
{
    struct scene s;
    struct world_peer *p, *one, *five, *q;
    struct inl_ticket t, t1;

    (void)state;
    scene_new(&s);
    s.config.lanes = 3;
    scene_open(&s);
    p = client(&s);
    assert_int_equal(number_of(p, 0x12), 3);
    t = ticket_of(p);
    one = lane(&s, t, 1);
    assert_true(answer_of(one, &t1));
    assert_true(t1.lane == 1 && t1.received == 0);
    assert_memory_not_equal(t1.secret, t.secret, sizeof(t.secret));
    five = lane(&s, t, 5); /* a jump is fine, to go back is not */
    assert_true(is_taken(five));
    expect_lane(&s, t, 4, 503);
    expect_lane(&s, t, 6, 503);  /* three are three */
    expect_lane(&s, t, 1, 503);  /* that lane has a secret of its own */
    expect_lane(&s, t1, 0, 101); /* which is not lane 0's */
    t1.received = one->rx_lane;
    q = show(&s, &t1);
    assert_true(is_taken(q));
    world_run(s.w, ROUND_TRIP);
    assert_true(one->gone);
    cut(&s, five); /* when it is given up, there is room for another */
    expect_lane(&s, t, 6, 503);
    world_run(s.w, 10000);
    assert_int_equal(s.x->downs, 1); /* the one that t1 began */
    expect_lane(&s, t, 5, 503);
    expect_lane(&s, t, 6, 101);
    peer_free(p);
    peer_free(one);
    peer_free(five);
    peer_free(q);
    scene_close(&s);
}

/* ---- how far apart they come back ------------------------------------- */

static const unsigned told_at[] = {50, 63, 79, 99, 124, 155};

static void test_spread(void **state)
{
    static struct world_peer *crowd[CROWD];
    struct scene s;
    unsigned told = 0;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    for (unsigned n = 1; n <= CROWD; n++) {
        struct world_peer *p = crowd[n - 1] = peer_to_exit(s.x);

        world_run(s.w, ROUND_TRIP);
        if (told < sizeof(told_at) / sizeof(told_at[0]) && n == told_at[told]) {
            told++;
        }
        assert_int_equal(number_of(p, 0x13), n < 50 ? 0 : n * 20);
        assert_int_equal(p->frames[12], 0); /* it knows already */
        if (n > 1) {
            assert_int_equal(crowd[0]->frames[12], told);
            assert_int_equal(crowd[0]->spread_ms,
                             told == 0 ? 0 : told_at[told - 1] * 20);
        }
    }
    assert_int_equal(told, 6);
    /* Most leave, a few come, and become many: they have to be told. */
    for (unsigned n = 0; n < 140; n++) {
        world_close(crowd[n]->end, true);
        peer_free(crowd[n]);
    }
    world_run(s.w, 10500);
    assert_int_equal(world_exit_ntunnels(s.x), CROWD - 140);
    for (unsigned n = 0; n < 60; n++) {
        crowd[n] = peer_to_exit(s.x);
        world_run(s.w, ROUND_TRIP);
    }
    assert_int_equal(number_of(crowd[0], 0x13), 0);
    assert_int_equal(crowd[0]->spread_ms, 79 * 20);
    assert_int_equal(crowd[59]->frames[12], 0);
    for (unsigned n = 0; n < CROWD; n++) {
        if (n < 60 || n >= 140) {
            peer_free(crowd[n]);
        }
    }
    scene_close(&s);
}

/* Who had not said hello when all were told. */
static void test_spread_of_who_is_slow(void **state)
{
    struct world_peer *crowd[50];
    struct scene s;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    crowd[0] = peer_to_exit(s.x);
    crowd[0]->no_hello = true;
    for (unsigned n = 1; n < 50; n++) {
        crowd[n] = peer_to_exit(s.x);
    }
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(number_of(crowd[0], 0x13), 0);
    assert_int_equal(crowd[0]->frames[12], 0);
    assert_int_equal(crowd[1]->frames[12], 1);
    peer_hello(crowd[0]);
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(crowd[0]->frames[12], 1);
    assert_int_equal(crowd[0]->spread_ms, 1000);
    for (unsigned n = 0; n < 50; n++) {
        peer_free(crowd[n]);
    }
    scene_close(&s);
}

/* ---- fresh websockets ------------------------------------------------- */

/* When it is asked, in ms from now. */
static uint64_t next_move(struct scene *s, struct world_peer *p)
{
    uint64_t from = s->w->env.now_ms;
    unsigned moves = p->moves;

    while (p->moves == moves && s->w->env.now_ms < from + 200000) {
        world_run(s->w, 100);
    }
    return s->w->env.now_ms - from;
}

static void test_rotation(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct inl_ticket t;
    uint64_t first, second;

    (void)state;
    scene_new(&s);
    s.config.rotate_ms = 60000;
    scene_open(&s);
    p = client(&s);
    first = next_move(&s, p);
    second = next_move(&s, p); /* it did not move */
    assert_in_range(first, 53000, 66500);
    assert_in_range(second, 53000, 66500);
    assert_int_not_equal(first, second); /* give or take a tenth */
    t = ticket_of(p);
    q = show(&s, &t);
    assert_true(answer_of(q, &t));
    world_run(s.w, 30000);
    t.received = q->rx_lane;
    peer_free(p);
    p = show(&s, &t); /* by itself, so the time begins anew */
    assert_true(is_taken(p));
    assert_in_range(next_move(&s, p), 53000, 66500);
    assert_int_equal(p->moves, 1);
    assert_int_equal(q->moves, 0);
    peer_free(p);
    peer_free(q);
    scene_close(&s);
}

static void test_rotation_by_hand(void **state)
{
    struct world_peer *crowd[60];
    struct scene s;
    unsigned moved = 0;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    crowd[0] = peer_to_exit(s.x);
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(inl_gate_rotate(&s.x->gate), 1);
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(crowd[0]->moves, 1);
    for (unsigned n = 1; n < 60; n++) {
        crowd[n] = peer_to_exit(s.x);
    }
    world_run(s.w, ROUND_TRIP);
    assert_int_equal(inl_gate_rotate(&s.x->gate), 60);
    world_run(s.w, 600); /* of 1,200 ms, for 60 of them */
    for (unsigned n = 1; n < 60; n++) {
        moved += crowd[n]->moves;
    }
    assert_in_range(moved, 15, 45);
    world_run(s.w, 700);
    for (unsigned n = 0; n < 60; n++) {
        assert_int_equal(crowd[n]->moves, n == 0 ? 2 : 1);
    }
    world_run(s.w, 100000); /* and never again */
    for (unsigned n = 0; n < 60; n++) {
        assert_int_equal(crowd[n]->moves, n == 0 ? 2 : 1);
        peer_free(crowd[n]);
    }
    scene_close(&s);
}

/* ---- memory ----------------------------------------------------------- */

/* The n-th allocation of a resume fails: the ticket is good for another try. */
static void test_out_of_memory(void **state)
{
    struct scene s;
    struct world_peer *p, *q;
    struct inl_ticket t, answer;
    unsigned failures = 0;

    (void)state;
    scene_new(&s);
    scene_open(&s);
    p = client(&s);
    t = ticket_of(p);
    for (uint64_t n = 1; n < 60; n++) {
        cut(&s, p);
        peer_free(p);
        world_alloc.failed = false;
        world_alloc.fail_at = world_alloc.calls + n;
        q = show(&s, &t);
        world_alloc.fail_at = 0;
        if (world_alloc.failed) {
            failures++;
        }
        if (!answer_of(q, &answer) || q->gone) {
            assert_true(world_alloc.failed);
            assert_int_equal(world_exit_ntunnels(s.x), 1);
            peer_free(q);
            q = show(&s, &t);
            assert_true(answer_of(q, &answer));
        }
        t = answer;
        t.received = q->rx_lane;
        p = q;
    }
    assert_true(failures > 5);
    assert_int_equal(s.x->downs, 0);
    peer_free(p);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lane_is_resumed),
        cmocka_unit_test(test_stranger_gets_nothing),
        cmocka_unit_test(test_count_behind_what_was_acknowledged),
        cmocka_unit_test(test_half_a_message_is_forgotten),
        cmocka_unit_test(test_acknowledged_too_early),
        cmocka_unit_test(test_time_goes_on_after_a_return),
        cmocka_unit_test(test_account_may_resume_its_own),
        cmocka_unit_test(test_malformed_is_refused),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_crossing),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_without_window),
        cmocka_unit_test(test_draining),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_spread_of_who_is_slow),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_rotation_by_hand),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
