/* test_ticket.c: the text of tickets, strictly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "proto/ticket.h"
#include <inlets/err.h>
#include <string.h>

#define SECRET "000102030405060708090a0b0c0d0e0f"
#define GOOD "0123456789abcdef.0." SECRET ".0"

static void round_trips(void **state)
{
    static const char *const texts[] = {
        GOOD,
        "ffffffffffffffff.255." SECRET ".18446744073709551615",
        "0000000000000001.7." SECRET ".10",
        GOOD ".1",
        "ffffffffffffffff.255." SECRET
        ".18446744073709551615.18446744073709551615",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char again[INL_TICKET_TEXT_MAX + 1];
        struct inl_ticket t;

        assert_int_equal(inl_ticket_parse(inl_str(texts[i]), &t), 0);
        assert_int_equal(t.secret[15], 15);
        assert_int_equal(inl_ticket_format(&t, again), strlen(texts[i]));
        assert_string_equal(again, texts[i]);
    }
}

static void anything_else_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        ".",
        "...",
        GOOD ".",
        GOOD ".0",
        GOOD ".01",
        GOOD ".1.",
        GOOD ".1.1",
        GOOD ".x",
        " " GOOD,
        GOOD " ",
        "0123456789abcdef.0." SECRET,
        "0123456789abcdef.0." SECRET ".",
        "0123456789abcdef.0." SECRET ".00",
        "0123456789abcdef.0." SECRET ".+1",
        "0123456789abcdef.0." SECRET ".-1",
        "0123456789abcdef.0." SECRET ".18446744073709551616",
        "0123456789abcdef.00." SECRET ".0",
        "0123456789abcdef.256." SECRET ".0",
        "0123456789abcdef.." SECRET ".0",
        "0123456789abcde.0." SECRET ".0",
        "0123456789abcdef0.0." SECRET ".0",
        "0123456789ABCDEF.0." SECRET ".0",
        "0123456789abcdeg.0." SECRET ".0",
        "0123456789abcdef.0.0" SECRET ".0",
        "0123456789abcdef.0." SECRET "0.0",
        "0123456789abcdef.0.00.0",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct inl_ticket t = {.lane = 99};

        assert_int_equal(inl_ticket_parse(inl_str(texts[i]), &t),
                         INLETS_EBADMESSAGE);
        assert_int_equal(t.lane, 99); /* untouched */
    }
}

static int find_in(const struct inlets_field *fields, size_t n)
{
    const struct inlets_head head = {.fields = fields, .nfields = n};
    struct inl_ticket t;

    return inl_ticket_find(&head, &t);
}

static void a_head_has_one_or_none(void **state)
{
    const struct inlets_field fields[] = {
        {INL_LIT("inlets-LANE"), INL_LIT(" " GOOD "\t")},
        {INL_LIT("Host"), INL_LIT("x")},
        {INL_LIT("Inlets-Lane"), INL_LIT(GOOD)},
        {INL_LIT("Inlets-Lane"), INL_LIT("nonsense")},
    };

    (void)state;
    assert_int_equal(find_in(fields, 0), INLETS_ENOROUTE);
    assert_int_equal(find_in(fields + 1, 1), INLETS_ENOROUTE);
    assert_int_equal(find_in(fields, 2), 0);
    assert_int_equal(find_in(fields, 3), INLETS_EBADMESSAGE);
    assert_int_equal(find_in(fields + 3, 1), INLETS_EBADMESSAGE);
}

static void secrets_are_compared_whole(void **state)
{
    struct inl_ticket t = {.secret = {1, 2, 3}};
    uint8_t other[INL_TICKET_SECRET_LEN] = {1, 2, 3};

    (void)state;
    assert_true(inl_ticket_secret_is(&t, other));
    other[INL_TICKET_SECRET_LEN - 1] = 1;
    assert_false(inl_ticket_secret_is(&t, other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(a_head_has_one_or_none),
        cmocka_unit_test(secrets_are_compared_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
