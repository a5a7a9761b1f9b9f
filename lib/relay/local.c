/* local.c: see local.h.
 *
 * An exchange is freed from `later`, one turn after it is over, so the
 * pointer stays good during every callback. Request bytes that were not asked
 * for wait in `held`, at most one window of them; response bytes wait at the
 * consumer, so write takes only what there is credit for.
 *
 * Over: both directions ended, or either side stopped. A handler that has
 * ended its response and never reads the request ends the exchange too
 * (an early response). */
#include "relay/local.h"

#include "base/mem.h"
#include "base/queue.h"
#include "base/slice.h"
#include "relay/head.h"

struct inlets_exchange {
    struct inl_local *local;
    struct inl_flow flow; /* our end: the callee */
    struct inl_list node;
    struct inl_later later;
    struct inlets_exchange_callbacks cbs;
    void *user;
    struct inl_queue held;        /* request bytes that nobody asked for yet */
    size_t wanted;                /* asked for and not delivered */
    struct inlets_head *trailers; /* owned: came behind `held` */
    int64_t left;                 /* response bytes still due; -1: not known */
    int err;
    bool request_ended; /* END came (maybe behind `held`) */
    bool end_delivered; /* on_end has run */
    bool responded;     /* the final head is out */
    bool bodiless;      /* HEAD request, or a status without body */
    bool is_head_request;
    bool wants_writable; /* a write came up short */
    bool delivering;     /* in deliver_body: on_body may ask for more */
    bool over;
};

static void exchange_free(struct inl_later *later)
{
    struct inlets_exchange *x =
        inl_container(later, struct inlets_exchange, later);

    if (x->cbs.on_close != NULL) {
        x->cbs.on_close(x, x->err, x->user);
    }
    inl_list_remove(&x->node);
    inl_queue_fini(&x->held);
    inl_free(x->trailers);
    inl_free(x);
}

static void finish(struct inlets_exchange *x, int err)
{
    if (!x->over) {
        x->over = true;
        x->err = err;
        inl_env_later(x->local->env, &x->later);
    }
}

static void deliver_body(struct inlets_exchange *x)
{
    x->delivering = true;
    while (!x->over && x->wanted > 0 && x->held.bytes > 0) {
        struct inlets_slice s = inl_queue_front(&x->held);
        size_t n = s.len < x->wanted ? s.len : x->wanted;

        x->wanted -= n;
        if (x->cbs.on_body != NULL) {
            x->cbs.on_body(x, inl_slice(s.ptr, n), x->user);
        }
        inl_queue_consume(&x->held, n);
        inl_flow_credit(&x->flow, n);
    }
    x->delivering = false;
}

static void deliver_end(struct inlets_exchange *x)
{
    if (!x->over && x->request_ended && !x->end_delivered &&
        x->held.bytes == 0) {
        x->end_delivered = true;
        if (x->cbs.on_end != NULL) {
            x->cbs.on_end(x, x->trailers, x->user);
        }
    }
}

static void on_body(struct inl_flow *f, struct inlets_slice d)
{
    struct inlets_exchange *x = inl_container(f, struct inlets_exchange, flow);

    if (inl_queue_append_slice(&x->held, d) != 0) {
        inl_flow_stop(f, INLETS_ENOMEM);
        finish(x, INLETS_ENOMEM);
        return;
    }
    if (!x->delivering) {
        deliver_body(x);
    }
}

static void on_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct inlets_exchange *x = inl_container(f, struct inlets_exchange, flow);

    x->request_ended = true;
    if (trailers != NULL) {
        x->trailers = inl_head_dup(trailers); /* NULL: as if there were none */
    }
    deliver_end(x);
    if (f->peer == NULL) {
        finish(x, 0);
    }
}

static void on_stop(struct inl_flow *f, int err)
{
    finish(inl_container(f, struct inlets_exchange, flow), err);
}

static void on_credit(struct inl_flow *f, size_t bytes)
{
    struct inlets_exchange *x = inl_container(f, struct inlets_exchange, flow);

    (void)bytes;
    if (x->wants_writable && !x->over && !f->tx_ended) {
        x->wants_writable = false;
        if (x->cbs.on_writable != NULL) {
            x->cbs.on_writable(x, x->user);
        }
    }
}

static const struct inl_flow_ops flow_ops = {
    .body = on_body, .end = on_end, .stop = on_stop, .credit = on_credit};

static int local_open(struct inl_service *s, const struct inl_request *req,
                      struct inl_flow *caller)
{
    struct inl_local *l = inl_container(s, struct inl_local, service);
    struct inlets_exchange *x = inl_calloc(1, sizeof(*x));

    if (x == NULL) {
        return INLETS_ENOMEM;
    }
    x->local = l;
    x->is_head_request = inl_slice_eq(req->head->method, INL_LIT("HEAD"));
    inl_flow_init(&x->flow, &flow_ops);
    inl_later_init(&x->later, exchange_free);
    inl_list_init(&x->node);
    inl_list_push_back(&l->exchanges, &x->node);
    inl_flow_tie(caller, &x->flow);
    l->handler(x, req->head, l->user);
    return 0;
}

static const struct inl_service_ops local_ops = {.open = local_open};

void inl_local_init(struct inl_local *l, struct inl_env *env,
                    inlets_handler_fn handler, void *user)
{
    *l = (struct inl_local){
        .service = {&local_ops}, .env = env, .handler = handler, .user = user};
    inl_list_init(&l->exchanges);
}

void inl_local_fini(struct inl_local *l)
{
    struct inl_list *n, *tmp;

    inl_list_each(&l->exchanges, n, tmp)
    {
        struct inlets_exchange *x =
            inl_container(n, struct inlets_exchange, node);

        inl_flow_stop(&x->flow, INLETS_ECLOSED);
        finish(x, INLETS_ECLOSED);
    }
}

void inlets_exchange_set_callbacks(
    struct inlets_exchange *x,
    const struct inlets_exchange_callbacks *callbacks, void *user)
{
    x->cbs = *callbacks;
    x->user = user;
}

void inlets_exchange_read(struct inlets_exchange *x, size_t bytes)
{
    if (x->over) {
        return;
    }
    inl_env_enter(x->local->env);
    x->wanted = bytes > SIZE_MAX - x->wanted ? SIZE_MAX : x->wanted + bytes;
    if (!x->delivering) {
        deliver_body(x);
        deliver_end(x);
    }
}

static bool head_is_valid(const struct inlets_head *head)
{
    if (head->status < 100 || head->status > 599 || head->status == 101 ||
        head->content_length < INLETS_LENGTH_NONE) {
        return false;
    }
    for (size_t i = 0; i < head->nfields; i++) {
        if (!inl_slice_is_token(head->fields[i].name) ||
            !inl_slice_is_field_value(head->fields[i].value)) {
            return false;
        }
    }
    return true;
}

int inlets_exchange_respond(struct inlets_exchange *x,
                            const struct inlets_head *head)
{
    if (x->over || !inl_flow_tied(&x->flow)) {
        return INLETS_ECLOSED;
    }
    if (x->responded || !head_is_valid(head)) {
        return INLETS_EINVAL;
    }
    inl_env_enter(x->local->env);
    if (head->status >= 200) {
        x->responded = true;
        x->bodiless = x->is_head_request || head->status == 204 ||
                      head->status == 304 ||
                      head->content_length == INLETS_LENGTH_NONE;
        x->left = x->bodiless ? 0 : head->content_length;
    }
    inl_flow_head(&x->flow, head);
    return 0;
}

int64_t inlets_exchange_write(struct inlets_exchange *x,
                              struct inlets_slice data)
{
    size_t n = data.len;

    if (x->over || !inl_flow_tied(&x->flow) || x->flow.tx_ended) {
        return INLETS_ECLOSED;
    }
    if (!x->responded ||
        (x->left >= 0 && n > (uint64_t)x->left && !x->is_head_request)) {
        return INLETS_EINVAL;
    }
    if (x->bodiless) {
        return (int64_t)n; /* HEAD: said, not sent */
    }
    inl_env_enter(x->local->env);
    if (n > x->flow.tx_credit) {
        n = x->flow.tx_credit;
        x->wants_writable = true;
    }
    if (x->left >= 0) {
        x->left -= (int64_t)n;
    }
    inl_flow_body(&x->flow, inl_slice(data.ptr, n));
    return (int64_t)n;
}

int inlets_exchange_end(struct inlets_exchange *x,
                        const struct inlets_head *trailers)
{
    if (x->over || !inl_flow_tied(&x->flow)) {
        return INLETS_ECLOSED;
    }
    if (!x->responded || x->left > 0) {
        inlets_exchange_abort(x);
        return INLETS_EINVAL;
    }
    inl_env_enter(x->local->env);
    inl_flow_end(&x->flow, trailers);
    if (inl_flow_tied(&x->flow) && x->cbs.on_body == NULL &&
        x->cbs.on_end == NULL) {
        inl_flow_stop(&x->flow, 0); /* nobody will read the rest */
    }
    if (!inl_flow_tied(&x->flow)) {
        finish(x, 0);
    }
    return 0;
}

int inlets_exchange_reply(struct inlets_exchange *x, unsigned status,
                          const char *content_type, struct inlets_slice body)
{
    const struct inlets_field type = {INL_LIT("Content-Type"),
                                      inl_str(content_type)};
    const struct inlets_head head = {
        .status = status,
        .content_length = (int64_t)body.len,
        .fields = &type,
        .nfields = content_type == NULL ? 0 : 1,
    };
    int err;

    if (body.len > 64u * 1024) {
        return INLETS_EINVAL;
    }
    err = inlets_exchange_respond(x, &head);
    if (err != 0) {
        return err;
    }
    if (body.len > 0 && inlets_exchange_write(x, body) < 0) {
        return INLETS_ECLOSED;
    }
    return inlets_exchange_end(x, NULL);
}

void inlets_exchange_abort(struct inlets_exchange *x)
{
    if (!x->over) {
        inl_env_enter(x->local->env);
        inl_flow_stop(&x->flow, INLETS_EUPSTREAM);
        finish(x, INLETS_ECANCELED);
    }
}
