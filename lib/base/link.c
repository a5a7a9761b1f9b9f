/* link.c: one byte stream, between its carrier and its machine.
 *
 *   open -> ending (shutdown: FIN is due, reading goes on)
 *   open, ending -> lingering (linger: the machine is cut off from input)
 *   any -> closed (close, reset, the end of lingering) -> gone, released
 *
 * Who owns what: see link.h. Every callback may close the link, replace the
 * machine or write: nothing of the link is used after a callback without
 * being looked at again. The memory stays until carrier->release, which
 * comes from `later`, so there is always a link to look at.
 *
 * Failure: no memory for the linger timer closes the link at once, as a
 * link that lingers without a deadline could be held for ever. */
#include "base/link.h"

#include <assert.h>
#include <inlets/err.h>

/* What a lingering link reads at once, to throw it away. */
#define LINGER_ROOM_BYTES (16u * 1024)

/* `later`: the last words, when nothing of the turn is on the stack. */
static void run_gone(struct inl_later *later)
{
    struct inl_link *l = inl_container(later, struct inl_link, later);
    const struct inl_machine_ops *ops = l->ops;
    void *machine = l->machine;

    l->ops = NULL;
    l->machine = NULL;
    if (ops != NULL) {
        ops->gone(machine, l->err);
    }
    l->carrier->release(l, l->reset);
}

static void close_link(struct inl_link *l, int err, bool reset)
{
    if (l->closed) {
        return;
    }
    l->closed = true;
    l->err = err;
    l->reset = reset;
    inl_queue_fini(&l->out);
    inl_list_remove(&l->dirty);
    inl_timer_off(l->env, &l->linger);
    inl_env_later(l->env, &l->later);
}

void inl_link_close(struct inl_link *l, int err)
{
    close_link(l, err, false);
}

void inl_link_reset(struct inl_link *l, int err)
{
    close_link(l, err, true);
}

static void linger_over(struct inl_timer *t)
{
    struct inl_link *l = inl_container(t, struct inl_link, linger);

    if (l->tx_ended) {
        inl_link_close(l, 0); /* all was said; the peer just does not hang up */
    } else {
        inl_link_reset(l, INLETS_ETIMEDOUT);
    }
}

void inl_link_init(struct inl_link *l, struct inl_env *env,
                   const struct inl_carrier_ops *carrier)
{
    *l = (struct inl_link){.env = env,
                           .carrier = carrier,
                           .low_bytes = INL_LINK_LOW_BYTES,
                           .rx_at_ms = env->now_ms};
    inl_queue_init(&l->out);
    inl_list_init(&l->dirty);
    inl_later_init(&l->later, run_gone);
    inl_timer_init(&l->linger, linger_over);
}

void inl_link_fini(struct inl_link *l)
{
    inl_queue_fini(&l->out);
    inl_list_remove(&l->dirty);
    inl_list_remove(&l->later.node);
    inl_timer_off(l->env, &l->linger);
}

/* --- From the carrier --- */

size_t inl_link_rx_room(const struct inl_link *l)
{
    if (l->closed || l->rx_ended) {
        return 0;
    }
    if (l->lingering) {
        return LINGER_ROOM_BYTES;
    }
    return l->ops == NULL ? 0 : l->ops->rx_room(l->machine);
}

void inl_link_rx(struct inl_link *l, const uint8_t *p, size_t n)
{
    if (l->closed || l->rx_ended || n == 0) {
        return;
    }
    l->bytes_in += n;
    l->rx_at_ms = l->env->now_ms;
    if (!l->lingering && l->ops != NULL) {
        l->ops->rx(l->machine, p, n);
    }
}

/* Nothing left to wait for? */
static void end_lingering(struct inl_link *l)
{
    if (l->lingering && l->rx_ended && l->tx_ended) {
        inl_link_close(l, 0);
    } else if (l->patient && l->tx_ended) {
        l->patient = false; /* all is said: the peer has only to hang up */
        l->linger_end_ms = l->env->now_ms + INL_LINK_LINGER_MS;
        if (inl_timer_at(l->env, &l->linger, l->linger_end_ms) != 0) {
            inl_link_close(l, 0);
        }
    }
}

void inl_link_rx_eof(struct inl_link *l)
{
    if (l->closed || l->rx_ended) {
        return;
    }
    l->rx_ended = true;
    if (l->lingering) {
        end_lingering(l);
    } else if (l->ops != NULL) {
        l->ops->rx_eof(l->machine);
    }
}

/* May the machine still be asked for bytes? */
bool inl_link_is_pulled(const struct inl_link *l)
{
    return l->ops != NULL && l->ops->tx_fill != NULL && !l->tx_ending;
}

size_t inl_link_tx_peek(struct inl_link *l, struct iovec *v, size_t max)
{
    if (!l->closed && inl_link_is_pulled(l) && l->out.bytes < l->low_bytes) {
        l->ops->tx_fill(l->machine);
    }
    /* Closed by then: `out` is empty. */
    return inl_queue_peek(&l->out, v, max);
}

/* A slow peer that still reads gets time, but not for ever. */
static void extend_linger(struct inl_link *l)
{
    uint64_t due_ms =
        l->env->now_ms + (l->patient ? INL_LINK_FLUSH_MS : INL_LINK_LINGER_MS);

    if (!l->patient && due_ms > l->linger_end_ms) {
        due_ms = l->linger_end_ms;
    }
    if (inl_timer_at(l->env, &l->linger, due_ms) != 0) {
        inl_link_reset(l, INLETS_ENOMEM);
    }
}

void inl_link_tx_done(struct inl_link *l, size_t n)
{
    if (l->closed || n == 0) {
        return; /* a write that was on its way when the link was closed */
    }
    assert(n <= l->out.bytes);
    inl_queue_consume(&l->out, n);
    l->bytes_out += n;
    if (l->lingering) {
        extend_linger(l);
    } else if (l->ops != NULL && l->ops->tx_taken != NULL) {
        l->ops->tx_taken(l->machine, n);
    }
}

bool inl_link_wants_fin(const struct inl_link *l)
{
    return !l->closed && l->tx_ending && !l->tx_ended && l->out.bytes == 0;
}

/* --- From the machine --- */

void inl_link_set_machine(struct inl_link *l, const struct inl_machine_ops *ops,
                          void *machine)
{
    l->ops = ops;
    l->machine = machine;
    inl_link_wake(l); /* its room to read may differ */
}

void inl_link_wake(struct inl_link *l)
{
    end_lingering(l);
    if (!l->closed) {
        inl_env_put(l->env, &l->env->dirty, &l->dirty);
    }
}

int inl_link_write(struct inl_link *l, const void *ptr, size_t n)
{
    int err;

    if (l->closed || l->tx_ending) {
        return INLETS_ECLOSED;
    }
    err = inl_queue_append(&l->out, ptr, n);
    if (err == 0) {
        inl_link_wake(l);
    }
    return err;
}

uint64_t inl_link_delivered(struct inl_link *l)
{
    return l->closed || l->carrier->unacked == NULL
               ? l->bytes_out
               : l->bytes_out - l->carrier->unacked(l);
}

void inl_link_shutdown(struct inl_link *l)
{
    if (!l->closed && !l->tx_ending) {
        l->tx_ending = true;
        inl_link_wake(l);
    }
}

void inl_link_linger(struct inl_link *l)
{
    if (l->closed || l->lingering) {
        return;
    }
    l->lingering = true;
    l->tx_ending = true;
    l->linger_end_ms = l->env->now_ms + INL_LINK_LINGER_MAX_MS;
    extend_linger(l);
    inl_link_wake(l);
}

void inl_link_finish(struct inl_link *l)
{
    if (!l->closed && !l->lingering) {
        l->patient = true;
        inl_link_linger(l);
    }
}

void inl_link_guard(struct inl_link *l)
{
    if (!l->closed) {
        l->guarded = true;
        inl_link_wake(l);
    }
}

int inl_link_tune(struct inl_link *l, const struct inl_link_tuning *tuning)
{
    if (l->closed) {
        return INLETS_ECLOSED;
    }
    return l->carrier->tune == NULL ? 0 : l->carrier->tune(l, tuning);
}
