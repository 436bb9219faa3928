/* L3: tensors in files that are not ONNX's. */
#ifndef TN_IO_H
#define TN_IO_H

#include "tensor/tensor.h"
#include "tern/io.h"

/* A .npy file in memory, which the tensor does not refer to afterwards. */
tern_status tn_npy_parse(tern_tensor **out, const void *data, size_t size, tern_error *err);
/* Files; errors begin with the path. */
tern_status tn_npy_load(tern_tensor **out, const char *path, tern_error *err);
tern_status tn_npy_save(const tern_tensor *t, const char *path, tern_error *err);
tern_status tn_raw_load(tern_tensor **out, const char *path, tern_dtype dtype, const tn_shape *shape, tern_error *err);

#endif
