/* client.h: the dev machine's end: it connects out to an exit node and
 * serves the visitors that come through it.
 *
 * new -> expose... -> start -> (drain) -> close(cb). One thread: the loop's.
 * The caller owns the loop and must have SIGPIPE ignored.
 *
 * It may follow several exit nodes and serves everything through all of them
 * at once. Requests in flight outlive the loss of a connection: see
 * resume_ms. */
#ifndef INLETS_CLIENT_H
#define INLETS_CLIENT_H

#include <inlets/err.h>
#include <inlets/exchange.h>
#include <inlets/export.h>
#include <inlets/log.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct inlets_client;

/* The sum over all exit nodes. A connection that is being replaced within
 * resume_ms changes nothing; nor does what happens to one exit node while
 * another is ready. */
enum inlets_client_state {
    INLETS_CLIENT_IDLE,
    INLETS_CLIENT_CONNECTING, /* none is ready, one is being tried */
    INLETS_CLIENT_READY,      /* one has answered for all endpoints; err: it
                               * refused some of them */
    INLETS_CLIENT_WAITING,    /* none; the next attempts have dates. err: why
                               * the last one was lost */
    INLETS_CLIENT_DRAINING,
    INLETS_CLIENT_STOPPED /* gave up: err says why; only close is left */
};

struct inlets_client_opts {
    size_t size; /* set by inlets_client_opts_init */

    /* wss://host:port (or https://...), ws://host:port, http://..., or
     * host:port, which is ws://. The path defaults to tunnel_path. One url is
     * required, here or in urls; both may be given. Copied, like all strings
     * here. */
    const char *url;
    const char *tunnel_path; /* default "/tunnel" */
    const char *token; /* NULL: none is sent. Wiped from memory at close */

    /* Allows ws:// to an address that is not loopback, or through a proxy that
     * is not: whoever listens on the way reads the token and every request.
     */
    int insecure;
    /* Stop when the first connect is refused (401, host not allowed, a proxy's
     * 4xx), or the exit node is not who it should be (its certificate), by all
     * of them if there are several; otherwise, and after a first success, try
     * again every refused_retry_ms. Default 1. */
    int stop_if_refused;

    uint32_t connect_timeout_ms;  /* default 10,000: name, TCP, handshake */
    uint32_t ping_ms;             /* default 10,000 */
    uint32_t dead_ms;             /* default 20,000 without a received byte */
    uint32_t retry_max_ms;        /* default 30,000: cap of the backoff */
    uint32_t refused_retry_ms;    /* default 60,000 */
    uint32_t drain_ms;            /* default 30,000 */
    uint32_t upstream_connect_ms; /* default 5,000; then 504 */
    uint32_t upstream_idle_ms;    /* default 60,000: kept connections */
    uint32_t upstream_idle_max;   /* default 32 per upstream */

    inlets_log_fn log; /* NULL: silent */
    int log_level;     /* enum inlets_log_level, default INLETS_LOG_INFO */
    /* The state changed; err is why (0 for none). May call any client
     * function. */
    void (*on_state)(struct inlets_client *client,
                     enum inlets_client_state state, int err, void *user);
    void *user; /* for log and on_state */

    /* More exit nodes; url may be NULL then. */
    const char *const *urls; /* nurls of them, at most 64 */
    size_t nurls;
    /* Every address of each url's name is an exit node of its own. The name
     * is asked for again every 30 s and after each loss: new addresses are
     * followed, those that are gone are drained when another serves. Default
     * 0: one of them. */
    int all_addresses;
    /* How long requests in flight wait for a lost connection to come back;
     * the server may have less patience. 0: not at all. Default 10,000. */
    uint32_t resume_ms;
    /* To each exit node, 1 to 8. 0, the default: a second one when the first
     * carries bulk. */
    uint32_t connections;
    /* Ask for BBR congestion control, which keeps long and lossy links fast;
     * if the system does not allow it, that is logged. Default 1. */
    int bbr;

    /* The way out, if it is through an HTTP proxy that knows CONNECT:
     * http:// or https://[user[:password]@]host[:port], where %xx stands for a
     * byte and the port defaults to 80 or 443. NULL, the default, or "": there
     * is none. The proxy resolves the names, so that all_addresses sees one
     * address. User and password are wiped from memory at close.
     * tls_proxy, if not NULL, is for wss:// urls instead. */
    const char *proxy;
    const char *tls_proxy;
    /* Which hosts are reached without: a list as NO_PROXY has it, by curl's
     * rules. NULL, the default: none. */
    const char *no_proxy;

    /* Exit nodes by wss://, upstreams and proxies by https://, must show a
     * certificate for their name, signed by one of these authorities: PEM, or
     * NULL for those that the system trusts. */
    const char *ca;
    /* Exit nodes by wss:// must show exactly this certificate instead, whoever
     * signed it: "sha256:" and the hex digits of its SHA-256. NULL: not. */
    const char *fingerprint;
    /* DANGER: exit nodes by wss:// may show any certificate, so whoever is on
     * the way can read the token and every request. */
    int skip_verify;

    /* What upstreams see as Host: "keep" or NULL, the visitor's; "upstream",
     * that of their own url (of unix:, localhost); else this. X-Forwarded-Host
     * has the visitor's. */
    const char *host_header;

    /* A certificate chain and its key, PEM, for exit nodes by wss:// that ask
     * for one (INLETS_ECLIENTCERT); nobody else sees it. Both or neither; the
     * key has no password, and is wiped from memory at close. */
    const char *cert;
    const char *key;

    /* The token is "user:password", for Basic authentication (RFC 7617) instead
     * of Bearer: the name of an account, and its password. Default 0. */
    int basic_auth;
};

/* Fills in the defaults. */
#define inlets_client_opts_init(opts)                                          \
    inlets_client_opts_init_sized((opts), sizeof(*(opts)))
INLETS_API void inlets_client_opts_init_sized(struct inlets_client_opts *opts,
                                              size_t size);

/* Makes an idle client on the loop. Errors: INLETS_EINVAL (url, proxy, number,
 * ca, fingerprint, cert or key), INLETS_EINSECURE, INLETS_ECERT (the system
 * trusts nobody that could be found), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_client_new(struct inlets_client **ret_client, struct uv_loop_s *loop,
                  const struct inlets_client_opts *opts);

/* What inlets_client_new would say of this url. */
INLETS_API INLETS_MUST_USE int inlets_client_check_url(const char *url,
                                                       int insecure);
/* What inlets_client_new would say of this proxy: INLETS_EINVAL,
 * INLETS_ENOTSUP (another scheme), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int inlets_client_check_proxy(const char *proxy);
/* What inlets_client_expose_url would say of these two alone. */
INLETS_API INLETS_MUST_USE int
inlets_client_check_upstream(const char *endpoint, const char *url);

/* Endpoints come and go at any time until drain or close; connected exit
 * nodes are told at once.
 *
 * Serves `endpoint` from an HTTP server. endpoint: "" (every host), "host",
 * "*.host", "host/path" or "/path"; a path selects by whole segments and is
 * kept. url: http://host[:port][/path] or https://...; its path is put in
 * front; or unix:/path, a socket of this machine (unix(7)). Behind an https url
 * "#sha256:" and hex digits name the one certificate that is right,
 * "#skip-verify" says that any is. Errors: INLETS_EINVAL, INLETS_ECONFLICT
 * (twice the same endpoint), INLETS_ECERT (as in inlets_client_new),
 * INLETS_ELIMIT, INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_client_expose_url(struct inlets_client *client, const char *endpoint,
                         const char *url);

/* What more can be said of an upstream. */
struct inlets_upstream_opts {
    size_t size; /* set by inlets_upstream_opts_init */

    /* Of an https:// url without fragment: who must have signed its
     * certificate, PEM, in place of the client's `ca`. NULL: that one. */
    const char *ca;
};

#define inlets_upstream_opts_init(opts)                                        \
    inlets_upstream_opts_init_sized((opts), sizeof(*(opts)))
INLETS_API void
inlets_upstream_opts_init_sized(struct inlets_upstream_opts *opts, size_t size);

/* What inlets_client_new would say of this ca: INLETS_EINVAL (no certificate
 * that can be read), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int inlets_client_check_ca(const char *ca);
/* And of this cert and key: INLETS_EINVAL with a static text that says what is
 * wrong ("the key belongs to another certificate"), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_client_check_certificate(const char *cert, const char *key,
                                const char **ret_why);

/* inlets_client_expose_url, with more to say. opts is copied. Errors as there;
 * INLETS_EINVAL for the ca, too. */
INLETS_API INLETS_MUST_USE int
inlets_client_expose_upstream(struct inlets_client *client,
                              const char *endpoint, const char *url,
                              const struct inlets_upstream_opts *opts);

/* Serves `endpoint` from a C function. Errors as above. */
INLETS_API INLETS_MUST_USE int
inlets_client_expose_handler(struct inlets_client *client, const char *endpoint,
                             inlets_handler_fn handler, void *user);

/* Serves an endpoint from another HTTP server, without a gap; what it is
 * served from now ends as after withdraw. Errors as above, but
 * INLETS_ENOROUTE if it is not exposed. */
INLETS_API INLETS_MUST_USE int
inlets_client_replace_url(struct inlets_client *client, const char *endpoint,
                          const char *url);

/* The same, with more to say. */
INLETS_API INLETS_MUST_USE int
inlets_client_replace_upstream(struct inlets_client *client,
                               const char *endpoint, const char *url,
                               const struct inlets_upstream_opts *opts);

/* Takes an endpoint back. Running requests go on to their end. An HTTP server
 * still gets requests that were on their way (for at most 10 s); a handler is
 * not called again. INLETS_ENOROUTE if it is not exposed, INLETS_EINVAL. */
INLETS_API INLETS_MUST_USE int
inlets_client_withdraw(struct inlets_client *client, const char *endpoint);

/* What is shown at every handshake from now on, instead of opts.token: a token
 * that was made anew. Exit nodes that are connected see it at once, by a fresh
 * connection, which no request notices. INLETS_EINVAL: it is empty, or no field
 * value, or, with basic_auth, without a colon; INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_client_set_token(struct inlets_client *client, const char *token);

/* Begins to connect, and keeps at it until close. Errors: INLETS_EINVAL (no
 * endpoint, or started already), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_client_start(struct inlets_client *client);

/* Takes no new requests, lets the running ones end (at most drain_ms), then
 * disconnects and reports INLETS_CLIENT_STOPPED with err 0. */
INLETS_API void inlets_client_drain(struct inlets_client *client);

/* Cuts what is running and frees the client; cb (may be NULL) runs when
 * nothing of it is left on the loop. NULL and a second call are ignored. */
INLETS_API void inlets_client_close(struct inlets_client *client,
                                    void (*cb)(void *user), void *user);

#ifdef __cplusplus
}
#endif
#endif
