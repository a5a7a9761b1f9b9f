/* forwarding.c: see forwarding.h. Works on slices; nothing is allocated. */
#include "relay/forwarding.h"

#include "base/slice.h"
#include <string.h>

/* RFC 9110 7.6.1, and what was ever used like them. */
static const char *const hop_by_hop[] = {
    "connection",         "keep-alive",
    "proxy-connection",   "te",
    "transfer-encoding",  "upgrade",
    "http2-settings",     "proxy-authorization",
    "proxy-authenticate",
};

/* Names that mean our word about the visitor, so nobody else may use them. */
static const char *const ours[] = {
    "x-forwarded-for",  "x-forwarded-host",   "x-forwarded-proto",
    "x-forwarded-port", "x-request-id",       "forwarded",
    "x-real-ip",        "x-forwarded-server",
};

/* Equal without regard to case, and to '_' for '-': many an application
 * server folds the two (CVE-2025-64484). */
static bool same_name(struct inlets_slice name, const char *lower)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = inl_lower(name.ptr[i]);

        if ((c == '_' ? '-' : c) != lower[i]) {
            return false;
        }
    }
    return lower[name.len] == '\0';
}

static bool named_in(struct inlets_slice name, const char *const *names,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(names[i]);

        if (len == name.len && same_name(name, names[i])) {
            return true;
        }
    }
    return false;
}

static bool is_connection(struct inlets_slice name)
{
    return inl_slice_eq_case(name, INL_LIT("connection"));
}

/* Does any Connection field name this one? */
static bool is_connection_option(const struct inlets_head *head,
                                 struct inlets_slice name)
{
    for (size_t i = 0; i < head->nfields; i++) {
        if (is_connection(head->fields[i].name) &&
            inl_slice_list_has(head->fields[i].value, name)) {
            return true;
        }
    }
    return false;
}

static bool has_connection(const struct inlets_head *head)
{
    for (size_t i = 0; i < head->nfields; i++) {
        if (is_connection(head->fields[i].name)) {
            return true;
        }
    }
    return false;
}

bool inl_is_websocket_upgrade(const struct inlets_head *head)
{
    bool found = false;

    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, INL_LIT("upgrade"))) {
            if (found || !inl_slice_eq_case(head->fields[i].value,
                                            INL_LIT("websocket"))) {
                return false; /* a list, or h2c: never forwarded */
            }
            found = true;
        }
    }
    return found && is_connection_option(head, INL_LIT("upgrade"));
}

/* Copies the end-to-end fields. Our own names are dropped for requests. */
static size_t copy_fields(const struct inlets_head *head, bool drop_ours,
                          struct inlets_field *fields)
{
    bool options = has_connection(head);
    size_t n = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        struct inlets_slice name = head->fields[i].name;

        if (named_in(name, hop_by_hop,
                     sizeof(hop_by_hop) / sizeof(hop_by_hop[0])) ||
            (options && is_connection_option(head, name)) ||
            (drop_ours &&
             named_in(name, ours, sizeof(ours) / sizeof(ours[0])))) {
            continue;
        }
        fields[n++] = head->fields[i];
    }
    return n;
}

static void add(struct inlets_field *fields, size_t *n,
                struct inlets_slice name, struct inlets_slice value)
{
    if (value.len > 0) {
        fields[(*n)++] = (struct inlets_field){name, value};
    }
}

int inl_forward_request(const struct inlets_head *head,
                        const struct inl_forwarding *f,
                        struct inlets_field *fields, struct inlets_head *ret)
{
    size_t n;

    if (head->nfields > INL_FORWARD_MAX_FIELDS - 8) {
        return INLETS_EHEADSIZE;
    }
    n = copy_fields(head, true, fields);
    add(fields, &n, INL_LIT("X-Forwarded-For"), f->peer_ip);
    add(fields, &n, INL_LIT("X-Forwarded-Host"), head->host);
    add(fields, &n, INL_LIT("X-Forwarded-Proto"), f->proto);
    add(fields, &n, INL_LIT("X-Forwarded-Port"), f->port);
    add(fields, &n, INL_LIT("X-Request-Id"), f->id);
    add(fields, &n, INL_LIT("Via"), INL_LIT("1.1 inlets"));
    *ret = *head;
    ret->fields = fields;
    ret->nfields = n;
    ret->flags &= ~INLETS_HEAD_UPGRADE;
    if ((head->flags & INLETS_HEAD_UPGRADE) != 0 &&
        head->content_length == INLETS_LENGTH_NONE &&
        inl_is_websocket_upgrade(head)) {
        ret->flags |= INLETS_HEAD_UPGRADE;
    }
    return 0;
}

int inl_forward_response(const struct inlets_head *head,
                         struct inlets_field *fields, struct inlets_head *ret)
{
    if (head->nfields > INL_FORWARD_MAX_FIELDS) {
        return INLETS_EUPSTREAM;
    }
    *ret = *head;
    ret->nfields = copy_fields(head, false, fields);
    ret->fields = fields;
    return 0;
}

struct inlets_slice inl_target_path(struct inlets_slice target)
{
    return inl_slice(target.ptr, inl_slice_find(target, '?'));
}
