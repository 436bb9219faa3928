/* What the fuzz targets of checkpoints share: open the bytes with small limits, look at every value and read every
 * tensor. */
#ifndef FUZZ_CHECKPOINT_H
#define FUZZ_CHECKPOINT_H

#include <stdlib.h>

#include "vision/torch/torch.h"

static void fuzz_value(tern_ckpt *ckpt, const tern_py *v, uint8_t *seen) {
    if (!v || seen[v->id]) return;
    seen[v->id] = 1;
    switch (v->kind) {
    case TERN_PY_LIST:
    case TERN_PY_TUPLE:
    case TERN_PY_SET:
        for (size_t i = 0; i < v->seq.count; i++) fuzz_value(ckpt, v->seq.items[i], seen);
        break;
    case TERN_PY_DICT:
        for (size_t i = 0; i < v->dict.count; i++) {
            fuzz_value(ckpt, v->dict.items[i].key, seen);
            fuzz_value(ckpt, v->dict.items[i].value, seen);
        }
        break;
    case TERN_PY_OBJECT:
        fuzz_value(ckpt, v->object->args, seen);
        fuzz_value(ckpt, v->object->state, seen);
        fuzz_value(ckpt, v->object->items, seen);
        break;
    case TERN_PY_STR:
        if (v->text.data[v->text.len]) abort();
        break;
    case TERN_PY_TENSOR: {
        tern_tensor *t;
        tern_error err;
        if (tern_ckpt_read(&t, ckpt, v, TERN_FLOAT, &err) == TERN_OK && tern_tensor_count(t) != v->tensor->count)
            abort();
        tern_tensor_free(t);
        break;
    }
    default:
        break;
    }
}

static void fuzz_checkpoint(const uint8_t *data, size_t size) {
    static const tern_ckpt_options options = {.max_values = 100000,
                                              .max_expanded = 1000000,
                                              .max_memory = 16 << 20,
                                              .max_tensor_bytes = 1 << 16,
                                              .max_inflated = 1 << 20,
                                              .max_depth = 100};
    size_t live = tn_alloc_live();
    tern_ckpt *ckpt;
    tern_error err;
    if (tern_ckpt_open_memory(&ckpt, data, size, &options, &err) == TERN_OK) {
        uint8_t *seen = tn_calloc(tern_ckpt_value_count(ckpt) + 1, 1);
        fuzz_value(ckpt, tern_ckpt_root(ckpt), seen);
        tn_free(seen);
        tern_ckpt_free(ckpt);
    } else if (ckpt || err.status == TERN_OK || !err.text[0]) {
        abort();
    }
    if (tn_alloc_live() != live) abort();
}

#endif
