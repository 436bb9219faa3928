/* What reader and writer of .npy files share. */
#ifndef TN_NPY_INTERNAL_H
#define TN_NPY_INTERNAL_H

#include "io/io.h"

/* "\x93NUMPY", major and minor version, length of the header: 2 bytes in version 1, 4 bytes in 2 and 3, little-endian.
 * The header is a Python dict literal that ends in a newline: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3),
 * } */
#define NPY_MAGIC     "\x93NUMPY"
#define NPY_MAGIC_LEN 6

#define NPY_HOST_BIG (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

/* Type letter and element size of the types that both sides have. */
typedef struct npy_type {
    char kind;
    uint8_t size;
    tern_dtype dtype;
} npy_type;

extern const npy_type tn_npy_types[];
extern const size_t tn_npy_type_count;

#endif
