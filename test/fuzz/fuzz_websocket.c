/* fuzz_websocket.c: hostile websocket bytes. The first byte: bit 0 our role,
 * bit 1 whether the callback refuses a message that begins with 'x', the
 * rest how to cut.
 *
 * Must hold: our fast path and wslay alone (websocket_mirror.h) cannot be told
 * apart after any feed: the same pieces, beginnings and pongs in the same
 * order, the same error, the same answer to the byte. Nor can what they send,
 * whatever the payload's chunks. Cut or whole, the same too; an error stays;
 * what we send in answer is well-formed.
 *
 * The one exception is wslay's UTF-8 check of a close reason, which depends on
 * the cuts (websocket.c): of the run that is cut and the one that is not, one
 * may have closed while the other waits for the rest of the reason. For the
 * same reason the mirror is fed less at once than its buffer holds. */
#include "fuzz/websocket_mirror.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FEED_MAX 2000u /* wslay buffers 4096 */

/* --- receiving ------------------------------------------------------------ */

/* A copy of the exact size, so that ASan sees one byte too far. */
static uint8_t *copy_of(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n);

    must(copy != NULL);
    memcpy(copy, p, n);
    return copy;
}

static int feed_copy(struct inl_ws *ws, const uint8_t *p, size_t n)
{
    uint8_t *copy = copy_of(p, n);
    int err = inl_ws_feed(ws, copy, n);

    free(copy);
    return err;
}

/* Our own frames, read by the other role: only a close may end it. */
static void must_be_readable(struct seen *s, enum inl_ws_role role)
{
    struct seen peer;
    struct inl_ws *ws;
    int err = 0;

    seen_init(&peer);
    ws = inl_ws_new(&peer.env,
                    role == INL_WS_SERVER ? INL_WS_CLIENT : INL_WS_SERVER,
                    &peer.out, &ops, &peer);
    must(ws != NULL);
    while (s->out.bytes > 0 && err == 0) {
        const struct inlets_slice piece = inl_queue_front(&s->out);

        err = feed_copy(ws, (const uint8_t *)piece.ptr, piece.len);
        inl_queue_consume(&s->out, piece.len);
    }
    must(err == 0 || err == INLETS_ECLOSED);
    must(peer.messages == 0);
    inl_ws_free(ws);
    seen_fini(&peer);
}

/* Empties both. */
static void must_have_same_bytes(struct inl_queue *a, struct inl_queue *b)
{
    must(a->bytes == b->bytes);
    while (a->bytes > 0) {
        const struct inlets_slice x = inl_queue_front(a);
        const struct inlets_slice y = inl_queue_front(b);
        const size_t n = x.len < y.len ? x.len : y.len;

        must(memcmp(x.ptr, y.ptr, n) == 0);
        inl_queue_consume(a, n);
        inl_queue_consume(b, n);
    }
}

static size_t step_at(size_t at, unsigned cut)
{
    return cut > 62 ? FEED_MAX : 1 + (at * 7 + cut) % cut;
}

/* The fast path beside wslay alone, on the same feeds. */
static void play_cut(struct seen *ours, enum inl_ws_role role, const uint8_t *p,
                     size_t n, unsigned cut)
{
    struct inl_ws *ws = inl_ws_new(&ours->env, role, &ours->out, &ops, ours);
    struct mirror mirror;
    struct seen theirs;

    must(ws != NULL);
    seen_init(&theirs);
    theirs.refuses = ours->refuses;
    mirror_init(&mirror, &theirs, role);
    for (size_t at = 0, step; at < n && ours->err == 0; at += step) {
        step = step_at(at, cut);
        step = step < n - at ? step : n - at;
        ours->err = feed_copy(ws, p + at, step);
        must(ours->err == mirror_feed(&mirror, p + at, step));
        must(ours->hash == theirs.hash && ours->bytes == theirs.bytes);
        must(ours->messages == theirs.messages && ours->pongs == theirs.pongs);
        must(ours->out.bytes == theirs.out.bytes);
    }
    must(ours->err == 0 || inl_ws_feed(ws, p, n) == ours->err);
    must(inl_ws_close_code(ws) == mirror_close_code(&mirror));
    must_have_same_bytes(&ours->out, &theirs.out);
    mirror_fini(&mirror);
    seen_fini(&theirs);
    inl_ws_free(ws);
}

static void play_whole(struct seen *s, enum inl_ws_role role, const uint8_t *p,
                       size_t n)
{
    struct inl_ws *ws = inl_ws_new(&s->env, role, &s->out, &ops, s);

    must(ws != NULL);
    s->err = feed_copy(ws, p, n);
    must(s->err == 0 || inl_ws_feed(ws, p, n) == s->err);
    must(s->err == INLETS_ECLOSED || inl_ws_close_code(ws) == 0);
    inl_ws_free(ws);
    must_be_readable(s, role);
}

static bool is_closing(const struct seen *s)
{
    return s->err == INLETS_ECLOSED || s->err == 0;
}

static void receive(unsigned options, const uint8_t *p, size_t n)
{
    const enum inl_ws_role role =
        (options & 1) != 0 ? INL_WS_CLIENT : INL_WS_SERVER;
    struct seen whole, cut;

    seen_init(&whole);
    seen_init(&cut);
    whole.refuses = cut.refuses = (options & 2) != 0;
    play_whole(&whole, role, p, n);
    play_cut(&cut, role, p, n, options / 4 + 1);
    must(whole.err == cut.err || (is_closing(&whole) && is_closing(&cut)));
    must(whole.hash == cut.hash && whole.bytes == cut.bytes);
    must(whole.messages == cut.messages && whole.pongs == cut.pongs);
    seen_fini(&whole);
    seen_fini(&cut);
}

/* --- sending -------------------------------------------------------------- */

/* More only takes time. */
#define FILL_MAX 50000u

/* A payload in chunks of all sizes: the input again and again. */
static void fill(struct inl_queue *q, const uint8_t *p, size_t n,
                 unsigned times)
{
    for (unsigned i = 0; i < times && q->bytes < FILL_MAX; i++) {
        struct inl_queue part = {0};

        must(inl_queue_append(&part, p + i % n, n - i % n) == 0);
        must(inl_queue_move(q, &part, part.bytes) == 0);
        inl_queue_fini(&part);
    }
}

/* kind and bytes [off, off + n), in one block of ours. */
static uint8_t *message_of(const struct inl_queue *q, uint8_t kind, size_t off,
                           size_t n)
{
    struct inl_queue copy = {0};
    uint8_t *block = malloc(1 + n);
    size_t at = 1;

    must(block != NULL && inl_queue_share(&copy, q, off, n) == 0);
    block[0] = kind;
    while (copy.bytes > 0) {
        const struct inlets_slice s = inl_queue_front(&copy);

        memcpy(block + at, s.ptr, s.len);
        at += s.len;
        inl_queue_consume(&copy, s.len);
    }
    must(at == 1 + n);
    inl_queue_fini(&copy);
    return block;
}

static void put_both(struct inl_ws *ws, struct mirror *mirror, uint8_t kind,
                     const struct inl_queue *payload, size_t off, size_t n)
{
    uint8_t *message = message_of(payload, kind, off, n);

    must(inl_ws_put_message(ws, kind, payload, off, n) == 0);
    mirror_put_frame(mirror, WSLAY_BINARY_FRAME, message, 1 + n);
    free(message);
}

static void send_messages(enum inl_ws_role role, const uint8_t *p, size_t n)
{
    struct inl_queue payload = {0};
    struct seen ours, theirs;
    struct mirror mirror;
    struct inl_ws *ws;
    size_t off;

    fill(&payload, p, n, 1 + (p[0] % 8 == 0 ? p[n - 1] : p[n - 1] % 8));
    off = (p[0] * 256u + p[n - 1]) % (payload.bytes + 1);
    seen_init(&ours);
    seen_init(&theirs);
    ws = inl_ws_new(&ours.env, role, &ours.out, &ops, &ours);
    must(ws != NULL);
    mirror_init(&mirror, &theirs, role);
    put_both(ws, &mirror, p[0], &payload, off, payload.bytes - off);
    put_both(ws, &mirror, p[0], &payload, 0, off);
    put_both(ws, &mirror, p[0], &payload, off / 2, off - off / 2);
    must_have_same_bytes(&ours.out, &theirs.out);
    inl_ws_free(ws);
    mirror_fini(&mirror);
    inl_queue_fini(&payload);
    seen_fini(&ours);
    seen_fini(&theirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    receive(data[0], data + 1, size - 1);
    send_messages(INL_WS_CLIENT, data + 1, size - 1);
    send_messages(INL_WS_SERVER, data + 1, size - 1);
    inl_queue_trim();
    return 0;
}
