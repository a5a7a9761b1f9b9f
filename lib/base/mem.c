/* mem.c: the process-wide allocator hooks and what is built on them.
 *
 * The hooks are the one global of the library: memory must go back to who
 * gave it, whichever env it was taken in. They are set once, before anything
 * else, so no lock guards them. */
#include "base/mem.h"

#include "base/slice.h"
#include <inlets/err.h>
#include <stdlib.h>

static struct inlets_allocator hooks = {malloc, calloc, realloc, free};

int inl_set_allocator(const struct inlets_allocator *allocator)
{
    if (allocator == NULL || allocator->malloc == NULL ||
        allocator->calloc == NULL || allocator->realloc == NULL ||
        allocator->free == NULL) {
        return INLETS_EINVAL;
    }
    hooks = *allocator;
    return 0;
}

const struct inlets_allocator *inl_get_allocator(void)
{
    return &hooks;
}

void *inl_malloc(size_t size)
{
    return hooks.malloc(size);
}

void *inl_calloc(size_t count, size_t size)
{
    return hooks.calloc(count, size);
}

void *inl_realloc(void *ptr, size_t size)
{
    return hooks.realloc(ptr, size);
}

void inl_free(void *ptr)
{
    /* Not every replacement copes with NULL. */
    if (ptr != NULL) {
        hooks.free(ptr);
    }
}

char *inl_slice_dup(struct inlets_slice s)
{
    char *copy;

    if (s.len == SIZE_MAX) {
        return NULL;
    }
    copy = inl_malloc(s.len + 1);
    if (copy == NULL) {
        return NULL;
    }
    if (s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    return copy;
}

char *inl_strdup(const char *s)
{
    return inl_slice_dup(inl_str(s));
}

void inl_wipe(void *ptr, size_t n)
{
    /* Through a volatile pointer the compiler cannot know that this is
     * memset, and so cannot drop the write before a free. */
    static void *(*const volatile set)(void *, int, size_t) = memset;

    if (n > 0) {
        set(ptr, 0, n);
    }
}

void inl_free_secret(char *s)
{
    if (s != NULL) {
        inl_wipe(s, strlen(s));
        inl_free(s);
    }
}
