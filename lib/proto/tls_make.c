/* tls_make.c: see tls_make.h. Keys are made by PSA and known to Mbed TLS's
 * certificate writer as copies; a failure anywhere leaves nothing behind. */
#include "proto/tls_make.h"

#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include "proto/tls_mbed.h"
#include <inlets/err.h>
#include <stdbool.h>
#include <string.h>

#define NAMES_MAX 32u
/* RFC 5280 4.1.2.5.1: the last that is written with two digits of a year. */
#define NOT_AFTER "20491231235959"
#define NOT_BEFORE "20200101000000"

struct names {
    char text[NAMES_MAX][INL_HOST_MAX + 1];
    struct inl_ip ips[NAMES_MAX];
    mbedtls_x509_san_list items[NAMES_MAX];
    size_t n;
};

/* A name, an address, or "*." and a name. */
static bool add_name(struct names *names, struct inlets_slice name)
{
    size_t i = names->n;
    mbedtls_x509_subject_alternative_name *node = &names->items[i].node;
    bool wild = inl_slice_starts(name, INL_LIT("*."));
    char *text = names->text[i];
    int len;

    if (i == NAMES_MAX) {
        return false;
    }
    if (inl_ip_parse(name, &names->ips[i])) {
        size_t skip = inl_ip_is_v4(&names->ips[i]) ? 12 : 0;

        node->type = MBEDTLS_X509_SAN_IP_ADDRESS;
        node->san.unstructured_name.p = names->ips[i].bytes + skip;
        node->san.unstructured_name.len = 16 - skip;
    } else {
        len = inl_host_normalise(inl_slice_from(name, wild ? 2 : 0), text + 2,
                                 INL_HOST_MAX - 2);
        if (len <= 0) {
            return false;
        }
        memcpy(text, "*.", 2);
        node->type = MBEDTLS_X509_SAN_DNS_NAME;
        node->san.unstructured_name.p = (unsigned char *)text + (wild ? 0 : 2);
        node->san.unstructured_name.len = (size_t)len + (wild ? 2 : 0);
    }
    names->items[i].next = NULL;
    if (i > 0) {
        names->items[i - 1].next = &names->items[i];
    }
    names->n++;
    return true;
}

static bool take_names(struct names *names, struct inlets_slice list)
{
    while (list.len > 0) {
        size_t n = 0;

        while (n < list.len && list.ptr[n] != ',' && list.ptr[n] != ' ') {
            n++;
        }
        if (n > 0 && !add_name(names, inl_slice(list.ptr, n))) {
            return false;
        }
        list = inl_slice_from(list, n + 1);
    }
    return names->n > 0;
}

static int make_key(mbedtls_pk_context *key)
{
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t id = 0;
    int rc = -1;

    psa_set_key_type(&attributes,
                     PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1));
    psa_set_key_bits(&attributes, 256);
    psa_set_key_usage_flags(&attributes,
                            PSA_KEY_USAGE_EXPORT | PSA_KEY_USAGE_SIGN_HASH);
    psa_set_key_algorithm(&attributes, PSA_ALG_ECDSA(PSA_ALG_ANY_HASH));
    if (psa_generate_key(&attributes, &id) == PSA_SUCCESS) {
        rc = mbedtls_pk_copy_from_psa(id, key);
        (void)psa_destroy_key(id);
    }
    return rc;
}

/* What both have; serial: never twice by one authority (RFC 5280 4.1.2.2). */
static int begin(mbedtls_x509write_cert *crt, const char *subject,
                 mbedtls_pk_context *subject_key,
                 mbedtls_pk_context *issuer_key, bool is_ca)
{
    unsigned char serial[16];
    int rc =
        psa_generate_random(serial, sizeof(serial)) == PSA_SUCCESS ? 0 : -1;

    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x01);
    mbedtls_x509write_crt_set_version(crt, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(crt, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(crt, subject_key);
    mbedtls_x509write_crt_set_issuer_key(crt, issuer_key);
    rc = rc != 0 ? rc
                 : mbedtls_x509write_crt_set_serial_raw(crt, serial,
                                                        sizeof(serial));
    rc = rc != 0 ? rc : mbedtls_x509write_crt_set_subject_name(crt, subject);
    rc = rc != 0 ? rc
                 : mbedtls_x509write_crt_set_issuer_name(crt,
                                                         "CN=inlets authority");
    rc = rc != 0
             ? rc
             : mbedtls_x509write_crt_set_validity(crt, NOT_BEFORE, NOT_AFTER);
    return rc != 0 ? rc
                   : mbedtls_x509write_crt_set_basic_constraints(
                         crt, is_ca, is_ca ? 0 : -1);
}

static int write_authority(mbedtls_pk_context *key, char text[INL_MADE_PEM])
{
    mbedtls_x509write_cert crt;
    int rc;

    mbedtls_x509write_crt_init(&crt);
    rc = begin(&crt, "CN=inlets authority", key, key, true);
    if (rc == 0) {
        rc = mbedtls_x509write_crt_set_key_usage(
            &crt, MBEDTLS_X509_KU_KEY_CERT_SIGN | MBEDTLS_X509_KU_CRL_SIGN);
    }
    if (rc == 0) {
        rc = mbedtls_x509write_crt_pem(&crt, (unsigned char *)text,
                                       INL_MADE_PEM INL_MBED_RNG);
    }
    mbedtls_x509write_crt_free(&crt);
    return rc;
}

static int write_cert(mbedtls_pk_context *authority, mbedtls_pk_context *key,
                      const struct names *names, char text[INL_MADE_PEM])
{
    mbedtls_x509write_cert crt;
    int rc;

    mbedtls_x509write_crt_init(&crt);
    rc = begin(&crt, "CN=inlets", key, authority, false);
    if (rc == 0) {
        rc = mbedtls_x509write_crt_set_key_usage(
            &crt, MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
    }
    if (rc == 0) {
        rc = mbedtls_x509write_crt_set_subject_alternative_name(&crt,
                                                                names->items);
    }
    if (rc == 0) {
        rc = mbedtls_x509write_crt_pem(&crt, (unsigned char *)text,
                                       INL_MADE_PEM INL_MBED_RNG);
    }
    mbedtls_x509write_crt_free(&crt);
    return rc;
}

int inl_tls_make(struct inlets_slice list, char ret_authority[INL_MADE_PEM],
                 char ret_cert[INL_MADE_PEM], char ret_key[INL_MADE_PEM])
{
    struct names *names = inl_calloc(1, sizeof(*names));
    mbedtls_pk_context authority, key;
    int err = inl_crypto_init();

    if (names == NULL || err != 0 || !take_names(names, list)) {
        err = err != 0 ? err : names == NULL ? INLETS_ENOMEM : INLETS_EINVAL;
        inl_free(names);
        return err;
    }
    mbedtls_pk_init(&authority);
    mbedtls_pk_init(&key);
    if (make_key(&authority) != 0 || make_key(&key) != 0 ||
        write_authority(&authority, ret_authority) != 0 ||
        write_cert(&authority, &key, names, ret_cert) != 0 ||
        mbedtls_pk_write_key_pem(&key, (unsigned char *)ret_key,
                                 INL_MADE_PEM) != 0) {
        err = INLETS_EINTERNAL;
    }
    mbedtls_pk_free(&authority);
    mbedtls_pk_free(&key);
    inl_free(names);
    return err;
}
