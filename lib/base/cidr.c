/* cidr.c: see cidr.h. The set owns one array, grown by doubling; a look-up
 * goes through it, for lists are short. */
#include "base/cidr.h"

#include "base/mem.h"
#include "base/slice.h"
#include <arpa/inet.h>
#include <inlets/err.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

struct inl_ip inl_ip_v4(const uint8_t bytes[4])
{
    struct inl_ip ip;

    memcpy(ip.bytes, mapped, sizeof(mapped));
    memcpy(ip.bytes + sizeof(mapped), bytes, 4);
    return ip;
}

struct inl_ip inl_ip_v6(const uint8_t bytes[16])
{
    struct inl_ip ip;

    memcpy(ip.bytes, bytes, sizeof(ip.bytes));
    return ip;
}

bool inl_ip_parse(struct inlets_slice text, struct inl_ip *ret_ip)
{
    char buf[INL_IP_TEXT];
    uint8_t bytes[16];

    /* A NUL inside would end the text for inet_pton alone. */
    if (text.len == 0 || text.len >= sizeof(buf) ||
        inl_slice_find(text, '\0') < text.len) {
        return false;
    }
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    if (inet_pton(AF_INET, buf, bytes) == 1) {
        *ret_ip = inl_ip_v4(bytes);
        return true;
    }
    if (inet_pton(AF_INET6, buf, bytes) == 1) {
        *ret_ip = inl_ip_v6(bytes);
        return true;
    }
    return false;
}

bool inl_ip_is_v4(const struct inl_ip *ip)
{
    return memcmp(ip->bytes, mapped, sizeof(mapped)) == 0;
}

struct inl_ip inl_ip_place(struct inl_ip ip)
{
    if (!inl_ip_is_v4(&ip)) {
        memset(ip.bytes + 8, 0, 8);
    }
    return ip;
}

bool inl_ip_is_loopback(const struct inl_ip *ip)
{
    static const uint8_t one[16] = {[15] = 1};

    return inl_ip_is_v4(ip) ? ip->bytes[12] == 127
                            : memcmp(ip->bytes, one, sizeof(one)) == 0;
}

struct inlets_slice inl_ip_format(const struct inl_ip *ip,
                                  char buf[INL_IP_TEXT])
{
    bool v4 = inl_ip_is_v4(ip);

    if (inet_ntop(v4 ? AF_INET : AF_INET6, ip->bytes + (v4 ? 12 : 0), buf,
                  INL_IP_TEXT) == NULL) {
        buf[0] = '\0'; /* there is room for every address */
    }
    return inl_str(buf);
}

/* ---- one range ---------------------------------------------------------- */

bool inl_cidr_parse(struct inlets_slice text, struct inl_cidr *ret_range)
{
    size_t slash = inl_slice_find(text, '/');
    struct inlets_slice address = inl_slice(text.ptr, slash);
    struct inlets_slice digits = inl_slice_from(text, slash + 1);
    bool dotted = inl_slice_find(address, ':') == address.len;
    struct inl_cidr range = {.bits = 128};
    uint64_t bits;

    if (!inl_ip_parse(address, &range.first)) {
        return false;
    }
    if (slash < text.len) {
        if (!inl_slice_to_u64(digits, &bits) || bits > (dotted ? 32 : 128)) {
            return false;
        }
        range.bits = (uint8_t)(dotted ? 96 + bits : bits);
    }
    /* "::ffff:0:0/90" would be a bit of both families. */
    range.is_v4 = inl_ip_is_v4(&range.first) && range.bits >= 96;
    *ret_range = range;
    return true;
}

bool inl_cidr_has(const struct inl_cidr *range, const struct inl_ip *ip)
{
    size_t whole = range->bits / 8u;
    unsigned rest = range->bits % 8u;

    if (range->is_v4 != inl_ip_is_v4(ip) ||
        memcmp(range->first.bytes, ip->bytes, whole) != 0) {
        return false;
    }
    return rest == 0 ||
           (range->first.bytes[whole] ^ ip->bytes[whole]) >> (8 - rest) == 0;
}

/* ---- sets --------------------------------------------------------------- */

static int append(struct inl_cidr_set *set, const struct inl_cidr *range)
{
    struct inl_cidr *more;

    /* full at each power of two, from 8 on */
    if (set->n == 0 || (set->n >= 8 && (set->n & (set->n - 1)) == 0)) {
        more = inl_realloc(set->ranges,
                           (set->n == 0 ? 8 : 2 * set->n) * sizeof(*more));
        if (more == NULL) {
            return INLETS_ENOMEM;
        }
        set->ranges = more;
    }
    set->ranges[set->n++] = *range;
    return 0;
}

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool next_word(struct inlets_slice *rest, struct inlets_slice *ret_word)
{
    size_t start = 0, end;

    while (start < rest->len && is_separator(rest->ptr[start])) {
        start++;
    }
    end = start;
    while (end < rest->len && !is_separator(rest->ptr[end])) {
        end++;
    }
    *ret_word = inl_slice_from(inl_slice(rest->ptr, end), start);
    *rest = inl_slice_from(*rest, end);
    return ret_word->len > 0;
}

int inl_cidr_set_add(struct inl_cidr_set *set, struct inlets_slice list,
                     struct inlets_slice *ret_bad)
{
    struct inlets_slice word;
    struct inl_cidr range;
    int err = 0;

    while (err == 0 && next_word(&list, &word)) {
        if (set->n >= INL_CIDR_SET_MAX || !inl_cidr_parse(word, &range)) {
            if (ret_bad != NULL) {
                *ret_bad = word;
            }
            return INLETS_EINVAL;
        }
        err = append(set, &range);
    }
    return err;
}

void inl_cidr_set_fini(struct inl_cidr_set *set)
{
    inl_free(set->ranges);
    *set = (struct inl_cidr_set){0};
}

bool inl_cidr_set_has(const struct inl_cidr_set *set, const struct inl_ip *ip)
{
    for (size_t i = 0; set != NULL && i < set->n; i++) {
        if (inl_cidr_has(&set->ranges[i], ip)) {
            return true;
        }
    }
    return false;
}

bool inl_cidr_set_has_text(const struct inl_cidr_set *set,
                           struct inlets_slice text)
{
    struct inl_ip ip;

    return set != NULL && set->n > 0 && inl_ip_parse(text, &ip) &&
           inl_cidr_set_has(set, &ip);
}
