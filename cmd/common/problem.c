/* problem.c: see problem.h. */
#include "common/problem.h"

#include <stdarg.h>
#include <stdio.h>

int cmd_problem_set(struct cmd_problem *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(p->text, sizeof(p->text), format, args);
    va_end(args);
    return -1;
}
