/* server_visitors.c: who may visit: rules that the user gives are the guard's
 * (relay/guard.h). */
#include "node/server.h"

#include "node/visitors.h"

int inlets_server_set_visitors(struct inlets_server *server,
                               struct inlets_visitors *visitors)
{
    int err = 0;

    if (!server->closed) {
        inl_loop_enter(&server->loop);
        err = inl_guard_set(&server->guard, &visitors->doc);
    }
    if (err == 0) {
        inlets_visitors_free(visitors);
    }
    return err;
}
