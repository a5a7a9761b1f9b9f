/* logsink.c: see logsink.h. */
#include "common/logsink.h"

#include "common/flags.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Kept free at the end of a line: what says that it was cut, and '\n'. */
#define RESERVE 24

struct out {
    char *buf;
    size_t len;
    size_t max;
    bool is_full; /* something did not fit */
};

static void put(struct out *o, const char *bytes, size_t n)
{
    if (n > o->max - o->len) {
        o->is_full = true;
        return;
    }
    memcpy(o->buf + o->len, bytes, n);
    o->len += n;
}

static void put_str(struct out *o, const char *text)
{
    put(o, text, strlen(text));
}

/* --- values ---------------------------------------------------------------*/

struct rune {
    uint32_t code;
    size_t len; /* bytes; 0: not UTF-8 */
};

/* The first character of n > 0 bytes (RFC 3629 section 4). */
static struct rune decode(const unsigned char *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80   ? 1
                 : s[0] < 0xc2 ? 0
                 : s[0] < 0xe0 ? 2
                 : s[0] < 0xf0 ? 3
                 : s[0] < 0xf5 ? 4
                               : 0;
    uint32_t code = s[0];

    if (len <= 1) {
        return (struct rune){code, len};
    }
    if (len > n) {
        return (struct rune){code, 0};
    }
    code &= 0x7fu >> len;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return (struct rune){s[0], 0};
        }
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff)) {
        return (struct rune){s[0], 0};
    }
    return (struct rune){code, len};
}

/* Controls, line separators, and what turns the writing direction: on a
 * terminal they make a line look like what it is not. */
static bool is_treacherous(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c ||
           (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || c >= 0xe0000;
}

static void put_escaped(struct out *o, uint32_t code, bool is_byte,
                        enum cmd_log_format format)
{
    char text[16];

    if (code == '\n' || code == '\r' || code == '\t') {
        put_str(o, code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t");
        return;
    }
    if (code > 0xffff && format == CMD_LOG_JSON) {
        (void)snprintf(text, sizeof(text), "\\u%04x\\u%04x",
                       0xd800 + ((code - 0x10000) >> 10),
                       0xdc00 + ((code - 0x10000) & 0x3ff));
    } else if (format == CMD_LOG_TEXT && (is_byte || code < 0x80)) {
        (void)snprintf(text, sizeof(text), "\\x%02x", code);
    } else {
        (void)snprintf(text, sizeof(text), "\\u%04x", code);
    }
    put_str(o, text);
}

/* One character; returns how many bytes it took. */
static size_t put_rune(struct out *o, const char *s, size_t n,
                       enum cmd_log_format format)
{
    struct rune r = decode((const unsigned char *)s, n);

    if (r.len == 0) {
        put_escaped(o, r.code, true, format);
        return 1;
    }
    if (r.code == '"' || r.code == '\\') {
        char pair[2] = {'\\', s[0]};

        put(o, pair, 2);
    } else if (is_treacherous(r.code)) {
        put_escaped(o, r.code, false, format);
    } else {
        put(o, s, r.len);
    }
    return r.len;
}

static void put_quoted(struct out *o, struct inlets_slice v,
                       enum cmd_log_format format)
{
    struct out value = *o;

    put_str(&value, "\"");
    if (value.max - value.len > CMD_LOG_VALUE_MAX) {
        value.max = value.len + CMD_LOG_VALUE_MAX;
    }
    for (size_t i = 0; i < v.len && !value.is_full;) {
        i += put_rune(&value, v.ptr + i, v.len - i, format);
    }
    o->len = value.len;
    put_str(o, value.is_full ? "...\"" : "\"");
}

/* A word that reads the same without quotes. */
static bool is_plain(struct inlets_slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];

        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '=') {
            return false;
        }
    }
    return v.len > 0 && v.len <= CMD_LOG_VALUE_MAX;
}

/* --- lines ----------------------------------------------------------------*/

static void put_pair(struct out *o, enum cmd_log_format format, const char *key,
                     struct inlets_slice value)
{
    if (format == CMD_LOG_JSON) {
        put_str(o, o->len == 0 ? "{\"" : ",\"");
        put_str(o, key);
        put_str(o, "\":");
        put_quoted(o, value, format);
        return;
    }
    put_str(o, o->len == 0 ? "" : " ");
    put_str(o, key);
    put_str(o, "=");
    if (is_plain(value)) {
        put(o, value.ptr, value.len);
    } else {
        put_quoted(o, value, format);
    }
}

static void put_number(struct out *o, enum cmd_log_format format,
                       const char *key, int64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%lld", (long long)number);
    put_str(o, format == CMD_LOG_JSON ? ",\"" : " ");
    put_str(o, key);
    put_str(o, format == CMD_LOG_JSON ? "\":" : "=");
    put_str(o, text);
}

static struct inlets_slice slice(const char *text)
{
    return (struct inlets_slice){text, strlen(text)};
}

static void put_head(struct out *o, enum cmd_log_format format,
                     const struct timespec *time, enum inlets_log_level level,
                     const char *event)
{
    char date[32] = "";
    char stamp[48];
    struct tm tm;

    if (gmtime_r(&time->tv_sec, &tm) != NULL) {
        (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    }
    (void)snprintf(stamp, sizeof(stamp), "%s.%03dZ", date,
                   (int)(time->tv_nsec / 1000000));
    put_pair(o, format, "time", slice(stamp));
    put_pair(o, format, "level", slice(cmd_flag_log_levels[level]));
    put_pair(o, format, "msg", slice(event));
}

size_t cmd_log_line(char *buf, enum cmd_log_format format,
                    const struct timespec *time, enum inlets_log_level level,
                    const char *event, const struct inlets_log_field *fields,
                    size_t nfields)
{
    struct out o = {.buf = buf, .max = CMD_LOG_LINE_MAX - RESERVE};

    put_head(&o, format, time, level, event);
    for (size_t i = 0; i < nfields; i++) {
        const struct inlets_log_field *f = &fields[i];
        size_t before = o.len;

        if (f->text.ptr != NULL) {
            put_pair(&o, format, f->key, f->text);
        } else {
            put_number(&o, format, f->key, f->number);
        }
        if (o.is_full) {
            /* All or nothing, and the line says that there was more. */
            o.len = before;
            break;
        }
    }
    o.max = CMD_LOG_LINE_MAX;
    if (o.is_full) {
        put_str(&o, format == CMD_LOG_JSON ? ",\"cut\":1" : " cut=1");
    }
    put_str(&o, format == CMD_LOG_JSON ? "}\n" : "\n");
    return o.len;
}

/* --- writing --------------------------------------------------------------*/

static bool takes_bytes(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n;

    do {
        n = poll(&p, 1, timeout_ms);
    } while (n < 0 && errno == EINTR);
    return n == 1 && (p.revents & (POLLERR | POLLNVAL)) == 0;
}

static bool write_bytes(struct cmd_log *log, const char *bytes, size_t len)
{
    ssize_t n;

    if (!takes_bytes(log->fd, log->stalled ? 0 : CMD_LOG_PATIENCE_MS)) {
        return false;
    }
    do {
        n = write(log->fd, bytes, len);
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

static size_t make_line(char *line, const struct cmd_log *log,
                        enum inlets_log_level level, const char *event,
                        const struct inlets_log_field *fields, size_t nfields)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return cmd_log_line(line, log->format, &now, level, event, fields, nfields);
}

static bool report_dropped(struct cmd_log *log)
{
    struct inlets_log_field lines = {.key = "lines",
                                     .number = (int64_t)log->dropped};
    char line[CMD_LOG_LINE_MAX];

    return write_bytes(log, line,
                       make_line(line, log, INLETS_LOG_WARN,
                                 "log lines were dropped", &lines, 1));
}

void cmd_log_flush(struct cmd_log *log)
{
    size_t waiting = log->waiting;

    if (waiting == 0) {
        return;
    }
    log->waiting = 0;
    if ((log->stalled && !report_dropped(log)) ||
        !write_bytes(log, log->buf, log->len)) {
        log->stalled = true;
        log->dropped += waiting;
    } else {
        log->stalled = false;
        log->dropped = 0;
    }
    log->len = 0;
}

void cmd_log_write(enum inlets_log_level level, const char *event,
                   const struct inlets_log_field *fields, size_t nfields,
                   void *user)
{
    struct cmd_log *log = user;
    char line[CMD_LOG_LINE_MAX];
    size_t len;

    if (level > log->level) {
        return;
    }
    len = make_line(line, log, level, event, fields, nfields);
    if (len > sizeof(log->buf) - log->len) {
        cmd_log_flush(log);
    }
    memcpy(log->buf + log->len, line, len);
    log->len += len;
    log->waiting++;
    if (log->wake == NULL || level <= INLETS_LOG_WARN) {
        cmd_log_flush(log);
    } else if (log->waiting == 1) {
        log->wake(log->wake_user);
    }
}

void cmd_log_say(struct cmd_log *log, enum inlets_log_level level,
                 const char *event, ...)
{
    struct inlets_log_field fields[8];
    size_t n = 0;
    va_list args;

    va_start(args, event);
    while (n < sizeof(fields) / sizeof(fields[0])) {
        const char *key = va_arg(args, const char *);

        if (key == NULL) {
            break;
        }
        fields[n++] = (struct inlets_log_field){
            .key = key, .text = slice(va_arg(args, const char *))};
    }
    va_end(args);
    cmd_log_write(level, event, fields, n, log);
}

void cmd_log_warn_if(struct cmd_log *log, bool condition, const char *event)
{
    if (condition) {
        cmd_log_say(log, INLETS_LOG_WARN, event, NULL);
    }
}
