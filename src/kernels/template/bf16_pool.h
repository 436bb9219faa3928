/* Maxima of bfloat16 maps along columns; bf16_pool.c takes those along rows of the result. */
#include "kernels/template/bf16vec.h"

/* y[i] = the maximum of x[r * x_row + i] over r < rows, NaN where one is, -infinity without rows; n is a multiple of
 * VEC_W. */
void VEC_NAME(tn_bf16_max_rows)(const uint16_t *x, int64_t x_row, int64_t rows, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i += VEC_W) {
        vf acc = vf_set(-__builtin_inff());
        for (int64_t r = 0; r < rows; r++) {
            vf v = vh_load(x + r * x_row + i);
            acc = vf_sel(vf_isnan(acc), acc, vf_max(acc, v));
        }
        vf_store(y + i, acc);
    }
}
