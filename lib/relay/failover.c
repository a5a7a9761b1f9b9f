/* failover.c: see failover.h.
 *
 * A call sits between the caller's flow and the target's: `in` faces the
 * caller, `out` the target. As soon as the final response head has passed it
 * steps aside: the two outer ends are tied to each other, so a body costs
 * nothing here.
 *
 * While a request may still go elsewhere (`kept`) its body is passed on and
 * held too, and the credit that the target gives for it is withheld (`owed`):
 * so the next target can be sent it all within its first window. Beyond
 * HOLD_BYTES the hold is let go and the credit paid.
 *
 * While a target is being opened (`opening`) nothing is passed on to it but by
 * try_target, in order; and a target that stops meanwhile only leaves word
 * (`stop_err`), so that trying is a loop and not a recursion.
 *
 * The target may go before its stream does (an endpoint that is taken back):
 * the call watches it, and looks at it only while it is there. */
#include "relay/failover.h"

#include "base/mem.h"
#include "base/queue.h"
#include "base/slice.h"
#include "proto/http1_rules.h"
#include "relay/forwarding.h"
#include "relay/head.h"
#include <string.h>

struct call {
    struct inl_list node;
    struct inl_failover *failover;
    struct inl_flow in, out;
    struct inl_target *target; /* valid while `watch` is linked */
    struct inl_list watch;
    struct inl_list parked; /* linked: the target has it and has not sent it */
    struct inl_trial trial;
    struct inl_route *route;      /* for the first try; else NULL: it may go */
    struct inl_request req;       /* its texts are in `text` */
    struct inlets_head *head;     /* owned */
    struct inlets_head *trailers; /* owned; of the request; NULL: none */
    struct inl_queue held;        /* the body so far, if kept */
    size_t replayed;              /* of it, to the present target */
    size_t owed;                  /* credit withheld from the caller */
    struct inl_timer timer;       /* repeatable: looks at the target */
    struct inl_later free;
    uint64_t tried[INL_FAILOVER_TRIES]; /* serials */
    uint64_t key;                       /* in the visitor's cookie; 0: none */
    uint64_t new_key;                   /* for its next cookie; 0: as it is */
    unsigned tries;
    int stop_err;    /* the target stopped while it was being opened */
    bool repeatable; /* no body, idempotent */
    bool kept;       /* all of the request is here */
    bool ended;      /* the request's end has come from the caller */
    bool opening;    /* in try_target */
    bool waited;     /* for a target that was lost */
    bool held_up;    /* `hold` was passed on to the caller */
    bool answered;   /* a head has passed, maybe an interim one */
    bool final;      /* the final head has passed */
    bool over;
    char text[];
};

static const struct inl_flow_ops in_ops, out_ops;

/* ---- life ------------------------------------------------------------- */

static void call_free(struct inl_later *later)
{
    struct call *c = inl_container(later, struct call, free);

    inl_timer_off(c->failover->env, &c->timer);
    inl_queue_fini(&c->held);
    inl_free(c->trailers);
    inl_free(c->head);
    inl_free(c);
}

/* What became of the present try. */
static void conclude(struct call *c, enum inl_outcome outcome)
{
    inl_list_remove(&c->parked);
    if (inl_list_linked(&c->watch)) {
        inl_list_remove(&c->watch);
        inl_router_outcome(c->failover->router, c->target, c->trial, outcome);
    }
}

static void call_over(struct call *c)
{
    if (!c->over) {
        c->over = true;
        conclude(c, INL_OUTCOME_NONE);
        inl_list_remove(&c->node);
        inl_timer_off(c->failover->env, &c->timer);
        inl_env_later(c->failover->env, &c->free);
    }
}

/* The bad news to the caller. */
static void give_up(struct call *c, int err)
{
    call_over(c);
    inl_flow_stop(&c->in, err);
}

static void over_if_untied(struct call *c)
{
    if (!inl_flow_tied(&c->in) && !inl_flow_tied(&c->out)) {
        call_over(c);
    }
}

/* ---- what errors say -------------------------------------------------- */

/* Nothing of the request reached anybody who acts on it: it waited for a
 * websocket in vain, the client had taken the endpoint back, or could not
 * connect to the upstream. */
static bool is_unsent(int err)
{
    return err == INLETS_EUNAVAILABLE || err == INLETS_EGOAWAY ||
           err == INLETS_EREFUSED || err == INLETS_EDNS;
}

/* No answer, and not because of the request. */
static bool is_lost(int err)
{
    return err == INLETS_ECLOSED || err == INLETS_ERESET ||
           err == INLETS_ESILENT || err == INLETS_ETIMEDOUT ||
           err == INLETS_ENETWORK || err == INLETS_EUPSTREAM;
}

/* The fault of the client's side, which a healthy one does not make. */
static bool is_failure(int err)
{
    return err == INLETS_EREFUSED || err == INLETS_EDNS || is_lost(err);
}

/* An upstream of the upstream fails (RFC 9110 15.6.3 to 15.6.5). */
static bool is_gateway_failure(unsigned status)
{
    return status >= 502 && status <= 504;
}

/* The target stopped: may another one be asked? */
static bool may_move(const struct call *c, int err)
{
    return !c->answered && c->kept && inl_flow_tied(&c->in) &&
           (is_unsent(err) || (c->repeatable && is_lost(err)));
}

/* The target refused: it was asked nothing. */
static bool may_ask_another(int err)
{
    return is_unsent(err) || is_lost(err) || err == INLETS_ELIMIT ||
           err == INLETS_ENOMEM;
}

/* ---- trying ----------------------------------------------------------- */

static struct inl_pick pick_of(const struct call *c)
{
    return (struct inl_pick){.peer = c->req.peer,
                             .key = c->key,
                             .tried = c->tried,
                             .ntried = c->tries,
                             .not_lost = c->waited,
                             .may_probe = c->repeatable};
}

static void begin(struct call *c, struct inl_target *t)
{
    const struct inl_router *r = c->failover->router;

    c->target = t;
    c->tried[c->tries++] = t->serial;
    c->waited =
        c->waited || (t->health != NULL && t->health(t) == INL_HEALTH_LOST);
    c->new_key = r->stick == INL_STICK_COOKIE && t->key != c->key ? t->key : 0;
    c->trial = inl_outlier_begin(&t->outlier, r->env->now_ms);
    inl_list_push_back(&t->watchers, &c->watch);
    c->stop_err = 0;
    c->replayed = 0;
    c->owed = 0;
    inl_flow_init(&c->out, &out_ops);
}

/* The piece of the held body that begins at `at`, which is below its end. */
static struct inlets_slice held_from(const struct call *c, size_t at)
{
    const struct inl_queue *q = &c->held;
    const struct inl_seg *seg = &q->segs[q->head];

    for (uint32_t i = 1; at >= seg->len; i++) {
        at -= seg->len;
        seg = &q->segs[(q->head + i) % q->cap];
    }
    return inl_slice(seg->chunk->data + seg->off + at, seg->len - at);
}

/* What has come from the caller so far, and what it adds meanwhile. The first
 * window of the target has room for it: no credit was given on. */
static void replay(struct call *c)
{
    while (c->replayed < c->held.bytes && inl_flow_tied(&c->out)) {
        struct inlets_slice piece = held_from(c, c->replayed);

        c->replayed += piece.len;
        inl_flow_body(&c->out, piece);
    }
    if (c->ended) {
        inl_flow_end(&c->out, c->trailers);
    }
}

/* From here on it stays where it is. The caller may do anything. */
static void let_go(struct call *c)
{
    size_t owed = c->owed;

    c->kept = false;
    c->owed = 0;
    inl_queue_clear(&c->held);
    inl_flow_credit(&c->in, owed);
}

/* The final head has passed and nothing is on its way in here: the two ends
 * are tied to each other. */
static void step_aside(struct call *c)
{
    let_go(c);
    if (!c->over && inl_flow_tied(&c->in) && inl_flow_tied(&c->out)) {
        inl_flow_join(&c->in, &c->out);
    }
    call_over(c);
}

static int pick(struct call *c, struct inl_target **ret_target)
{
    struct inl_router *r = c->failover->router;
    const struct inl_pick want = pick_of(c);
    struct inl_route *route = c->route;

    c->route = NULL;
    return route != NULL ? inl_route_pick(r, route, &want, ret_target)
                         : inl_router_pick(r, c->req.host, c->req.path, &want,
                                           ret_target);
}

/* 0: a target has the request, or the call is over. *ret_asked: a target was
 * found. */
static int try_target(struct call *c, bool *ret_asked)
{
    struct inl_target *t;
    int err = pick(c, &t);

    *ret_asked = err == 0;
    if (err != 0) {
        return err;
    }
    begin(c, t);
    c->opening = true;
    err = inl_service_open(t->service, &c->req, &c->out);
    if (err == 0) {
        replay(c);
        err = c->stop_err;
    } else {
        conclude(c, is_failure(err) ? INL_OUTCOME_BAD : INL_OUTCOME_NONE);
    }
    c->opening = false;
    if (c->over) {
        return 0;
    }
    if (err == 0 && c->final) {
        step_aside(c);
    } else if (err == 0 && c->held.bytes > INL_FAILOVER_HOLD_BYTES) {
        let_go(c);
    }
    return err;
}

/* One target after the other until one has the request; `err` is what the last
 * one said, 0 at first. */
static int find_target(struct call *c, int err)
{
    bool asked = true;

    while (c->tries < INL_FAILOVER_TRIES) {
        int again = try_target(c, &asked);

        if (again == 0 || !asked) {
            return again == 0 || err == 0 ? again : err;
        }
        err = again;
        if (c->answered || !inl_flow_tied(&c->in) ||
            (c->stop_err != 0 ? !may_move(c, err) : !may_ask_another(err))) {
            break;
        }
    }
    return err;
}

static void move_on(struct call *c, int err)
{
    int failed;

    if (c->held_up) {
        c->held_up = false;
        inl_flow_hold(&c->in, false);
    }
    if (c->over) {
        return;
    }
    if (err != INLETS_ECLOSED && err != INLETS_ERESET &&
        err != INLETS_ESILENT) {
        c->waited = true; /* a client has answered: no waiting for others */
    }
    failed = find_target(c, err);
    if (failed != 0) {
        give_up(c, failed);
    } else {
        inl_log(c->failover->env, INLETS_LOG_WARN, "request moved",
                INL_KV("id", c->req.id),
                INL_KV("why", inl_str(inlets_strerror(err))));
    }
}

/* Is there somebody better than a target that does not answer? */
static void look(struct inl_timer *timer)
{
    struct call *c = inl_container(timer, struct call, timer);
    struct inl_env *env = c->failover->env;
    const struct inl_pick pick = pick_of(c);

    if (inl_flow_tied(&c->out) && inl_list_linked(&c->watch) && !c->answered &&
        c->tries < INL_FAILOVER_TRIES && c->target->health != NULL &&
        c->target->health(c->target) != INL_HEALTH_GOOD &&
        inl_router_has_good(c->failover->router, c->req.host, c->req.path,
                            &pick)) {
        conclude(c, INL_OUTCOME_NONE);
        inl_flow_stop(&c->out, INLETS_ECANCELED);
        move_on(c, INLETS_ESILENT);
    }
    if (!c->over) {
        (void)inl_timer_at(env, timer, env->now_ms + INL_FAILOVER_LOOK_MS);
    }
}

/* It was never sent: whoever is well may have it. */
static void unpark(struct call *c)
{
    const struct inl_pick pick = pick_of(c);

    if (c->kept && c->tries < INL_FAILOVER_TRIES && inl_flow_tied(&c->in) &&
        inl_router_has_good(c->failover->router, c->req.host, c->req.path,
                            &pick)) {
        conclude(c, INL_OUTCOME_NONE);
        inl_flow_stop(&c->out, INLETS_ECANCELED);
        move_on(c, INLETS_EUNAVAILABLE);
    }
}

/* Any of them may end meanwhile: it is in one of the two lists until then. */
static void wake(struct inl_later *later)
{
    struct inl_failover *f = inl_container(later, struct inl_failover, wake);
    struct inl_list round, *n;

    inl_list_init(&round);
    inl_list_splice(&round, &f->parked);
    while ((n = inl_list_pop(&round)) != NULL) {
        inl_list_push_back(&f->parked, n);
        unpark(inl_container(n, struct call, parked));
    }
}

/* ---- from the target -------------------------------------------------- */

/* Tells the visitor its target, if there is room for one more field. */
static void pass_with_cookie(struct call *c, const struct inlets_head *head)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head more = *head;
    char text[INL_STICK_SET_SIZE];

    if (head->nfields < INL_FORWARD_MAX_FIELDS) {
        if (head->nfields > 0) {
            memcpy(fields, head->fields, head->nfields * sizeof(fields[0]));
        }
        fields[more.nfields++] = (struct inlets_field){
            INL_LIT("Set-Cookie"), inl_stick_set_cookie(c->new_key, text)};
        more.fields = fields;
    }
    inl_flow_head(&c->in, &more);
}

static void out_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct call *c = inl_container(f, struct call, out);

    c->answered = true;
    if (head->status < 200 && head->status != 101) {
        inl_flow_head(&c->in, head);
        return;
    }
    c->final = true;
    conclude(c, is_gateway_failure(head->status) ? INL_OUTCOME_BAD
                                                 : INL_OUTCOME_GOOD);
    if (c->new_key != 0) {
        pass_with_cookie(c, head);
    } else {
        inl_flow_head(&c->in, head);
    }
    if (!c->over && !c->opening) {
        step_aside(c);
    }
}

static void out_body(struct inl_flow *f, struct inlets_slice data)
{
    inl_flow_body(&inl_container(f, struct call, out)->in, data);
}

static void out_stop(struct inl_flow *f, int err)
{
    struct call *c = inl_container(f, struct call, out);

    if (c->final) {
        give_up(c, err);
        return;
    }
    err = err == 0 ? INLETS_EUPSTREAM : err; /* complete, without a head? */
    conclude(c, is_failure(err) ? INL_OUTCOME_BAD : INL_OUTCOME_NONE);
    if (c->opening) {
        c->stop_err = err;
    } else if (may_move(c, err)) {
        move_on(c, err);
    } else {
        give_up(c, err);
    }
}

static void out_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct call *c = inl_container(f, struct call, out);

    if (!c->final) {
        inl_flow_stop(f, INLETS_ECANCELED);
        out_stop(f, INLETS_EUPSTREAM);
        return;
    }
    inl_flow_end(&c->in, trailers);
    over_if_untied(c);
}

static void out_credit(struct inl_flow *f, size_t bytes)
{
    struct call *c = inl_container(f, struct call, out);

    if (c->kept) {
        c->owed += bytes;
    } else {
        inl_flow_credit(&c->in, bytes);
    }
}

static void out_hold(struct inl_flow *f, bool held)
{
    struct call *c = inl_container(f, struct call, out);

    c->held_up = held;
    if (!held) {
        inl_list_remove(&c->parked);
    } else if (c->opening && !inl_list_linked(&c->parked)) {
        inl_list_push_back(&c->failover->parked, &c->parked);
    }
    inl_flow_hold(&c->in, held);
}

static const struct inl_flow_ops out_ops = {.head = out_head,
                                            .body = out_body,
                                            .end = out_end,
                                            .stop = out_stop,
                                            .credit = out_credit,
                                            .hold = out_hold};

/* ---- from the caller -------------------------------------------------- */

/* Is there room to hold it? What is known to be too long is not begun. */
static bool can_hold(const struct call *c, size_t len)
{
    return c->opening ||
           (c->head->content_length <= (int64_t)INL_FAILOVER_HOLD_BYTES &&
            c->held.bytes + len <= INL_FAILOVER_HOLD_BYTES);
}

static void in_body(struct inl_flow *f, struct inlets_slice data)
{
    struct call *c = inl_container(f, struct call, in);

    if (!c->kept) {
        inl_flow_body(&c->out, data);
    } else if (can_hold(c, data.len) &&
               inl_queue_append_slice(&c->held, data) == 0) {
        if (!c->opening) {
            inl_flow_body(&c->out, data);
        }
    } else if (!c->opening) {
        c->kept = false; /* passed on first: the credit may bring more */
        inl_flow_body(&c->out, data);
        if (!c->over) {
            let_go(c);
        }
    } else {
        give_up(c, INLETS_ENOMEM);
        inl_flow_stop(&c->out, INLETS_ECANCELED);
    }
}

static void in_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct call *c = inl_container(f, struct call, in);

    c->ended = true;
    if (c->kept && trailers != NULL && trailers->nfields > 0) {
        c->trailers = inl_head_dup(trailers);
        c->kept = c->trailers != NULL;
    }
    if (!c->opening) {
        inl_flow_end(&c->out, trailers);
        over_if_untied(c);
    }
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

static void in_hold(struct inl_flow *f, bool held)
{
    inl_flow_hold(&inl_container(f, struct call, in)->out, held);
}

static const struct inl_flow_ops in_ops = {.body = in_body,
                                           .end = in_end,
                                           .stop = in_stop,
                                           .credit = in_credit,
                                           .hold = in_hold};

/* ---- opening ---------------------------------------------------------- */

static bool has_method(const struct inlets_head *head,
                       const char *const *methods, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (inl_slice_eq(head->method, inl_str(methods[i]))) {
            return true;
        }
    }
    return false;
}

/* RFC 9110 9.2.1 and 9.2.2. After an upgrade there are raw bytes, which
 * nobody can take back. */
static bool is_repeatable(const struct inlets_head *head, bool *ret_safe)
{
    static const char *const methods[] = {"GET",   "HEAD", "OPTIONS",
                                          "TRACE", "PUT",  "DELETE"};
    bool plain = (head->content_length == INLETS_LENGTH_NONE ||
                  head->content_length == 0) &&
                 (head->flags & INLETS_HEAD_UPGRADE) == 0;

    *ret_safe = plain && has_method(head, methods, 4);
    return *ret_safe || (plain && has_method(head, methods + 4, 2));
}

static struct call *call_new(struct inl_failover *f,
                             const struct inl_request *req,
                             const struct inlets_head *head)
{
    size_t text = req->host.len + req->path.len + req->id.len + req->peer.len;
    struct call *c = inl_malloc(sizeof(*c) + text);
    char *at;

    if (c == NULL) {
        return NULL;
    }
    *c = (struct call){.failover = f, .kept = true};
    c->head = inl_head_dup(head);
    if (c->head == NULL) {
        inl_free(c);
        return NULL;
    }
    at = c->text;
    c->req.head = c->head;
    c->req.host = inl_slice_keep(&at, req->host);
    c->req.path = inl_slice_keep(&at, req->path);
    c->req.id = inl_slice_keep(&at, req->id);
    c->req.peer = inl_slice_keep(&at, req->peer);
    inl_flow_init(&c->in, &in_ops);
    inl_flow_init(&c->out, &out_ops);
    inl_timer_init(&c->timer, look);
    inl_later_init(&c->free, call_free);
    inl_list_init(&c->node);
    inl_list_init(&c->watch);
    inl_list_init(&c->parked);
    inl_list_push_back(&f->calls, &c->node);
    return c;
}

/* A call whose request does not show our cookie to the upstream. */
static struct call *call_new_stripped(struct inl_failover *f,
                                      const struct inl_request *req)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    size_t bytes = req->head->nfields > INL_FORWARD_MAX_FIELDS
                       ? 0
                       : inl_stick_bytes(req->head);
    struct inlets_head head;
    struct call *c;
    uint64_t key;
    char *buf;

    if (bytes == 0) {
        return call_new(f, req, req->head);
    }
    buf = inl_malloc(bytes);
    if (buf == NULL) {
        return NULL;
    }
    inl_stick_strip(req->head, fields, buf, &head, &key);
    c = call_new(f, req, &head);
    inl_free(buf);
    if (c != NULL) {
        c->key = key;
    }
    return c;
}

/* The first try. Refused: nothing was called, so the caller is only untied. */
static int start(struct call *c, struct inl_flow *caller)
{
    struct inl_env *env = c->failover->env;
    int err;

    inl_flow_tie(caller, &c->in);
    err = find_target(c, 0);
    if (c->over) {
        return 0;
    }
    if (err != 0 && c->answered) {
        give_up(c, err);
        return 0;
    }
    if (err != 0) {
        call_over(c);
        inl_flow_untie(&c->in);
        return err;
    }
    if (c->repeatable) {
        (void)inl_timer_at(env, &c->timer, env->now_ms + INL_FAILOVER_LOOK_MS);
    }
    return 0;
}

static int pass_straight(struct inl_failover *f, struct inl_route *route,
                         const struct inl_request *req, struct inl_flow *caller)
{
    const struct inl_pick pick = {.peer = req->peer};
    struct inl_target *t;
    int err = inl_route_pick(f->router, route, &pick, &t);

    return err != 0 ? err : inl_service_open(t->service, req, caller);
}

static int failover_open(struct inl_service *s, const struct inl_request *req,
                         struct inl_flow *caller)
{
    struct inl_failover *f = inl_container(s, struct inl_failover, service);
    struct inl_route *route = inl_router_match(f->router, req->host, req->path);
    bool by_cookie = f->router->stick == INL_STICK_COOKIE;
    bool repeatable, safe;
    struct call *c;

    if (route == NULL) {
        return INLETS_ENOROUTE;
    }
    if (inl_http1_has_dot_segments(req->path) &&
        inl_router_has_paths(f->router, req->host)) {
        return INLETS_EDOTS; /* what it means depends on who reads it */
    }
    repeatable = is_repeatable(req->head, &safe);
    if (!safe && !by_cookie && !inl_route_has_choice(route) &&
        !inl_route_is_lost(route)) {
        return pass_straight(f, route, req, caller);
    }
    c = by_cookie ? call_new_stripped(f, req) : call_new(f, req, req->head);
    if (c == NULL) {
        return INLETS_ENOMEM;
    }
    c->repeatable = repeatable;
    c->route = route;
    return start(c, caller);
}

static const struct inl_service_ops failover_ops = {.open = failover_open};

void inl_failover_init(struct inl_failover *f, struct inl_env *env,
                       struct inl_router *router)
{
    *f = (struct inl_failover){
        .service = {&failover_ops}, .env = env, .router = router};
    inl_list_init(&f->calls);
    inl_list_init(&f->parked);
    inl_later_init(&f->wake, wake);
    router->on_added = &f->wake;
}

void inl_failover_fini(struct inl_failover *f)
{
    struct inl_list *n;

    f->router->on_added = NULL;
    inl_list_remove(&f->wake.node);
    while ((n = f->calls.next) != &f->calls) {
        struct call *c = inl_container(n, struct call, node);

        call_over(c);
        inl_flow_stop(&c->out, INLETS_ECLOSED);
        inl_flow_stop(&c->in, INLETS_ECLOSED);
    }
}
