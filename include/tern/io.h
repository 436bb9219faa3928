/* Tensors in files. */
#ifndef TERN_IO_H
#define TERN_IO_H

#include "tern/tensor.h"

TERN_BEGIN_DECLS

/* Reads a NumPy file (.npy, versions 1 to 3): booleans, integers, floats and complex numbers of either byte order and
 * either element order, and fixed-length strings (U and S). The caller frees *out with tern_tensor_free. */
TERN_API tern_status tern_tensor_load_npy(tern_tensor **out, const char *path, tern_error *err);
/* The same for the bytes of such a file, which the tensor does not refer to afterwards. */
TERN_API tern_status tern_tensor_load_npy_memory(tern_tensor **out, const void *data, size_t size, tern_error *err);
/* Writes a NumPy file, replacing an old one only when all is written. Types that NumPy does not have (bfloat16, float8
 * and those of less than 8 bits), sequences, optionals and maps are TERN_UNSUPPORTED. */
TERN_API tern_status tern_tensor_save_npy(const tern_tensor *tensor, const char *path, tern_error *err);
/* Reads a file that holds nothing but the elements: row-major, little-endian, of exactly the right size. Not for
 * strings and types of less than 8 bits. `rank` and dims as in tern_tensor_create; the caller frees *out. */
TERN_API tern_status tern_tensor_load_raw(tern_tensor **out, const char *path, tern_dtype dtype, int rank,
                                          const int64_t *dims, tern_error *err);

/* Reads an ONNX TensorProto, SequenceProto, OptionalProto or MapProto (.pb), as `kind` says: the file does not. The
 * caller frees *out with tern_tensor_free. */
TERN_API tern_status tern_tensor_load_pb(tern_tensor **out, const char *path, tern_kind kind, tern_error *err);
/* Writes one of these, replacing an old file only when all is written. */
TERN_API tern_status tern_tensor_save_pb(const tern_tensor *tensor, const char *path, tern_error *err);

TERN_END_DECLS
#endif
