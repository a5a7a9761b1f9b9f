/* queue.c: a ring of segments over counted chunks.
 *
 * Who owns what: each segment holds one reference to its chunk; the queue
 * owns the ring. A chunk may be in several queues at once, but belongs to one
 * thread. Bytes [0, used) of a chunk never change once they are written, so
 * queues that share it need not know of each other; whoever's last segment
 * ends at `used` may write on from there.
 *
 * Failure: every function that can fail takes a mark first and cuts back to
 * it, so INLETS_ENOMEM leaves the bytes as they were.
 *
 * Chunks of the largest kind are kept for reuse, a few per thread: a busy
 * link takes and returns one for every read. */
#include "base/queue.h"

#include "base/mem.h"
#include <assert.h>
#include <inlets/err.h>
#include <string.h>

/* Whole allocations, header included, so that they fit malloc's classes. */
#define CHUNK_SMALL_BYTES 1024u
#define CHUNK_MIDDLE_BYTES 4096u
#define CHUNK_LARGE_BYTES 16384u

/* Shorter pieces are copied rather than shared. */
#define SHARE_MIN_BYTES 1024u

#define RING_MIN 4u
#define RING_KEPT_MAX 8u

/* At most half a MiB per thread lies idle. */
#define SPARE_MAX 32u

#if defined(__SANITIZE_ADDRESS__)
#define KEEP_SPARES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEP_SPARES 0
#endif
#endif
#ifndef KEEP_SPARES
#define KEEP_SPARES 1 /* 0: let the sanitizer see each use after free */
#endif

static _Thread_local struct {
    struct inl_chunk *chunks[SPARE_MAX];
    size_t count;
} spares;

/* --- Chunks --- */

static uint32_t chunk_bytes_for(size_t need)
{
    need += sizeof(struct inl_chunk);
    if (need <= CHUNK_SMALL_BYTES) {
        return CHUNK_SMALL_BYTES;
    }
    return need <= CHUNK_MIDDLE_BYTES ? CHUNK_MIDDLE_BYTES : CHUNK_LARGE_BYTES;
}

/* A chunk with one reference that holds `need` bytes or a good part of them;
 * NULL when memory is out. */
static struct inl_chunk *chunk_new(size_t need)
{
    uint32_t bytes = CHUNK_LARGE_BYTES;
    struct inl_chunk *chunk;

    if (need < CHUNK_LARGE_BYTES) {
        bytes = chunk_bytes_for(need);
    }
    if (bytes == CHUNK_LARGE_BYTES && spares.count > 0) {
        chunk = spares.chunks[--spares.count];
    } else {
        chunk = inl_malloc(bytes);
    }
    if (chunk != NULL) {
        chunk->refs = 1;
        chunk->size = bytes - (uint32_t)sizeof(*chunk);
        chunk->used = 0;
    }
    return chunk;
}

static void chunk_unref(struct inl_chunk *chunk)
{
    assert(chunk->refs > 0);
    if (--chunk->refs > 0) {
        return;
    }
    if (KEEP_SPARES && spares.count < SPARE_MAX &&
        chunk->size == CHUNK_LARGE_BYTES - sizeof(*chunk)) {
        spares.chunks[spares.count++] = chunk;
    } else {
        inl_free(chunk);
    }
}

void inl_queue_trim(void)
{
    while (spares.count > 0) {
        inl_free(spares.chunks[--spares.count]);
    }
}

/* --- The ring --- */

/* The i-th segment from the front. */
static struct inl_seg *seg_at(const struct inl_queue *q, uint32_t i)
{
    return &q->segs[(q->head + i) & (q->cap - 1)];
}

static struct inl_seg *seg_last(const struct inl_queue *q)
{
    return q->count == 0 ? NULL : seg_at(q, q->count - 1);
}

static int ring_grow(struct inl_queue *q)
{
    uint32_t cap = q->cap == 0 ? RING_MIN : q->cap * 2;
    struct inl_seg *segs;

    if (cap < q->cap) {
        return INLETS_ENOMEM;
    }
    segs = inl_calloc(cap, sizeof(*segs));
    if (segs == NULL) {
        return INLETS_ENOMEM;
    }
    for (uint32_t i = 0; i < q->count; i++) {
        segs[i] = *seg_at(q, i);
    }
    inl_free(q->segs);
    q->segs = segs;
    q->head = 0;
    q->cap = cap;
    return 0;
}

/* Takes over the caller's reference to chunk, except when it fails. */
static int ring_push(struct inl_queue *q, struct inl_chunk *chunk, uint32_t off,
                     uint32_t len)
{
    if (q->count == q->cap && ring_grow(q) != 0) {
        return INLETS_ENOMEM;
    }
    *seg_at(q, q->count) = (struct inl_seg){chunk, off, len};
    q->count++;
    q->bytes += len;
    return 0;
}

/* An idle queue keeps no ring that one burst made big. */
static void ring_settle(struct inl_queue *q)
{
    if (q->count == 0 && q->cap > RING_KEPT_MAX) {
        inl_free(q->segs);
        q->segs = NULL;
        q->cap = 0;
    }
    if (q->count == 0) {
        q->head = 0;
    }
}

/* --- Marks: what to cut back to when memory runs out half-way --- */

struct mark {
    uint32_t count;
    uint32_t last_len, last_used; /* of the last segment and its chunk */
    size_t bytes;
};

static struct mark mark_take(const struct inl_queue *q)
{
    const struct inl_seg *last = seg_last(q);
    struct mark mark = {q->count, 0, 0, q->bytes};

    if (last != NULL) {
        mark.last_len = last->len;
        mark.last_used = last->chunk->used;
    }
    return mark;
}

static void mark_cut_back(struct inl_queue *q, const struct mark *mark)
{
    struct inl_seg *last;

    while (q->count > mark->count) {
        chunk_unref(seg_last(q)->chunk);
        q->count--;
    }
    last = seg_last(q);
    if (last != NULL) {
        /* Nobody else can have written behind it since: one thread. */
        last->chunk->used = mark->last_used;
        last->len = mark->last_len;
    }
    q->bytes = mark->bytes;
    ring_settle(q);
}

/* --- The queue --- */

void inl_queue_init(struct inl_queue *q)
{
    *q = (struct inl_queue){0};
}

void inl_queue_fini(struct inl_queue *q)
{
    inl_queue_clear(q);
    inl_free(q->segs);
    inl_queue_init(q);
}

/* The room behind the last segment, at most n bytes of it; NULL: none. */
static uint8_t *room_in_last(struct inl_queue *q, size_t n, size_t *ret_n)
{
    struct inl_seg *last = seg_last(q);
    struct inl_chunk *chunk;
    uint8_t *room;

    if (last == NULL || last->off + last->len != last->chunk->used ||
        last->chunk->used == last->chunk->size) {
        return NULL;
    }
    chunk = last->chunk;
    if (n > chunk->size - chunk->used) {
        n = chunk->size - chunk->used;
    }
    room = chunk->data + chunk->used;
    chunk->used += (uint32_t)n;
    last->len += (uint32_t)n;
    q->bytes += n;
    *ret_n = n;
    return room;
}

/* A new chunk at the end, at most n bytes of it; NULL: out of memory. */
static uint8_t *room_in_new(struct inl_queue *q, size_t n, size_t *ret_n)
{
    /* A queue that already holds something will get more: chunks grow with
     * it, so that many small pieces do not become many small vectors. */
    struct inl_chunk *chunk = chunk_new(n > q->bytes ? n : q->bytes);
    uint32_t len;

    if (chunk == NULL) {
        return NULL;
    }
    len = n < chunk->size ? (uint32_t)n : chunk->size;
    if (ring_push(q, chunk, 0, len) != 0) {
        chunk_unref(chunk);
        return NULL;
    }
    chunk->used = len;
    *ret_n = len;
    return chunk->data;
}

/* Adds up to n > 0 bytes, which the caller writes at once; NULL: out of
 * memory. */
static uint8_t *add_room(struct inl_queue *q, size_t n, size_t *ret_n)
{
    uint8_t *room = room_in_last(q, n, ret_n);

    return room != NULL ? room : room_in_new(q, n, ret_n);
}

int inl_queue_append(struct inl_queue *q, const void *ptr, size_t n)
{
    const uint8_t *p = ptr;
    struct mark mark;

    if (n == 0) {
        return 0;
    }
    mark = mark_take(q);
    for (size_t len = 0; n > 0; p += len, n -= len) {
        uint8_t *room = add_room(q, n, &len);

        if (room == NULL) {
            mark_cut_back(q, &mark);
            return INLETS_ENOMEM;
        }
        memcpy(room, p, len);
    }
    return 0;
}

int inl_queue_append_slice(struct inl_queue *q, struct inlets_slice s)
{
    return inl_queue_append(q, s.ptr, s.len);
}

/* One piece of a chunk to the end of q: joined, copied, or referenced. */
static int share_piece(struct inl_queue *q, struct inl_chunk *chunk,
                       uint32_t off, uint32_t len)
{
    struct inl_seg *last = seg_last(q);

    if (last != NULL && last->chunk == chunk && last->off + last->len == off) {
        last->len += len;
        q->bytes += len;
        return 0;
    }
    if (len < SHARE_MIN_BYTES) {
        return inl_queue_append(q, chunk->data + off, len);
    }
    if (ring_push(q, chunk, off, len) != 0) {
        return INLETS_ENOMEM;
    }
    chunk->refs++;
    return 0;
}

/* The segment that holds byte *off; *off becomes the place in it. A lane
 * shares the end of a queue that may be long, so look from the nearer end. */
static uint32_t find_seg(const struct inl_queue *q, size_t *off)
{
    size_t end = q->bytes;
    uint32_t i = q->count;

    if (*off <= q->bytes / 2) {
        return 0;
    }
    while (end > *off) {
        i--;
        end -= seg_at(q, i)->len;
    }
    *off -= end;
    return i;
}

int inl_queue_share(struct inl_queue *dst, const struct inl_queue *src,
                    size_t off, size_t n)
{
    struct mark mark = mark_take(dst);

    assert(dst != src);
    assert(off <= src->bytes && n <= src->bytes - off);
    for (uint32_t i = find_seg(src, &off); n > 0; i++) {
        const struct inl_seg *seg = seg_at(src, i);
        uint32_t skip, len;

        if (off >= seg->len) {
            off -= seg->len;
            continue;
        }
        skip = (uint32_t)off;
        off = 0;
        len = seg->len - skip;
        if (len > n) {
            len = (uint32_t)n;
        }
        if (share_piece(dst, seg->chunk, seg->off + skip, len) != 0) {
            mark_cut_back(dst, &mark);
            return INLETS_ENOMEM;
        }
        n -= len;
    }
    return 0;
}

/* A place in a queue that is read from front to back. */
struct reader {
    const struct inl_queue *q;
    uint32_t seg;
    size_t off; /* in that segment, or beyond it */
};

static struct reader reader_at(const struct inl_queue *q, size_t off)
{
    struct reader r = {.q = q};

    r.seg = find_seg(q, &off);
    r.off = off;
    return r;
}

/* The next bytes, at most n of them; there are some. */
static const uint8_t *read_piece(struct reader *r, size_t n, size_t *ret_n)
{
    const struct inl_seg *seg = seg_at(r->q, r->seg);
    const uint8_t *p;

    while (r->off >= seg->len) {
        r->off -= seg->len;
        seg = seg_at(r->q, ++r->seg);
    }
    p = seg->chunk->data + seg->off + r->off;
    *ret_n = n < seg->len - r->off ? n : seg->len - r->off;
    r->off += *ret_n;
    return p;
}

static void read_through(struct reader *r, uint8_t *to, size_t n,
                         inl_queue_copy *copy, void *user)
{
    for (size_t len = 0; n > 0; to += len, n -= len) {
        const uint8_t *piece = read_piece(r, n, &len);

        copy(user, to, piece, len);
    }
}

int inl_queue_append_through(struct inl_queue *dst, const struct inl_queue *src,
                             size_t off, size_t n, inl_queue_copy *copy,
                             void *user)
{
    struct mark mark = mark_take(dst);
    struct reader reader;

    assert(dst != src);
    assert(off <= src->bytes && n <= src->bytes - off);
    reader = reader_at(src, off);
    for (size_t len = 0; n > 0; n -= len) {
        uint8_t *room = add_room(dst, n, &len);

        if (room == NULL) {
            mark_cut_back(dst, &mark);
            return INLETS_ENOMEM;
        }
        read_through(&reader, room, len, copy, user);
    }
    return 0;
}

int inl_queue_move(struct inl_queue *dst, struct inl_queue *src, size_t n)
{
    int err = inl_queue_share(dst, src, 0, n);

    if (err != 0) {
        return err;
    }
    inl_queue_consume(src, n);
    return 0;
}

size_t inl_queue_peek(const struct inl_queue *q, struct iovec *v, size_t max)
{
    size_t n = q->count < max ? q->count : max;

    for (size_t i = 0; i < n; i++) {
        const struct inl_seg *seg = seg_at(q, (uint32_t)i);

        v[i].iov_base = seg->chunk->data + seg->off;
        v[i].iov_len = seg->len;
    }
    return n;
}

struct inlets_slice inl_queue_front(const struct inl_queue *q)
{
    const struct inl_seg *seg;

    if (q->count == 0) {
        return (struct inlets_slice){NULL, 0};
    }
    seg = seg_at(q, 0);
    return (struct inlets_slice){(const char *)(seg->chunk->data + seg->off),
                                 seg->len};
}

void inl_queue_consume(struct inl_queue *q, size_t n)
{
    assert(n <= q->bytes);
    q->bytes -= n;
    while (n > 0) {
        struct inl_seg *seg = seg_at(q, 0);

        if (n < seg->len) {
            seg->off += (uint32_t)n;
            seg->len -= (uint32_t)n;
            return;
        }
        n -= seg->len;
        chunk_unref(seg->chunk);
        q->head = (q->head + 1) & (q->cap - 1);
        q->count--;
    }
    ring_settle(q);
}

void inl_queue_clear(struct inl_queue *q)
{
    inl_queue_consume(q, q->bytes);
}
