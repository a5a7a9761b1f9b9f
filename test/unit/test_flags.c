/* test_flags.c: command lines in every way of writing them, and what is said
 * about wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/flags.h"
#include <stdlib.h>
#include <string.h>

struct values {
    bool help;
    bool insecure;
    const char *path;
    const char *url;
    char *token;
    const char *address;
    int port;
    uint32_t dead_ms;
    uint32_t drain_ms;
    uint32_t streams, limit;
    int level;
    char list[64];
};

static int take_list(const char *text, void *value, struct cmd_problem *p)
{
    char *list = value;

    if (strcmp(text, "bad") == 0) {
        return cmd_problem_set(p, "'%s' is bad", text);
    }
    strcat(list, text);
    strcat(list, ";");
    return 0;
}

/* Reads a line of words apart by spaces; ret_line holds them afterwards. */
static int parse_line(const char *text, struct values *v, char *ret_line,
                      struct cmd_problem *p)
{
    const struct cmd_flag flags[] = {
        {"help", 'h', CMD_FLAG_STOP, &v->help},
        {"insecure", 0, CMD_FLAG_BOOL, &v->insecure},
        {"tunnel-path", 0, CMD_FLAG_STRING, &v->path},
        {"url", 'r', CMD_FLAG_ONCE, &v->url},
        {"remote", 0, CMD_FLAG_ONCE, &v->url},
        {"token", 't', CMD_FLAG_SECRET, &v->token},
        {"bind-addr", 'b', CMD_FLAG_ADDRESS, &v->address},
        {"port", 'p', CMD_FLAG_PORT, &v->port, .env = "TEST_FLAGS_PORT"},
        {"ping-pong", 0, CMD_FLAG_BOOL, &v->insecure},
        {"dead", 0, CMD_FLAG_MS, &v->dead_ms, .minimum = 1},
        {"drain", 0, CMD_FLAG_MS, &v->drain_ms},
        {"max-streams", 0, CMD_FLAG_COUNT, &v->streams},
        {"max-limit", 0, CMD_FLAG_LIMIT, &v->limit},
        {"log-level", 0, CMD_FLAG_CHOICE, &v->level,
         .choices = cmd_flag_log_levels},
        {"upstream", 'u', CMD_FLAG_CALL, v->list, .take = take_list},
        {NULL}};
    char *argv[16] = {NULL};
    int argc = 0;
    char *rest;

    strcpy(ret_line, text);
    for (char *word = strtok_r(ret_line, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    memset(p, 0, sizeof(*p));
    return cmd_flags_parse(flags, argc, argv, p);
}

static void assert_parses(const char *text, struct values *v)
{
    static char line[256]; /* values point into it */
    struct cmd_problem p;
    int rc;

    *v = (struct values){.port = 8000, .level = 2, .limit = 7};
    rc = parse_line(text, v, line, &p);
    if (rc != 0) {
        fail_msg("'%s': %s", text, p.text);
    }
}

static void values_are_taken(void **state)
{
    struct values v;

    (void)state;
    assert_parses("prog", &v);
    assert_int_equal(v.port, 8000);
    assert_parses("prog --port 80 --insecure --tunnel-path /t", &v);
    assert_int_equal(v.port, 80);
    assert_true(v.insecure);
    assert_string_equal(v.path, "/t");
    assert_parses("prog --dead=1m30s --drain=0 --max-streams=1000000 "
                  "--max-limit=0",
                  &v);
    assert_int_equal(v.limit, 0);
    assert_int_equal(v.dead_ms, 90000);
    assert_int_equal(v.drain_ms, 0);
    assert_int_equal(v.streams, 1000000);
    assert_parses("prog --log-level debug --bind-addr ::1", &v);
    assert_int_equal(v.level, 3);
    assert_string_equal(v.address, "::1");
    assert_parses("prog -u a,b --upstream=c -u d=e", &v);
    assert_string_equal(v.list, "a,b;c;d=e;");
}

static void all_ways_of_writing_work(void **state)
{
    static const char *const ways[] = {
        "prog --port 81", "prog --port=81", "prog -port=81",
        "prog -port 81",  "prog -p 81",     "prog -p81",
    };
    struct values v;

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        assert_parses(ways[i], &v);
        assert_int_equal(v.port, 81);
    }
    assert_parses("prog --insecure=false", &v);
    assert_false(v.insecure);
    assert_parses("prog -insecure=true", &v);
    assert_true(v.insecure);
    assert_parses("prog -remote=192.168.0.101:80", &v);
    assert_string_equal(v.url, "192.168.0.101:80");
    /* The last one holds. */
    assert_parses("prog -p 1 -p 2", &v);
    assert_int_equal(v.port, 2);
}

static void help_ends_the_line(void **state)
{
    struct values v;

    (void)state;
    assert_parses("prog -h --bogus", &v);
    assert_true(v.help);
    assert_parses("prog --help stray", &v);
    assert_true(v.help);
}

static void secrets_are_wiped_from_the_line(void **state)
{
    static const char *const ways[] = {"prog --token hush", "prog --token=hush",
                                       "prog -t hush", "prog -thush"};
    struct cmd_problem p;
    char line[64];

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct values v = {0};
        size_t len = strlen(ways[i]);

        assert_int_equal(parse_line(ways[i], &v, line, &p), 0);
        assert_string_equal(v.token, "hush");
        for (size_t at = 0; at + 4 <= len; at++) {
            assert_memory_not_equal(line + at, "hush", 4);
        }
        free(v.token);
    }
}

static const struct {
    const char *line, *problem;
} wrong[] = {
    {"prog --bogus", "unknown flag --bogus"},
    {"prog --bogus=hush", "unknown flag --bogus"},
    {"prog -z", "unknown flag -z"},
    {"prog --por 80", "unknown flag --por"},
    {"prog --por=80", "unknown flag --por"},
    {"prog --p 80", "unknown flag --p"},
    {"prog -xylo=hush", "unknown flag -xylo"},
    {"prog stray", "'stray' is not a flag"},
    {"prog -p 1 -- stray", "'stray' is not a flag"},
    {"prog --insecure true", "'true' is not a flag"},
    {"prog --port", "--port needs a value"},
    {"prog -p", "--port needs a value"},
    {"prog --port=80x", "--port: '80x' is not a port (0 to 65535)"},
    {"prog --port=65536", "--port: '65536' is not a port (0 to 65535)"},
    {"prog --port=-1", "--port: '-1' is not a port (0 to 65535)"},
    {"prog --port=", "--port: '' is not a port (0 to 65535)"},
    {"prog --port=99999999999999999999",
     "--port: '99999999999999999999' is not a port (0 to 65535)"},
    {"prog --insecure=maybe", "--insecure: 'maybe' is neither true nor false"},
    {"prog --max-limit=1000001",
     "--max-limit: '1000001' is not a number from 0 to 1000000"},
    {"prog --max-streams=0",
     "--max-streams: '0' is not a number from 1 to 1000000"},
    {"prog --dead=0s", "--dead: '0s' is not a duration like 500ms, 10s or "
                       "1m30s (more than zero, at most 24h)"},
    {"prog --drain=ten", "--drain: 'ten' is not a duration like 500ms, 10s or "
                         "1m30s (0 for none, at most 24h)"},
    {"prog --log-level=loud",
     "--log-level: 'loud' is not one of error, warn, info, debug"},
    {"prog --bind-addr=localhost",
     "--bind-addr: 'localhost' is not an address like 127.0.0.1 or ::1 (a "
     "name will not do)"},
    {"prog --url a --remote b", "--remote: given twice (or under two names)"},
    {"prog --upstream bad", "--upstream: 'bad' is bad"},
};

static void wrong_lines_are_named(void **state)
{
    struct cmd_problem p;
    char line[128];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct values v = {0};

        if (parse_line(wrong[i].line, &v, line, &p) == 0) {
            fail_msg("'%s' is accepted", wrong[i].line);
        }
        assert_string_equal(p.text, wrong[i].problem);
    }
}

static void a_secret_comes_once(void **state)
{
    struct values v = {0};
    struct cmd_problem p;
    char line[64];

    (void)state;
    assert_int_equal(parse_line("prog -t one -t two", &v, line, &p), -1);
    assert_string_equal(p.text, "--token: given twice");
    free(v.token);
}

static void flags_win_over_the_environment(void **state)
{
    struct values v = {0};
    struct cmd_problem p;
    char line[64];

    (void)state;
    setenv("TEST_FLAGS_PORT", "82", 1);
    assert_parses("prog", &v);
    assert_int_equal(v.port, 82);
    assert_parses("prog --port 83", &v);
    assert_int_equal(v.port, 83);
    setenv("TEST_FLAGS_PORT", "", 1);
    assert_parses("prog", &v);
    assert_int_equal(v.port, 8000);
    setenv("TEST_FLAGS_PORT", "many", 1);
    assert_int_equal(parse_line("prog", &v, line, &p), -1);
    assert_string_equal(p.text, "TEST_FLAGS_PORT in the environment: 'many' "
                                "is not a port (0 to 65535)");
    unsetenv("TEST_FLAGS_PORT");
}

static void durations_are_read(void **state)
{
    static const struct {
        const char *text;
        uint32_t ms;
    } good[] = {{"0", 0},          {"0s", 0},       {"1ms", 1},
                {"10s", 10000},    {"1m", 60000},   {"1h30m", 5400000},
                {"24h", 86400000}, {"1s1ms", 1001}, {"86400000ms", 86400000}};
    static const char *const bad[] = {
        "",    "10",  "s",  "-1s",  "+1s",    "1.5s",         "10 s",  "10S",
        "25h", "1m1", "1d", "1msx", "24h1ms", "4294967297ms", "0x10s", " 1s"};
    uint32_t ms = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(cmd_flags_parse_ms(good[i].text, &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    ms = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(cmd_flags_parse_ms(bad[i], &ms), -1);
        assert_int_equal(ms, 7);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_taken),
        cmocka_unit_test(all_ways_of_writing_work),
        cmocka_unit_test(help_ends_the_line),
        cmocka_unit_test(secrets_are_wiped_from_the_line),
        cmocka_unit_test(wrong_lines_are_named),
        cmocka_unit_test(a_secret_comes_once),
        cmocka_unit_test(flags_win_over_the_environment),
        cmocka_unit_test(durations_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
