/* client.h: what the files of inlets_client share.
 *
 *   client.c            the public functions, states, life
 *   client_endpoints.c  what is served: endpoints, their routes and upstreams
 *   client_remotes.c    where it is served: a server for each url, a member
 *                       (an inl_remote) for it or for each of its addresses
 *   client_tls.c        whom it believes
 *   client_ways.c       how a server is reached: proxies, TLS
 */
#ifndef INL_NODE_CLIENT_H
#define INL_NODE_CLIENT_H

#include <inlets/client.h>

#include "base/map.h"
#include "base/proxy_url.h"
#include "base/url.h"
#include "net/dial.h"
#include "net/loop.h"
#include "relay/local.h"
#include "relay/proxy_dial.h"
#include "relay/remote.h"
#include "relay/secure_dial.h"
#include "relay/upstream.h"
#include <inlets/version.h>

#define INL_CLIENT_AGENT "inlets/" INLETS_VERSION

/* The route of an endpoint that was withdrawn is served for this long: for
 * requests that were on their way when the server had not heard of it. */
#define INL_CLIENT_LEAVE_MS 10000u
/* With all_addresses: how often the name is asked for, and how soon again
 * after a loss; failures double the latter up to the former. */
#define INL_CLIENT_RESOLVE_MS 30000u
#define INL_CLIENT_RESOLVE_PAUSE_MS 1000u
/* Exit nodes of one client, against an options struct gone wild. */
#define INL_CLIENT_MAX_URLS 64u

struct inl_client_endpoint {
    struct inl_list node; /* client->endpoints or client->leaving */
    struct inl_map_node by_route;
    uint32_t route;
    char *text;                    /* owned, as the user wrote it */
    struct inl_endpoint parsed;    /* path points into text */
    struct inl_upstream *upstream; /* owned; or else `local` */
    struct inl_local local;
    uint64_t until_ms; /* leaving */
};

/* A url. */
struct inl_client_server {
    struct inl_list node; /* client->servers */
    struct inlets_client *client;
    char *host, *authority, *target; /* owned */
    unsigned port;
    struct inl_list members;
    /* How it is reached, from the socket up; the dialers from start on. */
    const struct inl_proxy_url *proxy;     /* the client's; NULL: none */
    struct inl_tls_config *proxy_tls;      /* owned; NULL: not by https:// */
    struct inl_tls_config *tls;            /* owned; NULL: ws:// */
    struct inl_secure_dialer proxy_secure; /* with proxy_tls */
    struct inl_proxy_dialer through;       /* with proxy */
    struct inl_secure_dialer secure;       /* with tls */
    struct inl_dialer *dialer;             /* the last of them */
    /* all_addresses */
    struct inl_resolve resolve;
    struct inl_timer timer; /* when to ask again */
    uint64_t asked_ms;
    unsigned failures; /* in a row */
};

struct inl_client_member {
    struct inl_list node; /* server->members */
    struct inl_client_server *server;
    struct inl_remote remote;
    char *address, *label; /* owned; address NULL: the name */
    struct inl_timer cut;  /* of a member that drains */
    /* of its current session */
    size_t offered, answered; /* ROUTE and ROUTED frames */
    uint32_t last_offered;    /* endpoints with higher routes wait for room */
    size_t live;              /* offered and not withdrawn */
    size_t waiting, told_waiting;
    bool taken;   /* the server has answered for every endpoint */
    int refused;  /* the first refusal of an endpoint before that */
    bool gone;    /* its address is none of the name's any more */
    bool leaving; /* it drains for that */
};

struct inlets_client {
    struct inl_loop loop;           /* first */
    struct inlets_client_opts opts; /* strings are NULL */
    char *credentials;                    /* owned; wiped */
    struct inlets_slice credentials_text; /* of them */
    char *host_header;              /* owned; NULL: the visitor\'s */
    struct inl_trust *trust;        /* owned; NULL: not read yet */
    struct inl_cert *cert;          /* owned; NULL: there is nothing to show */
    uint8_t pin[INL_SHA256_LEN];    /* of the exit nodes' certificate */
    bool has_pin;
    struct inl_proxy_url proxy, tls_proxy; /* those that a server needs */
    struct inl_dialer dialer;
    struct inl_list servers;
    struct inl_list endpoints; /* in order of their routes */
    struct inl_list leaving;   /* in order of time */
    struct inl_map routes;     /* of both lists */
    uint32_t last_route;
    struct inl_later offers; /* what waits is offered where there is room */
    struct inl_timer leave_timer;
    struct inl_timer drain_timer;
    enum inlets_client_state state;
    void (*close_cb)(void *user);
    void *close_user;
    bool was_ready; /* a server has taken us once */
    bool started, closed;
};

static inline struct inl_env *inl_client_env(struct inlets_client *client)
{
    return &client->loop.env;
}

/* client.c: the state may be another; err says why. */
void inl_client_update(struct inlets_client *client, int err);
/* Has every server refused us, and is to be asked no more? */
bool inl_client_is_refused(const struct inlets_client *client);
/* A member is no more. */
void inl_client_member_over(struct inlets_client *client);

/* client_endpoints.c */
void inl_client_endpoints_init(struct inlets_client *client);
struct inl_client_endpoint *
inl_client_find_route(const struct inlets_client *client, uint32_t route);
/* For people: "*" for every host. */
const char *inl_client_endpoint_name(const struct inl_client_endpoint *e);
/* NULL when it is not to be had (any more). */
struct inl_service *inl_client_endpoint_service(struct inl_client_endpoint *e);
/* Cuts what runs. */
void inl_client_endpoints_close(struct inlets_client *client);
void inl_client_endpoints_free(struct inlets_client *client);

/* client_tls.c: INLETS_EINVAL, INLETS_ENOMEM; INLETS_ECERT: there is nobody to
 * believe. */
int inl_client_tls_take(struct inlets_client *client,
                        const struct inlets_client_opts *opts);
int inl_client_tls_server(struct inlets_client *client,
                          const struct inlets_client_opts *opts,
                          struct inl_tls_config **ret_config);
int inl_client_tls_proxy(struct inlets_client *client,
                         struct inl_tls_config **ret_config);
/* fragment: "", or what the url of an upstream says of its certificate; ca:
 * PEM, whom to believe of it, or NULL. INLETS_EINVAL for both at once. */
bool inl_client_tls_is_how(struct inlets_slice fragment);
int inl_client_tls_upstream(struct inlets_client *client,
                            struct inlets_slice fragment, const char *ca,
                            struct inl_tls_config **ret_config);

/* client_remotes.c: url is copied. INLETS_EINVAL, INLETS_EINSECURE,
 * INLETS_ENOTSUP, INLETS_ENOMEM. */
int inl_client_add_server(struct inlets_client *client, const char *url,
                          const struct inlets_client_opts *opts);
/* For a Host field; owned by the caller; NULL: no memory. */
char *inl_client_authority(const struct inl_url *url);
/* All or none: INLETS_ENOMEM. */
int inl_client_servers_start(struct inlets_client *client);
void inl_client_servers_refresh(struct inlets_client *client);
void inl_client_servers_drain(struct inlets_client *client);
/* What waits is offered where there is room; the env's `later`. */
void inl_client_offer_waiting(struct inl_later *later);
/* Cuts what runs. */
void inl_client_servers_close(struct inlets_client *client);
void inl_client_servers_free(struct inlets_client *client);
/* An endpoint came or went: every session is told. A session has room for
 * INL_SESSION_MAX_ROUTES; what comes later waits until others go. `instead`:
 * another is withdrawn right behind. */
void inl_client_tell_offer(struct inlets_client *client,
                           const struct inl_client_endpoint *e, bool instead);
void inl_client_tell_withdraw(struct inlets_client *client, uint32_t route);

/* client_ways.c: wss and https. */
bool inl_client_is_tls(struct inlets_slice scheme);
/* *ret_proxy is NULL when none is on the way. By scheme and host alone, as curl
 * has it: also for this machine, unless no_proxy has it. A proxy that nobody
 * needs may be one that we cannot use. INLETS_EINVAL, INLETS_ENOTSUP,
 * INLETS_EINSECURE, INLETS_ENOMEM. */
int inl_client_choose_proxy(struct inlets_client *client,
                            const struct inl_url *url,
                            const struct inlets_client_opts *opts,
                            const struct inl_proxy_url **ret_proxy);
/* How a server is reached, from the socket up; told to the log. It lives in the
 * server and the client. */
struct inl_dialer *inl_client_build_dialer(struct inl_client_server *s);

/* For all members; the current one may be removed, but not another. */
#define inl_client_each_member(client, s, st, m, mt)                           \
    inl_list_each(&(client)->servers, s, st) inl_list_each(                    \
        &inl_container(s, struct inl_client_server, node)->members, m, mt)

#endif
