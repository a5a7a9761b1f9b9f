/* inlets-client: the dev machine's end. Reads flags, connects, and lets
 * libinlets do the rest until a signal comes (the first one drains, the
 * second one cuts) or until the exit node refuses for good.
 *
 * Life: options -> start -> loop -> (drain) -> stop. Only the client and the
 * two signal handles keep the loop alive; stop() closes all three, so the
 * loop ends by itself. */
#include "options.h"

#include "common/logsink.h"
#include "common/process.h"
#include "common/secret.h"
#include <inlets/inlets.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#define PROGRAM "inlets-client"

struct program {
    uv_loop_t loop;
    struct cmd_log log;
    struct cmd_signals signals;
    struct inlets_client *client;
    const char *url;
    bool has_token;
    int status;
};

static void report_oddities(struct cmd_log *log,
                            const struct cmd_client_options *o)
{
    cmd_log_warn_if(log, o->token_warning != NULL, o->token_warning);
    cmd_log_warn_if(
        log, o->no_wrapping,
        "--disable-transport-wrapping does nothing: answers are never "
        "rewritten");
    if (o->token != NULL && o->print_token) {
        cmd_log_say(log, INLETS_LOG_INFO, "token", "token", o->token, NULL);
    }
}

/* --- the end --------------------------------------------------------------*/

static void stop(struct program *program)
{
    cmd_signals_stop(&program->signals);
    inlets_client_close(program->client, NULL, NULL);
    program->client = NULL;
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
        return "; the exit node lets this token serve other hosts only";
    case INLETS_EHANDSHAKE:
        return "; is it an inlets-server, and are --url's port and "
               "--tunnel-path those of its clients?";
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
        cmd_process_fail(&program->log, PROGRAM, "%s refuses this client: %s%s",
                         program->url, inlets_strerror(err),
                         refusal_remedy(err, program->has_token));
        program->status = CMD_EXIT_FAILED;
    }
    stop(program);
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

static int expose_all(struct program *program, const struct cmd_upstreams *all)
{
    struct cmd_problem p;

    for (size_t i = 0; i < all->count; i++) {
        const struct cmd_upstream *u = &all->items[i];
        int err =
            inlets_client_expose_url(program->client, u->endpoint, u->url);

        if (err != 0) {
            cmd_client_explain_upstream(u, err, &p);
            return cmd_process_usage(PROGRAM, &p);
        }
    }
    for (size_t i = 0; i < all->count; i++) {
        const struct cmd_upstream *u = &all->items[i];

        cmd_log_say(&program->log, INLETS_LOG_INFO, "serving", "endpoint",
                    cmd_upstream_endpoint_name(u), "upstream", u->url, NULL);
    }
    return CMD_EXIT_OK;
}

/* The exit status; what was begun is stopped by the caller. */
static int start(struct program *program, const struct cmd_client_options *o)
{
    struct inlets_client_opts *c = o->client;
    struct cmd_problem p;
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
        cmd_client_explain_url(program->url, err, &p);
        return cmd_process_usage(PROGRAM, &p);
    }
    status = expose_all(program, &o->upstreams);
    if (status != CMD_EXIT_OK) {
        return status;
    }
    cmd_log_say(&program->log, INLETS_LOG_INFO, "connecting", "url",
                program->url, NULL);
    err = cmd_signals_start(&program->signals, &program->loop, on_signal,
                            program) != 0
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
        .url = o->client->url,
        .has_token = o->token != NULL};

    if (uv_loop_init(&program.loop) != 0) {
        cmd_process_fail(&program.log, PROGRAM, "cannot make an event loop");
        return CMD_EXIT_FAILED;
    }
    report_oddities(&program.log, o);
    program.status = start(&program, o);
    if (program.status != CMD_EXIT_OK) {
        stop(&program);
    }
    /* The library has its own copy. */
    cmd_client_options_forget_token(o);
    cmd_process_hide();
    (void)uv_run(&program.loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&program.loop) != 0) {
        cmd_process_fail(&program.log, PROGRAM, "handles were left open");
        program.status = CMD_EXIT_FAILED;
    }
    return program.status;
}

int main(int argc, char **argv)
{
    char *env_token = cmd_secret_from_environment("TOKEN");
    struct inlets_client_opts opts;
    struct cmd_client_options o;
    struct cmd_problem problem;
    int status = CMD_EXIT_OK;

    cmd_process_prepare();
    inlets_client_opts_init(&opts);
    if (cmd_client_options_parse(&o, &opts, argc, argv, env_token, &problem) !=
        0) {
        status = cmd_process_usage(PROGRAM, &problem);
    } else if (o.help) {
        (void)fputs(cmd_client_help, stdout);
    } else if (o.version) {
        cmd_process_version(PROGRAM);
    } else {
        status = run(&o);
    }
    cmd_client_options_fini(&o);
    return status;
}
