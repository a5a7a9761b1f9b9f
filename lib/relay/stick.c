/* stick.c: see stick.h. */
#include "relay/stick.h"

#include "base/slice.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEY_DIGITS 16u

/* ---- by address ------------------------------------------------------- */

/* The finaliser of splitmix64: each bit of x moves half of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t inl_stick_weight(struct inlets_slice peer, uint64_t key)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (size_t i = 0; i < peer.len; i++) {
        hash = (hash ^ (uint8_t)peer.ptr[i]) * 1099511628211u;
    }
    return mix(hash ^ mix(key));
}

/* ---- by cookie -------------------------------------------------------- */

struct inlets_slice inl_stick_set_cookie(uint64_t key, char *buf)
{
    int n = snprintf(
        buf, INL_STICK_SET_SIZE,
        INL_STICK_NAME "=%016" PRIx64 "; Path=/; HttpOnly; SameSite=Lax", key);

    return inl_slice(buf, (size_t)n);
}

static bool parse_key(struct inlets_slice text, uint64_t *ret_key)
{
    uint64_t key = 0;

    if (text.len != KEY_DIGITS) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c >= '0' && c <= '9') {
            key = key << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            key = key << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    *ret_key = key;
    return key != 0;
}

/* The next piece of a value, up to ';'. False: there is none. */
static bool next_piece(struct inlets_slice *rest, struct inlets_slice *ret)
{
    size_t n;

    if (rest->ptr == NULL) {
        return false;
    }
    n = inl_slice_find(*rest, ';');
    *ret = inl_slice(rest->ptr, n);
    *rest = n < rest->len ? inl_slice_from(*rest, n + 1)
                          : (struct inlets_slice){NULL, 0};
    return true;
}

/* *ret_value: what is behind the '='. */
static bool is_ours(struct inlets_slice piece, struct inlets_slice *ret_value)
{
    size_t eq = inl_slice_find(piece, '=');

    *ret_value = inl_slice_trim(inl_slice_from(piece, eq + 1));
    return eq < piece.len &&
           inl_slice_eq(inl_slice_trim(inl_slice(piece.ptr, eq)),
                        INL_LIT(INL_STICK_NAME));
}

static bool has_open_quote(struct inlets_slice piece)
{
    unsigned quotes = 0;

    for (size_t i = 0; i < piece.len; i++) {
        quotes += piece.ptr[i] == '"';
    }
    return quotes % 2 != 0;
}

/* Is our cookie in there, and is it clear where each one ends? */
static bool can_cut(struct inlets_slice value)
{
    struct inlets_slice rest = value, piece, ignored;
    bool found = false;

    while (next_piece(&rest, &piece)) {
        if (has_open_quote(piece)) {
            return false;
        }
        found |= is_ours(piece, &ignored);
    }
    return found;
}

bool inl_stick_cut(struct inlets_slice value, char *buf,
                   struct inlets_slice *ret_rest, uint64_t *ret_key)
{
    struct inlets_slice rest = value, piece, text;
    bool known = false, first = true;
    char *at = buf;

    if (!can_cut(value)) {
        return false;
    }
    while (next_piece(&rest, &piece)) {
        if (is_ours(piece, &text)) {
            known = known || parse_key(text, ret_key);
        } else if (first) {
            (void)inl_slice_keep(&at, inl_slice_trim(piece));
            first = false;
        } else {
            *at++ = ';';
            (void)inl_slice_keep(&at, piece);
        }
    }
    *ret_rest = inl_slice_trim(inl_slice(buf, (size_t)(at - buf)));
    return true;
}

static bool is_cookie(const struct inlets_field *f)
{
    return inl_slice_eq_case(f->name, INL_LIT("Cookie"));
}

size_t inl_stick_bytes(const struct inlets_head *head)
{
    size_t bytes = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        if (is_cookie(&head->fields[i]) && can_cut(head->fields[i].value)) {
            bytes += head->fields[i].value.len;
        }
    }
    return bytes;
}

void inl_stick_strip(const struct inlets_head *head,
                     struct inlets_field *fields, char *buf,
                     struct inlets_head *ret, uint64_t *ret_key)
{
    size_t n = 0;

    *ret_key = 0;
    for (size_t i = 0; i < head->nfields; i++) {
        uint64_t key = 0;

        fields[n] = head->fields[i];
        if (is_cookie(&fields[n]) &&
            inl_stick_cut(head->fields[i].value, buf, &fields[n].value, &key)) {
            buf += head->fields[i].value.len;
            *ret_key = *ret_key != 0 ? *ret_key : key;
            if (fields[n].value.len == 0) {
                continue;
            }
        }
        n++;
    }
    *ret = *head;
    ret->fields = fields;
    ret->nfields = n;
}
