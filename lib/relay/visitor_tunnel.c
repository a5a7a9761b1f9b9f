/* visitor_tunnel.c: a visitor's handshake for a tunnel, which is opened,
 * refused, or has to wait until it is known who it is. What comes meanwhile is
 * held; who leaves meanwhile is not waited for.
 *
 * Failure: refused in words for a program. */
#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1_rules.h"
#include "relay/answer.h"
#include "relay/forwarding.h"
#include "relay/head.h"
#include "relay/visitor_machine.h"

bool inl_visitor_is_tunnel(const struct inl_visitor *v,
                           const struct inlets_head *head)
{
    return v->config->tunnel_path.len > 0 &&
           inl_slice_eq(inl_target_path(head->target),
                        v->config->tunnel_path) &&
           (head->flags & INLETS_HEAD_UPGRADE) != 0 &&
           inl_is_websocket_upgrade(head);
}

/* Two of the errors mean something else to visitors. */
static const char *why_no_tunnel(int err)
{
    switch (err) {
    case INLETS_EUNAVAILABLE:
        return "it would resume what is not here any more";
    case INLETS_EGOAWAY:
        return "this exit node is shutting down";
    default:
        return inlets_strerror(err);
    }
}

void inl_visitor_drop_knock(struct inl_visitor *v)
{
    if (v->knock != NULL) {
        inl_ask_drop(&v->knock->ask);
        inl_head_free_secret(v->knock->head);
        inl_free(v->knock);
        v->knock = NULL;
    }
}

/* 0: the link is a tunnel's. INL_ASKED: later. Else the handshake is refused.
 */
static int knock(struct inl_visitor *v, const struct inlets_head *head)
{
    const char *why = NULL;
    int err = v->config->open_tunnel(v->config->user, v->link, head,
                                     &v->knock->ask, &why);

    if (err != 0 && err != INL_ASKED) {
        inl_visitor_refuse_tunnel(
            v, err == INLETS_EVERSION ? 426 : inl_status_of_error(err),
            why != NULL ? why : why_no_tunnel(err));
    }
    return err;
}

static void knock_again(struct inl_ask *ask)
{
    struct inl_visitor *v =
        inl_container(ask, struct inl_visitor_knock, ask)->visitor;

    if (knock(v, v->knock->head) == 0) {
        inl_visitor_give_link(v);
    }
}

/* The head is the parser's: who has to wait needs one of its own. */
static void start_knocking(struct inl_visitor *v,
                           const struct inlets_head *head)
{
    v->knock->head = inl_head_dup(head);
    if (v->knock->head == NULL) {
        inl_visitor_refuse_tunnel(v, 503, "out of memory");
        return;
    }
    inl_visitor_move(v, INL_VISITOR_KNOCKING);
    inl_timer_off(v->env, &v->timer);
}

void inl_visitor_start_tunnel(struct inl_visitor *v,
                              const struct inlets_head *head)
{
    int err;

    v->knock = inl_calloc(1, sizeof(*v->knock));
    if (v->knock == NULL) {
        inl_visitor_refuse_tunnel(v, 503, "out of memory");
        return;
    }
    v->knock->visitor = v;
    inl_ask_init(&v->knock->ask, knock_again);
    err = knock(v, head);
    if (err == INL_ASKED) {
        start_knocking(v, head);
        return;
    }
    v->hand_over = err == 0;
    inl_visitor_drop_knock(v);
}
