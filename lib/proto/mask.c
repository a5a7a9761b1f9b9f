/* mask.c: see mask.h.
 *
 * Words are read and written through memcpy, so nothing is assumed about
 * alignment, and the key is only ever copied, so nothing about byte order.
 * Blocks of four words are what compilers turn into vector instructions by
 * themselves, already at -O2. Nothing here fails. */
#include "proto/mask.h"

#include <string.h>

#define BLOCK_WORDS 4u
#define BLOCK_BYTES (BLOCK_WORDS * sizeof(uint64_t))

static void mask_block(uint64_t key, uint8_t *restrict dst,
                       const uint8_t *restrict src)
{
    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        uint64_t word;

        memcpy(&word, src + i * sizeof(word), sizeof(word));
        word ^= key;
        memcpy(dst + i * sizeof(word), &word, sizeof(word));
    }
}

/* Less than a block; turns the key. */
static void mask_rest(uint8_t key[INL_MASK_KEY_LEN], uint8_t *restrict dst,
                      const uint8_t *restrict src, size_t n)
{
    uint8_t turned[INL_MASK_KEY_LEN];

    for (size_t i = 0; i < n; i++) {
        dst[i] = src[i] ^ key[i % INL_MASK_KEY_LEN];
    }
    for (size_t i = 0; i < INL_MASK_KEY_LEN; i++) {
        turned[i] = key[(n + i) % INL_MASK_KEY_LEN];
    }
    memcpy(key, turned, sizeof(turned));
}

void inl_mask(uint8_t key[INL_MASK_KEY_LEN], uint8_t *dst, const uint8_t *src,
              size_t n)
{
    uint64_t word;

    memcpy(&word, key, INL_MASK_KEY_LEN);
    memcpy((uint8_t *)&word + INL_MASK_KEY_LEN, key, INL_MASK_KEY_LEN);
    for (; n >= BLOCK_BYTES; n -= BLOCK_BYTES) {
        mask_block(word, dst, src);
        dst += BLOCK_BYTES;
        src += BLOCK_BYTES;
    }
    mask_rest(key, dst, src, n);
}
