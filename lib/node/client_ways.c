/* client_ways.c: how a client gets to its servers: which proxy is on the way,
 * and the dialers that go one through the other.
 *
 * The proxies are the client's, as far as a server needs them; a server has
 * the dialers. Nothing is undone here: the servers and the client free what
 * they own. */
#include "node/client.h"

#include "base/no_proxy.h"
#include "base/slice.h"

bool inl_client_is_tls(struct inlets_slice scheme)
{
    return inl_slice_eq_case(scheme, INL_LIT("wss")) ||
           inl_slice_eq_case(scheme, INL_LIT("https"));
}

/* NULL and "" are none. */
static int parse_proxy(const char *text, struct inl_proxy_url *ret)
{
    return text == NULL || *text == '\0'
               ? 0
               : inl_proxy_url_parse(inl_str(text), ret);
}

int inlets_client_check_proxy(const char *proxy)
{
    struct inl_proxy_url url = {0};
    int err = parse_proxy(proxy, &url);

    inl_proxy_url_fini(&url);
    return err;
}

/* The url alone is none of our business here; the token goes to the proxy
 * first. */
static bool is_exposed(const struct inl_url *url,
                       const struct inl_proxy_url *proxy)
{
    return proxy->host != NULL && !inl_client_is_tls(url->scheme) &&
           !inl_host_is_loopback(inl_str(proxy->host));
}

int inl_client_choose_proxy(struct inlets_client *client,
                            const struct inl_url *url,
                            const struct inlets_client_opts *opts,
                            const struct inl_proxy_url **ret_proxy)
{
    bool tls = inl_client_is_tls(url->scheme) && opts->tls_proxy != NULL;
    struct inl_proxy_url *proxy = tls ? &client->tls_proxy : &client->proxy;
    int err = 0;

    if (inl_no_proxy_has(inl_str(opts->no_proxy), url->host)) {
        *ret_proxy = NULL;
        return 0;
    }
    if (proxy->host == NULL) {
        err = parse_proxy(tls ? opts->tls_proxy : opts->proxy, proxy);
    }
    if (err == 0 && !opts->insecure && is_exposed(url, proxy)) {
        err = INLETS_EINSECURE;
    }
    if (err == 0) {
        *ret_proxy = proxy->host == NULL ? NULL : proxy;
    }
    return err;
}

static void tell_proxy(const struct inl_client_server *s)
{
    inl_log(inl_client_env(s->client), INLETS_LOG_INFO, "through a proxy",
            INL_KV("server", inl_str(s->authority)),
            INL_KV("proxy", inl_str(s->proxy->label)));
    if (s->client->opts.all_addresses) {
        inl_log(inl_client_env(s->client), INLETS_LOG_WARN,
                "the proxy resolves the name, so its addresses are not "
                "followed one by one",
                INL_KV("server", inl_str(s->authority)));
    }
}

struct inl_dialer *inl_client_build_dialer(struct inl_client_server *s)
{
    struct inlets_client *client = s->client;
    struct inl_dialer *dialer = &client->dialer;

    if (s->proxy_tls != NULL) {
        inl_secure_dialer_init(&s->proxy_secure, dialer, s->proxy_tls,
                               s->proxy->host);
        dialer = &s->proxy_secure.dialer;
    }
    if (s->proxy != NULL) {
        const struct inl_proxy_config config = {
            .host = s->proxy->host,
            .port = s->proxy->port,
            .authorization = inl_str(s->proxy->authorization),
            .agent = INL_LIT(INL_CLIENT_AGENT),
        };

        inl_proxy_dialer_init(&s->through, inl_client_env(client), dialer,
                              &config);
        dialer = &s->through.dialer;
        tell_proxy(s);
    }
    if (s->tls != NULL) {
        inl_secure_dialer_init(&s->secure, dialer, s->tls, s->host);
        dialer = &s->secure.dialer;
    }
    return dialer;
}
