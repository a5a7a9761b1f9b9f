/* process.c: see process.h. */
#include "common/process.h"

#include "common/privileges.h"
#include "common/sandbox.h"
#include <fcntl.h>
#include <inlets/version.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

static void open_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= 2);
    if (fd > 2) {
        (void)close(fd);
    }
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        /* Refused: we live with what there is. */
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void cmd_process_prepare(void)
{
    open_standard_descriptors();
    (void)signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
}

void cmd_process_hide(void)
{
    const char *debuggable = getenv("INLETS_DEBUGGABLE");
    const struct rlimit none = {0, 0};

    if (debuggable != NULL && strcmp(debuggable, "1") == 0) {
#ifdef __linux__
        /* The kernel takes it away with the user. */
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
        return;
    }
    (void)setrlimit(RLIMIT_CORE, &none);
#ifdef __linux__
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

static int enter_sandbox(struct cmd_log *log, const struct cmd_sandbox *s,
                         struct cmd_problem *p)
{
    char level[16];
    int abi = 0;

    if (cmd_sandbox_enter(s, &abi, p) != 0) {
        return -1;
    }
    (void)snprintf(level, sizeof(level), "%d", abi);
    cmd_log_say(log, INLETS_LOG_INFO, "in the sandbox", "seccomp", "filter",
                "landlock", level, "network",
                abi >= 4 && !s->dials ? "accepts only" : "dials", NULL);
    return 0;
}

int cmd_process_confine(struct cmd_log *log, const char *program,
                        const char *user, const char *reread,
                        const struct cmd_sandbox *s)
{
    struct cmd_problem p;

    if (cmd_privileges_drop(log, user, reread, &p) != 0) {
        cmd_process_fail(log, program, "%s", p.text);
        return -1;
    }
    /* Before the sandbox, which refuses it; a change of user undid it. */
    cmd_process_hide();
    if (s != NULL && enter_sandbox(log, s, &p) != 0) {
        cmd_process_fail(log, program, "%s", p.text);
        return -1;
    }
    return 0;
}

int cmd_process_usage(const char *program, const struct cmd_problem *p)
{
    (void)fprintf(stderr, "%s: %s\nTry '%s --help'.\n", program, p->text,
                  program);
    return CMD_EXIT_USAGE;
}

void cmd_process_fail(struct cmd_log *log, const char *program,
                      const char *format, ...)
{
    char text[CMD_LOG_VALUE_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cmd_log_flush(log);
    if (log->format == CMD_LOG_JSON) {
        cmd_log_say(log, INLETS_LOG_ERROR, text, NULL);
    } else {
        (void)fprintf(stderr, "%s: %s\n", program, text);
    }
}

void cmd_process_version(const char *program)
{
    printf("%s %s\n%s\n", program, inlets_version(),
           inlets_version_libraries());
}

static void on_uv_signal(uv_signal_t *handle, int signum)
{
    struct cmd_signals *s = handle->data;

    s->count++;
    s->on_signal(signum, s->count, s->user);
}

int cmd_signals_start(struct cmd_signals *s, uv_loop_t *loop,
                      void (*on_signal)(int signum, unsigned count, void *user),
                      void *user)
{
    static const int signums[] = {SIGTERM, SIGINT};

    *s = (struct cmd_signals){.on_signal = on_signal, .user = user};
    while (s->nhandles < 2) {
        uv_signal_t *handle = &s->handles[s->nhandles];
        int rc = uv_signal_init(loop, handle);

        if (rc != 0) {
            return rc;
        }
        handle->data = s;
        rc = uv_signal_start(handle, on_uv_signal, signums[s->nhandles]);
        s->nhandles++;
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

void cmd_signals_stop(struct cmd_signals *s)
{
    while (s->nhandles > 0) {
        s->nhandles--;
        uv_close((uv_handle_t *)&s->handles[s->nhandles], NULL);
    }
}
