/* answer.c: errors to status codes (RFC 9110 section 15). */
#include "relay/answer.h"

struct row {
    int err;
    unsigned status;
};

static const struct row rows[] = {
    {INLETS_EBADMESSAGE, 400}, {INLETS_EAUTH, 401},
    {INLETS_EFORBIDDEN, 403},  {INLETS_ETOOLARGE, 413},
    {INLETS_EURISIZE, 414},    {INLETS_EEXPECT, 417},
    {INLETS_EHEADSIZE, 431},   {INLETS_EMETHOD, 501},
    {INLETS_EREFUSED, 502},    {INLETS_EUPSTREAM, 502},
    {INLETS_EDNS, 502},        {INLETS_ENETWORK, 502},
    {INLETS_ERESET, 502},      {INLETS_ECLOSED, 502},
    {INLETS_ECANCELED, 502},   {INLETS_EPROTO, 502},
    {INLETS_ENOROUTE, 503},    {INLETS_EUNAVAILABLE, 503},
    {INLETS_ELIMIT, 503},      {INLETS_EGOAWAY, 503},
    {INLETS_ENOMEM, 503},      {INLETS_EMFILE, 503},
    {INLETS_ETIMEDOUT, 504},   {INLETS_ESILENT, 504},
    {INLETS_EVERSION, 505},
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
    case 426:
        return "This address speaks websocket, version 13.";
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
        return "HTTP/1.1 and HTTP/1.0 are spoken here.";
    default:
        return "The request could not be served.";
    }
}
