/* no_proxy.c: see no_proxy.h. Nothing is kept and nothing can fail: what is no
 * name and no address is like no host. */
#include "base/no_proxy.h"

#include "base/cidr.h"
#include "base/slice.h"

static struct inlets_slice without_dot_behind(struct inlets_slice s)
{
    if (s.len > 0 && s.ptr[s.len - 1] == '.') {
        s.len--;
    }
    return s;
}

static bool is_name_or_below(struct inlets_slice host,
                             struct inlets_slice element)
{
    struct inlets_slice tail;

    host = without_dot_behind(host);
    element = without_dot_behind(element);
    if (element.len > 0 && element.ptr[0] == '.') {
        element = inl_slice_from(element, 1);
    }
    if (element.len == 0 || element.len > host.len) {
        return false;
    }
    tail = inl_slice_from(host, host.len - element.len);
    return inl_slice_eq_case(tail, element) &&
           (tail.len == host.len || tail.ptr[-1] == '.');
}

static struct inlets_slice without_brackets(struct inlets_slice s)
{
    bool has = s.len > 1 && s.ptr[0] == '[' && s.ptr[s.len - 1] == ']';

    return has ? inl_slice(s.ptr + 1, s.len - 2) : s;
}

/* curl takes the two families apart, so that "::ffff:10.0.0.1" is not
 * "10.0.0.1". */
static bool is_v6_text(struct inlets_slice s)
{
    return inl_slice_find(s, ':') < s.len;
}

/* The address that curl means by a range of no bits. */
static struct inlets_slice without_zero_bits(struct inlets_slice s)
{
    size_t slash = inl_slice_find(s, '/');
    uint64_t bits;

    if (slash < s.len &&
        inl_slice_to_u64(inl_slice_from(s, slash + 1), &bits) && bits == 0) {
        s.len = slash;
    }
    return s;
}

static bool is_in_range(const struct inl_ip *ip, bool is_v6,
                        struct inlets_slice element)
{
    struct inl_cidr range;

    element = without_zero_bits(without_brackets(element));
    return is_v6_text(element) == is_v6 && inl_cidr_parse(element, &range) &&
           inl_cidr_has(&range, ip);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next element, up to a blank or a comma; *list moves behind it. */
static struct inlets_slice next_element(struct inlets_slice *list)
{
    struct inlets_slice element;
    size_t from = 0, to;

    while (from < list->len &&
           (is_blank(list->ptr[from]) || list->ptr[from] == ',')) {
        from++;
    }
    to = from;
    while (to < list->len && !is_blank(list->ptr[to]) && list->ptr[to] != ',') {
        to++;
    }
    element = inl_slice(list->ptr + from, to - from);
    *list = inl_slice_from(*list, to);
    return element;
}

bool inl_no_proxy_has(struct inlets_slice list, struct inlets_slice host)
{
    struct inlets_slice element;
    struct inl_ip ip;
    bool is_address = inl_ip_parse(host, &ip);

    if (inl_slice_eq(list, INL_LIT("*"))) {
        return true;
    }
    while ((element = next_element(&list)).len > 0) {
        if (is_address ? is_in_range(&ip, is_v6_text(host), element)
                       : is_name_or_below(host, element)) {
            return true;
        }
    }
    return false;
}
