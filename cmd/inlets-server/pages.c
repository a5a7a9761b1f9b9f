/* pages.c: see pages.h. */
#include "inlets-server/pages.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool parse_status(const char *text, size_t len, unsigned *ret_status)
{
    bool is_digit[3];

    if (len != 3 || (text[0] != '4' && text[0] != '5')) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        is_digit[i] = text[i] >= '0' && text[i] <= '9';
    }
    *ret_status = (unsigned)(text[0] - '0');
    if (strncasecmp(text + 1, "xx", 2) == 0) {
        return true;
    }
    *ret_status = *ret_status * 100 + (unsigned)(text[1] - '0') * 10 +
                  (unsigned)(text[2] - '0');
    return is_digit[1] && is_digit[2];
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

static int read_file(const char *path, char **ret_body, size_t *ret_len,
                     struct cmd_problem *p)
{
    FILE *file = fopen(path, "re");
    char *body = malloc(CMD_PAGE_MAX + 1);
    int rc = 0;

    if (body == NULL) {
        rc = cmd_problem_set(p, "out of memory");
    } else if (file == NULL) {
        rc = cmd_problem_set(p, "cannot open %s: %s", path, strerror(errno));
    } else {
        *ret_len = fread(body, 1, CMD_PAGE_MAX + 1, file);
        if (ferror(file)) {
            rc =
                cmd_problem_set(p, "cannot read %s: %s", path, strerror(errno));
        } else if (*ret_len > CMD_PAGE_MAX) {
            rc = cmd_problem_set(p, "%s is over %d bytes", path, CMD_PAGE_MAX);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    if (rc != 0) {
        free(body);
        return rc;
    }
    *ret_body = body;
    return 0;
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
    if (read_file(path, &body, &page.body.len, p) != 0) {
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
