/* pages.c: see pages.h. */
#include "inlets-server/pages.h"

#include "common/file.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The len characters: "4xx" and "5xx" become 4 and 5. */
static bool parse_status(const char *text, size_t len, unsigned *ret_status)
{
    static const char digits[] = "0123456789";

    if (len != 3 || (text[0] != '4' && text[0] != '5')) {
        return false;
    }
    if (strncasecmp(text + 1, "xx", 2) == 0) {
        *ret_status = (unsigned)(text[0] - '0');
        return true;
    }
    *ret_status = (unsigned)atoi(text);
    return strspn(text, digits) == 3;
}

static const char *type_of(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } rows[] = {{".html", "text/html; charset=utf-8"},
                {".htm", "text/html; charset=utf-8"},
                {".json", "application/json"}};
    size_t len = strlen(path);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t n = strlen(rows[i].suffix);

        if (len > n && strcasecmp(path + len - n, rows[i].suffix) == 0) {
            return rows[i].type;
        }
    }
    return "text/plain; charset=utf-8";
}

static int append(struct cmd_pages *pages, const struct inlets_error_page *page,
                  struct cmd_problem *p)
{
    struct inlets_error_page *items =
        realloc(pages->items, (pages->count + 1) * sizeof(*items));

    if (items == NULL) {
        return cmd_problem_set(p, "out of memory");
    }
    pages->items = items;
    pages->items[pages->count++] = *page;
    return 0;
}

int cmd_pages_add(struct cmd_pages *pages, const char *text,
                  struct cmd_problem *p)
{
    size_t len = strcspn(text, "=");
    const char *path = text + len + (text[len] == '=');
    struct inlets_error_page page;
    char *body;

    if (*path == '\0' || !parse_status(text, len, &page.status)) {
        return cmd_problem_set(p,
                               "'%s' is not STATUS=FILE, with a status from "
                               "400 to 599, 4xx or 5xx",
                               text);
    }
    if (cmd_file_read(path, CMD_PAGE_MAX, &body, &page.body.len, p) != 0) {
        return -1;
    }
    page.body.ptr = body;
    page.content_type = type_of(path);
    if (append(pages, &page, p) != 0) {
        free(body);
        return -1;
    }
    return 0;
}

void cmd_pages_fini(struct cmd_pages *pages)
{
    for (size_t i = 0; i < pages->count; i++) {
        free((void *)(uintptr_t)pages->items[i].body.ptr);
    }
    free(pages->items);
    *pages = (struct cmd_pages){0};
}
