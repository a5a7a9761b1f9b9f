/* alloc.c: one allocator for the process: ours, and libuv's with it. mbedTLS
 * as the distributions build it, and wslay, keep to malloc. */
#include <inlets/alloc.h>

#include "base/mem.h"
#include <inlets/err.h>
#include <uv.h>

int inlets_set_allocator(const struct inlets_allocator *allocator)
{
    int err = inl_set_allocator(allocator);

    if (err != 0) {
        return err;
    }
    return uv_replace_allocator(allocator->malloc, allocator->realloc,
                                allocator->calloc, allocator->free) == 0
               ? 0
               : INLETS_EINVAL;
}
