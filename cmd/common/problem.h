/* problem.h: what is wrong with a command line, in words for its user. */
#ifndef CMD_COMMON_PROBLEM_H
#define CMD_COMMON_PROBLEM_H

struct cmd_problem {
    char text[640];
};

/* Writes the text (cut when it is too long) and returns -1, so that a
 * function can find fault and return in one line. */
__attribute__((format(printf, 2, 3))) int
cmd_problem_set(struct cmd_problem *p, const char *format, ...);

#endif
