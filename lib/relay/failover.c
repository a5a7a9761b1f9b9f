/* failover.c: see failover.h.
 *
 * A call sits between the caller's flow and the target's: `in` faces the
 * caller, `out` the target. As soon as the final response head has passed it
 * steps aside: the two outer ends are tied to each other, so a body costs
 * nothing here.
 *
 * The target may go before its stream does (an endpoint that is taken back):
 * the call watches it, and looks at it only while it is there. */
#include "relay/failover.h"

#include "base/mem.h"
#include "base/slice.h"
#include "relay/head.h"
#include <string.h>

struct call {
    struct inl_list node;
    struct inl_failover *failover;
    struct inl_flow in, out;
    struct inl_target *target; /* valid while `watch` is linked */
    struct inl_list watch;
    struct inlets_head *head; /* owned */
    char *host;               /* owned; then path and id */
    struct inl_request req;
    struct inl_timer timer;
    struct inl_later free;
    unsigned tries;
    bool ended; /* the request's end has come from the caller */
    bool opening;
    int stop_err; /* the target stopped while it was being opened */
};

static const struct inl_flow_ops in_ops, out_ops;

static void call_free(struct inl_later *later)
{
    struct call *c = inl_container(later, struct call, free);

    inl_timer_off(c->failover->env, &c->timer);
    inl_free(c->head);
    inl_free(c->host);
    inl_free(c);
}

static void call_over(struct call *c)
{
    inl_list_remove(&c->node);
    inl_list_remove(&c->watch);
    inl_timer_off(c->failover->env, &c->timer);
    inl_env_later(c->failover->env, &c->free);
}

static int try_target(struct call *c, const struct inl_target *except)
{
    int err;

    c->tries++; /* one that finds no target counts too: the tries must end */
    err = inl_router_pick(c->failover->router, c->req.host, c->req.path, except,
                          &c->target);
    if (err != 0) {
        return err;
    }
    inl_list_remove(&c->watch);
    inl_list_push_back(&c->target->watchers, &c->watch);
    c->stop_err = 0;
    c->opening = true;
    inl_flow_init(&c->out, &out_ops);
    err = inl_service_open(c->target->service, &c->req, &c->out);
    c->opening = false;
    if (err == 0 && c->ended) {
        inl_flow_end(&c->out, NULL);
    }
    return err == 0 ? c->stop_err : err;
}

/* Another target, or the bad news to the caller. */
static void move_on(struct call *c, int err)
{
    const struct inl_target *except = c->target;

    while (c->tries < INL_FAILOVER_TRIES && inl_flow_tied(&c->in)) {
        int again = try_target(c, except);

        if (again == 0) {
            inl_log(c->failover->env, INLETS_LOG_WARN, "request moved",
                    INL_KV("id", c->req.id),
                    INL_KV("why", inl_str(inlets_strerror(err))));
            return;
        }
        if (again == INLETS_ENOROUTE || again == INLETS_EUNAVAILABLE) {
            break;
        }
        except = c->target;
    }
    call_over(c);
    inl_flow_stop(&c->in, err);
}

/* Only errors that say: no answer, and not because of the request. */
static bool is_worth_another(int err)
{
    return err == INLETS_ECLOSED || err == INLETS_ERESET ||
           err == INLETS_ESILENT || err == INLETS_EGOAWAY ||
           err == INLETS_EUNAVAILABLE || err == INLETS_EREFUSED;
}

static void look(struct inl_timer *timer)
{
    struct call *c = inl_container(timer, struct call, timer);
    struct inl_env *env = c->failover->env;

    if (inl_flow_tied(&c->out) && inl_list_linked(&c->watch) &&
        inl_router_has_choice(c->failover->router, c->req.host, c->req.path) &&
        c->target->health != NULL &&
        c->target->health(c->target) != INL_HEALTH_GOOD) {
        inl_flow_stop(&c->out, INLETS_ECANCELED);
        move_on(c, INLETS_ESILENT);
        return;
    }
    (void)inl_timer_at(env, timer, env->now_ms + INL_FAILOVER_LOOK_MS);
}

/* ---- from the target -------------------------------------------------- */

static void out_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct call *c = inl_container(f, struct call, out);

    inl_flow_head(&c->in, head);
    if ((head->status >= 200 || head->status == 101) && inl_flow_tied(&c->in) &&
        inl_flow_tied(&c->out)) {
        inl_flow_join(&c->in, &c->out);
        call_over(c);
    }
}

static void out_body(struct inl_flow *f, struct inlets_slice data)
{
    inl_flow_body(&inl_container(f, struct call, out)->in, data);
}

static void out_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    inl_flow_end(&inl_container(f, struct call, out)->in, trailers);
}

static void out_stop(struct inl_flow *f, int err)
{
    struct call *c = inl_container(f, struct call, out);

    if (c->opening) {
        c->stop_err = err == 0 ? INLETS_EUPSTREAM : err;
    } else if (is_worth_another(err)) {
        move_on(c, err);
    } else {
        call_over(c);
        inl_flow_stop(&c->in, err);
    }
}

static void out_credit(struct inl_flow *f, size_t bytes)
{
    (void)f;
    (void)bytes; /* there is no request body */
}

static const struct inl_flow_ops out_ops = {.head = out_head,
                                            .body = out_body,
                                            .end = out_end,
                                            .stop = out_stop,
                                            .credit = out_credit};

/* ---- from the caller -------------------------------------------------- */

static void in_body(struct inl_flow *f, struct inlets_slice data)
{
    (void)f;
    (void)data; /* a request without a body has none */
}

static void in_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct call *c = inl_container(f, struct call, in);

    (void)trailers;
    c->ended = true;
    inl_flow_end(&c->out, NULL);
}

static void in_stop(struct inl_flow *f, int err)
{
    struct call *c = inl_container(f, struct call, in);

    call_over(c);
    inl_flow_stop(&c->out, err);
}

static void in_credit(struct inl_flow *f, size_t bytes)
{
    inl_flow_credit(&inl_container(f, struct call, in)->out, bytes);
}

static const struct inl_flow_ops in_ops = {
    .body = in_body, .end = in_end, .stop = in_stop, .credit = in_credit};

/* ---- opening ---------------------------------------------------------- */

static bool may_move(const struct inlets_head *head)
{
    static const char *const idempotent[] = {"GET", "HEAD", "OPTIONS"};

    if (head->content_length != INLETS_LENGTH_NONE ||
        (head->flags & INLETS_HEAD_UPGRADE) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(idempotent) / sizeof(idempotent[0]); i++) {
        if (inl_slice_eq(head->method, inl_str(idempotent[i]))) {
            return true;
        }
    }
    return false;
}

static struct call *call_new(struct inl_failover *f,
                             const struct inl_request *req)
{
    struct call *c = inl_calloc(1, sizeof(*c));
    char *at;

    if (c == NULL) {
        return NULL;
    }
    c->failover = f;
    c->head = inl_head_dup(req->head);
    c->host = at = inl_malloc(req->host.len + req->path.len + req->id.len + 1);
    if (c->head == NULL || c->host == NULL) {
        inl_free(c->head);
        inl_free(c->host);
        inl_free(c);
        return NULL;
    }
    c->req.head = c->head;
    c->req.host = inl_slice_keep(&at, req->host);
    c->req.path = inl_slice_keep(&at, req->path);
    c->req.id = inl_slice_keep(&at, req->id);
    inl_flow_init(&c->in, &in_ops);
    inl_timer_init(&c->timer, look);
    inl_later_init(&c->free, call_free);
    inl_list_init(&c->node);
    inl_list_init(&c->watch);
    inl_list_push_back(&f->calls, &c->node);
    return c;
}

static int failover_open(struct inl_service *s, const struct inl_request *req,
                         struct inl_flow *caller)
{
    struct inl_failover *f = inl_container(s, struct inl_failover, service);
    struct call *c;
    int err = 0;

    if (!may_move(req->head)) {
        return inl_service_open(&f->router->service, req, caller);
    }
    c = call_new(f, req);
    if (c == NULL) {
        return INLETS_ENOMEM;
    }
    inl_flow_tie(caller, &c->in);
    do {
        err = try_target(c, err == 0 ? NULL : c->target);
    } while (err != 0 && inl_flow_tied(&c->in) && is_worth_another(err) &&
             c->tries < INL_FAILOVER_TRIES);
    if (err != 0) {
        inl_flow_stop(&c->out, err);
        call_over(c);
        if (!inl_flow_tied(&c->in)) {
            return 0; /* the caller was stopped meanwhile: it has been told */
        }
        inl_flow_untie(&c->in);
        return err;
    }
    (void)inl_timer_at(f->env, &c->timer,
                       f->env->now_ms + INL_FAILOVER_LOOK_MS);
    return 0;
}

static const struct inl_service_ops failover_ops = {.open = failover_open};

void inl_failover_init(struct inl_failover *f, struct inl_env *env,
                       struct inl_router *router)
{
    *f = (struct inl_failover){
        .service = {&failover_ops}, .env = env, .router = router};
    inl_list_init(&f->calls);
}

void inl_failover_fini(struct inl_failover *f)
{
    struct inl_list *n;

    while ((n = f->calls.next) != &f->calls) {
        struct call *c = inl_container(n, struct call, node);

        call_over(c);
        inl_flow_stop(&c->out, INLETS_ECLOSED);
        inl_flow_stop(&c->in, INLETS_ECLOSED);
    }
}
