/* primitives.c: what the arithmetic of TLS costs in the Mbed TLS that the
 * programs are linked with, and nothing else: one line each, a name and how
 * many in a second. By PSA, as TLS itself calls it.
 *
 *   primitives [SECONDS]      for each; 1 when not given */
#include <psa/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RECORD 16384u

static uint8_t plain[RECORD], sealed[RECORD + 32];
static psa_key_id_t known; /* whose public key is known; ids come again */

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(psa_status_t status, const char *what)
{
    if (status != PSA_SUCCESS) {
        fprintf(stderr, "primitives: %s: %d\n", what, (int)status);
        exit(1);
    }
}

static psa_key_id_t make_key(psa_key_type_t type, size_t bits,
                             psa_algorithm_t algorithm, psa_key_usage_t usage)
{
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t key = 0;

    psa_set_key_type(&attributes, type);
    psa_set_key_bits(&attributes, bits);
    psa_set_key_algorithm(&attributes, algorithm);
    psa_set_key_usage_flags(&attributes, usage);
    must(psa_generate_key(&attributes, &key), "a key");
    known = 0;
    return key;
}

static void show(const char *name, double seconds, void (*once)(psa_key_id_t),
                 psa_key_id_t key)
{
    double began = now(), took = 0;
    unsigned long n = 0;

    do {
        once(key);
        n++;
        took = now() - began;
    } while (took < seconds);
    printf("%s %.1f\n", name, (double)n / took);
    (void)psa_destroy_key(key);
}

static void seal(psa_key_id_t key, psa_algorithm_t algorithm)
{
    static const uint8_t nonce[12];
    size_t n;

    must(psa_aead_encrypt(key, algorithm, nonce, sizeof(nonce), NULL, 0, plain,
                          sizeof(plain), sealed, sizeof(sealed), &n),
         "a record");
}

static void by_gcm(psa_key_id_t key)
{
    seal(key, PSA_ALG_GCM);
}

static void by_chacha(psa_key_id_t key)
{
    seal(key, PSA_ALG_CHACHA20_POLY1305);
}

static void sign(psa_key_id_t key)
{
    uint8_t signature[64];
    size_t n;

    must(psa_sign_hash(key, PSA_ALG_ECDSA(PSA_ALG_SHA_256), plain, 32,
                       signature, sizeof(signature), &n),
         "a signature");
}

/* Once there are keys: a handshake makes one beside. */
static void exchange(psa_key_id_t key)
{
    static uint8_t public_key[128], secret[64];
    static size_t n;
    size_t secret_n;

    if (known != key) {
        known = key;
        must(psa_export_public_key(key, public_key, sizeof(public_key), &n),
             "a public key");
    }
    must(psa_raw_key_agreement(PSA_ALG_ECDH, key, public_key, n, secret,
                               sizeof(secret), &secret_n),
         "a key exchange");
}

int main(int argc, char **argv)
{
    const psa_key_type_t p256 =
        PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1);
    const psa_key_type_t x25519 =
        PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_MONTGOMERY);
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 1;

    must(psa_crypto_init(), "PSA");
    show("aes-128-gcm", seconds, by_gcm,
         make_key(PSA_KEY_TYPE_AES, 128, PSA_ALG_GCM, PSA_KEY_USAGE_ENCRYPT));
    show("chacha20-poly1305", seconds, by_chacha,
         make_key(PSA_KEY_TYPE_CHACHA20, 256, PSA_ALG_CHACHA20_POLY1305,
                  PSA_KEY_USAGE_ENCRYPT));
    show("ecdsa-p256", seconds, sign,
         make_key(p256, 256, PSA_ALG_ECDSA(PSA_ALG_SHA_256),
                  PSA_KEY_USAGE_SIGN_HASH));
    show("ecdh-p256", seconds, exchange,
         make_key(p256, 256, PSA_ALG_ECDH, PSA_KEY_USAGE_DERIVE));
    show("ecdh-x25519", seconds, exchange,
         make_key(x25519, 255, PSA_ALG_ECDH, PSA_KEY_USAGE_DERIVE));
    return 0;
}
