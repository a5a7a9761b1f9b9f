/* pipe.c: the fake pipes of the world: what a TCP connection does to bytes,
 * as far as links and scripts can tell. Modelled on lib/net/tcp.c and Linux:
 *
 * - an end that does not read sees neither FIN nor RST (a RST after a second,
 *   when the carrier looks); a write notices a RST at once;
 * - closing an end that has unread bytes sends a RST, not a FIN;
 * - bytes for an end that is closed are answered by a RST;
 * - pieces are copied to blocks of exactly their size, so that reading one
 *   byte too many is seen by the sanitizer. */
#include "world.h"

#include <inlets/err.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 1000u

void world_bytes_append(struct world_bytes *b, const void *ptr, size_t n)
{
    if (b->head > 0 && b->head >= b->len && b->len > 0) {
        memmove(b->ptr, b->ptr + b->head, b->len);
        b->head = 0;
    }
    if (b->head + b->len + n > b->cap) {
        b->cap = (b->head + b->len + n) * 2;
        b->ptr = realloc(b->ptr, b->cap);
        WORLD_CHECK(b->ptr != NULL);
    }
    if (n > 0) {
        memcpy(b->ptr + b->head + b->len, ptr, n);
    }
    b->len += n;
}

void world_bytes_consume(struct world_bytes *b, size_t n)
{
    WORLD_CHECK(n <= b->len);
    b->head += n;
    b->len -= n;
    if (b->len == 0) {
        b->head = 0;
    }
}

static uint64_t now_of(const struct world_end *e)
{
    return e->pipe->world->env.now_ms;
}

/* ---- sending ---------------------------------------------------------- */

static void send_rst(struct world_end *to)
{
    uint64_t at = now_of(to) + to->pipe->net.latency_ms;

    if (to->rst_ms == 0) {
        to->rst_ms = at == 0 ? 1 : at;
        to->rst_seen_ms = to->rst_ms + LOOK_MS;
    }
}

static void add_packet(struct world_end *e, size_t n)
{
    struct world_way *y = &e->way;
    const struct world_net *net = &e->pipe->net;
    uint64_t now = now_of(e);

    if (y->first_packet + y->npackets == y->cap_packets) {
        if (y->npackets > 0) {
            memmove(y->packets, y->packets + y->first_packet,
                    y->npackets * sizeof(*y->packets));
        }
        y->first_packet = 0;
        if (y->npackets * 2 >= y->cap_packets) {
            y->cap_packets = y->cap_packets * 2 + 16;
            y->packets =
                realloc(y->packets, y->cap_packets * sizeof(*y->packets));
            WORLD_CHECK(y->packets != NULL);
        }
    }
    y->free_us = y->free_us > now * 1000 ? y->free_us : now * 1000;
    if (net->rate > 0) {
        y->free_us += n * 1000 / net->rate;
    }
    y->packets[y->first_packet + y->npackets++] =
        (struct world_packet){y->free_us / 1000 + net->latency_ms, n};
}

static size_t room_in(const struct world_end *e)
{
    size_t buffer = e->pipe->net.buffer;

    if (e->pipe->cut) {
        return SIZE_MAX / 2;
    }
    return e->way.bytes.len < buffer ? buffer - e->way.bytes.len : 0;
}

/* Puts bytes on the wire; they fit. */
static void put(struct world_end *e, const void *ptr, size_t n)
{
    if (e->pipe->cut) {
        return; /* into the void; a RST is due if it was cut aloud */
    }
    world_bytes_append(&e->way.bytes, ptr, n);
    add_packet(e, n);
}

static void put_fin(struct world_end *e)
{
    if (!e->way.fin && !e->pipe->cut) {
        uint64_t free_ms = e->way.free_us / 1000;
        uint64_t at = free_ms > now_of(e) ? free_ms : now_of(e);

        e->way.fin = true;
        e->way.fin_ms = at + e->pipe->net.latency_ms;
    }
}

static void flush_raw(struct world_end *e)
{
    while (!e->closed && e->unsent.len > 0 && room_in(e) > 0) {
        size_t n = e->unsent.len < room_in(e) ? e->unsent.len : room_in(e);

        put(e, e->unsent.ptr + e->unsent.head, n);
        world_bytes_consume(&e->unsent, n);
    }
    if (!e->closed && e->unsent.len == 0 && e->fin_wanted) {
        put_fin(e);
    }
}

/* ---- link ends: the carrier ------------------------------------------- */

/* One look of the carrier: writes what fits, in random portions. */
static void carrier_turn(struct inl_link *l)
{
    struct world_end *e = world_end_of(l);
    struct world *w = e->pipe->world;

    e->full = false;
    while (!l->closed) {
        struct iovec v[3];
        size_t n = inl_link_tx_peek(l, v, 3);
        size_t len;

        if (n == 0 || l->closed) {
            break;
        }
        if (e->rst_ms != 0 && e->rst_ms <= now_of(e)) {
            inl_link_close(l, INLETS_ERESET);
            return;
        }
        len = v[0].iov_len < room_in(e) ? v[0].iov_len : room_in(e);
        if (len == 0) {
            e->full = true;
            return;
        }
        if (len > 1 && world_below(w, 4) == 0) {
            len = 1 + world_below(w, len);
        }
        put(e, v[0].iov_base, len);
        inl_link_tx_done(l, len);
    }
    if (inl_link_wants_fin(l)) {
        put_fin(e);
        l->tx_ended = true;
        inl_link_wake(l);
    }
}

static void close_end(struct world_end *e, bool reset)
{
    struct world_way *in = &e->other->way;

    e->closed = true;
    world_bytes_consume(&e->unsent, e->unsent.len);
    if (reset || in->arrived > 0) {
        send_rst(e->other);
    } else {
        put_fin(e);
    }
}

static void carrier_release(struct inl_link *l, bool reset)
{
    struct world_end *e = world_end_of(l);

    WORLD_CHECK(!e->closed);
    close_end(e, reset);
}

static bool carrier_peer_left(struct inl_link *l)
{
    const struct world_end *e = world_end_of(l);

    return (e->rst_ms != 0 && e->rst_ms <= now_of(e)) ||
           (e->other->way.fin && e->other->way.fin_ms <= now_of(e));
}

static size_t carrier_unacked(struct inl_link *l)
{
    return world_end_of(l)->way.bytes.len;
}

static const struct inl_carrier_ops carrier_ops = {.turn = carrier_turn,
                                                   .release = carrier_release,
                                                   .peer_left =
                                                       carrier_peer_left,
                                                   .unacked = carrier_unacked};

/* ---- life ------------------------------------------------------------- */

struct world_pipe *world_pipe(struct world *w, const struct world_net *net)
{
    struct world_pipe *p = calloc(1, sizeof(*p));

    WORLD_CHECK(p != NULL);
    p->world = w;
    p->net = *net;
    for (unsigned i = 0; i < 2; i++) {
        p->end[i].pipe = p;
        p->end[i].other = &p->end[1 - i];
    }
    inl_list_init(&p->node);
    inl_list_push_back(&w->pipes, &p->node);
    return p;
}

struct inl_link *world_link(struct world_end *e, const char *peer_ip)
{
    e->is_link = true;
    inl_link_init(&e->link, &e->pipe->world->env, &carrier_ops);
    strcpy(e->link.peer_ip, peer_ip);
    strcpy(e->link.peer, peer_ip);
    strcat(e->link.peer, ":4711");
    return &e->link;
}

void world_raw(struct world_end *e, const struct world_raw_ops *ops, void *user)
{
    e->ops = ops;
    e->user = user;
}

void world_write(struct world_end *e, const void *ptr, size_t n)
{
    if (!e->closed && !e->fin_wanted) {
        world_bytes_append(&e->unsent, ptr, n);
        flush_raw(e);
    }
}

void world_shutdown(struct world_end *e)
{
    e->fin_wanted = true;
    flush_raw(e);
}

void world_close(struct world_end *e, bool reset)
{
    if (!e->closed) {
        flush_raw(e);
        close_end(e, reset);
    }
}

void world_cut(struct world_pipe *p, enum world_cut how)
{
    for (unsigned i = 0; i < 2; i++) {
        struct world_end *e = &p->end[i];
        struct world_bytes *b = &e->way.bytes;

        if (how == WORLD_SILENCE) {
            e->way.stalled = true;
            continue;
        }
        if (e->closed) {
            continue;
        }
        e->way.npackets = 0; /* what is under way is lost */
        b->len = e->way.arrived;
        if (how == WORLD_FIN) {
            put_fin(e);
            e->way.fin_ms = p->world->env.now_ms;
        } else {
            send_rst(e->other);
        }
    }
    p->cut = true;
}

void world_pipe_free(struct world_pipe *p)
{
    inl_list_remove(&p->node);
    for (unsigned i = 0; i < 2; i++) {
        if (p->end[i].is_link) {
            WORLD_CHECK(p->end[i].closed);
            inl_link_fini(&p->end[i].link);
        }
        free(p->end[i].way.bytes.ptr);
        free(p->end[i].way.packets);
        free(p->end[i].unsent.ptr);
    }
    free(p);
}

/* ---- delivering ------------------------------------------------------- */

static size_t room_at(const struct world_end *e)
{
    if (e->closed) {
        return 0;
    }
    if (e->is_link) {
        return inl_link_rx_room(&e->link);
    }
    return e->paused || e->ops == NULL ? 0 : SIZE_MAX;
}

static bool take_rst(struct world_end *e)
{
    uint64_t now = now_of(e);

    if (e->rst_ms == 0 || e->rst_ms > now || e->closed) {
        return false;
    }
    if (e->is_link) {
        if (e->link.closed ||
            (inl_link_rx_room(&e->link) == 0 && e->rst_seen_ms > now)) {
            return false;
        }
        /* Linux gives what had come before it; not always all of it. */
        inl_link_close(&e->link, INLETS_ERESET);
        return true;
    }
    e->closed = true;
    if (e->ops != NULL && e->ops->gone != NULL) {
        e->ops->gone(e, INLETS_ERESET);
    }
    return true;
}

static void arrive(struct world_end *from)
{
    struct world_way *y = &from->way;
    struct world_end *to = from->other;

    while (y->npackets > 0 && !y->stalled &&
           y->packets[y->first_packet].due_ms <= now_of(from)) {
        size_t n = y->packets[y->first_packet].n;

        y->first_packet++;
        if (--y->npackets == 0) {
            y->first_packet = 0;
        }
        y->arrived += n;
    }
    if (to->closed && y->arrived > 0) {
        world_bytes_consume(&y->bytes, y->arrived);
        y->arrived = 0;
        send_rst(from);
    }
}

static void wake_sender(struct world_end *e)
{
    if (!e->is_link) {
        flush_raw(e);
    } else if (e->full) {
        e->full = false;
        inl_link_wake(&e->link);
    }
}

static void give(struct world_end *from, size_t n)
{
    struct world_end *to = from->other;
    struct world_way *y = &from->way;
    uint8_t *piece = malloc(n);

    WORLD_CHECK(piece != NULL);
    memcpy(piece, y->bytes.ptr + y->bytes.head, n);
    world_bytes_consume(&y->bytes, n);
    y->arrived -= n;
    if (to->is_link) {
        inl_link_rx(&to->link, piece, n);
    } else {
        to->ops->rx(to, piece, n);
    }
    free(piece);
    wake_sender(from);
}

/* Does one thing that is due for what side `side` sends. */
bool world_pipe_step(struct world_pipe *p, unsigned side)
{
    struct world_end *from = &p->end[side], *to = from->other;
    struct world_way *y = &from->way;
    size_t before = y->bytes.len;
    size_t n, room;

    arrive(from);
    room = room_at(to);
    n = y->arrived < room ? y->arrived : room;
    if (n > 0) {
        if (p->net.fragment > 0) {
            size_t most = 1 + world_below(p->world, p->net.fragment);

            n = n < most ? n : most;
        }
        give(from, n);
        return true;
    }
    if (take_rst(to)) {
        return true;
    }
    if (y->fin && !y->fin_taken && !y->stalled && y->bytes.len == 0 &&
        y->fin_ms <= p->world->env.now_ms && room > 0) {
        y->fin_taken = true;
        if (to->is_link) {
            inl_link_rx_eof(&to->link);
        } else if (to->ops->eof != NULL) {
            to->ops->eof(to);
        }
        return true;
    }
    if (y->bytes.len < before) { /* dropped, for a closed end */
        wake_sender(from);
        return true;
    }
    return false;
}

static uint64_t earlier(uint64_t a, uint64_t b, uint64_t now)
{
    return b > now && b < a ? b : a;
}

/* When the next thing happens by itself; later than now. */
uint64_t world_pipe_due(const struct world_pipe *p)
{
    uint64_t now = p->world->env.now_ms;
    uint64_t due = UINT64_MAX;

    for (unsigned i = 0; i < 2; i++) {
        const struct world_end *e = &p->end[i];

        if (e->way.npackets > 0 && !e->way.stalled) {
            due = earlier(due, e->way.packets[e->way.first_packet].due_ms, now);
        }
        if (e->way.fin && !e->way.fin_taken && !e->way.stalled) {
            due = earlier(due, e->way.fin_ms, now);
        }
        if (e->rst_ms != 0 && !e->closed) {
            due = earlier(due, e->rst_ms, now);
            due = earlier(due, e->rst_seen_ms, now);
        }
    }
    return due;
}
