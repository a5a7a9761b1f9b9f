/* dial.h: asking for a link to somewhere, or only where it is. The interface:
 * net/dial.c and net/resolve.c do it with libuv, the tests with fake pipes. */
#ifndef INL_BASE_DIAL_H
#define INL_BASE_DIAL_H

#include "base/link.h"

#include <inlets/err.h>

struct inl_dial;
struct inl_dialer;
struct inl_resolve;

/* Of the addresses of a name, so many are looked at. Who controls a name must
 * not make us knock at thousands of doors, or keep a tunnel to each. */
#define INL_ADDRESSES_MAX 64u

struct inl_dialer_ops {
    int (*start)(struct inl_dialer *dialer, struct inl_dial *dial);
    void (*cancel)(struct inl_dialer *dialer, struct inl_dial *dial);
    /* May be NULL: INLETS_ENOTSUP. */
    int (*resolve)(struct inl_dialer *dialer, struct inl_resolve *r);
    void (*resolve_cancel)(struct inl_dialer *dialer, struct inl_resolve *r);
};

/* Embedded in the implementation's object. */
struct inl_dialer {
    const struct inl_dialer_ops *ops;
    struct inl_env *env;
};

/* The addresses at which a name was found before, the latest first: for when
 * the resolver fails or is silent. All zero at first; one for each name. */
#define INL_DIAL_KNOWN_MAX 4u
#define INL_DIAL_ADDRESS_MAX 64u
struct inl_dial_known {
    char addresses[INL_DIAL_KNOWN_MAX][INL_DIAL_ADDRESS_MAX]; /* "": none */
};

/* Enough for a sentence, with NUL. */
#define INL_DIAL_TEXT 160u

/* One attempt; embedded in the caller's object, which outlives it. */
struct inl_dial {
    const char *host; /* borrowed until done: a name or an address */
    unsigned port;
    uint64_t due_ms;              /* absolute; then INLETS_ETIMEDOUT */
    struct inl_dial_known *known; /* of host, borrowed; may be NULL */
    /* What goes there must not leave this machine: an address elsewhere is not
     * connected to (INLETS_EINSECURE), whatever its name. Of a dialer that
     * dials through another: as far as that one. */
    bool stays_here;
    /* Runs once, never during start: a link without a machine (set one
     * before returning), or NULL and the error. Not after cancel. */
    void (*done)(struct inl_dial *dial, int err, struct inl_link *link);
    void *impl; /* the dialer's; NULL when idle */
    /* What failed, for the log: "resolve", "connect", "proxy", "tls"; and why,
     * when more is known than err, or "". */
    const char *step;
    char why[INL_DIAL_TEXT];
    /* Of a proxy on the way that said no: the status of its answer (0: none),
     * and its words, as text that can be printed; else empty. */
    unsigned status;
    char said[INL_DIAL_TEXT];
};

/* Why it failed, for the log. */
static inline const char *inl_dial_why(const struct inl_dial *dial, int err)
{
    return dial->why[0] != '\0' ? dial->why : inlets_strerror(err);
}

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

/* All addresses of a name; embedded in the caller's object, which outlives
 * it. It has no deadline but the resolver's own: the caller who has one
 * cancels. */
struct inl_resolve {
    const char *host; /* borrowed until done: a name or an address */
    /* Runs once, never during start, not after cancel. err 0: n addresses (at
     * least one, at most INL_ADDRESSES_MAX) that inl_dial takes as host: no
     * port, no brackets, each once, in the resolver's order. They die with
     * the callback. An address gives itself. */
    void (*done)(struct inl_resolve *r, int err, const char *const *addresses,
                 size_t n);
    void *impl; /* the dialer's; NULL when idle */
};

/* 0, or INLETS_ENOMEM / INLETS_EINVAL / INLETS_ENOTSUP at once (done does not
 * run then). */
static inline int inl_resolve_start(struct inl_dialer *dialer,
                                    struct inl_resolve *r)
{
    return dialer->ops->resolve == NULL ? INLETS_ENOTSUP
                                        : dialer->ops->resolve(dialer, r);
}

/* Idempotent; harmless when idle. */
static inline void inl_resolve_cancel(struct inl_dialer *dialer,
                                      struct inl_resolve *r)
{
    if (r->impl != NULL && dialer->ops->resolve_cancel != NULL) {
        dialer->ops->resolve_cancel(dialer, r);
    }
}

#endif
