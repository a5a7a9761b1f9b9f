/* client_remotes.c: where a client serves: its exit nodes.
 *
 *   client -> server (a url) -> member (an inl_remote), one, or with
 *                               all_addresses one for each address of the name
 *
 * All members serve everything at once; none knows of another. With
 * all_addresses the name is asked for again every 30 s and behind each loss:
 * a new address becomes a member; one that is gone drains when another serves,
 * or when it is lost. A name that cannot be resolved changes nothing. Through a
 * proxy, which alone knows the addresses, there is one member.
 *
 * A member is freed when its remote says `over`, after it has drained or was
 * closed; a server lives as long as the client. */
#include "node/client.h"

#include "base/mem.h"
#include "base/slice.h"
#include <inlets/version.h>
#include <stdio.h>
#include <string.h>

static struct inl_client_member *member_of(struct inl_remote *r)
{
    return inl_container(r, struct inl_client_member, remote);
}

static struct inlets_client *client_of(struct inl_remote *r)
{
    return member_of(r)->server->client;
}

/* ---- offering --------------------------------------------------------- */

static int offer(struct inl_client_member *m, struct inl_session *s,
                 const struct inl_client_endpoint *e)
{
    m->offered++;
    m->live++;
    m->last_offered = e->route;
    return inl_session_offer(s, e->route, inl_str(e->text));
}

/* Is this one of a list's endpoints, and not offered yet? */
static bool waits(const struct inl_client_member *m, struct inl_list *n)
{
    return n != &m->server->client->endpoints &&
           inl_container(n, struct inl_client_endpoint, node)->route >
               m->last_offered;
}

/* Routes are offered in the order of their numbers, so those that wait for
 * room are the last ones of the list. What the server has refused keeps its
 * place until it is withdrawn. */
static int offer_waiting(struct inl_client_member *m, struct inl_session *s)
{
    struct inl_list *all = &m->server->client->endpoints;
    struct inl_list *n = all;
    int err = 0;

    while (waits(m, n->prev)) {
        n = n->prev;
    }
    for (; n != all && m->live < INL_SESSION_MAX_ROUTES && err == 0;
         n = n->next) {
        err = offer(m, s, inl_container(n, struct inl_client_endpoint, node));
    }
    for (m->waiting = 0; n != all; n = n->next) {
        m->waiting++;
    }
    return err;
}

static void tell_waiting(struct inl_client_member *m)
{
    struct inl_env *env = inl_client_env(m->server->client);
    struct inlets_slice server = inl_str(m->label);
    char why[96];

    if (m->waiting == m->told_waiting) {
        return;
    }
    m->told_waiting = m->waiting;
    if (m->waiting == 0) {
        inl_log(env, INLETS_LOG_INFO, "endpoints wait no more",
                INL_KV("server", server));
        return;
    }
    (void)snprintf(why, sizeof(why),
                   "an exit node takes at most %u endpoints of one client",
                   INL_SESSION_MAX_ROUTES);
    inl_log(env, INLETS_LOG_WARN, "endpoints wait until others go",
            INL_KN("endpoints", m->waiting), INL_KV("why", inl_str(why)),
            INL_KV("server", server));
}

void inl_client_offer_waiting(struct inl_later *later)
{
    struct inlets_client *client =
        inl_container(later, struct inlets_client, offers);
    struct inl_list *n, *nt, *l, *lt;

    inl_client_each_member(client, n, nt, l, lt)
    {
        struct inl_client_member *m =
            inl_container(l, struct inl_client_member, node);
        struct inl_session *s = inl_remote_session(&m->remote);

        if (s == NULL) {
            continue; /* offered with the next one */
        }
        if (offer_waiting(m, s) == INLETS_ENOMEM) {
            inl_session_close(s, INLETS_ENOMEM); /* the next one has it */
        }
        tell_waiting(m);
    }
}

/* ---- what a remote asks and says -------------------------------------- */

static int on_offer(struct inl_remote *r, struct inl_session *s)
{
    struct inl_client_member *m = member_of(r);

    m->offered = m->answered = m->live = 0;
    m->last_offered = 0;
    m->refused = 0;
    m->taken = false;
    return offer_waiting(m, s);
}

static void leave_gone(struct inl_client_server *s);

static void check_taken(struct inl_client_member *m)
{
    if (!m->taken && m->answered >= m->offered) {
        m->taken = true;
        leave_gone(m->server);
        inl_client_update(m->server->client, m->refused);
    }
}

static void on_hello(struct inl_remote *r)
{
    check_taken(member_of(r));
    tell_waiting(member_of(r));
}

static void on_routed(struct inl_remote *r, uint32_t route, int err,
                      struct inlets_slice text)
{
    struct inl_client_member *m = member_of(r);
    const struct inl_client_endpoint *e =
        inl_client_find_route(client_of(r), route);

    m->answered++;
    if (e != NULL && e->until_ms == 0) {
        struct inlets_slice name = inl_str(inl_client_endpoint_name(e));

        if (err != 0) {
            m->refused = m->refused != 0 ? m->refused : err;
            inl_log(r->config.env, INLETS_LOG_ERROR, "endpoint refused",
                    INL_KV("endpoint", name), INL_KV("why", text),
                    INL_KV("server", r->config.label));
        } else {
            bool is_url = inl_slice_starts(text, INL_LIT("http"));

            inl_log(r->config.env, INLETS_LOG_INFO, "endpoint up",
                    INL_KV("endpoint", name),
                    INL_KV(is_url ? "url" : NULL, text),
                    INL_KV("server", r->config.label));
        }
    }
    check_taken(m);
}

static struct inl_service *on_service(struct inl_remote *r, uint32_t route)
{
    struct inl_client_endpoint *e = inl_client_find_route(client_of(r), route);

    return e == NULL ? NULL : inl_client_endpoint_service(e);
}

static bool on_may_retry(struct inl_remote *r, int err)
{
    const struct inlets_client *client = client_of(r);

    (void)err;
    return !client->closed && client->state != INLETS_CLIENT_STOPPED &&
           !(r->refused != 0 && inl_client_is_refused(client));
}

static void resolve_soon(struct inl_client_server *s, uint64_t wait_ms);

static void on_changed(struct inl_remote *r, int err)
{
    struct inl_client_member *m = member_of(r);
    struct inlets_client *client = client_of(r);

    if (err != 0 && m->address != NULL && !m->leaving) {
        leave_gone(m->server);
        resolve_soon(m->server, INL_CLIENT_RESOLVE_PAUSE_MS);
    }
    inl_client_update(client, err);
}

static void member_free(struct inl_client_member *m)
{
    inl_list_remove(&m->node);
    inl_timer_off(inl_client_env(m->server->client), &m->cut);
    inl_remote_fini(&m->remote);
    inl_free(m->address);
    inl_free(m->label);
    inl_free(m);
}

static void on_over(struct inl_remote *r)
{
    struct inlets_client *client = client_of(r);

    member_free(member_of(r));
    inl_client_member_over(client);
}

static const struct inl_remote_ops remote_ops = {
    .offer = on_offer,
    .hello = on_hello,
    .routed = on_routed,
    .service = on_service,
    .may_retry = on_may_retry,
    .changed = on_changed,
    .over = on_over,
};

/* ---- members ---------------------------------------------------------- */

static void cut(struct inl_timer *timer)
{
    inl_remote_close(
        &inl_container(timer, struct inl_client_member, cut)->remote);
}

static char *make_label(const struct inl_client_server *s, const char *address)
{
    char buf[INL_HOST_MAX + 96];

    if (address == NULL || strcmp(address, s->host) == 0) {
        return inl_strdup(s->authority);
    }
    (void)snprintf(buf, sizeof(buf), "%s (%s)", s->authority, address);
    return inl_strdup(buf);
}

static void init_remote(struct inl_client_member *m)
{
    const struct inl_client_server *s = m->server;
    struct inlets_client *client = s->client;
    const struct inlets_client_opts *o = &client->opts;
    const struct inl_remote_config config = {
        .ops = &remote_ops,
        .env = inl_client_env(client),
        .dialer = s->dialer,
        .host = m->address != NULL ? m->address : s->host,
        .port = s->port,
        .authority = inl_str(s->authority),
        .target = inl_str(s->target),
        .agent = INL_LIT(INL_CLIENT_AGENT),
        .credentials = &client->credentials_text,
        .label = inl_str(m->label),
        .connect_timeout_ms = o->connect_timeout_ms,
        .retry_max_ms = o->retry_max_ms,
        .refused_retry_ms = o->refused_retry_ms,
        .lane = {o->ping_ms, o->dead_ms},
        .max_streams = 16384,
        .resume_ms = o->resume_ms,
        .lanes = o->connections,
        .bbr = o->bbr != 0,
        /* The name alone was believed: it may lead elsewhere. */
        .stays_here = s->tls == NULL && !o->insecure,
    };

    inl_remote_init(&m->remote, &config);
}

/* address NULL: the server's name. NULL when out of memory. */
static struct inl_client_member *member_new(struct inl_client_server *s,
                                            const char *address)
{
    struct inl_client_member *m = inl_calloc(1, sizeof(*m));

    if (m == NULL) {
        return NULL;
    }
    m->server = s;
    inl_list_init(&m->node);
    inl_timer_init(&m->cut, cut);
    m->label = make_label(s, address);
    if (address != NULL) {
        m->address = inl_strdup(address);
    }
    if (m->label == NULL || (address != NULL && m->address == NULL)) {
        inl_free(m->label);
        inl_free(m->address);
        inl_free(m);
        return NULL;
    }
    init_remote(m);
    inl_list_push_back(&s->members, &m->node);
    return m;
}

static void member_leave(struct inl_client_member *m)
{
    struct inlets_client *client = m->server->client;
    struct inl_env *env = inl_client_env(client);

    m->leaving = true;
    inl_log(env, INLETS_LOG_INFO, "address gone",
            INL_KV("server", inl_str(m->label)));
    if (inl_timer_at(env, &m->cut, env->now_ms + client->opts.drain_ms) != 0) {
        inl_remote_close(&m->remote);
    }
    inl_remote_drain(&m->remote,
                     INL_LIT("this address is not in use any more"));
}

/* ---- all addresses of a name ------------------------------------------ */

static struct inl_client_member *find_address(struct inl_client_server *s,
                                              const char *address)
{
    struct inl_list *n;

    for (n = s->members.next; n != &s->members; n = n->next) {
        struct inl_client_member *m =
            inl_container(n, struct inl_client_member, node);

        if (!m->leaving && strcmp(m->address, address) == 0) {
            return m;
        }
    }
    return NULL;
}

static bool is_among(const char *address, const char *const *addresses,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(addresses[i], address) == 0) {
            return true;
        }
    }
    return false;
}

/* Addresses that are not the name's any more are left when another serves, so
 * that a name that moved is never without any; or when they are lost. */
static void leave_gone(struct inl_client_server *s)
{
    struct inl_list *l, *tmp;
    bool is_served = false;

    inl_list_each(&s->members, l, tmp)
    {
        struct inl_client_member *m =
            inl_container(l, struct inl_client_member, node);

        is_served = is_served || (!m->gone && !m->leaving && m->taken &&
                                  inl_remote_session(&m->remote) != NULL);
    }
    inl_list_each(&s->members, l, tmp)
    {
        struct inl_client_member *m =
            inl_container(l, struct inl_client_member, node);

        if (m->gone && !m->leaving &&
            (is_served || inl_remote_session(&m->remote) == NULL)) {
            member_leave(m);
        }
    }
}

static void follow(struct inl_client_server *s, const char *const *addresses,
                   size_t n)
{
    struct inl_list *l, *tmp;

    for (size_t i = 0; i < n; i++) {
        if (find_address(s, addresses[i]) == NULL) {
            struct inl_client_member *m = member_new(s, addresses[i]);

            if (m != NULL) { /* else the next answer has it again */
                inl_log(inl_client_env(s->client), INLETS_LOG_INFO,
                        "address found", INL_KV("server", inl_str(m->label)));
                inl_remote_start(&m->remote);
            }
        }
    }
    inl_list_each(&s->members, l, tmp)
    {
        struct inl_client_member *m =
            inl_container(l, struct inl_client_member, node);

        m->gone = !is_among(m->address, addresses, n);
    }
    leave_gone(s);
}

static void resolved(struct inl_resolve *r, int err,
                     const char *const *addresses, size_t n)
{
    struct inl_client_server *s =
        inl_container(r, struct inl_client_server, resolve);
    struct inl_env *env = inl_client_env(s->client);
    uint64_t wait = INL_CLIENT_RESOLVE_MS;

    if (err == 0) {
        s->failures = 0;
        follow(s, addresses, n);
    } else {
        wait = (uint64_t)INL_CLIENT_RESOLVE_PAUSE_MS
               << (s->failures < 8 ? s->failures : 8);
        wait = wait < INL_CLIENT_RESOLVE_MS ? wait : INL_CLIENT_RESOLVE_MS;
        s->failures++;
        inl_log(env, INLETS_LOG_WARN, "cannot resolve",
                INL_KV("server", inl_str(s->authority)),
                INL_KV("why", inl_str(inlets_strerror(err))),
                INL_KN("retry_in_ms", wait));
    }
    (void)inl_timer_at(env, &s->timer, env->now_ms + wait);
    inl_client_update(s->client, err);
}

static void ask(struct inl_client_server *s)
{
    int err;

    if (s->resolve.impl != NULL) {
        return;
    }
    s->asked_ms = inl_client_env(s->client)->now_ms;
    s->resolve.host = s->host;
    s->resolve.done = resolved;
    err = inl_resolve_start(s->dialer, &s->resolve);
    if (err != 0) {
        resolved(&s->resolve, err, NULL, 0);
    }
}

static void resolve_due(struct inl_timer *timer)
{
    ask(inl_container(timer, struct inl_client_server, timer));
}

/* Not before wait_ms have gone since the last time; never later than due. */
static void resolve_soon(struct inl_client_server *s, uint64_t wait_ms)
{
    uint64_t due = s->asked_ms + wait_ms;

    if (s->resolve.impl == NULL && s->failures == 0 &&
        (s->timer.due_ms == 0 || s->timer.due_ms > due)) {
        (void)inl_timer_at(inl_client_env(s->client), &s->timer, due);
    }
}

/* ---- urls ------------------------------------------------------------- */

/* http is what earlier inlets took for ws. */
static bool is_in_clear(struct inlets_slice scheme)
{
    return scheme.len == 0 || inl_slice_eq_case(scheme, INL_LIT("ws")) ||
           inl_slice_eq_case(scheme, INL_LIT("http"));
}

static int parse_url(const char *text, bool insecure, struct inl_url *ret_url)
{
    int err =
        text == NULL ? INLETS_EINVAL : inl_url_parse(inl_str(text), ret_url);

    if (err == 0 && (ret_url->userinfo.len > 0 || ret_url->query.len > 0 ||
                     !(inl_client_is_tls(ret_url->scheme) ||
                       is_in_clear(ret_url->scheme)))) {
        err = INLETS_EINVAL;
    }
    if (err == 0 && is_in_clear(ret_url->scheme) && !insecure &&
        !inl_host_is_loopback(ret_url->host)) {
        err = INLETS_EINSECURE;
    }
    return err;
}

int inlets_client_check_url(const char *url, int insecure)
{
    struct inl_url parsed;

    return parse_url(url, insecure != 0, &parsed);
}

/* "host", "host:port" or "[v6]:port"; the scheme's own port is left out. */
char *inl_client_authority(const struct inl_url *url)
{
    char buf[INL_HOST_MAX + 16];
    const char *left = url->host_is_ipv6 ? "[" : "";
    const char *right = url->host_is_ipv6 ? "]" : "";

    if (url->port == (inl_client_is_tls(url->scheme) ? 443 : 80)) {
        (void)snprintf(buf, sizeof(buf), "%s%.*s%s", left, (int)url->host.len,
                       url->host.ptr, right);
    } else {
        (void)snprintf(buf, sizeof(buf), "%s%.*s%s:%u", left,
                       (int)url->host.len, url->host.ptr, right, url->port);
    }
    return inl_strdup(buf);
}

static void server_free(struct inl_client_server *s)
{
    inl_tls_config_unref(s->tls);
    inl_tls_config_unref(s->proxy_tls);
    inl_free(s->host);
    inl_free(s->authority);
    inl_free(s->target);
    inl_free(s);
}

int inl_client_add_server(struct inlets_client *client, const char *text,
                          const struct inlets_client_opts *opts)
{
    const struct inl_proxy_url *proxy = NULL;
    struct inl_client_server *s;
    struct inl_url url;
    int err = parse_url(text, opts->insecure != 0, &url);

    if (err == 0) {
        err = inl_client_choose_proxy(client, &url, opts, &proxy);
    }
    if (err != 0) {
        return err;
    }
    s = inl_calloc(1, sizeof(*s));
    if (s == NULL) {
        return INLETS_ENOMEM;
    }
    s->client = client;
    s->host = inl_slice_dup(url.host);
    s->authority = inl_client_authority(&url);
    s->target =
        inl_slice_dup(url.path.len > 1 ? url.path : inl_str(opts->tunnel_path));
    s->port = url.port;
    s->proxy = proxy;
    inl_list_init(&s->members);
    inl_timer_init(&s->timer, resolve_due);
    if (s->host == NULL || s->authority == NULL || s->target == NULL) {
        err = INLETS_ENOMEM;
    }
    if (err == 0 && inl_client_is_tls(url.scheme)) {
        err = inl_client_tls_server(client, opts, &s->tls);
    }
    if (err == 0 && proxy != NULL && proxy->is_tls) {
        err = inl_client_tls_proxy(client, &s->proxy_tls);
    }
    if (err != 0) {
        server_free(s);
        return err;
    }
    inl_list_push_back(&client->servers, &s->node);
    return 0;
}

/* ---- all of them ------------------------------------------------------ */

static struct inl_client_server *server_of(struct inl_list *n)
{
    return inl_container(n, struct inl_client_server, node);
}

/* Is its name asked for all addresses? A proxy has the name to itself. */
static bool is_followed(const struct inl_client_server *s)
{
    return s->client->opts.all_addresses && s->proxy == NULL;
}

/* One for each server that is not followed. */
static int make_members(struct inlets_client *client)
{
    struct inl_list *n, *nt, *m, *mt;

    inl_list_each(&client->servers, n, nt)
    {
        server_of(n)->dialer = inl_client_build_dialer(server_of(n));
        if (!is_followed(server_of(n)) &&
            member_new(server_of(n), NULL) == NULL) {
            inl_client_each_member(client, n, nt, m, mt)
            {
                member_free(inl_container(m, struct inl_client_member, node));
            }
            return INLETS_ENOMEM;
        }
    }
    return 0;
}

int inl_client_servers_start(struct inlets_client *client)
{
    struct inl_list *n, *nt, *m, *mt;
    int err = make_members(client);

    if (err != 0) {
        return err;
    }
    inl_client_each_member(client, n, nt, m, mt)
    {
        inl_remote_start(
            &inl_container(m, struct inl_client_member, node)->remote);
    }
    inl_list_each(&client->servers, n, nt)
    {
        if (is_followed(server_of(n))) {
            resolve_soon(server_of(n), 0);
        }
    }
    return 0;
}

static void stop_resolving(struct inlets_client *client)
{
    struct inl_list *n, *tmp;

    inl_list_each(&client->servers, n, tmp)
    {
        inl_resolve_cancel(server_of(n)->dialer, &server_of(n)->resolve);
        inl_timer_off(inl_client_env(client), &server_of(n)->timer);
    }
}

void inl_client_servers_refresh(struct inlets_client *client)
{
    struct inl_list *n, *nt, *m, *mt;

    inl_client_each_member(client, n, nt, m, mt)
    {
        inl_remote_refresh(
            &inl_container(m, struct inl_client_member, node)->remote);
    }
}

void inl_client_servers_drain(struct inlets_client *client)
{
    struct inl_list *n, *nt, *m, *mt;

    stop_resolving(client);
    inl_client_each_member(client, n, nt, m, mt)
    {
        inl_remote_drain(
            &inl_container(m, struct inl_client_member, node)->remote,
            INL_LIT("client is shutting down"));
    }
}

void inl_client_servers_close(struct inlets_client *client)
{
    struct inl_list *n, *nt, *m, *mt;

    stop_resolving(client);
    inl_client_each_member(client, n, nt, m, mt)
    {
        inl_remote_close(
            &inl_container(m, struct inl_client_member, node)->remote);
    }
}

/* All members have said `over` by now. */
void inl_client_servers_free(struct inlets_client *client)
{
    struct inl_list *n;

    while ((n = inl_list_pop(&client->servers)) != NULL) {
        server_free(server_of(n));
    }
}

void inl_client_tell_offer(struct inlets_client *client,
                           const struct inl_client_endpoint *e, bool instead)
{
    struct inl_list *n, *nt, *l, *lt;

    inl_client_each_member(client, n, nt, l, lt)
    {
        struct inl_client_member *m =
            inl_container(l, struct inl_client_member, node);
        struct inl_session *s = inl_remote_session(&m->remote);

        if (s == NULL) {
            continue; /* offered with the next one */
        }
        if (waits(m, e->node.prev) ||
            m->live >= INL_SESSION_MAX_ROUTES + (instead ? 1 : 0)) {
            inl_env_later(inl_client_env(client), &client->offers);
        } else if (offer(m, s, e) == INLETS_ENOMEM) {
            inl_session_close(s, INLETS_ENOMEM); /* the next one has it */
        }
    }
}

void inl_client_tell_withdraw(struct inlets_client *client, uint32_t route)
{
    struct inl_list *n, *nt, *l, *lt;

    inl_client_each_member(client, n, nt, l, lt)
    {
        struct inl_client_member *m =
            inl_container(l, struct inl_client_member, node);
        struct inl_session *s = inl_remote_session(&m->remote);

        if (s == NULL || route > m->last_offered) {
            continue;
        }
        m->live--;
        if (inl_session_withdraw(s, route) == INLETS_ENOMEM) {
            inl_session_close(s, INLETS_ENOMEM);
        }
    }
    inl_env_later(inl_client_env(client), &client->offers);
}
