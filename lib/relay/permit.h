/* permit.h: what a guard has to say of one request to whom asks for it: of a
 * refusal what the answer needs, and of a request that may pass what it may do,
 * and what is to be given back when it is over. */
#ifndef INL_RELAY_PERMIT_H
#define INL_RELAY_PERMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inl_guard;
struct inl_guard_tally;
struct inl_guard_place;

/* All zero at first. It must not move once it was given to a guard. */
struct inl_permit {
    const char *limit;       /* that struck, for the log; NULL: none */
    bool is_challenge;       /* a refusal: a token is needed, and */
    bool is_wrong;           /* the one shown is none */
    uint32_t retry_s;        /* a refusal: come back then; 0: nothing known */
    uint64_t max_body;       /* of the request; 0: no limit of its own */
    struct inl_guard *guard; /* NULL: nothing is to be given back */
    struct inl_guard_tally *tally; /* the guard's, as is: */
    struct inl_guard_place *place; /* may be NULL */
};

/* The request is over, however. Twice is harmless. */
void inl_permit_end(struct inl_permit *p);

#endif
