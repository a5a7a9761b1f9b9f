/* dial.h: asking for a link to somewhere. The interface only: net/dial.c
 * does it with libuv, the tests with fake pipes. */
#ifndef INL_BASE_DIAL_H
#define INL_BASE_DIAL_H

#include "base/link.h"

struct inl_dial;
struct inl_dialer;

struct inl_dialer_ops {
    int (*start)(struct inl_dialer *dialer, struct inl_dial *dial);
    void (*cancel)(struct inl_dialer *dialer, struct inl_dial *dial);
};

/* Embedded in the implementation's object. */
struct inl_dialer {
    const struct inl_dialer_ops *ops;
    struct inl_env *env;
};

/* One attempt; embedded in the caller's object, which outlives it. */
struct inl_dial {
    const char *host; /* borrowed until done: a name or an address */
    unsigned port;
    uint64_t due_ms; /* absolute; then INLETS_ETIMEDOUT */
    /* Runs once, never during start: a link without a machine (set one
     * before returning), or NULL and the error. Not after cancel. */
    void (*done)(struct inl_dial *dial, int err, struct inl_link *link);
    void *impl; /* the dialer's; NULL when idle */
    const char *step; /* what failed, for the log: "resolve", "connect" */
};

/* 0, or INLETS_ENOMEM / INLETS_EINVAL at once (done does not run then). */
static inline int inl_dial_start(struct inl_dialer *dialer,
                                 struct inl_dial *dial)
{
    return dialer->ops->start(dialer, dial);
}

/* Idempotent; harmless when idle. */
static inline void inl_dial_cancel(struct inl_dialer *dialer,
                                   struct inl_dial *dial)
{
    if (dial->impl != NULL) {
        dialer->ops->cancel(dialer, dial);
    }
}

#endif
