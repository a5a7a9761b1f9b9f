/* pages.h: the files of --error-page. */
#ifndef CMD_INLETS_SERVER_PAGES_H
#define CMD_INLETS_SERVER_PAGES_H

#include "common/problem.h"
#include <inlets/server.h>

/* What the library takes. */
#define CMD_PAGE_MAX (64 * 1024)

/* All zero: none. The library is given `items`, and copies. */
struct cmd_pages {
    struct inlets_error_page *items; /* owned, and so are their bodies */
    size_t count;
};

/* One "STATUS=FILE": a status from 400 to 599, or 4xx or 5xx for those without
 * a page of their own. Reads the file; its name says its type. */
int cmd_pages_add(struct cmd_pages *pages, const char *text,
                  struct cmd_problem *p);
void cmd_pages_fini(struct cmd_pages *pages);

#endif
