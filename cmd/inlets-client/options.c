/* options.c: see options.h. */
#include "options.h"

#include "common/file.h"
#include "common/flags.h"
#include "common/logsink.h"
#include "common/secret.h"
#include <inlets/certificate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char cmd_client_help[] =
    "Usage: inlets-client --url URL --upstream [HOST[/PATH]=]URL ... [flag "
    "...]\n"
    "Connects out to an exit node (inlets-server), and serves the requests "
    "that\n"
    "its visitors make from HTTP servers within this machine's reach.\n"
    "\n"
    "  -r, --url URL          the exit node: wss://host; repeated: all of "
    "them\n"
    "      --ca-file FILE, --server-fingerprint sha256:HEX, "
    "--tls-skip-verify\n"
    "      --client-cert FILE, --client-key FILE  whose certificate it shows; "
    "ours\n"
    "      --all-addresses    all addresses of its name, as they come and go\n"
    "  -u, --upstream LIST    http://127.0.0.1:3000 serves every host,\n"
    "                         HOST=URL one host, HOST/PATH=URL a part; "
    "repeated,\n"
    "                         or with commas; unix:/PATH, "
    "https://host#ca:FILE\n"
    "      --upstreams-from FILE, a line each; SIGHUP reads it; "
    "--host-header;\n"
    "      --name NAME        for those without HOST, under the node's "
    "--domain\n"
    "  -f, --token-from FILE  the secret of the exit node, in a file\n"
    "  -t, --token SECRET     the secret itself; or $TOKEN; --print-token\n"
    "      --basic-auth-from FILE, --basic-auth USER:PASSWORD  of an account\n"
    "      --user NAME[:GROUP] if started as root; --sandbox\n"
    "      --proxy URL|none, --proxy-from FILE, --no-proxy LIST  the way out, "
    "when\n"
    "                         by http://user:password@host:port; or "
    "$https_proxy\n"
    "      --insecure         allow ws:// beyond this machine; --tunnel-path "
    "PATH\n"
    "      --connections auto|N, --congestion bbr|system  to carry the data\n"
    "      --connect-timeout, --ping, --dead, --resume-window, --retry-max,\n"
    "      --drain TIME       10s, 10s, 20s, 10s, 30s, 30s; like 500ms or 1m\n"
    "      --log-format text|json, --log-level error|warn|info|debug; -v; "
    "-h\n"
    "\n"
    "SIGTERM and SIGINT let running requests end; a second one cuts them.\n"
    "Examples:\n"
    "  inlets-client --url wss://tunnel.example.com --token-from token.txt "
    "\\\n"
    "      --upstream "
    "blog.example.com=127.0.0.1:8080,api.example.com=10.0.0.5\n"
    "More: man inlets-client\n";

#define CA_MAX (4u * 1024 * 1024)
#define HEX "0123456789abcdefABCDEF"

static int add_url(const char *text, void *value, struct cmd_problem *p)
{
    struct cmd_client_options *o = value;
    struct inlets_client_opts *c = o->client;
    const char **urls = realloc(o->urls, (c->nurls + 1) * sizeof(*urls));

    if (urls == NULL) {
        return cmd_problem_set(p, "out of memory");
    }
    urls[c->nurls++] = text;
    c->urls = o->urls = urls;
    return 0;
}

static int take_connections(const char *text, void *value,
                            struct cmd_problem *p)
{
    bool is_digit = text[0] >= '1' && text[0] <= '8' && text[1] == '\0';

    if (!is_digit && strcmp(text, "auto") != 0) {
        return cmd_problem_set(p, "'%s' is not auto or a number from 1 to 8",
                               text);
    }
    *(uint32_t *)value = is_digit ? (uint32_t)(text[0] - '0') : 0;
    return 0;
}

static int take_host_header(const char *text, void *value,
                            struct cmd_problem *p)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    size_t len = strlen(text);

    if (len == 0 || len > 253 || text[strspn(text, letters)] != '\0' ||
        *text == '.' || strstr(text, "..") != NULL) {
        return cmd_problem_set(p, "'%s' is not keep, upstream or a host", text);
    }
    *(const char **)value = text;
    return 0;
}

static int take_fingerprint(const char *text, void *value,
                            struct cmd_problem *p)
{
    size_t digits = 0;

    if (strncasecmp(text, "sha256:", 7) == 0) {
        for (const char *at = text + 7; *at != '\0'; at++) {
            digits += *at != ':';
        }
        if (digits == 64 && text[7 + strspn(text + 7, HEX ":")] == '\0') {
            *(const char **)value = text;
            return 0;
        }
    }
    return cmd_problem_set(p,
                           "'%s' is not sha256: and 64 hex "
                           "digits, as `openssl x509 -noout -fingerprint "
                           "-sha256 -in FILE` prints them",
                           text);
}

static const char *const congestions[] = {"system", "bbr", NULL};

static int read_flags(struct cmd_client_options *o, int argc, char **argv,
                      struct cmd_problem *p)
{
    struct inlets_client_opts *c = o->client;
    const struct cmd_flag flags[] = {
        {"url", 'r', CMD_FLAG_CALL, o, .take = add_url},
        {"remote", 0, CMD_FLAG_CALL, o, .take = add_url},
        {"all-addresses", 0, CMD_FLAG_BOOL, &o->all_addresses},
        {"upstream", 'u', CMD_FLAG_CALL, &o->upstreams,
         .take = cmd_upstreams_add},
        {"upstreams-from", 0, CMD_FLAG_ONCE, &o->upstreams_file},
        {"host-header", 0, CMD_FLAG_CALL, &c->host_header,
         .take = take_host_header},
        {"token", 't', CMD_FLAG_SECRET, &o->token},
        {"token-from", 'f', CMD_FLAG_ONCE, &o->token_file},
        {"token-file", 0, CMD_FLAG_ONCE, &o->token_file},
        {"name", 0, CMD_FLAG_ONCE, &o->name},
        {"basic-auth", 0, CMD_FLAG_SECRET, &o->basic_auth},
        {"basic-auth-from", 0, CMD_FLAG_ONCE, &o->basic_file},
        {"proxy", 0, CMD_FLAG_SECRET, &o->proxies.flag},
        {"proxy-from", 0, CMD_FLAG_ONCE, &o->proxies.file},
        {"no-proxy", 0, CMD_FLAG_STRING, &o->proxies.no_proxy},
        {"print-token", 0, CMD_FLAG_BOOL, &o->print_token},
        {"insecure", 0, CMD_FLAG_BOOL, &o->insecure},
        {"ca-file", 0, CMD_FLAG_ONCE, &o->ca_file},
        {"server-fingerprint", 0, CMD_FLAG_CALL, &c->fingerprint,
         .take = take_fingerprint},
        {"client-cert", 0, CMD_FLAG_ONCE, &o->cert_file},
        {"client-key", 0, CMD_FLAG_ONCE, &o->key_file},
        {"tls-skip-verify", 0, CMD_FLAG_BOOL, &o->skip_verify},
        {"tunnel-path", 0, CMD_FLAG_STRING, &c->tunnel_path},
        {"connect-timeout", 0, CMD_FLAG_MS, &c->connect_timeout_ms,
         .minimum = 1},
        {"ping", 0, CMD_FLAG_MS, &c->ping_ms, .minimum = 1},
        {"dead", 0, CMD_FLAG_MS, &c->dead_ms, .minimum = 1},
        {"resume-window", 0, CMD_FLAG_MS, &c->resume_ms},
        {"connections", 0, CMD_FLAG_CALL, &o->connections,
         .take = take_connections},
        {"congestion", 0, CMD_FLAG_CHOICE, &o->congestion,
         .choices = congestions},
        {"retry-max", 0, CMD_FLAG_MS, &c->retry_max_ms, .minimum = 1},
        {"drain", 0, CMD_FLAG_MS, &c->drain_ms},
        {"log-format", 0, CMD_FLAG_CHOICE, &o->log_format,
         .choices = cmd_flag_log_formats},
        {"log-level", 0, CMD_FLAG_CHOICE, &o->log_level,
         .choices = cmd_flag_log_levels},
        {"user", 0, CMD_FLAG_STRING, &o->run_as},
        {"sandbox", 0, CMD_FLAG_BOOL, &o->sandbox},
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
/* RFC 1035 2.3.1 */
static bool is_label(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return len > 0 && len <= 63 && name[len] == '\0' && name[0] != '-' &&
           name[len - 1] != '-';
}

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
    if (o->name != NULL && !is_label(o->name)) {
        return cmd_problem_set(p,
                               "--name: '%.80s' is not a name of at most 63 "
                               "of a-z, 0-9 and -",
                               o->name);
    }
    if (o->client->nurls == 0) {
        return cmd_problem_set(p, "--url is needed: which exit node? For "
                                  "example --url ws://127.0.0.1:8000");
    }
    if (o->upstreams.count == 0 && o->upstreams_file == NULL) {
        return cmd_problem_set(p, "--upstream is needed: what is to be served? "
                                  "For example --upstream "
                                  "http://127.0.0.1:3000");
    }
    return check_numbers(o->client, p);
}

static int read_ca(struct cmd_client_options *o, struct cmd_problem *p)
{
    char first[INLETS_FINGERPRINT_SIZE];
    size_t len;

    if (o->ca_file == NULL) {
        return 0;
    }
    if (cmd_file_read(o->ca_file, CA_MAX, &o->ca, &len, p) != 0) {
        return -1;
    }
    o->client->ca = o->ca;
    if (inlets_certificate_fingerprint((struct inlets_slice){o->ca, len},
                                       first) != 0) {
        return cmd_problem_set(p, "--ca-file: %s has no certificate in PEM",
                               o->ca_file);
    }
    return 0;
}

/* The certificate that is shown to exit nodes, and its key. */
static int read_cert(struct cmd_client_options *o, struct cmd_problem *p)
{
    const char *why;
    size_t len;

    if (o->cert_file == NULL && o->key_file == NULL) {
        return 0;
    }
    if (o->cert_file == NULL || o->key_file == NULL) {
        return cmd_problem_set(
            p, o->key_file == NULL
                   ? "--client-cert needs --client-key FILE: the key of it"
                   : "--client-key needs --client-cert FILE: the certificate "
                     "it is for");
    }
    if (cmd_file_read(o->cert_file, CA_MAX, &o->cert, &len, p) != 0 ||
        cmd_file_read(o->key_file, CA_MAX, &o->key, &len, p) != 0) {
        return -1;
    }
    o->key_warning = cmd_secret_warning_about_key(o->key_file);
    o->client->cert = o->cert;
    o->client->key = o->key;
    return inlets_client_check_certificate(o->cert, o->key, &why) == 0
               ? 0
               : cmd_problem_set(p, "--client-cert %s, --client-key %s: %s",
                                 o->cert_file, o->key_file, why);
}

static const struct cmd_secret_ways basic_auth = {
    "user:password", "--basic-auth", "--basic-auth-from", NULL};

/* A token, or a user with a password: both would be one too many. All texts
 * are taken over. */
static int choose_credentials(struct cmd_client_options *o, char *token,
                              char *basic, char *env_token,
                              struct cmd_problem *p)
{
    bool is_token = token != NULL || o->token_file != NULL || env_token != NULL;

    o->is_basic = basic != NULL || o->basic_file != NULL;
    if (!o->is_basic) {
        return cmd_secret_choose(&cmd_secret_token, token, o->token_file,
                                 env_token, &o->token, &o->token_warning, p);
    }
    if (is_token) {
        cmd_secret_free(token);
        cmd_secret_free(basic);
        cmd_secret_free(env_token);
        return cmd_problem_set(p, "a token and --basic-auth: keep one of them "
                                  "(the token may be $TOKEN)");
    }
    o->token_file = o->basic_file;
    if (cmd_secret_choose(&basic_auth, basic, o->basic_file, NULL, &o->token,
                          &o->token_warning, p) != 0) {
        return -1;
    }
    if (strchr(o->token, ':') == NULL) {
        return cmd_problem_set(p, "%s: not user:password: there is no colon",
                               o->basic_file != NULL ? o->basic_file
                                                     : "--basic-auth");
    }
    return 0;
}

int cmd_client_options_parse(struct cmd_client_options *o,
                             struct inlets_client_opts *client, int argc,
                             char **argv, char *env_token,
                             const struct cmd_proxies_env *env_proxies,
                             struct cmd_problem *p)
{
    char *flag_token, *flag_basic;
    int rc;

    *o = (struct cmd_client_options){.client = client,
                                     .strict_forwarding = true,
                                     .congestion = client->bbr != 0,
                                     .connections = client->connections,
                                     .all_addresses = client->all_addresses,
                                     .log_level = INLETS_LOG_INFO};
    rc = read_flags(o, argc, argv, p);
    flag_token = o->token;
    flag_basic = o->basic_auth;
    o->token = o->basic_auth = NULL;
    if (rc != 0 || o->help || o->version) {
        cmd_secret_free(flag_token);
        cmd_secret_free(flag_basic);
        cmd_secret_free(env_token);
        return rc;
    }
    if (choose_credentials(o, flag_token, flag_basic, env_token, p) != 0 ||
        cmd_proxies_choose(&o->proxies, env_proxies, p) != 0) {
        return -1;
    }
    client->proxy = o->proxies.plain;
    client->tls_proxy = o->proxies.tls;
    client->no_proxy = o->proxies.no_proxy;
    client->bbr = o->congestion;
    client->basic_auth = o->is_basic;
    client->connections = o->connections;
    client->all_addresses = o->all_addresses;
    client->skip_verify = o->skip_verify;
    return check(o, p) == 0 && read_ca(o, p) == 0 ? read_cert(o, p) : -1;
}

void cmd_client_explain_url(const char *url, int err, struct cmd_problem *p)
{
    char shown[CMD_URL_SHOWN_SIZE];

    (void)cmd_url_shown(url, strlen(url), shown);
    if (err == INLETS_EINVAL) {
        (void)cmd_problem_set(
            p, "--url: '%s' is not like wss://host or ws://host:port", shown);
    } else if (err == INLETS_EINSECURE) {
        (void)cmd_problem_set(p,
                              "--url: %s goes beyond this machine without "
                              "encryption: whoever listens on the way reads "
                              "the token and every request. Use wss://, or add "
                              "--insecure if that is all right",
                              shown);
    } else if (err == INLETS_ECERT) {
        (void)cmd_problem_set(p,
                              "--url: %s: this system has no list of the "
                              "authorities that it trusts; install "
                              "ca-certificates, or give --ca-file or "
                              "--server-fingerprint",
                              shown);
    } else {
        (void)cmd_problem_set(p, "--url: %s: %s", shown, inlets_strerror(err));
    }
}

/* What the library calls an invalid argument, in a user's words. */
static const char *upstream_fault(const char *url)
{
    if (strncasecmp(url, "unix:", 5) == 0) {
        return "a socket is unix:/path: from the root on, at most 107 bytes, "
               "without ? and #";
    }
    if (strpbrk(url, "?#") != NULL) {
        return "a query or a fragment cannot be part of it (but behind "
               "https://, #sha256:<fingerprint>, #ca:<file> or #skip-verify)";
    }
    if (strchr(url, '@') != NULL) {
        return "a user or a password cannot be part of it";
    }
    return "that is not a host (or host/path) and the URL of a server";
}

void cmd_client_explain_upstream(const struct cmd_client_options *o,
                                 const struct cmd_upstream *u, int err,
                                 struct cmd_problem *p)
{
    const char *advice = err == INLETS_EINVAL
                             ? "; write it like "
                               "example.com/api=http://127.0.0.1:3000"
                             : "";
    char where[256] = "--upstream";
    char shown[CMD_URL_SHOWN_SIZE];

    if (u->line > 0) {
        (void)snprintf(where, sizeof(where), "%.200s, line %zu",
                       o->upstreams_file, u->line);
    }
    (void)cmd_problem_set(p, "%s: '%s%s%s': %s%s", where, u->endpoint,
                          *u->endpoint == '\0' ? "" : "=",
                          cmd_url_shown(u->url, strlen(u->url), shown),
                          err == INLETS_EINVAL ? upstream_fault(u->url)
                                               : inlets_strerror(err),
                          advice);
}

static int check_upstreams(const struct cmd_client_options *o,
                           const struct cmd_upstreams *all,
                           struct cmd_problem *p)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct cmd_upstream *u = &all->items[i];
        int err = inlets_client_check_upstream(u->endpoint, u->url);

        if (err != 0) {
            cmd_client_explain_upstream(o, u, err, p);
            return -1;
        }
    }
    return all->count > 0
               ? 0
               : cmd_problem_set(p, "%s defines nothing; is it being written?",
                                 o->upstreams_file);
}

/* What has no host gets this one. */
static int name_them(const char *name, struct cmd_upstreams *u,
                     struct cmd_problem *p)
{
    for (size_t i = 0; i < u->count; i++) {
        struct cmd_upstream *item = &u->items[i];
        size_t size = strlen(name) + strlen(item->endpoint) + 1;
        char *endpoint;

        if (item->endpoint[0] != '\0' && item->endpoint[0] != '/') {
            continue;
        }
        endpoint = malloc(size);
        if (endpoint == NULL) {
            return cmd_problem_set(p, "out of memory");
        }
        (void)snprintf(endpoint, size, "%s%s", name, item->endpoint);
        free(item->endpoint);
        item->endpoint = endpoint;
    }
    return 0;
}

int cmd_client_load_upstreams(const struct cmd_client_options *o,
                              struct cmd_upstreams *ret, struct cmd_problem *p)
{
    int rc = cmd_upstreams_copy(ret, &o->upstreams, p);

    if (rc == 0 && o->upstreams_file != NULL) {
        rc = cmd_upstreams_read(o->upstreams_file, ret, p);
    }
    if (rc == 0 && o->name != NULL) {
        rc = name_them(o->name, ret, p);
    }
    if (rc == 0) {
        rc = check_upstreams(o, ret, p);
    }
    if (rc == 0) {
        rc = cmd_upstreams_read_cas(ret, p);
    }
    if (rc != 0) {
        cmd_upstreams_fini(ret);
    }
    return rc;
}

void cmd_client_options_forget_secrets(struct cmd_client_options *o)
{
    cmd_secret_free(o->token);
    cmd_secret_free(o->key);
    cmd_proxies_fini(&o->proxies);
    o->token = o->key = NULL;
    o->client->cert = o->client->key = NULL;
    o->client->token = NULL;
    o->client->proxy = o->client->tls_proxy = o->client->no_proxy = NULL;
}

void cmd_client_options_fini(struct cmd_client_options *o)
{
    cmd_client_options_forget_secrets(o);
    cmd_upstreams_fini(&o->upstreams);
    free(o->ca);
    free(o->cert);
    o->ca = o->cert = NULL;
    free(o->urls);
    o->urls = NULL;
}
