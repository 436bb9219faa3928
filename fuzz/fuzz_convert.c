/* Property: any checkpoint becomes a model or gives an error with a text, whatever its modules, connections and tensors
 * are; a model that was made is written and loads again with the same inputs and outputs. The first byte has the
 * options; the checkpoint follows. The corpus is made by fuzz/make_convert_corpus.py. */
#include <stdlib.h>

#include "onnx/onnx.h"
#include "tern/model.h"
#include "vision/yolo/yolo.h"

static tv_yolo_options options_of(uint8_t bits) {
    static const int opsets[] = {9, 13, 11, 21};
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    o.width = o.height = 64;
    o.head = (tv_yolo_head)((bits & 3) % 3);
    o.opset = opsets[bits >> 2 & 3];
    o.dynamic = bits & 16;
    o.fp16 = bits & 32;
    o.fuse = !(bits & 64);
    if (bits & 128) o.arch = "yolov3-tiny@7.0";
    return o;
}

static void write_and_load(const tern_model *model) {
    void *bytes;
    size_t size;
    tern_model *again;
    tern_error err;
    if (tn_onnx_write_memory(model, &bytes, &size, &err) != TERN_OK) abort();
    if (tern_model_load_memory(&again, bytes, size, NULL, NULL, &err) != TERN_OK) abort();
    if (tern_model_input_count(again) != tern_model_input_count(model) ||
        tern_model_output_count(again) != tern_model_output_count(model)) {
        abort();
    }
    tern_model_free(again);
    tn_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const tern_ckpt_options limits = {.max_values = 100000,
                                             .max_expanded = 1000000,
                                             .max_memory = 16 << 20,
                                             .max_tensor_bytes = 1 << 18,
                                             .max_inflated = 1 << 20,
                                             .max_depth = 100};
    if (size < 1) return 0;
    size_t live = tn_alloc_live();
    tv_yolo_options options = options_of(data[0]);
    tern_ckpt *ckpt;
    tern_error err = {TERN_OK, ""};
    if (tern_ckpt_open_memory(&ckpt, data + 1, size - 1, &limits, &err) == TERN_OK) {
        tern_model *model;
        err = (tern_error){TERN_OK, ""};
        if (tv_yolo_build(&model, ckpt, &options, &err) == TERN_OK) {
            write_and_load(model);
            tern_model_free(model);
        } else if (model || err.status == TERN_OK || !err.text[0]) {
            abort();
        }
        tern_ckpt_free(ckpt);
    }
    if (tn_alloc_live() != live) abort();
    return 0;
}
