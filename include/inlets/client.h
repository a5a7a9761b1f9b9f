/* client.h: the dev machine's end: it connects out to an exit node and
 * serves the visitors that come through it.
 *
 * new -> expose... -> start -> (drain) -> close(cb). One thread: the loop's.
 * The caller owns the loop and must have SIGPIPE ignored. */
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

enum inlets_client_state {
    INLETS_CLIENT_IDLE,
    INLETS_CLIENT_CONNECTING,
    INLETS_CLIENT_READY,   /* the server has taken all endpoints */
    INLETS_CLIENT_WAITING, /* disconnected, the next attempt has a date */
    INLETS_CLIENT_DRAINING,
    INLETS_CLIENT_STOPPED /* gave up: err says why; only close is left */
};

struct inlets_client_opts {
    size_t size; /* set by inlets_client_opts_init */

    /* ws://host:port, http://..., or host:port. The path defaults to
     * tunnel_path. Required. Copied, like all strings here. */
    const char *url;
    const char *tunnel_path; /* default "/tunnel" */
    const char *token; /* NULL: none is sent. Wiped from memory at close */

    /* Allows ws:// to an address that is not loopback: whoever listens on
     * the way reads the token and every request. */
    int insecure;
    /* Stop when the first connect is refused (401, host not allowed);
     * otherwise, and after a first success, try again every
     * refused_retry_ms. Default 1. */
    int stop_if_refused;

    uint32_t connect_timeout_ms;  /* default 10,000: name, TCP, handshake */
    uint32_t ping_ms;             /* default 10,000 */
    uint32_t dead_ms;             /* default 20,000 without a received byte */
    uint32_t retry_max_ms;        /* default 30,000: cap of the backoff */
    uint32_t refused_retry_ms;    /* default 60,000 */
    uint32_t drain_ms;            /* default 30,000 */
    uint32_t upstream_connect_ms; /* default 5,000; then 502 */
    uint32_t upstream_idle_ms;    /* default 60,000: kept connections */
    uint32_t upstream_idle_max;   /* default 32 per upstream */

    inlets_log_fn log; /* NULL: silent */
    int log_level;     /* enum inlets_log_level, default INLETS_LOG_INFO */
    /* The state changed; err is why (0 for none). May call any client
     * function. */
    void (*on_state)(struct inlets_client *client,
                     enum inlets_client_state state, int err, void *user);
    void *user; /* for log and on_state */
};

/* Fills in the defaults. */
#define inlets_client_opts_init(opts)                                          \
    inlets_client_opts_init_sized((opts), sizeof(*(opts)))
INLETS_API void inlets_client_opts_init_sized(struct inlets_client_opts *opts,
                                              size_t size);

/* Makes an idle client on the loop. Errors: INLETS_EINVAL (url or a number),
 * INLETS_EINSECURE, INLETS_ENOTSUP (wss), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_client_new(struct inlets_client **ret_client, struct uv_loop_s *loop,
                  const struct inlets_client_opts *opts);

/* Serves `endpoint` from an HTTP server. endpoint: "" (every host), "host",
 * "*.host", "host/path" or "/path"; a path selects by whole segments and is
 * kept. url: http://host[:port][/path]; its path is put in front.
 * Errors: INLETS_EINVAL, INLETS_ECONFLICT (twice the same endpoint),
 * INLETS_ENOTSUP (https), INLETS_ENOMEM. Before start only. */
INLETS_API INLETS_MUST_USE int
inlets_client_expose_url(struct inlets_client *client, const char *endpoint,
                         const char *url);

/* Serves `endpoint` from a C function. Errors as above. */
INLETS_API INLETS_MUST_USE int
inlets_client_expose_handler(struct inlets_client *client, const char *endpoint,
                             inlets_handler_fn handler, void *user);

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
