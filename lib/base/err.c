/* err.c: the texts of the error numbers, from the one X-macro. */
#include <inlets/err.h>

const char *inlets_strerror(int err)
{
#define ERR_TEXT(name, number, text)                                           \
    case -(number):                                                            \
        return text;
    switch (err) {
        INLETS_ERR_MAP(ERR_TEXT)
    case 0:
        return "success";
    default:
        return "unknown error";
    }
#undef ERR_TEXT
}

const char *inlets_errname(int err)
{
#define ERR_NAME(name, number, text)                                           \
    case -(number):                                                            \
        return #name;
    switch (err) {
        INLETS_ERR_MAP(ERR_NAME)
    case 0:
        return "OK";
    default:
        return "EUNKNOWN";
    }
#undef ERR_NAME
}
