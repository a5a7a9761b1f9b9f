/* alloc.h: an allocator for tests that counts what is alive and fails on
 * demand. Include it in one .c file per program. */
#ifndef TEST_UNIT_ALLOC_H
#define TEST_UNIT_ALLOC_H

#include "base/mem.h"
#include <inlets/alloc.h>
#include <stdlib.h>

static size_t alloc_live;     /* blocks that are not freed yet */
static size_t alloc_last;     /* size of the latest request */
static size_t alloc_fail_nth; /* the n-th from now fails, once; 0: none */

static int alloc_fails(size_t size)
{
    alloc_last = size;
    return alloc_fail_nth > 0 && --alloc_fail_nth == 0;
}

static void *alloc_malloc(size_t size)
{
    void *ptr = alloc_fails(size) ? NULL : malloc(size);

    alloc_live += ptr != NULL;
    return ptr;
}

static void *alloc_calloc(size_t count, size_t size)
{
    void *ptr = alloc_fails(count * size) ? NULL : calloc(count, size);

    alloc_live += ptr != NULL;
    return ptr;
}

static void *alloc_realloc(void *old, size_t size)
{
    void *ptr = alloc_fails(size) ? NULL : realloc(old, size);

    alloc_live += ptr != NULL && old == NULL;
    return ptr;
}

static void alloc_free(void *ptr)
{
    alloc_live -= ptr != NULL;
    free(ptr);
}

/* Before the first allocation of the program. */
static void alloc_install(void)
{
    static const struct inlets_allocator allocator = {
        alloc_malloc, alloc_calloc, alloc_realloc, alloc_free};

    if (inl_set_allocator(&allocator) != 0) {
        abort();
    }
}

#endif
