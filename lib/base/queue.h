/* queue.h: a byte queue made of references to counted chunks.
 *
 * Bytes are copied once, when they enter (inl_queue_append); from then on
 * queues pass them on by reference: a DATA frame waits in its stream, is
 * kept by the lane until it is acknowledged, and is written by the link,
 * all from the same chunk. A chunk is freed with its last reference. Chunks
 * are not shared between threads. */
#ifndef INL_BASE_QUEUE_H
#define INL_BASE_QUEUE_H

#include <inlets/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct inl_chunk {
    uint32_t refs;
    uint32_t size; /* bytes that fit into data */
    uint32_t used; /* bytes written; only ever grows */
    uint8_t data[];
};

struct inl_seg {
    struct inl_chunk *chunk; /* one reference, owned */
    uint32_t off, len;
};

/* All zero is an empty queue (no memory of its own). */
struct inl_queue {
    struct inl_seg *segs; /* ring of cap entries, owned */
    uint32_t head, count, cap;
    size_t bytes;
};

void inl_queue_init(struct inl_queue *q);
/* Drops all references and the ring. Accepts a zeroed queue. */
void inl_queue_fini(struct inl_queue *q);

/* Copies n bytes to the end; small pieces are packed into the last chunk.
 * INLETS_ENOMEM leaves the queue as it was. */
int inl_queue_append(struct inl_queue *q, const void *ptr, size_t n);
int inl_queue_append_slice(struct inl_queue *q, struct inlets_slice s);

/* Moves the first n bytes of src (n <= src->bytes) to the end of dst, by
 * reference. Pieces below 1 KiB are copied instead, so that a small frame
 * does not pin a large chunk. INLETS_ENOMEM leaves both as they were. */
int inl_queue_move(struct inl_queue *dst, struct inl_queue *src, size_t n);

/* Appends bytes [off, off + n) of src to dst by reference; src keeps them. */
int inl_queue_share(struct inl_queue *dst, const struct inl_queue *src,
                    size_t off, size_t n);

/* Writes to dst what becomes of the n bytes at src. */
typedef void inl_queue_copy(void *user, uint8_t *dst, const uint8_t *src,
                            size_t n);
/* Appends bytes [off, off + n) of src to dst, written there by `copy`, which
 * is called for one piece after the other; src keeps them. INLETS_ENOMEM
 * leaves dst as it was (copy may have run for a part). */
int inl_queue_append_through(struct inl_queue *dst, const struct inl_queue *src,
                             size_t off, size_t n, inl_queue_copy *copy,
                             void *user);

/* Fills up to max vectors with the front of the queue; returns how many. */
size_t inl_queue_peek(const struct inl_queue *q, struct iovec *v, size_t max);
/* The first contiguous piece; len 0 when empty. */
struct inlets_slice inl_queue_front(const struct inl_queue *q);
/* Drops n bytes from the front (n <= bytes). */
void inl_queue_consume(struct inl_queue *q, size_t n);
void inl_queue_clear(struct inl_queue *q);

/* Gives this thread's spare chunks back to the allocator. */
void inl_queue_trim(void);

#endif
