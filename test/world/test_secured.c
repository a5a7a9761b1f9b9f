/* test_secured.c: TLS between two links, over fake pipes and fake time: all
 * bytes and all ends come through, whoever is slow; a cut is never a clean
 * end; and whatever a machine does in whichever callback. */
#include "world/suite.h"

#include "base/slice.h"
#include "proto/tls_make.h"
#include "relay/proxy_dial.h"
#include "relay/secure_dial.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DUE_MS 5000u
#define KIB 1024u
#define MIB (1024u * 1024)

enum moment { AT_DONE, AT_RX, AT_EOF, AT_TAKEN, AT_FILL, MOMENTS };
enum deed { NOTHING, CLOSES, RESETS, WRITES, SHUTS, LINGERS, DEEDS };

struct scene;

/* The machine above, on one side. */
struct side {
    struct scene *t;
    struct inl_secured *s;
    struct inl_link *below, *link; /* link NULL: not yet, or no more */
    unsigned dones, gones, eofs;
    int err, gone_err;
    char why[160];
    unsigned tag; /* of the bytes that come */
    uint64_t got;
    bool wrong; /* another byte came */
    size_t room;
    bool once; /* there is no room behind the first bytes */
    enum moment moment;
    enum deed deed;
};

struct scene {
    struct world *w;
    struct world_pipe *pipe;
    struct inl_tls_config *sconf, *cconf;
    struct inl_cert *cert;
    struct inl_secured_group servers, clients;
    struct inl_turns turns; /* of the servers */
    struct side s, c;
};

static const struct world_net quick = {.buffer = 256 * KIB};
static const struct world_net nets[] = {
    {.buffer = 256 * KIB},
    {.latency_ms = 20, .fragment = 1000, .buffer = 64 * KIB},
    {.latency_ms = 1, .fragment = 7, .buffer = 4 * KIB},
    {.rate = 1000, .buffer = 20 * KIB},
};

/* ---- the machine ------------------------------------------------------ */

static void act(struct side *m, enum moment moment)
{
    if (m->moment != moment || m->link == NULL) {
        return;
    }
    switch (m->deed) {
    case CLOSES:
        inl_link_close(m->link, 0);
        break;
    case RESETS:
        inl_link_reset(m->link, INLETS_ECANCELED);
        break;
    case WRITES:
        m->deed = NOTHING;
        (void)inl_link_write(m->link, "x", 1);
        break;
    case SHUTS:
        inl_link_shutdown(m->link);
        break;
    case LINGERS:
        inl_link_linger(m->link);
        break;
    case NOTHING:
    case DEEDS:
        break;
    }
}

static void side_rx(void *machine, const uint8_t *p, size_t n)
{
    struct side *m = machine;

    assert_true(n <= m->room);
    assert_int_equal(m->eofs, 0);
    for (size_t i = 0; i < n; i++) {
        m->wrong = m->wrong || p[i] != world_byte(m->tag, m->got + i);
    }
    m->got += n;
    m->room = m->once ? 0 : m->room;
    act(m, AT_RX);
}

static size_t side_room(void *machine)
{
    return ((struct side *)machine)->room;
}

static void side_eof(void *machine)
{
    struct side *m = machine;

    m->eofs++;
    act(m, AT_EOF);
}

static void side_taken(void *machine, size_t n)
{
    assert_true(n > 0);
    act(machine, AT_TAKEN);
}

static void side_fill(void *machine)
{
    act(machine, AT_FILL);
}

static void side_gone(void *machine, int err)
{
    struct side *m = machine;

    m->gones++;
    m->gone_err = err;
    m->link = NULL;
}

static const struct inl_machine_ops side_ops = {
    side_rx, side_room, side_eof, side_taken, side_fill, side_gone};

static void on_done(void *user, int err, const char *why, struct inl_link *l)
{
    struct side *m = user;

    m->dones++;
    m->err = err;
    (void)snprintf(m->why, sizeof(m->why), "%s", why);
    m->s = NULL;
    assert_int_equal(err == 0, l != NULL);
    if (l != NULL) {
        m->link = l;
        assert_non_null(l->tls);
        inl_link_set_machine(l, &side_ops, m);
        act(m, AT_DONE);
    }
}

/* ---- the scene -------------------------------------------------------- */

static struct inl_cert *pick(void *user, struct inlets_slice sni)
{
    (void)sni;
    return ((struct scene *)user)->cert;
}

static void make_configs(struct scene *t)
{
    static char authority[INL_MADE_PEM], cert[INL_MADE_PEM], key[INL_MADE_PEM];
    const struct inl_tls_server server = {.pick = pick, .user = t};
    struct inl_tls_client client = {.trust = NULL};
    const char *why;
    unsigned skipped;

    if (authority[0] == '\0') {
        assert_int_equal(inl_tls_make(INL_LIT("a.test"), authority, cert, key),
                         0);
    }
    assert_int_equal(inl_cert_new(&t->cert, inl_str(cert), inl_str(key), &why),
                     0);
    assert_int_equal(inl_trust_new(&client.trust, inl_str(authority), &skipped),
                     0);
    assert_int_equal(inl_tls_config_server(&t->sconf, &server), 0);
    assert_int_equal(inl_tls_config_client(&t->cconf, &client), 0);
    inl_trust_unref(client.trust);
}

static void scene_open(struct scene *t)
{
    *t = (struct scene){.w = world_new(1)};
    make_configs(t);
    inl_secured_group_init(&t->servers,
                           &(struct inl_secured_group){.env = &t->w->env,
                                                       .tls = t->sconf,
                                                       .turns = &t->turns,
                                                       .done = on_done});
    inl_secured_group_init(
        &t->clients, &(struct inl_secured_group){
                         .env = &t->w->env, .tls = t->cconf, .done = on_done});
    t->s = (struct side){.t = t, .tag = 1, .room = MIB, .moment = MOMENTS};
    t->c = (struct side){.t = t, .tag = 2, .room = MIB, .moment = MOMENTS};
}

static void serve(struct scene *t, struct side *m, struct world_end *e)
{
    m->below = world_link(e, "192.0.2.1");
    m->s = inl_secured_start(&t->servers, m->below, NULL,
                             t->w->env.now_ms + DUE_MS, m);
}

static void begin(struct scene *t, const struct world_net *net)
{
    scene_open(t);
    t->pipe = world_pipe(t->w, net);
    serve(t, &t->s, &t->pipe->end[0]);
    t->c.below = world_link(&t->pipe->end[1], "192.0.2.2");
    t->c.s = inl_secured_start(&t->clients, t->c.below, "a.test",
                               t->w->env.now_ms + DUE_MS, &t->c);
}

static void meet(struct scene *t, const struct world_net *net)
{
    begin(t, net);
    world_run(t->w, 2000);
    assert_int_equal(t->s.dones + t->c.dones, 2);
    assert_int_equal(t->s.err, 0);
    assert_int_equal(t->c.err, 0);
    assert_int_equal(t->servers.n + t->clients.n, 0);
}

static void leave(struct side *m)
{
    if (m->link != NULL) {
        inl_link_close(m->link, 0);
    }
}

static void scene_close(struct scene *t)
{
    leave(&t->c);
    leave(&t->s);
    inl_secured_group_close(&t->servers);
    inl_secured_group_close(&t->clients);
    world_run(t->w, 40000);
    assert_true(t->s.gones <= 1 && t->c.gones <= 1);
    assert_null(t->s.link);
    assert_null(t->c.link);
    inl_tls_config_unref(t->sconf);
    inl_tls_config_unref(t->cconf);
    inl_cert_unref(t->cert);
    world_free(t->w);
}

static void send_body(struct side *from, struct side *to, uint64_t at, size_t n)
{
    uint8_t *body = malloc(n);

    assert_non_null(body);
    for (size_t i = 0; i < n; i++) {
        body[i] = world_byte(to->tag, at + i);
    }
    assert_int_equal(inl_link_write(from->link, body, n), 0);
    free(body);
}

static void assert_got(const struct side *m, uint64_t n)
{
    assert_false(m->wrong);
    assert_int_equal(m->got, n);
}

/* ---- bytes ------------------------------------------------------------ */

static void bytes_go_both_ways(void **state)
{
    static const size_t sizes[] = {1,     1399,  1400,   1401, 16383,
                                   16384, 16385, 100000, MIB};

    (void)state;
    for (size_t i = 0; i < COUNT(nets); i++) {
        for (size_t k = 0; k < COUNT(sizes); k++) {
            struct scene t;

            meet(&t, &nets[i]);
            send_body(&t.c, &t.s, 0, sizes[k]);
            send_body(&t.s, &t.c, 0, sizes[k]);
            inl_link_shutdown(t.c.link);
            inl_link_shutdown(t.s.link);
            world_run(t.w, 15000);
            assert_got(&t.s, sizes[k]);
            assert_got(&t.c, sizes[k]);
            assert_int_equal(t.s.eofs + t.c.eofs, 2);
            assert_int_equal(t.s.gones + t.c.gones, 0);
            assert_true(t.s.link->tx_ended && t.c.link->tx_ended);
            scene_close(&t);
            assert_int_equal(t.s.gone_err, 0);
        }
    }
}

static void rooms_may_be_tiny(void **state)
{
    static const size_t rooms[] = {1, 7, 1000, 16383};

    (void)state;
    for (size_t i = 0; i < COUNT(rooms); i++) {
        struct scene t;

        meet(&t, &quick);
        t.s.room = rooms[i];
        send_body(&t.c, &t.s, 0, 50000);
        inl_link_shutdown(t.c.link);
        world_run(t.w, 1000);
        assert_got(&t.s, 50000);
        assert_int_equal(t.s.eofs, 1);
        scene_close(&t);
    }
}

/* Who does not read stops the sender, and loses nothing. */
static void a_reader_that_stops_stops_the_sender(void **state)
{
    (void)state;
    for (size_t room = 0; room < 2; room++) {
        struct scene t;
        size_t queued;

        meet(&t, &nets[1]);
        t.s.room = room == 0 ? 0 : 100;
        send_body(&t.c, &t.s, 0, 4 * MIB);
        t.s.once = room == 1;
        inl_link_shutdown(t.c.link);
        world_run(t.w, 10000);
        assert_int_equal(t.s.got, room == 0 ? 0 : 100);
        queued = t.c.link->out.bytes;
        assert_true(queued > 4 * MIB - 400 * KIB);
        assert_int_equal(t.s.eofs, 0);
        world_run(t.w, 10000);
        assert_int_equal(t.c.link->out.bytes, queued);
        t.s.once = false;
        t.s.room = 5000;
        inl_link_wake(t.s.link);
        world_run(t.w, 30000);
        assert_got(&t.s, 4 * MIB);
        assert_int_equal(t.s.eofs, 1);
        scene_close(&t);
    }
}

/* ---- ends ------------------------------------------------------------- */

static void half_closed_either_way(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct scene t;
        struct side *first, *second;

        meet(&t, &nets[1]);
        first = i == 0 ? &t.c : &t.s;
        second = i == 0 ? &t.s : &t.c;
        send_body(first, second, 0, 3000);
        inl_link_shutdown(first->link);
        world_run(t.w, 1000);
        assert_got(second, 3000);
        assert_int_equal(second->eofs, 1);
        assert_int_equal(first->eofs, 0);
        send_body(second, first, 0, 200000);
        world_run(t.w, 5000);
        assert_got(first, 200000);
        assert_int_equal(first->eofs, 0);
        inl_link_shutdown(second->link);
        world_run(t.w, 1000);
        assert_int_equal(first->eofs, 1);
        assert_int_equal(first->gones + second->gones, 0);
        scene_close(&t);
    }
}

static void a_close_is_a_clean_end(void **state)
{
    struct scene t;

    (void)state;
    meet(&t, &quick);
    inl_link_close(t.c.link, 0);
    world_run(t.w, 10);
    assert_int_equal(t.c.gones, 1);
    assert_int_equal(t.s.eofs, 1);
    assert_int_equal(t.s.gones, 0);
    scene_close(&t);
}

static void assert_cut(const struct side *m)
{
    assert_int_equal(m->eofs, 0);
    assert_int_equal(m->gones, 1);
    assert_int_equal(m->gone_err, INLETS_ERESET);
    assert_false(m->wrong);
}

static void a_reset_is_a_reset(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct scene t;

        meet(&t, &nets[1]);
        send_body(&t.c, &t.s, 0, 100000);
        t.s.room = i == 0 ? MIB : 0;
        world_run(t.w, 30);
        inl_link_reset(t.c.link, INLETS_ECANCELED);
        world_run(t.w, 5000);
        assert_true(t.pipe->end[0].rst_ms > 0); /* of TCP, not a FIN */
        t.s.room = MIB;
        if (t.s.link != NULL) {
            inl_link_wake(t.s.link);
        }
        world_run(t.w, 5000);
        assert_cut(&t.s);
        scene_close(&t);
    }
}

/* What TCP calls an end is none: anybody on the way can send a FIN. */
static void a_fin_without_words_is_a_cut(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct scene t;

        meet(&t, &quick);
        send_body(&t.c, &t.s, 0, 50000);
        t.s.room = i == 0 ? MIB : i == 1 ? 0 : 100;
        t.s.once = i == 2;
        world_settle(t.w);
        assert_int_equal(t.s.got, i == 0 ? 50000 : i == 1 ? 0 : 100);
        world_cut(t.pipe, WORLD_FIN);
        if (i == 2) { /* a carrier that tells it at once */
            inl_link_rx_eof(t.s.below);
        }
        world_run(t.w, 100);
        assert_int_equal(t.s.gones, i == 0);
        t.s.once = false;
        t.s.room = MIB;
        if (t.s.link != NULL) {
            inl_link_wake(t.s.link);
        }
        world_run(t.w, 5000);
        assert_true(t.s.got > 0);
        assert_cut(&t.s);
        scene_close(&t);
    }
}

static void last_words_are_heard(void **state)
{
    struct scene t;

    (void)state;
    meet(&t, &nets[3]);
    send_body(&t.s, &t.c, 0, 100000);
    inl_link_finish(t.s.link);
    world_run(t.w, 1000);
    assert_got(&t.c, 100000);
    assert_int_equal(t.c.eofs, 1);
    leave(&t.c);
    world_run(t.w, 1000);
    assert_int_equal(t.s.gones, 1);
    assert_int_equal(t.s.gone_err, 0);
    scene_close(&t);
}

/* ---- handshakes ------------------------------------------------------- */

static void nothing_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    (void)e;
    (void)p;
    (void)n;
}

static const struct world_raw_ops silent_ops = {nothing_rx, NULL, NULL};

static struct world_end *silent(struct scene *t, struct side *m)
{
    struct world_pipe *p = world_pipe(t->w, &quick);

    *m = (struct side){.t = t, .moment = MOMENTS};
    serve(t, m, &p->end[0]);
    world_raw(&p->end[1], &silent_ops, NULL);
    return &p->end[1];
}

static void who_says_nothing_has_five_seconds(void **state)
{
    struct scene t;
    struct side m;
    struct world_end *e;

    (void)state;
    scene_open(&t);
    e = silent(&t, &m);
    world_run(t.w, DUE_MS - 1);
    assert_int_equal(m.dones, 0);
    world_run(t.w, 2);
    assert_int_equal(m.dones, 1);
    assert_int_equal(m.err, INLETS_ETIMEDOUT);
    assert_int_equal(t.servers.n, 0);
    world_close(e, false);
    scene_close(&t);
}

static void the_oldest_makes_room(void **state)
{
    static struct side many[1026];
    static struct world_end *ends[1026];
    struct scene t;

    (void)state;
    scene_open(&t);
    t.servers.most = 1024;
    for (size_t i = 0; i < COUNT(many); i++) {
        ends[i] = silent(&t, &many[i]);
    }
    assert_int_equal(t.servers.n, 1024);
    for (size_t i = 0; i < COUNT(many); i++) {
        assert_int_equal(many[i].dones, i < 2);
        assert_int_equal(many[i].err, i < 2 ? INLETS_ELIMIT : 0);
    }
    inl_secured_group_close(&t.servers);
    assert_int_equal(t.servers.n, 0);
    world_run(t.w, 10);
    for (size_t i = 0; i < COUNT(many); i++) {
        assert_int_equal(many[i].dones, i < 2);
        world_close(ends[i], false);
    }
    scene_close(&t);
}

static void junk_and_hang_ups_are_refused(void **state)
{
    static const uint8_t junk[] = "GET / HTTP/1.1\r\n\r\n";

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct scene t;
        struct side m;
        struct world_end *e;

        scene_open(&t);
        e = silent(&t, &m);
        if (i == 0) {
            world_write(e, junk, sizeof(junk) - 1);
        } else {
            world_shutdown(e);
        }
        world_run(t.w, 10);
        assert_int_equal(m.dones, 1);
        assert_int_equal(m.err, i == 0 ? INLETS_ETLS : INLETS_ECLOSED);
        assert_string_equal(m.why, i == 0
                                       ? "what the other side sends is not TLS"
                                       : "the other side hung up");
        world_close(e, false);
        scene_close(&t);
    }
}

/* What waits for its turn may be all that there was to say: it is no cut. */
static void who_says_all_and_hangs_up_is_heard(void **state)
{
    const struct world_net far = {.latency_ms = 20, .buffer = 256 * KIB};
    const struct world_bytes *b;
    struct scene t;

    (void)state;
    begin(&t, &far);
    while (t.c.link == NULL) {
        world_run(t.w, 1);
    }
    assert_int_equal(t.s.dones, 0);
    send_body(&t.c, &t.s, 0, 5000);
    inl_link_shutdown(t.c.link);
    world_settle(t.w);
    b = &t.pipe->end[1].way.bytes; /* a carrier that gives all at once */
    inl_link_rx(t.s.below, b->ptr + b->head, b->len);
    inl_link_rx_eof(t.s.below);
    assert_int_equal(t.s.dones, 0);
    world_run(t.w, 1);
    assert_int_equal(t.s.dones, 1);
    assert_int_equal(t.s.err, 0);
    assert_got(&t.s, 5000);
    assert_int_equal(t.s.eofs, 1);
    assert_int_equal(t.s.gones, 0);
    scene_close(&t);
}

/* Warnings that Mbed TLS ignores, for ever: each may be the last. */
static void a_handshake_has_so_many_bytes(void **state)
{
    static const uint8_t warning[] = {21, 3, 3, 0, 2, 1, 90};
    const size_t most = 128 * KIB / sizeof(warning);
    struct scene t;
    struct side m;
    struct world_end *e;

    (void)state;
    scene_open(&t);
    e = silent(&t, &m);
    for (size_t i = 0; i < most; i++) {
        world_write(e, warning, sizeof(warning));
    }
    world_run(t.w, 10);
    assert_int_equal(m.dones, 0);
    world_write(e, warning, sizeof(warning));
    world_run(t.w, 10);
    assert_int_equal(m.dones, 1);
    assert_int_equal(m.err, INLETS_ETLS);
    assert_string_equal(m.why, "it is too large");
    assert_int_equal(t.servers.n, 0);
    world_close(e, false);
    scene_close(&t);
}

static void a_handshake_may_be_cancelled_at_any_time(void **state)
{
    const struct world_net net = {
        .latency_ms = 1, .fragment = 90, .rate = 100, .buffer = 4 * KIB};

    (void)state;
    for (int which = 0; which < 2; which++) {
        for (uint64_t ms = 0; ms < 60; ms++) {
            struct scene t;
            struct side *m, *other;

            begin(&t, &net);
            m = which == 0 ? &t.c : &t.s;
            other = which == 0 ? &t.s : &t.c;
            if (ms > 0) {
                world_run(t.w, ms);
            }
            if (m->s == NULL) {
                scene_close(&t);
                break;
            }
            inl_secured_cancel(m->s);
            world_run(t.w, 6000);
            assert_int_equal(m->dones, 0);
            assert_int_equal(other->dones, 1);
            assert_true(other->err != 0 || other->gones == 1);
            assert_int_equal(t.servers.n + t.clients.n, 0);
            scene_close(&t);
        }
    }
}

/* ---- machines --------------------------------------------------------- */

static void machines_may_do_anything_at_any_time(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2u * MOMENTS * DEEDS; i++) {
        struct scene t;
        struct side *m, *other;

        begin(&t, &nets[i % COUNT(nets)]);
        m = i % 2 == 0 ? &t.c : &t.s;
        other = i % 2 == 0 ? &t.s : &t.c;
        m->moment = (enum moment)(i / 2 % MOMENTS);
        m->deed = (enum deed)(i / 2 / MOMENTS);
        world_run(t.w, 1000);
        assert_int_equal(m->dones, 1);
        if (m->link != NULL) {
            (void)inl_link_write(m->link, "y", 1);
        }
        if (other->link != NULL) {
            send_body(other, m, 0, 30000);
            inl_link_shutdown(other->link);
        }
        world_run(t.w, 5000);
        if (m->deed == RESETS && m->gones == 1) {
            assert_int_equal(other->eofs, 0);
            assert_true(other->gones == 1 || other->dones == 0 ||
                        other->err != 0);
        }
        assert_false(m->wrong);
        scene_close(&t);
    }
}

/* ---- what is passed on ------------------------------------------------ */

static void the_link_above_is_like_the_one_below(void **state)
{
    const struct world_net slow = {.rate = 10, .buffer = 64 * KIB};
    const struct inl_link_tuning tuning = {.dead_ms = 1};
    struct scene t;

    (void)state;
    meet(&t, &slow);
    assert_string_equal(t.s.link->peer_ip, "192.0.2.1");
    assert_string_equal(t.s.link->peer, "192.0.2.1:4711");
    assert_int_equal(inl_link_tune(t.s.link, &tuning), 0);
    send_body(&t.s, &t.c, 0, 20000);
    world_run(t.w, 500);
    assert_true(inl_link_delivered(t.s.link) < 10000);
    assert_true(t.s.link->bytes_out > inl_link_delivered(t.s.link));
    world_run(t.w, 3000);
    assert_int_equal(inl_link_delivered(t.s.link), 20000);
    assert_false(t.s.link->carrier->peer_left(t.s.link));
    t.s.room = 0;
    leave(&t.c);
    world_run(t.w, 500);
    assert_true(t.s.link->carrier->peer_left(t.s.link));
    scene_close(&t);
}

/* ---- records ---------------------------------------------------------- */

/* The header, the type, a tag; Mbed TLS pads to 16 (RFC 8446 5.4). */
#define ON_WIRE(n) (5u + ((n) + 1 + 15) / 16 * 16 + 16)

/* The records on the wire, from byte `at`: small ones, then large ones. */
static size_t look_at_records(struct scene *t, size_t at)
{
    const struct world_bytes *b = &t->pipe->end[0].way.bytes;
    size_t small = 0, last = 0;
    bool large = false;

    while (at + 5 <= b->len) {
        const uint8_t *p = b->ptr + b->head + at;

        last = 5u + ((size_t)p[3] << 8 | p[4]);
        assert_int_equal(p[0], 23);
        if (at + last == b->len) {
            return b->len; /* what was left */
        }
        large = large || last > ON_WIRE(1400u);
        assert_int_equal(last, ON_WIRE(large ? INL_TLS_RECORD_MAX : 1400u));
        small += !large;
        at += last;
    }
    fail_msg("%zu small, and not whole", small);
    return 0;
}

static void records_are_small_then_large(void **state)
{
    const struct world_net wide = {.buffer = 4 * MIB};
    struct scene t;
    const struct world_bytes *b;
    size_t at;

    (void)state;
    meet(&t, &wide);
    t.pipe->net.latency_ms = 20000; /* so that it can be looked at */
    b = &t.pipe->end[0].way.bytes;
    assert_int_equal(b->len, 0);
    send_body(&t.s, &t.c, 0, 10);
    send_body(&t.s, &t.c, 10, 200000);
    world_settle(t.w);
    at = look_at_records(&t, 0);
    assert_int_equal(b->ptr[b->head + 3] << 8 | b->ptr[b->head + 4], 1424);
    send_body(&t.s, &t.c, 200010, 100000);
    world_settle(t.w); /* the same burst */
    assert_true((b->ptr[b->head + at + 3] << 8) > 16000);
    at = b->len;
    world_run(t.w, 1500);
    send_body(&t.s, &t.c, 300010, 100000);
    world_settle(t.w);
    assert_int_equal(b->ptr[b->head + at + 3] << 8 | b->ptr[b->head + at + 4],
                     1424);
    (void)look_at_records(&t, at);
    t.pipe->net.latency_ms = 0;
    world_run(t.w, 25000);
    assert_got(&t.c, 400010);
    scene_close(&t);
}

/* ---- dialled ----------------------------------------------------------- */

struct caller {
    struct scene t;
    struct inl_secure_dialer dialer;
    struct inl_dial dial;
    unsigned dones;
    int err;
};

static void caller_accept(struct world_end *e, void *user)
{
    serve(user, &((struct scene *)user)->s, e);
}

static void caller_done(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct caller *c = inl_container(dial, struct caller, dial);

    c->dones++;
    c->err = err;
    if (link != NULL) {
        c->t.c.link = link;
        inl_link_set_machine(link, &side_ops, &c->t.c);
    }
}

static void call(struct caller *c, const char *name)
{
    scene_open(&c->t);
    c->dones = 0;
    world_listen(c->t.w, "a.test", 443, caller_accept, &c->t);
    inl_secure_dialer_init(&c->dialer, &c->t.w->dialer, c->t.cconf, name);
    c->dial = (struct inl_dial){.host = "a.test",
                                .port = 443,
                                .due_ms = c->t.w->env.now_ms + DUE_MS,
                                .done = caller_done};
    assert_int_equal(inl_dial_start(&c->dialer.dialer, &c->dial), 0);
}

static void a_dial_ends_with_a_link_or_a_reason(void **state)
{
    struct caller c;

    (void)state;
    call(&c, NULL);
    world_run(c.t.w, 1000);
    assert_int_equal(c.dones, 1);
    assert_int_equal(c.err, 0);
    send_body(&c.t.c, &c.t.s, 0, 1000);
    world_run(c.t.w, 1000);
    assert_got(&c.t.s, 1000);
    scene_close(&c.t);
    call(&c, "b.test");
    world_run(c.t.w, 1000);
    assert_int_equal(c.dones, 1);
    assert_int_equal(c.err, INLETS_ECERT);
    assert_string_equal(c.dial.step, "tls");
    assert_string_equal(c.dial.why,
                        "the certificate is for a.test, not for b.test");
    scene_close(&c.t);
}

/* A dialer that only looks at what it is asked for. */
struct witness {
    struct inl_dialer dialer;
    unsigned here, anywhere;
};

static int witness_start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct witness *w = inl_container(dialer, struct witness, dialer);

    *(dial->stays_here ? &w->here : &w->anywhere) += 1;
    return INLETS_EREFUSED;
}

static void no_uplink(struct inl_uplink *u, int err, unsigned status,
                      const char *step)
{
    (void)u;
    (void)status;
    (void)step;
    assert_int_equal(err, INLETS_EREFUSED);
}

/* A token that must not leave this machine is not taken out by one dialer of
 * several: the last of them has to know. */
static void the_whole_way_is_told_what_stays_here(void **state)
{
    static const struct inl_dialer_ops ops = {.start = witness_start};
    static const struct inlets_slice no_credentials = {NULL, 0};
    const struct inl_proxy_config proxy = {.host = "localhost", .port = 3128};
    struct inl_secure_dialer to_proxy, to_server;
    struct inl_proxy_dialer through;
    struct inl_uplink_config config = {.failed = no_uplink,
                                       .host = "localhost",
                                       .port = 80,
                                       .timeout_ms = 1000,
                                       .dialer = &to_server.dialer};
    struct inl_uplink uplink;
    struct scene t;

    (void)state;
    scene_open(&t);
    struct witness witness = {.dialer = {&ops, &t.w->env}};
    inl_secure_dialer_init(&to_proxy, &witness.dialer, t.cconf, "localhost");
    inl_proxy_dialer_init(&through, &t.w->env, &to_proxy.dialer, &proxy);
    inl_secure_dialer_init(&to_server, &through.dialer, t.cconf, "localhost");
    config.env = &t.w->env;
    for (unsigned i = 0; i < 2; i++) {
        config.stays_here = i == 1;
        inl_uplink_init(&uplink, &config);
        inl_uplink_start(&uplink, &no_credentials, NULL);
        inl_uplink_fini(&uplink);
        assert_int_equal(witness.anywhere, 1);
        assert_int_equal(witness.here, i);
    }
    scene_close(&t);
}

static void a_dial_may_be_cancelled_at_any_time(void **state)
{
    (void)state;
    for (uint64_t ms = 0; ms < 20; ms++) {
        struct caller c;

        call(&c, NULL);
        if (ms > 0) {
            world_run(c.t.w, ms);
        }
        if (c.dones == 0) {
            inl_dial_cancel(&c.dialer.dialer, &c.dial);
            world_run(c.t.w, 6000);
            assert_int_equal(c.dones, 0);
        } else {
            assert_true(ms > 1);
        }
        scene_close(&c.t);
    }
}

/* ---- memory ----------------------------------------------------------- */

static bool runs_out_at(uint64_t n)
{
    struct scene t;
    bool failed;

    scene_open(&t);
    t.pipe = world_pipe(t.w, &nets[1]);
    world_link(&t.pipe->end[0], "192.0.2.1");
    world_link(&t.pipe->end[1], "192.0.2.2");
    t.s.below = &t.pipe->end[0].link;
    t.c.below = &t.pipe->end[1].link;
    world_alloc.failed = false;
    world_alloc.fail_for = 0;
    world_alloc.fail_at = world_alloc.calls + n;
    t.s.s = inl_secured_start(&t.servers, t.s.below, NULL, DUE_MS, &t.s);
    t.c.s = inl_secured_start(&t.clients, t.c.below, "a.test", DUE_MS, &t.c);
    world_run(t.w, 500);
    if (t.c.link != NULL) {
        uint8_t *body = calloc(1, 60000);

        assert_non_null(body);
        t.s.wrong = true; /* it is about the memory */
        if (inl_link_write(t.c.link, body, 60000) == 0) {
            inl_link_shutdown(t.c.link);
        }
        free(body);
    }
    world_run(t.w, 6000);
    world_alloc.fail_at = 0;
    failed = world_alloc.failed;
    assert_true(failed || t.s.got == 60000);
    assert_int_equal(t.s.eofs > 0 && t.s.got < 60000, 0);
    scene_close(&t);
    return failed;
}

static void memory_may_run_out(void **state)
{
    uint64_t n = 1;

    (void)state;
    while (runs_out_at(n)) {
        n++;
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways),
        cmocka_unit_test(rooms_may_be_tiny),
        cmocka_unit_test(a_reader_that_stops_stops_the_sender),
        cmocka_unit_test(half_closed_either_way),
        cmocka_unit_test(a_close_is_a_clean_end),
        cmocka_unit_test(a_reset_is_a_reset),
        cmocka_unit_test(a_fin_without_words_is_a_cut),
        cmocka_unit_test(last_words_are_heard),
        cmocka_unit_test(who_says_nothing_has_five_seconds),
        cmocka_unit_test(the_oldest_makes_room),
        cmocka_unit_test(junk_and_hang_ups_are_refused),
        cmocka_unit_test(who_says_all_and_hangs_up_is_heard),
        cmocka_unit_test(a_handshake_has_so_many_bytes),
        cmocka_unit_test(a_handshake_may_be_cancelled_at_any_time),
        cmocka_unit_test(machines_may_do_anything_at_any_time),
        cmocka_unit_test(the_link_above_is_like_the_one_below),
        cmocka_unit_test(records_are_small_then_large),
        cmocka_unit_test(a_dial_ends_with_a_link_or_a_reason),
        cmocka_unit_test(the_whole_way_is_told_what_stays_here),
        cmocka_unit_test(a_dial_may_be_cancelled_at_any_time),
        cmocka_unit_test(memory_may_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
