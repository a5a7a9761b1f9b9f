/* json_accounts.c: see json_accounts.h.
 *
 * The tree of jansson is the document; the entries are what it says, read anew
 * after each change, so there is one place that decides what is valid.
 *
 * Failure: a change that makes no valid document is undone. */
#include "proto/json_accounts.h"

#include "base/codec.h"
#include "base/date.h"
#include "base/mem.h"
#include "base/slice.h"
#include <inlets/err.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGEST_PREFIX "sha256:"
#define DIGEST_TEXT (sizeof(DIGEST_PREFIX) - 1 + 2 * INL_SHA256_LEN)
#define LIMIT_MAX 1000000

/* ---- reading ------------------------------------------------------------ */

/* An account that is being read. */
struct reading {
    struct inl_account_entry *entry;
    json_t *issuers; /* of the document; may be NULL */
    json_t *rules;   /* about claims, as texts: of this one and those before */
    char *why;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct reading *r,
                                                        const char *format, ...)
{
    va_list args;
    int n = snprintf(r->why, INL_ACCOUNT_WHY, "account %s: ", r->entry->name);

    va_start(args, format);
    (void)vsnprintf(r->why + n, INL_ACCOUNT_WHY - (size_t)n, format, args);
    va_end(args);
    return INLETS_EINVAL;
}

static bool is_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return len > 0 && len <= INL_ACCOUNT_NAME_MAX && name[len] == '\0' &&
           name[0] != '-';
}

/* An array of strings: their texts, or INLETS_EINVAL. */
static int read_texts(const struct reading *r, const char *member,
                      json_t *value, size_t most, const char ***ret_texts,
                      size_t *ret_n)
{
    size_t n = json_array_size(value);
    const char **texts;

    if (!json_is_array(value) || n > most) {
        return refuse(r, "%s: not a list of at most %zu texts", member, most);
    }
    texts = inl_calloc(n + 1, sizeof(*texts));
    if (texts == NULL) {
        return INLETS_ENOMEM;
    }
    *ret_texts = texts;
    *ret_n = n;
    for (size_t i = 0; i < n; i++) {
        texts[i] = json_string_value(json_array_get(value, i));
        if (texts[i] == NULL) {
            return refuse(r, "%s: not a list of texts", member);
        }
    }
    return 0;
}

static bool read_digest(const json_t *value, uint8_t digest[INL_SHA256_LEN])
{
    static const struct inlets_slice prefix = {DIGEST_PREFIX,
                                               sizeof(DIGEST_PREFIX) - 1};
    struct inlets_slice text = inl_str(json_string_value(value));

    return inl_slice_starts(text, prefix) &&
           inl_hex_decode(inl_slice_from(text, prefix.len), digest,
                          INL_SHA256_LEN);
}

/* None at all would be a slip of the pen: who meant it leaves it out. */
static int read_certificates(const struct reading *r, json_t *value)
{
    size_t n = json_array_size(value);

    if (!json_is_array(value) || n == 0 || n > INL_ACCOUNT_CERTIFICATES) {
        return refuse(r, "certificates: not a list of one to %u fingerprints",
                      INL_ACCOUNT_CERTIFICATES);
    }
    for (size_t i = 0; i < n; i++) {
        if (!read_digest(json_array_get(value, i), r->entry->certificates[i])) {
            return refuse(r, "certificates: not " DIGEST_PREFIX
                             " and 64 hexadecimal digits, in lower case and "
                             "without colons");
        }
    }
    r->entry->ncertificates = n;
    return 0;
}

static int read_tokens(const struct reading *r, json_t *value)
{
    size_t n = json_array_size(value);

    if (!json_is_array(value) || n > INL_ACCOUNT_TOKENS) {
        return refuse(r, "tokens: not a list of one or two digests");
    }
    for (size_t i = 0; i < n; i++) {
        if (!read_digest(json_array_get(value, i), r->entry->tokens[i])) {
            return refuse(r, "tokens: not " DIGEST_PREFIX
                             " and 64 hexadecimal digits, as account add "
                             "writes them");
        }
    }
    r->entry->ntokens = n;
    return 0;
}

static int read_password(const struct reading *r, json_t *value)
{
    struct inl_account_entry *e = r->entry;

    e->password = json_string_value(value);
    if (e->password == NULL || !inl_password_is_hash(e->password)) {
        return refuse(r, "password: not a hash by yescrypt, scrypt or bcrypt, "
                         "as account password writes it");
    }
    return inl_sha256(inl_str(e->password), e->password_proof);
}

static int read_hosts(const struct reading *r, json_t *value)
{
    struct inl_account_entry *e = r->entry;
    int err = read_texts(r, "hosts", value, INL_ACCOUNT_HOSTS_MAX, &e->hosts,
                         &e->nhosts);

    if (err == 0) {
        e->endpoints = inl_calloc(e->nhosts + 1, sizeof(*e->endpoints));
        err = e->endpoints == NULL ? INLETS_ENOMEM : 0;
    }
    for (size_t i = 0; err == 0 && i < e->nhosts; i++) {
        if (e->hosts[i][0] == '\0' ||
            inl_endpoint_parse(inl_str(e->hosts[i]), &e->endpoints[i]) != 0) {
            err = refuse(r,
                         "hosts: '%.80s' is not like app.example.com, "
                         "*.example.com, example.com/api or *",
                         e->hosts[i]);
        }
    }
    return err;
}

static int read_networks(const struct reading *r, json_t *value)
{
    struct inl_account_entry *e = r->entry;
    int err = read_texts(r, "networks", value, INL_ACCOUNT_NETWORKS_MAX,
                         &e->networks, &e->nnetworks);

    for (size_t i = 0; err == 0 && i < e->nnetworks; i++) {
        struct inl_cidr range;

        if (!inl_cidr_parse(inl_str(e->networks[i]), &range)) {
            return refuse(r,
                          "networks: '%.60s' is not like 192.0.2.0/24 or "
                          "2001:db8::/32",
                          e->networks[i]);
        }
        err = inl_cidr_set_add(&e->from, inl_str(e->networks[i]), NULL);
    }
    return err;
}

static int read_expires(const struct reading *r, json_t *value)
{
    struct inl_account_entry *e = r->entry;

    e->expires = json_string_value(value);
    if (e->expires == NULL ||
        !inl_date_parse(inl_str(e->expires), &e->expires_s)) {
        return refuse(r,
                      "expires: '%.40s' is not a date like 2027-01-31 or "
                      "2027-01-31T12:00:00Z",
                      e->expires == NULL ? "" : e->expires);
    }
    return 0;
}

static int read_limit(const struct reading *r, const char *name, json_t *value,
                      uint32_t *ret)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 0 || n > LIMIT_MAX) {
        return refuse(r, "%s: not a number from 0 to %d", name, LIMIT_MAX);
    }
    *ret = (uint32_t)n;
    return 0;
}

/* Of two that are the same, only the first would ever fit. */
static int check_new(const struct reading *r, json_t *rule)
{
    char *text = json_dumps(rule, JSON_COMPACT | JSON_SORT_KEYS);
    int err = 0;

    if (text == NULL) {
        return INLETS_ENOMEM;
    }
    if (json_object_get(r->rules, text) != NULL) {
        err = refuse(r, "claims: a rule is there already, of this account or "
                        "another");
    } else if (json_object_set_new(r->rules, text, json_true()) != 0) {
        err = INLETS_ENOMEM;
    }
    inl_account_doc_free_text(text);
    return err;
}

/* All that is said in one rule must be true of a token: it says something, and
 * of an issuer that is there. */
static int check_rule(const struct reading *r, json_t *rule)
{
    const char *issuer = json_string_value(json_object_get(rule, "issuer"));
    const char *name;
    json_t *value;

    if (json_object_get(r->issuers, issuer == NULL ? "" : issuer) == NULL) {
        return refuse(r, "claims: a rule's issuer is none of the file's "
                         "issuers");
    }
    if (json_object_size(rule) < 2) {
        return refuse(r, "claims: a rule names no claim");
    }
    json_object_foreach(rule, name, value)
    {
        const char *text = json_string_value(value);

        if (!inl_jwt_is_claim(name)) {
            return refuse(r,
                          "claims: '%.40s' is not a name, nor a JSON "
                          "Pointer like /kubernetes.io/namespace",
                          name);
        }
        if (text == NULL || text[0] == '\0' || strcmp(text, "*") == 0) {
            return refuse(r, "claims: '%.40s' is not a text, or says nothing",
                          name);
        }
    }
    return check_new(r, rule);
}

/* What the rules say, and of whose tokens; other keys are no other rules. The
 * caller ends it with inl_account_doc_free_text. NULL: out of memory. */
static char *print_rules(const struct reading *r, json_t *rules)
{
    json_t *all = json_array();
    bool done = json_array_append(all, rules) == 0;
    char *text = NULL;

    for (size_t i = 0; i < json_array_size(rules); i++) {
        const char *issuer = json_string_value(
            json_object_get(json_array_get(rules, i), "issuer"));
        json_t *who = json_copy(json_object_get(r->issuers, issuer));

        (void)json_object_del(who, "keys");
        (void)json_object_del(who, "jwks");
        done = json_array_append_new(all, who) == 0 && done;
    }
    if (done) {
        text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
    }
    json_decref(all);
    return text;
}

static int read_claims(const struct reading *r, json_t *value)
{
    size_t n = json_array_size(value);
    char *text;
    int err = 0;

    if (!json_is_array(value) || n == 0 || n > INL_ACCOUNT_RULES) {
        return refuse(r, "claims: not a list of one to %u rules",
                      INL_ACCOUNT_RULES);
    }
    for (size_t i = 0; err == 0 && i < n; i++) {
        err = check_rule(r, json_array_get(value, i));
    }
    if (err != 0) {
        return err;
    }
    text = print_rules(r, value);
    if (text == NULL) {
        return INLETS_ENOMEM;
    }
    r->entry->claims = value;
    err = inl_sha256(inl_str(text), r->entry->claims_proof);
    inl_account_doc_free_text(text);
    return err;
}

static int read_member(const struct reading *r, const char *name, json_t *value)
{
    struct inl_account_entry *e = r->entry;

    if (strcmp(name, "tokens") == 0) {
        return read_tokens(r, value);
    }
    if (strcmp(name, "password") == 0) {
        return read_password(r, value);
    }
    if (strcmp(name, "claims") == 0) {
        return read_claims(r, value);
    }
    if (strcmp(name, "certificates") == 0) {
        return read_certificates(r, value);
    }
    if (strcmp(name, "hosts") == 0) {
        return read_hosts(r, value);
    }
    if (strcmp(name, "networks") == 0) {
        return read_networks(r, value);
    }
    if (strcmp(name, "expires") == 0) {
        return read_expires(r, value);
    }
    if (strcmp(name, "sessions") == 0) {
        return read_limit(r, name, value, &e->sessions);
    }
    if (strcmp(name, "streams") == 0) {
        return read_limit(r, name, value, &e->streams);
    }
    if (strcmp(name, "streams_per_second") == 0) {
        return read_limit(r, name, value, &e->streams_per_second);
    }
    return refuse(r, "'%.40s' is not known here", name);
}

static int read_entry(const struct reading *r, json_t *account)
{
    const char *name;
    json_t *value;
    int err = 0;

    if (!is_name(r->entry->name)) {
        (void)snprintf(r->why, INL_ACCOUNT_WHY,
                       "'%.80s' is not a name: 1 to %u of A-Z, a-z, 0-9, ., "
                       "_ and -, and not - first",
                       r->entry->name, INL_ACCOUNT_NAME_MAX);
        return INLETS_EINVAL;
    }
    if (!json_is_object(account)) {
        return refuse(r, "not an object");
    }
    json_object_foreach(account, name, value)
    {
        err = read_member(r, name, value);
        if (err != 0) {
            return err;
        }
    }
    return r->entry->nhosts > 0
               ? 0
               : refuse(r, "hosts: it may serve nothing; * is any host");
}

static void fini_entries(struct inl_account_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        inl_free(entries[i].hosts);
        inl_free(entries[i].endpoints);
        inl_free(entries[i].networks);
        inl_cidr_set_fini(&entries[i].from);
    }
    inl_free(entries);
}

/* ---- issuers ------------------------------------------------------------ */

static int refuse_issuer(const char *name, const char *what, char *why)
{
    (void)snprintf(why, INL_ACCOUNT_WHY, "issuer %.60s: %s", name, what);
    return INLETS_EINVAL;
}

/* A member that has to be there, and not empty. */
static const char *text_in(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL || text[0] == '\0' ? NULL : text;
}

static int read_issuer(const char *name, json_t *value,
                       struct inl_jwt_issuer *issuer, char *why)
{
    const char *what = "";
    int err;

    issuer->name = name;
    issuer->issuer = text_in(value, "issuer");
    issuer->audience = text_in(value, "audience");
    issuer->jwks = text_in(value, "jwks");
    if (name[0] == '\0' || json_object_size(value) != 3 ||
        issuer->issuer == NULL || issuer->audience == NULL) {
        return refuse_issuer(name,
                             "not like {\"issuer\": \"https://...\", "
                             "\"audience\": \"...\", \"keys\": [...]}, or "
                             "\"jwks\": \"FILE\" for \"keys\"",
                             why);
    }
    if (issuer->jwks != NULL) {
        return 0; /* whoever reads files reads that, too */
    }
    err = inl_jwk_read(json_object_get(value, "keys"), &issuer->keys,
                       &issuer->nkeys, &what);
    if (err == INLETS_EINVAL) {
        (void)snprintf(why, INL_ACCOUNT_WHY, "issuer %.60s: keys: %s", name,
                       what);
    }
    return err;
}

/* The token's "iss" and "aud" say whose rules are asked. */
static bool has_before(const struct inl_jwt_issuer *issuers, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (strcmp(issuers[i].issuer, issuers[at].issuer) == 0 &&
            strcmp(issuers[i].audience, issuers[at].audience) == 0) {
            return true;
        }
    }
    return false;
}

static void fini_issuers(struct inl_jwt_issuer *issuers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        inl_free(issuers[i].keys);
        json_decref(issuers[i].more);
    }
    inl_free(issuers);
}

static int read_issuers(const struct inl_account_doc *doc,
                        struct inl_jwt_issuer **ret_issuers, size_t *ret_n,
                        char *why)
{
    json_t *all = json_object_get(doc->root, "issuers"), *value;
    struct inl_jwt_issuer *issuers;
    const char *name;
    size_t at = 0;
    int err = 0;

    if (all != NULL &&
        (!json_is_object(all) || json_object_size(all) > INL_ACCOUNT_ISSUERS)) {
        (void)snprintf(why, INL_ACCOUNT_WHY,
                       "issuers: not an object with at most %u issuers",
                       INL_ACCOUNT_ISSUERS);
        return INLETS_EINVAL;
    }
    issuers = inl_calloc(json_object_size(all) + 1, sizeof(*issuers));
    if (issuers == NULL) {
        return INLETS_ENOMEM;
    }
    json_object_foreach(all, name, value)
    {
        err = err != 0 ? err : read_issuer(name, value, &issuers[at++], why);
        if (err == 0 && has_before(issuers, at - 1)) {
            err = refuse_issuer(name,
                                "there is one of the same issuer and "
                                "audience already",
                                why);
        }
    }
    if (err != 0) {
        fini_issuers(issuers, at);
        return err;
    }
    *ret_issuers = issuers;
    *ret_n = at;
    return 0;
}

/* ---- the document ------------------------------------------------------- */

static int read_accounts(const struct inl_account_doc *doc,
                         struct inl_account_entry **ret_entries, size_t *ret_n,
                         char *why)
{
    json_t *issuers = json_object_get(doc->root, "issuers");
    json_t *accounts = json_object_get(doc->root, "accounts");
    size_t n = json_object_size(accounts), at = 0;
    struct inl_account_entry *entries;
    json_t *value, *rules;
    const char *name;
    int err = 0;

    if (!json_is_object(accounts) ||
        json_object_size(doc->root) != 1u + (issuers != NULL) ||
        n > INL_ACCOUNTS_MAX) {
        (void)snprintf(why, INL_ACCOUNT_WHY,
                       "not like {\"accounts\": {\"NAME\": {...}}}, with at "
                       "most %u accounts",
                       INL_ACCOUNTS_MAX);
        return INLETS_EINVAL;
    }
    entries = inl_calloc(n + 1, sizeof(*entries));
    if (entries == NULL) {
        return INLETS_ENOMEM;
    }
    rules = json_object();
    json_object_foreach(accounts, name, value)
    {
        struct reading r = {&entries[at++], issuers, rules, why};

        r.entry->name = name;
        r.entry->expires_s = INT64_MAX;
        err = read_entry(&r, value);
        if (err != 0) {
            break;
        }
    }
    json_decref(rules);
    if (err != 0) {
        fini_entries(entries, at);
        return err;
    }
    *ret_entries = entries;
    *ret_n = n;
    return 0;
}

static void fini_what_is_read(struct inl_account_doc *doc)
{
    fini_entries(doc->entries, doc->n);
    fini_issuers(doc->issuers, doc->nissuers);
    *doc = (struct inl_account_doc){.root = doc->root};
}

/* What the tree says, instead of what it said. */
static int read_entries(struct inl_account_doc *doc, char *why)
{
    struct inl_account_doc new = {.root = doc->root};
    int err = read_accounts(doc, &new.entries, &new.n, why);

    if (err == 0) {
        err = read_issuers(doc, &new.issuers, &new.nissuers, why);
    }
    if (err != 0) {
        fini_what_is_read(&new);
        return err;
    }
    fini_what_is_read(doc);
    *doc = new;
    return 0;
}

static bool is_blank(struct inlets_slice text)
{
    size_t i = 0;

    while (i < text.len && strchr(" \t\r\n", text.ptr[i]) != NULL) {
        i++;
    }
    return i == text.len;
}

int inl_account_doc_parse(struct inl_account_doc *ret_doc,
                          struct inlets_slice text, char why[INL_ACCOUNT_WHY])
{
    struct inl_account_doc doc = {.root = NULL};
    json_error_t problem = {.line = 0};
    int err;

    if (is_blank(text)) {
        text = INL_LIT("{\"accounts\": {}}");
    }
    doc.root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &problem);
    if (doc.root == NULL) {
        /* jansson's words would repeat what is there, and that may be a
         * secret. */
        (void)snprintf(why, INL_ACCOUNT_WHY,
                       "line %d, column %d: not JSON, or a name twice",
                       problem.line, problem.column);
        return INLETS_EINVAL;
    }
    err = read_entries(&doc, why);
    if (err != 0) {
        inl_account_doc_fini(&doc);
        return err;
    }
    *ret_doc = doc;
    return 0;
}

void inl_account_doc_fini(struct inl_account_doc *doc)
{
    fini_what_is_read(doc);
    json_decref(doc->root);
    *doc = (struct inl_account_doc){.root = NULL};
}

size_t inl_account_entry_nrules(const struct inl_account_entry *entry)
{
    return json_array_size(entry->claims);
}

const struct inl_account_entry *
inl_account_doc_find(const struct inl_account_doc *doc, const char *name)
{
    for (size_t i = 0; i < doc->n; i++) {
        if (strcmp(doc->entries[i].name, name) == 0) {
            return &doc->entries[i];
        }
    }
    return NULL;
}

/* ---- writing ------------------------------------------------------------ */

char *inl_account_doc_print(const struct inl_account_doc *doc)
{
    return json_dumps(doc->root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
}

void inl_account_doc_free_text(char *text)
{
    free(text); /* NOLINT: jansson's, which has malloc's memory */
}

/* Takes `value` over; NULL is a failure of before. */
static bool set(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

static bool set_texts(json_t *object, const char *name,
                      const char *const *texts, size_t n)
{
    json_t *list = json_array();
    bool done = true;

    for (size_t i = 0; i < n; i++) {
        done = done && json_array_append_new(list, json_string(texts[i])) == 0;
    }
    return set(object, name, list) && done;
}

static bool set_limit(json_t *object, const char *name, uint32_t limit)
{
    return limit == 0 || set(object, name, json_integer(limit));
}

static json_t *digest_of(const uint8_t token[INL_SHA256_LEN])
{
    char text[DIGEST_TEXT + 1] = DIGEST_PREFIX;

    inl_hex_encode(token, INL_SHA256_LEN, text + sizeof(DIGEST_PREFIX) - 1);
    return json_stringn(text, DIGEST_TEXT);
}

static bool set_tokens(json_t *object, const struct inl_account_entry *e)
{
    json_t *list = json_array();
    bool done = true;

    for (size_t i = 0; i < e->ntokens; i++) {
        done =
            done && json_array_append_new(list, digest_of(e->tokens[i])) == 0;
    }
    return set(object, "tokens", list) && done;
}

/* {"issuer": "...", "sub": "..."}, of "sub=..." */
static json_t *make_rule(const struct inl_account_entry *e)
{
    json_t *rule = json_object();
    bool done = set(rule, "issuer", json_string(e->rule_issuer));

    for (size_t i = 0; i < e->nrule_claims; i++) {
        const char *claim = e->rule_claims[i];
        const char *value = strchr(claim, '=');

        done = done && value != NULL &&
               json_object_setn_new(rule, claim, (size_t)(value - claim),
                                    json_string(value + 1)) == 0;
    }
    if (!done) {
        json_decref(rule);
        return NULL;
    }
    return rule;
}

static bool set_rule(json_t *object, const struct inl_account_entry *e)
{
    json_t *rules = json_array();

    if (json_array_append_new(rules, make_rule(e)) != 0) {
        json_decref(rules);
        return false;
    }
    return set(object, "claims", rules);
}

/* NULL: out of memory, or a text is not UTF-8. */
static json_t *make_account(const struct inl_account_entry *e)
{
    json_t *a = json_object();

    if ((e->ntokens == 0 || set_tokens(a, e)) &&
        (e->password == NULL || set(a, "password", json_string(e->password))) &&
        (e->rule_issuer == NULL || set_rule(a, e)) &&
        set_texts(a, "hosts", e->hosts, e->nhosts) &&
        (e->nnetworks == 0 ||
         set_texts(a, "networks", e->networks, e->nnetworks)) &&
        (e->expires == NULL || set(a, "expires", json_string(e->expires))) &&
        set_limit(a, "sessions", e->sessions) &&
        set_limit(a, "streams", e->streams) &&
        set_limit(a, "streams_per_second", e->streams_per_second)) {
        return a;
    }
    json_decref(a);
    return NULL;
}

int inl_account_doc_add(struct inl_account_doc *doc,
                        const struct inl_account_entry *entry,
                        char why[INL_ACCOUNT_WHY])
{
    json_t *accounts = json_object_get(doc->root, "accounts");
    json_t *account;
    int err;

    if (json_object_get(accounts, entry->name) != NULL) {
        (void)snprintf(why, INL_ACCOUNT_WHY,
                       "there is an account %.64s already", entry->name);
        return INLETS_ECONFLICT;
    }
    account = make_account(entry);
    if (account == NULL || !set(accounts, entry->name, account)) {
        (void)snprintf(why, INL_ACCOUNT_WHY,
                       "out of memory, or a text is not UTF-8");
        return INLETS_EINVAL;
    }
    err = read_entries(doc, why);
    if (err != 0) {
        (void)json_object_del(accounts, entry->name);
    }
    return err;
}

int inl_account_doc_remove(struct inl_account_doc *doc, const char *name)
{
    char why[INL_ACCOUNT_WHY];
    json_t *accounts = json_object_get(doc->root, "accounts");

    int err;

    if (json_object_del(accounts, name) != 0) {
        return INLETS_ENOROUTE;
    }
    err = read_entries(doc, why);
    if (err != 0) { /* the entries name what is gone */
        fini_what_is_read(doc);
    }
    return err;
}

int inl_account_doc_rotate(struct inl_account_doc *doc, const char *name,
                           bool drop_old, const uint8_t token[INL_SHA256_LEN])
{
    char why[INL_ACCOUNT_WHY];
    const struct inl_account_entry *old = inl_account_doc_find(doc, name);
    struct inl_account_entry tokens = {.ntokens = 1};

    if (old == NULL) {
        return INLETS_ENOROUTE;
    }
    memcpy(tokens.tokens[0], token, INL_SHA256_LEN);
    if (!drop_old && old->ntokens > 0) {
        memcpy(tokens.tokens[1], old->tokens[0], INL_SHA256_LEN);
        tokens.ntokens = 2;
    }
    if (!set_tokens(
            json_object_get(json_object_get(doc->root, "accounts"), name),
            &tokens)) {
        return INLETS_ENOMEM;
    }
    return read_entries(doc, why);
}

int inl_account_doc_set_password(struct inl_account_doc *doc, const char *name,
                                 const char *hash)
{
    char why[INL_ACCOUNT_WHY];
    json_t *accounts = json_object_get(doc->root, "accounts");

    if (inl_account_doc_find(doc, name) == NULL) {
        return INLETS_ENOROUTE;
    }
    if (!set(json_object_get(accounts, name), "password", json_string(hash))) {
        return INLETS_ENOMEM;
    }
    return read_entries(doc, why);
}

/* The array of a JWK Set, with a reference of its own; NULL: it is none. */
static json_t *load_keys(struct inlets_slice text)
{
    json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *keys = json_is_object(root) ? json_object_get(root, "keys") : root;

    json_incref(keys);
    json_decref(root);
    return keys;
}

static json_t *make_issuer(const char *issuer, const char *audience,
                           json_t *keys)
{
    json_t *value = json_object();

    if (set(value, "issuer", json_string(issuer)) &&
        set(value, "audience", json_string(audience)) &&
        json_object_set(value, "keys", keys) == 0) {
        return value;
    }
    json_decref(value);
    return NULL;
}

/* NULL takes it out. */
static int put_issuer(struct inl_account_doc *doc, const char *name,
                      json_t *value)
{
    json_t *issuers = json_object_get(doc->root, "issuers");

    if (value == NULL) {
        (void)json_object_del(issuers, name);
        return json_object_size(issuers) > 0
                   ? 0
                   : json_object_del(doc->root, "issuers");
    }
    if (issuers == NULL && !set(doc->root, "issuers", json_object())) {
        return -1;
    }
    return json_object_set(json_object_get(doc->root, "issuers"), name, value);
}

int inl_account_doc_set_issuer(struct inl_account_doc *doc, const char *name,
                               const char *issuer, const char *audience,
                               struct inlets_slice keys,
                               char why[INL_ACCOUNT_WHY])
{
    json_t *old = json_incref(
        json_object_get(json_object_get(doc->root, "issuers"), name));
    json_t *loaded = load_keys(keys);
    json_t *new = make_issuer(issuer, audience, loaded);
    int err = INLETS_EINVAL;

    if (loaded == NULL) {
        (void)snprintf(why, INL_ACCOUNT_WHY, "the keys are not JSON");
    } else if (new == NULL || put_issuer(doc, name, new) != 0) {
        (void)snprintf(why, INL_ACCOUNT_WHY,
                       "out of memory, or a text is not UTF-8");
    } else {
        err = read_entries(doc, why);
    }
    if (err != 0) {
        (void)put_issuer(doc, name, old);
    }
    json_decref(old);
    json_decref(loaded);
    json_decref(new);
    return err;
}

int inl_account_doc_load_keys(struct inl_account_doc *doc, size_t index,
                              struct inlets_slice keys,
                              char why[INL_ACCOUNT_WHY])
{
    struct inl_jwt_issuer *issuer = &doc->issuers[index], new = *issuer;
    const char *what = "not JSON, or no JWK Set";
    int err = INLETS_EINVAL;

    new.more = load_keys(keys);
    if (new.more != NULL) {
        err = inl_jwk_read(new.more, &new.keys, &new.nkeys, &what);
    }
    if (err != 0) {
        json_decref(new.more);
        if (err == INLETS_EINVAL) {
            (void)snprintf(why, INL_ACCOUNT_WHY, "issuer %.60s: keys: %s",
                           issuer->name, what);
        }
        return err;
    }
    inl_free(issuer->keys);
    json_decref(issuer->more);
    *issuer = new;
    return 0;
}

/* ---- tokens of issuers -------------------------------------------------- */

static const struct inl_account_entry *
find_by_claims(const struct inl_account_doc *doc, const json_t *claims,
               const struct inl_jwt_issuer *issuer)
{
    for (size_t i = 0; i < doc->n; i++) {
        const json_t *rules = doc->entries[i].claims;

        for (size_t k = 0; k < json_array_size(rules); k++) {
            const json_t *rule = json_array_get(rules, k);

            if (strcmp(json_string_value(json_object_get(rule, "issuer")),
                       issuer->name) == 0 &&
                inl_jwt_matches(claims, rule)) {
                return &doc->entries[i];
            }
        }
    }
    return NULL;
}

const struct inl_account_entry *
inl_account_doc_by_jwt(const struct inl_account_doc *doc,
                       struct inlets_slice token, int64_t now_s,
                       int64_t *ret_until_s, const char **ret_why)
{
    const struct inl_jwt_issuer *issuer;
    const struct inl_account_entry *entry;
    json_t *claims = inl_jwt_verify(token, doc->issuers, doc->nissuers, now_s,
                                    &issuer, ret_why);

    if (claims == NULL) {
        return NULL;
    }
    entry = find_by_claims(doc, claims, issuer);
    *ret_until_s = inl_jwt_until_s(claims);
    *ret_why = "no account has a rule for what the token says";
    inl_jwt_free(claims);
    return entry;
}
