/* plain_path.c: see plain_path.h. */
#include "proto/plain_path.h"

#include "base/codec.h"
#include "base/slice.h"
#include "proto/http1_rules.h"

/* The byte of "%XX" at the end of n characters; -1: there is none. */
static int encoded_at_end(const char *buf, size_t n)
{
    uint8_t byte;
    char hex[2];

    if (n < 3 || buf[n - 3] != '%') {
        return -1;
    }
    hex[0] = inl_lower(buf[n - 2]);
    hex[1] = inl_lower(buf[n - 1]);
    return inl_hex_decode(inl_slice(hex, 2), &byte, 1) ? byte : -1;
}

/* What was decoded may end an encoding in its turn ("%2561"). */
static size_t decode(struct inlets_slice path, char *buf)
{
    size_t n = 0;
    int byte;

    for (size_t i = 0; i < path.len; i++) {
        buf[n++] = path.ptr[i];
        while ((byte = encoded_at_end(buf, n)) >= 0) {
            n -= 2;
            buf[n - 1] = (char)byte;
        }
    }
    return n;
}

size_t inl_plain_path(struct inlets_slice path, char *buf)
{
    size_t len = decode(path, buf), n = 0;
    bool dropping = false; /* up to the next segment */

    for (size_t i = 0; i < len; i++) {
        char c = buf[i] == '\\' ? '/' : inl_lower(buf[i]);

        if (c == '/') {
            dropping = false;
        } else if (c == ';' || c == '\0') {
            dropping = true;
        }
        if (!dropping && (c != '/' || n == 0 || buf[n - 1] != '/')) {
            buf[n++] = c;
        }
    }
    return n;
}

bool inl_is_plain_path(struct inlets_slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];

        if (c == ';' || c == '\\' || c == '\0' ||
            (c == '/' && i > 0 && path.ptr[i - 1] == '/') ||
            (c == '%' &&
             (i + 2 >= path.len || encoded_at_end(path.ptr + i, 3) < 0x80))) {
            return false;
        }
    }
    return !inl_http1_has_dot_segments(path);
}
