/* nodes.c: an exit node and a dev machine, put together as lib/node does it,
 * but over the fake dialer. What node/ does beyond that (options, public
 * states, listeners) is tested in test/e2e and test/threads. */
#include "world.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the exit node ---------------------------------------------------- */

static struct world_exit *exit_of(const struct inl_gate *g)
{
    return g->config.owner;
}

static int exit_authorise(struct inl_gate *g, const struct inl_link *link,
                          const struct inlets_head *head, struct inl_ask *ask,
                          struct inl_gate_identity *ret_shown,
                          const char **ret_why)
{
    struct inlets_slice account = inl_head_find(head, INL_LIT("World-Account"));

    (void)link;
    (void)ask;
    (void)ret_why;
    (void)snprintf(ret_shown->account, sizeof(ret_shown->account), "%.*s",
                   (int)account.len, account.ptr);
    return exit_of(g)->refuses ? INLETS_EAUTH : 0;
}

static void exit_tune(struct inl_gate *g, struct inl_link *link)
{
    exit_of(g)->last_tunnel = world_end_of(link);
}

static int exit_route(struct inl_gate_client *c, struct inl_target *target,
                      const struct inl_endpoint *endpoint,
                      struct inlets_slice text, struct inlets_slice *ret_text)
{
    (void)text;
    (void)ret_text;
    return inl_router_add(&exit_of(c->gate)->router, endpoint, target);
}

static void exit_unroute(struct inl_gate_client *c, struct inl_target *target,
                         struct inlets_slice text)
{
    (void)text;
    inl_router_remove(&exit_of(c->gate)->router, target);
}

static void exit_goaway(struct inl_gate_client *c, int err,
                        struct inlets_slice text)
{
    (void)text;
    world_note(exit_of(c->gate)->world, "exit: goaway %s", inlets_errname(err));
}

static void exit_down(struct inl_gate_client *c, int err)
{
    struct world_exit *x = exit_of(c->gate);

    world_note(x->world, "exit: session down, %s", inlets_errname(err));
    x->last_down = err;
    x->downs++;
}

static const struct inl_gate_ops exit_ops = {.authorise = exit_authorise,
                                             .tune = exit_tune,
                                             .route = exit_route,
                                             .unroute = exit_unroute,
                                             .goaway = exit_goaway,
                                             .down = exit_down};

static int open_tunnel(void *user, struct inl_link *link,
                       const struct inlets_head *head, struct inl_ask *ask,
                       const char **ret_why)
{
    struct world_exit *x = user;

    return inl_gate_open(&x->gate, link, head, ask, ret_why);
}

void world_exit_accept(struct world_end *e, void *user)
{
    struct world_exit *x = user;

    inl_visitor_start(&x->config, &x->visitors, world_link(e, "203.0.113.9"));
}

void world_exit_config(struct world *w, struct inl_gate_config *config)
{
    *config = (struct inl_gate_config){
        .ops = &exit_ops,
        .env = &w->env,
        .lane = {10000, 20000},
        .max_streams = 16384,
        .agent = INL_LIT("world"),
        .resume_ms = 10000,
        .lanes = INL_SESSION_LANES,
    };
}

/* So that each scenario shows that what is counted is given back. Its seeds are
 * not missing in the randomness of the traces that were recorded. */
static void count_requests(struct world_exit *x)
{
    const struct inlets_slice rules =
        INL_LIT("{\"visitors\": [{\"host\": \"*\", \"concurrent\": 1000000, "
                "\"concurrent_per_address\": 1000000}]}");
    struct inl_env *env = &x->world->env;
    const struct inl_env before = *env;
    uint64_t random_state = x->world->random_state;
    struct inl_visitors_doc doc;
    char why[INL_VISITORS_WHY];

    inl_guard_init(&x->guard, env, &x->router, &x->failover.service, NULL);
    WORLD_CHECK(inl_visitors_doc_parse(&doc, rules, why) == 0);
    WORLD_CHECK(inl_guard_set(&x->guard, &doc) == 0);
    inl_visitors_doc_fini(&doc);
    memcpy(env->random_pool, before.random_pool, sizeof(before.random_pool));
    env->random_left = before.random_left;
    x->world->random_state = random_state;
}

struct world_exit *world_exit_new_with(struct world *w,
                                       const struct inl_gate_config *config)
{
    struct world_exit *x = calloc(1, sizeof(*x));

    WORLD_CHECK(x != NULL);
    x->world = w;
    inl_crowd_init(&x->visitors, &w->env, 0, 0);
    inl_router_init(&x->router, &w->env);
    inl_failover_init(&x->failover, &w->env, &x->router);
    count_requests(x);
    inl_gate_init(&x->gate, config);
    x->gate.config.owner = x;
    inl_visitor_config_init(&x->config);
    x->config.service = &x->guard.service;
    x->config.port = INL_LIT("80");
    x->config.tunnel_path = INL_LIT("/tunnel");
    x->config.open_tunnel = open_tunnel;
    x->config.user = x;
    x->listener = world_listen(w, "exit", 80, world_exit_accept, x);
    return x;
}

struct world_exit *world_exit_new(struct world *w)
{
    struct inl_gate_config config;

    world_exit_config(w, &config);
    return world_exit_new_with(w, &config);
}

struct inl_session *world_exit_session(struct world_exit *x)
{
    return inl_list_empty(&x->gate.clients)
               ? NULL
               : inl_container(x->gate.clients.prev, struct inl_gate_client,
                               node)
                     ->session;
}

size_t world_exit_ntunnels(const struct world_exit *x)
{
    return x->gate.nclients;
}

void world_exit_drain(struct world_exit *x)
{
    x->config.draining = true;
    x->listener->mode = WORLD_REFUSE;
    inl_visitors_drain(&x->visitors);
    inl_gate_drain(&x->gate, INL_LIT("bye"));
}

void world_exit_close(struct world_exit *x)
{
    x->listener->mode = WORLD_REFUSE;
    inl_visitors_close(&x->visitors);
    inl_gate_close(&x->gate);
    inl_failover_fini(&x->failover);
    world_run(x->world, 65000); /* lingering is over */
    WORLD_CHECK(inl_list_empty(&x->visitors.members));
    inl_crowd_fini(&x->visitors);
    WORLD_CHECK(inl_list_empty(&x->gate.clients) && x->gate.nclients == 0);
    WORLD_CHECK(x->gate.by_ticket.count == 0);
    WORLD_CHECK(x->router.nroutes == 0);
    inl_gate_fini(&x->gate);
    WORLD_CHECK(x->guard.nrunning == 0);
    inl_guard_fini(&x->guard);
    inl_router_fini(&x->router);
    free(x);
}

/* ---- the dev machine -------------------------------------------------- */

static struct world_dev *dev_of(struct inl_remote *r)
{
    return inl_container(r, struct world_dev, remote);
}

static int dev_offer(struct inl_remote *r, struct inl_session *s)
{
    struct world_dev *d = dev_of(r);
    int err = 0;

    for (size_t i = 0; i < d->nendpoints && err == 0; i++) {
        err = inl_session_offer(s, (uint32_t)i + 1,
                                inl_str(d->endpoints[i].text));
    }
    d->ups += err == 0;
    return err;
}

static void dev_hello(struct inl_remote *r)
{
    (void)r;
}

static void dev_routed(struct inl_remote *r, uint32_t route, int err,
                       struct inlets_slice text)
{
    (void)route;
    (void)text;
    dev_of(r)->routed += err == 0;
}

static struct inl_service *dev_service(struct inl_remote *r, uint32_t route)
{
    struct world_dev *d = dev_of(r);

    return route == 0 || route > d->nendpoints || d->closed
               ? NULL
               : d->endpoints[route - 1].service;
}

static bool dev_may_retry(struct inl_remote *r, int err)
{
    struct world_dev *d = dev_of(r);

    if (err != 0) {
        d->last_err = err;
        world_note(d->world, "dev: lost, %s", inlets_errname(err));
    }
    return !d->stays_away;
}

static void dev_changed(struct inl_remote *r, int err)
{
    (void)r;
    (void)err;
}

static void dev_over(struct inl_remote *r)
{
    dev_of(r)->over = true;
}

static void dev_linked(struct inl_remote *r, struct inl_link *link)
{
    dev_of(r)->pipe = world_end_of(link)->pipe;
    dev_of(r)->links++;
}

static void dev_down(struct inl_remote *r, int err)
{
    struct world_dev *d = dev_of(r);

    world_note(d->world, "dev: session down, %s", inlets_errname(err));
    d->downs++;
}

static const struct inl_remote_ops dev_ops = {.offer = dev_offer,
                                              .hello = dev_hello,
                                              .routed = dev_routed,
                                              .service = dev_service,
                                              .may_retry = dev_may_retry,
                                              .changed = dev_changed,
                                              .over = dev_over,
                                              .linked = dev_linked,
                                              .down = dev_down};

void world_dev_config(struct world *w, struct inl_remote_config *config)
{
    static const struct inlets_slice credentials = {"Bearer secret", 13};

    *config = (struct inl_remote_config){
        .ops = &dev_ops,
        .env = &w->env,
        .dialer = &w->dialer,
        .host = "exit",
        .port = 80,
        .authority = INL_LIT("exit"),
        .target = INL_LIT("/tunnel"),
        .agent = INL_LIT("world"),
        .credentials = &credentials,
        .label = INL_LIT("exit"),
        .connect_timeout_ms = 10000,
        .retry_max_ms = 30000,
        .lane = {10000, 20000},
        .max_streams = 16384,
        .resume_ms = 10000,
        .lanes = 1,
        .bbr = true,
    };
}

struct world_dev *world_dev_new_with(struct world *w,
                                     const struct inl_remote_config *config)
{
    struct world_dev *d = calloc(1, sizeof(*d));

    WORLD_CHECK(d != NULL);
    d->world = w;
    inl_remote_init(&d->remote, config);
    return d;
}

struct world_dev *world_dev_new(struct world *w)
{
    struct inl_remote_config config;

    world_dev_config(w, &config);
    return world_dev_new_with(w, &config);
}

static struct world_endpoint *endpoint(struct world_dev *d, const char *text)
{
    struct world_endpoint *e = &d->endpoints[d->nendpoints++];

    WORLD_CHECK(d->nendpoints <= WORLD_ENDPOINTS);
    strcpy(e->text, text);
    return e;
}

void world_dev_upstream(struct world_dev *d, const char *text, unsigned port,
                        const char *path)
{
    struct world_endpoint *e = endpoint(d, text);
    const struct inl_upstream_config config = {
        .env = &d->world->env,
        .dialer = &d->world->dialer,
        .host = INL_LIT("origin"),
        .port = port,
        .path = inl_str(path),
        .connect_ms = 5000,
        .idle_ms = 60000,
        .idle_max = 4,
    };

    e->upstream = inl_upstream_new(&config);
    WORLD_CHECK(e->upstream != NULL);
    e->service = inl_upstream_service(e->upstream);
}

void world_dev_handler(struct world_dev *d, const char *text,
                       inlets_handler_fn handler, void *user)
{
    struct world_endpoint *e = endpoint(d, text);

    inl_local_init(&e->local, &d->world->env, handler, user);
    e->is_local = true;
    e->service = &e->local.service;
}

void world_dev_service(struct world_dev *d, const char *text,
                       struct inl_service *service)
{
    endpoint(d, text)->service = service;
}

void world_dev_start(struct world_dev *d)
{
    inl_remote_start(&d->remote);
}

struct inl_session *world_dev_session(struct world_dev *d)
{
    return inl_remote_session(&d->remote);
}

void world_dev_drain(struct world_dev *d)
{
    inl_remote_drain(&d->remote, INL_LIT("bye"));
}

void world_dev_close(struct world_dev *d)
{
    d->closed = true;
    inl_remote_close(&d->remote);
    for (size_t i = 0; i < d->nendpoints; i++) {
        if (d->endpoints[i].upstream != NULL) {
            inl_upstream_close(d->endpoints[i].upstream);
        } else if (d->endpoints[i].is_local) {
            inl_local_fini(&d->endpoints[i].local);
        }
    }
    world_run(d->world, 65000);
    WORLD_CHECK(d->over);
    inl_remote_fini(&d->remote);
    free(d);
}

/* ---- usual settings --------------------------------------------------- */

void world_chain_open_with(struct world_chain *c, uint64_t seed,
                           const struct world_net *net, uint32_t resume_ms)
{
    struct inl_remote_config config;

    c->w = world_new(seed);
    if (net != NULL) {
        c->w->net = *net;
    }
    c->exit = world_exit_new(c->w);
    c->origin = world_origin_new(c->w, 8000);
    world_dev_config(c->w, &config);
    config.resume_ms = resume_ms;
    c->dev = world_dev_new_with(c->w, &config);
    world_dev_upstream(c->dev, "app.test", 8000, "");
    world_dev_start(c->dev);
    world_run(c->w, 20 * c->w->net.latency_ms + 100);
}

void world_chain_open(struct world_chain *c, uint64_t seed,
                      const struct world_net *net)
{
    world_chain_open_with(c, seed, net, 10000);
}

void world_chain_close(struct world_chain *c)
{
    world_dev_close(c->dev);
    world_exit_close(c->exit);
    world_origin_free(c->origin);
    world_free(c->w);
}
