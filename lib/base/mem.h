/* mem.h: allocation through the process-wide hooks of <inlets/alloc.h>.
 * All return NULL when memory is out; nothing in the library aborts. */
#ifndef INL_BASE_MEM_H
#define INL_BASE_MEM_H

#include <inlets/alloc.h>
#include <inlets/types.h>
#include <stddef.h>

/* Sets the hooks; INLETS_EINVAL when one is missing. (The public function is
 * in node: it sets libuv's too, which base does not know.) */
int inl_set_allocator(const struct inlets_allocator *allocator);
/* The hooks in force; never NULL. */
const struct inlets_allocator *inl_get_allocator(void);

void *inl_malloc(size_t size);
void *inl_calloc(size_t count, size_t size);
void *inl_realloc(void *ptr, size_t size);
void inl_free(void *ptr);

/* A NUL-terminated owned copy. */
char *inl_strdup(const char *s);
char *inl_slice_dup(struct inlets_slice s);

/* Overwrites a secret in a way that the compiler keeps. */
void inl_wipe(void *ptr, size_t n);
/* Wipes and frees an owned string; NULL is fine. */
void inl_free_secret(char *s);

#endif
