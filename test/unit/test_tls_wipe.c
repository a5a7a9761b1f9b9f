/* test_tls_wipe.c: no block of memory that is given back holds a private key:
 * as text, as bytes, or as the number that Mbed TLS makes of it. */
#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include "proto/tls.h"
#include "unit/certs.h"
#include <inlets/alloc.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY_BYTES 32u
#define TEXT_BYTES 40u

/* What must not be seen; looked for while `watches`. */
static struct {
    uint8_t bytes[KEY_BYTES], number[KEY_BYTES];
    char text[TEXT_BYTES];
    bool watches;
    unsigned freed, seen;
} secret;

static struct made_cert made;

/* ---- an allocator that looks -------------------------------------------- */

static void look(void *p)
{
    size_t n = p == NULL ? 0 : malloc_usable_size(p);

    if (secret.watches && p != NULL) {
        secret.freed++;
        secret.seen +=
            memmem(p, n, secret.bytes, sizeof(secret.bytes)) != NULL ||
            memmem(p, n, secret.number, sizeof(secret.number)) != NULL ||
            memmem(p, n, secret.text, sizeof(secret.text)) != NULL;
    }
}

#ifdef TEST_WRAPS_CALLOC
/* Those of Mbed TLS as well, which has no hook in every build of it. */
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __real_free(void *p);
void __wrap_free(void *p);

/* All of a block is known, also what is behind the bytes asked for. */
void *__wrap_calloc(size_t count, size_t size)
{
    void *p = __real_calloc(count, size);

    if (p != NULL) {
        memset(p, 0, malloc_usable_size(p));
    }
    return p;
}

void __wrap_free(void *p)
{
    look(p);
    __real_free(p);
}
#define seen_free(p) free(p)
#else
static void seen_free(void *p)
{
    look(p);
    free(p);
}
#endif

static void *zeroed(size_t size)
{
    return calloc(1, size);
}

static void *moved(void *old, size_t size)
{
    size_t before = old == NULL ? 0 : malloc_usable_size(old);
    void *p = calloc(1, size);

    if (p != NULL && old != NULL) {
        memcpy(p, old, before < size ? before : size);
        seen_free(old);
    }
    return p;
}

static void given_back(void *p)
{
    seen_free(p);
}

/* ---- the key ------------------------------------------------------------ */

/* RFC 5915 3: the scalar is the OCTET STRING behind the version. */
static void learn_secret(void)
{
    const char *begin = strstr(made.key, "-----\n");
    const char *end = strstr(made.key, "\n-----END");
    uint8_t der[512];
    char text[512] = "";
    size_t n = 0;
    int64_t der_n;

    assert_non_null(begin);
    assert_non_null(end);
    for (const char *p = begin + 6; p < end; p++) {
        if (*p != '\n') {
            text[n++] = *p;
        }
    }
    memcpy(secret.text, begin + 6, sizeof(secret.text));
    der_n = inl_base64_decode(inl_slice(text, n), der, sizeof(der));
    assert_true(der_n > 7 + KEY_BYTES && der[5] == 4 && der[6] == KEY_BYTES);
    memcpy(secret.bytes, der + 7, KEY_BYTES);
    for (size_t i = 0; i < KEY_BYTES; i++) {
        secret.number[i] = secret.bytes[KEY_BYTES - 1 - i];
    }
}

static struct inl_cert *load(void)
{
    struct inl_cert *cert = NULL;
    const char *why;

    assert_int_equal(
        inl_cert_new(&cert, inl_str(made.cert), inl_str(made.key), &why), 0);
    return cert;
}

static void watch(void)
{
    secret.freed = secret.seen = 0;
    secret.watches = true;
}

static void assert_unseen(void)
{
    secret.watches = false;
    assert_true(secret.freed > 5);
    assert_int_equal(secret.seen, 0);
}

/* ---- the tests ---------------------------------------------------------- */

static void what_is_looked_for_is_found(void **state)
{
    const void *const forms[] = {secret.bytes, secret.number, secret.text};

    (void)state;
    watch();
    for (size_t i = 0; i < 3; i++) {
        uint8_t *p = inl_calloc(1, 100);

        assert_non_null(p);
        memcpy(p + 20, forms[i], KEY_BYTES);
        memcpy(p + 20, forms[i], i == 2 ? TEXT_BYTES : KEY_BYTES);
        inl_free(p);
    }
    secret.watches = false;
    assert_int_equal(secret.seen, 3);
}

static void a_key_is_wiped(void **state)
{
    (void)state;
    watch();
    inl_cert_unref(load());
    assert_unseen();
}

static void a_key_that_does_not_fit_is_wiped(void **state)
{
    struct made_cert other;
    struct inl_cert *cert = NULL;
    const char *why;

    (void)state;
    make_cert(&other, &(struct cert_wish){.subject = "CN=other"});
    watch();
    assert_true(
        inl_cert_new(&cert, inl_str(other.cert), inl_str(made.key), &why) != 0);
    assert_unseen();
}

static struct inl_cert *pick(void *user, struct inlets_slice sni)
{
    (void)sni;
    return user;
}

/* What one end said, to the other. */
static void carry(struct inl_queue *from, struct inl_tls *to)
{
    while (from->bytes > 0) {
        struct inlets_slice s = inl_queue_front(from);

        inl_tls_give(to, (const uint8_t *)s.ptr, s.len);
        while (inl_tls_rest(to) > 0) {
            assert_true(inl_tls_handshake(to) >= 0);
        }
        inl_tls_give(to, NULL, 0);
        inl_queue_consume(from, s.len);
    }
}

static void a_key_that_was_used_is_wiped(void **state)
{
    struct inl_cert *cert;
    struct inl_tls_server server = {.pick = pick, .user = NULL};
    const struct inl_tls_client client = {.skip_verify = true};
    struct inl_tls_config *sconf, *cconf;
    struct inl_tls *s, *c;
    struct inl_queue to_s = {0}, to_c = {0};

    (void)state;
    watch();
    server.user = cert = load();
    assert_int_equal(inl_tls_config_server(&sconf, &server), 0);
    assert_int_equal(inl_tls_config_client(&cconf, &client), 0);
    assert_int_equal(inl_tls_new(&s, sconf, NULL, &to_c), 0);
    assert_int_equal(inl_tls_new(&c, cconf, "a.test", &to_s), 0);
    assert_int_equal(inl_tls_handshake(c), 0);
    carry(&to_s, s);
    carry(&to_c, c);
    carry(&to_s, s);
    assert_int_equal(inl_tls_handshake(s), 1); /* it signed */
    inl_tls_free(s);
    inl_tls_free(c);
    inl_queue_fini(&to_s);
    inl_queue_fini(&to_c);
    inl_queue_trim();
    inl_tls_config_unref(sconf);
    inl_tls_config_unref(cconf);
    inl_cert_unref(cert);
    assert_unseen();
}

int main(void)
{
    static const struct inlets_allocator allocator = {zeroed, calloc, moved,
                                                      given_back};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_looked_for_is_found),
        cmocka_unit_test(a_key_is_wiped),
        cmocka_unit_test(a_key_that_does_not_fit_is_wiped),
        cmocka_unit_test(a_key_that_was_used_is_wiped),
    };

    if (inl_set_allocator(&allocator) != 0 || inl_crypto_init() != 0) {
        return 1;
    }
    make_cert(&made,
              &(struct cert_wish){.subject = "CN=a.test", .names = "a.test"});
    learn_secret();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
