/* fuzz_http1_request.c: a visitor's requests. The first four bytes say how the
 * rest is cut into pieces. See http1_mirror.h. */
#include "fuzz/http1_mirror.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t seed;

    if (size < sizeof(seed)) {
        return 0;
    }
    memcpy(&seed, data, sizeof(seed));
    mirror(INL_HTTP1_REQUEST, false, true, seed, data + sizeof(seed),
           size - sizeof(seed));
    return 0;
}
