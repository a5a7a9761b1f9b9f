/* options.c: see options.h. */
#include "options.h"

#include "common/flags.h"
#include "common/logsink.h"
#include "common/secret.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Names come in front of it. */
#define DOMAIN_MAX 180u

const char cmd_server_help[] =
    "Usage: inlets-server [flag ...]\n"
    "An exit node: takes visitors' HTTP requests, and sends them through the\n"
    "tunnels of the clients (inlets-client) that serve their hosts.\n"
    "\n"
    "  -p, --port N           for visitors and clients; 8000, or $PORT\n"
    "  -c, --control-port N   for clients, apart from the visitors' port\n"
    "      --tls-port N, --tls-cert FILE, --tls-key FILE, --tls-dir FOLDER,\n"
    "      --auto-tls, --redirect-to-https, --control-tls, --client-ca FILE   "
    "TLS\n"
    "      --data-addr ADDR, --control-addr ADDR, -b, --bind-addr ADDR (both)\n"
    "                         listen on one address; else all, IPv4 and IPv6\n"
    "  -f, --token-from FILE  the secret that clients must show, in a file\n"
    "  -t, --token SECRET     the secret itself; or $TOKEN\n"
    "      --accounts FILE    who may serve what; see inlets-server account "
    "--help\n"
    "      --allow-anyone-to-serve-any-host   DANGER: clients need no secret\n"
    "      --print-token; --user NAME[:GROUP] if started as root; --sandbox\n"
    "      --domain NAME      gives those who ask for no host one under it\n"
    "      --tunnel-path PATH; --max-streams N, --connections N per client\n"
    "      --stick none|cookie|address   of visitors to one of several "
    "clients\n"
    "      --visitors FILE    who may visit; --max-visitors N; --error-page "
    "4xx=FILE\n"
    "      --trusted-proxy CIDR, --proxy-protocol   of what is in front\n"
    "      --head-timeout, --idle-timeout, --gateway-timeout, --ping, --dead,\n"
    "      --drain, --resume-window, --rotate TIME (like 500ms or 1m)\n"
    "                         10s, 60s, 60s, 10s, 20s, 30s, 10s, never\n"
    "      --log-format text|json, --log-level error|warn|info|debug; -v; "
    "-h\n"
    "\n"
    "SIGTERM and SIGINT let running requests end; a second one cuts them.\n"
    "SIGUSR1: clients make fresh connections; SIGHUP: files are read again.\n"
    "Examples:\n"
    "  inlets-server --port 80 --tls-port 443 --tls-dir certs -f token.txt\n"
    "More: man inlets-server\n";

/* By enum inlets_stick, enum cmd_congestion. */
static const char *const sticks[] = {"none", "cookie", "address", NULL};
static const char *const congestions[] = {"bbr", "system", NULL};

/* Below it a client would move more often than its requests end. */
#define ROTATE_MIN_MS 1000u
/* What the library takes. */
#define CONNECTIONS_MAX 8u
#define HEAD_MAX 65536u
#define FIELDS_MAX 128u
#define TRAILERS_MAX 8192u
#define UPGRADE_MAX 32u
#define AUTO_TLS_PORT 8443
/* RFC 9110 5.6.2 */
#define TOKEN                                                                  \
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"                      \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Several lists become one; empty elements do not count. */
static int append_list(char **list, const char *text, struct cmd_problem *p)
{
    size_t held = *list == NULL ? 0 : strlen(*list);
    char *longer = realloc(*list, held + strlen(text) + 2);

    if (longer == NULL) {
        return cmd_problem_set(p, "out of memory");
    }
    longer[held] = ',';
    strcpy(longer + held + 1, text);
    *list = longer;
    return 0;
}

/* One --upgrade. What the library refuses is named here. */
static int add_upgrade(const char *text, void *value, struct cmd_problem *p)
{
    static const char *const never[] = {"h2", "h2c", "h3", "http", "tls"};
    size_t len = strcspn(text, "/");
    const char *version = text[len] == '/' ? text + len + 1 : "1";

    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        if (strlen(never[i]) == len && strncasecmp(text, never[i], len) == 0) {
            return cmd_problem_set(p,
                                   "'%s' is never passed on: behind it "
                                   "visitors could reach what they should not",
                                   text);
        }
    }
    if (len == 0 || strlen(text) > UPGRADE_MAX ||
        text[strspn(text, "/" TOKEN)] != '\0' || *version == '\0' ||
        version[strspn(version, TOKEN)] != '\0') {
        return cmd_problem_set(p, "'%s' is not the name of a protocol", text);
    }
    return append_list(value, text, p);
}

/* --max-body: a number of bytes. */
static int set_max_body(const char *text, void *value, struct cmd_problem *p)
{
    uint64_t bytes = 0, *ret = value;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 18 || text[digits] != '\0') {
        return cmd_problem_set(p,
                               "--max-body: '%s' is not a number of bytes "
                               "(0: no limit)",
                               text);
    }
    for (size_t i = 0; i < digits; i++) {
        bytes = bytes * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = bytes;
    return 0;
}

static int add_page(const char *text, void *value, struct cmd_problem *p)
{
    return cmd_pages_add(value, text, p);
}

static int too_many(const char *flag, struct cmd_problem *p)
{
    return cmd_problem_set(p, "more than %u of %s; --tls-dir takes a folder",
                           CMD_CERTS_MAX, flag);
}

static int add_cert(const char *text, void *value, struct cmd_problem *p)
{
    struct cmd_certs *certs = value;

    if (certs->ncerts == CMD_CERTS_MAX) {
        return too_many("--tls-cert", p);
    }
    certs->certs[certs->ncerts++] = text;
    return 0;
}

static int add_key(const char *text, void *value, struct cmd_problem *p)
{
    struct cmd_certs *certs = value;

    if (certs->nkeys == CMD_CERTS_MAX) {
        return too_many("--tls-key", p);
    }
    certs->keys[certs->nkeys++] = text;
    return 0;
}

/* One --trusted-proxy: a list. All of them become one. */
static int add_trusted_proxies(const char *text, void *value,
                               struct cmd_problem *p)
{
    static const char separators[] = ", ";
    char **list = value;

    if (text[strspn(text, separators)] == '\0') {
        return 0; /* as compose files say "none" */
    }
    for (const char *at = text; *(at += strspn(at, separators)) != '\0';) {
        size_t len = strcspn(at, separators);

        if (!cmd_address_is_range(at, len)) {
            return cmd_problem_set(p,
                                   "'%.*s' is not an address, nor a range of "
                                   "them like 10.0.0.0/8 or 2001:db8::/32",
                                   (int)len, at);
        }
        at += len;
    }
    return append_list(list, text, p);
}

static int read_flags(struct cmd_server_options *o, int argc, char **argv,
                      struct cmd_problem *p)
{
    struct inlets_server_opts *s = o->server;
    struct cmd_listen_options *l = &o->listen;
    const struct cmd_flag flags[] = {
        {"port", 'p', CMD_FLAG_PORT, &l->port, .env = "PORT"},
        {"control-port", 'c', CMD_FLAG_PORT, &l->control_port},
        {"tls-port", 0, CMD_FLAG_PORT, &o->tls_port},
        {"tls-cert", 0, CMD_FLAG_CALL, &o->certs, .take = add_cert},
        {"tls-key", 0, CMD_FLAG_CALL, &o->certs, .take = add_key},
        {"tls-dir", 0, CMD_FLAG_ONCE, &o->certs.dir},
        {"tls-default", 0, CMD_FLAG_STRING, &o->certs.fallback},
        {"control-tls", 0, CMD_FLAG_BOOL, &o->control_tls},
        {"client-ca", 0, CMD_FLAG_ONCE, &o->client_ca},
        {"redirect-to-https", 0, CMD_FLAG_BOOL, &o->redirect},
        {"auto-tls", 0, CMD_FLAG_BOOL, &o->auto_tls},
        {"auto-tls-dir", 0, CMD_FLAG_ONCE, &o->auto_tls_dir},
        {"data-addr", 0, CMD_FLAG_ADDRESS, &l->data_addr},
        {"control-addr", 0, CMD_FLAG_ADDRESS, &l->control_addr},
        {"bind-addr", 'b', CMD_FLAG_ADDRESS, &l->bind_addr},
        {"token", 't', CMD_FLAG_SECRET, &o->token},
        {"token-from", 'f', CMD_FLAG_ONCE, &o->token_file},
        {"token-file", 0, CMD_FLAG_ONCE, &o->token_file},
        {"accounts", 0, CMD_FLAG_ONCE, &o->accounts},
        {"visitors", 0, CMD_FLAG_ONCE, &o->visitors},
        {"print-token", 0, CMD_FLAG_BOOL, &o->print_token},
        {"allow-anyone-to-serve-any-host", 0, CMD_FLAG_BOOL, &o->allow_anyone},
        {"tunnel-path", 0, CMD_FLAG_STRING, &s->tunnel_path},
        {"max-streams", 0, CMD_FLAG_COUNT, &s->max_streams},
        {"head-timeout", 0, CMD_FLAG_MS, &s->head_timeout_ms, .minimum = 1},
        {"idle-timeout", 0, CMD_FLAG_MS, &s->idle_timeout_ms, .minimum = 1},
        {"gateway-timeout", 0, CMD_FLAG_MS, &s->gateway_timeout_ms,
         .minimum = 1},
        {"body-timeout", 0, CMD_FLAG_MS, &s->body_timeout_ms, .minimum = 1},
        {"max-body", 0, CMD_FLAG_CALL, &s->max_body, .take = set_max_body},
        {"max-requests-per-connection", 0, CMD_FLAG_LIMIT, &s->max_requests},
        {"max-visitors", 0, CMD_FLAG_LIMIT, &s->max_visitors},
        {"max-visitors-per-address", 0, CMD_FLAG_LIMIT,
         &s->max_visitors_per_address},
        {"max-head", 0, CMD_FLAG_COUNT, &s->max_head},
        {"max-fields", 0, CMD_FLAG_COUNT, &s->max_fields},
        {"max-trailers", 0, CMD_FLAG_LIMIT, &s->max_trailers},
        {"error-page", 0, CMD_FLAG_CALL, &o->pages, .take = add_page},
        {"ping", 0, CMD_FLAG_MS, &s->ping_ms, .minimum = 1},
        {"dead", 0, CMD_FLAG_MS, &s->dead_ms, .minimum = 1},
        {"drain", 0, CMD_FLAG_MS, &s->drain_ms},
        {"resume-window", 0, CMD_FLAG_MS, &s->resume_ms},
        {"rotate", 0, CMD_FLAG_MS, &s->rotate_ms},
        {"connections", 0, CMD_FLAG_COUNT, &s->connections},
        {"domain", 0, CMD_FLAG_ONCE, &s->domain},
        {"stick", 0, CMD_FLAG_CHOICE, &s->stick, .choices = sticks},
        {"congestion", 0, CMD_FLAG_CHOICE, &o->congestion,
         .choices = congestions},
        {"trusted-proxy", 0, CMD_FLAG_CALL, &o->trusted_proxies,
         .take = add_trusted_proxies},
        {"proxy-protocol", 0, CMD_FLAG_BOOL, &o->proxy_protocol},
        {"forwarded", 0, CMD_FLAG_BOOL, &o->forwarded},
        {"upgrade", 0, CMD_FLAG_CALL, &o->upgrades, .take = add_upgrade},
        {"log-format", 0, CMD_FLAG_CHOICE, &o->log_format,
         .choices = cmd_flag_log_formats},
        {"log-level", 0, CMD_FLAG_CHOICE, &o->log_level,
         .choices = cmd_flag_log_levels},
        {"user", 0, CMD_FLAG_STRING, &o->run_as},
        {"sandbox", 0, CMD_FLAG_BOOL, &o->sandbox},
        /* Of earlier inlets: accepted, so that old commands run. */
        {"disable-transport-wrapping", 0, CMD_FLAG_BOOL, &o->no_wrapping},
        {"server", 0, CMD_FLAG_BOOL, &o->is_server},
        {"upstream", 'u', CMD_FLAG_STRING, &o->upstream},
        {"version", 'v', CMD_FLAG_STOP, &o->version},
        {"help", 'h', CMD_FLAG_STOP, &o->help},
        {NULL}};

    return cmd_flags_parse(flags, argc, argv, p);
}

/* A name with a dot: whoever has no host gets one under it. */
static int check_domain(const struct cmd_server_options *o,
                        struct cmd_problem *p)
{
    const char *domain = o->server->domain;
    const char *dot = domain == NULL ? NULL : strchr(domain, '.');

    if (domain == NULL ||
        (dot != NULL && dot != domain && dot[1] != '\0' && dot[1] != '.' &&
         strlen(domain) < DOMAIN_MAX &&
         domain[strspn(domain, "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")] ==
             '\0')) {
        return 0;
    }
    return cmd_problem_set(p,
                           "--domain: '%.80s' is not like "
                           "tunnels.example.com",
                           domain);
}

static int check_token(const struct cmd_server_options *o,
                       struct cmd_problem *p)
{
    if (o->accounts != NULL && o->allow_anyone) {
        return cmd_problem_set(p, "--accounts says who may open tunnels, and "
                                  "--allow-anyone-to-serve-any-host that "
                                  "everybody may; keep one");
    }
    /* check_tls has seen to it that the port for clients asks for them. */
    if (o->token != NULL || o->accounts != NULL || o->allow_anyone ||
        o->client_ca != NULL || cmd_address_is_loopback(o->plan.control_addr)) {
        return 0;
    }
    return cmd_problem_set(
        p,
        "without a token, whoever reaches port %d can serve any host.\n"
        "One of these is needed:\n"
        "  --token-from FILE                 a secret that clients must show\n"
        "  --accounts FILE                   a token for each of several\n"
        "  --client-ca FILE                  certificates instead of tokens\n"
        "  --control-addr 127.0.0.1          clients of this machine only\n"
        "  --allow-anyone-to-serve-any-host  if that is what you want",
        o->plan.control_port);
}

static int check_tunnels(const struct inlets_server_opts *s,
                         struct cmd_problem *p)
{
    if (s->ping_ms >= s->dead_ms) {
        return cmd_problem_set(p,
                               "--ping (%ums) must be shorter than --dead "
                               "(%ums): pings show that a client lives",
                               s->ping_ms, s->dead_ms);
    }
    if (s->rotate_ms > 0 && s->rotate_ms < ROTATE_MIN_MS) {
        return cmd_problem_set(p, "--rotate: %ums is shorter than %ums",
                               s->rotate_ms, ROTATE_MIN_MS);
    }
    if (s->rotate_ms > 0 && s->resume_ms == 0) {
        return cmd_problem_set(p, "--rotate needs a --resume-window: without "
                                  "it requests end with their connection");
    }
    return 0;
}

static int check_limits(const struct inlets_server_opts *s,
                        struct cmd_problem *p)
{
    const struct {
        const char *flag;
        uint32_t value, least, most;
    } rows[] = {
        {"--connections", s->connections, 1, CONNECTIONS_MAX},
        {"--max-head", s->max_head, INLETS_MIN_HEAD, HEAD_MAX},
        {"--max-fields", s->max_fields, 1, FIELDS_MAX},
        {"--max-trailers", s->max_trailers, 0, TRAILERS_MAX},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].value < rows[i].least || rows[i].value > rows[i].most) {
            return cmd_problem_set(p, "%s: %u is not %u to %u", rows[i].flag,
                                   rows[i].value, rows[i].least, rows[i].most);
        }
    }
    return 0;
}

/* Reads or makes the exit node's own certificate, which any name gets. */
static int take_own(struct cmd_server_options *o, struct cmd_problem *p)
{
    if (!o->auto_tls) {
        return o->auto_tls_dir == NULL
                   ? 0
                   : cmd_problem_set(p, "--auto-tls-dir needs --auto-tls");
    }
    if (cmd_autotls_load(&o->own, o->auto_tls_dir, p) != 0) {
        return -1;
    }
    o->certs.own = o->own.pem;
    o->certs.own_file = o->own.file;
    if (o->certs.fallback == NULL) {
        o->server->tls_default = o->certs.fallback = "localhost";
    }
    if (o->tls_port < 0 && !o->control_tls) {
        o->control_tls = !o->plan.shared;
        o->tls_port = o->plan.shared ? AUTO_TLS_PORT : -1;
    }
    return 0;
}

static int check_tls(const struct cmd_server_options *o, struct cmd_problem *p)
{
    bool wanted = o->tls_port >= 0 || o->control_tls;

    if (wanted && !cmd_certs_is_given(&o->certs)) {
        return cmd_problem_set(p,
                               "%s needs certificates: --tls-cert FILE "
                               "--tls-key FILE, or --tls-dir FOLDER",
                               o->control_tls ? "--control-tls" : "--tls-port");
    }
    if (!wanted && cmd_certs_is_given(&o->certs)) {
        return cmd_problem_set(p, "certificates are given, but no --tls-port");
    }
    if (o->redirect && o->tls_port <= 0) {
        return cmd_problem_set(p, "--redirect-to-https needs a --tls-port to "
                                  "send visitors to");
    }
    if (o->control_tls && o->plan.shared) {
        return cmd_problem_set(p, "--control-tls needs a --control-port: on "
                                  "the visitors' ports clients connect to "
                                  "--tls-port");
    }
    if (o->client_ca != NULL && !o->control_tls) {
        return cmd_problem_set(p, "--client-ca needs --control-tls, and a "
                                  "--control-port: visitors' browsers on the "
                                  "same port would be asked for certificates");
    }
    return cmd_certs_check(&o->certs, p);
}

/* What the flags say together. */
static int check(struct cmd_server_options *o, struct cmd_problem *p)
{
    if (!o->is_server) {
        return cmd_problem_set(p, "--server=false: the other end is a program "
                                  "of its own, inlets-client");
    }
    if (check_limits(o->server, p) != 0 || check_tunnels(o->server, p) != 0) {
        return -1;
    }
    if (o->proxy_protocol && o->trusted_proxies == NULL) {
        return cmd_problem_set(p, "--proxy-protocol needs --trusted-proxy: "
                                  "who may say whose connection it is?");
    }
    if (o->server->tunnel_path != NULL && *o->server->tunnel_path != '/') {
        return cmd_problem_set(p, "--tunnel-path: '%s' does not begin with /",
                               o->server->tunnel_path);
    }
    if (cmd_listen_plan_make(&o->listen, &o->plan, p) != 0 ||
        take_own(o, p) != 0 || check_tls(o, p) != 0) {
        return -1;
    }
    return check_domain(o, p) == 0 ? check_token(o, p) : -1;
}

int cmd_server_options_parse(struct cmd_server_options *o,
                             struct inlets_server_opts *server, int argc,
                             char **argv, char *env_token,
                             struct cmd_problem *p)
{
    char *flag_token;
    int rc;

    *o = (struct cmd_server_options){
        .server = server,
        .listen = {.port = 8000, .control_port = -1},
        .tls_port = -1,
        .is_server = true,
        .log_level = INLETS_LOG_INFO};
    rc = read_flags(o, argc, argv, p);
    server->bbr = o->congestion == CMD_CONGESTION_BBR;
    server->trusted_proxies = o->trusted_proxies;
    server->proxy_protocol = o->proxy_protocol;
    server->forwarded = o->forwarded;
    server->upgrades = o->upgrades;
    server->tls_default = o->certs.fallback;
    server->redirect_port = o->redirect ? (uint32_t)o->tls_port : 0;
    server->error_pages = o->pages.items;
    server->error_page_count = o->pages.count;
    flag_token = o->token;
    o->token = NULL;
    if (rc != 0 || o->help || o->version) {
        cmd_secret_free(flag_token);
        cmd_secret_free(env_token);
        return rc;
    }
    if (cmd_secret_choose(&cmd_secret_token, flag_token, o->token_file,
                          env_token, &o->token, &o->token_warning, p) != 0) {
        return -1;
    }
    return check(o, p);
}

void cmd_server_options_fini(struct cmd_server_options *o)
{
    cmd_secret_free(o->token);
    o->token = NULL;
    free(o->trusted_proxies);
    o->trusted_proxies = NULL;
    free(o->upgrades);
    o->upgrades = NULL;
    cmd_pages_fini(&o->pages);
}
