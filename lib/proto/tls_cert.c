/* tls_cert.c: see tls_cert.h. */
#include "base/mem.h"
#include "base/slice.h"
#include "proto/tls_mbed.h"
#include <inlets/err.h>
#include <limits.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <stdio.h>
#include <string.h>

/* GeneralName (RFC 5280 4.2.1.6) */
#define SAN_DNS (MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2)
#define SAN_IP (MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7)

/* ---- names ------------------------------------------------------------ */

/* The value of the i-th subjectAltName of that kind. */
static bool san_at(const mbedtls_x509_crt *leaf, unsigned kind, size_t i,
                   struct inlets_slice *ret_value)
{
    const mbedtls_x509_sequence *at = &leaf->subject_alt_names;

    for (; at != NULL && at->buf.p != NULL; at = at->next) {
        if (((unsigned)at->buf.tag & (MBEDTLS_ASN1_TAG_CLASS_MASK |
                                      MBEDTLS_ASN1_TAG_VALUE_MASK)) == kind &&
            i-- == 0) {
            *ret_value = inl_slice(at->buf.p, at->buf.len);
            return true;
        }
    }
    return false;
}

static bool common_name(const mbedtls_x509_crt *leaf,
                        struct inlets_slice *ret_name)
{
    const mbedtls_x509_name *at = &leaf->subject;

    for (; at != NULL && at->oid.p != NULL; at = at->next) {
        if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &at->oid) == 0) {
            *ret_name = inl_slice(at->val.p, at->val.len);
            return true;
        }
    }
    return false;
}

void inl_x509_common_name(const mbedtls_x509_crt *leaf,
                          char ret_name[INL_X509_CN_MAX + 1])
{
    struct inlets_slice name = {NULL, 0};
    size_t n = 0;

    (void)common_name(leaf, &name);
    for (; n < name.len && n < INL_X509_CN_MAX; n++) {
        ret_name[n] =
            name.ptr[n] >= 0x20 && name.ptr[n] <= 0x7e ? name.ptr[n] : '?';
    }
    ret_name[n] = '\0';
}

bool inl_x509_name(const mbedtls_x509_crt *leaf, size_t i,
                   struct inlets_slice *ret_name)
{
    struct inlets_slice other;
    bool has_san =
        san_at(leaf, SAN_DNS, 0, &other) || san_at(leaf, SAN_IP, 0, &other);

    return has_san ? san_at(leaf, SAN_DNS, i, ret_name)
                   : i == 0 && common_name(leaf, ret_name);
}

/* RFC 9525 6.3: "*" is the whole first label, and one label of the host's. */
static bool name_matches(struct inlets_slice name, struct inlets_slice host)
{
    size_t dot = inl_slice_find(host, '.');

    if (inl_slice_starts(name, INL_LIT("*."))) {
        return dot > 0 && dot < host.len &&
               inl_slice_eq_case(inl_slice_from(name, 1),
                                 inl_slice_from(host, dot));
    }
    return name.len > 0 && inl_slice_eq_case(name, host);
}

bool inl_x509_covers(const mbedtls_x509_crt *leaf, struct inlets_slice host)
{
    struct inlets_slice name;

    for (size_t i = 0; inl_x509_name(leaf, i, &name); i++) {
        if (name_matches(name, host)) {
            return true;
        }
    }
    return false;
}

bool inl_x509_covers_ip(const mbedtls_x509_crt *leaf, const struct inl_ip *ip)
{
    size_t skip = inl_ip_is_v4(ip) ? 12 : 0; /* mapped */
    struct inlets_slice value;

    for (size_t i = 0; san_at(leaf, SAN_IP, i, &value); i++) {
        if (value.len == sizeof(ip->bytes) - skip &&
            memcmp(value.ptr, ip->bytes + skip, value.len) == 0) {
            return true;
        }
    }
    return false;
}

int inl_x509_fingerprint(const mbedtls_x509_crt *leaf,
                         uint8_t ret_hash[INL_SHA256_LEN])
{
    return inl_sha256(inl_slice(leaf->raw.p, leaf->raw.len), ret_hash);
}

bool inl_cert_name(const struct inl_cert *cert, size_t i,
                   struct inlets_slice *ret_name)
{
    return inl_x509_name(&cert->chain, i, ret_name);
}

bool inl_cert_covers(const struct inl_cert *cert, struct inlets_slice host)
{
    return inl_x509_covers(&cert->chain, host);
}

int inl_cert_fingerprint(const struct inl_cert *cert,
                         uint8_t ret_hash[INL_SHA256_LEN])
{
    return inl_x509_fingerprint(&cert->chain, ret_hash);
}

/* ---- our own ---------------------------------------------------------- */

static void cert_free(struct inl_cert *cert)
{
    mbedtls_x509_crt_free(&cert->chain);
    mbedtls_pk_free(&cert->key);
    inl_free(cert);
}

static const char no_memory[] = "out of memory";

static bool is_no_memory(int rc)
{
    return rc == MBEDTLS_ERR_X509_ALLOC_FAILED ||
           rc == MBEDTLS_ERR_PEM_ALLOC_FAILED ||
           rc == MBEDTLS_ERR_PK_ALLOC_FAILED;
}

/* Of a PEM text that is still being written, Mbed TLS takes what is there, and
 * a chain without its end is one that nobody believes. So: whatever begins has
 * an end of the same name, and no line begins to begin. */
static bool is_cut_short(const char *text)
{
    static const char begin[] = "-----BEGIN ", end[] = "-----END ";
    const char *line, *name, *at;

    while ((at = strstr(text, begin)) != NULL) {
        size_t len;

        name = at + strlen(begin);
        at = strstr(name, "-----");
        len = at == NULL ? 0 : (size_t)(at - name);
        at = at == NULL ? NULL : strstr(at + 5, "-----");
        if (at == NULL || strncmp(at, end, strlen(end)) != 0) {
            return true;
        }
        at += strlen(end);
        if (strncmp(at, name, len) != 0 || strncmp(at + len, "-----", 5) != 0) {
            return true;
        }
        text = at + len + 5;
    }
    line = strrchr(text, '\n');
    line = line == NULL ? text : line + 1;
    return *line != '\0' && strncmp(line, begin, strlen(line)) == 0;
}

/* No error of Mbed TLS. */
#define CUT_SHORT INT_MIN

/* Mbed TLS tells PEM by the NUL behind it, which it counts. */
static int parse_chain(mbedtls_x509_crt *chain, struct inlets_slice pem)
{
    char *text = inl_slice_dup(pem);
    int rc = text == NULL
                 ? MBEDTLS_ERR_X509_ALLOC_FAILED
                 : mbedtls_x509_crt_parse(chain, (const unsigned char *)text,
                                          pem.len + 1);

    inl_free(text);
    return rc;
}

/* All of it, or nothing. */
static int parse_whole_chain(mbedtls_x509_crt *chain, struct inlets_slice pem)
{
    int rc = parse_chain(chain, pem);
    char *text = rc == 0 ? inl_slice_dup(pem) : NULL;

    if (rc == 0 && text == NULL) {
        rc = MBEDTLS_ERR_X509_ALLOC_FAILED;
    } else if (rc == 0 && is_cut_short(text)) {
        rc = CUT_SHORT;
    }
    inl_free(text);
    return rc;
}

static const char *why_no_chain(int rc)
{
    return is_no_memory(rc) ? no_memory
           : rc == CUT_SHORT
               ? "the text is cut short: a certificate in it has no end"
           : rc > 0 ? "one of the certificates in it cannot be read"
                    : "there is no certificate in PEM that can be read";
}

static int parse_key(mbedtls_pk_context *key, struct inlets_slice pem)
{
    char *text = inl_slice_dup(pem);
    int rc = MBEDTLS_ERR_PK_ALLOC_FAILED;

    if (text != NULL) {
        rc = mbedtls_pk_parse_key(key, (const unsigned char *)text, pem.len + 1,
                                  NULL, 0 INL_MBED_RNG);
        inl_wipe(text, pem.len);
    }
    inl_free(text);
    return rc;
}

static const char *why_not(struct inl_cert *cert, struct inlets_slice chain,
                           struct inlets_slice key)
{
    int rc;

    if (chain.len > INL_PEM_MAX || key.len > INL_PEM_MAX) {
        return "the file is too large";
    }
    rc = parse_whole_chain(&cert->chain, chain);
    if (rc != 0) {
        return why_no_chain(rc);
    }
    rc = parse_key(&cert->key, key);
    if (rc != 0) {
        return is_no_memory(rc) ? no_memory
                                : "there is no private key in PEM that can be "
                                  "read (one with a "
                                  "password cannot)";
    }
    if (mbedtls_pk_check_pair(&cert->chain.pk, &cert->key INL_MBED_RNG) != 0) {
        return "the key belongs to another certificate";
    }
    return NULL;
}

int inl_cert_new(struct inl_cert **ret_cert, struct inlets_slice chain,
                 struct inlets_slice key, const char **ret_why)
{
    struct inl_cert *cert = inl_calloc(1, sizeof(*cert));
    int err = inl_crypto_init();

    *ret_why = no_memory;
    if (cert == NULL || err != 0) {
        inl_free(cert);
        return err != 0 ? err : INLETS_ENOMEM;
    }
    cert->refs = 1;
    mbedtls_x509_crt_init(&cert->chain);
    mbedtls_pk_init(&cert->key);
    *ret_why = why_not(cert, chain, key);
    if (*ret_why != NULL) {
        cert_free(cert);
        return *ret_why == no_memory ? INLETS_ENOMEM : INLETS_EINVAL;
    }
    *ret_cert = cert;
    return 0;
}

/* The first of them; to be freed either way. */
static int parse_first(mbedtls_x509_crt *chain, struct inlets_slice pem)
{
    int err = inl_crypto_init();

    mbedtls_x509_crt_init(chain);
    /* Above 0: so many of a bundle cannot be read, but the first can. */
    return err != 0 ? err : parse_chain(chain, pem) < 0 ? INLETS_EINVAL : 0;
}

int inl_pem_fingerprint(struct inlets_slice pem,
                        uint8_t ret_hash[INL_SHA256_LEN])
{
    mbedtls_x509_crt chain;
    int err = parse_first(&chain, pem);

    if (err == 0) {
        err = inl_x509_fingerprint(&chain, ret_hash);
    }
    mbedtls_x509_crt_free(&chain);
    return err;
}

static void format_date(const mbedtls_x509_time *t,
                        char ret[INL_X509_DATE_SIZE])
{
    (void)snprintf(ret, INL_X509_DATE_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
                   (unsigned)t->year % 10000, (unsigned)t->mon % 100,
                   (unsigned)t->day % 100, (unsigned)t->hour % 100,
                   (unsigned)t->min % 100, (unsigned)t->sec % 100);
}

int inl_pem_dates(struct inlets_slice pem, char ret_from[INL_X509_DATE_SIZE],
                  char ret_until[INL_X509_DATE_SIZE])
{
    mbedtls_x509_crt chain;
    int err = parse_first(&chain, pem);

    if (err == 0) {
        format_date(&chain.valid_from, ret_from);
        format_date(&chain.valid_to, ret_until);
    }
    mbedtls_x509_crt_free(&chain);
    return err;
}

struct inl_cert *inl_cert_ref(struct inl_cert *cert)
{
    cert->refs++;
    return cert;
}

void inl_cert_unref(struct inl_cert *cert)
{
    if (cert != NULL && --cert->refs == 0) {
        cert_free(cert);
    }
}

/* ---- authorities ------------------------------------------------------ */

int inl_trust_new(struct inl_trust **ret_trust, struct inlets_slice pem,
                  unsigned *ret_skipped)
{
    struct inl_trust *trust = inl_calloc(1, sizeof(*trust));
    int rc = inl_crypto_init();

    if (trust == NULL || rc != 0) {
        inl_free(trust);
        return rc != 0 ? rc : INLETS_ENOMEM;
    }
    trust->refs = 1;
    mbedtls_x509_crt_init(&trust->chain);
    rc = pem.len > INL_PEM_MAX ? -1 : parse_chain(&trust->chain, pem);
    if (rc < 0 || trust->chain.raw.p == NULL) {
        inl_trust_unref(trust);
        return is_no_memory(rc) ? INLETS_ENOMEM : INLETS_EINVAL;
    }
    *ret_skipped = (unsigned)rc;
    *ret_trust = trust;
    return 0;
}

struct inl_trust *inl_trust_ref(struct inl_trust *trust)
{
    trust->refs++;
    return trust;
}

void inl_trust_unref(struct inl_trust *trust)
{
    if (trust != NULL && --trust->refs == 0) {
        mbedtls_x509_crt_free(&trust->chain);
        inl_free(trust);
    }
}
