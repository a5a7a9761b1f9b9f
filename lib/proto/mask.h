/* mask.h: the masking of RFC 6455 section 5.3, 32 bytes at a time. */
#ifndef INL_PROTO_MASK_H
#define INL_PROTO_MASK_H

#include <stddef.h>
#include <stdint.h>

#define INL_MASK_KEY_LEN 4u

/* Writes the n bytes of src, masked or unmasked, to dst; the two must not
 * overlap. key's first byte is for src[0]; it is turned, so that the next
 * piece of the same payload goes on with it. Any alignment, any n. */
void inl_mask(uint8_t key[INL_MASK_KEY_LEN], uint8_t *dst, const uint8_t *src,
              size_t n);

#endif
