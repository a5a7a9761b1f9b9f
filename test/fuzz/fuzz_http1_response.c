/* fuzz_http1_response.c: an upstream's responses. The first four bytes say how
 * the rest is cut into pieces, the fifth whether they answer HEAD and whether
 * the connection ends. See http1_mirror.h. */
#include "fuzz/http1_mirror.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t seed;

    if (size < sizeof(seed) + 1) {
        return 0;
    }
    memcpy(&seed, data, sizeof(seed));
    data += sizeof(seed);
    size -= sizeof(seed);
    mirror(INL_HTTP1_RESPONSE, (data[0] & 1) != 0, (data[0] & 2) == 0, seed,
           data + 1, size - 1);
    return 0;
}
