/* Exported functions of io.h. */
#include "io/io.h"

tern_status tern_tensor_load_npy(tern_tensor **out, const char *path, tern_error *err) {
    if (!out || !path)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_load_npy: out and path must not be NULL");
    return tn_npy_load(out, path, err);
}

tern_status tern_tensor_load_npy_memory(tern_tensor **out, const void *data, size_t size, tern_error *err) {
    if (!out || !data)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_load_npy_memory: out and data must not be NULL");
    return tn_npy_parse(out, data, size, err);
}

tern_status tern_tensor_save_npy(const tern_tensor *tensor, const char *path, tern_error *err) {
    if (!tensor || !path)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_save_npy: tensor and path must not be NULL");
    return tn_npy_save(tensor, path, err);
}

tern_status tern_tensor_load_raw(tern_tensor **out, const char *path, tern_dtype dtype, int rank, const int64_t *dims,
                                 tern_error *err) {
    if (!out || !path || (rank > 0 && !dims))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_load_raw: out, path and dims must not be NULL");
    *out = NULL;
    if (rank < 0 || rank > TERN_MAX_RANK)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_load_raw: rank %d is not 0 to %d", rank, TERN_MAX_RANK);
    tn_shape shape = tn_shape_of(rank, dims);
    return tn_raw_load(out, path, dtype, &shape, err);
}
