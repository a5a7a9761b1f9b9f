/* slice.c: questions about borrowed bytes. Nothing here allocates or fails;
 * slices may hold any bytes, NUL included, and an empty one may be NULL. */
#include "base/slice.h"

char inl_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool inl_slice_eq_case(struct inlets_slice a, struct inlets_slice b)
{
    return a.len == b.len && inl_slice_starts_case(a, b);
}

bool inl_slice_starts(struct inlets_slice s, struct inlets_slice prefix)
{
    return s.len >= prefix.len &&
           (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

bool inl_slice_starts_case(struct inlets_slice s, struct inlets_slice prefix)
{
    if (s.len < prefix.len) {
        return false;
    }
    for (size_t i = 0; i < prefix.len; i++) {
        if (inl_lower(s.ptr[i]) != inl_lower(prefix.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool inl_slice_folds_to(struct inlets_slice name, struct inlets_slice lower)
{
    for (size_t i = 0; i < lower.len; i++) {
        char c = i < name.len ? inl_lower(name.ptr[i]) : '\0';

        if ((c == '_' ? '-' : c) != lower.ptr[i]) {
            return false;
        }
    }
    return true;
}

size_t inl_slice_find(struct inlets_slice s, char c)
{
    const char *at = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);

    return at == NULL ? s.len : (size_t)(at - s.ptr);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

struct inlets_slice inl_slice_trim(struct inlets_slice s)
{
    while (s.len > 0 && is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

struct inlets_slice inl_slice_from(struct inlets_slice s, size_t from)
{
    if (from > s.len) {
        from = s.len;
    }
    /* NULL + 0 is undefined in C. */
    return from == 0 ? s : inl_slice(s.ptr + from, s.len - from);
}

bool inl_slice_next_element(struct inlets_slice *rest,
                            struct inlets_slice *ret_element)
{
    while (rest->len > 0) {
        size_t comma = inl_slice_find(*rest, ',');
        struct inlets_slice element =
            inl_slice_trim(inl_slice(rest->ptr, comma));

        *rest = inl_slice_from(*rest, comma + 1);
        if (element.len > 0) {
            *ret_element = element;
            return true;
        }
    }
    return false;
}

bool inl_slice_list_has(struct inlets_slice list, struct inlets_slice token)
{
    struct inlets_slice element;

    while (inl_slice_next_element(&list, &element)) {
        if (inl_slice_eq_case(element, token)) {
            return true;
        }
    }
    return false;
}

bool inl_slice_to_u64(struct inlets_slice s, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (s.len == 0) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.ptr[i] - '0';

        if (digit > 9 || value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

static bool is_tchar(char c)
{
    char lower = inl_lower(c);

    if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9')) {
        return true;
    }
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool inl_slice_is_token(struct inlets_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_tchar(s.ptr[i])) {
            return false;
        }
    }
    return s.len > 0;
}

bool inl_slice_is_field_value(struct inlets_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}
