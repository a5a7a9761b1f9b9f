/* server.h: what the files of inlets_server share.
 *
 *   server.c          the public functions, options, life
 *   server_fronts.c   what listens, and what becomes of who connects
 *   server_accounts.c who may be a client, and how much of one
 *   server_clients.c  the clients' endpoints to the router
 *   server_tls.c      certificates
 *   server_visitors.c who may visit
 */
#ifndef INL_NODE_SERVER_H
#define INL_NODE_SERVER_H

#include <inlets/server.h>

#include "net/listen.h"
#include "net/loop.h"
#include "proto/credentials.h"
#include "relay/accounts.h"
#include "relay/answer.h"
#include "relay/attempts.h"
#include "relay/passwords.h"
#include "relay/failover.h"
#include "relay/gate.h"
#include "relay/guard.h"
#include "relay/local.h"
#include "relay/proxied.h"
#include "relay/router.h"
#include "relay/secured.h"
#include "relay/visitor.h"

/* Handshakes of one kind. */
struct inl_server_tls {
    struct inl_tls_config *config;  /* owned; NULL: there is no such port */
    struct inl_secured_group group; /* once there is a config; and */
    struct inl_turns turns;         /* of it */
};

/* One listening address. */
struct inl_front {
    struct inl_front *next;
    struct inl_service service;
    struct inlets_server *server;
    struct inl_listener *listener;
    struct inl_visitor_config config;
    struct inl_proxied_config proxied;
    struct inl_server_tls *tls; /* NULL: in clear */
    unsigned what;
    unsigned port;
    char port_text[8];
};

/* In the order given: the first is for those who name nobody. */
struct inl_server_certs {
    struct inl_cert **items; /* owned */
    size_t n;
    struct inl_cert *unknown; /* one of them, for unknown names; NULL: none */
};

/* An endpoint that the exit node answers itself. */
struct inl_server_handler {
    struct inl_server_handler *next;
    struct inl_local local;
    struct inl_target target;
};

#define INL_SERVER_URL (INL_HOST_MAX + 512u)

struct inlets_server {
    struct inl_loop loop;           /* first */
    struct inlets_server_opts opts; /* strings are NULL but these two: */
    char *tunnel_path, *upgrades;   /* owned; upgrades may be NULL */
    struct inl_token token;
    struct inl_accounts accounts;
    struct inl_timer accounts_timer; /* runs while some have a date */
    struct inl_attempts attempts;    /* of clients */
    struct inl_passwords passwords;
    char *domain;             /* owned; of opts.domain; NULL: none */
    char url[INL_SERVER_URL]; /* of the endpoint that came up last */
    struct inl_router router;
    struct inl_failover failover;
    struct inl_guard guard;    /* before it */
    struct inl_local control;  /* /healthz, /readyz, nothing else */
    struct inl_local redirect; /* of visitors in clear */
    struct inl_front *fronts;  /* in order of listening */
    struct inl_server_handler *handlers;
    struct inl_gate gate;
    struct inl_cidr_set trusted; /* proxies in front of us */
    struct inl_list proxied;     /* of theirs, not visitors yet */
    struct inl_error_pages pages;
    struct inl_server_certs certs;
    struct inl_server_tls tls;    /* of ports that ask for no certificate */
    struct inl_server_tls asking; /* of those that do */
    struct inl_trust *client_ca;  /* owned; NULL: no port asks */
    char *tls_default;            /* owned; may be NULL */
    uint64_t tls_said_ms;         /* of failed handshakes */
    uint64_t tls_failures;        /* since, with the one said */
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

static inline struct inl_env *inl_server_env(struct inlets_server *server)
{
    return &server->loop.env;
}

/* server_clients.c */
void inl_server_gate_init(struct inlets_server *server);
int inl_server_open_tunnel(void *user, struct inl_link *link,
                           const struct inlets_head *head, struct inl_ask *ask,
                           const char **ret_why);

/* server_names.c. */
/* An endpoint without a host, or with one without a dot, gets one under
 * opts.domain, if there is one. INLETS_EINVAL: it is too long. */
int inl_server_name(struct inlets_server *server, struct inl_gate_client *c,
                    struct inl_endpoint *endpoint);
/* As visitors find it; empty: it is more than one host. */
struct inlets_slice inl_server_url_of(const struct inlets_server *server,
                                      const struct inl_endpoint *endpoint,
                                      char text[INL_SERVER_URL]);

/* server_accounts.c. The first four: ops of the gate. */
int inl_server_authorise(struct inl_gate *g, const struct inl_link *link,
                         const struct inlets_head *head, struct inl_ask *ask,
                         struct inl_gate_identity *ret_shown,
                         const char **ret_why);
int inl_server_admit(struct inl_gate_client *c, const char **ret_why);
void inl_server_forget(struct inl_gate_client *c);
int inl_server_admit_stream(struct inl_gate_client *c);
void inl_server_accounts_init(struct inlets_server *server);
void inl_server_accounts_fini(struct inlets_server *server);

/* server_fronts.c. user: the front. for_all: clients' ports, too, which may
 * stay during a drain: a client that loses its websocket while its last
 * requests run comes back there. */
void inl_server_start_visitor(void *user, struct inl_link *link);
void inl_server_control_init(struct inlets_server *server);
void inl_server_stop_listening(struct inlets_server *server, bool for_all);
void inl_server_fronts_free(struct inlets_server *server);

/* server_tls.c */
/* Before a port that speaks TLS: INLETS_EINVAL (no certificate),
 * INLETS_ENOMEM. for_clients: and for nobody else. */
int inl_server_tls_start(struct inlets_server *server, bool for_clients,
                         struct inl_server_tls **ret_tls);
/* Cuts handshakes. */
void inl_server_tls_close(struct inlets_server *server);
void inl_server_tls_free(struct inlets_server *server);

#endif
