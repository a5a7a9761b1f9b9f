/* Hostile callbacks: a service, a caller and a C handler that stop, end, cut
 * and close from inside every callback; and machines whose life ends twice.
 *
 * They keep the contract of flow.h (heads before bodies, no byte without
 * credit, nothing after the end), since in-process services are ours; all
 * that the contract allows is done, at the worst moments. */
#include "world/suite.h"

#include "base/mem.h"
#include "base/slice.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS 150u
#define VISITORS 14u
#define TAG 5u

struct hostile {
    struct inl_list node;
    struct arena *arena;
    struct inl_flow flow;
    bool is_caller;
    bool said_head, ended, stopped, got_end;
    int64_t declared; /* -1: not said */
    uint64_t sent;
    size_t got;      /* bytes that came and are not paid */
    unsigned number; /* of the visitor, from the path */
    unsigned depth;
};

struct arena {
    struct world_chain c;
    struct inl_list ends, users;
    struct inl_service service;
    struct inl_target target;
    struct inl_local local; /* on the exit node */
    struct inl_target local_target;
    struct world_visitor *v[VISITORS];
    bool calm;       /* no more malice: the end of the run */
    unsigned malice; /* one callback in so many does something grave */
};

/* ---- grave things that any callback may do ----------------------------- */

static void grave(struct arena *a)
{
    struct world *w = a->c.w;
    struct inl_session *exit = world_exit_session(a->c.exit);
    struct inl_session *dev = world_dev_session(a->c.dev);

    if (a->calm || world_below(w, a->malice) != 0) {
        return;
    }
    switch (world_below(w, 10)) {
    case 0:
        if (exit != NULL) {
            inl_session_close(exit,
                              world_below(w, 2) == 0 ? 0 : INLETS_EGOAWAY);
            inl_session_close(exit, 0); /* twice is once */
        }
        break;
    case 1:
        if (dev != NULL) {
            inl_session_close(dev, 0);
            inl_session_drain(dev, 0, INL_LIT("too late"));
        }
        break;
    case 2:
        if (exit != NULL) {
            inl_session_drain(exit, INLETS_EGOAWAY, INL_LIT("leave"));
        }
        break;
    case 3:
        if (dev != NULL) {
            inl_session_drain(dev, 0, INL_LIT("leaving"));
        }
        break;
    case 4:
        if (a->c.dev->pipe != NULL) {
            world_cut(a->c.dev->pipe, (enum world_cut)world_below(w, 2));
        }
        break;
    case 5:
        inl_visitors_close(&a->c.exit->visitors);
        break;
    case 6:
        inl_failover_fini(&a->c.exit->failover);
        break;
    case 7:
        inl_local_fini(&a->local);
        break;
    case 8:
        inl_local_fini(&a->c.dev->endpoints[2].local);
        break;
    default:
        inl_router_remove(&a->c.exit->router, &a->target);
        break;
    }
}

/* ---- hostile flow ends ------------------------------------------------- */

static void say_head(struct hostile *h)
{
    struct world *w = h->arena->c.w;
    const struct inlets_field field = {INL_LIT("X-Hostile"), INL_LIT("yes")};
    struct inlets_head head = {.status = 299,
                               .content_length = INLETS_LENGTH_UNKNOWN,
                               .fields = &field,
                               .nfields = 1};

    if (h->is_caller || h->said_head) {
        return;
    }
    switch (world_below(w, 6)) {
    case 0:
        head.status = 103;
        inl_flow_head(&h->flow, &head);
        return;
    case 1:
        head.content_length = (int64_t)world_below(w, 5000);
        break;
    case 2:
        head.content_length = INLETS_LENGTH_NONE;
        break;
    default:
        break;
    }
    h->said_head = true;
    h->declared = head.content_length;
    inl_flow_head(&h->flow, &head);
}

static void say_body(struct hostile *h)
{
    struct world *w = h->arena->c.w;
    uint8_t bytes[30000];
    size_t n = world_below(w, world_below(w, 2) == 0 ? 30000 : 900);

    n = n < h->flow.tx_credit ? n : h->flow.tx_credit;
    if ((!h->is_caller && !h->said_head) || h->ended || h->flow.tx_ended ||
        !inl_flow_tied(&h->flow) || h->is_caller) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        bytes[i] = world_byte(TAG, h->sent + i);
    }
    h->sent += n;
    inl_flow_body(&h->flow, inl_slice(bytes, n));
}

static void say_end(struct hostile *h)
{
    const struct inlets_field field = {INL_LIT("X-Sum"), INL_LIT("1")};
    const struct inlets_head trailers = {.fields = &field, .nfields = 1};

    if (!h->ended && inl_flow_tied(&h->flow) &&
        (h->is_caller || h->said_head)) {
        h->ended = true;
        inl_flow_end(&h->flow,
                     world_below(h->arena->c.w, 3) == 0 ? &trailers : NULL);
        inl_flow_end(&h->flow, NULL); /* the second is ignored */
    }
}

static void pay(struct hostile *h)
{
    size_t n = h->got;

    h->got = 0;
    inl_flow_credit(&h->flow, n);
}

static void act(struct hostile *h)
{
    struct world *w = h->arena->c.w;
    static const int reasons[] = {0,
                                  INLETS_ECANCELED,
                                  INLETS_EUPSTREAM,
                                  INLETS_ENOMEM,
                                  INLETS_ECLOSED,
                                  INLETS_ESILENT};

    if (h->depth > 6) {
        return;
    }
    h->depth++;
    for (size_t steps = world_below(w, 4); steps > 0; steps--) {
        switch (world_below(w, 9)) {
        case 0:
            say_head(h);
            break;
        case 1:
        case 2:
            say_body(h);
            break;
        case 3:
            say_end(h);
            break;
        case 4:
        case 5:
            pay(h);
            break;
        case 6:
            grave(h->arena);
            break;
        case 7:
            if (world_below(w, 3) == 0) {
                inl_flow_stop(&h->flow, reasons[world_below(w, 6)]);
            }
            break;
        default:
            break;
        }
    }
    h->depth--;
}

static void on_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct hostile *h = inl_container(f, struct hostile, flow);

    WORLD_CHECK(h->is_caller && !h->stopped && head->status >= 100);
    act(h);
}

static void on_body(struct inl_flow *f, struct inlets_slice data)
{
    struct hostile *h = inl_container(f, struct hostile, flow);

    WORLD_CHECK(!h->stopped && !h->got_end && data.len > 0);
    h->got += data.len;
    act(h);
}

static void on_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct hostile *h = inl_container(f, struct hostile, flow);

    (void)trailers;
    WORLD_CHECK(!h->stopped && !h->got_end);
    h->got_end = true;
    act(h);
}

static void on_stop(struct inl_flow *f, int err)
{
    struct hostile *h = inl_container(f, struct hostile, flow);

    (void)err;
    WORLD_CHECK(!h->stopped && !inl_flow_tied(f));
    h->stopped = true;
    act(h);
}

static void on_credit(struct inl_flow *f, size_t bytes)
{
    struct hostile *h = inl_container(f, struct hostile, flow);

    WORLD_CHECK(!h->stopped && bytes > 0);
    /* a stream has just sent a piece of what we gave it: gone, in its turn */
    if (!h->arena->calm && h->sent > 20000 &&
        world_below(h->arena->c.w, 5) == 0) {
        inl_flow_stop(&h->flow, INLETS_ECANCELED);
    }
    act(h);
}

static const struct inl_flow_ops flow_ops = {on_head, on_body, on_end, on_stop,
                                             on_credit};

static struct hostile *hostile_new(struct arena *a, bool is_caller)
{
    struct hostile *h = calloc(1, sizeof(*h));

    WORLD_CHECK(h != NULL);
    h->arena = a;
    h->is_caller = is_caller;
    h->declared = -1;
    h->number = VISITORS;
    inl_flow_init(&h->flow, &flow_ops);
    inl_list_init(&h->node);
    inl_list_push_back(&a->ends, &h->node);
    return h;
}

static int hostile_open(struct inl_service *s, const struct inl_request *req,
                        struct inl_flow *caller)
{
    struct arena *a = inl_container(s, struct arena, service);
    struct hostile *h;

    if (world_below(a->c.w, 12) == 0) {
        return INLETS_EUNAVAILABLE;
    }
    h = hostile_new(a, false);
    h->number = 0;
    for (size_t i = 1; i < req->path.len; i++) {
        h->number = h->number * 10 + (unsigned)(req->path.ptr[i] - '0');
    }
    inl_flow_tie(caller, &h->flow);
    act(h);
    return 0;
}

static const struct inl_service_ops hostile_ops = {hostile_open};

/* ---- a hostile C handler ------------------------------------------------ */

struct user {
    struct inl_list node;
    struct arena *arena;
    struct inlets_exchange *x;
    unsigned depth, failed;
    bool aborted; /* then only on_close may come */
};

static void user_act(struct user *u)
{
    struct world *w = u->arena->c.w;
    static const char bytes[9000];
    struct inlets_head head = {.status = 298,
                               .content_length = INLETS_LENGTH_UNKNOWN};

    if (u->depth > 6) {
        return;
    }
    u->depth++;
    for (size_t steps = world_below(w, 4); steps > 0; steps--) {
        switch (world_below(w, 12)) {
        case 0:
        case 1:
            inlets_exchange_read(u->x, world_below(w, 2) == 0 ? SIZE_MAX : 100);
            break;
        case 2:
            head.content_length = world_below(w, 2) == 0 ? 8000 : -1;
            u->failed += inlets_exchange_respond(u->x, &head) != 0;
            break;
        case 3:
            head.status = 103;
            u->failed += inlets_exchange_respond(u->x, &head) != 0;
            break;
        case 4:
        case 5: {
            int64_t took = inlets_exchange_write(
                u->x, inl_slice(bytes, world_below(w, sizeof(bytes))));

            WORLD_CHECK(took <= (int64_t)sizeof(bytes));
            break;
        }
        case 6:
            (void)inlets_exchange_end(u->x, NULL);
            break;
        case 7:
            (void)inlets_exchange_reply(u->x, 298, NULL, INL_LIT("hello"));
            break;
        case 8:
            if (world_below(w, 4) == 0) {
                inlets_exchange_abort(u->x);
                u->aborted = true;
            }
            break;
        case 9:
            grave(u->arena);
            break;
        default:
            break;
        }
    }
    u->depth--;
}

static void user_body(struct inlets_exchange *x, struct inlets_slice data,
                      void *user)
{
    WORLD_CHECK(((struct user *)user)->x == x && data.len > 0);
    WORLD_CHECK(!((struct user *)user)->aborted);
    if (world_below(((struct user *)user)->arena->c.w, 8) == 0) {
        ((struct user *)user)->aborted = true;
        inlets_exchange_abort(x);
    }
    user_act(user);
}

static void user_end(struct inlets_exchange *x,
                     const struct inlets_head *trailers, void *user)
{
    (void)trailers;
    WORLD_CHECK(((struct user *)user)->x == x);
    WORLD_CHECK(!((struct user *)user)->aborted);
    user_act(user);
}

static void user_writable(struct inlets_exchange *x, void *user)
{
    WORLD_CHECK(((struct user *)user)->x == x);
    WORLD_CHECK(!((struct user *)user)->aborted);
    user_act(user);
}

static void user_close(struct inlets_exchange *x, int err, void *user)
{
    struct user *u = user;

    (void)err;
    WORLD_CHECK(u->x == x);
    inl_list_remove(&u->node);
    grave(u->arena);
    free(u);
}

static void handler(struct inlets_exchange *x, const struct inlets_head *req,
                    void *user)
{
    struct arena *a = user;
    struct inlets_exchange_callbacks cbs = {user_body, user_end, user_writable,
                                            user_close};
    struct user *u = calloc(1, sizeof(*u));

    WORLD_CHECK(u != NULL && req->method.len > 0);
    u->arena = a;
    u->x = x;
    inl_list_init(&u->node);
    inl_list_push_back(&a->users, &u->node);
    if (world_below(a->c.w, 4) == 0) {
        cbs.on_body = NULL;
        cbs.on_end = NULL;
    }
    inlets_exchange_set_callbacks(x, &cbs, u);
    user_act(u);
    if (world_below(a->c.w, 3) == 0) {
        inlets_exchange_read(x, SIZE_MAX);
    }
}

/* ---- the arena ---------------------------------------------------------- */

static void open_target(struct arena *a, const char *endpoint,
                        struct inl_target *t, struct inl_service *service)
{
    struct inl_endpoint e;

    inl_target_init(t, service);
    WORLD_CHECK(inl_endpoint_parse(inl_str(endpoint), &e) == 0);
    WORLD_CHECK(inl_router_add(&a->c.exit->router, &e, t) == 0);
}

static void arena_open(struct arena *a, uint64_t seed)
{
    struct world_net net = {(uint32_t)(seed % 3), 200 + seed % 9 * 2000, 0,
                            5000 + seed % 4 * 40000};

    *a = (struct arena){.service = {&hostile_ops}, .malice = 6};
    inl_list_init(&a->ends);
    inl_list_init(&a->users);
    a->c.w = world_new(seed);
    a->c.w->net = net;
    a->c.exit = world_exit_new(a->c.w);
    a->c.origin = world_origin_new(a->c.w, 8000);
    a->c.dev = world_dev_new(a->c.w);
    world_dev_upstream(a->c.dev, "app.test", 8000, "");
    world_dev_service(a->c.dev, "h.test", &a->service);
    world_dev_handler(a->c.dev, "l.test", handler, a);
    inl_local_init(&a->local, &a->c.w->env, handler, a);
    open_target(a, "x.test", &a->target, &a->service);
    open_target(a, "y.test", &a->local_target, &a->local.service);
    world_dev_start(a->c.dev);
    world_run(a->c.w, 100);
}

static void send_something(struct arena *a, unsigned i)
{
    static const char *const hosts[] = {"h", "l", "x", "y", "app", "none"};
    struct world *w = a->c.w;
    struct world_visitor *v = a->v[i];
    const char *host = hosts[world_below(w, 6)];
    char path[32];
    size_t n =
        world_below(w, 3) == 0 ? world_below(w, 700000) : world_below(w, 3000);

    (void)snprintf(path, sizeof(path), "/%u", i);
    if (strcmp(host, "app") == 0) {
        (void)snprintf(path, sizeof(path), "/chunked/%zu", n);
    }
    switch (world_below(w, 4)) {
    case 0:
        wh_expect(&v->http, false);
        world_send(v, "GET %s HTTP/1.%u\r\nHost: %s.test\r\n\r\n", path,
                   (unsigned)world_below(w, 2), host);
        break;
    case 1:
        wh_expect(&v->http, true);
        world_send(v, "HEAD %s HTTP/1.1\r\nHost: %s.test\r\n\r\n", path, host);
        break;
    case 2:
        wh_expect(&v->http, false);
        world_send(v,
                   "POST %s HTTP/1.1\r\nHost: %s.test\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   path, host, n);
        world_write_body(v->end, TAG, n);
        break;
    default:
        wh_expect(&v->http, false);
        world_send(v,
                   "POST %s HTTP/1.1\r\nHost: %s.test\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n",
                   path, host);
        world_write_chunked(v->end, TAG, n);
        break;
    }
}

/* What a visitor took for whole was said to be whole. */
static void check_answer(const struct arena *a, unsigned i)
{
    const struct world_answer *got = &a->v[i]->answers[0];
    const struct hostile *h = NULL;

    for (struct inl_list *n = a->ends.next; n != &a->ends; n = n->next) {
        const struct hostile *one = inl_container(n, struct hostile, node);

        /* a request may have been moved: the last one answered */
        h = one->number == i && one->said_head ? one : h;
    }
    if (!world_is_whole(a->v[i], 0) || got->status != 299 || got->len == 0) {
        return;
    }
    WORLD_CHECK(h != NULL && h->sent >= got->len);
    WORLD_CHECK(h->ended ||
                (h->declared >= 0 && (uint64_t)h->declared == got->len));
    WORLD_CHECK(got->hash == world_body_hash(TAG, got->len));
    WORLD_CHECK(h->declared < 0 || (uint64_t)h->declared == got->len);
    WORLD_CHECK(h->declared >= 0 || h->sent == got->len);
}

/* A hostile caller: opens what the exit node routes to. */
static void call_something(struct arena *a)
{
    static const char *const hosts[] = {"h.test", "l.test", "x.test", "y.test",
                                        "app.test"};
    const struct inlets_field field = {INL_LIT("X-From"), INL_LIT("inside")};
    struct inlets_head head = {.method = INL_LIT("GET"),
                               .target = INL_LIT("/99"),
                               .content_length = INLETS_LENGTH_NONE,
                               .fields = &field,
                               .nfields = 1};
    struct inl_request req = {.head = &head,
                              .path = INL_LIT("/99"),
                              .id = INL_LIT("0123456789abcdef")};
    struct hostile *h = hostile_new(a, true);

    req.host = inl_str(hosts[world_below(a->c.w, 5)]);
    head.host = req.host;
    if (inl_service_open(&a->c.exit->failover.service, &req, &h->flow) == 0) {
        act(h);
        if (inl_flow_tied(&h->flow) && world_below(a->c.w, 2) == 0) {
            say_end(h);
        }
    } else {
        WORLD_CHECK(!inl_flow_tied(&h->flow));
    }
}

static void arena_close(struct arena *a)
{
    struct inl_list *n, *tmp;

    a->calm = true;
    inl_list_each(&a->ends, n, tmp)
    {
        inl_flow_stop(&inl_container(n, struct hostile, node)->flow,
                      INLETS_ECLOSED);
    }
    /* A handler that has answered and never reads keeps its stream. */
    inl_list_each(&a->users, n, tmp)
    {
        inlets_exchange_abort(inl_container(n, struct user, node)->x);
    }
    for (unsigned i = 0; i < VISITORS; i++) {
        world_visitor_leave(a->v[i], true);
    }
    world_run(a->c.w, 40000);
    /* An upload that nobody reads hides the FIN of a visitor who left. */
    inl_visitors_close(&a->c.exit->visitors);
    world_run(a->c.w, 2000);
    assert_int_equal(inl_gate_nstreams(&a->c.exit->gate), 0);
    for (n = a->c.dev->remote.tunnels.next; n != &a->c.dev->remote.tunnels;
         n = n->next) {
        assert_int_equal(
            inl_session_nstreams(
                inl_container(n, struct inl_remote_tunnel, node)->session),
            0);
    }
    for (unsigned i = 0; i < VISITORS; i++) {
        world_visitor_free(a->v[i]);
    }
    inl_router_remove(&a->c.exit->router, &a->target);
    inl_router_remove(&a->c.exit->router, &a->target); /* twice */
    inl_router_remove(&a->c.exit->router, &a->local_target);
    inl_local_fini(&a->local);
    world_settle(a->c.w);
    while ((n = inl_list_pop(&a->ends)) != NULL) {
        free(inl_container(n, struct hostile, node));
    }
    world_chain_close(&a->c);
}

/* From outside of all callbacks, too. */
static void poke(struct arena *a)
{
    struct inl_list *n, *tmp;

    inl_list_each(&a->users, n, tmp)
    {
        if (world_below(a->c.w, 3) == 0) {
            user_act(inl_container(n, struct user, node));
        }
    }
    inl_list_each(&a->ends, n, tmp)
    {
        if (world_below(a->c.w, 6) == 0) {
            act(inl_container(n, struct hostile, node));
        }
    }
}

static void run_seed(uint64_t seed)
{
    struct arena a;

    arena_open(&a, seed);
    for (unsigned i = 0; i < VISITORS; i++) {
        a.v[i] = world_visit(a.c.exit);
        send_something(&a, i);
        if (world_below(a.c.w, 3) == 0) {
            call_something(&a);
        }
        world_run(a.c.w, world_below(a.c.w, 5));
        poke(&a);
        if (world_below(a.c.w, 6) == 0) {
            world_visitor_leave(a.v[world_below(a.c.w, i + 1)],
                                world_below(a.c.w, 2) == 0);
        }
        if (a.target.route == NULL && world_below(a.c.w, 2) == 0) {
            open_target(&a, "x.test", &a.target, &a.service);
        }
    }
    for (unsigned i = 0; i < 10; i++) {
        world_run(a.c.w, 20);
        poke(&a);
    }
    world_run(a.c.w, 3000);
    for (unsigned i = 0; i < VISITORS; i++) {
        check_answer(&a, i);
    }
    arena_close(&a);
}

static void test_hostile_callbacks(void **state)
{
    const char *only = getenv("WORLD_SEED");

    (void)state;
    if (only != NULL) {
        run_seed(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed);
    }
}

/* The request is the handler's until it returns, even if it gave up. */
static void aborting_handler(struct inlets_exchange *x,
                             const struct inlets_head *req, void *user)
{
    const struct inlets_head head = {.status = 200,
                                     .content_length = INLETS_LENGTH_UNKNOWN};
    uint64_t *sum = user;

    assert_int_equal(inlets_exchange_respond(x, &head), 0);
    inlets_exchange_abort(x);
    for (size_t i = 0; i < req->nfields; i++) {
        *sum =
            world_hash(*sum, req->fields[i].name.ptr, req->fields[i].name.len);
        *sum = world_hash(*sum, req->fields[i].value.ptr,
                          req->fields[i].value.len);
    }
}

static void test_request_after_abort(void **state)
{
    uint64_t sum = 0;
    struct inl_local local;
    struct inl_target target;
    struct inl_endpoint e;
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    inl_local_init(&local, &c.w->env, aborting_handler, &sum);
    inl_target_init(&target, &local.service);
    assert_int_equal(inl_endpoint_parse(inl_str("here.test"), &e), 0);
    assert_int_equal(inl_router_add(&c.exit->router, &e, &target), 0);
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "POST / HTTP/1.1\r\nHost: here.test\r\n"
                  "Content-Length: 3\r\n\r\nabc");
    world_run(c.w, 3000);
    assert_int_not_equal(sum, 0);
    assert_true(v->gone && !world_is_whole(v, 0));
    world_visitor_free(v);
    inl_router_remove(&c.exit->router, &target);
    inl_local_fini(&local);
    world_chain_close(&c);
}

/* A service that ends everything while it is being opened, and then refuses:
 * the visitor has been answered, once. */
struct quitter {
    struct inl_service service;
    struct inl_failover *failover;
    unsigned opened;
};

static int quitter_open(struct inl_service *s, const struct inl_request *req,
                        struct inl_flow *caller)
{
    struct quitter *q = inl_container(s, struct quitter, service);

    (void)req;
    (void)caller;
    q->opened++;
    inl_failover_fini(q->failover);
    return INLETS_EUNAVAILABLE;
}

static const struct inl_service_ops quitter_ops = {quitter_open};

static void test_end_while_opening(void **state)
{
    struct quitter q = {.service = {&quitter_ops}};
    struct inl_target target;
    struct inl_endpoint e;
    struct world_chain c;
    struct world_visitor *v;

    (void)state;
    world_chain_open(&c, 1, NULL);
    q.failover = &c.exit->failover;
    inl_target_init(&target, &q.service);
    assert_int_equal(inl_endpoint_parse(inl_str("quit.test"), &e), 0);
    assert_int_equal(inl_router_add(&c.exit->router, &e, &target), 0);
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "GET / HTTP/1.1\r\nHost: quit.test\r\n\r\n");
    world_run(c.w, 1000);
    assert_int_equal(q.opened, 1);
    assert_int_equal(v->nanswers, 1);
    assert_true(world_is_whole(v, 0));
    world_visitor_free(v);
    inl_router_remove(&c.exit->router, &target);
    world_chain_close(&c);
}

/* ---- lifecycle ---------------------------------------------------------- */

/* Fed after close, closed twice, drained when closed: nothing happens. */
static void test_after_the_end(void **state)
{
    struct world_chain c;
    struct world_visitor *v;
    struct inl_session *s;
    struct inl_link *link;

    (void)state;
    world_chain_open(&c, 1, NULL);
    v = world_visit(c.exit);
    link = &v->end->other->link;
    world_get(v, "/hang");
    world_run(c.w, 100);
    s = world_exit_session(c.exit);
    inl_session_close(s, 0);
    inl_session_close(s, INLETS_EPROTO);
    inl_session_drain(s, 0, INL_LIT("again"));
    inl_link_rx(s->lanes[0]->lane.link, (const uint8_t *)"xyz", 3);
    inl_link_rx_eof(s->lanes[0]->lane.link);
    inl_link_rx_eof(s->lanes[0]->lane.link);
    s = world_dev_session(c.dev);
    inl_link_close(s->lanes[0]->lane.link, INLETS_ERESET);
    inl_link_close(s->lanes[0]->lane.link, 0);
    inl_link_reset(s->lanes[0]->lane.link, 0);
    inl_link_rx(s->lanes[0]->lane.link, (const uint8_t *)"\x82\x05hello", 7);
    inl_link_linger(s->lanes[0]->lane.link);
    inl_link_shutdown(s->lanes[0]->lane.link);
    inl_session_close(s, 0);
    assert_int_equal(inl_session_offer(s, 9, INL_LIT("late.test")),
                     INLETS_ECLOSED);
    assert_int_equal(inl_session_withdraw(s, 1), INLETS_ECLOSED);
    inl_link_close(link, 0);
    inl_link_rx(link, (const uint8_t *)"GET / HTTP/1.1\r\n\r\n", 18);
    inl_link_rx_eof(link);
    assert_int_equal(inl_link_write(link, "x", 1), INLETS_ECLOSED);
    inl_visitors_drain(&c.exit->visitors);
    inl_visitors_close(&c.exit->visitors);
    inl_visitors_close(&c.exit->visitors);
    inl_uplink_cancel(&c.dev->remote.home.uplink);
    inl_uplink_cancel(&c.dev->remote.home.uplink);
    world_run(c.w, 1000);
    world_visitor_free(v);
    /* it is back by itself */
    assert_int_equal(world_exit_ntunnels(c.exit), 1);
    inl_upstream_close(c.dev->endpoints[0].upstream);
    inl_upstream_close(NULL);
    v = world_visit(c.exit);
    world_get(v, "/len/5");
    world_settle(c.w);
    world_run(c.w, 0);
    c.dev->endpoints[0].upstream = NULL;
    c.dev->endpoints[0].service = NULL;
    world_run(c.w, 100);
    assert_int_equal(v->answers[0].status, 503);
    world_visitor_free(v);
    inl_reconnect_close(&c.dev->remote.home.reconnect);
    inl_reconnect_start(&c.dev->remote.home.reconnect);
    inl_reconnect_ready(&c.dev->remote.home.reconnect);
    (void)inl_reconnect_lost(&c.dev->remote.home.reconnect, 0, 0);
    world_run(c.w, 1000);
    assert_int_equal(c.dev->remote.home.reconnect.state, INL_RECONNECT_CLOSED);
    world_chain_close(&c);
}

/* A session that never got a link, and a dial that is given up. */
static void test_never_began(void **state)
{
    static const struct inl_session_ops ops;
    const struct inl_session_config config = {.ops = &ops,
                                              .role = INL_SESSION_OPENER,
                                              .max_streams = 1,
                                              .lane = {10, 20},
                                              .agent = INL_LIT("x")};
    struct world *w = world_new(1);
    struct world_origin *o = world_origin_new(w, 8000);
    struct world_dev *d = world_dev_new(w);

    (void)state;
    inl_session_free(inl_session_new(&w->env, &config));
    inl_session_free(NULL);
    world_dev_upstream(d, "", 8000, "");
    world_dev_start(d);
    world_run(w, 1);
    world_dev_close(d);
    d = world_dev_new(w);
    world_dev_upstream(d, "", 8000, "");
    world_listen(w, "exit", 80, NULL, NULL)->mode = WORLD_IGNORE;
    world_dev_start(d);
    world_run(w, 5000);
    world_dev_close(d);
    world_origin_free(o);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_callbacks),
        cmocka_unit_test(test_request_after_abort),
        cmocka_unit_test(test_end_while_opening),
        cmocka_unit_test(test_after_the_end),
        cmocka_unit_test(test_never_began),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
