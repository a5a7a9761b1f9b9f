/* forwarding.c: see forwarding.h. Works on slices; nothing is allocated, what
 * is put together goes into the caller's room.
 *
 * What is kept of a trusted proxy's fields, and why:
 *
 *   X-Forwarded-For           as far back as it is a list of addresses, with
 *                             the peer's added, in one line: many programs
 *                             read only one
 *   X-Forwarded-Host, -Proto, -Port, X-Request-Id
 *                             one line with one sane value; else ours
 *   other X-Forwarded-...     as they are (-Prefix is the proxy's to say)
 *   Forwarded                 only when we speak it ourselves: proxies that do
 *                             not know it pass on what the visitor wrote, and
 *                             upstreams prefer it to X-Forwarded-For
 *   X-Real-IP                 never, for the same reason; X-Forwarded-For
 *                             says it
 *   names with '_'            never
 */
#include "relay/forwarding.h"

#include "base/slice.h"
#include "base/url.h"
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* So many proxies in a row are looked at, against a list made to cost time. */
#define HOPS_MAX 64u

/* Of a number of 64 bits. */
#define MAX_DIGITS 20u

/* RFC 9110 7.6.1, and what was ever used like them. The length is never a
 * field of a head, so this is the name's twin. */
static const struct inlets_slice hop_by_hop[] = {
    {"connection", 10},
    {"content-length", 14},
    {"http2-settings", 14},
    {"keep-alive", 10},
    {"proxy-authenticate", 18},
    {"proxy-authentication-info", 25},
    {"proxy-authorization", 19},
    {"proxy-connection", 16},
    {"te", 2},
    {"transfer-encoding", 17},
    {"upgrade", 7},
};

/* Names that mean our word about the visitor, so nobody else may use them.
 * What a trusted proxy said is set again after it was judged. */
static const struct inlets_slice ours[] = {
    {"forwarded", 9},
    {"proxy", 5}, /* HTTP_PROXY to a CGI program: CVE-2016-5385 */
    {"via", 3},
    {"x-forwarded-for", 15},
    {"x-forwarded-host", 16},
    {"x-forwarded-port", 16},
    {"x-forwarded-proto", 17},
    {"x-real-ip", 9},
    {"x-request-id", 12},
};

static bool named_in(struct inlets_slice name, const struct inlets_slice *names,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (names[i].len == name.len && inl_slice_folds_to(name, names[i])) {
            return true;
        }
    }
    return false;
}

static bool is_ours(struct inlets_slice name, bool trusted)
{
    if (named_in(name, ours, COUNT(ours))) {
        return true;
    }
    return inl_slice_folds_to(name, INL_LIT("x-forwarded-")) &&
           (!trusted || inl_slice_find(name, '_') < name.len);
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

bool inl_may_upgrade_to(struct inlets_slice protocol)
{
    static const struct inlets_slice never[] = {
        {"h2", 2}, {"h2c", 3}, {"h3", 2}, {"http", 4}, {"tls", 3}};
    size_t slash = inl_slice_find(protocol, '/');
    struct inlets_slice name = inl_slice(protocol.ptr, slash);

    return protocol.len <= INL_UPGRADE_MAX && inl_slice_is_token(name) &&
           (slash == protocol.len ||
            inl_slice_is_token(inl_slice_from(protocol, slash + 1))) &&
           !named_in(name, never, COUNT(never));
}

/* The value of Upgrade; empty: none, or several lines. */
static struct inlets_slice upgrade_field(const struct inlets_head *head)
{
    struct inlets_slice value = {NULL, 0};
    size_t lines = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, INL_LIT("upgrade"))) {
            value = inl_slice_trim(head->fields[i].value);
            lines++;
        }
    }
    return lines == 1 ? value : inl_slice(NULL, 0);
}

struct inlets_slice inl_upgrade_of(const struct inlets_head *head)
{
    struct inlets_slice protocol = upgrade_field(head);

    return inl_may_upgrade_to(protocol) &&
                   is_connection_option(head, INL_LIT("upgrade"))
               ? protocol
               : inl_slice(NULL, 0);
}

bool inl_asks_for_h2c(const struct inlets_head *head)
{
    return inl_slice_eq_case(upgrade_field(head), INL_LIT("h2c"));
}

bool inl_is_websocket_upgrade(const struct inlets_head *head)
{
    return inl_slice_eq_case(inl_upgrade_of(head), INL_LIT("websocket"));
}

/* RFC 9110 10.1.1: of HTTP/1.0 it is to be ignored; upstreams see 1.1. */
static bool is_idle_expect(struct inlets_slice name,
                           const struct inl_forwarding *request)
{
    return request->http10 && inl_slice_eq_case(name, INL_LIT("Expect"));
}

/* Copies the end-to-end fields; of a request those that are not ours. */
static size_t copy_fields(const struct inlets_head *head,
                          const struct inl_forwarding *request,
                          struct inlets_field *fields)
{
    bool options = has_connection(head);
    size_t n = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        struct inlets_slice name = head->fields[i].name;

        if (named_in(name, hop_by_hop, COUNT(hop_by_hop)) ||
            (options && is_connection_option(head, name)) ||
            (request != NULL && (is_ours(name, request->trusted) ||
                                 is_idle_expect(name, request)))) {
            continue;
        }
        fields[n++] = head->fields[i];
    }
    return n;
}

/* ---- what a trusted proxy says ------------------------------------------ */

/* A request while it is rebuilt. */
struct work {
    const struct inlets_head *head;
    const struct inl_forwarding *f;
    struct inl_forward_room *room;
    size_t n; /* fields */
    bool options;
};

/* May this field of the peer's count? */
static bool counts(const struct work *w, size_t i, struct inlets_slice name)
{
    return inl_slice_eq_case(w->head->fields[i].name, name) &&
           !(w->options && is_connection_option(w->head, name));
}

static bool is_proto(struct inlets_slice value)
{
    return inl_slice_eq_case(value, INL_LIT("http")) ||
           inl_slice_eq_case(value, INL_LIT("https")) ||
           inl_slice_eq_case(value, INL_LIT("ws")) ||
           inl_slice_eq_case(value, INL_LIT("wss"));
}

static bool is_port(struct inlets_slice value)
{
    uint64_t port;

    return value.len <= 5 && inl_slice_to_u64(value, &port) && port >= 1 &&
           port <= 65535;
}

static bool is_host(struct inlets_slice value)
{
    char buf[INL_HOST_MAX];

    return inl_host_normalise(value, buf, sizeof(buf)) > 0;
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool is_id(struct inlets_slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = inl_lower(value.ptr[i]);

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
            !is_one_of(c, "-._~+/=:@")) {
            return false;
        }
    }
    return value.len > 0 && value.len <= INL_FORWARD_ID_MAX;
}

/* The value of the one line of that name, when it is sane; else empty. */
static struct inlets_slice told(const struct work *w, struct inlets_slice name,
                                bool (*is_sane)(struct inlets_slice value))
{
    struct inlets_slice value = {NULL, 0};
    size_t lines = 0;

    for (size_t i = 0; w->f->trusted && i < w->head->nfields; i++) {
        if (counts(w, i, name)) {
            value = inl_slice_trim(w->head->fields[i].value);
            lines++;
        }
    }
    return lines == 1 && is_sane(value) ? value : inl_slice(NULL, 0);
}

/* The last element of a comma list, which is then shorter by it. */
static bool last_element(struct inlets_slice *list, struct inlets_slice *ret)
{
    while (list->len > 0) {
        size_t start = list->len;

        while (start > 0 && list->ptr[start - 1] != ',') {
            start--;
        }
        *ret = inl_slice_trim(inl_slice_from(*list, start));
        list->len = start > 0 ? start - 1 : 0;
        if (ret->len > 0) {
            return true;
        }
    }
    return false;
}

/* Walks all lines of a name from their end. */
struct walk {
    const struct inlets_head *head;
    struct inlets_slice name;
    struct inlets_slice rest; /* of the line */
    size_t line;              /* those before it are still to come */
};

static bool walk_back(struct walk *w, struct inlets_slice *ret)
{
    while (!last_element(&w->rest, ret)) {
        do {
            if (w->line == 0) {
                return false;
            }
            w->line--;
        } while (!inl_slice_eq_case(w->head->fields[w->line].name, w->name));
        w->rest = w->head->fields[w->line].value;
    }
    return true;
}

/* An element of X-Forwarded-For: an address, by some with a port. */
static bool parse_node(struct inlets_slice text, struct inl_ip *ret_ip)
{
    size_t colon = inl_slice_find(text, ':');
    struct inlets_slice rest = {NULL, 0};

    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = inl_slice_find(text, ']');

        if (close == text.len) {
            return false;
        }
        rest = inl_slice_from(text, close + 1);
        text = inl_slice(text.ptr + 1, close - 1);
    } else if (colon < text.len &&
               inl_slice_find(inl_slice_from(text, colon + 1), ':') ==
                   text.len - colon - 1) {
        rest = inl_slice_from(text, colon); /* one colon: no IPv6 */
        text = inl_slice(text.ptr, colon);
    }
    if (rest.len > 0 &&
        (rest.ptr[0] != ':' || !is_port(inl_slice_from(rest, 1)))) {
        return false;
    }
    return inl_ip_parse(text, ret_ip);
}

struct inlets_slice inl_forward_client(const struct inlets_head *head,
                                       const struct inl_cidr_set *trusted,
                                       struct inlets_slice peer_ip,
                                       char buf[INL_IP_TEXT])
{
    struct walk walk = {.head = head,
                        .name = INL_LIT("x-forwarded-for"),
                        .line = head->nfields};
    struct inlets_slice element, client = peer_ip;
    struct inl_ip ip;

    if (!inl_cidr_set_has_text(trusted, peer_ip) ||
        is_connection_option(head, walk.name)) {
        return peer_ip;
    }
    for (size_t i = 0; i < HOPS_MAX && walk_back(&walk, &element); i++) {
        if (!parse_node(element, &ip)) {
            break; /* the last who could be read is all that is known */
        }
        client = inl_ip_format(&ip, buf);
        if (!inl_cidr_set_has(trusted, &ip)) {
            break;
        }
    }
    return client;
}

/* ---- what goes up ------------------------------------------------------- */

static void add(struct work *w, struct inlets_slice name,
                struct inlets_slice value)
{
    if (value.len > 0) {
        w->room->fields[w->n++] = (struct inlets_field){name, value};
    }
}

/* Copies text behind what is in the room; the callers see that it fits. */
static void put(struct inl_forward_room *room, struct inlets_slice s)
{
    char *at = room->text + room->used;

    (void)inl_slice_keep(&at, s);
    room->used += s.len;
}

/* May an element of X-Forwarded-For go on? */
static bool is_node(struct inlets_slice element)
{
    struct inl_ip ip;

    return parse_node(element, &ip) ||
           inl_slice_eq_case(element, INL_LIT("unknown"));
}

/* What the proxies before wrote, as far back as it is a list of addresses and
 * there is room, and whom we see: "client, proxy1, proxy2". */
static void add_for(struct work *w)
{
    struct inlets_slice name = INL_LIT("X-Forwarded-For");
    struct inlets_slice element = w->f->peer_ip;
    char *end = w->room->text + w->room->used + INL_FORWARD_CHAIN_MAX;
    char *at = end, *to;
    struct walk walk = {.head = w->head, .name = name};

    if (!w->f->trusted || is_connection_option(w->head, name)) {
        add(w, name, element);
        return;
    }
    walk.line = w->head->nfields;
    do {
        size_t comma = at < end ? 2 : 0;

        if ((size_t)(at - w->room->text) - w->room->used <
            element.len + comma) {
            break;
        }
        at -= comma + element.len;
        to = at;
        (void)inl_slice_keep(&to, element);
        memcpy(to, ", ", comma);
    } while (walk_back(&walk, &element) && is_node(element));
    add(w, name, inl_slice(at, (size_t)(end - at)));
    w->room->used += INL_FORWARD_CHAIN_MAX;
}

/* The port of a Host field's value; empty when it has none. */
static struct inlets_slice port_of(struct inlets_slice host)
{
    struct inlets_slice rest = inl_slice_from(host, inl_slice_find(host, ']'));

    rest = rest.len > 0 ? rest : host;
    return inl_slice_from(rest, inl_slice_find(rest, ':') + 1);
}

/* The port that the visitor connected to. A proxy that says by which scheme
 * it was reached but not at which port, as many do, was reached at the one
 * that the visitor wrote; ours would be wrong. */
static struct inlets_slice choose_port(const struct work *w,
                                       struct inlets_slice host,
                                       struct inlets_slice told_proto)
{
    struct inlets_slice port = told(w, INL_LIT("X-Forwarded-Port"), is_port);

    if (port.len > 0 || told_proto.len == 0) {
        return port.len > 0 ? port : w->f->port;
    }
    port = port_of(host);
    if (is_port(port)) {
        return port;
    }
    return inl_slice_eq_case(told_proto, INL_LIT("https")) ||
                   inl_slice_eq_case(told_proto, INL_LIT("wss"))
               ? INL_LIT("443")
               : INL_LIT("80");
}

static struct inlets_slice or_else(struct inlets_slice first,
                                   struct inlets_slice second)
{
    return first.len > 0 ? first : second;
}

static void add_x_fields(struct work *w)
{
    struct inlets_slice proto = told(w, INL_LIT("X-Forwarded-Proto"), is_proto);
    struct inlets_slice host =
        or_else(told(w, INL_LIT("X-Forwarded-Host"), is_host), w->head->host);

    add_for(w);
    add(w, INL_LIT("X-Forwarded-Host"), host);
    add(w, INL_LIT("X-Forwarded-Proto"), or_else(proto, w->f->proto));
    add(w, INL_LIT("X-Forwarded-Port"), choose_port(w, host, proto));
    add(w, INL_LIT("X-Request-Id"), w->f->id);
}

/* All lines of a name as one, into the room; false when they do not fit or
 * one of them is not to be joined. */
static bool join(const struct work *w, struct inlets_slice name, size_t most,
                 bool (*is_sane)(struct inlets_slice value))
{
    size_t begun = w->room->used;

    for (size_t i = 0; i < w->head->nfields; i++) {
        struct inlets_slice value = inl_slice_trim(w->head->fields[i].value);

        if (!counts(w, i, name) || value.len == 0) {
            continue;
        }
        if (w->room->used - begun + value.len + 2 > most || !is_sane(value)) {
            w->room->used = begun;
            return false;
        }
        put(w->room, value);
        put(w->room, INL_LIT(", "));
    }
    return true;
}

static bool anything(struct inlets_slice value)
{
    (void)value;
    return true;
}

/* RFC 9110 7.6.3: "[protocol-name/]version by", appended to what there is. A
 * chain too long to be joined stays in its own lines, in front of ours. */
static void add_via(struct work *w)
{
    struct inlets_slice name = INL_LIT("Via");
    struct inlets_slice us =
        w->f->http10 ? INL_LIT("1.0 inlets") : INL_LIT("1.1 inlets");
    size_t begun = w->room->used;

    if (!join(w, name, sizeof(w->room->text) - begun - us.len, anything)) {
        for (size_t i = 0; i < w->head->nfields; i++) {
            if (counts(w, i, name)) {
                add(w, name, w->head->fields[i].value);
            }
        }
    }
    put(w->room, us);
    add(w, name, inl_slice(w->room->text + begun, w->room->used - begun));
}

/* ---- Forwarded (RFC 7239) ----------------------------------------------- */

/* A quoted-string at the front of s: its length, or 0. */
static size_t quoted_len(struct inlets_slice s)
{
    for (size_t i = 1; i < s.len && s.ptr[0] == '"'; i++) {
        if (s.ptr[i] == '"') {
            return i + 1;
        }
        i += s.ptr[i] == '\\';
    }
    return 0;
}

/* Could another element follow this list? Not whether each word is right, but
 * that no quote is open that would swallow what we append. */
static bool is_forwarded(struct inlets_slice s)
{
    size_t i = 0;

    while (i < s.len) {
        size_t quoted = quoted_len(inl_slice_from(s, i));

        if (quoted > 0 && i > 0 && s.ptr[i - 1] == '=') {
            i += quoted;
            if (i < s.len && !is_one_of(s.ptr[i], ";, \t")) {
                return false;
            }
        } else if (!inl_slice_is_token(inl_slice(s.ptr + i, 1)) &&
                   !is_one_of(s.ptr[i], "=;, \t:[]")) {
            return false;
        } else {
            i++;
        }
    }
    return true;
}

/* quoted-string, RFC 9110 5.6.4 */
static void put_quoted(struct inl_forward_room *room, struct inlets_slice s)
{
    put(room, INL_LIT("\""));
    for (size_t i = 0; i < s.len; i++) {
        if (is_one_of(s.ptr[i], "\"\\")) {
            put(room, INL_LIT("\\"));
        }
        put(room, inl_slice(s.ptr + i, 1));
    }
    put(room, INL_LIT("\""));
}

/* An address of IPv6 is in brackets, and so in quotes (RFC 7239 6). */
static void put_node(struct inl_forward_room *room, struct inlets_slice ip)
{
    bool is_v6 = inl_slice_find(ip, ':') < ip.len;

    put(room, is_v6 ? INL_LIT("\"[") : INL_LIT(""));
    put(room, ip.len > 0 ? ip : INL_LIT("unknown"));
    put(room, is_v6 ? INL_LIT("]\"") : INL_LIT(""));
}

/* Our element says what we saw ourselves; what the proxies before us saw is
 * in theirs. No "by": it would tell upstreams of the inside of this machine,
 * which they have no use for (RFC 7239 8.3). */
static void add_forwarded(struct work *w)
{
    struct inl_forward_room *room = w->room;
    size_t begun = room->used;
    struct inlets_slice host = w->head->host;

    if (!w->f->forwarded) {
        return;
    }
    if (w->f->trusted) {
        (void)join(w, INL_LIT("Forwarded"), INL_FORWARD_CHAIN_MAX,
                   is_forwarded);
    }
    put(room, INL_LIT("for="));
    put_node(room, w->f->peer_ip);
    if (host.len > 0 && host.len <= INL_HOST_MAX + sizeof(":65535")) {
        put(room, INL_LIT(";host="));
        put_quoted(room, host);
    }
    put(room, INL_LIT(";proto="));
    put(room, w->f->proto);
    add(w, INL_LIT("Forwarded"),
        inl_slice(room->text + begun, room->used - begun));
}

/* ---- Max-Forwards (RFC 9110 7.6.2) -------------------------------------- */

/* The place of the one Max-Forwards that means anything: nobody has to look at
 * it in other methods. (TRACE never comes here.) */
static bool find_max_forwards(const struct inlets_head *head, size_t *ret_at,
                              uint64_t *ret_number)
{
    size_t lines = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, INL_LIT("Max-Forwards"))) {
            lines++;
            *ret_at = i;
        }
    }
    return lines == 1 && inl_slice_eq(head->method, INL_LIT("OPTIONS")) &&
           inl_slice_to_u64(head->fields[*ret_at].value, ret_number);
}

bool inl_forward_ends_here(const struct inlets_head *head)
{
    uint64_t number;
    size_t at;

    return find_max_forwards(head, &at, &number) && number == 0;
}

/* One hop less. The field has been copied, unless Connection named it. */
static void count_forward(struct work *w)
{
    struct inl_forward_room *room = w->room;
    char *digits = room->text + room->used;
    uint64_t number;
    size_t at;

    if (!find_max_forwards(w->head, &at, &number) || number == 0) {
        return;
    }
    for (size_t i = 0; i < w->n; i++) {
        if (room->fields[i].name.ptr == w->head->fields[at].name.ptr) {
            (void)snprintf(digits, MAX_DIGITS + 1, "%llu",
                           (unsigned long long)number - 1);
            room->fields[i].value = inl_str(digits);
            room->used += MAX_DIGITS + 1;
        }
    }
}

/* ---- heads -------------------------------------------------------------- */

struct inlets_slice inl_forward_id(const struct inlets_head *head)
{
    const struct inl_forwarding f = {.trusted = true};
    const struct work w = {
        .head = head, .f = &f, .options = has_connection(head)};

    return told(&w, INL_LIT("X-Request-Id"), is_id);
}

/* Is it an upgrade that goes on? The field does only where it says more than
 * the flag. */
static bool add_upgrade(struct work *w)
{
    struct inlets_slice protocol;

    if ((w->head->flags & INLETS_HEAD_UPGRADE) == 0 ||
        (w->head->content_length != INLETS_LENGTH_NONE &&
         w->head->content_length != 0)) {
        return false;
    }
    protocol = inl_upgrade_of(w->head);
    if (inl_slice_eq_case(protocol, INL_LIT("websocket"))) {
        return true;
    }
    if (protocol.len > 0 && inl_slice_list_has(w->f->upgrades, protocol)) {
        add(w, INL_LIT("Upgrade"), protocol);
        return true;
    }
    return false;
}

int inl_forward_request(const struct inlets_head *head,
                        const struct inl_forwarding *f,
                        struct inl_forward_room *room, struct inlets_head *ret)
{
    struct work w = {
        .head = head, .f = f, .room = room, .options = has_connection(head)};

    if (head->nfields > INL_FORWARD_MAX_FIELDS - 8) {
        return INLETS_EHEADSIZE;
    }
    room->used = 0;
    w.n = copy_fields(head, f, room->fields);
    count_forward(&w);
    add_x_fields(&w);
    add_forwarded(&w);
    add_via(&w);
    *ret = *head;
    ret->flags &= ~INLETS_HEAD_UPGRADE;
    if (add_upgrade(&w)) {
        ret->flags |= INLETS_HEAD_UPGRADE;
    }
    ret->fields = room->fields;
    ret->nfields = w.n;
    return 0;
}

void inl_forward_date(struct inlets_head *head, struct inlets_field *fields,
                      char buf[INL_DATE_TEXT])
{
    bool has_date = head->status < 200;

    for (size_t i = 0; i < head->nfields && !has_date; i++) {
        has_date = inl_slice_eq_case(fields[i].name, INL_LIT("Date"));
    }
    if (!has_date && head->nfields < INL_FORWARD_MAX_FIELDS) {
        fields[head->nfields++] =
            (struct inlets_field){INL_LIT("Date"), inl_date_now(buf)};
    }
}

int inl_forward_response(const struct inlets_head *head,
                         struct inlets_field *fields, struct inlets_head *ret)
{
    if (head->nfields > INL_FORWARD_MAX_FIELDS) {
        return INLETS_EUPSTREAM;
    }
    *ret = *head;
    ret->nfields = copy_fields(head, NULL, fields);
    ret->fields = fields;
    return 0;
}

struct inlets_slice inl_target_path(struct inlets_slice target)
{
    return inl_slice(target.ptr, inl_slice_find(target, '?'));
}
