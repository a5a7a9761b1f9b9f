/* test_mask.c: masking against the formula of RFC 6455 section 5.3, at every
 * length, alignment and phase around the size of a block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/mask.h"
#include <string.h>

#define LONGEST 100u
#define ALIGNMENTS 17u
#define GUARD 0xee

static const uint8_t rfc_key[INL_MASK_KEY_LEN] = {0x37, 0xfa, 0x21, 0x3d};

static uint8_t pattern[400];

static int setup(void **state)
{
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 31 + i / 7);
    }
    return 0;
}

/* Masks n bytes and says whether each is right and nothing else changed. */
static void check(size_t n, size_t src_at, size_t dst_at, size_t phase)
{
    uint8_t out[LONGEST + ALIGNMENTS + 8];
    uint8_t key[INL_MASK_KEY_LEN];

    memset(out, GUARD, sizeof(out));
    for (size_t i = 0; i < INL_MASK_KEY_LEN; i++) {
        key[i] = rfc_key[(phase + i) % INL_MASK_KEY_LEN];
    }
    inl_mask(key, out + dst_at, pattern + src_at, n);
    for (size_t i = 0; i < sizeof(out); i++) {
        const uint8_t want =
            i < dst_at || i >= dst_at + n
                ? GUARD
                : pattern[src_at + i - dst_at] ^
                      rfc_key[(phase + i - dst_at) % INL_MASK_KEY_LEN];

        assert_int_equal(out[i], want);
    }
    for (size_t i = 0; i < INL_MASK_KEY_LEN; i++) {
        assert_int_equal(key[i], rfc_key[(phase + n + i) % INL_MASK_KEY_LEN]);
    }
}

static void every_length_alignment_and_phase(void **state)
{
    for (size_t n = 0; n <= LONGEST; n++) {
        for (size_t at = 0; at < ALIGNMENTS; at++) {
            for (size_t phase = 0; phase < INL_MASK_KEY_LEN; phase++) {
                check(n, at, 0, phase);
                check(n, 0, at, phase);
                check(n, at, (at * 5 + 3) % ALIGNMENTS, phase);
            }
        }
    }
}

/* Cut in three anywhere, it is the same as in one. */
static void pieces_go_on_where_the_last_ended(void **state)
{
    uint8_t whole[LONGEST], cut[LONGEST];
    uint8_t key[INL_MASK_KEY_LEN];

    memcpy(key, rfc_key, sizeof(key));
    inl_mask(key, whole, pattern, LONGEST);
    for (size_t a = 0; a <= LONGEST; a++) {
        for (size_t b = a; b <= LONGEST; b++) {
            memset(cut, GUARD, sizeof(cut));
            memcpy(key, rfc_key, sizeof(key));
            inl_mask(key, cut, pattern, a);
            inl_mask(key, cut + a, pattern + a, b - a);
            inl_mask(key, cut + b, pattern + b, LONGEST - b);
            assert_memory_equal(cut, whole, LONGEST);
        }
    }
}

static void masking_twice_is_nothing(void **state)
{
    uint8_t once[sizeof(pattern)], twice[sizeof(pattern)];
    uint8_t key[INL_MASK_KEY_LEN];

    memcpy(key, rfc_key, sizeof(key));
    inl_mask(key, once, pattern, sizeof(pattern));
    assert_memory_not_equal(once, pattern, sizeof(pattern));
    memcpy(key, rfc_key, sizeof(key));
    inl_mask(key, twice, once, sizeof(once));
    assert_memory_equal(twice, pattern, sizeof(pattern));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_alignment_and_phase),
        cmocka_unit_test(pieces_go_on_where_the_last_ended),
        cmocka_unit_test(masking_twice_is_nothing),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
