/* local.h: a service that is a C function: the other side of
 * <inlets/exchange.h>. */
#ifndef INL_RELAY_LOCAL_H
#define INL_RELAY_LOCAL_H

#include "base/env.h"
#include "relay/service.h"
#include <inlets/exchange.h>

struct inl_local {
    struct inl_service service;
    struct inl_env *env;
    inlets_handler_fn handler;
    void *user;
    struct inl_list exchanges; /* struct inlets_exchange.node */
};

void inl_local_init(struct inl_local *l, struct inl_env *env,
                    inlets_handler_fn handler, void *user);
/* Stops all exchanges with INLETS_ECLOSED: no callback but on_close runs any
 * more. */
void inl_local_fini(struct inl_local *l);

#endif
