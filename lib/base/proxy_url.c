/* proxy_url.c: see proxy_url.h. User and password are on the stack and in
 * one owned string, and are wiped on every way out. */
#include "base/proxy_url.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include "base/url.h"
#include <inlets/err.h>
#include <stdio.h>

/* Some proxies are asked with tokens of a kilobyte or two. */
#define USERINFO_MAX 4096u

static int scheme_of(struct inlets_slice scheme, bool *ret_is_tls)
{
    if (scheme.len == 0 || inl_slice_eq_case(scheme, INL_LIT("http"))) {
        *ret_is_tls = false;
        return 0;
    }
    *ret_is_tls = true;
    return inl_slice_eq_case(scheme, INL_LIT("https")) ? 0 : INLETS_ENOTSUP;
}

static unsigned hex_digit(char c)
{
    c = inl_lower(c);
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Decodes one part, which inl_url_parse found to have whole %xx. RFC 7617 2:
 * no control characters, and no colon in a user. -1: it has some. */
static int decode(struct inlets_slice part, bool is_user, char *out,
                  size_t *len)
{
    for (size_t i = 0; i < part.len; i++) {
        unsigned char c = (unsigned char)part.ptr[i];

        if (c == '%') {
            c = (unsigned char)(hex_digit(part.ptr[i + 1]) << 4 |
                                hex_digit(part.ptr[i + 2]));
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || (is_user && c == ':')) {
            return INLETS_EINVAL;
        }
        out[(*len)++] = (char)c;
    }
    return 0;
}

/* RFC 7617. A user without a password has an empty one. */
static int make_authorization(struct inlets_slice userinfo, char **ret)
{
    static const char basic[] = "Basic ";
    size_t colon = inl_slice_find(userinfo, ':');
    size_t len = 0, size;
    char pair[USERINFO_MAX + 1];
    char *text;
    int err = decode(inl_slice(userinfo.ptr, colon), true, pair, &len);

    pair[len++] = ':';
    if (err == 0) {
        err = decode(inl_slice_from(userinfo, colon + 1), false, pair, &len);
    }
    size = sizeof(basic) + INL_BASE64_LEN(len);
    text = err == 0 ? inl_calloc(1, size) : NULL;
    if (text != NULL) {
        memcpy(text, basic, sizeof(basic) - 1);
        inl_base64_encode(pair, len, text + sizeof(basic) - 1);
    }
    inl_wipe(pair, sizeof(pair));
    *ret = text;
    return err != 0 ? err : text == NULL ? INLETS_ENOMEM : 0;
}

static char *make_label(const struct inl_url *url, bool is_tls)
{
    char buf[INL_HOST_MAX + 32];

    (void)snprintf(buf, sizeof(buf),
                   url->host_is_ipv6 ? "%s[%.*s]:%u" : "%s%.*s:%u",
                   is_tls ? "https://" : "http://", (int)url->host.len,
                   url->host.ptr, url->port);
    return inl_strdup(buf);
}

int inl_proxy_url_parse(struct inlets_slice text, struct inl_proxy_url *ret)
{
    struct inl_proxy_url p = {0};
    struct inl_url url;
    int err = inl_url_parse(text, &url);

    if (err != 0 || url.userinfo.len > USERINFO_MAX || url.query.len > 0 ||
        url.path.len > 1) {
        return INLETS_EINVAL;
    }
    err = scheme_of(url.scheme, &p.is_tls);
    if (err != 0) {
        return err;
    }
    if (url.userinfo.len > 0) {
        err = make_authorization(url.userinfo, &p.authorization);
        if (err != 0) {
            return err;
        }
    }
    p.port = url.port;
    p.host = inl_slice_dup(url.host);
    p.label = make_label(&url, p.is_tls);
    if (p.host == NULL || p.label == NULL) {
        inl_proxy_url_fini(&p);
        return INLETS_ENOMEM;
    }
    *ret = p;
    return 0;
}

void inl_proxy_url_fini(struct inl_proxy_url *url)
{
    inl_free(url->host);
    inl_free(url->label);
    inl_free_secret(url->authorization);
    *url = (struct inl_proxy_url){0};
}
