/* test_options.c: what the two programs' flags mean together: addresses,
 * secrets, old commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/secret.h"
#include "inlets-client/options.h"
#include "inlets-server/options.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WORDS_MAX 16

struct server_case {
    struct inlets_server_opts lib;
    struct cmd_server_options o;
    struct cmd_problem p;
    char line[256];
};

struct client_case {
    struct inlets_client_opts lib;
    struct cmd_client_options o;
    struct cmd_problem p;
    char line[256];
};

static struct cmd_proxies_env env_proxies; /* of all clients */

/* text may be the line itself. */
static int cut(char *line, const char *text, char **argv)
{
    int argc = 0;
    char *rest;

    strcpy(line, text);
    for (char *word = strtok_r(line, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return argc;
}

static int server(struct server_case *c, const char *text, const char *env)
{
    char *argv[WORDS_MAX];
    int argc;

    memset(c, 0, sizeof(*c));
    c->lib.tunnel_path = "/tunnel";
    c->lib.ping_ms = 10000;
    c->lib.dead_ms = 20000;
    c->lib.connections = 8;
    c->lib.max_head = 65536;
    c->lib.max_fields = 128;
    argc = cut(c->line, text, argv);
    return cmd_server_options_parse(&c->o, &c->lib, argc, argv,
                                    env == NULL ? NULL : strdup(env), &c->p);
}

static int client(struct client_case *c, const char *text, const char *env)
{
    char *argv[WORDS_MAX];
    int argc;

    memset(c, 0, sizeof(*c));
    c->lib.tunnel_path = "/tunnel";
    c->lib.ping_ms = 10000;
    c->lib.dead_ms = 20000;
    c->lib.resume_ms = 10000;
    c->lib.bbr = 1;
    argc = cut(c->line, text, argv);
    return cmd_client_options_parse(&c->o, &c->lib, argc, argv,
                                    env == NULL ? NULL : strdup(env),
                                    &env_proxies, &c->p);
}

/* --- the server ------------------------------------------------------------*/

/* What is listened on, "visitors|clients" or "both". */
static const struct {
    const char *line, *sockets;
} plans[] = {
    {"s -t x", ":8000"},
    {"s -t x -port=80", ":80"},
    {"s -t x --port 80 --control-port 80", ":80"},
    {"s -t x --port 80 -c 8123", ":80|:8123"},
    {"s -t x --port 0 -c 0", ":0|:0"},
    {"s -t x --bind-addr ::1", "[::1]:8000"},
    {"s -t x --bind-addr [::1] -c 1", "[::1]:8000|[::1]:1"},
    {"s -t x --data-addr 127.0.0.1", "127.0.0.1:8000"},
    {"s --control-addr 127.0.0.1", "127.0.0.1:8000"},
    {"s --control-addr 127.0.0.1 -c 1", ":8000|127.0.0.1:1"},
    {"s --data-addr 127.0.0.1 --control-addr 127.0.0.1", "127.0.0.1:8000"},
    {"s --data-addr 192.0.2.1 --control-addr 127.0.0.1",
     "192.0.2.1:8000|127.0.0.1:8000"},
    {"s -b 127.0.0.1 --data-addr 192.0.2.1 -c 1", "192.0.2.1:8000|127.0.0.1:1"},
    {"s --data-addr 0.0.0.0 --control-addr 127.0.0.1 -c 1",
     "0.0.0.0:8000|127.0.0.1:1"},
};

static void show_plan(const struct cmd_listen_plan *plan, char *buf,
                      size_t size)
{
    char data[CMD_ADDRESS_MAX];
    char control[CMD_ADDRESS_MAX];

    cmd_address_join(plan->data_addr, plan->port, "", data, sizeof(data));
    cmd_address_join(plan->control_addr, plan->control_port, "", control,
                     sizeof(control));
    if (plan->shared) {
        assert_string_equal(data, control);
        (void)snprintf(buf, size, "%s", data);
    } else {
        (void)snprintf(buf, size, "%s|%s", data, control);
    }
}

static void addresses_and_ports_make_sockets(void **state)
{
    struct server_case c;
    char text[2 * CMD_ADDRESS_MAX + 2];

    (void)state;
    for (size_t i = 0; i < COUNT(plans); i++) {
        if (server(&c, plans[i].line, NULL) != 0) {
            fail_msg("'%s': %s", plans[i].line, c.p.text);
        }
        show_plan(&c.o.plan, text, sizeof(text));
        assert_string_equal(text, plans[i].sockets);
        cmd_server_options_fini(&c.o);
    }
}

static void port_comes_from_the_environment_too(void **state)
{
    struct server_case c;

    (void)state;
    setenv("PORT", "81", 1);
    assert_int_equal(server(&c, "s -t x", NULL), 0);
    assert_int_equal(c.o.plan.port, 81);
    assert_int_equal(c.o.plan.control_port, 81);
    cmd_server_options_fini(&c.o);
    assert_int_equal(server(&c, "s -t x -p 82 -c 83", NULL), 0);
    assert_int_equal(c.o.plan.port, 82);
    assert_int_equal(c.o.plan.control_port, 83);
    cmd_server_options_fini(&c.o);
    unsetenv("PORT");
}

static void an_open_server_stays_at_home(void **state)
{
    static const char *const open[] = {
        "s",
        "s -c 1",
        "s --bind-addr 0.0.0.0",
        "s --bind-addr ::",
        "s --data-addr 127.0.0.1 -c 1",
        "s --control-addr 192.0.2.1 -c 1",
        "s --bind-addr 127.0.0.1 --control-addr 192.0.2.1 -c 1"};
    static const char *const home[] = {"s --bind-addr 127.0.0.1",
                                       "s --bind-addr ::1",
                                       "s -b 127.8.8.8",
                                       "s -b ::ffff:127.0.0.1",
                                       "s --control-addr ::1",
                                       "s --control-addr 127.0.0.1 -c 1",
                                       "s --allow-anyone-to-serve-any-host",
                                       "s --token x"};
    struct server_case c;

    (void)state;
    for (size_t i = 0; i < COUNT(open); i++) {
        assert_int_equal(server(&c, open[i], NULL), -1);
        assert_non_null(strstr(c.p.text, "--token-from"));
        assert_non_null(strstr(c.p.text, "--control-addr 127.0.0.1"));
        assert_non_null(strstr(c.p.text, "--allow-anyone-to-serve-any-host"));
        cmd_server_options_fini(&c.o);
    }
    for (size_t i = 0; i < COUNT(home); i++) {
        assert_int_equal(server(&c, home[i], NULL), 0);
        cmd_server_options_fini(&c.o);
    }
    assert_int_equal(server(&c, "s", "from-the-environment"), 0);
    assert_string_equal(c.o.token, "from-the-environment");
    cmd_server_options_fini(&c.o);
}

static const struct {
    const char *line, *env, *problem;
} wrong_servers[] = {
    {"s -t x --server=false", NULL,
     "--server=false: the other end is a program of its own, inlets-client"},
    {"s -t x --ping 20s", NULL,
     "--ping (20000ms) must be shorter than --dead (20000ms): pings show that "
     "a client lives"},
    {"s -t x --connections 9", NULL, "--connections: 9 is not 1 to 8"},
    {"s -t x --max-head 1023", NULL, "--max-head: 1023 is not 1024 to 65536"},
    {"s -t x --max-head 65537", NULL, "--max-head: 65537 is not 1024 to 65536"},
    {"s -t x --max-fields 129", NULL, "--max-fields: 129 is not 1 to 128"},
    {"s -t x --max-trailers 8193", NULL,
     "--max-trailers: 8193 is not 0 to 8192"},
    {"s -t x --tunnel-path t", NULL,
     "--tunnel-path: 't' does not begin with /"},
    {"s -t x --data-addr 0.0.0.0 --control-addr 127.0.0.1", NULL,
     "--data-addr 0.0.0.0 and --control-addr 127.0.0.1 overlap on port 8000; "
     "give the clients a port of their own with --control-port"},
    {"s -t x --trusted-proxy 10.0.0.0/8,10.0.0.0/33", NULL,
     "--trusted-proxy: '10.0.0.0/33' is not an address, nor a range of them "
     "like 10.0.0.0/8 or 2001:db8::/32"},
    {"s -t x --trusted-proxy proxy.local", NULL,
     "--trusted-proxy: 'proxy.local' is not an address, nor a range of them "
     "like 10.0.0.0/8 or 2001:db8::/32"},
    {"s -t x --proxy-protocol --trusted-proxy=", NULL,
     "--proxy-protocol needs --trusted-proxy: who may say whose connection it "
     "is?"},
    {"s -t x --upgrade h2c", NULL,
     "--upgrade: 'h2c' is never passed on: behind it visitors could reach what "
     "they should not"},
    {"s -t x --upgrade HTTP/2.0", NULL,
     "--upgrade: 'HTTP/2.0' is never passed on: behind it visitors could reach "
     "what they should not"},
    {"s -t x --upgrade echo/", NULL,
     "--upgrade: 'echo/' is not the name of a protocol"},
    {"s -t x --upgrade a,b", NULL,
     "--upgrade: 'a,b' is not the name of a protocol"},
    {"s -t x --upgrade 123456789012345678901234567890123", NULL,
     "--upgrade: '123456789012345678901234567890123' is not the name of a "
     "protocol"},
    {"s -t x -f y", NULL,
     "two sources for one secret: --token and --token-from; keep one"},
    {"s -t x", "y",
     "two sources for one secret: --token and TOKEN in the environment; keep "
     "one"},
    {"s -f x", "y",
     "two sources for one secret: --token-from and TOKEN in the environment; "
     "keep one"},
    {"s --token=", NULL, "--token: the token is empty"},
    {"s", "a\tb",
     "TOKEN in the environment: byte 2 of the token is not a printable ASCII "
     "character"},
    {"s", "a ",
     "TOKEN in the environment: the token begins or ends with a space"},
    {"s -f /nonexistent/file", NULL,
     "cannot open the token file /nonexistent/file: No such file or "
     "directory"},
};

static void wrong_servers_are_named(void **state)
{
    struct server_case c;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong_servers); i++) {
        assert_int_equal(
            server(&c, wrong_servers[i].line, wrong_servers[i].env), -1);
        assert_string_equal(c.p.text, wrong_servers[i].problem);
        cmd_server_options_fini(&c.o);
    }
}

static void upgrades_are_listed(void **state)
{
    struct server_case c;

    (void)state;
    assert_int_equal(server(&c, "s -t x", NULL), 0);
    assert_null(c.lib.upgrades);
    cmd_server_options_fini(&c.o);
    assert_int_equal(
        server(&c, "s -t x --upgrade echo/1 --upgrade http-like", NULL), 0);
    assert_string_equal(c.lib.upgrades, ",echo/1,http-like");
    cmd_server_options_fini(&c.o);
}

static void proxies_in_front_are_listed(void **state)
{
    static const char *const wrong[] = {
        "[::1]",       "::1/129",
        "::1/-1",      "::1/+1",
        "::1/",        "/8",
        "1.2.3/8",     "10.0.0.0/8/8",
        "10.0.0.0/8x", "1111:2222:3333:4444:5555:6666:7777:8888:9999/100000"};
    struct server_case c;

    (void)state;
    assert_int_equal(server(&c, "s -t x", NULL), 0);
    assert_null(c.lib.trusted_proxies);
    cmd_server_options_fini(&c.o);
    assert_int_equal(server(&c,
                            "s -t x --trusted-proxy 10.0.0.0/8,::1 "
                            "--proxy-protocol --trusted-proxy "
                            "::ffff:0:0/96, --forwarded",
                            NULL),
                     0);
    assert_string_equal(c.lib.trusted_proxies,
                        ",10.0.0.0/8,::1,::ffff:0:0/96,");
    assert_true(c.lib.proxy_protocol);
    assert_true(c.lib.forwarded);
    cmd_server_options_fini(&c.o);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char line[256];

        (void)snprintf(line, sizeof(line), "s -t x --trusted-proxy %s",
                       wrong[i]);
        assert_int_equal(server(&c, line, NULL), -1);
        cmd_server_options_fini(&c.o);
    }
}

static void old_server_commands_run(void **state)
{
    struct server_case c;

    (void)state;
    assert_int_equal(server(&c,
                            "s -server=true -port=80 -token=x "
                            "-upstream=http://127.0.0.1:3000 "
                            "--disable-transport-wrapping",
                            NULL),
                     0);
    assert_int_equal(c.o.plan.port, 80);
    assert_true(c.o.no_wrapping);
    assert_string_equal(c.o.upstream, "http://127.0.0.1:3000");
    cmd_server_options_fini(&c.o);
}

static void help_needs_nothing_else(void **state)
{
    struct server_case s;
    struct client_case c;

    (void)state;
    assert_int_equal(server(&s, "s -t x --help", "y"), 0);
    assert_true(s.o.help);
    cmd_server_options_fini(&s.o);
    assert_int_equal(client(&c, "c -t x --version", "y"), 0);
    assert_true(c.o.version);
    cmd_client_options_fini(&c.o);
}

/* It has to fit a screen. */
static void assert_fits(const char *text)
{
    size_t lines = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        assert_in_range(len, 0, 80);
        text += len + 1;
        lines++;
    }
    assert_in_range(lines, 10, 30);
}

static void help_fits_a_screen(void **state)
{
    (void)state;
    assert_fits(cmd_server_help);
    assert_fits(cmd_client_help);
}

/* --- the client ------------------------------------------------------------*/

static void clients_say_what_they_serve(void **state)
{
    struct client_case c;

    (void)state;
    assert_int_equal(client(&c,
                            "c -server=false -remote=192.168.0.101:80 "
                            "-upstream=http://127.0.0.1:3000 -u a=b:1,c=d",
                            "hush"),
                     0);
    assert_null(c.lib.url);
    assert_int_equal(c.lib.nurls, 1);
    assert_string_equal(c.lib.urls[0], "192.168.0.101:80");
    assert_int_equal(c.o.upstreams.count, 3);
    assert_string_equal(c.o.token, "hush");
    assert_false(c.o.insecure);
    cmd_client_options_forget_secrets(&c.o);
    assert_null(c.o.token);
    cmd_client_options_fini(&c.o);
}

static void clients_follow_several_servers(void **state)
{
    struct client_case c;

    (void)state;
    assert_int_equal(
        client(&c, "c --url a:1 -r b:2 --remote=c:3 -u x --all-addresses",
               "hush"),
        0);
    assert_int_equal(c.lib.nurls, 3);
    assert_string_equal(c.lib.urls[0], "a:1");
    assert_string_equal(c.lib.urls[1], "b:2");
    assert_string_equal(c.lib.urls[2], "c:3");
    assert_true(c.lib.all_addresses);
    cmd_client_options_fini(&c.o);
    assert_int_equal(client(&c, "c --url a:1 -u x", "hush"), 0);
    assert_false(c.lib.all_addresses);
    cmd_client_options_fini(&c.o);
}

static void clients_choose_how_data_is_carried(void **state)
{
    struct client_case c;

    (void)state;
    assert_int_equal(client(&c, "c --url a -u x", NULL), 0);
    assert_int_equal(c.lib.connections, 0);
    assert_int_equal(c.lib.bbr, 1);
    assert_int_equal(c.lib.resume_ms, 10000);
    cmd_client_options_fini(&c.o);
    assert_int_equal(client(&c,
                            "c --url a -u x --connections 8 --congestion "
                            "system --resume-window 0",
                            NULL),
                     0);
    assert_int_equal(c.lib.connections, 8);
    assert_int_equal(c.lib.bbr, 0);
    assert_int_equal(c.lib.resume_ms, 0);
    cmd_client_options_fini(&c.o);
    assert_int_equal(
        client(&c, "c --url a -u x --connections auto --congestion bbr", NULL),
        0);
    assert_int_equal(c.lib.connections, 0);
    assert_int_equal(c.lib.bbr, 1);
    cmd_client_options_fini(&c.o);
}

/* "http|https|all" of the environment, as curl reads it. */
static const struct {
    const char *names[3], *values[3], *wanted;
    bool upper;
} environments[] = {
    {{NULL}, {NULL}, "-|-|-|-", false},
    {{"http_proxy"}, {"a"}, "a|-|-|-", false},
    {{"HTTP_PROXY"}, {"a"}, "-|-|-|-", true},
    {{"https_proxy", "HTTPS_PROXY"}, {"a", "b"}, "-|a|-|-", false},
    {{"https_proxy", "HTTPS_PROXY"}, {"", "b"}, "-|b|-|-", false},
    {{"all_proxy", "ALL_PROXY"}, {"a", "b"}, "-|-|a|-", false},
    {{"ALL_PROXY", "NO_PROXY"}, {"b", "c"}, "-|-|b|c", false},
    {{"NO_PROXY", "no_proxy"}, {"c", "d"}, "-|-|-|d", false},
    {{"NO_PROXY", "no_proxy"}, {"c", ""}, "-|-|-|c", false},
    {{"http_proxy", "https_proxy"}, {"", ""}, "-|-|-|-", false},
};

static void proxies_come_from_the_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(environments); i++) {
        const char *const *names = environments[i].names;
        char entries[3][32], text[64];
        struct cmd_proxies_env env;

        for (size_t k = 0; k < 3 && names[k] != NULL; k++) {
            (void)snprintf(entries[k], sizeof(entries[k]), "%s=%s", names[k],
                           environments[i].values[k]);
            assert_int_equal(putenv(entries[k]), 0);
        }
        cmd_proxies_from_environment(&env);
        (void)snprintf(text, sizeof(text), "%s|%s|%s|%s",
                       env.http == NULL ? "-" : env.http,
                       env.https == NULL ? "-" : env.https,
                       env.all == NULL ? "-" : env.all,
                       env.no_proxy == NULL ? "-" : env.no_proxy);
        assert_string_equal(text, environments[i].wanted);
        assert_int_equal(env.has_upper_http, environments[i].upper);
        for (size_t k = 0; k < 3 && names[k] != NULL; k++) {
            bool is_list = strcasecmp(names[k], "no_proxy") == 0;

            assert_int_equal(getenv(names[k]) == NULL, !is_list);
            assert_true(is_list || entries[k][strlen(names[k]) + 1] == '\0');
            unsetenv(names[k]);
        }
        cmd_proxies_env_fini(&env);
        cmd_proxies_env_fini(&env);
    }
}

static char http_url[] = "a", https_url[] = "b", all_url[] = "c";

/* What the library is given: "ws://|wss://|without". */
static const struct {
    const char *flags;
    struct cmd_proxies_env env;
    const char *wanted, *warning;
} ways_out[] = {
    {"", {.http = NULL}, "||-", NULL},
    {"", {.http = http_url, .https = https_url, .all = all_url}, "a|b|-", NULL},
    {"", {.http = http_url}, "a||-", NULL},
    {"", {.https = https_url, .no_proxy = "d"}, "|b|d", NULL},
    {"", {.all = all_url}, "c|c|-", NULL},
    {"", {.http = http_url, .all = all_url}, "a|c|-", NULL},
    {"", {.has_upper_http = true}, "||-", "HTTP_PROXY"},
    {"", {.has_upper_http = true, .http = http_url}, "a||-", NULL},
    {"--proxy x:1", {.http = http_url, .https = https_url}, "x:1|x:1|-", NULL},
    {"--proxy x:1", {.no_proxy = "d"}, "x:1|x:1|d", NULL},
    {"--proxy x:1 --no-proxy e", {.no_proxy = "d"}, "x:1|x:1|e", NULL},
    {"--no-proxy=", {.http = http_url, .no_proxy = "d"}, "a||", NULL},
    {"--proxy none", {.http = http_url, .all = all_url}, "||-", NULL},
    {"--proxy=", {.http = http_url, .all = all_url}, "||-", NULL},
};

static void flags_come_before_the_environment(void **state)
{
    struct client_case c;

    (void)state;
    for (size_t i = 0; i < COUNT(ways_out); i++) {
        char line[128], text[64];

        env_proxies = ways_out[i].env;
        (void)snprintf(line, sizeof(line), "c --url x -u y %s",
                       ways_out[i].flags);
        assert_int_equal(client(&c, line, NULL), 0);
        (void)snprintf(text, sizeof(text), "%s|%s|%s", c.lib.proxy,
                       c.lib.tls_proxy,
                       c.lib.no_proxy == NULL ? "-" : c.lib.no_proxy);
        assert_string_equal(text, ways_out[i].wanted);
        assert_int_equal(c.o.proxies.warning != NULL,
                         ways_out[i].warning != NULL);
        cmd_client_options_forget_secrets(&c.o);
        assert_null(c.lib.proxy);
        assert_null(c.lib.tls_proxy);
        cmd_client_options_fini(&c.o);
    }
    env_proxies = (struct cmd_proxies_env){0};
}

static void proxies_are_wiped_from_the_process_list(void **state)
{
    struct client_case c;

    (void)state;
    assert_int_equal(client(&c, "c --url x -u y --proxy u:hush@p:1", NULL), 0);
    assert_string_equal(c.lib.proxy, "u:hush@p:1");
    for (size_t i = 0; i + 4 <= sizeof(c.line); i++) {
        assert_memory_not_equal(c.line + i, "hush", 4);
    }
    cmd_client_options_fini(&c.o);
}

static void wrong_proxies_are_shown_without_secrets(void **state)
{
    static const int errors[] = {INLETS_EINVAL, INLETS_ENOTSUP,
                                 INLETS_EINSECURE};
    struct cmd_problem p;

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        cmd_proxies_explain("--proxy", "http://u:hu@sh@p:1", errors[i], &p);
        assert_non_null(strstr(p.text, "--proxy: 'http://...@p:1'"));
        assert_null(strstr(p.text, "hu@sh"));
    }
}

static const struct {
    const char *line, *problem;
} wrong_clients[] = {
    {"c --url x -u y --proxy a --proxy-from b",
     "two sources for one proxy: --proxy and --proxy-from; keep one"},
    {"c --url x -u y --proxy a --proxy b", "--proxy: given twice"},
    {"c --url x -u y --proxy-from /nonexistent/file",
     "cannot open the proxy file /nonexistent/file: No such file or "
     "directory"},
    {"c -u x", "--url is needed: which exit node? For example --url "
               "ws://127.0.0.1:8000"},
    {"c --url x", "--upstream is needed: what is to be served? For example "
                  "--upstream http://127.0.0.1:3000"},
    {"c --url x -u y --strict-forwarding=false",
     "--strict-forwarding=false: forwarding is always strict; only what "
     "--upstream names is ever connected to"},
    {"c --url x -u y --server", "--server=true: the exit node is a program of "
                                "its own, inlets-server"},
    {"c --url x -u a=y,a=z",
     "--upstream: two upstreams for a: http://y and http://z; keep one"},
    {"c --url x -u y --connections 9",
     "--connections: '9' is not auto or a number from 1 to 8"},
    {"c --url x -u y --connections 0",
     "--connections: '0' is not auto or a number from 1 to 8"},
    {"c --url x -u y --connections 10",
     "--connections: '10' is not auto or a number from 1 to 8"},
    {"c --url x -u y --congestion reno",
     "--congestion: 'reno' is not one of system, bbr"},
    {"c --url x --upstreams-from a --upstreams-from b",
     "--upstreams-from: given twice (or under two names)"},
    {"c --url x -u y --dead 1s",
     "--ping (10000ms) must be shorter than --dead (1000ms): pings show that "
     "the exit node lives"},
};

static void wrong_clients_are_named(void **state)
{
    struct client_case c;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong_clients); i++) {
        assert_int_equal(client(&c, wrong_clients[i].line, "hush"), -1);
        assert_string_equal(c.p.text, wrong_clients[i].problem);
        cmd_client_options_fini(&c.o);
    }
    assert_int_equal(client(&c, "c --url x -u y --strict-forwarding", NULL), 0);
    cmd_client_options_fini(&c.o);
}

static void urls_are_shown_without_secrets(void **state)
{
    static const char *const shown[][2] = {
        {"ws://me:hush@h:1/?token=hush", "ws://...@h:1/?..."},
        {"me:hush@h", "...@h"},
        {"http://h/p#hush", "http://h/p#..."},
        {"http://me:hu@sh@h/", "http://...@h/"},
        {"http://me:hu/sh@h/", "http://...@h/"},
        {"http://me:hu?sh@h/", "http://..."},
        {"http://h/?t=hush@hush", "http://..."},
        {"a/b=me:hush@h", "a/b=...@h"},
        {"http://h:1/p", "http://h:1/p"},
        {"@", "..."},
        {"", ""},
    };
    struct cmd_problem p;
    char buf[CMD_URL_SHOWN_SIZE];

    (void)state;
    for (size_t i = 0; i < COUNT(shown); i++) {
        (void)cmd_url_shown(shown[i][0], strlen(shown[i][0]), buf);
        assert_string_equal(buf, shown[i][1]);
    }
    for (int err = INLETS_EINVAL; err != 0;
         err = err == INLETS_EINVAL      ? INLETS_EINSECURE
               : err == INLETS_EINSECURE ? INLETS_ECERT
                                         : 0) {
        cmd_client_explain_url("ws://me:hush@h/?token=hush", err, &p);
        assert_null(strstr(p.text, "hush"));
        assert_non_null(strstr(p.text, "ws://...@h/?..."));
    }
}

/* --- secrets ---------------------------------------------------------------*/

static void the_environment_is_wiped(void **state)
{
    char entry[] = "TEST_SECRET=hush";
    char *secret;

    (void)state;
    assert_int_equal(putenv(entry), 0);
    secret = cmd_secret_from_environment("TEST_SECRET");
    assert_string_equal(secret, "hush");
    assert_memory_equal(entry, "TEST_SECRET=\0\0\0\0", sizeof(entry));
    assert_null(getenv("TEST_SECRET"));
    cmd_secret_free(secret);
    assert_null(cmd_secret_from_environment("TEST_SECRET"));
    setenv("TEST_SECRET", "", 1);
    assert_null(cmd_secret_from_environment("TEST_SECRET"));
    cmd_secret_free(NULL);
}

static char file_path[] = "/tmp/inlets-test-XXXXXX";

static int make_file(void **state)
{
    int fd = mkstemp(file_path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file_path);
}

static void fill_file(const char *bytes, size_t len, mode_t mode)
{
    int fd = open(file_path, O_WRONLY | O_TRUNC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static const struct {
    const char *bytes;
    size_t len;
    const char *secret; /* NULL: refused */
} files[] = {
#define FILE_OF(literal) literal, sizeof(literal) - 1
    {FILE_OF("hush"), "hush"},
    {FILE_OF("hush\n"), "hush"},
    {FILE_OF("hush\r\n\r\n"), "hush"},
    {FILE_OF("two words\n"), "two words"},
    {FILE_OF(""), NULL},
    {FILE_OF("\n\n"), NULL},
    {FILE_OF("a\nb\n"), NULL},
    {FILE_OF("a\0b"), NULL},
    {FILE_OF("a\xff"), NULL},
    {FILE_OF(" a"), NULL},
#undef FILE_OF
};

static void token_files_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        struct cmd_problem p = {""};
        const char *warning = "?";
        char *secret = NULL;
        int rc;

        fill_file(files[i].bytes, files[i].len, 0600);
        rc = cmd_secret_from_file(file_path, "token", &secret, &warning, &p);
        assert_int_equal(rc, files[i].secret == NULL ? -1 : 0);
        if (rc == 0) {
            assert_string_equal(secret, files[i].secret);
            assert_null(warning);
        } else {
            assert_non_null(strstr(p.text, file_path));
        }
        cmd_secret_free(secret);
    }
}

static void token_files_have_a_bound(void **state)
{
    static char big[CMD_SECRET_MAX + 1];
    struct cmd_problem p;
    const char *warning;
    char *secret;

    (void)state;
    memset(big, 'x', sizeof(big));
    fill_file(big, CMD_SECRET_MAX, 0600);
    assert_int_equal(
        cmd_secret_from_file(file_path, "token", &secret, &warning, &p), 0);
    assert_int_equal(strlen(secret), CMD_SECRET_MAX);
    cmd_secret_free(secret);
    fill_file(big, sizeof(big), 0600);
    assert_int_equal(
        cmd_secret_from_file(file_path, "token", &secret, &warning, &p), -1);
    assert_non_null(strstr(p.text, "over 4096 bytes"));
    assert_int_equal(cmd_secret_from_file("/", "token", &secret, &warning, &p),
                     -1);
}

static void open_token_files_are_warned_about(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0644};
    struct cmd_problem p;
    const char *warning;
    char *secret;

    (void)state;
    for (size_t i = 0; i < COUNT(modes); i++) {
        fill_file("hush", 4, modes[i]);
        assert_int_equal(
            cmd_secret_from_file(file_path, "token", &secret, &warning, &p), 0);
        assert_non_null(warning);
        cmd_secret_free(secret);
    }
    /* systemd's credentials */
    setenv("CREDENTIALS_DIRECTORY", "/tmp", 1);
    assert_int_equal(
        cmd_secret_from_file(file_path, "token", &secret, &warning, &p), 0);
    assert_null(warning);
    cmd_secret_free(secret);
    unsetenv("CREDENTIALS_DIRECTORY");
}

/* --- upstreams from a file -------------------------------------------------*/

static int load(struct client_case *c, const char *flags, const char *text,
                struct cmd_upstreams *ret)
{
    char line[256];
    int rc;

    (void)snprintf(line, sizeof(line), "c --url x --upstreams-from %s %s",
                   file_path, flags);
    fill_file(text, strlen(text), 0600);
    assert_int_equal(client(c, line, NULL), 0);
    *ret = (struct cmd_upstreams){0};
    rc = cmd_client_load_upstreams(&c->o, ret, &c->p);
    cmd_client_options_fini(&c->o);
    return rc;
}

static void upstreams_come_from_flags_and_file(void **state)
{
    struct cmd_upstreams all;
    struct client_case c;

    (void)state;
    assert_int_equal(load(&c, "-u a=x:1", "b=y:2\n# no\nc=z:3", &all), 0);
    assert_int_equal(all.count, 3);
    assert_string_equal(all.items[0].endpoint, "a");
    assert_int_equal(all.items[0].line, 0);
    assert_string_equal(all.items[2].endpoint, "c");
    assert_int_equal(all.items[2].line, 3);
    cmd_upstreams_fini(&all);
    assert_int_equal(load(&c, "-u a=x:1", "", &all), 0);
    assert_int_equal(all.count, 1);
    cmd_upstreams_fini(&all);
}

static const struct {
    const char *text, *problem; /* %s: the file */
} broken_files[] = {
    {"b=y\nA=z\n", "%s, line 2: two upstreams for A: http://x and http://z; "
                   "keep one"},
    {"b=ftp://y\n", "%s, line 1: 'b=ftp://y': that is not a host (or "
                    "host/path) and the URL of a server; write it like "
                    "example.com/api=http://127.0.0.1:3000"},
    {"\n\nb=http://u@y\n",
     "%s, line 3: 'b=http://...@y': a user or a password cannot be part of "
     "it; write it like "
     "example.com/api=http://127.0.0.1:3000"},
    {"b=http://me:hush@y/p?token=hush\n",
     "%s, line 1: 'b=http://...@y/p?...': a query or a fragment cannot be part "
     "of it (but behind https://, #sha256:<fingerprint>, #ca:<file> or "
     "#skip-verify); write it like example.com/api=http://127.0.0.1:3000"},
    {"a=http://me:hush@y/?token=hush\n",
     "%s, line 1: two upstreams for a: http://x and http://...@y/?...; keep "
     "one"},
    {"b=http://me:hush@y,,\n", "%s, line 1: 'b=http://...@y,,' has an empty "
                               "item"},
};

static void broken_files_are_named(void **state)
{
    char wanted[512];
    struct cmd_upstreams all;
    struct client_case c;

    (void)state;
    for (size_t i = 0; i < COUNT(broken_files); i++) {
        const char *behind = broken_files[i].problem + 2;

        assert_int_equal(load(&c, "-u a=x", broken_files[i].text, &all), -1);
        (void)snprintf(wanted, sizeof(wanted), "%s%s", file_path, behind);
        assert_string_equal(c.p.text, wanted);
        assert_int_equal(all.count, 0);
    }
    /* Half-written, it takes nothing away. */
    assert_int_equal(load(&c, "", "# soon\n", &all), -1);
    assert_non_null(strstr(c.p.text, "defines nothing"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_and_ports_make_sockets),
        cmocka_unit_test(port_comes_from_the_environment_too),
        cmocka_unit_test(an_open_server_stays_at_home),
        cmocka_unit_test(wrong_servers_are_named),
        cmocka_unit_test(upgrades_are_listed),
        cmocka_unit_test(proxies_in_front_are_listed),
        cmocka_unit_test(old_server_commands_run),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(help_fits_a_screen),
        cmocka_unit_test(clients_say_what_they_serve),
        cmocka_unit_test(clients_follow_several_servers),
        cmocka_unit_test(clients_choose_how_data_is_carried),
        cmocka_unit_test(proxies_come_from_the_environment),
        cmocka_unit_test(flags_come_before_the_environment),
        cmocka_unit_test(proxies_are_wiped_from_the_process_list),
        cmocka_unit_test(wrong_proxies_are_shown_without_secrets),
        cmocka_unit_test(wrong_clients_are_named),
        cmocka_unit_test(urls_are_shown_without_secrets),
        cmocka_unit_test(the_environment_is_wiped),
        cmocka_unit_test(token_files_are_read),
        cmocka_unit_test(token_files_have_a_bound),
        cmocka_unit_test(open_token_files_are_warned_about),
        cmocka_unit_test(upstreams_come_from_flags_and_file),
        cmocka_unit_test(broken_files_are_named),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
