/* alloc.h: where memory comes from. */
#ifndef INLETS_ALLOC_H
#define INLETS_ALLOC_H

#include <inlets/export.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct inlets_allocator {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *ptr, size_t size);
    void (*free)(void *ptr);
};

/* Replaces malloc and friends for the whole process, libuv's and mbedTLS's
 * included where they allow it. Call it before anything else of this library,
 * once: memory must be freed by who gave it. The struct is copied.
 * Returns INLETS_EINVAL when a function is missing. */
INLETS_API int inlets_set_allocator(const struct inlets_allocator *allocator);

#ifdef __cplusplus
}
#endif
#endif
