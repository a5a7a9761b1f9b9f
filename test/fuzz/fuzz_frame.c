/* fuzz_frame.c: hostile lane bytes. The first byte says how to cut the rest.
 *
 * Must hold: cut or whole, the same frames and the same error; what decodes
 * encodes, and decodes again to the same bytes. */
#include "base/slice.h"
#include "proto/frame.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_FIELDS 128u

/* Breaks a run in a way that every build sees. */
static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

/* What a run saw, as a number (FNV-1a). */
struct run {
    uint64_t hash;
    bool in_data;
};

static void mix(struct run *r, const void *ptr, size_t n)
{
    const uint8_t *p = ptr;

    for (size_t i = 0; i < n; i++) {
        r->hash = (r->hash ^ p[i]) * 1099511628211u;
    }
}

/* Decodes and encodes again. EPROTO and EVERSION are what decoding may say. */
static int turn_round(const struct inl_frame *f, struct inl_queue *q)
{
    struct inlets_field fields[MAX_FIELDS];
    struct inlets_head head;
    struct inlets_slice text;
    struct inl_hello hello;
    uint32_t number;
    uint64_t limit;
    int err, reason;

    switch (f->type) {
    case INL_FRAME_HELLO:
        err = inl_frame_get_hello(f->payload, &hello);
        return err != 0 ? err : inl_frame_put_hello(q, &hello);
    case INL_FRAME_ROUTE:
        err = inl_frame_get_route(f->payload, &number, &text);
        return err != 0 ? err : inl_frame_put_route(q, number, text);
    case INL_FRAME_UNROUTE:
        err = inl_frame_get_unroute(f->payload, &number);
        return err != 0 ? err : inl_frame_put_unroute(q, number);
    case INL_FRAME_ROUTED:
        err = inl_frame_get_routed(f->payload, &number, &reason, &text);
        return err != 0 ? err : inl_frame_put_routed(q, number, reason, text);
    case INL_FRAME_OPEN:
        err = inl_frame_get_open(f->payload, &number, &text, &head, fields,
                                 MAX_FIELDS);
        return err != 0 ? err
                        : inl_frame_put_open(q, f->stream, f->flags, number,
                                             text, &head);
    case INL_FRAME_HEAD:
        err = inl_frame_get_head(f->payload, &head, fields, MAX_FIELDS);
        return err != 0 ? err
                        : inl_frame_put_head(q, f->stream, f->flags, &head);
    case INL_FRAME_TRAILERS:
        err = inl_frame_get_trailers(f->payload, &head, fields, MAX_FIELDS);
        return err != 0 ? err : inl_frame_put_trailers(q, f->stream, &head);
    case INL_FRAME_CREDIT:
        err = inl_frame_get_credit(f->payload, &limit);
        return err != 0 ? err : inl_frame_put_credit(q, f->stream, limit);
    case INL_FRAME_RESET:
        err = inl_frame_get_reset(f->payload, &reason);
        return err != 0 ? err : inl_frame_put_reset(q, f->stream, reason);
    case INL_FRAME_GOAWAY:
        err = inl_frame_get_goaway(f->payload, &number, &reason, &text);
        return err != 0 ? err : inl_frame_put_goaway(q, number, reason, text);
    case INL_FRAME_SPREAD:
        err = inl_frame_get_spread(f->payload, &number);
        return err != 0 ? err : inl_frame_put_spread(q, number);
    default:
        abort(); /* the reader hands on nothing else */
    }
}

/* The bytes of a queue that holds one frame, in one block. */
static uint8_t *flatten(struct inl_queue *q)
{
    uint8_t *all = malloc(q->bytes);
    size_t n = 0;

    must(all != NULL);
    while (q->bytes > 0) {
        const struct inlets_slice s = inl_queue_front(q);

        memcpy(all + n, s.ptr, s.len);
        n += s.len;
        inl_queue_consume(q, s.len);
    }
    return all;
}

/* A second time round must change nothing: encoding is canonical. */
static void must_be_stable(const struct inl_frame *f, struct inl_queue *q)
{
    const size_t n = q->bytes;
    uint8_t *once = flatten(q), *twice;
    struct inl_frame again = *f;

    again.payload = inl_slice(once + INL_FRAME_HEADER, n - INL_FRAME_HEADER);
    must(turn_round(&again, q) == 0);
    must(q->bytes == n);
    twice = flatten(q);
    must(memcmp(once, twice, n) == 0);
    free(once);
    free(twice);
}

static int on_frame(void *user, const struct inl_frame *f)
{
    struct run *r = user;
    struct inl_queue q = {0};
    int err = turn_round(f, &q);

    mix(r, &f->type, 1);
    mix(r, &f->flags, 1);
    mix(r, &f->stream, sizeof(f->stream));
    mix(r, f->payload.ptr, f->payload.len);
    must(err == 0 || err == INLETS_EPROTO || err == INLETS_EVERSION);
    if (err == 0) {
        must_be_stable(f, &q);
    }
    inl_queue_fini(&q);
    return err;
}

/* Where the pieces were cut must not be seen in the hash. */
static int on_data(void *user, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last)
{
    struct run *r = user;

    if (!r->in_data) {
        mix(r, &stream, sizeof(stream));
        mix(r, &flags, 1);
    }
    mix(r, piece.ptr, piece.len);
    r->in_data = !last;
    return 0;
}

static const struct inl_frame_reader_ops ops = {on_frame, on_data};

/* From copies of the exact size, so that ASan sees one byte too far. */
static int feed_copy(struct inl_frame_reader *r, const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n);
    int err;

    must(copy != NULL);
    memcpy(copy, p, n);
    err = inl_frame_feed(r, copy, n);
    free(copy);
    return err;
}

static int play(struct run *run, const uint8_t *p, size_t n, unsigned cut)
{
    struct inl_frame_reader r;
    int err = 0;

    *run = (struct run){.hash = 14695981039346656037u};
    inl_frame_reader_init(&r, &ops, run);
    for (size_t at = 0, step; at < n && err == 0; at += step) {
        step = cut == 0 ? n : 1 + (at * 7 + cut) % cut;
        step = step < n - at ? step : n - at;
        err = feed_copy(&r, p + at, step);
    }
    inl_frame_reader_fini(&r);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run whole, cut;

    if (size < 2) {
        return 0;
    }
    must(play(&whole, data + 1, size - 1, 0) ==
         play(&cut, data + 1, size - 1, data[0] % 32u + 1));
    must(whole.hash == cut.hash);
    inl_queue_trim();
    return 0;
}
