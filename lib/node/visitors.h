/* visitors.h: what is behind inlets/visitors.h. */
#ifndef INL_NODE_VISITORS_H
#define INL_NODE_VISITORS_H

#include <inlets/visitors.h>

#include "proto/json_visitors.h"

struct inlets_visitors {
    struct inl_visitors_doc doc;
};

#endif
