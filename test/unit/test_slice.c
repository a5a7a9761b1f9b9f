/* test_slice.c: slices, and the memory helpers that copy and wipe them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/slice.h"
#include "unit/alloc.h"
#include <inlets/err.h>

static const struct inlets_slice none = {NULL, 0};

static void assert_slice(struct inlets_slice s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    if (s.len > 0) {
        assert_memory_equal(s.ptr, expected, s.len);
    }
}

static void compares(void **state)
{
    (void)state;
    assert_true(inl_slice_eq(INL_LIT("ab"), INL_LIT("ab")));
    assert_false(inl_slice_eq(INL_LIT("ab"), INL_LIT("aB")));
    assert_false(inl_slice_eq(INL_LIT("ab"), INL_LIT("abc")));
    assert_true(inl_slice_eq(none, INL_LIT("")));
    assert_true(inl_slice_eq_case(INL_LIT("Host"), INL_LIT("hOST")));
    assert_false(inl_slice_eq_case(INL_LIT("Host"), INL_LIT("Hos")));
    assert_false(inl_slice_eq_case(INL_LIT("@"), INL_LIT("`")));
    assert_false(inl_slice_eq_case(INL_LIT("["), INL_LIT("{")));
    /* Bytes above ASCII are not folded, whatever the locale. */
    assert_false(inl_slice_eq_case(INL_LIT("\xc4"), INL_LIT("\xe4")));
    assert_true(inl_slice_eq_case(none, INL_LIT("")));
    assert_false(inl_slice_eq_case(INL_LIT("a\0b"), INL_LIT("a\0c")));
}

static void finds_prefixes(void **state)
{
    (void)state;
    assert_true(inl_slice_starts(INL_LIT("abc"), INL_LIT("ab")));
    assert_true(inl_slice_starts(INL_LIT("abc"), none));
    assert_true(inl_slice_starts(none, none));
    assert_false(inl_slice_starts(INL_LIT("ab"), INL_LIT("abc")));
    assert_false(inl_slice_starts(INL_LIT("abc"), INL_LIT("b")));
    assert_true(inl_slice_starts_case(INL_LIT("Bearer x"), INL_LIT("bEARER ")));
    assert_false(inl_slice_starts_case(INL_LIT("Bear"), INL_LIT("bearer")));
}

static void finds_and_cuts(void **state)
{
    (void)state;
    assert_int_equal(inl_slice_find(INL_LIT("a:b:c"), ':'), 1);
    assert_int_equal(inl_slice_find(INL_LIT("abc"), ':'), 3);
    assert_int_equal(inl_slice_find(none, ':'), 0);
    assert_int_equal(inl_slice_find(INL_LIT("ab\0c"), '\0'), 2);
    assert_slice(inl_slice_from(INL_LIT("abc"), 0), "abc");
    assert_slice(inl_slice_from(INL_LIT("abc"), 2), "c");
    assert_slice(inl_slice_from(INL_LIT("abc"), 3), "");
    assert_slice(inl_slice_from(INL_LIT("abc"), SIZE_MAX), "");
    assert_slice(inl_slice_from(none, 7), "");
    assert_slice(inl_slice_trim(INL_LIT(" \t a b\t ")), "a b");
    assert_slice(inl_slice_trim(INL_LIT(" \t ")), "");
    assert_slice(inl_slice_trim(none), "");
    /* OWS is space and tab only. */
    assert_slice(inl_slice_trim(INL_LIT("\r\na\v")), "\r\na\v");
    assert_slice(inl_str(NULL), "");
    assert_slice(inl_str("abc"), "abc");
}

static void walks_comma_lists(void **state)
{
    struct inlets_slice rest = INL_LIT(" , a,b c ,\t,, d");
    struct inlets_slice element = none;

    (void)state;
    assert_true(inl_slice_next_element(&rest, &element));
    assert_slice(element, "a");
    assert_true(inl_slice_next_element(&rest, &element));
    assert_slice(element, "b c");
    assert_true(inl_slice_next_element(&rest, &element));
    assert_slice(element, "d");
    assert_false(inl_slice_next_element(&rest, &element));
    assert_false(inl_slice_next_element(&rest, &element));
    assert_slice(element, "d"); /* untouched at the end */
    rest = none;
    assert_false(inl_slice_next_element(&rest, &element));
    rest = INL_LIT(",");
    assert_false(inl_slice_next_element(&rest, &element));
}

static void looks_into_comma_lists(void **state)
{
    struct inlets_slice list = INL_LIT("keep-alive, Upgrade");

    (void)state;
    assert_true(inl_slice_list_has(list, INL_LIT("upgrade")));
    assert_true(inl_slice_list_has(list, INL_LIT("Keep-Alive")));
    assert_false(inl_slice_list_has(list, INL_LIT("keep")));
    assert_false(inl_slice_list_has(list, INL_LIT("close")));
    assert_false(inl_slice_list_has(none, INL_LIT("close")));
}

static void reads_numbers(void **state)
{
    static const char *const wrong[] = {"",
                                        " 1",
                                        "1 ",
                                        "+1",
                                        "-1",
                                        "0x1",
                                        "1,2",
                                        "18446744073709551616",
                                        "18446744073709551620",
                                        "99999999999999999999",
                                        "\xb2"};
    uint64_t value = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(inl_slice_to_u64(inl_str(wrong[i]), &value));
        assert_int_equal(value, 7);
    }
    assert_false(inl_slice_to_u64(INL_LIT("1\0"), &value));
    assert_true(inl_slice_to_u64(INL_LIT("0"), &value));
    assert_int_equal(value, 0);
    assert_true(inl_slice_to_u64(INL_LIT("00042"), &value));
    assert_int_equal(value, 42);
    assert_true(inl_slice_to_u64(INL_LIT("18446744073709551615"), &value));
    assert_true(value == UINT64_MAX);
}

static void knows_tokens_and_values(void **state)
{
    size_t tchars = 0;

    (void)state;
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool is_control = (c < 0x20 && c != '\t') || c == 0x7f;

        tchars += inl_slice_is_token(inl_slice(&byte, 1));
        assert_int_equal(inl_slice_is_field_value(inl_slice(&byte, 1)),
                         !is_control);
    }
    assert_int_equal(tchars, 15 + 10 + 26 + 26);
    assert_true(inl_slice_is_token(INL_LIT("!#$%&'*+-.^_`|~09azAZ")));
    assert_false(inl_slice_is_token(none));
    assert_false(inl_slice_is_token(INL_LIT("a b")));
    assert_false(inl_slice_is_token(INL_LIT("a:")));
    assert_false(inl_slice_is_token(INL_LIT("a\0")));
    assert_true(inl_slice_is_field_value(none));
    assert_false(inl_slice_is_field_value(INL_LIT("a\r\nb: c")));
}

static void copies(void **state)
{
    size_t live = alloc_live;
    char *copy = inl_slice_dup(INL_LIT("a\0b"));

    (void)state;
    assert_non_null(copy);
    assert_memory_equal(copy, "a\0b", 4);
    inl_free(copy);
    copy = inl_slice_dup(none);
    assert_string_equal(copy, "");
    inl_free(copy);
    copy = inl_strdup("token");
    assert_string_equal(copy, "token");
    inl_free_secret(copy);
    inl_free_secret(NULL);
    inl_free(NULL);
    alloc_fail_nth = 1;
    assert_null(inl_strdup("token"));
    assert_null(inl_slice_dup(inl_slice("", SIZE_MAX)));
    assert_int_equal(alloc_live, live);
}

static void wipes(void **state)
{
    char secret[] = "secret";

    (void)state;
    inl_wipe(secret, 3);
    assert_memory_equal(secret, "\0\0\0ret", 7);
    inl_wipe(NULL, 0);
}

static void allocator_must_be_whole(void **state)
{
    struct inlets_allocator broken = *inl_get_allocator();

    (void)state;
    assert_ptr_equal(inl_get_allocator()->malloc, alloc_malloc);
    broken.realloc = NULL;
    assert_int_equal(inl_set_allocator(&broken), INLETS_EINVAL);
    assert_int_equal(inl_set_allocator(NULL), INLETS_EINVAL);
    assert_non_null(inl_get_allocator()->realloc);
}

static void names_fold(void **state)
{
    struct inlets_slice lower = INL_LIT("x-real-ip");

    (void)state;
    assert_true(inl_slice_folds_to(INL_LIT("x-real-ip"), lower));
    assert_true(inl_slice_folds_to(INL_LIT("X_Real-IP"), lower));
    assert_true(inl_slice_folds_to(INL_LIT("X-REAL_IPs"), lower));
    assert_true(inl_slice_folds_to(INL_LIT("x"), INL_LIT("")));
    assert_false(inl_slice_folds_to(INL_LIT("X-Real-I"), lower));
    assert_false(inl_slice_folds_to(INL_LIT("X.Real-IP"), lower));
    assert_false(inl_slice_folds_to(inl_slice(NULL, 0), lower));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares),
        cmocka_unit_test(finds_prefixes),
        cmocka_unit_test(finds_and_cuts),
        cmocka_unit_test(walks_comma_lists),
        cmocka_unit_test(looks_into_comma_lists),
        cmocka_unit_test(reads_numbers),
        cmocka_unit_test(knows_tokens_and_values),
        cmocka_unit_test(copies),
        cmocka_unit_test(wipes),
        cmocka_unit_test(allocator_must_be_whole),
        cmocka_unit_test(names_fold),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
