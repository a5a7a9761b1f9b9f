/* server_clients.c: the gate's owner: who may be a client, and what of theirs
 * becomes part of the router. */
#include "node/server.h"

#include "base/slice.h"
#include "base/url.h"
#include <inlets/version.h>
#include <stdio.h>

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
                    const struct inl_endpoint *asked, struct inlets_slice text,
                    struct inlets_slice *ret_text)
{
    struct inlets_server *server = server_of(c->gate);
    struct inl_endpoint named = *asked;
    const struct inl_endpoint *endpoint = &named;
    int err = inl_server_name(server, c, &named);

    if (err != 0) {
        return err;
    }
    target->session = c->session->id;
    if (c->account != NULL &&
        !inl_account_owns(&server->accounts, c->account, endpoint)) {
        inl_log(inl_server_env(server), INLETS_LOG_WARN, "endpoint refused",
                INL_KV("endpoint", shown(text)),
                INL_KV("account", inl_str(c->shown.account)),
                INL_KN("session", c->session->id));
        *ret_text = INL_LIT("this account may not serve this host");
        return INLETS_EFORBIDDEN;
    }
    err = inl_router_add(&server->router, endpoint, target);
    if (err == 0) {
        *ret_text = server->domain == NULL
                        ? INL_LIT("")
                        : inl_server_url_of(server, endpoint, server->url);
        inl_log(inl_server_env(server), INLETS_LOG_INFO, "endpoint up",
                INL_KV("endpoint", shown(text)),
                INL_KV(ret_text->len == 0 ? NULL : "url", *ret_text),
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
    inl_log(inl_server_env(server), INLETS_LOG_INFO, "endpoint down",
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
        inl_log(inl_server_env(server), INLETS_LOG_INFO,
                "the system does not permit BBR",
                INL_KV("sysctl", INL_LIT("net.ipv4.tcp_allowed_congestion_"
                                         "control")));
    } else if (err != 0) {
        inl_log(inl_server_env(server), INLETS_LOG_DEBUG, "no BBR",
                INL_KV("why", inl_str(inlets_strerror(err))));
    }
}

static const struct inl_gate_ops gate_ops = {
    .authorise = inl_server_authorise,
    .admit = inl_server_admit,
    .forget = inl_server_forget,
    .stream = inl_server_admit_stream,
    .tune = on_tune,
    .route = on_route,
    .unroute = on_unroute,
};

int inl_server_open_tunnel(void *user, struct inl_link *link,
                           const struct inlets_head *head, struct inl_ask *ask,
                           const char **ret_why)
{
    struct inlets_server *server = user;

    return inl_gate_open(&server->gate, link, head, ask, ret_why);
}

void inl_server_gate_init(struct inlets_server *server)
{
    const struct inlets_server_opts *o = &server->opts;
    const struct inl_gate_config config = {
        .ops = &gate_ops,
        .env = inl_server_env(server),
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
