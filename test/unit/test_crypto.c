/* test_crypto.c: digests against published examples. */
#include "proto/crypto.h"

#include "base/codec.h"
#include "base/slice.h"
#include <inlets/err.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>

static void assert_hex(const uint8_t *digest, size_t n, const char *want)
{
    char hex[2 * INL_SHA256_LEN + 1] = "";

    inl_hex_encode(digest, n, hex);
    assert_string_equal(hex, want);
}

/* FIPS 180, and what RFC 6455 section 1.3 hashes. */
static void sha1(void **state)
{
    uint8_t digest[INL_SHA1_LEN];

    (void)state;
    assert_int_equal(inl_sha1(INL_LIT("abc"), digest), 0);
    assert_hex(digest, sizeof(digest),
               "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_int_equal(inl_sha1(inl_slice(NULL, 0), digest), 0);
    assert_hex(digest, sizeof(digest),
               "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_int_equal(inl_sha1(INL_LIT("dGhlIHNhbXBsZSBub25jZQ=="
                                      "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"),
                              digest),
                     0);
    assert_hex(digest, sizeof(digest),
               "b37a4f2cc0624f1690f64606cf385945b2bec4ea");
}

static void sha256(void **state)
{
    uint8_t digest[INL_SHA256_LEN];

    (void)state;
    assert_int_equal(inl_sha256(INL_LIT("abc"), digest), 0);
    assert_hex(
        digest, sizeof(digest),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(inl_sha256(inl_slice(NULL, 0), digest), 0);
    assert_hex(
        digest, sizeof(digest),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void equal_constant_time(void **state)
{
    const uint8_t a[] = {1, 2, 3, 4}, b[] = {1, 2, 3, 4};

    (void)state;
    assert_true(inl_equal_constant_time(a, b, 4));
    assert_true(inl_equal_constant_time(a, b, 0));
    for (size_t i = 0; i < sizeof(a); i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t c[] = {1, 2, 3, 4};

            c[i] = (uint8_t)(c[i] ^ (1u << bit));
            assert_false(inl_equal_constant_time(a, c, 4));
        }
    }
}

static void *start(void *arg)
{
    uint8_t digest[INL_SHA256_LEN];

    *(int *)arg = inl_crypto_init() | inl_sha256(INL_LIT("abc"), digest);
    return NULL;
}

/* Several loops may start at the same time. */
static void starts_once(void **state)
{
    pthread_t threads[8];
    int results[8];

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, start, &results[i]),
                         0);
    }
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(results[i], 0);
    }
    assert_int_equal(inl_crypto_init(), 0);
}

static void version(void **state)
{
    struct inlets_slice text = inl_str(inl_crypto_version());

    (void)state;
    assert_true(inl_slice_starts_case(text, INL_LIT("mbed TLS ")));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_once), /* first: nothing has started PSA */
        cmocka_unit_test(sha1),
        cmocka_unit_test(sha256),
        cmocka_unit_test(equal_constant_time),
        cmocka_unit_test(version),
    };

    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
