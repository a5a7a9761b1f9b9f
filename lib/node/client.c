/* client.c: inlets_client: its public functions, its state, its life.
 *
 *   IDLE -> CONNECTING <-> READY, WAITING      (as inl_client_update sees it)
 *   any -> DRAINING -> STOPPED                 any -> STOPPED
 *
 * The state is a sum over the members (client_remotes.c): ready when one is,
 * connecting when one tries, waiting when all do. It is told when it changes,
 * so while one exit node serves, the coming and going of others is not.
 *
 * The client owns its endpoints and its servers. After close nothing of it
 * runs but what has to say goodbye; it is freed when its loop is empty. */
#include "node/client.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include "node/opts.h"
#include "proto/crypto.h"

static void set_state(struct inlets_client *client,
                      enum inlets_client_state state, int err)
{
    client->state = state;
    if (client->opts.on_state != NULL && !client->closed) {
        client->opts.on_state(client, state, err, client->opts.user);
    }
}

static void stop(struct inlets_client *client, int err)
{
    if (client->state != INLETS_CLIENT_STOPPED) {
        client->state = INLETS_CLIENT_STOPPED; /* nobody retries */
        inl_timer_off(inl_client_env(client), &client->drain_timer);
        inl_client_servers_close(client);
        set_state(client, INLETS_CLIENT_STOPPED, err);
    }
}

/* ---- the sum ---------------------------------------------------------- */

struct sum {
    size_t members, ready, busy, refused;
    bool pending; /* a name that gave no member yet, or is being asked */
    bool waiting;
    int refusal; /* one of them */
};

static bool is_taken(const struct inlets_client *client,
                     const struct inl_client_member *m)
{
    return m->taken && inl_remote_session(&m->remote) != NULL &&
           (m->refused == 0 || client->was_ready ||
            !client->opts.stop_if_refused);
}

static void add_member(const struct inlets_client *client,
                       const struct inl_client_member *m, struct sum *sum)
{
    enum inl_remote_state state = inl_remote_state(&m->remote);
    int refusal = m->remote.refused != 0 ? m->remote.refused : m->refused;

    sum->members++;
    if (is_taken(client, m)) {
        sum->ready++;
    } else if (state == INL_REMOTE_DIALING || state == INL_REMOTE_UP) {
        sum->busy++;
    }
    if (state != INL_REMOTE_IDLE) {
        sum->waiting = true;
    }
    if (refusal != 0) {
        sum->refused++;
        sum->refusal = sum->refusal != 0 ? sum->refusal : refusal;
    }
}

static void add_server(const struct inlets_client *client,
                       const struct inl_client_server *s, struct sum *sum)
{
    size_t before = sum->members;

    for (struct inl_list *n = s->members.next; n != &s->members; n = n->next) {
        const struct inl_client_member *m =
            inl_container(n, struct inl_client_member, node);

        if (!m->leaving) {
            add_member(client, m, sum);
        }
    }
    if (sum->members == before) {
        sum->pending = true;
        sum->busy += s->resolve.impl != NULL;
        sum->waiting = sum->waiting || s->failures > 0;
    }
}

static struct sum sum_up(const struct inlets_client *client)
{
    struct sum sum = {0};
    struct inl_list *n;

    for (n = client->servers.next; n != &client->servers; n = n->next) {
        add_server(client, inl_container(n, struct inl_client_server, node),
                   &sum);
    }
    return sum;
}

static bool gives_up(const struct inlets_client *client, const struct sum *sum)
{
    return client->opts.stop_if_refused && !client->was_ready &&
           !sum->pending && sum->members > 0 && sum->refused == sum->members;
}

bool inl_client_is_refused(const struct inlets_client *client)
{
    struct sum sum = sum_up(client);

    return gives_up(client, &sum);
}

static enum inlets_client_state state_of(const struct inlets_client *client,
                                         const struct sum *sum)
{
    return sum->ready > 0  ? INLETS_CLIENT_READY
           : sum->busy > 0 ? INLETS_CLIENT_CONNECTING
           : sum->waiting  ? INLETS_CLIENT_WAITING
                           : client->state;
}

void inl_client_update(struct inlets_client *client, int err)
{
    struct sum sum = sum_up(client);
    enum inlets_client_state state = state_of(client, &sum);

    if (client->closed || client->state == INLETS_CLIENT_DRAINING ||
        client->state == INLETS_CLIENT_STOPPED) {
        return;
    }
    if (gives_up(client, &sum)) {
        stop(client, sum.refusal);
        return;
    }
    if (state == INLETS_CLIENT_READY) {
        client->was_ready = true;
    }
    if (state != client->state) {
        set_state(client, state, state == INLETS_CLIENT_CONNECTING ? 0 : err);
    }
}

static bool has_members(struct inlets_client *client)
{
    struct inl_list *n;

    for (n = client->servers.next; n != &client->servers; n = n->next) {
        if (!inl_list_empty(
                &inl_container(n, struct inl_client_server, node)->members)) {
            return true;
        }
    }
    return false;
}

void inl_client_member_over(struct inlets_client *client)
{
    if (client->state == INLETS_CLIENT_DRAINING && !has_members(client)) {
        stop(client, 0);
    }
}

/* ---- the beginning ---------------------------------------------------- */

void inlets_client_opts_init_sized(struct inlets_client_opts *opts, size_t size)
{
    const struct inlets_client_opts defaults = {
        .size = size,
        .tunnel_path = "/tunnel",
        .stop_if_refused = 1,
        .connect_timeout_ms = 10000,
        .ping_ms = 10000,
        .dead_ms = 20000,
        .resume_ms = 10000,
        .retry_max_ms = 30000,
        .refused_retry_ms = 60000,
        .drain_ms = 30000,
        .upstream_connect_ms = 5000,
        .upstream_idle_ms = 60000,
        .upstream_idle_max = 32,
        .bbr = 1,
        .log_level = INLETS_LOG_INFO,
    };

    inl_opts_copy(opts, size, &defaults, sizeof(defaults));
    opts->size = size;
}

/* Nothing that a server would take is longer. */
#define TOKEN_MAX 8192u

static bool is_token(const char *token, bool is_basic)
{
    return token != NULL && strnlen(token, TOKEN_MAX + 1) <= TOKEN_MAX &&
           (is_basic ? strchr(token, ':') != NULL
                     : inl_slice_is_field_value(inl_str(token)));
}

/* What the Authorization field says: RFC 6750 2.1, RFC 7617. */
static char *make_credentials(const char *token, bool is_basic)
{
    const char *scheme = is_basic ? "Basic " : "Bearer ";
    size_t at = strlen(scheme), len = strlen(token);
    char *text = inl_calloc(at + INL_BASE64_LEN(len) + 1, 1);

    if (text == NULL) {
        return NULL;
    }
    memcpy(text, scheme, at);
    if (is_basic) {
        inl_base64_encode(token, len, text + at);
    } else {
        memcpy(text + at, token, len);
    }
    return text;
}

/* Instead of the one that there is. */
static int take_token(struct inlets_client *client, const char *token,
                      bool is_basic)
{
    char *text = make_credentials(token, is_basic);

    if (text == NULL) {
        return INLETS_ENOMEM;
    }
    inl_free_secret(client->credentials);
    client->credentials = text;
    client->credentials_text = inl_str(text);
    return 0;
}

static int check_opts(const struct inlets_client_opts *o)
{
    return o->tunnel_path != NULL && o->tunnel_path[0] == '/' &&
                   o->ping_ms > 0 && o->dead_ms > 0 &&
                   o->connect_timeout_ms > 0 && o->retry_max_ms > 0 &&
                   o->connections <= INL_SESSION_LANES &&
                   o->nurls <= INL_CLIENT_MAX_URLS &&
                   (o->url != NULL || (o->urls != NULL && o->nurls > 0)) &&
                   (o->token == NULL || is_token(o->token, o->basic_auth != 0))
               ? 0
               : INLETS_EINVAL;
}

static int take_urls(struct inlets_client *client,
                     const struct inlets_client_opts *o)
{
    int err = o->url == NULL ? 0 : inl_client_add_server(client, o->url, o);

    for (size_t i = 0; i < o->nurls && err == 0; i++) {
        err = inl_client_add_server(client, o->urls[i], o);
    }
    return err;
}

/* NULL and "keep": the visitor's. */
static int take_host_header(struct inlets_client *client, const char *text)
{
    char buf[INL_HOST_MAX + 1];

    if (text == NULL || strcmp(text, "keep") == 0) {
        return 0;
    }
    if (inl_host_normalise(inl_str(text), buf, sizeof(buf)) < 0) {
        return INLETS_EINVAL;
    }
    client->host_header = inl_strdup(text);
    return client->host_header == NULL ? INLETS_ENOMEM : 0;
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
        err = inl_client_tls_take(client, &o);
    }
    if (err == 0) {
        err = take_urls(client, &o);
    }
    if (err == 0 && o.token != NULL) {
        err = take_token(client, o.token, o.basic_auth != 0);
    }
    if (err == 0) {
        err = take_host_header(client, o.host_header);
    }
    o.host_header = NULL;
    o.url = o.tunnel_path = o.token = o.ca = o.fingerprint = NULL;
    o.cert = o.key = NULL;
    o.proxy = o.tls_proxy = o.no_proxy = NULL;
    o.urls = NULL;
    client->opts = o;
    return err;
}

int inlets_client_set_token(struct inlets_client *client, const char *token)
{
    bool is_basic = client->opts.basic_auth != 0;
    int err = is_token(token, is_basic) ? take_token(client, token, is_basic)
                                        : INLETS_EINVAL;

    if (err == 0 && client->started && !client->closed) {
        inl_loop_enter(&client->loop);
        inl_client_servers_refresh(client);
    }
    return err;
}

static void drain_timeout(struct inl_timer *timer)
{
    inl_client_servers_close(
        inl_container(timer, struct inlets_client, drain_timer));
}

static void init_parts(struct inlets_client *client)
{
    struct inl_env *env = inl_client_env(client);

    env->log = client->opts.log;
    env->log_level = client->opts.log_level;
    env->log_user = client->opts.user;
    inl_timer_init(&client->drain_timer, drain_timeout);
    inl_net_dialer_init(&client->dialer, &client->loop);
    inl_client_endpoints_init(client);
}

static void free_client(struct inlets_client *client)
{
    inl_client_endpoints_free(client);
    inl_client_servers_free(client);
    inl_trust_unref(client->trust);
    inl_cert_unref(client->cert);
    inl_free(client->host_header);
    inl_free_secret(client->credentials);
    inl_proxy_url_fini(&client->proxy);
    inl_proxy_url_fini(&client->tls_proxy);
    inl_free(client);
}

int inlets_client_new(struct inlets_client **ret_client, struct uv_loop_s *loop,
                      const struct inlets_client_opts *opts)
{
    struct inlets_client *client = inl_calloc(1, sizeof(*client));
    int err;

    if (client == NULL) {
        return INLETS_ENOMEM;
    }
    inl_list_init(&client->servers);
    inl_list_init(&client->endpoints);
    inl_list_init(&client->leaving);
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

int inlets_client_start(struct inlets_client *client)
{
    int err;

    if (client->started || client->closed ||
        inl_list_empty(&client->endpoints)) {
        return INLETS_EINVAL;
    }
    inl_loop_enter(&client->loop);
    err = inl_client_servers_start(client);
    client->started = err == 0;
    return err;
}

/* ---- the end ---------------------------------------------------------- */

void inlets_client_drain(struct inlets_client *client)
{
    struct inl_env *env = inl_client_env(client);

    if (client->closed || client->state == INLETS_CLIENT_DRAINING ||
        client->state == INLETS_CLIENT_STOPPED) {
        return;
    }
    inl_loop_enter(&client->loop);
    inl_log(env, INLETS_LOG_INFO, "draining",
            INL_KN("at_most_ms", client->opts.drain_ms));
    client->state = INLETS_CLIENT_DRAINING;
    if (inl_timer_at(env, &client->drain_timer,
                     env->now_ms + client->opts.drain_ms) != 0) {
        inl_client_servers_close(client);
    }
    inl_client_servers_drain(client);
    set_state(client, INLETS_CLIENT_DRAINING, 0);
    inl_client_member_over(client); /* if there is none */
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
    if (client == NULL || client->closed) {
        return;
    }
    inl_loop_enter(&client->loop);
    client->closed = true;
    client->close_cb = cb;
    client->close_user = user;
    inl_timer_off(inl_client_env(client), &client->drain_timer);
    inl_client_servers_close(client);
    inl_client_endpoints_close(client);
    inl_loop_close(&client->loop, on_loop_closed, client);
}
