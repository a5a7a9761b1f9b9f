/* http1_rules.c: the grammar and the semantics of heads that llhttp leaves to
 * its caller, or takes more loosely than RFC 9112 does: it bears several
 * spaces in a request line, RTSP and ICE versions, HTTP/0.9, CR CR after a
 * status line and controls in a reason phrase.
 *
 * Nothing here has state or memory. Failure is an error number or false, with
 * a static reason for the log. */
#include "proto/http1_rules.h"

#include "base/slice.h"
#include "base/url.h"
#include "proto/http1.h"

const char inl_http1_forbidden_method[] = "CONNECT and TRACE are refused";

/* Registered methods have up to 17 characters. */
#define MAX_METHOD 32u

/* "HTTP/1.1" */
#define VERSION_LEN 8u

static int bad(const char **ret_reason, const char *reason)
{
    *ret_reason = reason;
    return INLETS_EBADMESSAGE;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* --- Start lines --- */

bool inl_http1_is_visible(struct inlets_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c < 0x21 || c > 0x7e || c == '#') {
            return false;
        }
    }
    return s.len > 0;
}

/* HTTP-version = "HTTP/" DIGIT "." DIGIT, and ours (RFC 9112 2.3). */
static int parse_version(struct inlets_slice text, bool *ret_http10,
                         const char **ret_reason)
{
    const char *p = text.ptr;

    if (text.len != VERSION_LEN || memcmp(p, "HTTP/", 5) != 0 ||
        !is_digit(p[5]) || p[6] != '.' || !is_digit(p[7])) {
        return bad(ret_reason, "Invalid HTTP version");
    }
    if (p[5] != '1' || p[7] > '1') {
        *ret_reason = "HTTP version not supported";
        return INLETS_EVERSION;
    }
    *ret_http10 = p[7] == '0';
    return 0;
}

/* Up to the next space, which is taken away too; false when there is none. */
static bool take_word(struct inlets_slice *rest, struct inlets_slice *ret_word)
{
    size_t space = inl_slice_find(*rest, ' ');

    if (space == rest->len) {
        return false;
    }
    *ret_word = inl_slice(rest->ptr, space);
    *rest = inl_slice_from(*rest, space + 1);
    return true;
}

/* "http://" or "https://", then something. */
static bool is_absolute(struct inlets_slice target)
{
    return inl_slice_starts_case(target, INL_LIT("http://")) ||
           inl_slice_starts_case(target, INL_LIT("https://"));
}

bool inl_http1_is_target(struct inlets_slice method, struct inlets_slice target)
{
    if (!inl_http1_is_visible(target)) {
        return false;
    }
    return target.ptr[0] == '/' || (inl_slice_eq(target, INL_LIT("*")) &&
                                    inl_slice_eq(method, INL_LIT("OPTIONS")));
}

static int check_request(const struct inl_http1_line *line,
                         const char **ret_reason)
{
    if (inl_slice_eq(line->method, INL_LIT("CONNECT")) ||
        inl_slice_eq(line->method, INL_LIT("TRACE"))) {
        *ret_reason = inl_http1_forbidden_method;
        return INLETS_EMETHOD;
    }
    if (line->target.len > INL_HTTP1_MAX_TARGET) {
        *ret_reason = "Request target too long";
        return INLETS_EURISIZE;
    }
    if (!inl_http1_is_target(line->method, line->target) &&
        !(is_absolute(line->target) && inl_http1_is_visible(line->target))) {
        return bad(ret_reason, "Invalid request target");
    }
    return 0;
}

int inl_http1_parse_request_line(struct inlets_slice text,
                                 struct inl_http1_line *ret,
                                 const char **ret_reason)
{
    struct inl_http1_line line = {.status = 0};
    int err;

    if (!take_word(&text, &line.method) || !inl_slice_is_token(line.method)) {
        return bad(ret_reason, "Invalid request line");
    }
    if (!take_word(&text, &line.target)) {
        if (inl_slice_eq(line.method, INL_LIT("GET")) &&
            inl_http1_is_target(line.method, text)) {
            *ret_reason = "HTTP/0.9 is not supported";
            return INLETS_EVERSION;
        }
        return bad(ret_reason, "Invalid request line");
    }
    err = parse_version(text, &line.http10, ret_reason);
    if (err == 0) {
        err = check_request(&line, ret_reason);
    }
    if (err == 0) {
        *ret = line;
    }
    return err;
}

/* status-code = 3DIGIT, of the classes that RFC 9110 section 15 knows. */
static bool parse_status(struct inlets_slice text, unsigned *ret_status)
{
    uint64_t status;

    if (text.len != 3 || !inl_slice_to_u64(text, &status) || status < 100 ||
        status > 599) {
        return false;
    }
    *ret_status = (unsigned)status;
    return true;
}

int inl_http1_parse_status_line(struct inlets_slice text,
                                struct inl_http1_line *ret,
                                const char **ret_reason)
{
    struct inl_http1_line line = {.status = 0};
    struct inlets_slice version, status;
    int err;

    if (!take_word(&text, &version)) {
        return bad(ret_reason, "Invalid status line");
    }
    err = parse_version(version, &line.http10, ret_reason);
    if (err != 0) {
        return err;
    }
    /* The space before an empty reason phrase is often left out. */
    if (!take_word(&text, &status)) {
        status = text;
        text = inl_slice_from(text, text.len);
    }
    if (!parse_status(status, &line.status)) {
        return bad(ret_reason, "Invalid status code");
    }
    if (!inl_slice_is_field_value(text)) {
        return bad(ret_reason, "Invalid reason phrase");
    }
    line.reason = text;
    *ret = line;
    return 0;
}

bool inl_http1_may_become_request(struct inlets_slice text)
{
    size_t space;

    if (text.len > MAX_METHOD) {
        text.len = MAX_METHOD;
    }
    space = inl_slice_find(text, ' ');
    return space < MAX_METHOD &&
           (text.len == 0 || inl_slice_is_token(inl_slice(text.ptr, space)));
}

bool inl_http1_is_long_method(struct inlets_slice text)
{
    return text.len >= MAX_METHOD &&
           inl_slice_is_token(inl_slice(text.ptr, MAX_METHOD));
}

bool inl_http1_may_become_status(struct inlets_slice text)
{
    size_t len = text.len < 5 ? text.len : 5;

    return inl_slice_starts(INL_LIT("HTTP/"), inl_slice(text.ptr, len));
}

/* --- Fields --- */

bool inl_http1_is_framing_name(struct inlets_slice name)
{
    return (name.len == 14 &&
            inl_slice_eq_case(name, INL_LIT("Content-Length"))) ||
           (name.len == 17 &&
            inl_slice_eq_case(name, INL_LIT("Transfer-Encoding")));
}

static void note_connection(struct inl_http1_facts *facts,
                            struct inlets_slice list)
{
    struct inlets_slice option;

    facts->connection_bytes += list.len;
    while (inl_slice_next_element(&list, &option)) {
        if (inl_slice_eq_case(option, INL_LIT("close"))) {
            facts->says_close = true;
        } else if (inl_slice_eq_case(option, INL_LIT("keep-alive"))) {
            facts->says_keep_alive = true;
        } else if (inl_slice_eq_case(option, INL_LIT("upgrade"))) {
            facts->says_upgrade = true;
        } else {
            facts->says_more = true;
        }
    }
}

bool inl_http1_note_field(struct inl_http1_facts *facts,
                          const struct inlets_field *field, bool is_request)
{
    struct inlets_slice name = field->name;

    switch (name.len) { /* few names have one of these lengths */
    case 4:
        if (is_request && inl_slice_eq_case(name, INL_LIT("Host"))) {
            facts->hosts++;
            facts->host = field->value;
            return false;
        }
        return true;
    case 7:
        if (inl_slice_eq_case(name, INL_LIT("Upgrade"))) {
            facts->has_upgrade = facts->has_upgrade || field->value.len > 0;
        }
        return true;
    case 10:
        if (inl_slice_eq_case(name, INL_LIT("Connection"))) {
            note_connection(facts, field->value);
        }
        return true;
    case 14:
        if (inl_slice_eq_case(name, INL_LIT("Content-Length"))) {
            facts->lengths++;
            facts->length = field->value;
            return false;
        }
        return true;
    case 17:
        if (inl_slice_eq_case(name, INL_LIT("Transfer-Encoding"))) {
            facts->encodings++;
            facts->encoding = field->value;
            return false;
        }
        return true;
    default:
        return true;
    }
}

bool inl_http1_may_trail(struct inlets_slice name)
{
    /* Framing, routing, authentication, content handling, and what is about
     * the connection: a recipient that merges trailers into the head must
     * not be steered by them. */
    static const struct inlets_slice forbidden[] = {
        {"age", 3},
        {"authorization", 13},
        {"cache-control", 13},
        {"connection", 10},
        {"content-encoding", 16},
        {"content-length", 14},
        {"content-range", 13},
        {"content-type", 12},
        {"cookie", 6},
        {"date", 4},
        {"expect", 6},
        {"expires", 7},
        {"forwarded", 9},
        {"host", 4},
        {"keep-alive", 10},
        {"location", 8},
        {"max-forwards", 12},
        {"pragma", 6},
        {"proxy", 5},
        {"proxy-authenticate", 18},
        {"proxy-authentication-info", 25},
        {"proxy-authorization", 19},
        {"proxy-connection", 16},
        {"range", 5},
        {"retry-after", 11},
        {"set-cookie", 10},
        {"te", 2},
        {"trailer", 7},
        {"transfer-encoding", 17},
        {"upgrade", 7},
        {"vary", 4},
        {"via", 3},
        {"warning", 7},
        {"www-authenticate", 16},
        {"x-real-ip", 9},
        {"x-request-id", 12},
    };

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        if (name.len == forbidden[i].len &&
            inl_slice_folds_to(name, forbidden[i])) {
            return false;
        }
    }
    return !inl_slice_folds_to(name, INL_LIT("if-")) &&
           !inl_slice_folds_to(name, INL_LIT("x-forwarded-"));
}

/* --- dot segments --- */

/* One character of a path, those that matter here decoded once (RFC 3986 2.1);
 * *at moves behind it. */
static char path_char(struct inlets_slice path, size_t *at)
{
    static const char codes[] = "%2e.%2f/%5c\\%3b;";
    struct inlets_slice rest = inl_slice(path.ptr + *at, path.len - *at);

    for (size_t i = 0; i + 4 < sizeof(codes) && rest.ptr[0] == '%'; i += 4) {
        if (inl_slice_starts_case(rest, inl_slice(codes + i, 3))) {
            *at += 3;
            return codes[i + 3];
        }
    }
    *at += 1;
    return rest.ptr[0];
}

bool inl_http1_has_dot_segments(struct inlets_slice path)
{
    size_t at = 0, dots = 0;
    bool only_dots = false; /* until now, in this segment */

    while (at < path.len) {
        char c = path_char(path, &at);
        bool slash = c == '/' || c == '\\';

        if ((slash || c == ';') && only_dots && (dots == 1 || dots == 2)) {
            return true;
        }
        only_dots = slash || (only_dots && c == '.');
        dots = slash ? 0 : dots + 1;
    }
    return only_dots && (dots == 1 || dots == 2);
}

/* --- Host and target --- */

/* A host as routes compare it, and the port. */
struct authority {
    char host[INL_HOST_MAX + 1];
    size_t len;
    struct inlets_slice port; /* digits; empty when not given */
};

static bool parse_authority(struct inlets_slice text, struct authority *ret)
{
    int len = inl_host_normalise(text, ret->host, sizeof(ret->host));
    size_t colon;

    if (len < 0) {
        return false;
    }
    ret->len = (size_t)len;
    /* Inside brackets there are more colons. */
    ret->port = inl_slice_from(text, inl_slice_find(text, ']'));
    if (ret->port.len == 0) {
        ret->port = text;
    }
    colon = inl_slice_find(ret->port, ':');
    ret->port = inl_slice_from(ret->port, colon + 1);
    return true;
}

static uint64_t port_or(struct inlets_slice port, uint64_t fallback)
{
    uint64_t number;

    return inl_slice_to_u64(port, &number) ? number : fallback;
}

static bool authorities_agree(struct inlets_slice a, struct inlets_slice b,
                              uint64_t default_port)
{
    struct authority left, right;

    return parse_authority(a, &left) && parse_authority(b, &right) &&
           left.len == right.len &&
           memcmp(left.host, right.host, left.len) == 0 &&
           port_or(left.port, default_port) ==
               port_or(right.port, default_port);
}

static bool host_is_valid(const struct inl_http1_facts *facts, bool http10,
                          const char **ret_reason)
{
    char buf[INL_HOST_MAX + 1];

    if (facts->hosts == 0 && http10) {
        return true;
    }
    if (facts->hosts == 0) {
        *ret_reason = "Host is missing";
        return false;
    }
    if (facts->hosts > 1) {
        *ret_reason = "More than one Host";
        return false;
    }
    if (inl_host_normalise(facts->host, buf, sizeof(buf)) < 0) {
        *ret_reason = "Invalid Host";
        return false;
    }
    return true;
}

/* Where the authority of an absolute-form target ends. */
static size_t authority_end(struct inlets_slice rest)
{
    size_t slash = inl_slice_find(rest, '/');
    size_t query = inl_slice_find(rest, '?');

    return slash < query ? slash : query;
}

/* The origin-form of what follows the authority (RFC 9112 3.2.1, 3.2.4). */
static struct inlets_slice origin_form(struct inlets_slice method, char *text,
                                       size_t len,
                                       struct inlets_slice *authority)
{
    size_t end = (size_t)(authority->ptr - text) + authority->len;

    if (end == len) {
        return inl_slice_eq(method, INL_LIT("OPTIONS")) ? INL_LIT("*")
                                                        : INL_LIT("/");
    }
    if (text[end] == '?') {
        /* "//host?query": the host moves left to make room for a slash. */
        size_t start = end - authority->len;

        memmove(text + start - 1, text + start, authority->len);
        authority->ptr--;
        text[--end] = '/';
    }
    return inl_slice(text + end, len - end);
}

bool inl_http1_settle_target(struct inlets_slice method, char *target,
                             size_t target_len, bool http10,
                             const struct inl_http1_facts *facts,
                             struct inlets_slice *ret_target,
                             struct inlets_slice *ret_host,
                             const char **ret_reason)
{
    struct inlets_slice text = inl_slice(target, target_len);
    struct inlets_slice authority;
    bool secure = inl_slice_starts_case(text, INL_LIT("https:"));
    size_t start = secure ? 8 : 7; /* behind "://" */
    size_t end;

    if (!host_is_valid(facts, http10, ret_reason)) {
        return false;
    }
    *ret_host = facts->host;
    *ret_target = text;
    if (!is_absolute(text)) {
        return true;
    }
    end = start + authority_end(inl_slice_from(text, start));
    authority = inl_slice(target + start, end - start);
    if (!authorities_agree(authority,
                           facts->hosts > 0 ? facts->host : authority,
                           secure ? 443 : 80)) {
        *ret_reason = "Host does not agree with the request target";
        return false;
    }
    *ret_target = origin_form(method, target, target_len, &authority);
    if (facts->hosts == 0) {
        *ret_host = authority;
    }
    return true;
}
