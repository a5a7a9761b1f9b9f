/* version.c: which libinlets this is, and on what it runs. */
#include <inlets/version.h>

#include "proto/crypto.h"
#include <llhttp.h>
#include <stdio.h>
#include <uv.h>
#include <wslay/wslay.h>

const char *inlets_version(void)
{
    return INLETS_VERSION;
}

const char *inlets_version_libraries(void)
{
    static _Thread_local char text[160]; /* the same at each call */

    (void)snprintf(
        text, sizeof(text), "libuv %s, llhttp %d.%d.%d, wslay %s, %s",
        uv_version_string(), LLHTTP_VERSION_MAJOR, LLHTTP_VERSION_MINOR,
        LLHTTP_VERSION_PATCH, WSLAY_VERSION, inl_crypto_version());
    return text;
}
