/* secured.c: see secured.h.
 *
 *   shaking   until the handshake is done; the link above has no machine
 *   open      bytes go both ways, each at the pace of its reader
 *
 * Out: pulled. When the link below has room for more, what is in `out` of the
 * link above (whose machine is asked first) becomes records: small ones at the
 * start of a burst, so that the first bytes can be used when the first packet
 * is there, whole ones when it flows.
 *
 * In: what the link above has no room for waits encrypted in `held` (at most
 * what was read at once) or as the rest of a record inside Mbed TLS.
 *
 * A server's handshake goes on when its address has its turn: what comes until
 * then waits in `held`, too.
 *
 * Ends: close_notify is the link's FIN, in either direction. A FIN without it
 * is a cut, as a RST is: nothing behind it may be taken for whole.
 *
 * The object is freed with the link above. The link below may go first. */
#include "relay/secured.h"

#include "base/mem.h"
#include "base/slice.h"
#include <inlets/err.h>
#include <string.h>

/* Bytes that a peer may send before the handshake is done: a chain of
 * certificates, not a flood. */
#define SHAKING_MAX_BYTES (128u * 1024)
#define SHAKING_ROOM (16u * 1024)
/* A step of a handshake that makes more than that is one that takes long. */
#define LONG_BYTES 100u
/* Encrypted bytes to read even if there is room for less. */
#define ROOM_MIN (16u * 1024)
/* Waits above: two records. More would be unsent bytes that nobody orders. */
#define LOW_BYTES (32u * 1024)
/* One packet (1460 less our overhead), until so much of a burst was sent as TCP
 * sends at first without an answer; a burst begins after a pause. */
#define SMALL_RECORD 1400u
#define SMALL_BYTES (16u * 1024)
#define PAUSE_MS 1000u
#define VECTORS 16u

struct inl_secured {
    struct inl_link above;
    struct inl_link *below; /* NULL when gone */
    struct inl_secured_group *group;
    struct inl_tls *tls;
    void *user;
    struct inl_list node; /* group->shaking */
    struct inl_turn turn; /* of a server, while it is shaking */
    struct inl_timer timer;
    struct inl_queue held;
    size_t shaken; /* bytes of the handshake so far */
    size_t burst;  /* bytes of this burst */
    uint64_t sent_ms;
    bool open;
    bool peer_ended; /* close_notify came */
    bool cut;        /* FIN without it, behind what is held */
    bool ended;      /* our close_notify is out */
    bool pumping;
};

static struct inl_secured *secured_of(struct inl_link *l)
{
    return inl_container(l, struct inl_secured, above);
}

/* ---- the handshake ---------------------------------------------------- */

static void stop_shaking(struct inl_secured *s)
{
    if (!inl_list_empty(&s->node)) {
        inl_list_remove(&s->node);
        s->group->n--;
        if (s->group->turns != NULL) {
            inl_turns_leave(s->group->turns, &s->turn);
        }
    }
    inl_timer_off(s->above.env, &s->timer);
}

/* The link above closes, and takes everything with it. */
static void fail(struct inl_secured *s, int err, const char *why)
{
    bool was_shaking = !s->open && !s->above.closed;

    stop_shaking(s);
    inl_link_close(&s->above, err);
    if (was_shaking) {
        s->group->done(s->user, err, why, NULL);
    }
}

static void begin(struct inl_secured *s)
{
    struct inl_link *l = &s->above, *below = s->below;

    stop_shaking(s);
    s->open = true;
    memcpy(l->peer, below->peer, sizeof(l->peer));
    memcpy(l->peer_ip, below->peer_ip, sizeof(l->peer_ip));
    l->peer_is_loopback = below->peer_is_loopback;
    l->peer_is_unknown = below->peer_is_unknown;
    l->told_port = below->told_port;
    l->tls = s->tls;
    l->rx_at_ms = s->above.env->now_ms;
    s->group->done(s->user, 0, "", l);
}

static void shaking_timeout(struct inl_timer *timer)
{
    fail(inl_container(timer, struct inl_secured, timer), INLETS_ETIMEDOUT,
         "it did not end in time");
}

/* ---- in --------------------------------------------------------------- */

enum step { MOVED, WANTS, STOPPED };

static enum step shake(struct inl_secured *s)
{
    int rc = inl_tls_handshake(s->tls);

    if (rc == 0) {
        return WANTS;
    }
    if (rc < 0) {
        fail(s, rc, inl_tls_why(s->tls));
        return STOPPED;
    }
    begin(s);
    return MOVED;
}

static enum step decrypt(struct inl_secured *s)
{
    uint8_t plain[INL_TLS_RECORD_MAX + 1];
    size_t room = inl_link_rx_room(&s->above), n;
    int err;

    if (room == 0) {
        return STOPPED;
    }
    err = inl_tls_read(s->tls, plain,
                       room < sizeof(plain) ? room : sizeof(plain), &n);
    if (err == INLETS_EGOAWAY) {
        s->peer_ended = true;
        inl_link_rx_eof(&s->above);
        return STOPPED;
    }
    if (err != 0) {
        fail(s, err, inl_tls_why(s->tls));
        return STOPPED;
    }
    inl_link_rx(&s->above, plain, n);
    return n > 0 ? MOVED : WANTS;
}

static enum step step(struct inl_secured *s)
{
    if (s->above.closed || s->peer_ended) {
        return STOPPED;
    }
    return s->open ? decrypt(s) : shake(s);
}

/* What is held, then the n bytes at p, as far as there is room. Returns how
 * many of the n were used. */
static size_t feed(struct inl_secured *s, const uint8_t *p, size_t n)
{
    size_t used = 0;
    enum step did;

    do {
        bool from_held = s->held.bytes > 0;
        struct inlets_slice in = from_held ? inl_queue_front(&s->held)
                                           : inl_slice(p + used, n - used);
        size_t took;

        inl_tls_give(s->tls, (const uint8_t *)in.ptr, in.len);
        did = step(s);
        took = in.len - inl_tls_rest(s->tls);
        inl_tls_give(s->tls, NULL, 0);
        if (from_held) {
            inl_queue_consume(&s->held, took);
        } else {
            used += took;
        }
    } while (did == MOVED || (did == WANTS && (s->held.bytes > 0 || used < n)));
    return used;
}

/* The link above may be asked for more in the middle of it. */
static void pump(struct inl_secured *s, const uint8_t *p, size_t n)
{
    size_t used;
    int err = 0;

    if (s->pumping) {
        return;
    }
    s->pumping = true;
    used = feed(s, p, n);
    if (used < n && !s->above.closed && !s->peer_ended) {
        err = inl_queue_append(&s->held, p + used, n - used);
    }
    s->pumping = false;
    if (err != 0) {
        fail(s, err, "out of memory");
    } else if (s->cut && !s->open) {
        fail(s, INLETS_ECLOSED, "the other side hung up");
    } else if (s->cut && !s->peer_ended && s->held.bytes == 0 &&
               !inl_tls_has_plain(s->tls)) {
        inl_link_close(&s->above, INLETS_ERESET);
    }
}

/* A flight of ours takes a key exchange and a signature; reading takes next to
 * nothing. */
static bool have_turn(struct inl_turn *turn)
{
    struct inl_secured *s = inl_container(turn, struct inl_secured, turn);
    struct inl_link *below = s->below; /* not NULL while it is shaking */
    size_t before = below->out.bytes;

    pump(s, NULL, 0);
    if (s->below == NULL) {
        return false;
    }
    inl_link_wake(below);
    return below->out.bytes > before + LONG_BYTES;
}

/* Behind it all that comes waits, so that nothing overtakes it. */
static void wait_for_turn(struct inl_secured *s, const uint8_t *p, size_t n)
{
    if (inl_queue_append(&s->held, p, n) != 0) {
        fail(s, INLETS_ENOMEM, "out of memory");
        return;
    }
    inl_turns_ask(s->group->turns, &s->turn);
}

static void secured_rx(void *machine, const uint8_t *p, size_t n)
{
    struct inl_secured *s = machine;

    if (!s->open) {
        s->shaken += n;
        if (s->shaken > SHAKING_MAX_BYTES) {
            fail(s, INLETS_ETLS, "it is too large");
            return;
        }
        if (s->group->turns != NULL) {
            wait_for_turn(s, p, n);
            return;
        }
    }
    pump(s, p, n);
    if (s->below != NULL) {
        inl_link_wake(s->below); /* the handshake, an alert */
    }
}

/* What waits for room is decrypted before more is read. */
static size_t secured_rx_room(void *machine)
{
    struct inl_secured *s = machine;
    size_t room;

    if (!s->open) {
        return s->held.bytes < SHAKING_ROOM ? SHAKING_ROOM - s->held.bytes : 0;
    }
    if (s->peer_ended) {
        return SHAKING_ROOM;
    }
    room = s->held.bytes > 0 || inl_tls_has_plain(s->tls)
               ? 0
               : inl_link_rx_room(&s->above);
    return room > 0 && room < ROOM_MIN ? ROOM_MIN : room;
}

static void secured_eof(void *machine)
{
    struct inl_secured *s = machine;

    if (!s->open && s->held.bytes == 0) {
        fail(s, INLETS_ECLOSED, "the other side hung up");
    } else if (!s->open) {
        s->cut = true; /* unless what waits is all that it had to say */
    } else if (s->above.lingering) {
        inl_link_rx_eof(&s->above); /* it only waited for that */
    } else if (!s->peer_ended) {
        s->cut = true;
        pump(s, NULL, 0);
    }
}

/* ---- out -------------------------------------------------------------- */

static size_t record_size(struct inl_secured *s)
{
    uint64_t now = s->above.env->now_ms;

    if (now - s->sent_ms >= PAUSE_MS) {
        s->burst = 0;
    }
    s->sent_ms = now;
    return s->burst < SMALL_BYTES ? SMALL_RECORD : INL_TLS_RECORD_MAX;
}

/* A record's bytes in one piece: where they are, or copied to buf. */
static const uint8_t *gather(const struct iovec *v, size_t n, size_t max,
                             uint8_t buf[INL_TLS_RECORD_MAX], size_t *ret_n)
{
    size_t sum = 0;

    if (v[0].iov_len >= max || n == 1) {
        *ret_n = v[0].iov_len < max ? v[0].iov_len : max;
        return v[0].iov_base;
    }
    for (size_t i = 0; i < n && sum < max; i++) {
        size_t len = v[i].iov_len < max - sum ? v[i].iov_len : max - sum;

        memcpy(buf + sum, v[i].iov_base, len);
        sum += len;
    }
    *ret_n = sum;
    return buf;
}

static bool write_record(struct inl_secured *s)
{
    uint8_t buf[INL_TLS_RECORD_MAX];
    struct iovec v[VECTORS];
    size_t n = inl_link_tx_peek(&s->above, v, VECTORS), size;
    const uint8_t *p;
    int err;

    if (n == 0 || s->above.closed) {
        return false;
    }
    p = gather(v, n, record_size(s), buf, &size);
    err = inl_tls_write(s->tls, p, size);
    if (err != 0) {
        fail(s, err, inl_tls_why(s->tls));
        return false;
    }
    s->burst += size;
    inl_link_tx_done(&s->above, size);
    return true;
}

static void end_writing(struct inl_secured *s)
{
    if (!s->ended && inl_link_wants_fin(&s->above)) {
        s->ended = true;
        (void)inl_tls_end(s->tls);
        inl_link_shutdown(s->below);
    }
}

static void secured_tx_fill(void *machine)
{
    struct inl_secured *s = machine;
    struct inl_link *below = s->below;

    while (s->open && s->below != NULL && !below->closed &&
           below->out.bytes < below->low_bytes && write_record(s)) {
    }
    if (s->open && s->below != NULL) {
        end_writing(s);
    }
}

/* The FIN goes with the last bytes, as far as anybody above can tell. */
static void secured_tx_taken(void *machine, size_t n)
{
    struct inl_secured *s = machine;

    (void)n;
    if (s->ended && s->below->out.bytes == 0 && !s->above.tx_ended) {
        s->above.tx_ended = true;
        inl_link_wake(&s->above);
    }
}

static void secured_gone(void *machine, int err)
{
    struct inl_secured *s = machine;

    s->below = NULL;
    fail(s, err == 0 ? INLETS_ECLOSED : err, inlets_strerror(err));
}

static const struct inl_machine_ops machine_ops = {
    .rx = secured_rx,
    .rx_room = secured_rx_room,
    .rx_eof = secured_eof,
    .tx_taken = secured_tx_taken,
    .tx_fill = secured_tx_fill,
    .gone = secured_gone,
};

/* ---- the carrier of the link above ------------------------------------ */

static void carrier_turn(struct inl_link *l)
{
    struct inl_secured *s = secured_of(l);

    if (!s->open || s->below == NULL) {
        return;
    }
    s->below->reads_to_end = l->reads_to_end;
    if (l->guarded) {
        inl_link_guard(s->below);
    }
    pump(s, NULL, 0);
    if (s->below != NULL) {
        inl_link_wake(s->below);
    }
}

/* The last words (an alert, close_notify) get one chance to leave. */
static void let_go(struct inl_secured *s, bool reset)
{
    struct inl_link *below = s->below;
    int err = s->above.err;

    s->below = NULL;
    inl_link_set_machine(below, NULL, NULL);
    if (reset) {
        inl_link_reset(below, err);
        return;
    }
    if (s->open && !s->ended && err == 0) {
        (void)inl_tls_end(s->tls);
    }
    if (!below->closed && below->out.bytes > 0) {
        below->carrier->turn(below);
    }
    inl_link_close(below, err);
}

static void carrier_release(struct inl_link *l, bool reset)
{
    struct inl_secured *s = secured_of(l);

    if (s->below != NULL) {
        let_go(s, reset);
    }
    inl_tls_free(s->tls);
    inl_queue_fini(&s->held);
    inl_link_fini(l);
    inl_free(s);
}

static bool carrier_peer_left(struct inl_link *l)
{
    struct inl_link *below = secured_of(l)->below;

    return below == NULL || (below->carrier->peer_left != NULL &&
                             below->carrier->peer_left(below));
}

/* In encrypted bytes, which are a little more. */
static size_t carrier_unacked(struct inl_link *l)
{
    struct inl_link *below = secured_of(l)->below;
    size_t n = 0;

    if (below != NULL) {
        n = below->out.bytes;
        n += below->carrier->unacked == NULL ? 0
                                             : below->carrier->unacked(below);
    }
    return n < l->bytes_out ? n : (size_t)l->bytes_out;
}

static int carrier_tune(struct inl_link *l,
                        const struct inl_link_tuning *tuning)
{
    struct inl_link *below = secured_of(l)->below;

    return below == NULL ? INLETS_ECLOSED : inl_link_tune(below, tuning);
}

static const struct inl_carrier_ops carrier_ops = {
    .turn = carrier_turn,
    .release = carrier_release,
    .peer_left = carrier_peer_left,
    .unacked = carrier_unacked,
    .tune = carrier_tune,
};

/* ---- life ------------------------------------------------------------- */

void inl_secured_group_init(struct inl_secured_group *group,
                            const struct inl_secured_group *values)
{
    *group = *values;
    group->n = 0;
    inl_list_init(&group->shaking);
    if (group->turns != NULL) {
        inl_turns_init(group->turns, group->env, have_turn);
    }
}

void inl_secured_cancel(struct inl_secured *s)
{
    stop_shaking(s);
    inl_link_reset(&s->above, INLETS_ECANCELED);
}

static struct inl_secured *oldest(struct inl_secured_group *group)
{
    return inl_container(group->shaking.next, struct inl_secured, node);
}

static struct inl_secured *surplus(struct inl_secured_group *group)
{
    return inl_container(inl_turns_surplus(group->turns), struct inl_secured,
                         turn);
}

void inl_secured_group_close(struct inl_secured_group *group)
{
    while (!inl_list_empty(&group->shaking)) {
        inl_secured_cancel(oldest(group));
    }
}

static struct inl_secured *secured_new(struct inl_secured_group *group,
                                       struct inl_link *below, const char *name)
{
    struct inl_secured *s = inl_calloc(1, sizeof(*s));

    if (s == NULL || inl_tls_new(&s->tls, group->tls, name, &below->out) != 0) {
        inl_free(s);
        return NULL;
    }
    s->group = group;
    s->below = below;
    inl_link_init(&s->above, group->env, &carrier_ops);
    s->above.low_bytes = LOW_BYTES;
    inl_list_init(&s->node);
    inl_timer_init(&s->timer, shaking_timeout);
    return s;
}

struct inl_secured *inl_secured_start(struct inl_secured_group *group,
                                      struct inl_link *below, const char *name,
                                      uint64_t due_ms, void *user)
{
    struct inl_secured *s = secured_new(group, below, name);

    if (s == NULL || inl_timer_at(group->env, &s->timer, due_ms) != 0) {
        if (s != NULL) {
            inl_tls_free(s->tls);
            inl_free(s);
        }
        inl_link_close(below, INLETS_ENOMEM);
        return NULL;
    }
    s->user = user;
    if (group->most > 0 && group->n >= group->most) {
        fail(surplus(group), INLETS_ELIMIT, "newer handshakes took its place");
    }
    inl_list_push_back(&group->shaking, &s->node);
    group->n++;
    if (group->turns != NULL) {
        inl_turns_join(group->turns, &s->turn, inl_str(below->peer_ip));
    }
    inl_link_set_machine(below, &machine_ops, s);
    if (name != NULL) {
        pump(s, NULL, 0); /* the client speaks first */
    }
    return s;
}
