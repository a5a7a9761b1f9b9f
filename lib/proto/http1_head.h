/* http1_head.h: what a whole head means: its start line, how its body is
 * framed, what becomes of the connection (RFC 9112 3, 6.3, 9.3). For http1.c
 * alone. */
#ifndef INL_PROTO_HTTP1_HEAD_H
#define INL_PROTO_HTTP1_HEAD_H

#include "proto/http1.h"
#include "proto/http1_rules.h"

/* Takes the first error and returns it, for handing on; reason NULL: llhttp has
 * said it. */
int inl_http1_fail(struct inl_http1 *h, int err, const char *reason);

bool inl_http1_is_interim(const struct inl_http1 *h);
/* Statuses that come without body, whatever the fields say (RFC 9112 6.3). */
bool inl_http1_is_bodiless(const struct inl_http1 *h);

/* Fills in all of head but its fields, and the parser's flags. Or h->err. */
int inl_http1_settle_head(struct inl_http1 *h,
                          const struct inl_http1_facts *facts,
                          struct inlets_head *head);

#endif
