/* head.h: an owned copy of a message head, in one block of memory. */
#ifndef INL_RELAY_HEAD_H
#define INL_RELAY_HEAD_H

#include <inlets/types.h>

/* NULL when out of memory. Free it with inl_free. */
struct inlets_head *inl_head_dup(const struct inlets_head *head);
/* Frees a copy whose fields may hold credentials. NULL is fine. */
void inl_head_free_secret(struct inlets_head *dup);

#endif
