/* server.c: inlets_server: listeners, visitors, the gate of the clients, and
 * the router between them.
 *
 *   visitor -> front -> router -> a client's session (or a local handler)
 *
 * A front is what one listening address serves. The server owns its
 * listeners, fronts, handlers and the gate, which owns the clients; visitors
 * and links own themselves. After close everything is cut, and the memory goes
 * when the loop has given back the last handle. */
#include <inlets/server.h>

#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "net/listen.h"
#include "net/loop.h"
#include "node/opts.h"
#include "proto/credentials.h"
#include "relay/answer.h"
#include "relay/failover.h"
#include "relay/forwarding.h"
#include "relay/gate.h"
#include "relay/local.h"
#include "relay/proxied.h"
#include "relay/router.h"
#include "relay/visitor.h"
#include <inlets/version.h>
#include <stdio.h>
#include <string.h>

/* How often a drain looks whether it is done. */
#define DRAIN_POLL_MS 20u

/* One listening address. */
struct front {
    struct front *next;
    struct inl_service service;
    struct inlets_server *server;
    struct inl_listener *listener;
    struct inl_visitor_config config;
    struct inl_proxied_config proxied;
    unsigned what;
    unsigned port;
    char port_text[8];
};

/* An endpoint that the exit node answers itself. */
struct handler {
    struct handler *next;
    struct inl_local local;
    struct inl_target target;
};

struct inlets_server {
    struct inl_loop loop;           /* first */
    struct inlets_server_opts opts; /* strings are NULL but these two: */
    char *tunnel_path, *upgrades;   /* owned; upgrades may be NULL */
    struct inl_token token;
    struct inl_router router;
    struct inl_failover failover;
    struct inl_local control; /* /healthz, /readyz, nothing else */
    struct front *fronts;     /* in order of listening */
    struct handler *handlers;
    struct inl_gate gate;
    struct inl_cidr_set trusted; /* proxies in front of us */
    struct inl_list proxied;     /* of theirs, not visitors yet */
    struct inl_error_pages pages;
    struct inl_crowd visitors;
    /* Connections of ports for clients alone: their requests are answered
     * here, so nothing is lost with them, and a flood of visitors leaves them
     * their room. Who becomes a client is no caller any more. */
    struct inl_crowd callers;
    struct inl_timer drain_timer;
    uint64_t drain_due_ms;
    void (*drain_cb)(void *user);
    void *drain_user;
    void (*close_cb)(void *user);
    void *close_user;
    bool draining, closed;
    bool told_bbr; /* that the system does not permit it */
};

static struct inl_env *env_of(struct inlets_server *server)
{
    return &server->loop.env;
}

/* ---- the control side's own answers ----------------------------------- */

static void answer_control(struct inlets_exchange *x,
                           const struct inlets_head *req, void *user)
{
    const struct inlets_server *server = user;
    struct inlets_slice path =
        inl_slice(req->target.ptr, inl_slice_find(req->target, '?'));
    unsigned status = 404;
    struct inlets_slice body = INL_LIT("404 Not Found\n");

    if (inl_slice_eq(path, inl_str(server->tunnel_path))) {
        status = 426;
        body = INL_LIT("426 Upgrade Required\nThis is a tunnel endpoint: it "
                       "speaks websocket.\n");
    } else if (inl_slice_eq(path, INL_LIT("/healthz"))) {
        status = 200;
        body = INL_LIT("ok\n");
    } else if (inl_slice_eq(path, INL_LIT("/readyz"))) {
        status = server->draining ? 503 : 200;
        body = server->draining ? INL_LIT("draining\n") : INL_LIT("ok\n");
    }
    (void)inlets_exchange_reply(x, status, "text/plain; charset=utf-8", body);
}

static bool is_probe(struct inlets_slice path)
{
    return inl_slice_eq(path, INL_LIT("/healthz")) ||
           inl_slice_eq(path, INL_LIT("/readyz"));
}

/* On a port for both, visitors' paths go first: the probes answer only where
 * no client serves the host. A client of ours at the wrong path or port is
 * told so (404) instead of "come back later". */
static int front_open(struct inl_service *s, const struct inl_request *req,
                      struct inl_flow *caller)
{
    struct front *f = inl_container(s, struct front, service);
    struct inlets_server *server = f->server;
    int err = INLETS_ENOROUTE;

    if ((f->what & INLETS_LISTEN_VISITORS) != 0) {
        err = inl_service_open(&server->failover.service, req, caller);
    }
    if (err == INLETS_ENOROUTE &&
        (f->what == INLETS_LISTEN_TUNNELS || inl_gate_is_client(req->head) ||
         ((f->what & INLETS_LISTEN_TUNNELS) != 0 && is_probe(req->path)))) {
        err = inl_service_open(&server->control.service, req, caller);
    }
    return err;
}

static const struct inl_service_ops front_ops = {.open = front_open};

/* ---- clients ---------------------------------------------------------- */

static struct inlets_server *server_of(const struct inl_gate *g)
{
    return g->config.owner;
}

static void report_endpoint(struct inlets_server *server,
                            struct inlets_slice endpoint, int up)
{
    char text[INL_HOST_MAX + 512];

    if (server->opts.on_endpoint != NULL && !server->closed) {
        (void)snprintf(text, sizeof(text), "%.*s",
                       endpoint.len == 0 ? 1 : (int)endpoint.len,
                       endpoint.len == 0 ? "*" : endpoint.ptr);
        server->opts.on_endpoint(server, text, up, server->opts.user);
    }
}

static struct inlets_slice shown(struct inlets_slice endpoint)
{
    return endpoint.len == 0 ? INL_LIT("*") : endpoint;
}

/* The router chooses a name for visitors to stick to: a client has none that
 * outlives its session. */
static int on_route(struct inl_gate_client *c, struct inl_target *target,
                    const struct inl_endpoint *endpoint,
                    struct inlets_slice text, struct inlets_slice *ret_text)
{
    struct inlets_server *server = server_of(c->gate);
    int err;

    (void)ret_text;
    target->session = c->session->id;
    err = inl_router_add(&server->router, endpoint, target);
    if (err == 0) {
        inl_log(env_of(server), INLETS_LOG_INFO, "endpoint up",
                INL_KV("endpoint", shown(text)),
                INL_KN("session", c->session->id));
        report_endpoint(server, text, 1);
    }
    return err;
}

static void on_unroute(struct inl_gate_client *c, struct inl_target *target,
                       struct inlets_slice text)
{
    struct inlets_server *server = server_of(c->gate);

    inl_router_remove(&server->router, target);
    inl_log(env_of(server), INLETS_LOG_INFO, "endpoint down",
            INL_KV("endpoint", shown(text)), INL_KN("session", c->session->id));
    report_endpoint(server, text, 0);
}

/* BBR is a wish: without it the tunnel is slower on lossy links. */
static void on_tune(struct inl_gate *g, struct inl_link *link)
{
    struct inlets_server *server = server_of(g);
    const struct inl_link_tuning tuning = {.dead_ms = server->opts.dead_ms,
                                           .bbr = server->opts.bbr != 0};
    int err = inl_link_tune(link, &tuning);

    if (err == INLETS_EPERM && !server->told_bbr) {
        server->told_bbr = true;
        inl_log(env_of(server), INLETS_LOG_INFO,
                "the system does not permit BBR",
                INL_KV("sysctl", INL_LIT("net.ipv4.tcp_allowed_congestion_"
                                         "control")));
    } else if (err != 0) {
        inl_log(env_of(server), INLETS_LOG_DEBUG, "no BBR",
                INL_KV("why", inl_str(inlets_strerror(err))));
    }
}

/* Exactly one Authorization field, and the right one. There is one account. */
static int on_authorise(struct inl_gate *g, const struct inlets_head *head,
                        struct inlets_slice *ret_account)
{
    const struct inlets_server *server = server_of(g);
    struct inlets_slice shown_token = {NULL, 0};
    unsigned seen = 0;

    (void)ret_account;
    if (!server->token.is_set) {
        return 0; /* loopback, or the user said that anyone may */
    }
    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, INL_LIT("authorization"))) {
            shown_token = head->fields[i].value;
            seen++;
        }
    }
    return inl_token_matches(&server->token, shown_token) && seen == 1
               ? 0
               : INLETS_EAUTH;
}

static const struct inl_gate_ops gate_ops = {
    .authorise = on_authorise,
    .tune = on_tune,
    .route = on_route,
    .unroute = on_unroute,
};

static int open_tunnel(void *user, struct inl_link *link,
                       const struct inlets_head *head)
{
    struct inlets_server *server = user;

    return inl_gate_open(&server->gate, link, head);
}

/* ---- the public functions --------------------------------------------- */

void inlets_server_opts_init_sized(struct inlets_server_opts *opts, size_t size)
{
    const struct inlets_server_opts defaults = {
        .size = size,
        .tunnel_path = "/tunnel",
        .head_timeout_ms = 10000,
        .idle_timeout_ms = 60000,
        .gateway_timeout_ms = 60000,
        .body_timeout_ms = 60000,
        .max_requests = 1000,
        .max_visitors = 16384,
        .max_visitors_per_address = 512,
        .max_head = INL_HTTP1_MAX_HEAD,
        .max_fields = INL_HTTP1_MAX_FIELDS,
        .max_trailers = INL_HTTP1_MAX_TRAILERS,
        .ping_ms = 10000,
        .dead_ms = 20000,
        .drain_ms = 30000,
        .max_streams = 16384,
        .resume_ms = 10000,
        .connections = INL_SESSION_LANES,
        .bbr = 1,
        .log_level = INLETS_LOG_INFO,
    };

    inl_opts_copy(opts, size, &defaults, sizeof(defaults));
    opts->size = size;
}

static bool are_tunnels_ok(const struct inlets_server_opts *o)
{
    return o->ping_ms > 0 && o->dead_ms > 0 && o->max_streams > 0 &&
           o->connections > 0 && o->connections <= INL_SESSION_LANES &&
           (o->rotate_ms == 0 || o->resume_ms > 0);
}

static bool are_heads_ok(const struct inlets_server_opts *o)
{
    return o->max_head >= INLETS_MIN_HEAD &&
           o->max_head <= INL_HTTP1_MAX_HEAD && o->max_fields > 0 &&
           o->max_fields <= INL_HTTP1_MAX_FIELDS &&
           o->max_trailers <= INL_HTTP1_MAX_TRAILERS;
}

static int check_opts(const struct inlets_server_opts *o)
{
    bool path_ok = o->tunnel_path != NULL && o->tunnel_path[0] == '/' &&
                   o->tunnel_path[1] != '\0';
    bool stick_ok = o->stick == INLETS_STICK_NONE ||
                    o->stick == INLETS_STICK_COOKIE ||
                    o->stick == INLETS_STICK_ADDRESS;

    return path_ok && stick_ok && are_tunnels_ok(o) && are_heads_ok(o) &&
                   (o->token == NULL || o->token[0] != '\0')
               ? 0
               : INLETS_EINVAL;
}

static int take_upgrades(struct inlets_server *server, const char *upgrades)
{
    struct inlets_slice list = inl_str(upgrades), protocol;

    while (inl_slice_next_element(&list, &protocol)) {
        if (!inl_may_upgrade_to(protocol)) {
            return INLETS_EINVAL;
        }
    }
    server->upgrades = upgrades == NULL ? NULL : inl_strdup(upgrades);
    server->opts.upgrades = server->upgrades;
    return server->upgrades == NULL && upgrades != NULL ? INLETS_ENOMEM : 0;
}

static int take_pages(struct inlets_server *server,
                      const struct inlets_server_opts *opts)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < opts->error_page_count; i++) {
        const struct inlets_error_page *page = &opts->error_pages[i];

        err = inl_error_pages_add(&server->pages, page->status,
                                  inl_str(page->content_type), page->body);
    }
    server->opts.error_pages = NULL;
    server->opts.error_page_count = 0;
    return err;
}

static int take_strings(struct inlets_server *server,
                        const struct inlets_server_opts *opts)
{
    int err = 0;

    server->tunnel_path = inl_strdup(opts->tunnel_path);
    if (server->tunnel_path == NULL) {
        return INLETS_ENOMEM;
    }
    if (opts->token != NULL) {
        err = inl_token_set(&server->token, inl_str(opts->token));
    }
    if (err == 0) {
        err = inl_cidr_set_add(&server->trusted, inl_str(opts->trusted_proxies),
                               NULL);
    }
    if (err == 0 && opts->proxy_protocol && server->trusted.n == 0) {
        err = INLETS_EINVAL; /* nobody could connect with such a header */
    }
    if (err == 0) {
        err = take_upgrades(server, opts->upgrades);
    }
    if (err == 0) {
        err = take_pages(server, opts);
    }
    server->opts.token = NULL;
    server->opts.trusted_proxies = NULL;
    server->opts.tunnel_path = server->tunnel_path;
    return err;
}

static enum inl_stick stick_of(const struct inlets_server_opts *o)
{
    return o->stick == INLETS_STICK_COOKIE    ? INL_STICK_COOKIE
           : o->stick == INLETS_STICK_ADDRESS ? INL_STICK_ADDRESS
                                              : INL_STICK_NONE;
}

static void init_gate(struct inlets_server *server)
{
    const struct inlets_server_opts *o = &server->opts;
    const struct inl_gate_config config = {
        .ops = &gate_ops,
        .env = env_of(server),
        .owner = server,
        .lane = {o->ping_ms, o->dead_ms},
        .max_streams = o->max_streams,
        .agent = INL_LIT("inlets/" INLETS_VERSION),
        .resume_ms = o->resume_ms,
        .rotate_ms = o->rotate_ms,
        .lanes = o->connections,
    };

    inl_gate_init(&server->gate, &config);
}

static void init_crowd(struct inlets_server *server, struct inl_crowd *crowd)
{
    inl_crowd_init(crowd, env_of(server), server->opts.max_visitors,
                   server->opts.max_visitors_per_address);
}

static void drain_poll(struct inl_timer *timer);

static int init(struct inlets_server *server, struct uv_loop_s *loop)
{
    struct inl_env *env = env_of(server);
    int err = inl_crypto_init();

    if (err == 0) {
        err = inl_loop_init(&server->loop, loop);
    }
    if (err != 0) {
        return err;
    }
    env->log = server->opts.log;
    env->log_level = server->opts.log_level;
    env->log_user = server->opts.user;
    inl_list_init(&server->proxied);
    init_crowd(server, &server->visitors);
    init_crowd(server, &server->callers);
    inl_timer_init(&server->drain_timer, drain_poll);
    inl_router_init(&server->router, env);
    server->router.stick = stick_of(&server->opts);
    init_gate(server);
    inl_failover_init(&server->failover, env, &server->router);
    inl_local_init(&server->control, env, answer_control, server);
    return 0;
}

static void free_server(struct inlets_server *server)
{
    inl_free(server->tunnel_path);
    inl_free(server->upgrades);
    inl_cidr_set_fini(&server->trusted);
    inl_error_pages_fini(&server->pages);
    inl_token_wipe(&server->token);
    inl_free(server);
}

int inlets_server_new(struct inlets_server **ret_server, struct uv_loop_s *loop,
                      const struct inlets_server_opts *opts)
{
    struct inlets_server *server = inl_calloc(1, sizeof(*server));
    int err;

    if (server == NULL) {
        return INLETS_ENOMEM;
    }
    inlets_server_opts_init(&server->opts);
    inl_opts_copy(&server->opts, sizeof(server->opts), opts, opts->size);
    err = check_opts(&server->opts);
    if (err == 0) {
        err = take_strings(server, &server->opts);
    }
    if (err == 0) {
        err = init(server, loop);
    }
    if (err != 0) {
        free_server(server);
        return err;
    }
    *ret_server = server;
    return 0;
}

static void start_visitor(void *user, struct inl_link *link)
{
    struct front *f = user;
    struct inlets_server *server = f->server;

    inl_visitor_start(&f->config,
                      f->what == INLETS_LISTEN_TUNNELS ? &server->callers
                                                       : &server->visitors,
                      link);
}

/* Whether a connection has a PROXY header is decided by its address alone,
 * never by its bytes: those are anybody's. */
static void on_link(struct inl_link *link, void *user)
{
    struct front *f = user;
    struct inlets_server *server = f->server;

    if (!server->opts.proxy_protocol || f->what == INLETS_LISTEN_TUNNELS) {
        start_visitor(f, link);
    } else if (link->peer_ip[0] == '\0') {
        /* Reset before we looked, as load balancers' checks are: nobody knows
         * whether a header came. */
        inl_link_close(link, INLETS_ERESET);
    } else if (inl_cidr_set_has_text(&server->trusted,
                                     inl_str(link->peer_ip))) {
        inl_proxied_start(&f->proxied, &server->proxied, link);
    } else {
        start_visitor(f, link);
    }
}

static struct front *front_new(struct inlets_server *server, unsigned what)
{
    struct front *f = inl_calloc(1, sizeof(*f));

    if (f == NULL) {
        return NULL;
    }
    f->service.ops = &front_ops;
    f->server = server;
    f->what = what;
    inl_visitor_config_init(&f->config);
    f->config.service = &f->service;
    f->config.head_timeout_ms = server->opts.head_timeout_ms;
    f->config.idle_timeout_ms = server->opts.idle_timeout_ms;
    f->config.gateway_timeout_ms = server->opts.gateway_timeout_ms;
    f->config.body_timeout_ms = server->opts.body_timeout_ms;
    f->config.max_body = server->opts.max_body;
    f->config.max_requests = server->opts.max_requests;
    f->config.limits = (struct inl_http1_limits){server->opts.max_head,
                                                 server->opts.max_fields,
                                                 server->opts.max_trailers};
    f->config.pages = &server->pages;
    f->config.trusted = &server->trusted;
    f->config.forwarded = server->opts.forwarded != 0;
    f->config.upgrades = inl_str(server->upgrades);
    f->proxied =
        (struct inl_proxied_config){.timeout_ms = server->opts.head_timeout_ms,
                                    .start = start_visitor,
                                    .user = f};
    if ((what & INLETS_LISTEN_TUNNELS) != 0) {
        f->config.tunnel_path = inl_str(server->tunnel_path);
        f->config.open_tunnel = open_tunnel;
        f->config.user = server;
    }
    return f;
}

static void append_front(struct inlets_server *server, struct front *f)
{
    struct front **at = &server->fronts;

    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = f;
}

static bool needs_token(const struct inlets_server *server,
                        const struct front *f)
{
    return (f->what & INLETS_LISTEN_TUNNELS) != 0 && !server->token.is_set &&
           !server->opts.allow_anyone && !inl_listener_is_loopback(f->listener);
}

/* On an address or, when that is NULL, a listening socket. */
static int listen_on(struct inlets_server *server, const char *address, int fd,
                     unsigned what)
{
    struct front *f;
    int err;

    if (server->closed || server->draining || what == 0 ||
        (what & ~(INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS)) != 0) {
        return INLETS_EINVAL;
    }
    f = front_new(server, what);
    if (f == NULL) {
        return INLETS_ENOMEM;
    }
    err =
        address != NULL
            ? inl_listener_new(&f->listener, &server->loop, address, on_link, f)
            : inl_listener_take(&f->listener, &server->loop, fd, on_link, f);
    if (err == 0 && needs_token(server, f)) {
        inl_listener_close(f->listener);
        err = INLETS_EAUTH;
    }
    if (err != 0) {
        inl_free(f);
        return err;
    }
    f->port = inl_listener_port(f->listener);
    (void)snprintf(f->port_text, sizeof(f->port_text), "%u", f->port);
    f->config.port = inl_str(f->port_text);
    append_front(server, f);
    return 0;
}

int inlets_server_listen(struct inlets_server *server, const char *address,
                         unsigned what)
{
    return address == NULL ? INLETS_EINVAL
                           : listen_on(server, address, -1, what);
}

int inlets_server_listen_fd(struct inlets_server *server, int fd, unsigned what)
{
    return fd < 0 ? INLETS_EINVAL : listen_on(server, NULL, fd, what);
}

unsigned inlets_server_port(const struct inlets_server *server, size_t index)
{
    const struct front *f = server->fronts;

    while (f != NULL && index-- > 0) {
        f = f->next;
    }
    return f == NULL ? 0 : f->port;
}

int inlets_server_handle(struct inlets_server *server, const char *endpoint,
                         inlets_handler_fn handler, void *user)
{
    struct inl_endpoint parsed;
    struct handler *h;
    int err = endpoint == NULL || handler == NULL || server->closed
                  ? INLETS_EINVAL
                  : inl_endpoint_parse(inl_str(endpoint), &parsed);

    if (err == 0 && inl_router_has(&server->router, &parsed)) {
        err = INLETS_ECONFLICT;
    }
    if (err != 0) {
        return err;
    }
    h = inl_calloc(1, sizeof(*h));
    if (h == NULL) {
        return INLETS_ENOMEM;
    }
    inl_local_init(&h->local, env_of(server), handler, user);
    inl_target_init(&h->target, &h->local.service);
    err = inl_router_add(&server->router, &parsed, &h->target);
    if (err != 0) {
        inl_free(h);
        return err;
    }
    h->next = server->handlers;
    server->handlers = h;
    return 0;
}

/* ---- the end ---------------------------------------------------------- */

/* Ports for clients alone may stay: a client that loses its websocket while
 * its last requests run comes back there. */
static void stop_listening(struct inlets_server *server, bool for_all)
{
    for (struct front *f = server->fronts; f != NULL; f = f->next) {
        f->config.draining = true;
        if (for_all || f->what != INLETS_LISTEN_TUNNELS) {
            inl_listener_close(f->listener);
            f->listener = NULL;
        }
    }
}

static bool is_drained(struct inlets_server *server)
{
    return inl_list_empty(&server->visitors.members) &&
           inl_gate_nstreams(&server->gate) == 0;
}

static void drain_poll(struct inl_timer *timer)
{
    struct inlets_server *server =
        inl_container(timer, struct inlets_server, drain_timer);
    struct inl_env *env = env_of(server);

    if (is_drained(server) || env->now_ms >= server->drain_due_ms ||
        inl_timer_at(env, timer, env->now_ms + DRAIN_POLL_MS) != 0) {
        if (server->drain_cb != NULL) {
            server->drain_cb(server->drain_user);
        }
    }
}

void inlets_server_drain(struct inlets_server *server, void (*cb)(void *user),
                         void *user)
{
    struct inl_env *env = env_of(server);

    if (server->draining || server->closed) {
        return;
    }
    inl_loop_enter(&server->loop);
    server->draining = true;
    server->drain_cb = cb;
    server->drain_user = user;
    server->drain_due_ms = env->now_ms + server->opts.drain_ms;
    inl_log(env, INLETS_LOG_INFO, "draining",
            INL_KN("at_most_ms", server->opts.drain_ms));
    stop_listening(server, false);
    inl_proxied_close(&server->proxied);
    inl_visitors_drain(&server->visitors);
    inl_visitors_drain(&server->callers);
    inl_gate_drain(&server->gate, INL_LIT("server is shutting down"));
    if (server->closed) {
        return; /* from on_endpoint */
    }
    if (inl_timer_at(env, &server->drain_timer, env->now_ms) != 0 &&
        cb != NULL) {
        cb(user);
    }
}

void inlets_server_rotate(struct inlets_server *server)
{
    size_t asked;

    if (server->closed || server->draining) {
        return;
    }
    inl_loop_enter(&server->loop);
    asked = inl_gate_rotate(&server->gate);
    inl_log(env_of(server), INLETS_LOG_INFO,
            "clients are asked for fresh websockets", INL_KN("clients", asked));
}

static void on_loop_closed(void *user)
{
    struct inlets_server *server = user;
    void (*cb)(void *) = server->close_cb;
    void *cb_user = server->close_user;

    while (server->fronts != NULL) {
        struct front *f = server->fronts;

        server->fronts = f->next;
        inl_free(f);
    }
    while (server->handlers != NULL) {
        struct handler *h = server->handlers;

        server->handlers = h->next;
        inl_free(h);
    }
    inl_gate_fini(&server->gate);
    inl_crowd_fini(&server->visitors);
    inl_crowd_fini(&server->callers);
    free_server(server);
    if (cb != NULL) {
        cb(cb_user);
    }
}

void inlets_server_close(struct inlets_server *server, void (*cb)(void *user),
                         void *user)
{
    if (server == NULL || server->closed) {
        return;
    }
    inl_loop_enter(&server->loop);
    server->closed = true;
    server->close_cb = cb;
    server->close_user = user;
    inl_timer_off(env_of(server), &server->drain_timer);
    stop_listening(server, true);
    inl_proxied_close(&server->proxied);
    inl_visitors_close(&server->visitors);
    inl_visitors_close(&server->callers);
    inl_gate_close(&server->gate);
    inl_failover_fini(&server->failover);
    inl_local_fini(&server->control);
    for (struct handler *h = server->handlers; h != NULL; h = h->next) {
        inl_router_remove(&server->router, &h->target);
        inl_local_fini(&h->local);
    }
    inl_router_fini(&server->router);
    inl_loop_close(&server->loop, on_loop_closed, server);
}
