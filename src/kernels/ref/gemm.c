#include <math.h>

#include "kernels/ref/ref.h"

void tn_ref_gemm(const tn_gemm_f32 *g, const float *a, const float *b, double *sum, double *mag) {
    for (int64_t i = 0; i < g->m; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            double s = 0, t = 0;
            for (int64_t k = 0; k < g->k; k++) {
                double v =
                    (double)a[i * g->a_rs + k * g->a_cs] * (double)b[k * g->b_rs + j * g->b_cs] * (double)g->alpha;
                s += v;
                t += fabs(v);
            }
            sum[i * g->n + j] = s;
            mag[i * g->n + j] = t;
        }
    }
}
