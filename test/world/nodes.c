/* nodes.c: an exit node and a dev machine, put together as lib/node does it,
 * but over the fake dialer. What node/ does beyond that (options, public
 * states, listeners) is tested in test/e2e and test/threads. */
#include "world.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1.h"
#include "proto/websocket.h"
#include <inlets/err.h>
#include <stdlib.h>
#include <string.h>

static void tunnel_free(struct inl_later *later)
{
    struct world_tunnel *t = inl_container(later, struct world_tunnel, free);

    inl_session_free(t->session);
    free(t);
}

static struct world_tunnel *tunnel_new(struct inl_env *env,
                                       const struct inl_session_config *config)
{
    struct world_tunnel *t = calloc(1, sizeof(*t));

    WORLD_CHECK(t != NULL);
    t->session = inl_session_new(env, config);
    if (t->session == NULL) {
        free(t);
        return NULL;
    }
    t->session->owner = t;
    inl_list_init(&t->node);
    inl_later_init(&t->free, tunnel_free);
    return t;
}

/* ---- the exit node ---------------------------------------------------- */

static void exit_hello(struct inl_session *s, const struct inl_hello *hello)
{
    (void)s;
    (void)hello;
}

static int exit_route(struct inl_session *s, struct inl_target *target,
                      const struct inl_endpoint *endpoint,
                      struct inlets_slice text, struct inlets_slice *ret_text)
{
    struct world_tunnel *t = s->owner;

    (void)text;
    (void)ret_text;
    return inl_router_add(&t->exit->router, endpoint, target);
}

static void exit_unroute(struct inl_session *s, struct inl_target *target,
                         struct inlets_slice text)
{
    struct world_tunnel *t = s->owner;

    (void)text;
    inl_router_remove(&t->exit->router, target);
}

static void exit_goaway(struct inl_session *s, int err,
                        struct inlets_slice text)
{
    struct world_tunnel *t = s->owner;

    world_note(t->exit->world, "exit: goaway %s", inlets_errname(err));
    (void)text;
}

static void exit_down(struct inl_session *s, int err)
{
    struct world_tunnel *t = s->owner;

    world_note(t->exit->world, "exit: session down, %s", inlets_errname(err));
    t->exit->last_down = err;
    t->exit->downs++;
    inl_list_remove(&t->node);
    inl_env_later(s->env, &t->free);
}

static const struct inl_session_ops exit_ops = {.hello = exit_hello,
                                                .route = exit_route,
                                                .unroute = exit_unroute,
                                                .goaway = exit_goaway,
                                                .down = exit_down};

static int accept_tunnel(struct world_exit *x, struct inl_link *link,
                         struct inlets_slice key)
{
    const struct inl_session_config config = {
        .ops = &exit_ops,
        .role = INL_SESSION_OPENER,
        .lane = {10000, 20000},
        .max_streams = 16384,
        .agent = INL_LIT("world"),
    };
    char accept[INL_WS_ACCEPT_LEN] = {0};
    const struct inlets_field fields[] = {
        {INL_LIT("Sec-WebSocket-Accept"), inl_slice(accept, sizeof(accept))},
        {INL_LIT("Sec-WebSocket-Protocol"), INL_LIT(INL_WS_PROTOCOL)},
    };
    const struct inlets_head head = {.status = 101,
                                     .content_length = INLETS_LENGTH_NONE,
                                     .fields = fields,
                                     .nfields = 2};
    enum inl_http1_framing framing;
    struct world_tunnel *t = NULL;
    int err = inl_ws_accept(key, accept);

    if (err == 0 && (t = tunnel_new(&x->world->env, &config)) == NULL) {
        err = INLETS_ENOMEM;
    }
    if (err == 0) {
        err = inl_http1_put_response(
            &link->out, &head,
            INL_LIT("Connection: Upgrade\r\nUpgrade: websocket\r\n"), true,
            false, &framing);
    }
    if (err == 0) {
        t->exit = x;
        err = inl_session_attach(t->session, link);
    }
    if (err != 0 && t != NULL) {
        tunnel_free(&t->free);
    } else if (err == 0) {
        inl_list_push_back(&x->tunnels, &t->node);
        x->last_tunnel = world_end_of(link);
    }
    return err;
}

static int open_tunnel(void *user, struct inl_link *link,
                       const struct inlets_head *head)
{
    struct world_exit *x = user;
    struct inlets_slice key;
    int err = inl_ws_check_request(head, &key);

    if (x->refuses) {
        return INLETS_EAUTH;
    }
    if (err == 0 && x->draining) {
        err = INLETS_EGOAWAY;
    }
    return err != 0 ? err : accept_tunnel(x, link, key);
}

void world_exit_accept(struct world_end *e, void *user)
{
    struct world_exit *x = user;

    inl_visitor_start(&x->config, &x->visitors, world_link(e, "203.0.113.9"));
}

struct world_exit *world_exit_new(struct world *w)
{
    struct world_exit *x = calloc(1, sizeof(*x));

    WORLD_CHECK(x != NULL);
    x->world = w;
    inl_list_init(&x->visitors);
    inl_list_init(&x->tunnels);
    inl_router_init(&x->router, &w->env);
    inl_failover_init(&x->failover, &w->env, &x->router);
    inl_visitor_config_init(&x->config);
    x->config.service = &x->failover.service;
    x->config.port = INL_LIT("80");
    x->config.tunnel_path = INL_LIT("/tunnel");
    x->config.open_tunnel = open_tunnel;
    x->config.user = x;
    x->listener = world_listen(w, "exit", 80, world_exit_accept, x);
    return x;
}

struct inl_session *world_exit_session(struct world_exit *x)
{
    return inl_list_empty(&x->tunnels)
               ? NULL
               : inl_container(x->tunnels.prev, struct world_tunnel, node)
                     ->session;
}

size_t world_exit_ntunnels(const struct world_exit *x)
{
    size_t n = 0;

    for (const struct inl_list *l = x->tunnels.next; l != &x->tunnels;
         l = l->next) {
        n++;
    }
    return n;
}

void world_exit_drain(struct world_exit *x)
{
    struct inl_list *n, *tmp;

    x->draining = x->config.draining = true;
    x->listener->mode = WORLD_REFUSE;
    inl_visitors_drain(&x->visitors);
    inl_list_each(&x->tunnels, n, tmp)
    {
        inl_session_drain(inl_container(n, struct world_tunnel, node)->session,
                          INLETS_EGOAWAY, INL_LIT("bye"));
    }
}

void world_exit_close(struct world_exit *x)
{
    struct inl_list *n, *tmp;

    x->listener->mode = WORLD_REFUSE;
    inl_visitors_close(&x->visitors);
    inl_list_each(&x->tunnels, n, tmp)
    {
        inl_session_close(inl_container(n, struct world_tunnel, node)->session,
                          INLETS_EGOAWAY);
    }
    inl_failover_fini(&x->failover);
    world_run(x->world, 65000); /* lingering is over */
    WORLD_CHECK(inl_list_empty(&x->visitors));
    WORLD_CHECK(inl_list_empty(&x->tunnels));
    WORLD_CHECK(x->router.nroutes == 0);
    inl_router_fini(&x->router);
    free(x);
}

/* ---- the dev machine -------------------------------------------------- */

static void try_again(struct world_dev *d, int err)
{
    if (d->closed) {
        return;
    }
    d->last_err = err;
    world_note(d->world, "dev: lost, %s", inlets_errname(err));
    if (d->stays_away) {
        inl_reconnect_close(&d->reconnect);
        return;
    }
    (void)inl_reconnect_lost(&d->reconnect, 0);
}

static void dev_hello(struct inl_session *s, const struct inl_hello *hello)
{
    (void)s;
    (void)hello;
}

static void dev_routed(struct inl_session *s, uint32_t route, int err,
                       struct inlets_slice text)
{
    struct world_tunnel *t = s->owner;

    (void)route;
    (void)text;
    t->dev->routed += err == 0;
}

static struct inl_service *dev_service(struct inl_session *s, uint32_t route)
{
    struct world_tunnel *t = s->owner;

    return route == 0 || route > t->dev->nendpoints || t->dev->closed
               ? NULL
               : t->dev->endpoints[route - 1].service;
}

static void dev_goaway(struct inl_session *s, int err, struct inlets_slice text)
{
    struct world_tunnel *t = s->owner;
    struct world_dev *d = t->dev;

    (void)text;
    if (d->current == t) {
        d->current = NULL;
        try_again(d, err == 0 ? INLETS_EGOAWAY : err);
    }
}

static void dev_down(struct inl_session *s, int err)
{
    struct world_tunnel *t = s->owner;
    struct world_dev *d = t->dev;

    world_note(d->world, "dev: session down, %s", inlets_errname(err));
    d->downs++;
    inl_list_remove(&t->node);
    inl_env_later(s->env, &t->free);
    if (d->current == t) {
        d->current = NULL;
        try_again(d, err);
    }
}

static const struct inl_session_ops dev_ops = {.hello = dev_hello,
                                               .routed = dev_routed,
                                               .service = dev_service,
                                               .goaway = dev_goaway,
                                               .down = dev_down};

static int offer_all(struct world_dev *d, struct world_tunnel *t)
{
    int err = 0;

    for (size_t i = 0; i < d->nendpoints && err == 0; i++) {
        err = inl_session_offer(t->session, (uint32_t)i + 1,
                                inl_str(d->endpoints[i].text));
    }
    return err;
}

static void uplink_up(struct inl_uplink *u, struct inl_link *link)
{
    struct world_dev *d = inl_container(u, struct world_dev, uplink);
    const struct inl_session_config config = {
        .ops = &dev_ops,
        .role = INL_SESSION_ANSWERER,
        .lane = {10000, 20000},
        .max_streams = 16384,
        .agent = INL_LIT("world"),
    };
    struct world_tunnel *t = tunnel_new(&d->world->env, &config);
    int err = t == NULL ? INLETS_ENOMEM : offer_all(d, t);

    if (err == 0) {
        err = inl_session_attach(t->session, link);
    }
    if (err != 0) {
        if (t != NULL) {
            tunnel_free(&t->free);
        }
        inl_link_close(link, err);
        try_again(d, err);
        return;
    }
    t->dev = d;
    inl_list_push_back(&d->tunnels, &t->node);
    d->current = t;
    d->pipe = world_end_of(link)->pipe;
    d->ups++;
    inl_reconnect_ready(&d->reconnect);
}

static void uplink_failed(struct inl_uplink *u, int err, unsigned status,
                          const char *step)
{
    struct world_dev *d = inl_container(u, struct world_dev, uplink);

    world_note(d->world, "dev: attempt failed at %s, status %u", step, status);
    try_again(d, err);
}

static void dial(struct inl_reconnect *r)
{
    struct world_dev *d = inl_container(r, struct world_dev, reconnect);

    inl_uplink_start(&d->uplink, INL_LIT("secret"), NULL);
}

struct world_dev *world_dev_new(struct world *w)
{
    struct world_dev *d = calloc(1, sizeof(*d));
    struct inl_uplink_config config = {
        .env = &w->env,
        .dialer = &w->dialer,
        .host = "exit",
        .port = 80,
        .authority = INL_LIT("exit"),
        .target = INL_LIT("/tunnel"),
        .agent = INL_LIT("world"),
        .timeout_ms = 10000,
        .up = uplink_up,
        .failed = uplink_failed,
    };

    WORLD_CHECK(d != NULL);
    d->world = w;
    inl_list_init(&d->tunnels);
    inl_uplink_init(&d->uplink, &config);
    inl_reconnect_init(&d->reconnect, &w->env, 30000, dial);
    return d;
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
    inl_reconnect_start(&d->reconnect);
}

struct inl_session *world_dev_session(struct world_dev *d)
{
    return d->current == NULL ? NULL : d->current->session;
}

void world_dev_drain(struct world_dev *d)
{
    struct inl_list *n, *tmp;

    d->stays_away = true;
    inl_uplink_cancel(&d->uplink);
    inl_reconnect_close(&d->reconnect);
    inl_list_each(&d->tunnels, n, tmp)
    {
        inl_session_drain(inl_container(n, struct world_tunnel, node)->session,
                          0, INL_LIT("bye"));
    }
}

void world_dev_close(struct world_dev *d)
{
    struct inl_list *n, *tmp;

    d->closed = true;
    inl_reconnect_close(&d->reconnect);
    inl_uplink_fini(&d->uplink);
    inl_list_each(&d->tunnels, n, tmp)
    {
        inl_session_close(inl_container(n, struct world_tunnel, node)->session,
                          0);
    }
    for (size_t i = 0; i < d->nendpoints; i++) {
        if (d->endpoints[i].upstream != NULL) {
            inl_upstream_close(d->endpoints[i].upstream);
        } else if (d->endpoints[i].is_local) {
            inl_local_fini(&d->endpoints[i].local);
        }
    }
    world_run(d->world, 65000);
    WORLD_CHECK(inl_list_empty(&d->tunnels));
    free(d);
}

/* ---- usual settings --------------------------------------------------- */

void world_chain_open(struct world_chain *c, uint64_t seed,
                      const struct world_net *net)
{
    c->w = world_new(seed);
    if (net != NULL) {
        c->w->net = *net;
    }
    c->exit = world_exit_new(c->w);
    c->origin = world_origin_new(c->w, 8000);
    c->dev = world_dev_new(c->w);
    world_dev_upstream(c->dev, "app.test", 8000, "");
    world_dev_start(c->dev);
    world_run(c->w, 20 * c->w->net.latency_ms + 100);
}

void world_chain_close(struct world_chain *c)
{
    world_dev_close(c->dev);
    world_exit_close(c->exit);
    world_origin_free(c->origin);
    world_free(c->w);
}
