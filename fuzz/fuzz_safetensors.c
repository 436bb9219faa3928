/* Any bytes, taken for the JSON header of a safetensors file with some bytes of tensors; then for the whole file. */
#include "fuzz/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { TENSORS = 64 }; // bytes
    fuzz_checkpoint(data, size);
    uint8_t *file = tn_calloc(1, 8 + size + TENSORS);
    if (!file) return 0;
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)size >> 8 * i);
    if (size) memcpy(file + 8, data, size);
    fuzz_checkpoint(file, 8 + size + TENSORS);
    tn_free(file);
    return 0;
}
