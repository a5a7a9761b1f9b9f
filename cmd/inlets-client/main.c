/* inlets-client: the dev machine's end. Reads flags, connects, and lets
 * libinlets do the rest until a signal comes (the first one drains, the
 * second one cuts) or until the exit node refuses for good.
 *
 * Life: options -> start -> loop -> (drain) -> stop. Only the client and the
 * signal handles keep the loop alive; stop() closes all of them, so the loop
 * ends by itself. SIGHUP reads the files of --upstreams-from and #ca: again and
 * applies the difference; a file with a mistake in it changes nothing. */
#include "options.h"

#include "common/file.h"
#include "common/logsink.h"
#include "common/logturn.h"
#include "common/process.h"
#include "common/sandbox.h"
#include "common/secret.h"
#include "common/sockets.h"
#include <inlets/inlets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define PROGRAM "inlets-client"

struct program {
    uv_loop_t loop;
    struct cmd_log log;
    struct cmd_log_turn turn;
    struct cmd_signals signals;
    uv_signal_t hangup;
    struct inlets_client *client;
    const struct cmd_client_options *options;
    struct cmd_upstreams served; /* owned */
    uv_timer_t watch;            /* of the token's file */
    uint64_t token_stamp;
    bool has_hangup, has_watch, has_token;
    bool stopping;
    int notify; /* -1: nobody wants to know */
    int status;
};

static void report_oddities(struct cmd_log *log,
                            const struct cmd_client_options *o)
{
    cmd_log_warn_if(log, o->token_warning != NULL, o->token_warning);
    if (o->key_warning != NULL) {
        cmd_log_say(log, INLETS_LOG_WARN, o->key_warning, "file", o->key_file,
                    NULL);
    }
    cmd_log_warn_if(log, o->proxies.warning != NULL, o->proxies.warning);
    cmd_log_warn_if(
        log, o->no_wrapping,
        "--disable-transport-wrapping does nothing: answers are never "
        "rewritten");
    cmd_log_warn_if(log, o->insecure,
                    "DANGER: by ws:// whoever listens on the way reads the "
                    "token and every request (--insecure)");
    cmd_log_warn_if(log, o->skip_verify,
                    "DANGER: whoever is on the way can pose as the exit node, "
                    "and read the token and every request "
                    "(--tls-skip-verify)");
    if (o->token != NULL && o->print_token) {
        cmd_log_say(log, INLETS_LOG_INFO, "token", "token", o->token, NULL);
    }
}

/* --- the end --------------------------------------------------------------*/

static void stop(struct program *program)
{
    cmd_signals_stop(&program->signals);
    if (program->has_hangup) {
        program->has_hangup = false;
        uv_close((uv_handle_t *)&program->hangup, NULL);
    }
    if (program->has_watch) {
        program->has_watch = false;
        uv_close((uv_handle_t *)&program->watch, NULL);
    }
    inlets_client_close(program->client, NULL, NULL);
    program->client = NULL;
    cmd_log_turn_stop(&program->turn);
}

static void on_signal(int signum, unsigned count, void *user)
{
    struct program *program = user;
    const char *name = signum == SIGINT ? "SIGINT" : "SIGTERM";

    program->stopping = true;
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
    inlets_client_drain(program->client);
}

static const char *refusal_remedy(int err, bool has_token)
{
    switch (err) {
    case INLETS_EAUTH:
        return has_token ? "; is it the same on both sides?"
                         : "; none was given: --token-from, --token or $TOKEN";
    case INLETS_EFORBIDDEN:
        return "; the line before says what: the accounts of the exit node "
               "have hosts, networks and dates";
    case INLETS_ECERT:
        return "; --ca-file names who may sign it, --server-fingerprint which "
               "one it must be";
    case INLETS_ECLIENTCERT:
        return "; --client-cert FILE --client-key FILE show one, which its "
               "operator has signed or named";
    case INLETS_EHANDSHAKE:
        return "; is it an inlets-server, and are --url's port and "
               "--tunnel-path those of its clients?";
    case INLETS_EPROXYAUTH:
        return "; --proxy http://user:password@host:port gives them, or "
               "--proxy-from a file with that";
    case INLETS_EPROXY:
        return "; its words are in the log, and --proxy none goes without it";
    default:
        return "";
    }
}

static void on_state(struct inlets_client *client,
                     enum inlets_client_state state, int err, void *user)
{
    struct program *program = user;

    (void)client;
    if (state != INLETS_CLIENT_STOPPED) {
        return;
    }
    if (err != 0) {
        const struct inlets_client_opts *c = program->options->client;

        cmd_process_fail(&program->log, PROGRAM,
                         err == INLETS_EPROXY || err == INLETS_EPROXYAUTH ||
                                 err == INLETS_ECERT
                             ? "no way to %s: %s%s"
                             : "%s refuses this client: %s%s",
                         c->nurls == 1 ? c->urls[0] : "every --url",
                         inlets_strerror(err),
                         refusal_remedy(err, program->has_token));
        program->status = CMD_EXIT_FAILED;
    }
    stop(program);
}

/* --- what is served, anew -------------------------------------------------*/

static void say_served(struct program *program, const struct cmd_upstream *u)
{
    cmd_log_say(&program->log, INLETS_LOG_INFO, "serving", "endpoint",
                cmd_upstream_endpoint_name(u), "upstream", u->url,
                u->ca_file != NULL ? "ca" : NULL, u->ca_file, NULL);
}

static int serve(struct inlets_client *client, const struct cmd_upstream *u,
                 bool instead)
{
    struct inlets_upstream_opts opts;

    inlets_upstream_opts_init(&opts);
    opts.ca = u->ca;
    return instead ? inlets_client_replace_upstream(client, u->endpoint, u->url,
                                                    &opts)
                   : inlets_client_expose_upstream(client, u->endpoint, u->url,
                                                   &opts);
}

struct counts {
    size_t added, changed, removed, kept;
};

/* Out of memory is all that can go wrong: the files were checked. Then it is
 * forgotten, so that the next SIGHUP tries again. */
static void apply_one(struct program *program, struct cmd_upstream *u,
                      struct counts *n)
{
    const struct cmd_upstream *old =
        cmd_upstreams_find(&program->served, u->endpoint);
    int err;

    if (old != NULL && cmd_upstream_is_same(old, u)) {
        n->kept++;
        return;
    }
    err = serve(program->client, u, old != NULL);
    if (err != 0) {
        cmd_log_say(&program->log, INLETS_LOG_ERROR, "cannot serve", "endpoint",
                    cmd_upstream_endpoint_name(u), "why", inlets_strerror(err),
                    NULL);
        u->url[0] = '\0'; /* like no URL that can be asked for */
        return;
    }
    n->added += old == NULL;
    n->changed += old != NULL;
    say_served(program, u);
}

/* Those that are served already, or those that are not. */
static void apply_all(struct program *program, struct cmd_upstreams *now,
                      bool served, struct counts *n)
{
    for (size_t i = 0; i < now->count; i++) {
        const char *endpoint = now->items[i].endpoint;

        if ((cmd_upstreams_find(&program->served, endpoint) != NULL) ==
            served) {
            apply_one(program, &now->items[i], n);
        }
    }
}

static void remove_others(struct program *program,
                          const struct cmd_upstreams *now, struct counts *n)
{
    for (size_t i = 0; i < program->served.count; i++) {
        const struct cmd_upstream *u = &program->served.items[i];

        if (cmd_upstreams_find(now, u->endpoint) == NULL &&
            inlets_client_withdraw(program->client, u->endpoint) == 0) {
            n->removed++;
            cmd_log_say(&program->log, INLETS_LOG_INFO, "not served any more",
                        "endpoint", cmd_upstream_endpoint_name(u), NULL);
        }
    }
}

static void say_counts(struct program *program, const struct counts *n)
{
    char added[24], changed[24], removed[24], kept[24];

    (void)snprintf(added, sizeof(added), "%zu", n->added);
    (void)snprintf(changed, sizeof(changed), "%zu", n->changed);
    (void)snprintf(removed, sizeof(removed), "%zu", n->removed);
    (void)snprintf(kept, sizeof(kept), "%zu", n->kept);
    cmd_log_say(&program->log, INLETS_LOG_INFO, "reloaded", "added", added,
                "changed", changed, "removed", removed, "unchanged", kept,
                NULL);
}

static void reload(struct program *program)
{
    struct cmd_upstreams now = {0};
    struct counts n = {0};
    struct cmd_problem p;

    if (cmd_client_load_upstreams(program->options, &now, &p) != 0) {
        cmd_log_say(&program->log, INLETS_LOG_ERROR,
                    "not reloaded, nothing has changed", "why", p.text, NULL);
        return;
    }
    /* What changes comes first: it must not wait behind many new ones. */
    apply_all(program, &now, true, &n);
    apply_all(program, &now, false, &n);
    remove_others(program, &now, &n);
    cmd_upstreams_fini(&program->served);
    program->served = now;
    say_counts(program, &n);
}

static bool has_files(const struct program *program)
{
    bool has = program->options->upstreams_file != NULL;

    for (size_t i = 0; !has && i < program->served.count; i++) {
        has = program->served.items[i].ca_file != NULL;
    }
    return has;
}

static void on_hangup(uv_signal_t *handle, int signum)
{
    struct program *program = handle->data;

    (void)signum;
    if (program->stopping || !has_files(program)) {
        cmd_log_say(&program->log, INLETS_LOG_INFO, "SIGHUP is ignored", "why",
                    program->stopping ? "on the way out"
                                      : "there is no --upstreams-from, and no "
                                        "upstream with #ca:, to read",
                    NULL);
        return;
    }
    cmd_notify_reloading(program->notify);
    reload(program);
    cmd_notify_ready(program->notify);
}

/* --- the token, anew -------------------------------------------------------*/

/* How often its file is looked at: a token that is made anew every hour must be
 * there before the next connect. */
#define WATCH_MS 2000u

/* What cannot be read, or is no token yet, is tried again when it changes. */
static void reload_token(struct program *program)
{
    const char *path = program->options->token_file, *warning;
    struct cmd_problem p;
    char *token = NULL;
    int rc;

    program->token_stamp = cmd_file_stamp(0, path);
    rc = cmd_secret_from_file(
        path, program->options->is_basic ? "user:password" : "token", &token,
        &warning, &p);
    if (rc == 0) {
        int err = inlets_client_set_token(program->client, token);

        rc = err == 0 ? 0 : cmd_problem_set(&p, "%s", inlets_strerror(err));
    }
    cmd_secret_free(token);
    cmd_log_say(&program->log, rc == 0 ? INLETS_LOG_INFO : INLETS_LOG_WARN,
                rc == 0 ? "token read anew, and shown"
                        : "token not read anew, the old one stays",
                rc == 0 ? "file" : "why", rc == 0 ? path : p.text, NULL);
}

static void on_watch(uv_timer_t *handle)
{
    struct program *program = handle->data;

    if (cmd_file_stamp(0, program->options->token_file) !=
        program->token_stamp) {
        reload_token(program);
    }
}

/* A pipe can be read only once. */
static bool is_watchable(const char *path)
{
    struct stat st;

    return path != NULL && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int watch_token(struct program *program)
{
    int rc;

    if (!is_watchable(program->options->token_file)) {
        return 0;
    }
    program->token_stamp = cmd_file_stamp(0, program->options->token_file);
    rc = uv_timer_init(&program->loop, &program->watch);
    if (rc == 0) {
        program->has_watch = true;
        program->watch.data = program;
        uv_unref((uv_handle_t *)&program->watch);
        rc = uv_timer_start(&program->watch, on_watch, WATCH_MS, WATCH_MS);
    }
    return rc;
}

static int watch_signals(struct program *program)
{
    int rc = uv_signal_init(&program->loop, &program->hangup);

    if (rc != 0) {
        return rc;
    }
    program->hangup.data = program;
    program->has_hangup = true;
    rc = uv_signal_start(&program->hangup, on_hangup, SIGHUP);
    return rc != 0 ? rc
                   : cmd_signals_start(&program->signals, &program->loop,
                                       on_signal, program);
}

/* --- the beginning --------------------------------------------------------*/

static void on_log(enum inlets_log_level level, const char *event,
                   const struct inlets_log_field *fields, size_t nfields,
                   void *user)
{
    struct program *program = user;

    cmd_log_write(level, event, fields, nfields, &program->log);
}

/* The exit status. */
static int fail(struct program *program, int err)
{
    cmd_process_fail(&program->log, PROGRAM, "cannot start: %s",
                     inlets_strerror(err));
    return CMD_EXIT_FAILED;
}

static int expose_all(struct program *program)
{
    struct cmd_problem p;

    if (cmd_client_load_upstreams(program->options, &program->served, &p) !=
        0) {
        return cmd_process_usage(PROGRAM, &p);
    }
    for (size_t i = 0; i < program->served.count; i++) {
        const struct cmd_upstream *u = &program->served.items[i];
        int err = serve(program->client, u, false);

        if (err != 0) {
            cmd_client_explain_upstream(program->options, u, err, &p);
            return cmd_process_usage(PROGRAM, &p);
        }
    }
    for (size_t i = 0; i < program->served.count; i++) {
        say_served(program, &program->served.items[i]);
    }
    return CMD_EXIT_OK;
}

/* NULL: none is at fault. */
static const char *find_url(const struct inlets_client_opts *c, int err)
{
    for (size_t i = 0; i < c->nurls; i++) {
        if (inlets_client_check_url(c->urls[i], c->insecure) == err) {
            return c->urls[i];
        }
    }
    return NULL;
}

/* Which of the urls or proxies the library does not take. */
static int explain_urls(const struct cmd_client_options *o, int err)
{
    const struct cmd_proxies *proxies = &o->proxies;
    const char *culprit = find_url(o->client, err);
    struct cmd_problem p;

    if (culprit != NULL) {
        cmd_client_explain_url(culprit, err, &p);
    } else if (inlets_client_check_proxy(proxies->plain) == err) {
        cmd_proxies_explain(proxies->plain_from, proxies->plain, err, &p);
    } else if (inlets_client_check_proxy(proxies->tls) == err) {
        cmd_proxies_explain(proxies->tls_from, proxies->tls, err, &p);
    } else { /* it is insecure on its way to the proxy */
        cmd_client_explain_url(o->client->urls[0], err, &p);
    }
    return cmd_process_usage(PROGRAM, &p);
}

/* Names are resolved by threads, so it comes before the first dial. */
static int confine(struct program *program, const struct cmd_client_options *o)
{
    const char **reread = calloc(program->served.count + 3, sizeof(*reread));
    const struct cmd_sandbox sandbox = {.dials = true, .reread = reread};
    const char *first;
    size_t n = 0;
    int rc;

    if (reread == NULL) {
        return fail(program, INLETS_ENOMEM);
    }
    if (o->upstreams_file != NULL) {
        reread[n++] = o->upstreams_file;
    }
    for (size_t i = 0; i < program->served.count; i++) {
        if (program->served.items[i].ca_file != NULL) {
            reread[n++] = program->served.items[i].ca_file;
        }
    }
    first = reread[0];
    /* No privilege is kept for it: most tokens never change. */
    reread[n] = o->token_file;
    rc = cmd_process_confine(&program->log, PROGRAM, o->run_as, first,
                             o->sandbox ? &sandbox : NULL);
    free(reread);
    return rc == 0 ? CMD_EXIT_OK : CMD_EXIT_FAILED;
}

/* The exit status; what was begun is stopped by the caller. */
static int start(struct program *program, const struct cmd_client_options *o)
{
    struct inlets_client_opts *c = o->client;
    int status;
    int err;

    c->token = o->token;
    c->insecure = o->insecure;
    c->stop_if_refused = 1;
    c->log = on_log;
    c->log_level = o->log_level;
    c->on_state = on_state;
    c->user = program;
    err = inlets_client_new(&program->client, &program->loop, c);
    if (err == INLETS_ENOMEM) {
        return fail(program, err);
    }
    if (err != 0) {
        return explain_urls(o, err);
    }
    status = expose_all(program);
    if (status == CMD_EXIT_OK) {
        status = confine(program, o);
    }
    if (status != CMD_EXIT_OK) {
        return status;
    }
    for (size_t i = 0; i < c->nurls; i++) {
        cmd_log_say(&program->log, INLETS_LOG_INFO, "connecting", "url",
                    c->urls[i], NULL);
    }
    err = watch_signals(program) != 0 || watch_token(program) != 0
              ? INLETS_EINTERNAL
              : inlets_client_start(program->client);
    return err == 0 ? CMD_EXIT_OK : fail(program, err);
}

static int run(struct cmd_client_options *o)
{
    struct program program = {
        .log = {.fd = STDERR_FILENO,
                .format = (enum cmd_log_format)o->log_format,
                .level = (enum inlets_log_level)o->log_level},
        .options = o,
        .notify = cmd_notify_open(),
        .has_token = o->token != NULL};

    if (uv_loop_init(&program.loop) != 0) {
        cmd_process_fail(&program.log, PROGRAM, "cannot make an event loop");
        return CMD_EXIT_FAILED;
    }
    report_oddities(&program.log, o);
    program.status = start(&program, o);
    if (program.status != CMD_EXIT_OK) {
        stop(&program);
    } else {
        (void)cmd_log_turn_start(&program.turn, &program.loop, &program.log);
        cmd_notify_ready(program.notify);
    }
    /* The library has its own copy. */
    cmd_client_options_forget_secrets(o);
    (void)uv_run(&program.loop, UV_RUN_DEFAULT);
    cmd_upstreams_fini(&program.served);
    if (uv_loop_close(&program.loop) != 0) {
        cmd_process_fail(&program.log, PROGRAM, "handles were left open");
        program.status = CMD_EXIT_FAILED;
    }
    return program.status;
}

int main(int argc, char **argv)
{
    char *env_token = cmd_secret_from_environment("TOKEN");
    struct cmd_proxies_env env_proxies;
    struct inlets_client_opts opts;
    struct cmd_client_options o;
    struct cmd_problem problem;
    int status = CMD_EXIT_OK;

    cmd_proxies_from_environment(&env_proxies);
    cmd_process_prepare();
    inlets_client_opts_init(&opts);
    if (cmd_client_options_parse(&o, &opts, argc, argv, env_token, &env_proxies,
                                 &problem) != 0) {
        status = cmd_process_usage(PROGRAM, &problem);
    } else if (o.help) {
        (void)fputs(cmd_client_help, stdout);
    } else if (o.version) {
        cmd_process_version(PROGRAM);
    } else {
        status = run(&o);
    }
    cmd_client_options_fini(&o);
    cmd_proxies_env_fini(&env_proxies);
    return status;
}
