/* codec.c: base64 (RFC 4648 section 4) and hex. Pure functions. */
#include "base/codec.h"

#include <inlets/err.h>
#include <stdbool.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void inl_base64_encode(const void *ptr, size_t n, char *out)
{
    const uint8_t *p = ptr;

    for (; n >= 3; n -= 3, p += 3) {
        *out++ = base64_digits[p[0] >> 2];
        *out++ = base64_digits[(p[0] & 0x03) << 4 | p[1] >> 4];
        *out++ = base64_digits[(p[1] & 0x0f) << 2 | p[2] >> 6];
        *out++ = base64_digits[p[2] & 0x3f];
    }
    if (n == 0) {
        return;
    }
    *out++ = base64_digits[p[0] >> 2];
    if (n == 1) {
        *out++ = base64_digits[(p[0] & 0x03) << 4];
        *out++ = '=';
    } else {
        *out++ = base64_digits[(p[0] & 0x03) << 4 | p[1] >> 4];
        *out++ = base64_digits[(p[1] & 0x0f) << 2];
    }
    *out = '=';
}

/* 0..63, or -1. */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : -1;
}

/* Puts `digits` (2..4) characters together, left-aligned in 24 bits; false
 * when one is no digit or a bit beyond the last whole byte is set. */
static bool base64_group(const char *text, size_t digits, uint32_t *ret_bits)
{
    /* What the last byte leaves over, by number of digits. */
    static const uint32_t stray[] = {0, 0, 0xffff, 0xff, 0};
    uint32_t bits = 0;

    for (size_t i = 0; i < digits; i++) {
        int value = base64_value(text[i]);

        if (value < 0) {
            return false;
        }
        bits |= (uint32_t)value << (18 - 6 * i);
    }
    *ret_bits = bits;
    return (bits & stray[digits]) == 0;
}

int64_t inl_base64_decode(struct inlets_slice text, void *out, size_t size)
{
    uint8_t *p = out;
    size_t written = 0;

    if (text.len % 4 != 0) {
        return INLETS_EINVAL;
    }
    for (size_t at = 0; at < text.len; at += 4) {
        const char *group = text.ptr + at;
        size_t digits = 4;
        uint32_t bits;

        if (at + 4 == text.len && group[3] == '=') {
            digits = group[2] == '=' ? 2 : 3;
        }
        if (!base64_group(group, digits, &bits) ||
            size - written < digits - 1) {
            return INLETS_EINVAL;
        }
        for (size_t i = 0; i < digits - 1; i++) {
            p[written++] = (uint8_t)(bits >> (16 - 8 * i));
        }
    }
    return (int64_t)written;
}

int64_t inl_base64url_decode(struct inlets_slice text, void *out, size_t size)
{
    uint8_t *p = out;
    size_t written = 0;

    for (size_t at = 0; at < text.len; at += 4) {
        size_t digits = text.len - at < 4 ? text.len - at : 4;
        char group[4];
        uint32_t bits;

        for (size_t i = 0; i < digits; i++) {
            char c = text.ptr[at + i];

            /* The other alphabet's two are none of this one. */
            group[i] = (char)(c == '-'               ? '+'
                              : c == '_'             ? '/'
                              : c == '+' || c == '/' ? '='
                                                     : c);
        }
        if (digits < 2 || !base64_group(group, digits, &bits) ||
            size - written < digits - 1) {
            return INLETS_EINVAL;
        }
        for (size_t i = 0; i < digits - 1; i++) {
            p[written++] = (uint8_t)(bits >> (16 - 8 * i));
        }
    }
    return (int64_t)written;
}

void inl_hex_encode(const void *ptr, size_t n, char *out)
{
    const uint8_t *p = ptr;

    for (size_t i = 0; i < n; i++) {
        *out++ = "0123456789abcdef"[p[i] >> 4];
        *out++ = "0123456789abcdef"[p[i] & 0x0f];
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool inl_hex_decode(struct inlets_slice text, void *out, size_t n)
{
    uint8_t *p = out;

    if (text.len != 2 * n) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (hex_digit(text.ptr[i]) < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(hex_digit(text.ptr[2 * i]) << 4 |
                         hex_digit(text.ptr[2 * i + 1]));
    }
    return true;
}
