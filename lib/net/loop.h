/* net/loop.h: an env on a libuv loop that the caller owns.
 *
 * A uv_prepare handle ends each turn: it settles the env, lets the dirty
 * links flush, and arms one uv_timer for the earliest deadline. */
#ifndef INL_NET_LOOP_H
#define INL_NET_LOOP_H

#include "base/env.h"
#include <uv.h>

struct inl_loop {
    struct inl_env env; /* first: carriers get from env to loop */
    uv_loop_t *uv;
    uv_prepare_t prepare;
    uv_timer_t timer;
    uint64_t armed_ms;    /* what the uv timer is set to; UINT64_MAX: off */
    uint8_t *read_buf;    /* owned, 64 KiB; input is consumed synchronously */
    size_t live;          /* handles and requests that are not closed yet */
    unsigned own_handles; /* of prepare and timer, how many are not closed */
    bool closing;
    void (*on_closed)(void *user);
    void *user;
};

/* Starts the turn; keeps the uv loop alive until closed. 0, ENOMEM, EIO. */
int inl_loop_init(struct inl_loop *l, uv_loop_t *uv);

/* Brings env.now_ms up to date. Each uv callback of this room begins with
 * it; so must each function of the public API that may set a deadline, for
 * it can be called from the user's own callbacks after a long sleep. */
void inl_loop_enter(struct inl_loop *l);

/* The owner has closed its links, listeners and dials; on_closed runs (from
 * a uv close callback) when the last handle of this inl_loop is gone, and
 * may free the struct. The env is settled until then, and finished before
 * on_closed. */
void inl_loop_close(struct inl_loop *l, void (*on_closed)(void *user),
                    void *user);

/* libuv's error number to ours. */
int inl_error_from_uv(int status);

#endif
