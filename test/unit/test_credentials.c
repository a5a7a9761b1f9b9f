/* test_credentials.c: which Authorization values open the door. */
#include "proto/credentials.h"

#include "base/slice.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>

static bool takes(const struct inl_token *t, struct inlets_slice value)
{
    uint8_t digest[INL_SHA256_LEN];
    bool is_bearer = inl_bearer_digest(value, digest);

    return inl_token_matches(t, digest) && is_bearer;
}

static bool matches(const char *secret, struct inlets_slice value)
{
    struct inl_token t = {.is_set = false};

    assert_int_equal(inl_token_set(&t, inl_str(secret)), 0);
    return takes(&t, value);
}

static void right_token(void **state)
{
    (void)state;
    assert_true(matches("s3cret", INL_LIT("Bearer s3cret")));
    assert_true(matches("s3cret", INL_LIT("bEARER s3cret")));
    assert_true(matches("s3cret", INL_LIT("Bearer   s3cret")));
    assert_true(matches("s3cret", INL_LIT(" Bearer s3cret ")));
    assert_true(matches("with space", INL_LIT("Bearer with space")));
}

static void wrong_token(void **state)
{
    static const char *const values[] = {"",
                                         "Bearer",
                                         "Bearer ",
                                         "s3cret",
                                         "Bearers3cret",
                                         "Bearer S3cret",
                                         "Bearer s3cre",
                                         "Bearer s3crett",
                                         "Basic s3cret",
                                         "Bearer: s3cret",
                                         "Bearer,s3cret",
                                         "Bear s3cret",
                                         "Bearer\ts3cret",
                                         "Bearer s3cret, Bearer s3cret",
                                         "Token s3cret",
                                         "Bearer \"s3cret\""};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_false(matches("s3cret", inl_str(values[i])));
    }
    assert_false(matches("s3cret", inl_slice("Bearer s3cret\0", 14)));
    assert_false(matches("s3cret", inl_slice(NULL, 0)));
}

/* An empty secret is not a way to let everybody in. */
static void empty_secret(void **state)
{
    (void)state;
    assert_false(matches("", INL_LIT("Bearer ")));
    assert_false(matches("", INL_LIT("Bearer")));
    assert_false(matches("", INL_LIT("")));
}

static void unset_token(void **state)
{
    struct inl_token t = {.is_set = false};

    (void)state;
    assert_false(takes(&t, INL_LIT("Bearer ")));
    assert_false(takes(&t, INL_LIT("Bearer x")));
    assert_int_equal(inl_token_set(&t, INL_LIT("x")), 0);
    assert_true(takes(&t, INL_LIT("Bearer x")));
    assert_int_equal(inl_token_set(&t, INL_LIT("y")), 0);
    assert_false(takes(&t, INL_LIT("Bearer x")));
    inl_token_wipe(&t);
    assert_false(takes(&t, INL_LIT("Bearer y")));
}

/* Longer than we hash is wrong, also when its beginning is right. */
static void long_token(void **state)
{
    char secret[4097 + 1], value[7 + sizeof(secret)];

    (void)state;
    memset(secret, 'a', sizeof(secret) - 1);
    secret[4096] = '\0';
    memcpy(value, "Bearer ", 7);
    memset(value + 7, 'a', sizeof(value) - 7);
    assert_true(matches(secret, inl_slice(value, 7 + 4096)));
    assert_false(matches(secret, inl_slice(value, 7 + 4097)));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_token),  cmocka_unit_test(wrong_token),
        cmocka_unit_test(empty_secret), cmocka_unit_test(unset_token),
        cmocka_unit_test(long_token),
    };

    return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
