/* test_logsink.c: log lines that stay one line and stay readable, whatever
 * strangers put into them, and a reader that does not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/logsink.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* 2026-11-22T10:00:00.123Z */
static const struct timespec noon = {.tv_sec = 1795341600,
                                     .tv_nsec = 123456789};
#define TEXT_HEAD "time=2026-11-22T10:00:00.123Z level=info msg="
#define JSON_HEAD                                                              \
    "{\"time\":\"2026-11-22T10:00:00.123Z\",\"level\":\"info\",\"msg\":"

static const char *line_of(enum cmd_log_format format, const char *event,
                           const struct inlets_log_field *fields, size_t n)
{
    static char buf[CMD_LOG_LINE_MAX + 1];
    size_t len =
        cmd_log_line(buf, format, &noon, INLETS_LOG_INFO, event, fields, n);

    assert_in_range(len, 1, CMD_LOG_LINE_MAX);
    buf[len] = '\0';
    assert_int_equal(strlen(buf), len);
    return buf;
}

static void lines_have_a_form(void **state)
{
    const struct inlets_log_field fields[] = {
        {.key = "host", .text = {"a.example", 9}},
        {.key = "status", .number = 200},
        {.key = "least", .number = INT64_MIN},
        {.key = "path", .text = {"", 0}}};

    (void)state;
    assert_string_equal(line_of(CMD_LOG_TEXT, "tunnel connected", fields, 4),
                        TEXT_HEAD
                        "\"tunnel connected\" host=a.example status=200 "
                        "least=-9223372036854775808 path=\"\"\n");
    assert_string_equal(line_of(CMD_LOG_JSON, "request", fields, 4), JSON_HEAD
                        "\"request\",\"host\":\"a.example\",\"status\":200,"
                        "\"least\":-9223372036854775808,\"path\":\"\"}\n");
    assert_string_equal(line_of(CMD_LOG_TEXT, "request", NULL, 0),
                        TEXT_HEAD "request\n");
}

static const struct {
    struct inlets_slice value;
    const char *text, *json;
} values[] = {
#define VALUE(literal)                                                         \
    {                                                                          \
        literal, sizeof(literal) - 1                                           \
    }
    {VALUE("plain/1.0:80?x"), "plain/1.0:80?x", "\"plain/1.0:80?x\""},
    {VALUE("two words"), "\"two words\"", "\"two words\""},
    {VALUE("a=b"), "\"a=b\"", "\"a=b\""},
    {VALUE("say \"hi\"\\"), "\"say \\\"hi\\\"\\\\\"", "\"say \\\"hi\\\"\\\\\""},
    {VALUE("a\nlevel=error"), "\"a\\nlevel=error\"", "\"a\\nlevel=error\""},
    {VALUE("\r\t"), "\"\\r\\t\"", "\"\\r\\t\""},
    {VALUE("\0x"), "\"\\x00x\"", "\"\\u0000x\""},
    {VALUE("\x1b[31m"), "\"\\x1b[31m\"", "\"\\u001b[31m\""},
    {VALUE("\x7f"), "\"\\x7f\"", "\"\\u007f\""},
    /* UTF-8 stays, in quotes */
    {VALUE("gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\"",
     "\"gr\xc3\xbc\xc3\x9f\""},
    {VALUE("\xf0\x9f\x98\x80"), "\"\xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80\""},
    /* a lone continuation, a cut sequence, overlong, a surrogate, too high */
    {VALUE("\x80"), "\"\\x80\"", "\"\\u0080\""},
    {VALUE("\xe2\x82"), "\"\\xe2\\x82\"", "\"\\u00e2\\u0082\""},
    {VALUE("\xc0\xaf"), "\"\\xc0\\xaf\"", "\"\\u00c0\\u00af\""},
    {VALUE("\xe0\x80\xaf"), "\"\\xe0\\x80\\xaf\"", "\"\\u00e0\\u0080\\u00af\""},
    {VALUE("\xed\xa0\x80"), "\"\\xed\\xa0\\x80\"", "\"\\u00ed\\u00a0\\u0080\""},
    {VALUE("\xf4\x90\x80\x80"), "\"\\xf4\\x90\\x80\\x80\"",
     "\"\\u00f4\\u0090\\u0080\\u0080\""},
    {VALUE("\xff"), "\"\\xff\"", "\"\\u00ff\""},
    /* C1 control, right-to-left override, line separator, a tag */
    {VALUE("\xc2\x9b"), "\"\\u009b\"", "\"\\u009b\""},
    {VALUE("\xe2\x80\xae"), "\"\\u202e\"", "\"\\u202e\""},
    {VALUE("\xe2\x80\xa8"), "\"\\u2028\"", "\"\\u2028\""},
    {VALUE("\xf3\xa0\x80\x81"), "\"\\ue0001\"", "\"\\udb40\\udc01\""},
#undef VALUE
};

static void hostile_values_are_escaped(void **state)
{
    char expected[256];

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        struct inlets_log_field f = {.key = "k", .text = values[i].value};

        (void)snprintf(expected, sizeof(expected), TEXT_HEAD "e k=%s\n",
                       values[i].text);
        assert_string_equal(line_of(CMD_LOG_TEXT, "e", &f, 1), expected);
        (void)snprintf(expected, sizeof(expected),
                       JSON_HEAD "\"e\",\"k\":%s}\n", values[i].json);
        assert_string_equal(line_of(CMD_LOG_JSON, "e", &f, 1), expected);
    }
}

static void long_values_are_cut(void **state)
{
    static char big[100000];
    struct inlets_log_field fields[12];

    (void)state;
    memset(big, 0x01, sizeof(big)); /* grows the most when escaped */
    for (size_t i = 0; i < COUNT(fields); i++) {
        fields[i] =
            (struct inlets_log_field){.key = "key", .text = {big, sizeof(big)}};
    }
    fields[1] = (struct inlets_log_field){.key = "after", .number = 1};
    for (int format = CMD_LOG_TEXT; format <= CMD_LOG_JSON; format++) {
        const char *line = line_of((enum cmd_log_format)format, "e", fields, 2);
        size_t len = strlen(line);

        assert_in_range(len, CMD_LOG_VALUE_MAX, CMD_LOG_VALUE_MAX + 200);
        assert_non_null(strstr(line, "...\""));
        assert_non_null(strstr(line, "after"));
        assert_string_equal(strchr(line, '\n'), "\n");
        /* Too much for a line: whole fields are left out, and it says so. */
        line = line_of((enum cmd_log_format)format, "e", fields, COUNT(fields));
        assert_string_equal(strrchr(line, format == CMD_LOG_JSON ? ',' : ' '),
                            format == CMD_LOG_JSON ? ",\"cut\":1}\n"
                                                   : " cut=1\n");
    }
}

/* A pipe that is written to until it is full; *ret_log writes to it. */
static void fill_pipe(int fds[2], struct cmd_log *ret_log)
{
    static const char zeros[4096];

    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    while (write(fds[1], zeros, sizeof(zeros)) > 0) {
    }
    /* The program's stderr blocks. */
    assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
    *ret_log = (struct cmd_log){.fd = fds[1], .level = INLETS_LOG_INFO};
}

static size_t drain_pipe(int fd, char *buf, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while ((n = read(fd, buf, size - 1)) > 0) {
        len = (size_t)n;
    }
    buf[len] = '\0';
    return len;
}

static void a_stalled_reader_blocks_nothing(void **state)
{
    struct cmd_log log;
    char buf[65537];
    int fds[2];

    (void)state;
    fill_pipe(fds, &log);
    for (int i = 0; i < 100; i++) {
        cmd_log_say(&log, INLETS_LOG_INFO, "lost", NULL);
    }
    assert_true(log.stalled);
    assert_int_equal(log.dropped, 100);
    (void)drain_pipe(fds[0], buf, sizeof(buf));
    cmd_log_say(&log, INLETS_LOG_INFO, "found", "key", "value", NULL);
    (void)drain_pipe(fds[0], buf, sizeof(buf));
    assert_non_null(
        strstr(buf, "level=warn msg=\"log lines were dropped\" lines=100\n"));
    assert_non_null(strstr(buf, "msg=found key=value\n"));
    assert_false(log.stalled);
    close(fds[0]);
    /* A reader that is gone: SIGPIPE is the program's, so it is not tried. */
    cmd_log_say(&log, INLETS_LOG_INFO, "lost", NULL);
    assert_true(log.stalled);
    close(fds[1]);
}

static void lines_below_the_level_are_left_out(void **state)
{
    struct cmd_log log = {.level = INLETS_LOG_WARN};
    char buf[256] = "";
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log.fd = fds[1];
    cmd_log_say(&log, INLETS_LOG_INFO, "no", NULL);
    cmd_log_warn_if(&log, false, "no");
    assert_int_equal(drain_pipe(fds[0], buf, sizeof(buf)), 0);
    cmd_log_warn_if(&log, true, "yes");
    (void)drain_pipe(fds[0], buf, sizeof(buf));
    assert_non_null(strstr(buf, "level=warn msg=yes\n"));
    close(fds[0]);
    close(fds[1]);
}

static void count_wake(void *user)
{
    ++*(unsigned *)user;
}

static void lines_wait_for_the_flush(void **state)
{
    unsigned wakes = 0;
    struct cmd_log log = {
        .level = INLETS_LOG_INFO, .wake = count_wake, .wake_user = &wakes};
    char buf[65537] = "";
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log.fd = fds[1];
    cmd_log_say(&log, INLETS_LOG_INFO, "one", NULL);
    cmd_log_say(&log, INLETS_LOG_INFO, "two", NULL);
    assert_int_equal(wakes, 1);
    assert_int_equal(drain_pipe(fds[0], buf, sizeof(buf)), 0);
    cmd_log_say(&log, INLETS_LOG_WARN, "three", NULL);
    (void)drain_pipe(fds[0], buf, sizeof(buf));
    assert_true(strstr(buf, "msg=one") < strstr(buf, "msg=two"));
    assert_true(strstr(buf, "msg=two") < strstr(buf, "msg=three"));
    cmd_log_flush(&log);
    assert_int_equal(drain_pipe(fds[0], buf, sizeof(buf)), 0);
    for (unsigned i = 0; i < CMD_LOG_LINE_MAX / 16; i++) {
        cmd_log_say(&log, INLETS_LOG_INFO, "many", NULL);
    }
    assert_true(wakes > 2);
    assert_true(drain_pipe(fds[0], buf, sizeof(buf)) > CMD_LOG_LINE_MAX);
    close(fds[0]); /* what waits is lost, and counted */
    log.dropped = 0;
    cmd_log_flush(&log);
    assert_true(log.stalled && log.dropped > 1);
    close(fds[1]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_a_form),
        cmocka_unit_test(hostile_values_are_escaped),
        cmocka_unit_test(long_values_are_cut),
        cmocka_unit_test(a_stalled_reader_blocks_nothing),
        cmocka_unit_test(lines_below_the_level_are_left_out),
        cmocka_unit_test(lines_wait_for_the_flush),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
