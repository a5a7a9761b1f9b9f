/* test_err.c: names, numbers and texts of the errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inlets/err.h>
#include <string.h>

static void every_error_has_its_number_name_and_text(void **state)
{
    (void)state;
#define CHECK(name, number, text)                                              \
    assert_int_equal(INLETS_##name, -(number));                                \
    assert_string_equal(inlets_errname(INLETS_##name), #name);                 \
    assert_string_equal(inlets_strerror(INLETS_##name), text);
    INLETS_ERR_MAP(CHECK)
#undef CHECK
}

static void numbers_are_dense_and_last(void **state)
{
    int count = 0;

    (void)state;
#define COUNT(name, number, text)                                              \
    count++;                                                                   \
    assert_int_equal(number, count);
    INLETS_ERR_MAP(COUNT)
#undef COUNT
    assert_int_equal(INLETS_ERR_LAST_, -(count + 1));
}

static void success_and_strangers_have_a_text(void **state)
{
    static const int strangers[] = {1, 5, INLETS_ERR_LAST_, -4095, INT32_MIN};

    (void)state;
    assert_string_equal(inlets_errname(0), "OK");
    assert_string_equal(inlets_strerror(0), "success");
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        assert_string_equal(inlets_errname(strangers[i]), "EUNKNOWN");
        assert_string_equal(inlets_strerror(strangers[i]), "unknown error");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_number_name_and_text),
        cmocka_unit_test(numbers_are_dense_and_last),
        cmocka_unit_test(success_and_strangers_have_a_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
