/* tls.h: TLS 1.2 and 1.3 (RFC 5246, RFC 8446) over memory, by Mbed TLS: bytes
 * of the peer are given, bytes for it are appended to a queue, and nothing
 * else is known here of the world.
 *
 *   new -> (give, handshake)... -> (give, read)..., write..., end -> free
 *
 * Suites with AEAD and forward secrecy only; no compression, renegotiation or
 * early data. */
#ifndef INL_PROTO_TLS_H
#define INL_PROTO_TLS_H

#include "base/queue.h"
#include "proto/tls_cert.h"

struct inl_tls_config;
struct inl_tls;

/* Plain bytes of the largest record (RFC 8446 5.1, less one for its type). */
#define INL_TLS_RECORD_MAX 16383u
/* What the sentence of inl_tls_why takes at most, with NUL. */
#define INL_TLS_WHY 160u

struct inl_tls_server {
    /* Whose handshake is it? sni: lower case, no trailing dot; empty when the
     * peer named nobody. A certificate that lives until the call returns;
     * NULL: the peer is refused (unrecognized_name, RFC 6066 3). */
    struct inl_cert *(*pick)(void *user, struct inlets_slice sni);
    void *user;
    /* Whose certificates the peers must show; NULL: they show none. With them
     * no session is resumed, as tickets would not say whose it was. */
    struct inl_trust *clients;
};

struct inl_tls_client {
    struct inl_trust *trust; /* NULL: nobody */
    /* SHA-256 of the one certificate that is right, whoever signed it and for
     * whatever name; NULL: by trust and name. */
    const uint8_t *pin;
    bool skip_verify;      /* DANGER: any certificate will do */
    struct inl_cert *cert; /* shown when asked for; NULL: none */
};

/* What a server's peer has shown, and is signed as it must be. */
struct inl_tls_peer {
    uint8_t fingerprint[INL_SHA256_LEN]; /* of the certificate, in DER */
    char name[INL_X509_CN_MAX + 1];      /* its CN, or "" */
};

/* What connections of one kind have in common; counted, and they keep it. It
 * keeps trust and cert, and of a client's last session what makes the next
 * handshake short (RFC 8446 2.2), so it is for one name. INLETS_ENOMEM,
 * INLETS_EINTERNAL. */
int inl_tls_config_server(struct inl_tls_config **ret_config,
                          const struct inl_tls_server *server);
int inl_tls_config_client(struct inl_tls_config **ret_config,
                          const struct inl_tls_client *client);
struct inl_tls_config *inl_tls_config_ref(struct inl_tls_config *config);
/* NULL is fine. */
void inl_tls_config_unref(struct inl_tls_config *config);

/* A connection. out: borrowed; what the peer is to get is appended. name: of a
 * client the host or address that it means to reach, NULL for a server.
 * INLETS_ENOMEM. */
int inl_tls_new(struct inl_tls **ret_tls, struct inl_tls_config *config,
                const char *name, struct inl_queue *out);
/* NULL is fine. */
void inl_tls_free(struct inl_tls *tls);

/* Bytes of the peer, borrowed until the next call that gives some. The rest is
 * what has not been used yet. */
void inl_tls_give(struct inl_tls *tls, const uint8_t *p, size_t n);
size_t inl_tls_rest(const struct inl_tls *tls);

/* 1: done; 0: bytes are wanted; else an error, with inl_tls_why, and perhaps an
 * alert for the peer in the queue: INLETS_ETLS, INLETS_ECERT, INLETS_ENOMEM,
 * INLETS_ECLIENTCERT (the server wants a certificate, or another one; by TLS
 * 1.3 a read may be the first to know). */
int inl_tls_handshake(struct inl_tls *tls);
/* Up to n plain bytes to p. 0 and *ret_n 0: bytes are wanted. INLETS_EGOAWAY:
 * the peer said that it sends no more (close_notify). INLETS_ETLS,
 * INLETS_ECLIENTCERT. */
int inl_tls_read(struct inl_tls *tls, void *p, size_t n, size_t *ret_n);
/* Are there plain bytes that a read would give without more of the peer's? */
bool inl_tls_has_plain(const struct inl_tls *tls);
/* One record of n bytes, at most INL_TLS_RECORD_MAX. INLETS_ENOMEM,
 * INLETS_ETLS. */
int inl_tls_write(struct inl_tls *tls, const void *p, size_t n);
/* We send no more (close_notify). */
int inl_tls_end(struct inl_tls *tls);

/* What went wrong, for people; "" when nothing did. */
const char *inl_tls_why(const struct inl_tls *tls);
/* Once the handshake is done. sni: what a server's peer asked for, lower case,
 * may be empty. resumed: no certificate was shown (the session was known). */
const char *inl_tls_version(const struct inl_tls *tls); /* "TLSv1.3" */
const char *inl_tls_suite(const struct inl_tls *tls);
struct inlets_slice inl_tls_sni(const struct inl_tls *tls);
/* Of a server: is what it showed for this host, too (RFC 9110 15.5.20)? */
bool inl_tls_covers(const struct inl_tls *tls, struct inlets_slice host);
/* Of a server with `clients`: who is there? False: a server without. */
bool inl_tls_get_peer(const struct inl_tls *tls, struct inl_tls_peer *ret_peer);

#endif
