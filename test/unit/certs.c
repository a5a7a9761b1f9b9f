/* certs.c: see certs.h. By Mbed TLS's writer, with keys of PSA. */
#include "unit/certs.h"

#include "base/cidr.h"
#include "base/slice.h"
#include "proto/tls_mbed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 8u

struct names {
    char text[256];
    struct inl_ip ip;
    mbedtls_x509_san_list items[NAMES_MAX];
    size_t n;
};

static void must(bool right, const char *what)
{
    if (!right) {
        fprintf(stderr, "certs.c: %s failed\n", what);
        abort();
    }
}

static void make_key(mbedtls_pk_context *key)
{
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t id = 0;

    psa_set_key_type(&attributes,
                     PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1));
    psa_set_key_bits(&attributes, 256);
    psa_set_key_usage_flags(&attributes,
                            PSA_KEY_USAGE_EXPORT | PSA_KEY_USAGE_SIGN_HASH);
    psa_set_key_algorithm(&attributes, PSA_ALG_ECDSA(PSA_ALG_ANY_HASH));
    must(psa_generate_key(&attributes, &id) == PSA_SUCCESS, "a key");
    must(mbedtls_pk_copy_from_psa(id, key) == 0, "its copy");
    (void)psa_destroy_key(id);
}

static mbedtls_x509_subject_alternative_name *add(struct names *names)
{
    size_t i = names->n++;

    must(i < NAMES_MAX, "room for names");
    /* The writer turns the list over. */
    names->items[i].next = i > 0 ? &names->items[i - 1] : NULL;
    return &names->items[i].node;
}

static void collect(struct names *names, const struct cert_wish *wish)
{
    char *rest = names->text;

    (void)snprintf(names->text, sizeof(names->text), "%s",
                   wish->names != NULL ? wish->names : "");
    while (*rest != '\0') {
        mbedtls_x509_subject_alternative_name *node = add(names);
        size_t n = strcspn(rest, " ");

        node->type = MBEDTLS_X509_SAN_DNS_NAME;
        node->san.unstructured_name.p = (unsigned char *)rest;
        node->san.unstructured_name.len = n;
        rest += n + (rest[n] == ' ');
    }
    if (wish->ip != NULL) {
        mbedtls_x509_subject_alternative_name *node = add(names);
        size_t skip;

        must(inl_ip_parse(inl_str(wish->ip), &names->ip), "an address");
        skip = inl_ip_is_v4(&names->ip) ? 12 : 0;
        node->type = MBEDTLS_X509_SAN_IP_ADDRESS;
        node->san.unstructured_name.p = names->ip.bytes + skip;
        node->san.unstructured_name.len = 16 - skip;
    }
}

static void describe(mbedtls_x509write_cert *crt, const struct cert_wish *wish,
                     struct names *names)
{
    static unsigned char serial[4];

    serial[3]++;
    serial[0] = 1;
    mbedtls_x509write_crt_set_version(crt, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(crt, MBEDTLS_MD_SHA256);
    must(mbedtls_x509write_crt_set_serial_raw(crt, serial, 4) == 0, "serial");
    must(mbedtls_x509write_crt_set_subject_name(crt, wish->subject) == 0,
         "subject");
    must(mbedtls_x509write_crt_set_issuer_name(crt, wish->issuer != NULL
                                                        ? wish->issuer_name
                                                        : wish->subject) == 0,
         "issuer");
    must(mbedtls_x509write_crt_set_validity(
             crt, wish->from != NULL ? wish->from : "20200101000000",
             wish->until != NULL ? wish->until : "20491231235959") == 0,
         "validity");
    must(mbedtls_x509write_crt_set_basic_constraints(crt, wish->is_ca, -1) == 0,
         "constraints");
    must(names->n == 0 || mbedtls_x509write_crt_set_subject_alternative_name(
                              crt, &names->items[names->n - 1]) == 0,
         "names");
}

void make_cert(struct made_cert *made, const struct cert_wish *wish)
{
    struct names names = {0};
    mbedtls_x509write_cert crt;
    mbedtls_pk_context key, issuer;

    mbedtls_x509write_crt_init(&crt);
    mbedtls_pk_init(&key);
    mbedtls_pk_init(&issuer);
    make_key(&key);
    if (wish->issuer != NULL) {
        const char *pem = wish->issuer->key;

        must(mbedtls_pk_parse_key(&issuer, (const unsigned char *)pem,
                                  strlen(pem) + 1, NULL, 0 INL_MBED_RNG) == 0,
             "the issuer's key");
    }
    collect(&names, wish);
    describe(&crt, wish, &names);
    mbedtls_x509write_crt_set_subject_key(&crt, &key);
    mbedtls_x509write_crt_set_issuer_key(&crt,
                                         wish->issuer != NULL ? &issuer : &key);
    must(mbedtls_x509write_crt_pem(&crt, (unsigned char *)made->cert,
                                   CERT_PEM INL_MBED_RNG) == 0,
         "the certificate");
    must(mbedtls_pk_write_key_pem(&key, (unsigned char *)made->key, CERT_PEM) ==
             0,
         "the key's text");
    mbedtls_x509write_crt_free(&crt);
    mbedtls_pk_free(&key);
    mbedtls_pk_free(&issuer);
}
