/* test_codec.c: base64 and hex. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/slice.h"
#include <inlets/err.h>

/* RFC 4648 section 10, and the last two digits. */
static const struct {
    const char *plain, *text;
} vectors[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
    {"\xfb\xff\xfe", "+//+"},
};

static void base64_knows_the_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        size_t n = strlen(vectors[i].plain), len = strlen(vectors[i].text);
        char out[16] = {0};

        assert_int_equal(INL_BASE64_LEN(n), len);
        inl_base64_encode(vectors[i].plain, n, out);
        assert_string_equal(out, vectors[i].text);
        memset(out, 0, sizeof(out));
        assert_int_equal(inl_base64_decode(inl_str(vectors[i].text), out, n),
                         n);
        assert_memory_equal(out, vectors[i].plain, n);
    }
}

static void base64_goes_there_and_back(void **state)
{
    uint8_t plain[256] = {0}, back[256];
    char text[INL_BASE64_LEN(256)];

    (void)state;
    for (size_t n = 0; n <= sizeof(plain); n++) {
        size_t len = INL_BASE64_LEN(n);

        for (size_t i = 0; i < n; i++) {
            plain[i] = (uint8_t)(i * 167 + n);
        }
        inl_base64_encode(plain, n, text);
        assert_int_equal(inl_base64_decode(inl_slice(text, len), back, n), n);
        assert_memory_equal(back, plain, n);
        if (n > 0) {
            assert_int_equal(
                inl_base64_decode(inl_slice(text, len), back, n - 1),
                INLETS_EINVAL);
        }
    }
}

static void base64_is_strict(void **state)
{
    static const char *const wrong[] = {
        "Z",        "Zg",    "Zg=",      "Zg===",  "=",
        "====",     "Z===",  "Zh==",     "Zm9=",   "Zg==Zg==",
        "Zg==\r\n", " Zg==", "Zm9v Zm9", "Zm9v\n", "Zm-_",
        "Zm9\x80",  "=m9v",  "Z=9v",     "Zm=v",   "Zm9vZg=a",
    };
    char out[16];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(inl_base64_decode(inl_str(wrong[i]), out, sizeof(out)),
                         INLETS_EINVAL);
    }
    assert_int_equal(inl_base64_decode(INL_LIT("Zm9\0"), out, sizeof(out)),
                     INLETS_EINVAL);
    assert_int_equal(inl_base64_decode(inl_slice(NULL, 0), NULL, 0), 0);
}

static void hex_has_two_digits_a_byte(void **state)
{
    char out[9] = {0};

    (void)state;
    inl_hex_encode("\x00\x7f\x80\xff", 4, out);
    assert_string_equal(out, "007f80ff");
    inl_hex_encode(NULL, 0, out);
    assert_string_equal(out, "007f80ff");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_knows_the_vectors),
        cmocka_unit_test(base64_goes_there_and_back),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(hex_has_two_digits_a_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
