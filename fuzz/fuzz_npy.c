/* Any bytes, taken for an .npy file, give a tensor or an error; what is read is all there. */
#include "io/io.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t live = tn_alloc_live();
    tern_tensor *t;
    tern_error err;
    if (tn_npy_parse(&t, data, size, &err) == TERN_OK) {
        tern_tensor *copy;
        // Touches every element and every string.
        if (tn_tensor_copy(&copy, t, &err) == TERN_OK && !tn_tensor_equal(copy, t)) abort();
        tn_tensor_unref(copy);
        tn_tensor_unref(t);
    } else if (t || err.status == TERN_OK || !err.text[0]) {
        abort();
    }
    if (tn_alloc_live() != live) abort();
    return 0;
}
