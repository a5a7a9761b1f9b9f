/* server_fronts.c: what listens, and what becomes of who connects:
 *
 *   link -> (PROXY header) -> (TLS) -> visitor -> front -> guard -> router
 *                                             `-> the gate, for clients
 *
 * A front is what one listening address serves. */
#include "node/server.h"

#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "relay/forwarding.h"
#include "relay/head.h"
#include <stdio.h>
#include <string.h>

#define HANDSHAKE_MS 5000u
#define ANYBODY (INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS)

/* And for nobody else. */
static bool is_for_clients(const struct inl_front *f)
{
    return (f->what & ANYBODY) == INLETS_LISTEN_TUNNELS;
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

/* ---- from http to https ------------------------------------------------ */

/* "https://host[:port]" and the target as it came. False: it does not fit. */
static bool make_location(const struct inlets_server *server,
                          const struct inlets_head *req, char *text,
                          size_t size)
{
    char host[INL_HOST_MAX + 1], port[8] = "";
    int len = inl_host_normalise(req->host, host, sizeof(host)), n;
    bool v6 = len > 0 && memchr(host, ':', (size_t)len) != NULL;

    if (server->opts.redirect_port != 443) {
        (void)snprintf(port, sizeof(port), ":%u",
                       (unsigned)server->opts.redirect_port);
    }
    n = len <= 0 ? -1
                 : snprintf(text, size, "https://%s%.*s%s%s%.*s", v6 ? "[" : "",
                            len, host, v6 ? "]" : "", port,
                            (int)req->target.len, req->target.ptr);
    return n > 0 && (size_t)n < size;
}

/* RFC 9110 15.4.9: method and body stay. */
static void answer_redirect(struct inlets_exchange *x,
                            const struct inlets_head *req, void *user)
{
    const struct inlets_slice body =
        INL_LIT("308 Permanent Redirect\nThis host is visited by https.\n");
    char location[INL_HTTP1_MAX_TARGET + INL_HOST_MAX + 32];
    struct inlets_field fields[] = {
        {INL_LIT("Content-Type"), INL_LIT("text/plain; charset=utf-8")},
        {INL_LIT("Location"), {location, 0}}};
    const struct inlets_head head = {.status = 308,
                                     .content_length = (int64_t)body.len,
                                     .fields = fields,
                                     .nfields = 2};

    if (!make_location(user, req, location, sizeof(location))) {
        (void)inlets_exchange_reply(
            x, 400, "text/plain; charset=utf-8",
            INL_LIT("400 Bad Request\nWhich host is meant?\n"));
        return;
    }
    fields[1].value.len = strlen(location);
    if (inlets_exchange_respond(x, &head) == 0 &&
        inlets_exchange_write(x, body) >= 0) {
        (void)inlets_exchange_end(x, NULL);
    }
}

/* As it seems to the visitor: a proxy in front may have done the TLS. Tokens
 * of ACME are asked for in clear (RFC 8555 8.3). */
static bool is_redirected(const struct inlets_server *server,
                          const struct inl_request *req)
{
    struct inlets_slice proto =
        inl_head_find(req->head, INL_LIT("X-Forwarded-Proto"));

    return server->opts.redirect_port > 0 &&
           inl_slice_eq_case(proto, INL_LIT("http")) && req->path.len > 0 &&
           req->path.ptr[0] == '/' &&
           !inl_slice_starts(req->path,
                             INL_LIT("/.well-known/acme-challenge/"));
}

static bool is_probe(struct inlets_slice path)
{
    return inl_slice_eq(path, INL_LIT("/healthz")) ||
           inl_slice_eq(path, INL_LIT("/readyz"));
}

/* A host that a client may serve one day, or one that none ever will? */
static int why_no_route(const struct inlets_server *server,
                        const struct inl_request *req)
{
    return !server->accounts.is_set || server->token.is_set ||
                   inl_accounts_may_serve(&server->accounts, req->host,
                                          req->path)
               ? INLETS_ENOROUTE
               : INLETS_ENOHOST;
}

/* On a port for both, visitors' paths go first: the probes answer only where
 * no client serves the host. A client of ours at the wrong path or port is
 * told so (404) instead of "come back later". */
static int front_open(struct inl_service *s, const struct inl_request *req,
                      struct inl_flow *caller)
{
    struct inl_front *f = inl_container(s, struct inl_front, service);
    struct inlets_server *server = f->server;
    int err = INLETS_ENOROUTE;

    if (!is_for_clients(f) && is_redirected(server, req)) {
        return inl_service_open(&server->redirect.service, req, caller);
    }
    if ((f->what & INLETS_LISTEN_VISITORS) != 0) {
        err = inl_service_open(&server->guard.service, req, caller);
    }
    if (err == INLETS_ENOROUTE &&
        (is_for_clients(f) || inl_gate_is_client(req->head) ||
         ((f->what & INLETS_LISTEN_TUNNELS) != 0 && is_probe(req->path)))) {
        err = inl_service_open(&server->control.service, req, caller);
    }
    return err == INLETS_ENOROUTE ? why_no_route(server, req) : err;
}

static const struct inl_service_ops front_ops = {.open = front_open};

void inl_server_control_init(struct inlets_server *server)
{
    inl_local_init(&server->control, inl_server_env(server), answer_control,
                   server);
    inl_local_init(&server->redirect, inl_server_env(server), answer_redirect,
                   server);
}

/* ---- who connects ----------------------------------------------------- */

void inl_server_start_visitor(void *user, struct inl_link *link)
{
    struct inl_front *f = user;
    struct inlets_server *server = f->server;

    inl_visitor_start(&f->config,
                      is_for_clients(f) ? &server->callers : &server->visitors,
                      link);
}

/* All but the first bytes of a connection behind a proxy. */
static void start_link(void *user, struct inl_link *link)
{
    struct inl_front *f = user;

    if (f->tls != NULL) {
        (void)inl_secured_start(&f->tls->group, link, NULL,
                                link->env->now_ms + HANDSHAKE_MS, f);
    } else {
        inl_server_start_visitor(f, link);
    }
}

/* Whether a connection has a PROXY header is decided by its address alone,
 * never by its bytes: those are anybody's. */
static void on_link(struct inl_link *link, void *user)
{
    struct inl_front *f = user;
    struct inlets_server *server = f->server;

    if (!server->opts.proxy_protocol || is_for_clients(f)) {
        start_link(f, link);
    } else if (link->peer_ip[0] == '\0') {
        /* Reset before we looked, as load balancers' checks are: nobody knows
         * whether a header came. */
        inl_link_close(link, INLETS_ERESET);
    } else if (inl_cidr_set_has_text(&server->trusted,
                                     inl_str(link->peer_ip))) {
        inl_proxied_start(&f->proxied, &server->proxied, link);
    } else {
        start_link(f, link);
    }
}

static struct inl_front *front_new(struct inlets_server *server, unsigned what)
{
    struct inl_front *f = inl_calloc(1, sizeof(*f));

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
                                    .start = start_link,
                                    .user = f};
    if ((what & INLETS_LISTEN_TUNNELS) != 0) {
        f->config.tunnel_path = inl_str(server->tunnel_path);
        f->config.open_tunnel = inl_server_open_tunnel;
        f->config.user = server;
    }
    return f;
}

static void append_front(struct inlets_server *server, struct inl_front *f)
{
    struct inl_front **at = &server->fronts;

    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = f;
}

static bool needs_token(const struct inlets_server *server,
                        const struct inl_front *f)
{
    return (f->what & INLETS_LISTEN_TUNNELS) != 0 && !server->token.is_set &&
           !server->accounts.is_set && !server->opts.allow_anyone &&
           f->tls != &server->asking && !inl_listener_is_loopback(f->listener);
}

/* On an address or, when that is NULL, a listening socket. */
static int listen_on(struct inlets_server *server, const char *address, int fd,
                     unsigned what)
{
    struct inl_server_tls *tls = NULL;
    struct inl_front *f;
    int err = 0;

    if (server->closed || server->draining || (what & ANYBODY) == 0 ||
        (what & ~(ANYBODY | INLETS_LISTEN_TLS)) != 0) {
        return INLETS_EINVAL;
    }
    if ((what & INLETS_LISTEN_TLS) != 0) {
        err = inl_server_tls_start(
            server, (what & ANYBODY) == INLETS_LISTEN_TUNNELS, &tls);
    }
    if (err != 0) {
        return err;
    }
    f = front_new(server, what);
    if (f == NULL) {
        return INLETS_ENOMEM;
    }
    f->tls = tls;
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
    const struct inl_front *f = server->fronts;

    while (f != NULL && index-- > 0) {
        f = f->next;
    }
    return f == NULL ? 0 : f->port;
}

/* ---- the end ---------------------------------------------------------- */

void inl_server_stop_listening(struct inlets_server *server, bool for_all)
{
    for (struct inl_front *f = server->fronts; f != NULL; f = f->next) {
        f->config.draining = true;
        if (for_all || !is_for_clients(f)) {
            inl_listener_close(f->listener);
            f->listener = NULL;
        }
    }
}

void inl_server_fronts_free(struct inlets_server *server)
{
    while (server->fronts != NULL) {
        struct inl_front *f = server->fronts;

        server->fronts = f->next;
        inl_free(f);
    }
}
