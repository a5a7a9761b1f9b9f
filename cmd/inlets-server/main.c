/* inlets-server: an exit node. Reads flags, listens, and lets libinlets do
 * the rest until a signal comes: the first one drains, the second one cuts;
 * SIGUSR1 asks the clients for fresh websockets.
 *
 * Life: options -> start -> loop -> (drain) -> stop. Only the server and the
 * three signal handles keep the loop alive; stop() closes all of them, so the
 * loop ends by itself. */
#include "options.h"

#include "common/address.h"
#include "common/file.h"
#include "common/logsink.h"
#include "common/logturn.h"
#include "common/process.h"
#include "common/sandbox.h"
#include "common/secret.h"
#include "common/sockets.h"
#include "inlets-server/accounts.h"
#include "inlets-server/visitors.h"
#include <fcntl.h>
#include <inlets/inlets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define PROGRAM "inlets-server"
#define CLIENT_CA_MAX (4u * 1024 * 1024)

struct program {
    uv_loop_t loop;
    struct cmd_log log;
    struct cmd_log_turn turn;
    struct cmd_signals signals;
    uv_signal_t usr1, hangup;
    uv_timer_t watch; /* of files that change */
    bool has_usr1, has_hangup, has_watch;
    const struct cmd_certs *certs;
    struct cmd_accounts accounts;
    const char *visitors; /* NULL: none */
    uint64_t certs_stamp; /* of what was read last */
    uint64_t visitors_stamp;
    const char *reread[CMD_CERTS_FILES + 2 + CMD_ACCOUNTS_KEYS];
    struct inlets_server *server;
    struct cmd_sockets handed; /* over by systemd; the server owns them */
    unsigned wss_port;         /* of clients by TLS; 0: none */
    int notify;                /* -1: nobody wants to know */
};

static void report_oddities(struct cmd_log *log,
                            const struct cmd_server_options *o)
{
    cmd_log_warn_if(log, o->token_warning != NULL, o->token_warning);
    cmd_log_warn_if(
        log, o->no_wrapping,
        "--disable-transport-wrapping does nothing: answers are never "
        "rewritten");
    cmd_log_warn_if(
        log, o->upstream != NULL,
        "--upstream does nothing here: clients say what they serve");
    cmd_log_warn_if(log, o->plan.data_narrowed,
                    "visitors share the clients' port, so its address too; "
                    "--control-port sets them apart");
    cmd_log_warn_if(
        log,
        o->token == NULL && o->accounts == NULL &&
            !cmd_address_is_loopback(o->plan.control_addr),
        "DANGER: anyone who reaches the clients' port can serve any host");
    if (o->token != NULL && o->print_token) {
        cmd_log_say(log, INLETS_LOG_INFO, "token", "token", o->token, NULL);
    }
}

/* --- the end --------------------------------------------------------------*/

static void stop(void *user)
{
    struct program *program = user;

    cmd_signals_stop(&program->signals);
    if (program->has_usr1) {
        program->has_usr1 = false;
        uv_close((uv_handle_t *)&program->usr1, NULL);
    }
    if (program->has_hangup) {
        program->has_hangup = false;
        uv_close((uv_handle_t *)&program->hangup, NULL);
    }
    if (program->has_watch) {
        program->has_watch = false;
        uv_close((uv_handle_t *)&program->watch, NULL);
    }
    inlets_server_close(program->server, NULL, NULL);
    program->server = NULL;
    cmd_log_turn_stop(&program->turn);
}

static void on_signal(int signum, unsigned count, void *user)
{
    struct program *program = user;
    const char *name = signum == SIGINT ? "SIGINT" : "SIGTERM";

    if (count > 1) {
        cmd_log_say(&program->log, INLETS_LOG_INFO, "stopping at once",
                    "signal", name, NULL);
        stop(program);
        return;
    }
    cmd_notify_stopping(program->notify);
    cmd_log_say(&program->log, INLETS_LOG_INFO,
                "asked to stop; a second signal stops at once", "signal", name,
                NULL);
    inlets_server_drain(program->server, stop, program);
}

static void on_usr1(uv_signal_t *handle, int signum)
{
    struct program *program = handle->data;

    (void)signum;
    if (program->server != NULL) {
        inlets_server_rotate(program->server);
    }
}

/* --- files that change ----------------------------------------------------*/

/* How often they are looked at: who changes them says nothing. */
#define WATCH_MS 2000u

/* Says how many `what` there are now, or why there are none. */
static void say_reloaded(struct program *program, const char *what, size_t n,
                         const struct cmd_problem *p)
{
    char event[64], text[24];

    (void)snprintf(event, sizeof(event), "%s %s", what,
                   p == NULL ? "reloaded" : "not reloaded, the old ones stay");
    (void)snprintf(text, sizeof(text), "%zu", n);
    if (p != NULL) {
        cmd_log_say(&program->log, INLETS_LOG_ERROR, event, "why", p->text,
                    NULL);
    } else {
        cmd_log_say(&program->log, INLETS_LOG_INFO, event, what, text, NULL);
    }
}

static void reload_certs(struct program *program)
{
    struct cmd_problem p;
    size_t n = 0;
    int rc;

    program->certs_stamp = cmd_certs_stamp(program->certs);
    rc = cmd_certs_load(program->certs, program->server, &program->log, &n, &p);
    say_reloaded(program, "certificates", n, rc == 0 ? NULL : &p);
}

static void reload_accounts(struct program *program)
{
    struct cmd_problem p;
    size_t n = 0;
    int rc;

    rc = cmd_accounts_load(&program->accounts, program->server, &n, &p);
    say_reloaded(program, "accounts", n, rc == 0 ? NULL : &p);
    if (rc == 0 && p.text[0] != '\0') {
        say_reloaded(program, "keys of an issuer", 0, &p);
    }
}

static void reload_visitors(struct program *program)
{
    struct cmd_problem p;
    size_t n = 0;
    int rc;

    program->visitors_stamp = cmd_file_stamp(0, program->visitors);
    rc = cmd_visitors_load(program->visitors, program->server, &n, &p);
    say_reloaded(program, "visitors", n, rc == 0 ? NULL : &p);
}

static void on_hangup(uv_signal_t *handle, int signum)
{
    struct program *program = handle->data;

    (void)signum;
    if (program->server == NULL || !program->has_watch) {
        cmd_log_say(&program->log, INLETS_LOG_INFO, "SIGHUP is ignored", "why",
                    "there are no certificates, accounts or visitors to read",
                    NULL);
        return;
    }
    cmd_notify_reloading(program->notify);
    if (cmd_certs_is_given(program->certs)) {
        reload_certs(program);
    }
    if (program->accounts.path != NULL) {
        reload_accounts(program);
    }
    if (program->visitors != NULL) {
        reload_visitors(program);
    }
    cmd_notify_ready(program->notify);
}

static void on_watch(uv_timer_t *handle)
{
    struct program *program = handle->data;

    if (program->server == NULL) {
        return;
    }
    if (cmd_certs_is_given(program->certs) &&
        cmd_certs_stamp(program->certs) != program->certs_stamp) {
        reload_certs(program);
    }
    if (program->accounts.path != NULL &&
        cmd_accounts_have_changed(&program->accounts)) {
        reload_accounts(program);
    }
    if (program->visitors != NULL &&
        cmd_file_stamp(0, program->visitors) != program->visitors_stamp) {
        reload_visitors(program);
    }
}

static int watch_files(struct program *program)
{
    int rc = uv_timer_init(&program->loop, &program->watch);

    if (rc == 0) {
        program->has_watch = true;
        program->watch.data = program;
        uv_unref((uv_handle_t *)&program->watch);
        rc = uv_timer_start(&program->watch, on_watch, WATCH_MS, WATCH_MS);
    }
    return rc;
}

/* --- the beginning --------------------------------------------------------*/

static const char *remedy(int err)
{
    switch (err) {
    case INLETS_EADDRINUSE:
        return "; stop what uses it, or choose another with --port, "
               "--control-port (for clients) or --tls-port";
    case INLETS_EPERM:
        return "; ports below 1024 need CAP_NET_BIND_SERVICE, as the systemd "
               "unit in examples/systemd gives it, or choose another --port";
    case INLETS_EADDRNOTAVAIL:
        return "; --data-addr, --control-addr and --bind-addr name an address "
               "of this machine";
    default:
        return "";
    }
}

static const char *purpose(unsigned what)
{
    static const char *const names[] = {
        "visitors",       "clients",       "visitors and clients",
        "visitors (TLS)", "clients (TLS)", "visitors and clients (TLS)"};
    unsigned who = what & (INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS);

    return names[who - 1 + ((what & INLETS_LISTEN_TLS) != 0 ? 3 : 0)];
}

/* The index-th listening socket. */
static int listen_on(struct program *program, const char *address, int port,
                     unsigned what, size_t index)
{
    char text[CMD_ADDRESS_MAX];
    unsigned bound;
    int err;

    cmd_address_join(address, port, "", text, sizeof(text));
    err = inlets_server_listen(program->server, text, what);
    if (err != 0) {
        cmd_address_join(address, port, "0.0.0.0", text, sizeof(text));
        cmd_process_fail(&program->log, PROGRAM, "cannot listen on %s: %s%s",
                         text, inlets_strerror(err), remedy(err));
        return err;
    }
    bound = inlets_server_port(program->server, index);
    if ((what & INLETS_LISTEN_TLS) != 0 &&
        (what & INLETS_LISTEN_TUNNELS) != 0) {
        program->wss_port = bound;
    }
    cmd_address_join(address, (int)bound, "*", text, sizeof(text));
    cmd_log_say(&program->log, INLETS_LOG_INFO, "listening", "address", text,
                "for", purpose(what), NULL);
    return 0;
}

/* The index-th of the sockets that systemd opened. */
static int listen_on_handed(struct program *program, size_t index)
{
    const struct cmd_socket *s = &program->handed.items[index];
    char text[CMD_ADDRESS_MAX];
    int err = inlets_server_listen_fd(program->server, s->fd, s->what);

    if (err != 0) {
        cmd_process_fail(&program->log, PROGRAM,
                         "cannot listen on descriptor %d: %s", s->fd,
                         inlets_strerror(err));
        return err;
    }
    (void)snprintf(text, sizeof(text), "port %u",
                   inlets_server_port(program->server, index));
    cmd_log_say(&program->log, INLETS_LOG_INFO, "listening", "address", text,
                "for", purpose(s->what), "opened_by", "systemd", NULL);
    return 0;
}

/* Without TLS, or with visitors, it would ask nobody for a certificate. */
static int check_handed(struct program *program,
                        const struct cmd_server_options *o)
{
    for (size_t i = 0; o->client_ca != NULL && i < program->handed.count; i++) {
        const struct cmd_socket *s = &program->handed.items[i];

        if ((s->what & INLETS_LISTEN_TUNNELS) != 0 &&
            s->what != (INLETS_LISTEN_TUNNELS | INLETS_LISTEN_TLS)) {
            cmd_process_fail(&program->log, PROGRAM,
                             "--client-ca: descriptor %d for clients is in "
                             "clear, or for visitors too: who connects there "
                             "would not be asked for a certificate",
                             s->fd);
            return INLETS_EINVAL;
        }
    }
    return 0;
}

static int listen_all(struct program *program,
                      const struct cmd_server_options *o)
{
    const struct cmd_listen_plan *plan = &o->plan;
    unsigned what =
        INLETS_LISTEN_VISITORS | (plan->shared ? INLETS_LISTEN_TUNNELS : 0);
    unsigned control =
        INLETS_LISTEN_TUNNELS | (o->control_tls ? INLETS_LISTEN_TLS : 0);
    size_t index = program->handed.count;
    int err = check_handed(program, o);

    for (size_t i = 0; err == 0 && i < program->handed.count; i++) {
        err = listen_on_handed(program, i);
    }
    if (err == 0 && program->handed.count == 0) {
        err = listen_on(program, plan->data_addr, plan->port, what, index++);
    }
    if (err == 0 && program->handed.count == 0 && !plan->shared) {
        err = listen_on(program, plan->control_addr, plan->control_port,
                        control, index++);
    }
    if (err == 0 && o->tls_port >= 0) {
        err = listen_on(program, plan->data_addr, o->tls_port,
                        what | INLETS_LISTEN_TLS, index);
    }
    return err;
}

static int start_signals(struct program *program)
{
    int rc = cmd_signals_start(&program->signals, &program->loop, on_signal,
                               program);

    if (rc == 0) {
        rc = uv_signal_init(&program->loop, &program->usr1);
    }
    if (rc == 0) {
        program->has_usr1 = true;
        program->usr1.data = program;
        rc = uv_signal_start(&program->usr1, on_usr1, SIGUSR1);
    }
    if (rc == 0) {
        rc = uv_signal_init(&program->loop, &program->hangup);
    }
    if (rc == 0) {
        program->has_hangup = true;
        program->hangup.data = program;
        rc = uv_signal_start(&program->hangup, on_hangup, SIGHUP);
    }
    return rc;
}

static int load_certs(struct program *program,
                      const struct cmd_server_options *o)
{
    struct cmd_problem p;
    size_t n;

    program->certs = &o->certs;
    if (!cmd_certs_is_given(program->certs)) {
        return 0;
    }
    cmd_certs_files(program->certs, program->reread);
    program->certs_stamp = cmd_certs_stamp(program->certs);
    if (cmd_certs_load(program->certs, program->server, &program->log, &n,
                       &p) != 0) {
        cmd_process_fail(&program->log, PROGRAM, "%s", p.text);
        return -1;
    }
    return 0;
}

static int load_client_ca(struct program *program,
                          const struct cmd_server_options *o)
{
    struct cmd_problem p;
    char *text = NULL;
    size_t len;
    int rc = o->client_ca == NULL
                 ? 0
                 : cmd_file_read(o->client_ca, CLIENT_CA_MAX, &text, &len, &p);

    if (rc == 0 && text != NULL &&
        inlets_server_set_client_ca(program->server,
                                    (struct inlets_slice){text, len}) != 0) {
        rc = cmd_problem_set(&p, "--client-ca: %s has no certificate in PEM",
                             o->client_ca);
    }
    free(text);
    if (rc != 0) {
        cmd_process_fail(&program->log, PROGRAM, "%s", p.text);
    }
    return rc;
}

static void watch_file(struct program *program, const char *file)
{
    size_t at = 0;

    while (program->reread[at] != NULL) {
        at++;
    }
    program->reread[at] = file;
}

static int load_accounts(struct program *program,
                         const struct cmd_server_options *o)
{
    struct cmd_problem p;
    size_t n;

    program->accounts.path = o->accounts;
    if (program->accounts.path == NULL) {
        return 0;
    }
    if (cmd_accounts_load(&program->accounts, program->server, &n, &p) != 0) {
        cmd_process_fail(&program->log, PROGRAM, "%s", p.text);
        return -1;
    }
    watch_file(program, program->accounts.path);
    for (size_t i = 0; i < program->accounts.nkeys; i++) {
        watch_file(program, program->accounts.keys[i].file);
    }
    if (n == 0) {
        cmd_log_say(&program->log, INLETS_LOG_WARN,
                    "there is no account yet: inlets-server account add makes "
                    "one",
                    "file", program->accounts.path, NULL);
    }
    return 0;
}

/* What cannot be read lets nobody in: the server does not start. */
static int load_visitors(struct program *program,
                         const struct cmd_server_options *o)
{
    struct cmd_problem p;
    size_t n;

    program->visitors = o->visitors;
    if (program->visitors == NULL) {
        return 0;
    }
    watch_file(program, program->visitors);
    program->visitors_stamp = cmd_file_stamp(0, program->visitors);
    if (cmd_visitors_load(program->visitors, program->server, &n, &p) != 0) {
        cmd_process_fail(&program->log, PROGRAM, "%s", p.text);
        return -1;
    }
    return 0;
}

static int load_files(struct program *program,
                      const struct cmd_server_options *o)
{
    if (load_certs(program, o) != 0 || load_client_ca(program, o) != 0 ||
        load_accounts(program, o) != 0 || load_visitors(program, o) != 0) {
        return -1;
    }
    return program->reread[0] == NULL ? 0 : watch_files(program);
}

/* Root opened what its successor cannot: certificates that were renewed would
 * be noticed when the old ones have expired. */
static void warn_of_unreadable(struct program *program)
{
    for (size_t i = 0; program->reread[i] != NULL; i++) {
        if (faccessat(AT_FDCWD, program->reread[i], R_OK, AT_EACCESS) != 0) {
            cmd_log_say(&program->log, INLETS_LOG_WARN,
                        "this will not be read again when it changes: the "
                        "user that this program became must be able to read "
                        "it, or the program be restarted",
                        "file", program->reread[i], NULL);
            return;
        }
    }
}

/* What to type on the other machine, so that it believes this one and nobody
 * who poses as it. */
static void say_own(struct program *program, const struct cmd_server_options *o)
{
    char line[2048], host[256] = "", where[CMD_ADDRESS_MAX + sizeof(host)];
    char pin[INLETS_FINGERPRINT_SIZE];
    const char *address =
        o->control_tls ? o->plan.control_addr : o->plan.data_addr;
    const char *path = o->server->tunnel_path;
    bool is_usual = strcmp(path, "/tunnel") == 0;

    if (!o->auto_tls || program->wss_port == 0) {
        return;
    }
    if (cmd_address_is_any(address)) {
        (void)gethostname(host, sizeof(host) - 1);
        address = host;
    }
    /* Beside other certificates, the own one is not everybody's. */
    if (inlets_server_shown_fingerprint(program->server, address, pin) != 0) {
        (void)snprintf(pin, sizeof(pin), "%s", o->own.fingerprint);
    }
    cmd_address_join(address, (int)program->wss_port, "", where, sizeof(where));
    (void)snprintf(line, sizeof(line),
                   "inlets-client --url wss://%s --server-fingerprint %s%s%s "
                   "--token-from token --upstream http://127.0.0.1:3000",
                   where, pin, is_usual ? "" : " --tunnel-path ",
                   is_usual ? "" : path);
    cmd_log_say(&program->log, INLETS_LOG_INFO,
                o->own.made ? "certificate made" : "certificate", "file",
                o->own.file, "clients_use", line, NULL);
}

static int start(struct program *program, const struct cmd_server_options *o)
{
    const struct cmd_sandbox sandbox = {.dials = false,
                                        .reread = program->reread};
    struct inlets_server_opts *s = o->server;
    int err;

    s->token = o->token;
    s->allow_anyone = o->allow_anyone;
    s->log = cmd_log_write;
    s->log_level = o->log_level;
    s->user = &program->log;
    /* Before anybody can know that we are there. */
    err = start_signals(program);
    if (err == 0) {
        err = inlets_server_new(&program->server, &program->loop, s);
    }
    if (err != 0) {
        cmd_process_fail(&program->log, PROGRAM, "cannot start: %s",
                         inlets_strerror(err));
    } else {
        err = load_files(program, o);
        if (err == 0) {
            err = listen_all(program, o);
        }
        if (err == 0) {
            err = cmd_process_confine(&program->log, PROGRAM, o->run_as,
                                      o->accounts != NULL ? o->accounts
                                                          : o->visitors,
                                      o->sandbox ? &sandbox : NULL);
        }
    }
    if (err != 0) {
        stop(program);
    } else {
        warn_of_unreadable(program);
        say_own(program, o);
    }
    return err;
}

static int run(struct cmd_server_options *o, const struct cmd_sockets *handed)
{
    struct program program = {
        .log = {.fd = STDERR_FILENO,
                .format = (enum cmd_log_format)o->log_format,
                .level = (enum inlets_log_level)o->log_level},
        .handed = *handed,
        .notify = cmd_notify_open()};
    int status = CMD_EXIT_OK;

    if (uv_loop_init(&program.loop) != 0) {
        cmd_process_fail(&program.log, PROGRAM, "cannot make an event loop");
        return CMD_EXIT_FAILED;
    }
    report_oddities(&program.log, o);
    if (start(&program, o) != 0) {
        status = CMD_EXIT_FAILED;
    } else {
        (void)cmd_log_turn_start(&program.turn, &program.loop, &program.log);
        cmd_notify_ready(program.notify);
    }
    /* The library has its own copy. */
    cmd_server_options_fini(o);
    (void)uv_run(&program.loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&program.loop) != 0) {
        cmd_process_fail(&program.log, PROGRAM, "handles were left open");
        status = CMD_EXIT_FAILED;
    }
    cmd_accounts_fini(&program.accounts);
    return status;
}

int main(int argc, char **argv)
{
    char *env_token = cmd_secret_from_environment("TOKEN");
    struct inlets_server_opts opts;
    struct cmd_server_options o;
    struct cmd_sockets handed;
    struct cmd_problem problem, socket_problem;
    int status = CMD_EXIT_OK;
    int sockets;

    if (argc > 1 && strcmp(argv[1], "account") == 0) {
        cmd_secret_free(env_token);
        return cmd_account_main(argc, argv);
    }
    sockets = cmd_sockets_take(&handed, &socket_problem);
    cmd_process_prepare();
    inlets_server_opts_init(&opts);
    if (cmd_server_options_parse(&o, &opts, argc, argv, env_token, &problem) !=
        0) {
        status = cmd_process_usage(PROGRAM, &problem);
    } else if (o.help) {
        (void)fputs(cmd_server_help, stdout);
    } else if (o.version) {
        cmd_process_version(PROGRAM);
    } else if (sockets != 0) {
        status = cmd_process_usage(PROGRAM, &socket_problem);
    } else {
        status = run(&o, &handed);
    }
    cmd_server_options_fini(&o);
    cmd_autotls_fini(&o.own);
    return status;
}
