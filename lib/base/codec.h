/* codec.h: base64 (RFC 4648) and hex. */
#ifndef INL_BASE_CODEC_H
#define INL_BASE_CODEC_H

#include <inlets/types.h>
#include <stdbool.h>

/* Bytes that base64 of n bytes takes, without NUL. */
#define INL_BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Writes INL_BASE64_LEN(n) characters, padded, no NUL. */
void inl_base64_encode(const void *ptr, size_t n, char *out);
/* Strict: padded, no white space, no stray bits. Returns the number of bytes
 * written, or INLETS_EINVAL (also when size is too small). */
int64_t inl_base64_decode(struct inlets_slice text, void *out, size_t size);
/* Base64url without padding (RFC 4648 5, RFC 7515 2), as strict. */
int64_t inl_base64url_decode(struct inlets_slice text, void *out, size_t size);

/* Writes 2n lower-case digits, no NUL. */
void inl_hex_encode(const void *ptr, size_t n, char *out);
/* Exactly 2n lower-case digits to n bytes; false, and nothing is written, for
 * anything else. */
bool inl_hex_decode(struct inlets_slice text, void *out, size_t n);

#endif
