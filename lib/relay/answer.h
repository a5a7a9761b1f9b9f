/* answer.h: what a visitor is told when there is no answer to pass on. */
#ifndef INL_RELAY_ANSWER_H
#define INL_RELAY_ANSWER_H

#include <inlets/err.h>
#include <inlets/types.h>

/* The status for an error of ours or of the tunnel: 400-505. */
unsigned inl_status_of_error(int err);
/* A sentence for the body: names no address and no other host. */
const char *inl_answer_text(unsigned status);

/* What a client whose handshake is refused can tell its user. */
#define INL_REASON_FIELD "Inlets-Reason"

/* A body that the user wants instead of ours. */
struct inl_error_page {
    unsigned status; /* 400..599; 4 and 5: any of that class */
    struct inlets_slice type, body;
    char text[]; /* of both */
};

/* All zero: empty. Owns its pages. */
struct inl_error_pages {
    struct inl_error_page **items;
    size_t n;
};

/* They wait in the out queue of each connection that is told so. */
#define INL_ERROR_PAGE_MAX (64u * 1024)

/* Copies. A page of the same status is replaced. INLETS_EINVAL: no such
 * status, too long, or a type that is no field value; INLETS_ENOMEM. */
int inl_error_pages_add(struct inl_error_pages *pages, unsigned status,
                        struct inlets_slice type, struct inlets_slice body);
void inl_error_pages_fini(struct inl_error_pages *pages);
/* The status itself goes before its class. NULL: there is none; pages may be
 * NULL. */
const struct inl_error_page *
inl_error_pages_find(const struct inl_error_pages *pages, unsigned status);

#endif
