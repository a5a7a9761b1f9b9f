/* server.c: inlets_server: listeners, visitors, the gate of the clients, and
 * the router between them.
 *
 *   visitor -> front -> router -> a client's session (or a local handler)
 *
 * A front is what one listening address serves. The server owns its
 * listeners, fronts, handlers and the gate, which owns the clients; visitors
 * and links own themselves. After close everything is cut, and the memory goes
 * when the loop has given back the last handle. */
#include "node/server.h"

#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "node/opts.h"
#include "relay/forwarding.h"
#include <string.h>

/* How often a drain looks whether it is done. */
#define DRAIN_POLL_MS 20u

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

static int take_domain(struct inlets_server *server, const char *domain)
{
    struct inl_endpoint endpoint;

    if (domain == NULL) {
        return 0;
    }
    if (inl_endpoint_parse(inl_str(domain), &endpoint) != 0 ||
        endpoint.wildcard || endpoint.path.len > 0 ||
        endpoint.host[0] == '\0' ||
        strlen(endpoint.host) + INL_GATE_NAME > INL_HOST_MAX) {
        return INLETS_EINVAL;
    }
    server->domain = inl_strdup(endpoint.host);
    return server->domain == NULL ? INLETS_ENOMEM : 0;
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
    if (err == 0 && opts->tls_default != NULL) {
        server->tls_default = inl_strdup(opts->tls_default);
        err = server->tls_default == NULL ? INLETS_ENOMEM : 0;
    }
    if (err == 0) {
        err = take_domain(server, opts->domain);
    }
    server->opts.token = NULL;
    server->opts.domain = NULL;
    server->opts.tls_default = NULL;
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

static void init_crowd(struct inlets_server *server, struct inl_crowd *crowd)
{
    inl_crowd_init(crowd, inl_server_env(server), server->opts.max_visitors,
                   server->opts.max_visitors_per_address);
}

static void drain_poll(struct inl_timer *timer);

static int init(struct inlets_server *server, struct uv_loop_s *loop)
{
    struct inl_env *env = inl_server_env(server);
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
    inl_server_accounts_init(server);
    inl_timer_init(&server->drain_timer, drain_poll);
    inl_router_init(&server->router, env);
    server->router.stick = stick_of(&server->opts);
    inl_server_gate_init(server);
    inl_failover_init(&server->failover, env, &server->router);
    inl_guard_init(&server->guard, env, &server->router,
                   &server->failover.service, &server->trusted);
    inl_server_control_init(server);
    return 0;
}

static void free_server(struct inlets_server *server)
{
    inl_free(server->tunnel_path);
    inl_free(server->upgrades);
    inl_server_tls_free(server);
    inl_cidr_set_fini(&server->trusted);
    inl_error_pages_fini(&server->pages);
    inl_server_accounts_fini(server);
    inl_guard_fini(&server->guard);
    inl_token_wipe(&server->token);
    inl_free(server->domain);
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

int inlets_server_handle(struct inlets_server *server, const char *endpoint,
                         inlets_handler_fn handler, void *user)
{
    struct inl_endpoint parsed;
    struct inl_server_handler *h;
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
    inl_local_init(&h->local, inl_server_env(server), handler, user);
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

static bool is_drained(struct inlets_server *server)
{
    return inl_list_empty(&server->visitors.members) &&
           inl_gate_nstreams(&server->gate) == 0;
}

static void drain_poll(struct inl_timer *timer)
{
    struct inlets_server *server =
        inl_container(timer, struct inlets_server, drain_timer);
    struct inl_env *env = inl_server_env(server);

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
    struct inl_env *env = inl_server_env(server);

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
    inl_server_stop_listening(server, false);
    inl_proxied_close(&server->proxied);
    inl_server_tls_close(server);
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
    inl_log(inl_server_env(server), INLETS_LOG_INFO,
            "clients are asked for fresh websockets", INL_KN("clients", asked));
}

static void on_loop_closed(void *user)
{
    struct inlets_server *server = user;
    void (*cb)(void *) = server->close_cb;
    void *cb_user = server->close_user;

    inl_server_fronts_free(server);
    while (server->handlers != NULL) {
        struct inl_server_handler *h = server->handlers;

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
    inl_timer_off(inl_server_env(server), &server->drain_timer);
    inl_timer_off(inl_server_env(server), &server->accounts_timer);
    inl_server_stop_listening(server, true);
    inl_proxied_close(&server->proxied);
    inl_server_tls_close(server);
    inl_visitors_close(&server->visitors);
    inl_visitors_close(&server->callers);
    inl_gate_close(&server->gate);
    inl_failover_fini(&server->failover);
    inl_local_fini(&server->control);
    inl_local_fini(&server->redirect);
    for (struct inl_server_handler *h = server->handlers; h != NULL;
         h = h->next) {
        inl_router_remove(&server->router, &h->target);
        inl_local_fini(&h->local);
    }
    inl_router_fini(&server->router);
    inl_loop_close(&server->loop, on_loop_closed, server);
}
