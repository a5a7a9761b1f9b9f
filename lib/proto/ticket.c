/* ticket.c: see ticket.h. No state, no memory. Strict: one way to write a
 * ticket, so that what two parties compare is the same text. */
#include "proto/ticket.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include "proto/crypto.h"
#include <inlets/err.h>
#include <inttypes.h>
#include <stdio.h>

#define SECRET_DIGITS (2 * INL_TICKET_SECRET_LEN)

size_t inl_ticket_format(const struct inl_ticket *t,
                         char buf[INL_TICKET_TEXT_MAX + 1])
{
    char secret[SECRET_DIGITS + 1] = {0};
    int n;

    inl_hex_encode(t->secret, sizeof(t->secret), secret);
    n = snprintf(buf, INL_TICKET_TEXT_MAX + 1, "%016" PRIx64 ".%u.%s.%" PRIu64,
                 t->session, t->lane, secret, t->received);
    inl_wipe(secret, sizeof(secret));
    if (t->start > 0) {
        n += snprintf(buf + n, INL_TICKET_TEXT_MAX + 1 - (size_t)n, ".%" PRIu64,
                      t->start);
    }
    return (size_t)n;
}

/* One way to write a number: no leading zero. */
static bool get_decimal(struct inlets_slice text, uint64_t *ret)
{
    return (text.len == 1 || (text.len > 1 && text.ptr[0] != '0')) &&
           inl_slice_to_u64(text, ret);
}

/* The part up to the next dot, which is dropped. */
static struct inlets_slice next_part(struct inlets_slice *rest)
{
    size_t dot = inl_slice_find(*rest, '.');
    struct inlets_slice part = inl_slice(rest->ptr, dot);

    *rest = dot < rest->len ? inl_slice_from(*rest, dot + 1)
                            : inl_slice_from(*rest, dot);
    return part;
}

/* What is left behind the last dot, if there was one. Never "0". */
static bool get_start(struct inlets_slice text, struct inlets_slice rest,
                      uint64_t *ret)
{
    bool has_one = rest.len > 0 || text.ptr[text.len - 1] == '.';

    return !has_one || (get_decimal(rest, ret) && *ret > 0);
}

int inl_ticket_parse(struct inlets_slice text, struct inl_ticket *ret)
{
    struct inl_ticket t = {0};
    struct inlets_slice rest = text;
    uint8_t session[8];
    uint64_t lane;

    if (text.len > INL_TICKET_TEXT_MAX ||
        !inl_hex_decode(next_part(&rest), session, sizeof(session)) ||
        !get_decimal(next_part(&rest), &lane) || lane >= INL_TICKET_LANES ||
        !inl_hex_decode(next_part(&rest), t.secret, sizeof(t.secret)) ||
        !get_decimal(next_part(&rest), &t.received) ||
        !get_start(text, rest, &t.start)) {
        return INLETS_EBADMESSAGE;
    }
    for (size_t i = 0; i < sizeof(session); i++) {
        t.session = t.session << 8 | session[i];
    }
    t.lane = (unsigned)lane;
    *ret = t;
    return 0;
}

int inl_ticket_find(const struct inlets_head *head, struct inl_ticket *ret)
{
    struct inlets_slice text = {NULL, 0};
    unsigned seen = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name,
                              INL_LIT(INL_TICKET_FIELD))) {
            text = inl_slice_trim(head->fields[i].value);
            seen++;
        }
    }
    if (seen != 1) {
        return seen == 0 ? INLETS_ENOROUTE : INLETS_EBADMESSAGE;
    }
    return inl_ticket_parse(text, ret);
}

bool inl_ticket_secret_is(const struct inl_ticket *t,
                          const uint8_t secret[INL_TICKET_SECRET_LEN])
{
    return inl_equal_constant_time(t->secret, secret, INL_TICKET_SECRET_LEN);
}
