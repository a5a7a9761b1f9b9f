/* visitors.c: the visitors file, read. */
#include "inlets-server/visitors.h"

#include "common/file.h"
#include <stdlib.h>

/* 4096 rules of 4 KiB. */
#define VISITORS_FILE_MAX (16u * 1024 * 1024)

int cmd_visitors_load(const char *path, struct inlets_server *server,
                      size_t *ret_n, struct cmd_problem *p)
{
    struct inlets_visitors *visitors = NULL;
    char why[INLETS_WHY_SIZE] = "";
    char *text = NULL;
    size_t len = 0;
    int err;

    if (cmd_file_read(path, VISITORS_FILE_MAX, &text, &len, p) != 0) {
        return -1;
    }
    err =
        inlets_visitors_parse(&visitors, (struct inlets_slice){text, len}, why);
    free(text);
    if (err == 0) {
        *ret_n = inlets_visitors_count(visitors);
        err = inlets_server_set_visitors(server, visitors);
        if (err != 0) {
            inlets_visitors_free(visitors);
        }
    }
    return err == 0
               ? 0
               : cmd_problem_set(p, "%s: %s", path,
                                 *why != '\0' ? why : inlets_strerror(err));
}
