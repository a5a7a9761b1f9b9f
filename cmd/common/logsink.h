/* logsink.h: log lines on a descriptor, key=value or JSON.
 *
 * A write is whole lines and at most CMD_LOG_LINE_MAX bytes, so lines of
 * several processes do not mix. Lines of INFO and DEBUG may wait for the end of
 * the loop's turn (common/logturn.h): under load a write holds twenty of them.
 * Values may come from strangers: control bytes, what is not UTF-8, and
 * characters that turn the writing direction are escaped, and a value over
 * CMD_LOG_VALUE_MAX bytes is cut. A reader that does not read delays the
 * program once, by CMD_LOG_PATIENCE_MS; then lines are dropped until it reads,
 * and their number is told. */
#ifndef CMD_COMMON_LOGSINK_H
#define CMD_COMMON_LOGSINK_H

#include <inlets/log.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What POSIX and Linux write to a pipe in one piece (PIPE_BUF). */
#define CMD_LOG_LINE_MAX 4096
#define CMD_LOG_VALUE_MAX 768
#define CMD_LOG_PATIENCE_MS 200

/* As in cmd_flag_log_formats. */
enum cmd_log_format { CMD_LOG_TEXT, CMD_LOG_JSON };

struct cmd_log {
    int fd;
    enum cmd_log_format format;
    enum inlets_log_level level; /* lines above it are not written */
    bool stalled;                /* the reader did not read in time */
    uint64_t dropped;            /* lines since then */

    /* Called when lines begin to wait: cmd_log_flush is due. NULL: none does.
     */
    void (*wake)(void *user);
    void *wake_user;
    size_t waiting; /* lines in buf */
    size_t len;     /* bytes in buf */
    char buf[CMD_LOG_LINE_MAX];
};

/* An inlets_log_fn; user is the struct cmd_log. */
void cmd_log_write(enum inlets_log_level level, const char *event,
                   const struct inlets_log_field *fields, size_t nfields,
                   void *user);

/* The same for fields of text: key, value, ..., NULL. */
__attribute__((sentinel)) void cmd_log_say(struct cmd_log *log,
                                           enum inlets_log_level level,
                                           const char *event, ...);

void cmd_log_warn_if(struct cmd_log *log, bool condition, const char *event);

/* Writes what waits. */
void cmd_log_flush(struct cmd_log *log);

/* Makes a line, with its newline, and returns its length. buf has room for
 * CMD_LOG_LINE_MAX bytes. */
size_t cmd_log_line(char *buf, enum cmd_log_format format,
                    const struct timespec *time, enum inlets_log_level level,
                    const char *event, const struct inlets_log_field *fields,
                    size_t nfields);

#endif
