/* client_endpoints.c: what a client serves.
 *
 *   remote's session -> upstream | local handler      (by route number)
 *
 * The server names a route by the number that we gave it, never an address:
 * only what is configured here can be reached. Numbers only grow, so a route
 * that comes late is never taken for another.
 *
 *   served -> leaving -> freed
 *
 * An endpoint that is withdrawn is unknown to its owner at once. Its upstream
 * goes on for those requests that the server sent before it knew, then takes
 * none and is freed when the last one has ended (relay/upstream.c). A handler
 * is not called again: what it works on is the owner's, who may free it. */
#include "node/client.h"
#include "node/opts.h"

#include "base/mem.h"
#include "base/slice.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct inl_client_endpoint *endpoint_of(struct inl_list *n)
{
    return inl_container(n, struct inl_client_endpoint, node);
}

struct inl_client_endpoint *
inl_client_find_route(const struct inlets_client *client, uint32_t route)
{
    struct inl_map_node *n = inl_map_first(
        &client->routes, inl_map_hash_u32(&client->routes, route));

    for (; n != NULL; n = inl_map_next(n)) {
        struct inl_client_endpoint *e =
            inl_container(n, struct inl_client_endpoint, by_route);

        if (e->route == route) {
            return e;
        }
    }
    return NULL;
}

const char *inl_client_endpoint_name(const struct inl_client_endpoint *e)
{
    return e->text[0] == '\0' ? "*" : e->text;
}

struct inl_service *inl_client_endpoint_service(struct inl_client_endpoint *e)
{
    if (e->upstream != NULL) {
        return inl_upstream_service(e->upstream);
    }
    return e->until_ms == 0 ? &e->local.service : NULL;
}

/* ---- leaving ---------------------------------------------------------- */

static void endpoint_free(struct inl_client_endpoint *e)
{
    inl_free(e->text);
    inl_free(e);
}

/* Out of the client; false: exchanges of the handler still run. */
static bool part(struct inlets_client *client, struct inl_client_endpoint *e)
{
    if (e->upstream == NULL && !inl_list_empty(&e->local.exchanges)) {
        return false;
    }
    inl_upstream_retire(e->upstream);
    inl_map_remove(&client->routes, &e->by_route);
    inl_list_remove(&e->node);
    endpoint_free(e);
    return true;
}

static void leave_due(struct inl_timer *timer)
{
    struct inlets_client *client =
        inl_container(timer, struct inlets_client, leave_timer);
    uint64_t now = inl_client_env(client)->now_ms;
    struct inl_list *n, *tmp;

    inl_list_each(&client->leaving, n, tmp)
    {
        struct inl_client_endpoint *e = endpoint_of(n);

        if (e->until_ms <= now && !part(client, e)) {
            e->until_ms = now + INL_CLIENT_LEAVE_MS;
            inl_list_remove(n);
            inl_list_push_back(&client->leaving, n);
        }
    }
    if (!inl_list_empty(&client->leaving)) {
        (void)inl_timer_at(inl_client_env(client), timer,
                           endpoint_of(client->leaving.next)->until_ms);
    }
}

/* No memory for the timer: the next one to leave sees to it, or close. */
static void leave(struct inlets_client *client, struct inl_client_endpoint *e)
{
    e->until_ms = inl_client_env(client)->now_ms + INL_CLIENT_LEAVE_MS;
    inl_list_remove(&e->node);
    inl_list_push_back(&client->leaving, &e->node);
    if (client->leave_timer.due_ms == 0) {
        (void)inl_timer_at(inl_client_env(client), &client->leave_timer,
                           endpoint_of(client->leaving.next)->until_ms);
    }
    inl_client_tell_withdraw(client, e->route);
}

/* ---- coming ----------------------------------------------------------- */

static bool same_endpoint(const struct inl_endpoint *a,
                          const struct inl_endpoint *b)
{
    return strcmp(a->host, b->host) == 0 && a->wildcard == b->wildcard &&
           inl_slice_eq(a->path, b->path);
}

static struct inl_client_endpoint *find(struct inlets_client *client,
                                        const struct inl_endpoint *parsed)
{
    struct inl_list *n;

    for (n = client->endpoints.next; n != &client->endpoints; n = n->next) {
        if (same_endpoint(&endpoint_of(n)->parsed, parsed)) {
            return endpoint_of(n);
        }
    }
    return NULL;
}

static bool is_open(const struct inlets_client *client)
{
    return !client->closed && client->state != INLETS_CLIENT_DRAINING &&
           client->state != INLETS_CLIENT_STOPPED;
}

/* Not in the client yet. */
static int endpoint_new(struct inlets_client *client, const char *text,
                        struct inl_client_endpoint **ret)
{
    struct inl_client_endpoint *e;
    int err;

    if (text == NULL || !is_open(client)) {
        return INLETS_EINVAL;
    }
    if (client->last_route == UINT32_MAX) {
        return INLETS_ELIMIT;
    }
    e = inl_calloc(1, sizeof(*e));
    if (e == NULL || (e->text = inl_strdup(text)) == NULL) {
        inl_free(e);
        return INLETS_ENOMEM;
    }
    inl_list_init(&e->node);
    err = inl_endpoint_parse(inl_str(e->text), &e->parsed);
    if (err != 0) {
        endpoint_free(e);
        return err;
    }
    *ret = e;
    return 0;
}

/* What e is served from is in place. On failure e is freed. */
static int append(struct inlets_client *client, struct inl_client_endpoint *e,
                  bool instead)
{
    e->route = client->last_route + 1;
    if (inl_map_add(&client->routes, &e->by_route,
                    inl_map_hash_u32(&client->routes, e->route)) != 0) {
        inl_upstream_close(e->upstream);
        endpoint_free(e);
        return INLETS_ENOMEM;
    }
    client->last_route++;
    inl_list_push_back(&client->endpoints, &e->node);
    inl_client_tell_offer(client, e, instead);
    return 0;
}

/* A url, and what is said of its certificate: nothing, how, or ca. */
struct upstream_url {
    struct inl_url url;
    struct inlets_slice how;
    const char *ca;
    bool secure;
};

/* "unix:/path". What follows ? or # in a URL is too likely meant to be such. */
static int parse_unix(struct inlets_slice path, const char *ca,
                      struct upstream_url *ret)
{
    bool fits = path.len < sizeof(((struct sockaddr_un *)0)->sun_path) &&
                path.len > 0 && path.ptr[0] == '/' &&
                inl_slice_find(path, '?') == path.len &&
                inl_slice_find(path, '#') == path.len;

    if (!fits || ca != NULL) {
        return INLETS_EINVAL;
    }
    *ret = (struct upstream_url){.url = {.host = path}};
    return 0;
}

static int parse_upstream(const char *text, const char *ca,
                          struct upstream_url *ret)
{
    size_t hash = inl_slice_find(inl_str(text), '#');
    struct inl_url *url = &ret->url;
    int err;

    if (inl_slice_starts_case(inl_str(text), INL_LIT("unix:"))) {
        return parse_unix(inl_slice_from(inl_str(text), 5), ca, ret);
    }
    err = text == NULL ? INLETS_EINVAL
                       : inl_url_parse(inl_slice(text, hash), url);
    if (err != 0) {
        return err;
    }
    ret->how = inl_slice_from(inl_str(text), hash + 1);
    ret->ca = ca;
    ret->secure = inl_slice_eq_case(url->scheme, INL_LIT("https"));
    while (url->path.len > 0 && url->path.ptr[url->path.len - 1] == '/') {
        url->path.len--;
    }
    return (ret->secure
                ? inl_client_tls_is_how(ret->how)
                : ret->how.len == 0 && ca == NULL &&
                      (url->scheme.len == 0 ||
                       inl_slice_eq_case(url->scheme, INL_LIT("http")))) &&
                   url->userinfo.len == 0 && url->query.len == 0
               ? 0
               : INLETS_EINVAL;
}

/* What the upstream sees as Host; *ret_own is to be freed. */
static int make_host_field(const struct inlets_client *client,
                           const struct inl_url *url,
                           struct inlets_slice *ret_field, char **ret_own)
{
    if (client->host_header == NULL) {
        return 0;
    }
    if (strcmp(client->host_header, "upstream") == 0) {
        if (url->port == 0) { /* a socket's path is no host */
            *ret_field = INL_LIT("localhost");
            return 0;
        }
        *ret_own = inl_client_authority(url);
        if (*ret_own == NULL) {
            return INLETS_ENOMEM;
        }
    }
    *ret_field = inl_str(*ret_own != NULL ? *ret_own : client->host_header);
    return 0;
}

static int upstream_new(struct inlets_client *client,
                        const struct upstream_url *from,
                        struct inl_upstream **ret_upstream)
{
    struct inl_upstream_config config = {
        .env = inl_client_env(client),
        .dialer = &client->dialer,
        .host = from->url.host,
        .port = from->url.port,
        .path = from->url.path,
        .connect_ms = client->opts.upstream_connect_ms,
        .idle_ms = client->opts.upstream_idle_ms,
        .idle_max = client->opts.upstream_idle_max,
    };
    char *own = NULL;
    int err = make_host_field(client, &from->url, &config.host_field, &own);

    if (err == 0 && from->secure) {
        err = inl_client_tls_upstream(client, from->how, from->ca, &config.tls);
    }
    if (err == 0) {
        *ret_upstream = inl_upstream_new(&config);
        err = *ret_upstream == NULL ? INLETS_ENOMEM : 0;
    }
    inl_tls_config_unref(config.tls);
    inl_free(own);
    return err;
}

/* `instead`: it takes the place of an endpoint that is there, without a gap:
 * the server hears of the new route before it hears that the old one goes. */
static int expose_url(struct inlets_client *client, const char *endpoint,
                      const char *text, const char *ca, bool instead)
{
    struct inl_client_endpoint *e, *old;
    struct upstream_url url;
    int err = parse_upstream(text, ca, &url);

    if (err == 0) {
        err = endpoint_new(client, endpoint, &e);
    }
    if (err != 0) {
        return err;
    }
    old = find(client, &e->parsed);
    if ((old != NULL) != instead) {
        endpoint_free(e);
        return instead ? INLETS_ENOROUTE : INLETS_ECONFLICT;
    }
    inl_loop_enter(&client->loop);
    err = upstream_new(client, &url, &e->upstream);
    if (err != 0) {
        endpoint_free(e);
        return err;
    }
    err = append(client, e, instead);
    if (err == 0 && old != NULL) {
        leave(client, old);
    }
    return err;
}

/* ---- the public functions --------------------------------------------- */

int inlets_client_check_upstream(const char *endpoint, const char *url)
{
    struct inl_endpoint parsed;
    struct upstream_url parsed_url;
    int err = endpoint == NULL ? INLETS_EINVAL
                               : inl_endpoint_parse(inl_str(endpoint), &parsed);

    return err != 0 ? err : parse_upstream(url, NULL, &parsed_url);
}

int inlets_client_expose_url(struct inlets_client *client, const char *endpoint,
                             const char *url)
{
    return expose_url(client, endpoint, url, NULL, false);
}

int inlets_client_replace_url(struct inlets_client *client,
                              const char *endpoint, const char *url)
{
    return expose_url(client, endpoint, url, NULL, true);
}

void inlets_upstream_opts_init_sized(struct inlets_upstream_opts *opts,
                                     size_t size)
{
    memset(opts, 0, size);
    opts->size = size;
}

static const char *ca_of(const struct inlets_upstream_opts *opts)
{
    struct inlets_upstream_opts o = {0};

    inl_opts_copy(&o, sizeof(o), opts, opts->size);
    return o.ca;
}

int inlets_client_expose_upstream(struct inlets_client *client,
                                  const char *endpoint, const char *url,
                                  const struct inlets_upstream_opts *opts)
{
    return expose_url(client, endpoint, url, ca_of(opts), false);
}

int inlets_client_replace_upstream(struct inlets_client *client,
                                   const char *endpoint, const char *url,
                                   const struct inlets_upstream_opts *opts)
{
    return expose_url(client, endpoint, url, ca_of(opts), true);
}

int inlets_client_expose_handler(struct inlets_client *client,
                                 const char *endpoint,
                                 inlets_handler_fn handler, void *user)
{
    struct inl_client_endpoint *e;
    int err =
        handler == NULL ? INLETS_EINVAL : endpoint_new(client, endpoint, &e);

    if (err != 0) {
        return err;
    }
    if (find(client, &e->parsed) != NULL) {
        endpoint_free(e);
        return INLETS_ECONFLICT;
    }
    inl_loop_enter(&client->loop);
    inl_local_init(&e->local, inl_client_env(client), handler, user);
    return append(client, e, false);
}

int inlets_client_withdraw(struct inlets_client *client, const char *endpoint)
{
    struct inl_endpoint parsed;
    struct inl_client_endpoint *e;
    int err = endpoint == NULL || !is_open(client)
                  ? INLETS_EINVAL
                  : inl_endpoint_parse(inl_str(endpoint), &parsed);

    if (err != 0) {
        return err;
    }
    e = find(client, &parsed);
    if (e == NULL) {
        return INLETS_ENOROUTE;
    }
    inl_loop_enter(&client->loop);
    leave(client, e);
    return 0;
}

/* ---- life ------------------------------------------------------------- */

void inl_client_endpoints_init(struct inlets_client *client)
{
    uint64_t seed;

    inl_env_random(inl_client_env(client), &seed, sizeof(seed));
    inl_map_init(&client->routes, seed);
    inl_timer_init(&client->leave_timer, leave_due);
    inl_later_init(&client->offers, inl_client_offer_waiting);
}

static void close_list(struct inl_list *endpoints)
{
    struct inl_list *n, *tmp;

    inl_list_each(endpoints, n, tmp)
    {
        struct inl_client_endpoint *e = endpoint_of(n);

        if (e->upstream != NULL) {
            inl_upstream_close(e->upstream);
            e->upstream = NULL;
            e->until_ms = 1; /* no service any more */
        } else {
            inl_local_fini(&e->local);
        }
    }
}

void inl_client_endpoints_close(struct inlets_client *client)
{
    inl_timer_off(inl_client_env(client), &client->leave_timer);
    inl_list_remove(&client->offers.node);
    close_list(&client->endpoints);
    close_list(&client->leaving);
}

void inl_client_endpoints_free(struct inlets_client *client)
{
    struct inl_list *n;

    while ((n = inl_list_pop(&client->endpoints)) != NULL ||
           (n = inl_list_pop(&client->leaving)) != NULL) {
        endpoint_free(endpoint_of(n));
    }
    inl_map_fini(&client->routes);
}
