/* tls.c: see tls.h.
 *
 * Mbed TLS asks for bytes and gives bytes by two functions; here they end at
 * the slice that was given last and at the queue. Whatever it answers with is
 * made one of our errors in one place, with a sentence.
 *
 * A client's config keeps the newest session that the server gave a ticket
 * for. A server's tickets are sealed with a key that is exchanged each day
 * (by Mbed TLS, which keeps the one before). */
#include "proto/tls.h"

#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "proto/tls_mbed.h"
#include <inlets/err.h>
#include <mbedtls/ssl_ticket.h>
#include <stdio.h>
#include <string.h>

#define TICKET_LIFE_S (24u * 60 * 60)

struct inl_tls_config {
    unsigned refs;
    mbedtls_ssl_config conf;
    bool is_server;
    struct inl_tls_server server;
    mbedtls_ssl_ticket_context tickets; /* of a server */
    struct inl_trust *trust;            /* NULL: of a server without clients */
    struct inl_cert *cert;              /* of a client; may be NULL */
    bool has_pin, has_saved;
    uint8_t pin[INL_SHA256_LEN];
    mbedtls_ssl_session saved;
};

struct inl_tls {
    mbedtls_ssl_context ssl;
    struct inl_tls_config *config;
    struct inl_queue *out;
    const uint8_t *in;
    size_t in_len;
    struct inl_cert *cert; /* that a server shows */
    struct inl_ip ip;      /* that a client means to reach */
    bool by_ip, done;
    char name[INL_HOST_MAX + 1]; /* SNI, or whom a client means */
    char why[INL_TLS_WHY];
};

/* What Mbed TLS computes fastest goes first: ChaCha20-Poly1305 was measured at
 * 1.6 times the speed of AES-GCM, P-256 at 1.3 times that of X25519. */
static const int suites[] = {
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    0};

static const uint16_t groups[] = {
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE};

/* HTTP/1.1 is all that is spoken above. */
static const char *protocols[] = {"http/1.1", NULL};

/* ---- what went wrong -------------------------------------------------- */

static int fail(struct inl_tls *tls, int err, const char *why)
{
    (void)snprintf(tls->why, sizeof(tls->why), "%s", why);
    return err;
}

static int bad_certificate(struct inl_tls *tls)
{
    uint32_t flags = mbedtls_ssl_get_verify_result(&tls->ssl);

    if (tls->config->has_pin) {
        return fail(tls, INLETS_ECERT,
                    "the certificate has another fingerprint");
    }
    if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0) {
        return fail(tls, INLETS_ECERT,
                    "the certificate has expired, or this clock is wrong");
    }
    if ((flags & MBEDTLS_X509_BADCERT_FUTURE) != 0) {
        return fail(tls, INLETS_ECERT,
                    "the certificate is not valid yet, or this clock is wrong");
    }
    if ((flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0) {
        return INLETS_ECERT; /* on_verify has said it */
    }
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0) {
        return fail(tls, INLETS_ECERT,
                    "nobody that is trusted here signed the certificate");
    }
    return fail(tls, INLETS_ECERT, "the certificate is not acceptable");
}

/* A server's alert about our certificate (RFC 8446 6.2). By TLS 1.2 none at
 * all is a handshake_failure (RFC 5246 7.4.6), here behind the handshake. */
static int from_alert(struct inl_tls *tls)
{
    unsigned alert = tls->ssl.MBEDTLS_PRIVATE(in_msg)[1];

    if (alert == MBEDTLS_SSL_ALERT_MSG_CERT_REQUIRED ||
        alert == MBEDTLS_SSL_ALERT_MSG_NO_CERT ||
        (alert == MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE && tls->done)) {
        return fail(tls, INLETS_ECLIENTCERT,
                    "the other side wants a certificate of this one");
    }
    switch (alert) {
    case MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED:
        return fail(tls, INLETS_ECLIENTCERT,
                    "the other side says that the certificate of this one has "
                    "expired");
    case MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA:
        return fail(tls, INLETS_ECLIENTCERT,
                    "the other side trusts nobody who signed the certificate "
                    "of this one");
    case MBEDTLS_SSL_ALERT_MSG_BAD_CERT:
    case MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT:
    case MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED:
    case MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN:
    case MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED:
        return fail(tls, INLETS_ECLIENTCERT,
                    "the other side does not accept the certificate of this "
                    "one");
    default:
        return fail(tls, INLETS_ETLS, "the other side refused, with an alert");
    }
}

static int from_mbed(struct inl_tls *tls, int rc)
{
    switch (rc) {
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
    case MBEDTLS_ERR_X509_ALLOC_FAILED:
    case MBEDTLS_ERR_PK_ALLOC_FAILED:
        return fail(tls, INLETS_ENOMEM, "out of memory");
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
        return bad_certificate(tls);
    case MBEDTLS_ERR_SSL_UNRECOGNIZED_NAME:
        return fail(tls, INLETS_ETLS, "no certificate for that name");
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        return tls->config->is_server
                   ? fail(tls, INLETS_ETLS,
                          "the other side refused, with an alert")
                   : from_alert(tls);
    case MBEDTLS_ERR_SSL_INVALID_RECORD:
        return fail(tls, INLETS_ETLS,
                    tls->done ? "a damaged record"
                              : "what the other side sends is not TLS");
    case MBEDTLS_ERR_SSL_INVALID_MAC:
        return fail(tls, INLETS_ETLS, "a damaged record");
    case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION:
        return fail(tls, INLETS_ETLS,
                    "the other side has neither TLS 1.2 nor 1.3");
    case MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL:
        return fail(tls, INLETS_ETLS, "the other side wants no HTTP/1.1");
    case MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE:
        return fail(tls, INLETS_ETLS, "no cipher suite that both sides have");
    default:
        (void)snprintf(tls->why, sizeof(tls->why),
                       "a violation of the protocol (Mbed TLS -0x%04x)",
                       (unsigned)-rc);
        return INLETS_ETLS;
    }
}

/* ---- bytes ------------------------------------------------------------ */

static int bio_send(void *ctx, const unsigned char *p, size_t n)
{
    struct inl_tls *tls = ctx;

    return inl_queue_append(tls->out, p, n) == 0 ? (int)n
                                                 : MBEDTLS_ERR_SSL_ALLOC_FAILED;
}

static int bio_recv(void *ctx, unsigned char *p, size_t n)
{
    struct inl_tls *tls = ctx;
    size_t take = n < tls->in_len ? n : tls->in_len;

    if (take == 0) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    memcpy(p, tls->in, take);
    tls->in += take;
    tls->in_len -= take;
    return (int)take;
}

void inl_tls_give(struct inl_tls *tls, const uint8_t *p, size_t n)
{
    tls->in = p;
    tls->in_len = n;
}

size_t inl_tls_rest(const struct inl_tls *tls)
{
    return tls->in_len;
}

/* ---- who is it -------------------------------------------------------- */

/* A server: the certificate for the name that was asked for. */
static int show(struct inl_tls *tls, struct inlets_slice sni)
{
    struct inl_cert *cert =
        tls->config->server.pick(tls->config->server.user, sni);

    if (cert == NULL) {
        return -1;
    }
    inl_cert_unref(tls->cert);
    tls->cert = inl_cert_ref(cert);
    return mbedtls_ssl_set_hs_own_cert(&tls->ssl, &cert->chain, &cert->key);
}

static int on_sni(void *user, mbedtls_ssl_context *ssl, const unsigned char *p,
                  size_t n)
{
    struct inl_tls *tls = mbedtls_ssl_get_user_data_p(ssl);
    int len = inl_host_normalise(inl_slice(p, n), tls->name, sizeof(tls->name));

    (void)user;
    if (len < 0 || memchr(p, ':', n) != NULL) { /* RFC 6066 3: no port */
        tls->name[0] = '\0';
        return -1;
    }
    tls->name[len] = '\0';
    return show(tls, inl_slice(tls->name, (size_t)len));
}

/* After the extensions, so that no certificate yet means no SNI. */
static int on_hello(mbedtls_ssl_context *ssl)
{
    struct inl_tls *tls = mbedtls_ssl_get_user_data_p(ssl);

    if (tls->cert == NULL && show(tls, inl_slice("", 0)) != 0) {
        (void)mbedtls_ssl_send_alert_message(
            ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
            MBEDTLS_SSL_ALERT_MSG_UNRECOGNIZED_NAME);
        return MBEDTLS_ERR_SSL_UNRECOGNIZED_NAME;
    }
    return 0;
}

/* Whose certificate it is, for who meant another. */
static void say_wrong_name(struct inl_tls *tls, const mbedtls_x509_crt *leaf)
{
    struct inlets_slice name;
    bool has_name = inl_x509_name(leaf, 0, &name) && name.len <= 60 &&
                    inl_slice_is_token(name);

    (void)snprintf(tls->why, sizeof(tls->why),
                   "the certificate is for %.*s, not for %.60s",
                   has_name ? (int)name.len : 9,
                   has_name ? name.ptr : "something", tls->name);
}

/* A client: called from the root to the leaf (depth 0), for as much of the
 * chain as could be built. A pin stands for everything else; an address is in
 * the certificate as an address (RFC 9525 4.1), which Mbed TLS does not look
 * for without sending it as SNI. */
static int on_verify(void *user, mbedtls_x509_crt *crt, int depth,
                     uint32_t *flags)
{
    struct inl_tls *tls = user;
    uint8_t hash[INL_SHA256_LEN];

    if (tls->config->has_pin) {
        *flags = depth == 0 && (inl_x509_fingerprint(crt, hash) != 0 ||
                                !inl_equal_constant_time(hash, tls->config->pin,
                                                         sizeof(hash)))
                     ? MBEDTLS_X509_BADCERT_OTHER
                     : 0;
    } else if (depth == 0 && tls->by_ip && !inl_x509_covers_ip(crt, &tls->ip)) {
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    }
    if (depth == 0 && (*flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0) {
        say_wrong_name(tls, crt);
    }
    return 0;
}

/* ---- configs ---------------------------------------------------------- */

static int config_new(struct inl_tls_config **ret_config, bool is_server)
{
    struct inl_tls_config *c = inl_calloc(1, sizeof(*c));
    int err = inl_crypto_init();

    if (c == NULL || err != 0) {
        inl_free(c);
        return err != 0 ? err : INLETS_ENOMEM;
    }
    c->refs = 1;
    c->is_server = is_server;
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_ssl_ticket_init(&c->tickets);
    mbedtls_ssl_session_init(&c->saved);
    *ret_config = c;
    if (mbedtls_ssl_config_defaults(
            &c->conf, is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
            MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) != 0) {
        return INLETS_ENOMEM;
    }
#if MBEDTLS_VERSION_MAJOR < 4
    mbedtls_ssl_conf_rng(&c->conf, mbedtls_psa_get_random,
                         MBEDTLS_PSA_RANDOM_STATE);
#endif
    mbedtls_ssl_conf_min_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_ciphersuites(&c->conf, suites);
    mbedtls_ssl_conf_groups(&c->conf, groups);
    return mbedtls_ssl_conf_alpn_protocols(&c->conf, protocols) == 0
               ? 0
               : INLETS_ENOMEM;
}

/* "Optional" is what Mbed TLS has to know: check_client says what becomes of
 * it, with the alerts that there are for it. */
static void ask_clients(struct inl_tls_config *c, struct inl_trust *clients)
{
    mbedtls_ssl_conf_authmode(&c->conf, clients == NULL
                                            ? MBEDTLS_SSL_VERIFY_NONE
                                            : MBEDTLS_SSL_VERIFY_OPTIONAL);
    if (clients != NULL) {
        c->trust = inl_trust_ref(clients);
        mbedtls_ssl_conf_ca_chain(&c->conf, &c->trust->chain, NULL);
    }
}

int inl_tls_config_server(struct inl_tls_config **ret_config,
                          const struct inl_tls_server *server)
{
    struct inl_tls_config *c = NULL;
    int err = config_new(&c, true);

    if (err == 0) {
        c->server = *server;
        ask_clients(c, server->clients);
        mbedtls_ssl_conf_sni(&c->conf, on_sni, NULL);
        mbedtls_ssl_conf_cert_cb(&c->conf, on_hello);
#if MBEDTLS_VERSION_MAJOR < 4
        err = mbedtls_ssl_ticket_setup(
            &c->tickets, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE,
            MBEDTLS_CIPHER_CHACHA20_POLY1305, TICKET_LIFE_S);
#else
        err =
            mbedtls_ssl_ticket_setup(&c->tickets, PSA_ALG_CHACHA20_POLY1305,
                                     PSA_KEY_TYPE_CHACHA20, 256, TICKET_LIFE_S);
#endif
        if (server->clients == NULL) {
            mbedtls_ssl_conf_session_tickets_cb(
                &c->conf, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse,
                &c->tickets);
        }
        err = err == 0 ? 0 : INLETS_ENOMEM;
    }
    if (err != 0) {
        inl_tls_config_unref(c);
        return err;
    }
    *ret_config = c;
    return 0;
}

static struct inl_trust *trust_nobody(void)
{
    struct inl_trust *trust = inl_calloc(1, sizeof(*trust));

    if (trust != NULL) {
        trust->refs = 1;
        mbedtls_x509_crt_init(&trust->chain);
    }
    return trust;
}

int inl_tls_config_client(struct inl_tls_config **ret_config,
                          const struct inl_tls_client *client)
{
    struct inl_tls_config *c = NULL;
    int err = config_new(&c, false);

    if (err == 0) {
        c->trust = client->trust != NULL ? inl_trust_ref(client->trust)
                                         : trust_nobody();
        err = c->trust == NULL ? INLETS_ENOMEM : 0;
    }
    if (err == 0 && client->cert != NULL) {
        c->cert = inl_cert_ref(client->cert);
        err = mbedtls_ssl_conf_own_cert(&c->conf, &c->cert->chain,
                                        &c->cert->key) == 0
                  ? 0
                  : INLETS_ENOMEM;
    }
    if (err != 0) {
        inl_tls_config_unref(c);
        return err;
    }
    if (client->pin != NULL) {
        c->has_pin = true;
        memcpy(c->pin, client->pin, sizeof(c->pin));
    }
    mbedtls_ssl_conf_ca_chain(&c->conf, &c->trust->chain, NULL);
    mbedtls_ssl_conf_authmode(&c->conf, client->skip_verify
                                            ? MBEDTLS_SSL_VERIFY_NONE
                                            : MBEDTLS_SSL_VERIFY_REQUIRED);
#if defined(MBEDTLS_SSL_SESSION_TICKETS) && defined(MBEDTLS_SSL_PROTO_TLS1_3)
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        &c->conf, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
#endif
    *ret_config = c;
    return 0;
}

struct inl_tls_config *inl_tls_config_ref(struct inl_tls_config *c)
{
    c->refs++;
    return c;
}

void inl_tls_config_unref(struct inl_tls_config *c)
{
    if (c != NULL && --c->refs == 0) {
        mbedtls_ssl_session_free(&c->saved);
        mbedtls_ssl_ticket_free(&c->tickets);
        mbedtls_ssl_config_free(&c->conf);
        inl_trust_unref(c->trust);
        inl_cert_unref(c->cert);
        inl_free(c);
    }
}

/* ---- a connection ----------------------------------------------------- */

/* RFC 6066 3: an address is never sent as SNI. */
static int set_name(struct inl_tls *tls, const char *name)
{
    int rc;

    (void)snprintf(tls->name, sizeof(tls->name), "%s", name);
    tls->by_ip = inl_ip_parse(inl_str(name), &tls->ip);
    /* Also of one that is pinned: by it the server knows which to show. */
    rc = mbedtls_ssl_set_hostname(&tls->ssl, tls->by_ip ? NULL : name);
    mbedtls_ssl_set_verify(&tls->ssl, on_verify, tls);
    if (rc == 0 && tls->config->has_saved) {
        /* At worst the handshake is a full one. */
        (void)mbedtls_ssl_set_session(&tls->ssl, &tls->config->saved);
    }
    return rc;
}

int inl_tls_new(struct inl_tls **ret_tls, struct inl_tls_config *config,
                const char *name, struct inl_queue *out)
{
    struct inl_tls *tls = inl_calloc(1, sizeof(*tls));
    int rc;

    if (tls == NULL) {
        return INLETS_ENOMEM;
    }
    tls->config = inl_tls_config_ref(config);
    tls->out = out;
    mbedtls_ssl_init(&tls->ssl);
    rc = mbedtls_ssl_setup(&tls->ssl, &config->conf);
    if (rc == 0) {
        mbedtls_ssl_set_bio(&tls->ssl, tls, bio_send, bio_recv, NULL);
        mbedtls_ssl_set_user_data_p(&tls->ssl, tls);
        rc = config->is_server ? 0 : set_name(tls, name);
    }
    if (rc != 0) {
        inl_tls_free(tls);
        return INLETS_ENOMEM;
    }
    *ret_tls = tls;
    return 0;
}

void inl_tls_free(struct inl_tls *tls)
{
    if (tls != NULL) {
        mbedtls_ssl_free(&tls->ssl);
        inl_cert_unref(tls->cert);
        inl_tls_config_unref(tls->config);
        inl_free(tls);
    }
}

/* A ticket for the next time. */
static void save_session(struct inl_tls *tls)
{
    struct inl_tls_config *c = tls->config;

    mbedtls_ssl_session_free(&c->saved);
    mbedtls_ssl_session_init(&c->saved);
    c->has_saved = mbedtls_ssl_get_session(&tls->ssl, &c->saved) == 0;
}

static unsigned char alert_for(const struct inl_tls *tls, uint32_t flags)
{
    if ((flags & MBEDTLS_X509_BADCERT_MISSING) != 0) {
        return mbedtls_ssl_get_version_number(&tls->ssl) ==
                       MBEDTLS_SSL_VERSION_TLS1_2
                   ? MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE
                   : MBEDTLS_SSL_ALERT_MSG_CERT_REQUIRED;
    }
    if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0) {
        return MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED;
    }
    return (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0
               ? MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA
               : MBEDTLS_SSL_ALERT_MSG_BAD_CERT;
}

/* Of a server that asks: whatever is not a certificate without any fault is
 * refused, so that no flag of Mbed TLS can be forgotten. */
static int check_client(struct inl_tls *tls)
{
    uint32_t flags = mbedtls_ssl_get_verify_result(&tls->ssl);

    if (flags == 0 && mbedtls_ssl_get_peer_cert(&tls->ssl) != NULL) {
        return 0;
    }
    (void)mbedtls_ssl_send_alert_message(
        &tls->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, alert_for(tls, flags));
    return (flags & MBEDTLS_X509_BADCERT_MISSING) != 0
               ? fail(tls, INLETS_ECERT, "the client shows no certificate")
               : bad_certificate(tls);
}

int inl_tls_handshake(struct inl_tls *tls)
{
    int rc = mbedtls_ssl_handshake(&tls->ssl);

    if (rc == MBEDTLS_ERR_SSL_WANT_READ) {
        return 0;
    }
    if (rc != 0) {
        return from_mbed(tls, rc);
    }
    if (tls->config->server.clients != NULL) {
        rc = check_client(tls);
        if (rc != 0) {
            return rc;
        }
    }
    tls->done = true;
    if (!tls->config->is_server && mbedtls_ssl_get_version_number(&tls->ssl) ==
                                       MBEDTLS_SSL_VERSION_TLS1_2) {
        save_session(tls); /* the ticket came before the end (RFC 5077 3.3) */
    }
    return 1;
}

int inl_tls_read(struct inl_tls *tls, void *p, size_t n, size_t *ret_n)
{
    size_t before;
    int rc;

    *ret_n = 0;
    /* A ticket is taken by one call and looked at by the next, which must not
     * be a write: that would answer with the ticket. */
    do {
        before = tls->in_len;
        rc = mbedtls_ssl_read(&tls->ssl, p, n);
        if (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            save_session(tls);
        }
    } while (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET ||
             (rc == MBEDTLS_ERR_SSL_WANT_READ && tls->in_len < before));
    if (rc > 0) {
        *ret_n = (size_t)rc;
        return 0;
    }
    if (rc == MBEDTLS_ERR_SSL_WANT_READ) {
        return 0;
    }
    return rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY
               ? INLETS_EGOAWAY
               : from_mbed(tls, rc);
}

bool inl_tls_has_plain(const struct inl_tls *tls)
{
    return mbedtls_ssl_get_bytes_avail(&tls->ssl) > 0;
}

int inl_tls_write(struct inl_tls *tls, const void *p, size_t n)
{
    int rc = mbedtls_ssl_write(&tls->ssl, p, n);

    /* The queue takes all that it is given, so nothing is ever half done. */
    return rc == (int)n ? 0 : from_mbed(tls, rc);
}

int inl_tls_end(struct inl_tls *tls)
{
    int rc = mbedtls_ssl_close_notify(&tls->ssl);

    return rc == 0 ? 0 : from_mbed(tls, rc);
}

const char *inl_tls_why(const struct inl_tls *tls)
{
    return tls->why;
}

const char *inl_tls_version(const struct inl_tls *tls)
{
    return mbedtls_ssl_get_version(&tls->ssl);
}

const char *inl_tls_suite(const struct inl_tls *tls)
{
    return mbedtls_ssl_get_ciphersuite(&tls->ssl);
}

struct inlets_slice inl_tls_sni(const struct inl_tls *tls)
{
    return inl_str(tls->config->is_server ? tls->name : "");
}

bool inl_tls_covers(const struct inl_tls *tls, struct inlets_slice host)
{
    return tls->cert == NULL || inl_cert_covers(tls->cert, host);
}

bool inl_tls_get_peer(const struct inl_tls *tls, struct inl_tls_peer *ret_peer)
{
    const mbedtls_x509_crt *leaf = mbedtls_ssl_get_peer_cert(&tls->ssl);

    if (tls->config->server.clients == NULL || !tls->done || leaf == NULL ||
        inl_x509_fingerprint(leaf, ret_peer->fingerprint) != 0) {
        return false;
    }
    inl_x509_common_name(leaf, ret_peer->name);
    return true;
}
