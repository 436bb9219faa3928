/* What numpy.savez writes: a zip file of .npy files. Arrays are read at once. */
#include "tern/io.h"
#include "vision/torch/torch_internal.h"

static bool is_npy(tn_str name) { return name.len > 4 && !memcmp(name.data + name.len - 4, ".npy", 4); }

static tern_status add_array(tern_ckpt *ckpt, tern_py *name, tern_tensor *t, tern_error *err) {
    tern_storage *s;
    tern_py *pair[2] = {name, NULL};
    TN_TRY(tn_storage_new(ckpt, NULL, tern_tensor_dtype(t), tern_tensor_count(t), &s, err));
    s->data = tern_tensor_const_data(t);
    TN_TRY(tn_tensor_value(ckpt, s, s->dtype, tern_tensor_rank(t), tern_tensor_dims(t), NULL, 0, &pair[1], err));
    pair[1]->tensor->numpy = true;
    TN_TRY(tn_py_set_items(ckpt, ckpt->root, pair, 2, err));
    s->tensor = t;
    return TERN_OK;
}

static tern_status read_member(tern_ckpt *ckpt, const tn_zip_entry *e, tern_error *err) {
    const uint8_t *bytes;
    uint8_t *owned;
    tern_py *name;
    tern_tensor *t;
    size_t n = e->name.len - 4;
    if (!is_npy(e->name) || !tn_utf8_valid(e->name.data, e->name.len))
        return tn_ckpt_warn(ckpt, err, "member %.*s is no .npy file: left out", (int)TN_MIN(e->name.len, 200),
                            e->name.data);
    TN_TRY(tn_py_text(ckpt, TERN_PY_STR, e->name.data, n, &name, err));
    uint64_t left = ckpt->options.max_inflated - TN_MIN(ckpt->options.max_inflated, ckpt->inflated);
    TN_TRY(tn_zip_read(&ckpt->zip, e, left, &bytes, &owned, err));
    if (owned) ckpt->inflated += (size_t)e->size;
    tern_status s = tern_tensor_load_npy_memory(&t, bytes, (size_t)e->size, err);
    tn_free(owned);
    if (s == TERN_OK && tern_tensor_dtype(t) == TERN_STRING) {
        tern_tensor_free(t);
        return tn_ckpt_warn(ckpt, err, "array %.200s of strings is left out", name->text.data);
    }
    if (s != TERN_OK) {
        tn_error_prefix(err, "%.200s: ", name->text.data);
        return s;
    }
    s = add_array(ckpt, name, t, err);
    if (s != TERN_OK) tern_tensor_free(t);
    return s;
}

tern_status tn_ckpt_open_npz(tern_ckpt *ckpt, tern_error *err) {
    TN_TRY(tn_py_new(ckpt, TERN_PY_DICT, &ckpt->root, err));
    for (size_t i = 0; i < ckpt->zip.count; i++) TN_TRY(read_member(ckpt, &ckpt->zip.entries[i], err));
    return TERN_OK;
}
