/* trust.c: see trust.h. */
#include "node/trust.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include <inlets/err.h>
#include <stdio.h>

static const char *const stores[] = {
    "/etc/ssl/certs/ca-certificates.crt",     /* Debian, Alpine, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",       /* Fedora */
    "/etc/ssl/ca-bundle.pem",                 /* SUSE */
    "/etc/ssl/cert.pem",                      /* macOS, OpenBSD, FreeBSD */
    "/usr/local/share/certs/ca-root-nss.crt", /* FreeBSD, older */
};

/* The whole file; NULL: not there, too large, or no memory. Owned. */
static char *read_store(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "re");
    char *text = file == NULL ? NULL : inl_malloc(INL_PEM_MAX + 1);
    char *fitting = NULL;
    size_t n = 0;

    if (text != NULL) {
        n = fread(text, 1, INL_PEM_MAX + 1, file);
        if (ferror(file) == 0 && n <= INL_PEM_MAX) {
            fitting = inl_slice_dup(inl_slice(text, n));
        }
    }
    inl_free(text);
    if (file != NULL) {
        (void)fclose(file);
    }
    *ret_len = n;
    return fitting;
}

int inl_trust_system(struct inl_trust **ret_trust)
{
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        unsigned skipped;
        size_t n;
        char *text = read_store(stores[i], &n);
        int err = text == NULL
                      ? INLETS_ECERT
                      : inl_trust_new(ret_trust, inl_slice(text, n), &skipped);

        inl_free(text);
        if (err == 0 || err == INLETS_ENOMEM) {
            return err;
        }
    }
    return INLETS_ECERT;
}

bool inl_pin_parse(struct inlets_slice text, uint8_t ret_pin[INL_SHA256_LEN])
{
    char digits[2 * INL_SHA256_LEN];
    size_t n = 0;

    if (!inl_slice_starts_case(text, INL_LIT("sha256:"))) {
        return false;
    }
    text = inl_slice_from(text, sizeof("sha256:") - 1);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == ':') {
            continue;
        }
        if (n == sizeof(digits)) {
            return false;
        }
        digits[n++] = inl_lower(text.ptr[i]);
    }
    return inl_hex_decode(inl_slice(digits, n), ret_pin, INL_SHA256_LEN);
}

void inl_pin_format(const uint8_t pin[INL_SHA256_LEN],
                    char ret_text[INLETS_FINGERPRINT_SIZE])
{
    memcpy(ret_text, "sha256:", 7);
    inl_hex_encode(pin, INL_SHA256_LEN, ret_text + 7);
    ret_text[7 + 2 * INL_SHA256_LEN] = '\0';
}
