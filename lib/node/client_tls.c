/* client_tls.c: what a client believes of those that it reaches by TLS: exit
 * nodes by wss:// and upstreams by https://. Authorities are read once, when
 * the first of them is met. */
#include "node/client.h"
#include "node/trust.h"

#include "base/mem.h"
#include "base/slice.h"
#include <string.h>

static int take_cert(struct inl_cert **ret_cert, const char *cert,
                     const char *key, const char **ret_why)
{
    *ret_why = "a certificate and its key belong together";
    return cert == NULL || key == NULL
               ? INLETS_EINVAL
               : inl_cert_new(ret_cert, inl_str(cert), inl_str(key), ret_why);
}

int inl_client_tls_take(struct inlets_client *client,
                        const struct inlets_client_opts *opts)
{
    unsigned skipped;
    const char *why;
    int err = 0;

    if (opts->fingerprint != NULL) {
        if (!inl_pin_parse(inl_str(opts->fingerprint), client->pin)) {
            return INLETS_EINVAL;
        }
        client->has_pin = true;
    }
    if (opts->cert != NULL || opts->key != NULL) {
        err = take_cert(&client->cert, opts->cert, opts->key, &why);
    }
    return err != 0 || opts->ca == NULL
               ? err
               : inl_trust_new(&client->trust, inl_str(opts->ca), &skipped);
}

/* One that a certificate is compared with, whoever signed it, needs nobody. */
static int make_config(struct inlets_client *client, struct inl_tls_client *how,
                       struct inl_tls_config **ret_config)
{
    int err = 0;

    if (how->pin == NULL && !how->skip_verify) {
        err = client->trust == NULL ? inl_trust_system(&client->trust) : 0;
        how->trust = client->trust;
    }
    return err != 0 ? err : inl_tls_config_client(ret_config, how);
}

int inl_client_tls_server(struct inlets_client *client,
                          const struct inlets_client_opts *opts,
                          struct inl_tls_config **ret_config)
{
    struct inl_tls_client how = {.pin = client->has_pin ? client->pin : NULL,
                                 .skip_verify =
                                     opts->skip_verify != 0 && !client->has_pin,
                                 .cert = client->cert};

    return make_config(client, &how, ret_config);
}

int inl_client_tls_proxy(struct inlets_client *client,
                         struct inl_tls_config **ret_config)
{
    struct inl_tls_client how = {.trust = NULL};

    return make_config(client, &how, ret_config);
}

/* "#sha256:...", "#skip-verify" at the end of an upstream's url. */
static bool parse_how(struct inlets_slice fragment, struct inl_tls_client *how,
                      uint8_t pin[INL_SHA256_LEN])
{
    if (fragment.len == 0) {
        return true;
    }
    how->skip_verify = inl_slice_eq_case(fragment, INL_LIT("skip-verify"));
    if (!how->skip_verify) {
        how->pin = pin;
    }
    return how->skip_verify || inl_pin_parse(fragment, pin);
}

bool inl_client_tls_is_how(struct inlets_slice fragment)
{
    struct inl_tls_client how = {.trust = NULL};
    uint8_t pin[INL_SHA256_LEN];

    return parse_how(fragment, &how, pin);
}

int inl_client_tls_upstream(struct inlets_client *client,
                            struct inlets_slice fragment, const char *ca,
                            struct inl_tls_config **ret_config)
{
    struct inl_tls_client how = {.trust = NULL};
    uint8_t pin[INL_SHA256_LEN];
    unsigned skipped;
    int err;

    if (!parse_how(fragment, &how, pin) || (ca != NULL && fragment.len > 0)) {
        return INLETS_EINVAL;
    }
    if (ca == NULL) {
        return make_config(client, &how, ret_config);
    }
    err = inl_trust_new(&how.trust, inl_str(ca), &skipped);
    if (err == 0) {
        err = inl_tls_config_client(ret_config, &how);
        inl_trust_unref(how.trust); /* the config keeps it */
    }
    return err;
}

int inlets_client_check_ca(const char *ca)
{
    struct inl_trust *trust = NULL;
    unsigned skipped;
    int err = ca == NULL ? INLETS_EINVAL
                         : inl_trust_new(&trust, inl_str(ca), &skipped);

    inl_trust_unref(trust);
    return err;
}

int inlets_client_check_certificate(const char *cert, const char *key,
                                    const char **ret_why)
{
    struct inl_cert *made = NULL;
    int err = take_cert(&made, cert, key, ret_why);

    inl_cert_unref(made);
    return err;
}
