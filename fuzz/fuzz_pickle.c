/* Any bytes, taken for a pickle: alone, or as in torch.save before 1.6 (consecutive pickles, TAR). */
#include "fuzz/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_checkpoint(data, size);
    return 0;
}
