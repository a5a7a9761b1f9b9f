/* file.h: a small file, read and written whole. For secrets there is
 * secret.h. */
#ifndef CMD_COMMON_FILE_H
#define CMD_COMMON_FILE_H

#include "common/problem.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads at most `most` bytes; a longer file is a problem. *ret_text is owned by
 * the caller, has *ret_len bytes and a NUL behind them. 0, or -1 with a problem
 * that names the file. */
int cmd_file_read(const char *path, size_t most, char **ret_text,
                  size_t *ret_len, struct cmd_problem *p);

/* Texts one behind the other; the last is NULL. They are written beside the
 * file, and moved to its place once they are on the disk: whoever looks finds
 * the old file or the new one. Owner and mode of an old one are kept; else it
 * gets its folder's owner and `mode`. 0, or -1 with a problem that names the
 * file. */
int cmd_file_write(const char *path, mode_t mode, const char *const *texts,
                   struct cmd_problem *p);

/* Waits until nobody else changes a file in that folder: the lock is not of the
 * file, which is replaced. A descriptor, whose close ends it, or -1 with a
 * problem. */
int cmd_file_lock(const char *path, struct cmd_problem *p);

/* Another number when the file has changed, its mode or its owner has, or it
 * was added or removed. Several files are one stamp: that of the one before
 * goes in; 0 at first. */
uint64_t cmd_file_stamp(uint64_t before, const char *path);

#endif
