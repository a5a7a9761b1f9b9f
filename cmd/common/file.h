/* file.h: a small file, read whole. For secrets there is secret.h. */
#ifndef CMD_COMMON_FILE_H
#define CMD_COMMON_FILE_H

#include "common/problem.h"
#include <stddef.h>

/* Reads at most `most` bytes; a longer file is a problem. *ret_text is owned by
 * the caller, has *ret_len bytes and a NUL behind them. 0, or -1 with a problem
 * that names the file. */
int cmd_file_read(const char *path, size_t most, char **ret_text,
                  size_t *ret_len, struct cmd_problem *p);

#endif
