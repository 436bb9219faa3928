/* Any bytes, taken for a zip file: first its members, then the checkpoint or arrays in it. */
#include "fuzz/checkpoint.h"
#include "vision/torch/torch_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tn_zip zip;
    tern_error err;
    if (tn_zip_open(&zip, data, size, &err) == TERN_OK) {
        for (size_t i = 0; i < zip.count && i < 100; i++) {
            const uint8_t *bytes;
            uint8_t *owned;
            if (tn_zip_read(&zip, &zip.entries[i], 1 << 16, &bytes, &owned, &err) == TERN_OK)
                (void)tn_zip_crc_ok(&zip.entries[i], bytes); // reads all of them
            tn_free(owned);
        }
        tn_zip_release(&zip);
    }
    fuzz_checkpoint(data, size);
    return 0;
}
