/* logturn.h: log lines leave once a turn of the loop, not one by one: a line
 * for every request would else be two system calls for every request. */
#ifndef CMD_COMMON_LOGTURN_H
#define CMD_COMMON_LOGTURN_H

#include "common/logsink.h"
#include <uv.h>

struct cmd_log_turn {
    uv_idle_t idle; /* active while lines wait: the loop then does not sleep */
    struct cmd_log *log;
};

/* From now on lines wait for the end of the turn. 0 or a negative uv error:
 * then they do not. */
int cmd_log_turn_start(struct cmd_log_turn *t, uv_loop_t *loop,
                       struct cmd_log *log);
/* Writes what waits; later lines leave at once. The loop has to run once more
 * to be rid of the handle. Harmless twice, and without start. */
void cmd_log_turn_stop(struct cmd_log_turn *t);

#endif
