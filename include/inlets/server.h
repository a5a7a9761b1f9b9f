/* server.h: the exit node: it takes visitors' requests and sends them
 * through the tunnels of its clients.
 *
 * new -> listen... -> (handle...) -> (drain) -> close(cb). One thread: the
 * loop's. The caller owns the loop and must have SIGPIPE ignored. */
#ifndef INLETS_SERVER_H
#define INLETS_SERVER_H

#include <inlets/certificate.h>
#include <inlets/err.h>
#include <inlets/exchange.h>
#include <inlets/export.h>
#include <inlets/log.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct inlets_server;

/* What a listening address serves; both may share one. */
#define INLETS_LISTEN_VISITORS 1u
#define INLETS_LISTEN_TUNNELS 2u
/* With one or both of them: by TLS. Needs certificates. */
#define INLETS_LISTEN_TLS 4u

/* A certificate chain, leaf first, and its key: PEM. */
struct inlets_certificate {
    struct inlets_slice chain, key;
};

/* When several clients serve a host: does a visitor stay with the one that had
 * the first request? Known by a cookie of ours, or by the IP address. */
enum inlets_stick {
    INLETS_STICK_NONE, /* no: the least busy has it */
    INLETS_STICK_COOKIE,
    INLETS_STICK_ADDRESS
};

/* A body for answers of the exit node's own, instead of its words. */
struct inlets_error_page {
    unsigned status; /* 400..599; 4 and 5: all of that class without a page */
    const char *content_type; /* like "text/html; charset=utf-8" */
    struct inlets_slice body; /* at most 64 KiB */
};

/* The least that max_head may be, in bytes. */
#define INLETS_MIN_HEAD 1024u

struct inlets_server_opts {
    size_t size; /* set by inlets_server_opts_init */

    /* The secret that clients must show. Copied; wiped at close. NULL needs
     * allow_anyone, unless every tunnel address is loopback. */
    const char *token;
    /* DANGER: whoever reaches the tunnel port may serve any host. */
    int allow_anyone;
    const char *tunnel_path; /* default "/tunnel" */

    uint32_t head_timeout_ms;    /* default 10,000: a request head, then 408 */
    uint32_t idle_timeout_ms;    /* default 60,000 between requests */
    uint32_t gateway_timeout_ms; /* default 60,000 to the response head: 504 */
    uint32_t ping_ms;            /* default 10,000 */
    uint32_t dead_ms;            /* default 20,000 without a received byte */
    uint32_t drain_ms;           /* default 30,000 */
    uint32_t max_streams;        /* default 16,384 per tunnel, then 503 */

    inlets_log_fn log; /* NULL: silent */
    int log_level;     /* enum inlets_log_level, default INLETS_LOG_INFO */
    /* An endpoint came up (1) or went down (0): "host", "host/path" or "*". */
    void (*on_endpoint)(struct inlets_server *server, const char *endpoint,
                        int up, void *user);
    void *user; /* for log and on_endpoint */

    /* How long requests in flight wait for a client that lost its websocket;
     * default 10,000. 0: they end with it. */
    uint32_t resume_ms;
    /* Every client is asked for a fresh websocket that often, give or take a
     * tenth, which nobody notices; default 0: never. Needs resume_ms. */
    uint32_t rotate_ms;
    uint32_t connections; /* websockets that a client may have: 1..8, 8 */
    int stick;            /* enum inlets_stick */
    int bbr; /* default 1: tunnels send by BBR where the system permits it */

    /* Proxies in front of this node: addresses and ranges like "10.0.0.0/8",
     * with commas or spaces between them; NULL: none. What they say in
     * X-Forwarded-... and X-Request-Id is believed, so they must set or clear
     * these fields themselves. Copied. */
    const char *trusted_proxies;
    /* Visitors' connections from them begin with a PROXY header (version 1 or
     * 2) and nothing else; those from elsewhere never have one. Needs
     * trusted_proxies. */
    int proxy_protocol;
    int forwarded; /* upstreams get Forwarded (RFC 7239), too */

    /* Protocols that visitors may upgrade to beside websocket, like
     * "ocpp, mqtt"; NULL: none. Never another HTTP, nor TLS. Copied. */
    const char *upgrades;

    /* Of visitors' requests. */
    uint64_t max_body; /* bytes: 413; 0, the default: no limit */
    /* Default 60,000 without a byte of it: 408. Without a byte taken of an
     * answer that is due: cut. */
    uint32_t body_timeout_ms;
    /* On one connection, whose last answer says that it closes; default 1000;
     * 0: no limit. */
    uint32_t max_requests;

    /* Visitors connected at once; 0: no limit. Beyond the first the one that
     * has been idle for longest gives way, or else the newcomer gets a 503.
     * Beyond the second it gets a 429; an address of IPv6 is its first 64 bits
     * here, and loopback and trusted proxies are no such address. They hold
     * once more for who connects to addresses for tunnels alone, until it is a
     * client. */
    uint32_t max_visitors;             /* default 16,384 */
    uint32_t max_visitors_per_address; /* default 512 */
    /* Of visitors' requests; beyond: 431. */
    uint32_t max_head;     /* bytes; INLETS_MIN_HEAD to the default, 65,536 */
    uint32_t max_fields;   /* 1 to the default, 128 */
    uint32_t max_trailers; /* bytes; 0 to the default, 8192 */

    /* What visitors see instead of the exit node's own words when there is no
     * answer to pass on. Copied. */
    const struct inlets_error_page *error_pages;
    size_t error_page_count;

    /* Who asks by TLS for a name that no certificate is for gets the one for
     * this name. NULL: is refused (unrecognized_name). Copied. */
    const char *tls_default;
    /* Visitors in clear are sent to https at this port (308), but for
     * /.well-known/acme-challenge/; 0, the default: they are served. */
    uint32_t redirect_port;

    /* Clients that ask for no host get one under this domain, and those that
     * ask for "demo" get "demo." and the domain; both ends log the URL. NULL,
     * the default: who asks for no host serves every host. Copied. */
    const char *domain;
};

/* Fills in the defaults. */
#define inlets_server_opts_init(opts)                                          \
    inlets_server_opts_init_sized((opts), sizeof(*(opts)))
INLETS_API void inlets_server_opts_init_sized(struct inlets_server_opts *opts,
                                              size_t size);

/* Makes a server on the loop. Errors: INLETS_EINVAL, INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_server_new(struct inlets_server **ret_server, struct uv_loop_s *loop,
                  const struct inlets_server_opts *opts);

/* The certificates for addresses that speak TLS, instead of those before; who
 * is connected notices nothing. A name that is asked for gets the first that
 * has exactly it, then the first with a fitting "*."; who asks for none gets
 * the first of all. Copied; the keys are wiped at close. All or none:
 * INLETS_EINVAL, with the index of the bad one (n: none is for tls_default) and
 * a static text that says what is wrong with it; INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_server_set_certificates(struct inlets_server *server,
                               const struct inlets_certificate *list, size_t n,
                               size_t *ret_bad, const char **ret_why);

/* Of the certificate that who asks for this name is shown; an address is no
 * name. INLETS_ENOROUTE: nobody's; INLETS_EINVAL, INLETS_EINTERNAL. */
INLETS_API INLETS_MUST_USE int
inlets_server_shown_fingerprint(const struct inlets_server *server,
                                const char *name,
                                char ret_text[INLETS_FINGERPRINT_SIZE]);

/* Whose certificates clients must show: PEM. Addresses for tunnels alone, by
 * TLS, ask for them; the others never do. It is in addition to the token and
 * the accounts; where neither is set, a certificate is enough. Copied. Before
 * the first listen, once: else INLETS_EINVAL, as for a text without any
 * authority that can be read; INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_server_set_client_ca(struct inlets_server *server,
                            struct inlets_slice pem);

/* Listens on "host:port", "[::1]:port" or ":port" (all addresses, IPv4 and
 * IPv6); port 0 lets the system choose. host is an address, not a name.
 * Errors: INLETS_EINVAL, INLETS_EADDRINUSE, INLETS_EADDRNOTAVAIL,
 * INLETS_EPERM, INLETS_EAUTH (tunnels beyond loopback without a token,
 * without clients' certificates and without allow_anyone), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_server_listen(struct inlets_server *server, const char *address,
                     unsigned what);

/* The same on a TCP socket that listens already and does not block, e.g. from
 * systemd. The server closes it, unless the error is INLETS_EINVAL or
 * INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_server_listen_fd(struct inlets_server *server, int fd, unsigned what);

/* The port that the index-th successful listen got; 0 if there is none. */
INLETS_API unsigned inlets_server_port(const struct inlets_server *server,
                                       size_t index);

/* Answers `endpoint` (as in inlets_client_expose_url) on the exit node
 * itself. Errors: INLETS_EINVAL, INLETS_ECONFLICT, INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_server_handle(struct inlets_server *server, const char *endpoint,
                     inlets_handler_fn handler, void *user);

/* Asks every client to move to a fresh websocket now (many: within N / 50
 * seconds for N of them). Requests in flight go on. Nothing happens without
 * resume_ms. */
INLETS_API void inlets_server_rotate(struct inlets_server *server);

/* Stops listening, tells the clients to go elsewhere, lets running requests
 * end (at most drain_ms), then calls cb (may be NULL). Close is still due.
 * Addresses for tunnels alone are listened on until close, so that a client
 * that loses its websocket meanwhile can come back for its requests; new
 * tunnels get a 503. */
INLETS_API void inlets_server_drain(struct inlets_server *server,
                                    void (*cb)(void *user), void *user);

/* Cuts what is running and frees the server; cb (may be NULL) runs when
 * nothing of it is left on the loop. NULL and a second call are ignored. */
INLETS_API void inlets_server_close(struct inlets_server *server,
                                    void (*cb)(void *user), void *user);

#ifdef __cplusplus
}
#endif
#endif
