/* logturn.c: see logturn.h. */
#include "common/logturn.h"

static void on_idle(uv_idle_t *idle)
{
    struct cmd_log_turn *t = idle->data;

    (void)uv_idle_stop(idle);
    cmd_log_flush(t->log);
}

static void wake(void *user)
{
    struct cmd_log_turn *t = user;

    (void)uv_idle_start(&t->idle, on_idle);
}

int cmd_log_turn_start(struct cmd_log_turn *t, uv_loop_t *loop,
                       struct cmd_log *log)
{
    int rc = uv_idle_init(loop, &t->idle);

    if (rc == 0) {
        t->idle.data = t;
        t->log = log;
        log->wake_user = t;
        log->wake = wake;
    }
    return rc;
}

void cmd_log_turn_stop(struct cmd_log_turn *t)
{
    if (t->log != NULL) {
        t->log->wake = NULL;
        cmd_log_flush(t->log);
        t->log = NULL;
        uv_close((uv_handle_t *)&t->idle, NULL);
    }
}
