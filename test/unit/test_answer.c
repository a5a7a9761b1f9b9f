/* test_answer.c: the user's own pages. What statuses say is seen by the tests
 * of the visitor's edge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "relay/answer.h"
#include "unit/alloc.h"

static const struct inlets_slice html = {"text/html", 9};

static void assert_page(const struct inl_error_pages *pages, unsigned status,
                        const char *body)
{
    const struct inl_error_page *page = inl_error_pages_find(pages, status);

    if (body == NULL) {
        assert_null(page);
        return;
    }
    assert_non_null(page);
    assert_int_equal(page->body.len, strlen(body));
    assert_memory_equal(page->body.ptr, body, page->body.len);
    assert_true(inl_slice_eq(page->type, html));
}

static void the_status_goes_before_its_class(void **state)
{
    struct inl_error_pages pages = {0};

    (void)state;
    assert_page(NULL, 503, NULL);
    assert_page(&pages, 503, NULL);
    assert_int_equal(inl_error_pages_add(&pages, 5, html, inl_str("any")), 0);
    assert_int_equal(inl_error_pages_add(&pages, 503, html, inl_str("one")), 0);
    assert_int_equal(inl_error_pages_add(&pages, 404, html, inl_str("")), 0);
    assert_page(&pages, 503, "one");
    assert_page(&pages, 502, "any");
    assert_page(&pages, 404, "");
    assert_page(&pages, 400, NULL);
    assert_int_equal(inl_error_pages_add(&pages, 503, html, inl_str("two")), 0);
    assert_page(&pages, 503, "two");
    assert_int_equal(pages.n, 3);
    inl_error_pages_fini(&pages);
    assert_int_equal(alloc_live, 0);
}

static void what_is_no_page_is_refused(void **state)
{
    static char large[INL_ERROR_PAGE_MAX + 1];
    struct inl_error_pages pages = {0};
    struct inlets_slice body = inl_str("body");

    (void)state;
    for (unsigned status = 0; status < 700; status++) {
        bool wanted =
            status == 4 || status == 5 || (status >= 400 && status < 600);

        assert_int_equal(inl_error_pages_add(&pages, status, html, body),
                         wanted ? 0 : INLETS_EINVAL);
    }
    assert_int_equal(inl_error_pages_add(&pages, 404, inl_str(""), body),
                     INLETS_EINVAL);
    assert_int_equal(
        inl_error_pages_add(&pages, 404, inl_str("a\r\nb: c"), body),
        INLETS_EINVAL);
    assert_int_equal(
        inl_error_pages_add(&pages, 404, html, inl_slice(large, sizeof(large))),
        INLETS_EINVAL);
    assert_page(&pages, 404, "body");
    inl_error_pages_fini(&pages);
}

static void nothing_is_lost_without_memory(void **state)
{
    struct inl_error_pages pages = {0};

    (void)state;
    for (size_t nth = 1; nth <= 2; nth++) {
        alloc_fail_nth = nth;
        assert_int_equal(inl_error_pages_add(&pages, 404, html, inl_str("a")),
                         INLETS_ENOMEM);
        assert_page(&pages, 404, NULL);
    }
    assert_int_equal(inl_error_pages_add(&pages, 404, html, inl_str("a")), 0);
    alloc_fail_nth = 1;
    assert_int_equal(inl_error_pages_add(&pages, 404, html, inl_str("b")),
                     INLETS_ENOMEM);
    assert_page(&pages, 404, "a");
    inl_error_pages_fini(&pages);
    assert_int_equal(alloc_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_status_goes_before_its_class),
        cmocka_unit_test(what_is_no_page_is_refused),
        cmocka_unit_test(nothing_is_lost_without_memory),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
