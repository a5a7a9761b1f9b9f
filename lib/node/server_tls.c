/* server_tls.c: the certificates of an exit node, and which of them is shown.
 * They can be exchanged at any time: who has begun goes on with the old. */
#include "node/server.h"
#include "node/trust.h"

#include "base/mem.h"
#include "base/slice.h"
#include <string.h>

/* At once; beyond them the oldest of who has the most gives way. With the time
 * a handshake has, what junk on the port can hold: 1024 times 36 KiB or so. */
#define HANDSHAKES 1024u
#define SAY_MS 1000u

/* ---- which one -------------------------------------------------------- */

static bool has_exactly(const struct inl_cert *cert, struct inlets_slice name)
{
    struct inlets_slice own;

    for (size_t i = 0; inl_cert_name(cert, i, &own); i++) {
        if (inl_slice_eq_case(own, name)) {
            return true;
        }
    }
    return false;
}

static struct inl_cert *find(const struct inl_server_certs *certs,
                             struct inlets_slice name)
{
    for (size_t i = 0; i < certs->n; i++) {
        if (has_exactly(certs->items[i], name)) {
            return certs->items[i];
        }
    }
    for (size_t i = 0; i < certs->n; i++) {
        if (inl_cert_covers(certs->items[i], name)) {
            return certs->items[i];
        }
    }
    return NULL;
}

/* An address is no name (RFC 6066 3), though some send one. */
static bool names_nobody(struct inlets_slice sni)
{
    struct inl_ip ip;

    return sni.len == 0 || inl_ip_parse(sni, &ip);
}

static struct inl_cert *pick(const struct inlets_server *server,
                             struct inlets_slice sni)
{
    const struct inl_server_certs *certs = &server->certs;
    struct inl_cert *cert =
        names_nobody(sni) && certs->n > 0 ? certs->items[0] : find(certs, sni);

    return cert != NULL ? cert : certs->unknown;
}

static struct inl_cert *pick_for(void *user, struct inlets_slice sni)
{
    return pick(user, sni);
}

/* ---- the set ---------------------------------------------------------- */

static void certs_free(struct inl_server_certs *certs)
{
    for (size_t i = 0; i < certs->n; i++) {
        inl_cert_unref(certs->items[i]);
    }
    inl_free(certs->items);
    *certs = (struct inl_server_certs){NULL, 0, NULL};
}

static int certs_add(struct inl_server_certs *certs,
                     const struct inlets_certificate *from,
                     const char **ret_why)
{
    int err =
        inl_cert_new(&certs->items[certs->n], from->chain, from->key, ret_why);

    certs->n += err == 0 ? 1 : 0;
    return err;
}

int inlets_server_set_certificates(struct inlets_server *server,
                                   const struct inlets_certificate *list,
                                   size_t n, size_t *ret_bad,
                                   const char **ret_why)
{
    struct inl_server_certs certs = {inl_calloc(n, sizeof(void *)), 0, NULL};
    int err = certs.items == NULL ? INLETS_ENOMEM : 0;

    *ret_bad = 0;
    *ret_why = "out of memory";
    if (n == 0) {
        *ret_why = "there is none";
        err = INLETS_EINVAL;
    }
    while (err == 0 && certs.n < n) {
        *ret_bad = certs.n;
        err = certs_add(&certs, &list[certs.n], ret_why);
    }
    if (err == 0 && server->tls_default != NULL) {
        certs.unknown = find(&certs, inl_str(server->tls_default));
        if (certs.unknown == NULL) {
            *ret_bad = n;
            *ret_why = "none of them is for the default name";
            err = INLETS_EINVAL;
        }
    }
    if (err != 0) {
        certs_free(&certs);
        return err;
    }
    certs_free(&server->certs);
    server->certs = certs;
    return 0;
}

int inlets_server_shown_fingerprint(const struct inlets_server *server,
                                    const char *name,
                                    char ret_text[INLETS_FINGERPRINT_SIZE])
{
    uint8_t hash[INL_SHA256_LEN];
    const struct inl_cert *cert;
    int err;

    if (server == NULL || name == NULL) {
        return INLETS_EINVAL;
    }
    cert = pick(server, inl_str(name));
    err = cert == NULL ? INLETS_ENOROUTE : inl_cert_fingerprint(cert, hash);
    if (err == 0) {
        inl_pin_format(hash, ret_text);
    }
    return err;
}

/* ---- handshakes ------------------------------------------------------- */

/* At most a line a second: strangers cause them. */
static void say_failed(struct inlets_server *server, int err, const char *why)
{
    struct inl_env *env = inl_server_env(server);
    bool left = err == INLETS_ECLOSED || err == INLETS_ERESET;

    if (left || (server->tls_failures > 0 &&
                 env->now_ms - server->tls_said_ms < SAY_MS)) {
        server->tls_failures += left ? 0 : 1;
        return;
    }
    inl_log(env, INLETS_LOG_INFO, "TLS handshake failed",
            INL_KV("why", inl_str(why)),
            INL_KN_IF(server->tls_failures > 1, "others_before",
                      server->tls_failures - 1));
    server->tls_failures = 1;
    server->tls_said_ms = env->now_ms;
}

static void on_shaken(void *user, int err, const char *why,
                      struct inl_link *link)
{
    struct inl_front *f = user;

    if (err != 0) {
        say_failed(f->server, err, why);
    } else {
        inl_server_start_visitor(f, link);
    }
}

static int start(struct inlets_server *server, struct inl_server_tls *tls,
                 struct inl_trust *clients)
{
    const struct inl_tls_server how = {pick_for, server, clients};
    struct inl_secured_group values = {.env = inl_server_env(server),
                                       .turns = &tls->turns,
                                       .most = HANDSHAKES,
                                       .done = on_shaken};
    int err = inl_tls_config_server(&tls->config, &how);

    if (err == 0) {
        values.tls = tls->config;
        inl_secured_group_init(&tls->group, &values);
    }
    return err;
}

int inl_server_tls_start(struct inlets_server *server, bool for_clients,
                         struct inl_server_tls **ret_tls)
{
    bool asks = for_clients && server->client_ca != NULL;
    struct inl_server_tls *tls = asks ? &server->asking : &server->tls;
    int err = server->certs.n == 0 ? INLETS_EINVAL : 0;

    if (err == 0 && tls->config == NULL) {
        err = start(server, tls, asks ? server->client_ca : NULL);
    }
    *ret_tls = tls;
    return err;
}

int inlets_server_set_client_ca(struct inlets_server *server,
                                struct inlets_slice pem)
{
    unsigned skipped;

    return server->fronts != NULL || server->client_ca != NULL
               ? INLETS_EINVAL
               : inl_trust_new(&server->client_ca, pem, &skipped);
}

static void close_one(struct inl_server_tls *tls)
{
    if (tls->config != NULL) {
        inl_secured_group_close(&tls->group);
    }
}

void inl_server_tls_close(struct inlets_server *server)
{
    close_one(&server->tls);
    close_one(&server->asking);
}

void inl_server_tls_free(struct inlets_server *server)
{
    inl_tls_config_unref(server->tls.config);
    inl_tls_config_unref(server->asking.config);
    inl_trust_unref(server->client_ca);
    certs_free(&server->certs);
    inl_free(server->tls_default);
}
