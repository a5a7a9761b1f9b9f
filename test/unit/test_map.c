/* test_map.c: hash maps by number and by string. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>

#define ITEMS 5000u

struct item {
    struct inl_map_node node;
    uint32_t key;
    unsigned seen;
};

static struct item items[ITEMS];

static struct item *find(const struct inl_map *m, uint32_t key)
{
    struct inl_map_node *node = inl_map_first(m, inl_map_hash_u32(m, key));

    for (; node != NULL; node = inl_map_next(node)) {
        struct item *item = inl_container(node, struct item, node);

        if (item->key == key) {
            return item;
        }
    }
    return NULL;
}

static void fill(struct inl_map *m)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        items[i] = (struct item){.key = i * 2 + 1};
        assert_int_equal(
            inl_map_add(m, &items[i].node, inl_map_hash_u32(m, items[i].key)),
            0);
    }
}

static void empty_map_answers(void **state)
{
    struct inl_map m = {0};
    struct item stranger = {.key = 1};

    (void)state;
    assert_null(inl_map_first(&m, 0));
    assert_null(inl_map_walk(&m, NULL));
    inl_map_remove(&m, &stranger.node);
    assert_int_equal(m.count, 0);
    inl_map_fini(&m);
    assert_int_equal(alloc_live, 0);
}

static void finds_what_was_added(void **state)
{
    struct inl_map m;

    (void)state;
    inl_map_init(&m, 42);
    fill(&m);
    assert_int_equal(m.count, ITEMS);
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_ptr_equal(find(&m, i * 2 + 1), &items[i]);
        assert_null(find(&m, i * 2));
    }
    for (uint32_t i = 0; i < ITEMS; i += 2) {
        inl_map_remove(&m, &items[i].node);
        inl_map_remove(&m, &items[i].node); /* twice is once */
    }
    assert_int_equal(m.count, ITEMS / 2);
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_ptr_equal(find(&m, i * 2 + 1), i % 2 ? &items[i] : NULL);
    }
    inl_map_fini(&m);
    assert_int_equal(alloc_live, 0);
}

static void walks_over_each_once(void **state)
{
    struct inl_map_node *node, *next;
    struct inl_map m;

    (void)state;
    inl_map_init(&m, 42);
    fill(&m);
    for (node = inl_map_walk(&m, NULL); node != NULL; node = next) {
        next = inl_map_walk(&m, node);
        inl_container(node, struct item, node)->seen++;
        inl_map_remove(&m, node);
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_int_equal(items[i].seen, 1);
    }
    assert_int_equal(m.count, 0);
    assert_null(inl_map_walk(&m, NULL));
    inl_map_fini(&m);
}

static void equal_hashes_live_side_by_side(void **state)
{
    struct inl_map_node *node;
    struct inl_map m;
    size_t found = 0;

    (void)state;
    inl_map_init(&m, 0);
    for (uint32_t i = 0; i < 40; i++) {
        /* Two hashes that share a bucket for long. */
        uint64_t hash = i % 2 ? 3 : UINT64_C(3) + (UINT64_C(1) << 40);

        assert_int_equal(inl_map_add(&m, &items[i].node, hash), 0);
    }
    for (node = inl_map_first(&m, 3); node != NULL; node = inl_map_next(node)) {
        assert_true(node->hash == 3);
        found++;
    }
    assert_int_equal(found, 20);
    assert_null(inl_map_first(&m, 4));
    inl_map_fini(&m);
}

static void out_of_memory_only_slows_down(void **state)
{
    struct inl_map m;

    (void)state;
    inl_map_init(&m, 1);
    items[0] = (struct item){.key = 1};
    alloc_fail_nth = 1;
    assert_int_equal(inl_map_add(&m, &items[0].node, inl_map_hash_u32(&m, 1)),
                     INLETS_ENOMEM);
    assert_int_equal(m.count, 0);
    assert_null(inl_map_walk(&m, NULL));
    for (uint32_t i = 0; i < ITEMS; i++) {
        items[i] = (struct item){.key = i * 2 + 1};
        alloc_fail_nth = i == 0 ? 0 : 1;
        assert_int_equal(
            inl_map_add(&m, &items[i].node, inl_map_hash_u32(&m, items[i].key)),
            0);
    }
    alloc_fail_nth = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_ptr_equal(find(&m, i * 2 + 1), &items[i]);
    }
    inl_map_fini(&m);
    assert_int_equal(alloc_live, 0);
}

static void seeds_make_other_hashes(void **state)
{
    struct inl_map a, b;
    char text[32];

    (void)state;
    inl_map_init(&a, 1);
    inl_map_init(&b, 2);
    for (unsigned len = 0; len < sizeof(text); len++) {
        struct inlets_slice key = inl_slice(text, len);

        memset(text, 'a', sizeof(text));
        assert_true(inl_map_hash_slice(&a, key) != inl_map_hash_slice(&b, key));
        assert_true(inl_map_hash_slice(&a, key) == inl_map_hash_slice(&a, key));
        for (unsigned i = 0; i < len; i++) {
            uint64_t before = inl_map_hash_slice(&a, key);

            text[i] = 'b';
            assert_true(before != inl_map_hash_slice(&a, key));
        }
    }
    assert_true(inl_map_hash_u32(&a, 7) != inl_map_hash_u32(&b, 7));
    assert_true(inl_map_hash_slice(&a, inl_slice(NULL, 0)) != 0);
}

/* The low bits choose the bucket: 4096 names over 64 buckets. */
static void names_spread_evenly(void **state)
{
    unsigned buckets[64] = {0};
    struct inl_map m;

    (void)state;
    inl_map_init(&m, 99);
    for (unsigned i = 0; i < 4096; i++) {
        char name[32];
        int len = snprintf(name, sizeof(name), "host%u.example.com", i);

        buckets[inl_map_hash_slice(&m, inl_slice(name, (size_t)len)) % 64]++;
    }
    for (unsigned i = 0; i < 64; i++) {
        assert_in_range(buckets[i], 24, 112);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_map_answers),
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(walks_over_each_once),
        cmocka_unit_test(equal_hashes_live_side_by_side),
        cmocka_unit_test(out_of_memory_only_slows_down),
        cmocka_unit_test(seeds_make_other_hashes),
        cmocka_unit_test(names_spread_evenly),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
