/* websocket.h: RFC 6455 for the tunnel: the opening handshake's arithmetic,
 * and frames: well-formed data frames by a fast path of ours, all others by
 * wslay. No extension is ever negotiated (permessage-deflate would make sizes
 * depend on secrets beside chosen text). */
#ifndef INL_PROTO_WEBSOCKET_H
#define INL_PROTO_WEBSOCKET_H

#include "base/env.h"
#include "base/queue.h"
#include <inlets/err.h>
#include <inlets/types.h>
#include <stdbool.h>
#include <stdint.h>

#define INL_WS_PROTOCOL "inlets.1" /* Sec-WebSocket-Protocol */
#define INL_WS_KEY_LEN 24u         /* characters of Sec-WebSocket-Key */
#define INL_WS_ACCEPT_LEN 28u      /* of Sec-WebSocket-Accept */

enum inl_ws_role { INL_WS_SERVER, INL_WS_CLIENT }; /* clients mask */

struct inl_ws_ops {
    /* A piece of a binary message, unmasked; gone when this returns. A
     * client's pieces are slices of what feed was given, as long as they can
     * be; a server's are unmasked copies, in parts of 16 KiB. first: it
     * begins a message. Return 0, or an error that stops feed. */
    int (*on_piece)(void *user, struct inlets_slice piece, bool first);
    /* A pong came back; the payload of our ping. May be NULL. */
    void (*on_pong)(void *user, struct inlets_slice payload);
};

/* Opaque, ours. */
struct inl_ws;

/* Against floods of frames that carry nothing (pings, pongs, empty
 * fragments): more than this many in a second, and it is INLETS_ELIMIT. */
#define INL_WS_MAX_IDLE_FRAMES 100u
/* Longest frame that is taken; messages may be any number of them. */
#define INL_WS_MAX_FRAME (1024u * 1024)

/* NULL when out of memory. All frames that it makes by itself (pong, the
 * answer to a close) go to `out`. */
struct inl_ws *inl_ws_new(struct inl_env *env, enum inl_ws_role role,
                          struct inl_queue *out, const struct inl_ws_ops *ops,
                          void *user);
void inl_ws_free(struct inl_ws *ws);

/* 0; INLETS_EPROTO: not RFC 6455, a text message, an empty message or a frame
 * that is too long (out then holds the close frame: 1002, 1003, 1002, 1009);
 * INLETS_ELIMIT: a flood (1008); INLETS_ECLOSED: the peer sent a close frame
 * (it has been answered in out); INLETS_ENOMEM; or what on_piece returned
 * (nothing was put into out: say why with inl_ws_put_close). The first error
 * stays: later feeds return it and read nothing. */
int inl_ws_feed(struct inl_ws *ws, const uint8_t *p, size_t n);

/* One binary message: the byte `kind`, then bytes [off, off + n) of
 * `payload`, which keeps them. A server's frame refers to the payload's
 * chunks; a client's is masked (RFC 6455 5.3), so copied. INLETS_ENOMEM: out
 * may end in a part of a frame, the websocket is of no use any more.
 * INLETS_ECLOSED: a close frame went out before; no data may follow it. */
int inl_ws_put_message(struct inl_ws *ws, uint8_t kind,
                       const struct inl_queue *payload, size_t off, size_t n);
/* Control frames; payload at most 125 bytes, reason (UTF-8) at most 123, else
 * INLETS_EINVAL. INLETS_ENOMEM; INLETS_ECLOSED after a close frame: a second
 * one is never sent. */
int inl_ws_put_ping(struct inl_ws *ws, struct inlets_slice payload);
int inl_ws_put_close(struct inl_ws *ws, uint16_t code,
                     struct inlets_slice reason);
/* What the peer's close frame said; 0 when there was none, 1005 when it said
 * nothing (RFC 6455 7.1.5) or something that is not UTF-8. */
uint16_t inl_ws_close_code(const struct inl_ws *ws);

/* The opening handshake (RFC 6455 section 4). */
void inl_ws_make_key(struct inl_env *env, char key[INL_WS_KEY_LEN]);
/* INLETS_EINVAL: not a key's length; INLETS_EINTERNAL: no inl_crypto_init. */
int inl_ws_accept(struct inlets_slice key, char accept[INL_WS_ACCEPT_LEN]);
/* Is it a websocket upgrade of the tunnel? 0 and the key, or
 * INLETS_EVERSION (Sec-WebSocket-Version is not 13: answer 426 with it),
 * INLETS_EBADMESSAGE (not GET, no or bad key, missing Upgrade/Connection,
 * a body, or subprotocols that are not ours). */
int inl_ws_check_request(const struct inlets_head *head,
                         struct inlets_slice *ret_key);
/* Does a 101 answer our key? INLETS_EHANDSHAKE when not. */
int inl_ws_check_response(const struct inlets_head *head,
                          const char key[INL_WS_KEY_LEN]);

#endif
