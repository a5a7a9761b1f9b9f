/* slice.h: questions about borrowed bytes. Nothing here allocates. */
#ifndef INL_BASE_SLICE_H
#define INL_BASE_SLICE_H

#include <inlets/types.h>
#include <stdbool.h>
#include <string.h>

/* A slice of a string literal, or of a C string. */
#define INL_LIT(s) ((struct inlets_slice){"" s, sizeof(s) - 1})

static inline struct inlets_slice inl_slice(const void *ptr, size_t len)
{
    return (struct inlets_slice){ptr, len};
}

static inline struct inlets_slice inl_str(const char *s)
{
    return inl_slice(s, s == NULL ? 0 : strlen(s));
}

static inline bool inl_slice_eq(struct inlets_slice a, struct inlets_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII case-insensitive; locale is never asked. */
bool inl_slice_eq_case(struct inlets_slice a, struct inlets_slice b);
bool inl_slice_starts(struct inlets_slice s, struct inlets_slice prefix);
bool inl_slice_starts_case(struct inlets_slice s, struct inlets_slice prefix);
/* Does a field's name begin with `lower`, as programs read it that fold case,
 * and '_' and '-' (CVE-2025-64484)? */
bool inl_slice_folds_to(struct inlets_slice name, struct inlets_slice lower);
/* Position of the first c, or s.len. */
size_t inl_slice_find(struct inlets_slice s, char c);
/* Without leading and trailing spaces and tabs (OWS, RFC 9110 5.6.3). */
struct inlets_slice inl_slice_trim(struct inlets_slice s);
/* s.ptr[from .. s.len); from beyond the end gives an empty slice. */
struct inlets_slice inl_slice_from(struct inlets_slice s, size_t from);

/* Walks a comma list (RFC 9110 5.6.1): *rest is advanced, empty elements are
 * skipped, elements are trimmed. false when there are no more. */
bool inl_slice_next_element(struct inlets_slice *rest,
                            struct inlets_slice *ret_element);
/* Does the comma list name this token (case-insensitive)? */
bool inl_slice_list_has(struct inlets_slice list, struct inlets_slice token);

/* Decimal digits only, whole slice; false on anything else or overflow. */
bool inl_slice_to_u64(struct inlets_slice s, uint64_t *ret_value);

/* A token, RFC 9110 5.6.2; a field value without CR, LF, NUL or other
 * controls but HTAB, RFC 9110 5.5. */
bool inl_slice_is_token(struct inlets_slice s);
bool inl_slice_is_field_value(struct inlets_slice s);

char inl_lower(char c);

/* Copies s to *at, which moves on behind it: for the texts that an object keeps
 * in one block with itself. */
static inline struct inlets_slice inl_slice_keep(char **at,
                                                 struct inlets_slice s)
{
    struct inlets_slice kept = {*at, s.len};

    if (s.len > 0) {
        memcpy(*at, s.ptr, s.len);
        *at += s.len;
    }
    return kept;
}

#endif
