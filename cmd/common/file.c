/* file.c: see file.h. */
#include "common/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_open(FILE *file, const char *path, size_t most, char *text,
                     size_t *ret_len, struct cmd_problem *p)
{
    size_t len = fread(text, 1, most + 1, file);

    if (ferror(file)) {
        return cmd_problem_set(p, "cannot read %s: %s", path, strerror(errno));
    }
    if (len > most) {
        return cmd_problem_set(p, "%s is over %zu bytes", path, most);
    }
    text[len] = '\0';
    *ret_len = len;
    return 0;
}

int cmd_file_read(const char *path, size_t most, char **ret_text,
                  size_t *ret_len, struct cmd_problem *p)
{
    FILE *file = fopen(path, "re");
    char *text;
    int rc;

    if (file == NULL) {
        return cmd_problem_set(p, "cannot open %s: %s", path, strerror(errno));
    }
    text = malloc(most + 1);
    rc = text == NULL ? cmd_problem_set(p, "out of memory")
                      : read_open(file, path, most, text, ret_len, p);
    (void)fclose(file);
    if (rc != 0) {
        free(text);
        return rc;
    }
    *ret_text = text;
    return 0;
}
