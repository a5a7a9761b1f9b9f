/* flow.c: see flow.h. The peer pointers are cleared before the last callback
 * of each side, so a callback that calls back finds a flow that is untied. */
#include "relay/flow.h"

#include <assert.h>

void inl_flow_init(struct inl_flow *f, const struct inl_flow_ops *ops)
{
    *f = (struct inl_flow){.ops = ops};
}

void inl_flow_tie(struct inl_flow *caller, struct inl_flow *callee)
{
    assert(caller->peer == NULL && callee->peer == NULL);
    caller->peer = callee;
    callee->peer = caller;
    caller->tx_credit = callee->tx_credit = INL_FLOW_WINDOW;
    caller->tx_ended = callee->tx_ended = false;
    caller->head_sent = callee->head_sent = false;
}

void inl_flow_move(struct inl_flow *to, struct inl_flow *from)
{
    const struct inl_flow_ops *ops = to->ops;

    assert(to->peer == NULL && from->peer != NULL);
    *to = *from;
    to->ops = ops;
    to->peer->peer = to;
    from->peer = NULL;
}

void inl_flow_untie(struct inl_flow *f)
{
    if (f->peer != NULL) {
        f->peer->peer = NULL;
        f->peer = NULL;
    }
}

void inl_flow_join(struct inl_flow *a, struct inl_flow *b)
{
    struct inl_flow *left = a->peer, *right = b->peer;

    assert(left != NULL && right != NULL);
    left->peer = right;
    right->peer = left;
    a->peer = b->peer = NULL;
}

void inl_flow_head(struct inl_flow *f, const struct inlets_head *head)
{
    if (f->peer != NULL) {
        if (head->status >= 200 || head->status == 101) {
            f->head_sent = true;
        }
        f->peer->ops->head(f->peer, head);
    }
}

void inl_flow_body(struct inl_flow *f, struct inlets_slice data)
{
    if (f->peer == NULL || data.len == 0) {
        return;
    }
    assert(!f->tx_ended && data.len <= f->tx_credit);
    f->tx_credit -= data.len;
    f->peer->ops->body(f->peer, data);
}

void inl_flow_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct inl_flow *peer = f->peer;

    if (peer == NULL || f->tx_ended) {
        return;
    }
    f->tx_ended = true;
    if (peer->tx_ended) {
        f->peer = peer->peer = NULL;
    }
    peer->ops->end(peer, trailers);
}

void inl_flow_stop(struct inl_flow *f, int err)
{
    struct inl_flow *peer = f->peer;

    if (peer != NULL) {
        f->peer = peer->peer = NULL;
        peer->ops->stop(peer, err);
    }
}

void inl_flow_credit(struct inl_flow *f, size_t bytes)
{
    struct inl_flow *peer = f->peer;

    if (peer != NULL && bytes > 0) {
        peer->tx_credit += bytes;
        peer->ops->credit(peer, bytes);
    }
}

void inl_flow_hold(struct inl_flow *f, bool held)
{
    if (f->peer != NULL && f->peer->ops->hold != NULL) {
        f->peer->ops->hold(f->peer, held);
    }
}

void inl_flow_widen(struct inl_flow *f, size_t bytes)
{
    f->tx_credit += bytes;
}

void inl_flow_credit_sent(struct inl_flow *f, size_t *unpaid, size_t waiting)
{
    size_t keep = *unpaid < waiting ? *unpaid : waiting;
    size_t give = *unpaid - keep;

    if (give >= INL_FLOW_WINDOW / 16 || keep == 0) {
        *unpaid = keep;
        inl_flow_credit(f, give);
    }
}
