/* options.c: see options.h. */
#include "options.h"

#include "common/flags.h"
#include "common/logsink.h"
#include "common/secret.h"

const char cmd_client_help[] =
    "Usage: inlets-client --url URL --upstream [HOST[/PATH]=]URL ... [flag "
    "...]\n"
    "Connects out to an exit node (inlets-server), and serves the requests "
    "that\n"
    "its visitors make from HTTP servers within this machine's reach.\n"
    "\n"
    "  -r, --url URL          the exit node: ws://host:port or host:port\n"
    "  -u, --upstream LIST    http://127.0.0.1:3000 serves every host,\n"
    "                         HOST=URL one host, HOST/PATH=URL a part of it;\n"
    "                         repeated, or with commas\n"
    "  -f, --token-from FILE  the secret of the exit node, in a file\n"
    "  -t, --token SECRET     the secret itself; or $TOKEN\n"
    "      --print-token      log the secret\n"
    "      --insecure         allow ws:// beyond this machine: whoever listens "
    "on\n"
    "                         the way reads the secret and every request\n"
    "      --tunnel-path PATH where the exit node takes clients; /tunnel\n"
    "      --connect-timeout, --ping, --dead, --retry-max,\n"
    "      --drain TIME       10s, 10s, 20s, 30s, 30s; like 500ms or 1m\n"
    "      --log-format text|json, --log-level error|warn|info|debug\n"
    "  -v, --version; -h, --help\n"
    "\n"
    "SIGTERM and SIGINT let running requests end; a second one cuts them.\n"
    "Examples:\n"
    "  inlets-client --url ws://127.0.0.1:8000 --upstream "
    "http://127.0.0.1:3000\n"
    "  inlets-client --url ws://192.0.2.1:8123 --insecure --token-from "
    "token.txt \\\n"
    "      --upstream "
    "blog.example.com=127.0.0.1:8080,api.example.com=10.0.0.5\n"
    "More: man inlets-client\n";

static int read_flags(struct cmd_client_options *o, int argc, char **argv,
                      struct cmd_problem *p)
{
    struct inlets_client_opts *c = o->client;
    const struct cmd_flag flags[] = {
        {"url", 'r', CMD_FLAG_ONCE, &c->url},
        {"remote", 0, CMD_FLAG_ONCE, &c->url},
        {"upstream", 'u', CMD_FLAG_CALL, &o->upstreams,
         .take = cmd_upstreams_add},
        {"token", 't', CMD_FLAG_SECRET, &o->token},
        {"token-from", 'f', CMD_FLAG_ONCE, &o->token_file},
        {"token-file", 0, CMD_FLAG_ONCE, &o->token_file},
        {"print-token", 0, CMD_FLAG_BOOL, &o->print_token},
        {"insecure", 0, CMD_FLAG_BOOL, &o->insecure},
        {"tunnel-path", 0, CMD_FLAG_STRING, &c->tunnel_path},
        {"connect-timeout", 0, CMD_FLAG_MS, &c->connect_timeout_ms,
         .minimum = 1},
        {"ping", 0, CMD_FLAG_MS, &c->ping_ms, .minimum = 1},
        {"dead", 0, CMD_FLAG_MS, &c->dead_ms, .minimum = 1},
        {"retry-max", 0, CMD_FLAG_MS, &c->retry_max_ms, .minimum = 1},
        {"drain", 0, CMD_FLAG_MS, &c->drain_ms},
        {"log-format", 0, CMD_FLAG_CHOICE, &o->log_format,
         .choices = cmd_flag_log_formats},
        {"log-level", 0, CMD_FLAG_CHOICE, &o->log_level,
         .choices = cmd_flag_log_levels},
        /* Of earlier inlets: accepted, so that old commands run. */
        {"strict-forwarding", 0, CMD_FLAG_BOOL, &o->strict_forwarding},
        {"disable-transport-wrapping", 0, CMD_FLAG_BOOL, &o->no_wrapping},
        {"server", 0, CMD_FLAG_BOOL, &o->is_server},
        {"version", 'v', CMD_FLAG_STOP, &o->version},
        {"help", 'h', CMD_FLAG_STOP, &o->help},
        {NULL}};

    return cmd_flags_parse(flags, argc, argv, p);
}

static int check_numbers(const struct inlets_client_opts *c,
                         struct cmd_problem *p)
{
    if (c->ping_ms >= c->dead_ms) {
        return cmd_problem_set(p,
                               "--ping (%ums) must be shorter than --dead "
                               "(%ums): pings show that the exit node lives",
                               c->ping_ms, c->dead_ms);
    }
    if (c->tunnel_path != NULL && *c->tunnel_path != '/') {
        return cmd_problem_set(p, "--tunnel-path: '%s' does not begin with /",
                               c->tunnel_path);
    }
    return 0;
}

/* What the flags say together. */
static int check(const struct cmd_client_options *o, struct cmd_problem *p)
{
    if (o->is_server) {
        return cmd_problem_set(p, "--server=true: the exit node is a program "
                                  "of its own, inlets-server");
    }
    if (!o->strict_forwarding) {
        return cmd_problem_set(
            p, "--strict-forwarding=false: forwarding is always strict; only "
               "what --upstream names is ever connected to");
    }
    if (o->client->url == NULL) {
        return cmd_problem_set(p, "--url is needed: which exit node? For "
                                  "example --url ws://127.0.0.1:8000");
    }
    if (o->upstreams.count == 0) {
        return cmd_problem_set(p, "--upstream is needed: what is to be served? "
                                  "For example --upstream "
                                  "http://127.0.0.1:3000");
    }
    return check_numbers(o->client, p);
}

int cmd_client_options_parse(struct cmd_client_options *o,
                             struct inlets_client_opts *client, int argc,
                             char **argv, char *env_token,
                             struct cmd_problem *p)
{
    char *flag_token;
    int rc;

    *o = (struct cmd_client_options){.client = client,
                                     .strict_forwarding = true,
                                     .log_level = INLETS_LOG_INFO};
    rc = read_flags(o, argc, argv, p);
    flag_token = o->token;
    o->token = NULL;
    if (rc != 0 || o->help || o->version) {
        cmd_secret_free(flag_token);
        cmd_secret_free(env_token);
        return rc;
    }
    if (cmd_secret_choose(flag_token, o->token_file, env_token, &o->token,
                          &o->token_warning, p) != 0) {
        return -1;
    }
    return check(o, p);
}

void cmd_client_explain_url(const char *url, int err, struct cmd_problem *p)
{
    if (err == INLETS_EINVAL) {
        (void)cmd_problem_set(
            p, "--url: '%s' is not like ws://host:port or host:port", url);
    } else if (err == INLETS_EINSECURE) {
        (void)cmd_problem_set(p,
                              "--url: %s goes beyond this machine without "
                              "encryption: whoever listens on the way reads "
                              "the token and every request. Add --insecure if "
                              "that is all right",
                              url);
    } else {
        (void)cmd_problem_set(
            p, "--url: %s: %s%s", url, inlets_strerror(err),
            err == INLETS_ENOTSUP ? "; clients connect by ws://" : "");
    }
}

void cmd_client_explain_upstream(const struct cmd_upstream *u, int err,
                                 struct cmd_problem *p)
{
    const char *advice =
        err == INLETS_EINVAL    ? "; write it like "
                                  "example.com/api=http://127.0.0.1:3000"
        : err == INLETS_ENOTSUP ? "; upstreams are reached by http://"
                                : "";

    (void)cmd_problem_set(p, "--upstream: '%s%s%s': %s%s", u->endpoint,
                          *u->endpoint == '\0' ? "" : "=", u->url,
                          inlets_strerror(err), advice);
}

void cmd_client_options_forget_token(struct cmd_client_options *o)
{
    cmd_secret_free(o->token);
    o->token = NULL;
}

void cmd_client_options_fini(struct cmd_client_options *o)
{
    cmd_client_options_forget_token(o);
    cmd_upstreams_fini(&o->upstreams);
}
