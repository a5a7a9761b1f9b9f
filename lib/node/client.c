/* client.c: inlets_client: endpoints, the attempts to reach the exit node,
 * and the tunnel that came of them.
 *
 *   tunnel session -> upstream | local handler      (by route number)
 *
 * The server names a route by the number that we gave it, never an address:
 * only what is configured here can be reached. Route numbers are places in
 * `endpoints` plus one.
 *
 * The client owns its endpoints, its uplink and its tunnels. There is one
 * current tunnel; one that the server asked to leave (GOAWAY) lives on beside
 * it until its requests have ended. */
#include <inlets/client.h>

#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "net/dial.h"
#include "net/loop.h"
#include "node/opts.h"
#include "proto/crypto.h"
#include "relay/local.h"
#include "relay/reconnect.h"
#include "relay/session.h"
#include "relay/uplink.h"
#include "relay/upstream.h"
#include <inlets/version.h>
#include <stdio.h>
#include <string.h>

struct endpoint {
    struct endpoint *next;
    uint32_t route;
    char *text;                    /* owned, as the user wrote it */
    struct inl_endpoint parsed;    /* path points into text */
    struct inl_upstream *upstream; /* owned; or else `local` */
    struct inl_local local;
    bool accepted;
};

/* A session with the server. */
struct tunnel {
    struct inl_list node;
    struct inlets_client *client;
    struct inl_session *session;
    struct inl_later free;
    size_t answered; /* ROUTED frames */
    uint64_t since_ms;
    int refused; /* the first refusal of an endpoint */
};

struct inlets_client {
    struct inl_loop loop;            /* first */
    struct inlets_client_opts opts;  /* strings are NULL */
    char *host, *authority, *target; /* owned */
    char *token;                     /* owned; wiped */
    unsigned port;
    struct inl_dialer dialer;
    struct inl_uplink uplink;
    struct inl_reconnect reconnect;
    struct endpoint *endpoints; /* in order of definition */
    uint32_t nendpoints;
    struct tunnel *current; /* NULL: none */
    struct inl_list tunnels;
    struct inl_timer drain_timer;
    enum inlets_client_state state;
    void (*close_cb)(void *user);
    void *close_user;
    bool was_ready; /* the server has taken us once */
    bool started, closed;
};

static struct inl_env *env_of(struct inlets_client *client)
{
    return &client->loop.env;
}

static void set_state(struct inlets_client *client,
                      enum inlets_client_state state, int err)
{
    client->state = state;
    if (client->opts.on_state != NULL && !client->closed) {
        client->opts.on_state(client, state, err, client->opts.user);
    }
}

static void give_up(struct inlets_client *client, int err)
{
    inl_reconnect_close(&client->reconnect);
    set_state(client, INLETS_CLIENT_STOPPED, err);
}

enum verdict { OVER, DRAINED, REFUSED, RETRY };

/* An attempt failed or a tunnel was lost: again, unless that is pointless. */
static enum verdict judge(const struct inlets_client *client, bool refused)
{
    if (client->closed || client->state == INLETS_CLIENT_STOPPED) {
        return OVER;
    }
    if (client->state == INLETS_CLIENT_DRAINING) {
        return DRAINED;
    }
    return refused && !client->was_ready && client->opts.stop_if_refused
               ? REFUSED
               : RETRY;
}

/* Sets the date of the next attempt, so that one log line can tell both what
 * happened and what comes: the wait in ms, or -1 for none. The caller logs,
 * and then calls try_again. */
static int64_t next_attempt(struct inlets_client *client, bool refused)
{
    if (judge(client, refused) != RETRY) {
        return -1;
    }
    return (int64_t)inl_reconnect_lost(
        &client->reconnect, refused ? client->opts.refused_retry_ms : 0);
}

static void try_again(struct inlets_client *client, int err, bool refused)
{
    switch (judge(client, refused)) {
    case OVER:
        break;
    case DRAINED:
        if (inl_list_empty(&client->tunnels)) {
            give_up(client, 0);
        }
        break;
    case REFUSED:
        give_up(client, err);
        break;
    case RETRY:
        set_state(client, INLETS_CLIENT_WAITING, err);
        break;
    }
}

/* ---- the tunnel ------------------------------------------------------- */

static void tunnel_free(struct inl_later *later)
{
    struct tunnel *t = inl_container(later, struct tunnel, free);

    inl_session_free(t->session);
    inl_free(t);
}

static void on_hello(struct inl_session *s, const struct inl_hello *hello)
{
    struct tunnel *t = s->owner;

    inl_log(s->env, INLETS_LOG_INFO, "tunnel connected",
            INL_KV("server", inl_str(t->client->authority)),
            INL_KV("agent", hello->agent));
}

static struct endpoint *find_endpoint(struct inlets_client *client,
                                      uint32_t route)
{
    struct endpoint *e = client->endpoints;

    while (e != NULL && e->route != route) {
        e = e->next;
    }
    return e;
}

static const char *shown(const struct endpoint *e)
{
    return e->text[0] == '\0' ? "*" : e->text;
}

/* The server has spoken about every endpoint. */
static void all_answered(struct tunnel *t)
{
    struct inlets_client *client = t->client;

    if (t->refused != 0 && !client->was_ready && client->opts.stop_if_refused) {
        give_up(client, t->refused);
        inl_session_close(t->session, 0);
        return;
    }
    client->was_ready = true;
    set_state(client, INLETS_CLIENT_READY, t->refused);
}

static void on_routed(struct inl_session *s, uint32_t route, int err,
                      struct inlets_slice text)
{
    struct tunnel *t = s->owner;
    struct endpoint *e = find_endpoint(t->client, route);

    if (e == NULL || t != t->client->current) {
        return;
    }
    e->accepted = err == 0;
    if (err != 0) {
        t->refused = t->refused == 0 ? err : t->refused;
        inl_log(s->env, INLETS_LOG_ERROR, "endpoint refused",
                INL_KV("endpoint", inl_str(shown(e))), INL_KV("why", text));
    } else {
        inl_log(s->env, INLETS_LOG_INFO, "endpoint up",
                INL_KV("endpoint", inl_str(shown(e))));
    }
    if (++t->answered == t->client->nendpoints) {
        all_answered(t);
    }
}

static struct inl_service *service_of(struct inl_session *s, uint32_t route)
{
    struct tunnel *t = s->owner;
    struct endpoint *e = find_endpoint(t->client, route);

    if (e == NULL) {
        return NULL;
    }
    return e->upstream != NULL ? inl_upstream_service(e->upstream)
                               : &e->local.service;
}

/* The server is leaving: what runs may end, new requests want a new tunnel. */
static void on_goaway(struct inl_session *s, int err, struct inlets_slice text)
{
    struct tunnel *t = s->owner;
    struct inlets_client *client = t->client;
    bool is_ours = client->state == INLETS_CLIENT_DRAINING;
    int64_t wait = -1;

    if (is_ours || client->current != t) {
        return; /* the answer to our own */
    }
    client->current = NULL;
    wait = next_attempt(client, false);
    inl_log(s->env, INLETS_LOG_INFO, "server asks to leave",
            INL_KV("why", text), INL_KN("retry_in_ms", wait));
    try_again(client, err == 0 ? INLETS_EGOAWAY : err, false);
}

static void on_down(struct inl_session *s, int err)
{
    struct tunnel *t = s->owner;
    struct inlets_client *client = t->client;
    bool was_current = client->current == t;
    int64_t wait = -1;

    if (was_current) {
        client->current = NULL;
        wait = next_attempt(client, false);
    }
    inl_log(s->env, INLETS_LOG_INFO, "tunnel disconnected",
            INL_KV("server", inl_str(client->authority)),
            INL_KV("why", inl_str(err == 0 ? "closed by this side"
                                           : inlets_strerror(err))),
            INL_KN("requests", s->streams_served),
            INL_KN("bytes_in", s->bytes_in), INL_KN("bytes_out", s->bytes_out),
            INL_KN("ms", s->env->now_ms - t->since_ms),
            INL_KN("retry_in_ms", wait));
    inl_list_remove(&t->node);
    inl_env_later(s->env, &t->free);
    if (was_current) {
        try_again(client, err, false);
    } else if (client->state == INLETS_CLIENT_DRAINING &&
               inl_list_empty(&client->tunnels)) {
        give_up(client, 0);
    }
}

static const struct inl_session_ops session_ops = {
    .hello = on_hello,
    .routed = on_routed,
    .service = service_of,
    .goaway = on_goaway,
    .down = on_down,
};

static struct tunnel *tunnel_new(struct inlets_client *client)
{
    const struct inl_session_config config = {
        .ops = &session_ops,
        .role = INL_SESSION_ANSWERER,
        .lane = {client->opts.ping_ms, client->opts.dead_ms},
        .max_streams = 16384,
        .agent = INL_LIT("inlets/" INLETS_VERSION),
    };
    struct tunnel *t = inl_calloc(1, sizeof(*t));

    if (t == NULL) {
        return NULL;
    }
    t->session = inl_session_new(env_of(client), &config);
    if (t->session == NULL) {
        inl_free(t);
        return NULL;
    }
    t->session->owner = t;
    t->client = client;
    t->since_ms = env_of(client)->now_ms;
    inl_list_init(&t->node);
    inl_later_init(&t->free, tunnel_free);
    return t;
}

static int offer_all(struct inlets_client *client, struct tunnel *t)
{
    int err = 0;

    for (struct endpoint *e = client->endpoints; e != NULL && err == 0;
         e = e->next) {
        e->accepted = false;
        err = inl_session_offer(t->session, e->route, inl_str(e->text));
    }
    return err;
}

static void uplink_up(struct inl_uplink *u, struct inl_link *link)
{
    struct inlets_client *client =
        inl_container(u, struct inlets_client, uplink);
    struct tunnel *t = tunnel_new(client);
    int err = t == NULL ? INLETS_ENOMEM : offer_all(client, t);

    if (err == 0) {
        err = inl_session_attach(t->session, link);
    }
    if (err != 0) {
        if (t != NULL) {
            tunnel_free(&t->free);
        }
        inl_link_close(link, err);
        (void)next_attempt(client, false);
        try_again(client, err, false);
        return;
    }
    inl_list_push_back(&client->tunnels, &t->node);
    client->current = t;
    inl_reconnect_ready(&client->reconnect);
}

static bool is_refusal(int err, unsigned status)
{
    return err == INLETS_EAUTH || err == INLETS_EFORBIDDEN ||
           (err == INLETS_EHANDSHAKE && status < 500);
}

static void uplink_failed(struct inl_uplink *u, int err, unsigned status,
                          const char *step)
{
    struct inlets_client *client =
        inl_container(u, struct inlets_client, uplink);

    bool refused = is_refusal(err, status);
    int64_t wait = next_attempt(client, refused);

    inl_log(env_of(client), INLETS_LOG_WARN, "cannot connect",
            INL_KV("server", inl_str(client->authority)),
            INL_KV("step", inl_str(step)), INL_KN("status", status),
            INL_KV("why", inl_str(inlets_strerror(err))),
            INL_KN("retry_in_ms", wait));
    try_again(client, err, refused);
}

static void dial(struct inl_reconnect *r)
{
    struct inlets_client *client =
        inl_container(r, struct inlets_client, reconnect);

    set_state(client, INLETS_CLIENT_CONNECTING, 0);
    if (!client->closed && client->state == INLETS_CLIENT_CONNECTING) {
        inl_uplink_start(&client->uplink, inl_str(client->token), NULL);
    }
}

/* ---- the public functions --------------------------------------------- */

void inlets_client_opts_init_sized(struct inlets_client_opts *opts, size_t size)
{
    const struct inlets_client_opts defaults = {
        .size = size,
        .tunnel_path = "/tunnel",
        .stop_if_refused = 1,
        .connect_timeout_ms = 10000,
        .ping_ms = 10000,
        .dead_ms = 20000,
        .retry_max_ms = 30000,
        .refused_retry_ms = 60000,
        .drain_ms = 30000,
        .upstream_connect_ms = 5000,
        .upstream_idle_ms = 60000,
        .upstream_idle_max = 32,
        .log_level = INLETS_LOG_INFO,
    };

    inl_opts_copy(opts, size, &defaults, sizeof(defaults));
    opts->size = size;
}

/* ws, http, or nothing; wss and https come with TLS. */
static int check_scheme(struct inlets_slice scheme)
{
    if (scheme.len == 0 || inl_slice_eq_case(scheme, INL_LIT("ws")) ||
        inl_slice_eq_case(scheme, INL_LIT("http"))) {
        return 0;
    }
    return inl_slice_eq_case(scheme, INL_LIT("wss")) ||
                   inl_slice_eq_case(scheme, INL_LIT("https"))
               ? INLETS_ENOTSUP
               : INLETS_EINVAL;
}

/* "host", "host:port" or "[v6]:port"; port 80 is left out. */
static char *make_authority(const struct inl_url *url)
{
    char buf[INL_HOST_MAX + 16];
    const char *left = url->host_is_ipv6 ? "[" : "";
    const char *right = url->host_is_ipv6 ? "]" : "";

    if (url->port == 80) {
        (void)snprintf(buf, sizeof(buf), "%s%.*s%s", left, (int)url->host.len,
                       url->host.ptr, right);
    } else {
        (void)snprintf(buf, sizeof(buf), "%s%.*s%s:%u", left,
                       (int)url->host.len, url->host.ptr, right, url->port);
    }
    return inl_strdup(buf);
}

static int take_url(struct inlets_client *client,
                    const struct inlets_client_opts *opts)
{
    struct inl_url url;
    struct inlets_slice path;
    int err = opts->url == NULL ? INLETS_EINVAL
                                : inl_url_parse(inl_str(opts->url), &url);

    if (err == 0) {
        err = url.userinfo.len > 0 || url.query.len > 0
                  ? INLETS_EINVAL
                  : check_scheme(url.scheme);
    }
    if (err == 0 && !opts->insecure && !inl_host_is_loopback(url.host)) {
        err = INLETS_EINSECURE;
    }
    if (err != 0) {
        return err;
    }
    path = url.path.len > 1 ? url.path : inl_str(opts->tunnel_path);
    client->host = inl_slice_dup(url.host);
    client->authority = make_authority(&url);
    client->target = inl_slice_dup(path);
    client->port = url.port;
    return client->host == NULL || client->authority == NULL ||
                   client->target == NULL
               ? INLETS_ENOMEM
               : 0;
}

static int check_opts(const struct inlets_client_opts *o)
{
    return o->tunnel_path != NULL && o->tunnel_path[0] == '/' &&
                   o->ping_ms > 0 && o->dead_ms > 0 &&
                   o->connect_timeout_ms > 0 && o->retry_max_ms > 0 &&
                   (o->token == NULL ||
                    inl_slice_is_field_value(inl_str(o->token)))
               ? 0
               : INLETS_EINVAL;
}

static void drain_timeout(struct inl_timer *timer)
{
    struct inlets_client *client =
        inl_container(timer, struct inlets_client, drain_timer);
    struct inl_list *n, *tmp;

    inl_list_each(&client->tunnels, n, tmp)
    {
        inl_session_close(inl_container(n, struct tunnel, node)->session, 0);
    }
}

static void init_parts(struct inlets_client *client)
{
    struct inl_env *env = env_of(client);
    const struct inl_uplink_config uplink = {
        .env = env,
        .dialer = &client->dialer,
        .host = client->host,
        .port = client->port,
        .authority = inl_str(client->authority),
        .target = inl_str(client->target),
        .agent = INL_LIT("inlets/" INLETS_VERSION),
        .timeout_ms = client->opts.connect_timeout_ms,
        .up = uplink_up,
        .failed = uplink_failed,
    };

    env->log = client->opts.log;
    env->log_level = client->opts.log_level;
    env->log_user = client->opts.user;
    inl_list_init(&client->tunnels);
    inl_timer_init(&client->drain_timer, drain_timeout);
    inl_net_dialer_init(&client->dialer, &client->loop);
    inl_uplink_init(&client->uplink, &uplink);
    inl_reconnect_init(&client->reconnect, env, client->opts.retry_max_ms,
                       dial);
}

static void free_client(struct inlets_client *client)
{
    while (client->endpoints != NULL) {
        struct endpoint *e = client->endpoints;

        client->endpoints = e->next;
        inl_free(e->text);
        inl_free(e);
    }
    inl_free(client->host);
    inl_free(client->authority);
    inl_free(client->target);
    inl_free_secret(client->token);
    inl_free(client);
}

static int take_opts(struct inlets_client *client,
                     const struct inlets_client_opts *opts)
{
    struct inlets_client_opts o;
    int err;

    inlets_client_opts_init(&o);
    inl_opts_copy(&o, sizeof(o), opts, opts->size);
    err = check_opts(&o);
    if (err == 0) {
        err = take_url(client, &o);
    }
    if (err == 0 && o.token != NULL &&
        (client->token = inl_strdup(o.token)) == NULL) {
        err = INLETS_ENOMEM;
    }
    o.url = o.tunnel_path = o.token = NULL;
    client->opts = o;
    return err;
}

int inlets_client_new(struct inlets_client **ret_client, struct uv_loop_s *loop,
                      const struct inlets_client_opts *opts)
{
    struct inlets_client *client = inl_calloc(1, sizeof(*client));
    int err;

    if (client == NULL) {
        return INLETS_ENOMEM;
    }
    err = take_opts(client, opts);
    if (err == 0) {
        err = inl_crypto_init();
    }
    if (err == 0) {
        err = inl_loop_init(&client->loop, loop);
    }
    if (err != 0) {
        free_client(client);
        return err;
    }
    init_parts(client);
    *ret_client = client;
    return 0;
}

static bool same_endpoint(const struct inl_endpoint *a,
                          const struct inl_endpoint *b)
{
    return strcmp(a->host, b->host) == 0 && a->wildcard == b->wildcard &&
           inl_slice_eq(a->path, b->path);
}

/* "*" and "" say the same; on the wire it is "". */
static int endpoint_new(struct inlets_client *client, const char *text,
                        struct endpoint **ret)
{
    struct endpoint *e;
    int err;

    if (text == NULL || client->started || client->closed) {
        return INLETS_EINVAL;
    }
    e = inl_calloc(1, sizeof(*e));
    if (e == NULL || (e->text = inl_strdup(text)) == NULL) {
        inl_free(e);
        return INLETS_ENOMEM;
    }
    err = inl_endpoint_parse(inl_str(e->text), &e->parsed);
    for (struct endpoint *o = client->endpoints; o != NULL && err == 0;
         o = o->next) {
        err = same_endpoint(&o->parsed, &e->parsed) ? INLETS_ECONFLICT : 0;
    }
    if (err != 0) {
        inl_free(e->text);
        inl_free(e);
        return err;
    }
    *ret = e;
    return 0;
}

static void append_endpoint(struct inlets_client *client, struct endpoint *e)
{
    struct endpoint **at = &client->endpoints;

    while (*at != NULL) {
        at = &(*at)->next;
    }
    e->route = ++client->nendpoints;
    *at = e;
}

static int parse_upstream(const char *text, struct inl_url *ret_url)
{
    int err =
        text == NULL ? INLETS_EINVAL : inl_url_parse(inl_str(text), ret_url);

    if (err != 0) {
        return err;
    }
    if (inl_slice_eq_case(ret_url->scheme, INL_LIT("https"))) {
        return INLETS_ENOTSUP;
    }
    while (ret_url->path.len > 0 &&
           ret_url->path.ptr[ret_url->path.len - 1] == '/') {
        ret_url->path.len--;
    }
    return (ret_url->scheme.len == 0 ||
            inl_slice_eq_case(ret_url->scheme, INL_LIT("http"))) &&
                   ret_url->userinfo.len == 0 && ret_url->query.len == 0
               ? 0
               : INLETS_EINVAL;
}

int inlets_client_expose_url(struct inlets_client *client, const char *endpoint,
                             const char *url)
{
    struct inl_upstream_config config = {
        .env = env_of(client),
        .dialer = &client->dialer,
        .connect_ms = client->opts.upstream_connect_ms,
        .idle_ms = client->opts.upstream_idle_ms,
        .idle_max = client->opts.upstream_idle_max,
    };
    struct inl_url parsed;
    struct endpoint *e;
    int err = parse_upstream(url, &parsed);

    if (err == 0) {
        err = endpoint_new(client, endpoint, &e);
    }
    if (err != 0) {
        return err;
    }
    config.host = parsed.host;
    config.port = parsed.port;
    config.path = parsed.path;
    e->upstream = inl_upstream_new(&config);
    if (e->upstream == NULL) {
        inl_free(e->text);
        inl_free(e);
        return INLETS_ENOMEM;
    }
    append_endpoint(client, e);
    return 0;
}

int inlets_client_expose_handler(struct inlets_client *client,
                                 const char *endpoint,
                                 inlets_handler_fn handler, void *user)
{
    struct endpoint *e;
    int err =
        handler == NULL ? INLETS_EINVAL : endpoint_new(client, endpoint, &e);

    if (err == 0) {
        inl_local_init(&e->local, env_of(client), handler, user);
        append_endpoint(client, e);
    }
    return err;
}

int inlets_client_start(struct inlets_client *client)
{
    if (client->started || client->closed || client->nendpoints == 0) {
        return INLETS_EINVAL;
    }
    client->started = true;
    inl_loop_enter(&client->loop);
    inl_reconnect_start(&client->reconnect);
    return 0;
}

void inlets_client_drain(struct inlets_client *client)
{
    struct inl_env *env = env_of(client);
    struct inl_list *n, *tmp;

    if (client->closed || client->state == INLETS_CLIENT_DRAINING ||
        client->state == INLETS_CLIENT_STOPPED) {
        return;
    }
    inl_loop_enter(&client->loop);
    inl_log(env, INLETS_LOG_INFO, "draining",
            INL_KN("at_most_ms", client->opts.drain_ms));
    inl_uplink_cancel(&client->uplink);
    inl_reconnect_close(&client->reconnect);
    set_state(client, INLETS_CLIENT_DRAINING, 0);
    if (inl_list_empty(&client->tunnels)) {
        give_up(client, 0);
        return;
    }
    inl_list_each(&client->tunnels, n, tmp)
    {
        inl_session_drain(inl_container(n, struct tunnel, node)->session, 0,
                          INL_LIT("client is shutting down"));
    }
    (void)inl_timer_at(env, &client->drain_timer,
                       env->now_ms + client->opts.drain_ms);
}

static void on_loop_closed(void *user)
{
    struct inlets_client *client = user;
    void (*cb)(void *) = client->close_cb;
    void *cb_user = client->close_user;

    free_client(client);
    if (cb != NULL) {
        cb(cb_user);
    }
}

void inlets_client_close(struct inlets_client *client, void (*cb)(void *user),
                         void *user)
{
    struct inl_list *n, *tmp;

    if (client == NULL || client->closed) {
        return;
    }
    inl_loop_enter(&client->loop);
    client->closed = true;
    client->close_cb = cb;
    client->close_user = user;
    inl_timer_off(env_of(client), &client->drain_timer);
    inl_reconnect_close(&client->reconnect);
    inl_uplink_fini(&client->uplink);
    inl_list_each(&client->tunnels, n, tmp)
    {
        inl_session_close(inl_container(n, struct tunnel, node)->session, 0);
    }
    for (struct endpoint *e = client->endpoints; e != NULL; e = e->next) {
        if (e->upstream != NULL) {
            inl_upstream_close(e->upstream);
            e->upstream = NULL;
        } else {
            inl_local_fini(&e->local);
        }
    }
    inl_loop_close(&client->loop, on_loop_closed, client);
}
