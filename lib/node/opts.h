/* opts.h: option structs that may grow. A program built against an older
 * header passes a smaller size; what it does not know keeps its default. */
#ifndef INL_NODE_OPTS_H
#define INL_NODE_OPTS_H

#include <stddef.h>
#include <string.h>

static inline void inl_opts_copy(void *to, size_t to_size, const void *from,
                                 size_t from_size)
{
    memcpy(to, from, to_size < from_size ? to_size : from_size);
}

#endif
