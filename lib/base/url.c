/* url.c: URLs, host names and endpoints, strictly as RFC 3986 has them.
 *
 * All slices point into the caller's text; nothing is allocated. Failure is
 * always INLETS_EINVAL, and then nothing was written: a host that is only
 * nearly right could be read in two ways by two programs, and that is how
 * requests are smuggled past rules. */
#include "base/url.h"

#include "base/slice.h"
#include <arpa/inet.h>
#include <inlets/err.h>

/* The longest IPv6 literal: eight groups, the last two as IPv4. */
#define IPV6_MAX 45

/* host [":" port], as in an authority or a Host field. */
struct host_port {
    struct inlets_slice host; /* without brackets */
    bool is_ipv6;             /* it was in brackets */
    bool has_port;
    unsigned port;
};

/* --- Characters --- */

static bool is_alpha(char c)
{
    char lower = inl_lower(c);

    return lower >= 'a' && lower <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    char lower = inl_lower(c);

    return is_digit(c) || (lower >= 'a' && lower <= 'f');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* Unreserved, sub-delims, whole %xx, and what `extra` adds? (RFC 3986
 * section 3.3; no space, control or byte above 0x7e is among them) */
static bool is_made_of_pchars(struct inlets_slice s, const char *extra)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (c == '%') {
            if (s.len - i < 3 || !is_hex(s.ptr[i + 1]) ||
                !is_hex(s.ptr[i + 2])) {
                return false;
            }
            i += 2;
        } else if (!is_alpha(c) && !is_digit(c) &&
                   !is_one_of(c, "-._~!$&'()*+,;=") && !is_one_of(c, extra)) {
            return false;
        }
    }
    return true;
}

/* --- Hosts --- */

/* A name or an IPv4 address: letters, digits, '-', '.', '_', no empty label
 * but the root at the end. */
static bool is_name(struct inlets_slice s)
{
    char before = '.';

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (!is_alpha(c) && !is_digit(c) && !is_one_of(c, "-._")) {
            return false;
        }
        if (c == '.' && before == '.') {
            return false;
        }
        before = c;
    }
    return s.len > 0 && s.len <= INL_HOST_MAX;
}

/* Reads s as an address of the family; zones ("%eth0") are not taken. */
static bool to_address(int family, struct inlets_slice s, void *ret_address)
{
    char text[IPV6_MAX + 1];

    /* A NUL inside would end the text for inet_pton alone. */
    if (s.len > IPV6_MAX || inl_slice_find(s, '\0') < s.len) {
        return false;
    }
    if (s.len > 0) {
        memcpy(text, s.ptr, s.len);
    }
    text[s.len] = '\0';
    return inet_pton(family, text, ret_address) == 1;
}

static bool is_ipv6(struct inlets_slice s)
{
    struct in6_addr address;

    return to_address(AF_INET6, s, &address);
}

static bool parse_port(struct inlets_slice s, unsigned *ret_port)
{
    uint64_t port;

    if (s.len > 5 || !inl_slice_to_u64(s, &port) || port == 0 || port > 65535) {
        return false;
    }
    *ret_port = (unsigned)port;
    return true;
}

static bool parse_host_port(struct inlets_slice text, struct host_port *ret)
{
    struct host_port hp = {0};
    struct inlets_slice rest; /* "" or ":port" */

    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = inl_slice_find(text, ']');

        if (close == text.len) {
            return false;
        }
        hp.is_ipv6 = true;
        hp.host = inl_slice(text.ptr + 1, close - 1);
        rest = inl_slice_from(text, close + 1);
    } else {
        size_t colon = inl_slice_find(text, ':');

        hp.host = inl_slice(text.ptr, colon);
        rest = inl_slice_from(text, colon);
    }
    if (!(hp.is_ipv6 ? is_ipv6(hp.host) : is_name(hp.host))) {
        return false;
    }
    if (rest.len > 0) {
        hp.has_port = true;
        if (rest.ptr[0] != ':' ||
            !parse_port(inl_slice_from(rest, 1), &hp.port)) {
            return false;
        }
    }
    *ret = hp;
    return true;
}

static int normalise(const struct host_port *hp, char *buf, size_t size)
{
    struct inlets_slice host = hp->host;
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (hp->is_ipv6) {
        /* One address has many spellings; routes must see one. */
        if (!to_address(AF_INET6, host, &address) ||
            inet_ntop(AF_INET6, &address, text, sizeof(text)) == NULL) {
            return INLETS_EINVAL;
        }
        host = inl_str(text);
    } else if (host.ptr[host.len - 1] == '.') {
        host.len--;
    }
    if (host.len > size) {
        return INLETS_EINVAL;
    }
    for (size_t i = 0; i < host.len; i++) {
        buf[i] = inl_lower(host.ptr[i]);
    }
    return (int)host.len;
}

int inl_host_normalise(struct inlets_slice host, char *buf, size_t size)
{
    struct host_port hp;
    bool port_is_empty = host.len > 1 && host.ptr[host.len - 1] == ':';

    if (port_is_empty) {
        host.len--; /* RFC 3986 section 3.2.3 allows it: "host:" */
    }
    if (!parse_host_port(host, &hp) || (port_is_empty && hp.has_port)) {
        return INLETS_EINVAL; /* the latter: "host:80:" */
    }
    return normalise(&hp, buf, size);
}

bool inl_host_is_loopback(struct inlets_slice host)
{
    /* ::ffff:127.x.y.z: how a socket for both families names IPv4 peers. */
    static const unsigned char mapped[13] = {[10] = 0xff, 0xff, 127};
    unsigned char address[16];

    if (inl_slice_eq_case(host, INL_LIT("localhost"))) {
        return true;
    }
    if (to_address(AF_INET, host, address)) {
        return address[0] == 127;
    }
    return to_address(AF_INET6, host, address) &&
           (memcmp(address, &in6addr_loopback, sizeof(address)) == 0 ||
            memcmp(address, mapped, sizeof(mapped)) == 0);
}

/* --- URLs --- */

/* Takes "scheme://" off the front of *text, if it is there. */
static bool take_scheme(struct inlets_slice *text,
                        struct inlets_slice *ret_scheme)
{
    size_t len = 0;

    while (len < text->len &&
           (is_alpha(text->ptr[len]) || is_digit(text->ptr[len]) ||
            is_one_of(text->ptr[len], "+-."))) {
        len++;
    }
    if (!inl_slice_starts(inl_slice_from(*text, len), INL_LIT("://"))) {
        *ret_scheme = inl_slice(text->ptr, 0);
        return true;
    }
    *ret_scheme = inl_slice(text->ptr, len);
    *text = inl_slice_from(*text, len + 3);
    return len > 0 && is_alpha(ret_scheme->ptr[0]);
}

static unsigned default_port(struct inlets_slice scheme)
{
    if (scheme.len == 0 || inl_slice_eq_case(scheme, INL_LIT("http")) ||
        inl_slice_eq_case(scheme, INL_LIT("ws"))) {
        return 80;
    }
    if (inl_slice_eq_case(scheme, INL_LIT("https")) ||
        inl_slice_eq_case(scheme, INL_LIT("wss"))) {
        return 443;
    }
    return 0;
}

static bool parse_authority(struct inlets_slice text, struct inl_url *url)
{
    size_t at = inl_slice_find(text, '@');
    struct host_port hp;

    url->userinfo = inl_slice(text.ptr, 0);
    if (at < text.len) {
        url->userinfo = inl_slice(text.ptr, at);
        text = inl_slice_from(text, at + 1);
    }
    /* A second '@' fails as part of the host. */
    if (!is_made_of_pchars(url->userinfo, ":") || !parse_host_port(text, &hp)) {
        return false;
    }
    url->host = hp.host;
    url->host_is_ipv6 = hp.is_ipv6;
    url->port_is_given = hp.has_port;
    url->port = hp.has_port ? hp.port : default_port(url->scheme);
    return true;
}

int inl_url_parse(struct inlets_slice text, struct inl_url *ret_url)
{
    struct inl_url url = {0};
    size_t end = 0, query;

    if (!take_scheme(&text, &url.scheme)) {
        return INLETS_EINVAL;
    }
    while (end < text.len && !is_one_of(text.ptr[end], "/?")) {
        end++;
    }
    if (!parse_authority(inl_slice(text.ptr, end), &url)) {
        return INLETS_EINVAL;
    }
    text = inl_slice_from(text, end);
    query = inl_slice_find(text, '?');
    url.path = inl_slice(text.ptr, query);
    url.query = inl_slice_from(text, query + 1);
    if (!is_made_of_pchars(url.path, ":@/") ||
        !is_made_of_pchars(url.query, ":@/?")) {
        return INLETS_EINVAL;
    }
    *ret_url = url;
    return 0;
}

/* --- Endpoints --- */

/* Writes host and wildcard. */
static bool parse_endpoint_host(struct inlets_slice text,
                                struct inl_endpoint *e)
{
    struct host_port hp;
    int len;

    if (text.len == 0 || inl_slice_eq(text, INL_LIT("*"))) {
        return true;
    }
    if (inl_slice_starts(text, INL_LIT("*."))) {
        e->wildcard = true;
        text = inl_slice_from(text, 2);
    }
    if (!parse_host_port(text, &hp) || hp.has_port ||
        (e->wildcard && hp.is_ipv6)) {
        return false;
    }
    len = normalise(&hp, e->host, INL_HOST_MAX);
    if (len < 0) {
        return false;
    }
    e->host[len] = '\0';
    return true;
}

int inl_endpoint_parse(struct inlets_slice text, struct inl_endpoint *ret)
{
    struct inl_endpoint e = {.wildcard = false};
    size_t slash = inl_slice_find(text, '/');

    e.path = inl_slice_from(text, slash);
    if (!parse_endpoint_host(inl_slice(text.ptr, slash), &e) ||
        !is_made_of_pchars(e.path, ":@/")) {
        return INLETS_EINVAL;
    }
    while (e.path.len > 0 && e.path.ptr[e.path.len - 1] == '/') {
        e.path.len--;
    }
    *ret = e;
    return 0;
}
