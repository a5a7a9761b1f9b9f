/* test_queue.c: byte queues: packing, sharing, and what is left when memory
 * runs out. A model of plain arrays checks long random runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/queue.h"
#include "base/slice.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <string.h>

#define CHUNK_DATA(bytes) ((bytes) - sizeof(struct inl_chunk))

static uint8_t pattern[200000];

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 31 + i / 251);
    }
    return 0;
}

/* Each test ends with nothing alive. */
static int teardown(void **state)
{
    (void)state;
    inl_queue_trim();
    return alloc_live == 0 ? 0 : -1;
}

static void assert_bytes(const struct inl_queue *q, const uint8_t *p, size_t n)
{
    size_t nv = q->count, sum = 0;
    struct iovec *v = calloc(nv + 1, sizeof(*v));

    assert_non_null(v);
    assert_int_equal(q->bytes, n);
    assert_int_equal(inl_queue_peek(q, v, nv + 1), nv);
    for (size_t i = 0; i < nv; i++) {
        assert_true(v[i].iov_len > 0);
        assert_true(v[i].iov_len <= n - sum);
        assert_memory_equal(v[i].iov_base, p + sum, v[i].iov_len);
        sum += v[i].iov_len;
    }
    assert_int_equal(sum, n);
    free(v);
}

static void append(struct inl_queue *q, size_t from, size_t n)
{
    assert_int_equal(inl_queue_append(q, pattern + from, n), 0);
}

static void empty_queue_has_no_memory(void **state)
{
    struct inl_queue q = {0};
    struct iovec v;

    (void)state;
    assert_int_equal(inl_queue_append(&q, NULL, 0), 0);
    assert_int_equal(inl_queue_peek(&q, &v, 1), 0);
    assert_int_equal(inl_queue_front(&q).len, 0);
    inl_queue_consume(&q, 0);
    inl_queue_clear(&q);
    assert_int_equal(alloc_live, 0);
    inl_queue_fini(&q);
    inl_queue_fini(&q);
}

static void chunks_are_of_three_sizes(void **state)
{
    static const struct {
        size_t need, bytes;
    } sizes[] = {
        {1, 1024},
        {CHUNK_DATA(1024), 1024},
        {CHUNK_DATA(1024) + 1, 4096},
        {CHUNK_DATA(4096), 4096},
        {CHUNK_DATA(4096) + 1, 16384},
        {CHUNK_DATA(16384), 16384},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct inl_queue q = {0};

        inl_queue_trim();
        append(&q, 0, sizes[i].need);
        assert_int_equal(q.count, 1);
        assert_int_equal(q.segs[0].chunk->size, CHUNK_DATA(sizes[i].bytes));
        assert_bytes(&q, pattern, sizes[i].need);
        inl_queue_fini(&q);
    }
}

static void small_pieces_are_packed(void **state)
{
    struct inl_queue q = {0};

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        append(&q, i * 50, 50);
    }
    assert_bytes(&q, pattern, 50000);
    assert_true(q.count <= 8); /* 1, 1 or 4, 4 and then 16 KiB each */
    inl_queue_fini(&q);
    assert_int_equal(
        inl_queue_append_slice(&q, inl_slice(pattern, sizeof(pattern))), 0);
    assert_bytes(&q, pattern, sizeof(pattern));
    inl_queue_fini(&q);
}

static void consume_goes_through_segments(void **state)
{
    struct inl_queue q = {0};
    size_t at = 0;

    (void)state;
    append(&q, 0, 100000);
    for (size_t step = 1; at + step <= 100000;
         at += step, step = step * 2 + 1) {
        struct inlets_slice front = inl_queue_front(&q);

        assert_bytes(&q, pattern + at, 100000 - at);
        assert_true(front.len > 0);
        assert_memory_equal(front.ptr, pattern + at, front.len);
        inl_queue_consume(&q, step);
    }
    assert_bytes(&q, pattern + at, 100000 - at);
    inl_queue_clear(&q);
    assert_int_equal(q.bytes, 0);
    inl_queue_fini(&q);
}

static void peek_keeps_to_its_limit(void **state)
{
    struct inl_queue q = {0};
    struct iovec v[2];

    (void)state;
    append(&q, 0, 60000);
    assert_true(q.count > 2);
    assert_int_equal(inl_queue_peek(&q, v, 2), 2);
    assert_int_equal(inl_queue_peek(&q, v, 0), 0);
    inl_queue_fini(&q);
}

static void large_pieces_are_shared(void **state)
{
    struct inl_queue a = {0}, b = {0}, c = {0};

    (void)state;
    append(&a, 0, 16000);
    assert_int_equal(inl_queue_share(&b, &a, 2000, 3000), 0);
    assert_int_equal(b.count, 1);
    assert_ptr_equal(b.segs[0].chunk, a.segs[0].chunk);
    assert_int_equal(a.segs[0].chunk->refs, 2);
    assert_int_equal(inl_queue_move(&c, &b, 2500), 0);
    assert_ptr_equal(c.segs[0].chunk, a.segs[0].chunk);
    assert_bytes(&b, pattern + 4500, 500);
    assert_bytes(&c, pattern + 2000, 2500);
    /* The chunk outlives the queue that brought it. */
    inl_queue_fini(&a);
    assert_bytes(&c, pattern + 2000, 2500);
    inl_queue_fini(&b);
    inl_queue_fini(&c);
}

static void small_pieces_are_copied(void **state)
{
    struct inl_queue a = {0}, b = {0};

    (void)state;
    append(&a, 0, 16000);
    assert_int_equal(inl_queue_move(&b, &a, 1023), 0);
    assert_ptr_not_equal(b.segs[0].chunk, a.segs[0].chunk);
    assert_int_equal(a.segs[0].chunk->refs, 1);
    assert_int_equal(inl_queue_move(&b, &a, 1024), 0);
    assert_int_equal(a.segs[0].chunk->refs, 2);
    /* What continues a reference joins it, however small. */
    assert_int_equal(inl_queue_move(&b, &a, 10), 0);
    assert_int_equal(b.count, 2);
    assert_bytes(&b, pattern, 1023 + 1024 + 10);
    inl_queue_fini(&a);
    inl_queue_fini(&b);
}

/* Both queues end in the same chunk; only the one that ends at `used` may
 * write there. */
static void sharers_do_not_overwrite(void **state)
{
    struct inl_queue a = {0}, b = {0};

    (void)state;
    append(&a, 0, 5000);
    assert_int_equal(inl_queue_share(&b, &a, 0, 5000), 0);
    append(&b, 5000, 100); /* takes the room in the chunk */
    append(&a, 7000, 100); /* finds it taken */
    assert_bytes(&b, pattern, 5100);
    inl_queue_consume(&a, 5000);
    assert_bytes(&a, pattern + 7000, 100);
    inl_queue_fini(&a);
    append(&b, 5100, 30000);
    assert_bytes(&b, pattern, 35100);
    inl_queue_fini(&b);
}

static void rings_of_bursts_are_given_back(void **state)
{
    struct inl_queue a = {0}, b = {0};

    (void)state;
    append(&a, 0, 16000);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(inl_queue_share(&b, &a, 0, 2000), 0);
    }
    assert_true(b.cap >= 100);
    inl_queue_clear(&b);
    assert_int_equal(b.cap, 0);
    assert_null(b.segs);
    append(&b, 0, 100);
    inl_queue_clear(&b);
    assert_int_equal(b.cap, 4); /* small: kept for the next time */
    inl_queue_fini(&b);
    assert_null(b.segs);
    inl_queue_fini(&a);
}

static void ring_wraps_and_grows(void **state)
{
    struct inl_queue a = {0}, b = {0};

    (void)state;
    append(&a, 0, 16000);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(inl_queue_share(&b, &a, 0, 1024), 0);
    }
    for (size_t round = 0; round < 50; round++) {
        inl_queue_consume(&b, 1024);
        assert_int_equal(inl_queue_share(&b, &a, 2000, 1024), 0);
        if (round % 10 == 9) {
            assert_int_equal(inl_queue_share(&b, &a, 4000, 1024), 0);
        }
    }
    assert_int_equal(b.bytes, 8 * 1024);
    assert_int_equal(b.cap, 8);
    inl_queue_consume(&b, 7 * 1024);
    assert_bytes(&b, pattern + 4000, 1024);
    inl_queue_fini(&a);
    inl_queue_fini(&b);
}

/* Runs op with the 1st, 2nd, ... allocation failing until it succeeds; each
 * failure must leave both queues as they were. */
static void with_failures(int (*op)(struct inl_queue *, struct inl_queue *))
{
    struct inl_queue src = {0}, dst = {0};
    int err = INLETS_ENOMEM;

    append(&src, 1000, 40000);
    append(&dst, 0, 990);
    for (size_t nth = 1; err != 0; nth++) {
        assert_true(nth < 50);
        inl_queue_trim();
        alloc_fail_nth = nth;
        err = op(&dst, &src);
        alloc_fail_nth = 0;
        if (err != 0) {
            assert_int_equal(err, INLETS_ENOMEM);
            assert_bytes(&src, pattern + 1000, 40000);
            assert_bytes(&dst, pattern, 990);
        }
    }
    inl_queue_fini(&src);
    inl_queue_fini(&dst);
}

static int op_append(struct inl_queue *dst, struct inl_queue *src)
{
    int err = inl_queue_append(dst, pattern + 990, 120000);

    (void)src;
    if (err == 0) {
        assert_bytes(dst, pattern, 120990);
        assert_int_equal(alloc_fail_nth != 0, true);
    }
    return err;
}

static int op_move(struct inl_queue *dst, struct inl_queue *src)
{
    int err = inl_queue_move(dst, src, 33333);

    if (err == 0) {
        assert_int_equal(dst->bytes, 990 + 33333);
        assert_bytes(src, pattern + 34333, 40000 - 33333);
    }
    return err;
}

static int op_share(struct inl_queue *dst, struct inl_queue *src)
{
    int err = inl_queue_share(dst, src, 100, 39900);

    if (err == 0) {
        assert_int_equal(dst->bytes, 990 + 39900);
        assert_bytes(src, pattern + 1000, 40000);
    }
    return err;
}

static int op_share_small(struct inl_queue *dst, struct inl_queue *src)
{
    int err = inl_queue_share(dst, src, 16000, 900);

    if (err == 0) {
        assert_int_equal(dst->bytes, 990 + 900);
    }
    return err;
}

/* What copy_counted adds to each byte shows where it was, and in which order
 * the pieces came. */
static void copy_counted(void *user, uint8_t *dst, const uint8_t *src, size_t n)
{
    size_t *count = user;

    for (size_t i = 0; i < n; i++) {
        dst[i] = (uint8_t)(src[i] + (*count)++ % 200);
    }
}

static int op_append_through(struct inl_queue *dst, struct inl_queue *src)
{
    size_t count = 0;
    int err =
        inl_queue_append_through(dst, src, 100, 39900, copy_counted, &count);

    if (err == 0) {
        assert_int_equal(count, 39900);
        assert_int_equal(dst->bytes, 990 + 39900);
        assert_bytes(src, pattern + 1000, 40000);
    }
    return err;
}

/* Every place and length around the seams of both queues. */
static void appended_through_a_copy(void **state)
{
    static const size_t edges[] = {0,    1,    1003, 1004, 1005,
                                   2008, 5000, 8999, 9000};
    static uint8_t want[100 + 9000];

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        for (size_t j = i; j < 9; j++) {
            struct inl_queue src = {0}, dst = {0};
            const size_t off = edges[i], n = edges[j] - off;
            size_t count = 0;

            for (size_t at = 0; at < 9000; at += 1000) {
                append(&src, at, 1000); /* in chunks of three sizes */
            }
            append(&dst, 70, 100);
            assert_int_equal(inl_queue_append_through(&dst, &src, off, n,
                                                      copy_counted, &count),
                             0);
            assert_int_equal(count, n);
            memcpy(want, pattern + 70, 100);
            for (size_t k = 0; k < n; k++) {
                want[100 + k] = (uint8_t)(pattern[off + k] + k % 200);
            }
            assert_bytes(&dst, want, 100 + n);
            assert_bytes(&src, pattern, 9000);
            inl_queue_fini(&src);
            inl_queue_fini(&dst);
        }
    }
}

static void failures_leave_queues_as_they_were(void **state)
{
    (void)state;
    with_failures(op_append);
    with_failures(op_move);
    with_failures(op_share);
    with_failures(op_share_small);
    with_failures(op_append_through);
}

static void first_append_fails_cleanly(void **state)
{
    struct inl_queue q = {0};

    (void)state;
    for (size_t nth = 1; nth <= 2; nth++) {
        alloc_fail_nth = nth;
        assert_int_equal(inl_queue_append(&q, pattern, 10), INLETS_ENOMEM);
        assert_int_equal(q.bytes, 0);
        assert_int_equal(q.count, 0);
    }
    append(&q, 0, 10);
    assert_bytes(&q, pattern, 10);
    inl_queue_fini(&q);
}

/* The room in the last chunk is free again after a failure. */
static void failure_gives_back_the_room(void **state)
{
    struct inl_queue q = {0};

    (void)state;
    append(&q, 0, 100);
    inl_queue_trim();
    alloc_fail_nth = 1;
    assert_int_equal(inl_queue_append(&q, pattern, 5000), INLETS_ENOMEM);
    append(&q, 100, 100);
    assert_int_equal(q.count, 1);
    assert_bytes(&q, pattern, 200);
    inl_queue_fini(&q);
}

/* Far more chunks than a thread keeps. */
static void spares_are_bounded(void **state)
{
    struct inl_queue q = {0};
    size_t live;

    (void)state;
    for (int i = 0; i < 10; i++) {
        append(&q, 0, sizeof(pattern));
    }
    inl_queue_fini(&q);
    live = alloc_live;
    assert_true(live <= 32);
    append(&q, 0, 100000); /* reuses them */
    assert_true(alloc_live <= (live > 0 ? live : 7) + 1);
    inl_queue_fini(&q);
    inl_queue_trim();
    assert_int_equal(alloc_live, 0);
}

/* --- Random runs against plain arrays --- */

#define QUEUES 3u
#define MODEL_MAX 300000u

struct model {
    struct inl_queue q;
    uint8_t bytes[MODEL_MAX];
    size_t len;
};

static struct model models[QUEUES];
static uint32_t random_state;

static uint32_t rnd(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* Small sizes are as frequent as large ones. */
static size_t rnd_size(size_t max)
{
    size_t n = rnd(1u << rnd(16));

    return n < max ? n : max;
}

static void model_put(struct model *m, const uint8_t *p, size_t n)
{
    memcpy(m->bytes + m->len, p, n);
    m->len += n;
}

static void model_drop(struct model *m, size_t n)
{
    memmove(m->bytes, m->bytes + n, m->len - n);
    m->len -= n;
}

static void copy_plain(void *user, uint8_t *dst, const uint8_t *src, size_t n)
{
    (void)user;
    memcpy(dst, src, n);
}

/* Appends bytes of one queue to another, in one of the three ways. */
static void model_join(struct model *b, struct model *a, uint32_t what,
                       size_t off, size_t n)
{
    int err;

    if (what == 4) {
        err = inl_queue_share(&b->q, &a->q, off, n);
    } else if (what == 5) {
        err = inl_queue_append_through(&b->q, &a->q, off, n, copy_plain, NULL);
    } else {
        off = 0;
        err = inl_queue_move(&b->q, &a->q, n);
    }
    if (err == 0) {
        model_put(b, a->bytes + off, n);
        model_drop(a, what == 6 ? n : 0);
    }
}

static void model_step(void)
{
    struct model *a = &models[rnd(QUEUES)], *b = &models[rnd(QUEUES)];
    size_t n = rnd_size(a->len), off = rnd_size(a->len - n), from;
    uint32_t what = rnd(10);
    int err;

    alloc_fail_nth = rnd(4) == 0 ? 1 + rnd(4) : 0;
    if (what < 4) {
        n = rnd_size(40000);
        from = rnd((uint32_t)(sizeof(pattern) - n));
        err = n <= MODEL_MAX - a->len
                  ? inl_queue_append(&a->q, pattern + from, n)
                  : INLETS_ELIMIT;
        if (err == 0) {
            model_put(a, pattern + from, n);
        }
    } else if (what < 7 && a != b && n <= MODEL_MAX - b->len) {
        model_join(b, a, what, off, n);
    } else if (what < 9) {
        inl_queue_consume(&a->q, n);
        model_drop(a, n);
    } else if (rnd(10) == 0) {
        inl_queue_clear(&a->q);
        model_drop(a, a->len);
    }
    alloc_fail_nth = 0;
}

static void random_runs_match_the_model(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        random_state = seed;
        for (size_t step = 0; step < 500; step++) {
            model_step();
            for (size_t i = 0; i < QUEUES; i++) {
                assert_bytes(&models[i].q, models[i].bytes, models[i].len);
            }
        }
        for (size_t i = 0; i < QUEUES; i++) {
            inl_queue_fini(&models[i].q);
            models[i].len = 0;
        }
    }
}

#define QUEUE_TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        QUEUE_TEST(empty_queue_has_no_memory),
        QUEUE_TEST(chunks_are_of_three_sizes),
        QUEUE_TEST(small_pieces_are_packed),
        QUEUE_TEST(consume_goes_through_segments),
        QUEUE_TEST(peek_keeps_to_its_limit),
        QUEUE_TEST(large_pieces_are_shared),
        QUEUE_TEST(small_pieces_are_copied),
        QUEUE_TEST(sharers_do_not_overwrite),
        QUEUE_TEST(rings_of_bursts_are_given_back),
        QUEUE_TEST(ring_wraps_and_grows),
        QUEUE_TEST(appended_through_a_copy),
        QUEUE_TEST(failures_leave_queues_as_they_were),
        QUEUE_TEST(first_append_fails_cleanly),
        QUEUE_TEST(failure_gives_back_the_room),
        QUEUE_TEST(spares_are_bounded),
        QUEUE_TEST(random_runs_match_the_model),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, setup, NULL);
}
