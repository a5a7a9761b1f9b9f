/* answer.c: errors to status codes (RFC 9110 section 15), and what is said
 * with them. */
#include "relay/answer.h"

#include "base/mem.h"
#include "base/slice.h"
#include <stdbool.h>

struct row {
    int err;
    unsigned status;
};

static const struct row rows[] = {
    {INLETS_EBADMESSAGE, 400},  {INLETS_EDOTS, 400},
    {INLETS_EAUTH, 401},        {INLETS_EFORBIDDEN, 403},
    {INLETS_ETOOLARGE, 413},    {INLETS_EURISIZE, 414},
    {INLETS_EEXPECT, 417},      {INLETS_EHEADSIZE, 431},
    {INLETS_EMETHOD, 501},      {INLETS_EREFUSED, 502},
    {INLETS_EUPSTREAM, 502},    {INLETS_EDNS, 502},
    {INLETS_ENETWORK, 502},     {INLETS_ERESET, 502},
    {INLETS_ECLOSED, 502},      {INLETS_ECANCELED, 502},
    {INLETS_EPROTO, 502},       {INLETS_ENOROUTE, 503},
    {INLETS_EUNAVAILABLE, 503}, {INLETS_ELIMIT, 503},
    {INLETS_EGOAWAY, 503},      {INLETS_ENOMEM, 503},
    {INLETS_EMFILE, 503},       {INLETS_ETIMEDOUT, 504},
    {INLETS_ESILENT, 504},      {INLETS_EVERSION, 505},
    {INLETS_ETLS, 502},         {INLETS_ECERT, 502},
    {INLETS_ECLIENTCERT, 502},  {INLETS_ENOHOST, 404},
    {INLETS_ETOOMANY, 429},
};

unsigned inl_status_of_error(int err)
{
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].err == err) {
            return rows[i].status;
        }
    }
    return 500;
}

const char *inl_answer_text(unsigned status)
{
    switch (status) {
    case 400:
        return "The request could not be understood.";
    case 401:
        return "A valid token is needed here.";
    case 403:
        return "This is not permitted to you, or not from where you are.";
    case 404:
        return "There is nothing here.";
    case 405:
        return "This method is not served here.";
    case 408:
        return "The request did not arrive in time.";
    case 413:
        return "The body is larger than this address takes.";
    case 414:
        return "The target of the request is too long.";
    case 417:
        return "Only 100-continue can be expected here.";
    case 421:
        return "This connection was made for another host.";
    case 426:
        return "This address speaks websocket, version 13.";
    case 429:
        return "There were too many requests or connections; wait a little.";
    case 431:
        return "The head of the request, or its trailers, are too large.";
    case 501:
        return "This method is not known here.";
    case 502:
        return "The service behind this address did not answer properly.";
    case 503:
        return "No service is available at this address right now.";
    case 504:
        return "The service behind this address did not answer in time.";
    case 505:
        return "This version of HTTP is not spoken here.";
    default:
        return "The request could not be served.";
    }
}

/* ---- pages of the user -------------------------------------------------- */

static bool is_page_status(unsigned status)
{
    return status == 4 || status == 5 || (status >= 400 && status <= 599);
}

/* It becomes a field value (RFC 9110 5.5). */
static bool is_type(struct inlets_slice type)
{
    for (size_t i = 0; i < type.len; i++) {
        if (type.ptr[i] < 0x20 || type.ptr[i] > 0x7e) {
            return false;
        }
    }
    return type.len > 0;
}

/* Where the page of exactly that status is; pages->n: nowhere. */
static size_t index_of(const struct inl_error_pages *pages, unsigned status)
{
    size_t i = 0;

    while (i < pages->n && pages->items[i]->status != status) {
        i++;
    }
    return i;
}

static struct inl_error_page *
page_new(unsigned status, struct inlets_slice type, struct inlets_slice body)
{
    struct inl_error_page *page =
        inl_malloc(sizeof(*page) + type.len + body.len);
    char *at;

    if (page == NULL) {
        return NULL;
    }
    at = page->text;
    page->status = status;
    page->type = inl_slice_keep(&at, type);
    page->body = inl_slice_keep(&at, body);
    return page;
}

int inl_error_pages_add(struct inl_error_pages *pages, unsigned status,
                        struct inlets_slice type, struct inlets_slice body)
{
    size_t at = index_of(pages, status);
    struct inl_error_page *page;

    if (!is_page_status(status) || !is_type(type) ||
        body.len > INL_ERROR_PAGE_MAX) {
        return INLETS_EINVAL;
    }
    if (at == pages->n) {
        void *items =
            inl_realloc(pages->items, (pages->n + 1) * sizeof(*pages->items));

        if (items == NULL) {
            return INLETS_ENOMEM;
        }
        pages->items = items;
    }
    page = page_new(status, type, body);
    if (page == NULL) {
        return INLETS_ENOMEM;
    }
    if (at < pages->n) {
        inl_free(pages->items[at]);
    } else {
        pages->n++;
    }
    pages->items[at] = page;
    return 0;
}

void inl_error_pages_fini(struct inl_error_pages *pages)
{
    for (size_t i = 0; i < pages->n; i++) {
        inl_free(pages->items[i]);
    }
    inl_free(pages->items);
    *pages = (struct inl_error_pages){0};
}

const struct inl_error_page *
inl_error_pages_find(const struct inl_error_pages *pages, unsigned status)
{
    size_t i;

    if (pages == NULL) {
        return NULL;
    }
    i = index_of(pages, status);
    if (i == pages->n) {
        i = index_of(pages, status / 100);
    }
    return i < pages->n ? pages->items[i] : NULL;
}
