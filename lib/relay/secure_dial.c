/* secure_dial.c: see secure_dial.h. An attempt is a dial of the dialer below,
 * then a handshake; it is freed at the end of the turn that ends it. */
#include "relay/secure_dial.h"

#include "base/mem.h"
#include <stdio.h>
#include <string.h>

struct attempt {
    struct inl_dial below;
    struct inl_secure_dialer *dialer;
    struct inl_dial *dial;       /* NULL: it is over */
    struct inl_secured *shaking; /* NULL: not yet, or no more */
    struct inl_later free;
};

static void attempt_free(struct inl_later *later)
{
    inl_free(inl_container(later, struct attempt, free));
}

static void attempt_over(struct attempt *a)
{
    a->dial->impl = NULL;
    a->dial = NULL;
    a->shaking = NULL;
    inl_env_later(a->dialer->dialer.env, &a->free);
}

static void report(struct attempt *a, int err, struct inl_link *link)
{
    struct inl_dial *dial = a->dial;

    attempt_over(a);
    dial->done(dial, err, link);
}

/* What the dialer below knows of its failure is all there is to know. */
static void copy_reason(struct inl_dial *dial, const struct inl_dial *below)
{
    dial->step = below->step;
    dial->status = below->status;
    memcpy(dial->why, below->why, sizeof(dial->why));
    memcpy(dial->said, below->said, sizeof(dial->said));
}

static void shaken(void *user, int err, const char *why, struct inl_link *link)
{
    struct attempt *a = user;

    (void)snprintf(a->dial->why, sizeof(a->dial->why), "%s", why);
    report(a, err, link);
}

static void below_done(struct inl_dial *below, int err, struct inl_link *link)
{
    struct attempt *a = inl_container(below, struct attempt, below);
    struct inl_secure_dialer *d = a->dialer;
    struct inl_secured *s;

    if (err != 0) {
        copy_reason(a->dial, below);
        report(a, err, NULL);
        return;
    }
    a->dial->step = "tls";
    s = inl_secured_start(&d->group, link,
                          d->name != NULL ? d->name : a->dial->host,
                          a->dial->due_ms, a);
    if (a->dial == NULL) {
        return; /* it has failed already */
    }
    a->shaking = s;
    if (s == NULL) {
        report(a, INLETS_ENOMEM, NULL);
    }
}

static int start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct inl_secure_dialer *d =
        inl_container(dialer, struct inl_secure_dialer, dialer);
    struct attempt *a = inl_calloc(1, sizeof(*a));
    int err;

    if (a == NULL) {
        return INLETS_ENOMEM;
    }
    a->dialer = d;
    a->dial = dial;
    a->below = (struct inl_dial){.host = dial->host,
                                 .port = dial->port,
                                 .due_ms = dial->due_ms,
                                 .stays_here = dial->stays_here,
                                 .known = dial->known,
                                 .done = below_done};
    inl_later_init(&a->free, attempt_free);
    dial->impl = a;
    err = inl_dial_start(d->below, &a->below);
    if (err != 0) {
        dial->impl = NULL;
        inl_free(a);
    }
    return err;
}

static void cancel(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct inl_secure_dialer *d =
        inl_container(dialer, struct inl_secure_dialer, dialer);
    struct attempt *a = dial->impl;

    dial->step = a->shaking != NULL ? "tls" : a->below.step;
    if (a->shaking != NULL) {
        inl_secured_cancel(a->shaking);
    } else {
        inl_dial_cancel(d->below, &a->below);
    }
    attempt_over(a);
}

static int resolve(struct inl_dialer *dialer, struct inl_resolve *r)
{
    return inl_resolve_start(
        inl_container(dialer, struct inl_secure_dialer, dialer)->below, r);
}

static void resolve_cancel(struct inl_dialer *dialer, struct inl_resolve *r)
{
    inl_resolve_cancel(
        inl_container(dialer, struct inl_secure_dialer, dialer)->below, r);
}

static const struct inl_dialer_ops dialer_ops = {
    .start = start,
    .cancel = cancel,
    .resolve = resolve,
    .resolve_cancel = resolve_cancel,
};

void inl_secure_dialer_init(struct inl_secure_dialer *d,
                            struct inl_dialer *below,
                            struct inl_tls_config *tls, const char *name)
{
    const struct inl_secured_group values = {
        .env = below->env, .tls = tls, .done = shaken};

    *d = (struct inl_secure_dialer){
        .dialer = {&dialer_ops, below->env}, .below = below, .name = name};
    inl_secured_group_init(&d->group, &values);
}
