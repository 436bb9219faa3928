/* Det: determinants of square matrices by LU factorisation with row pivoting, in double. */
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

static tern_status infer_det(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    char text[TN_SHAPE_TEXT];
    int64_t rows = s.rank < 2 ? 0 : s.dims[s.rank - 2], columns = s.rank < 2 ? 0 : s.dims[s.rank - 1];
    if (s.rank < 2 || (tn_dim_known(rows) && tn_dim_known(columns) && rows != columns))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input of shape %s holds no square matrices",
                             tn_shape_text(&s, text, sizeof text));
    s.rank -= 2;
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &s);
}

static int64_t pivot_row(const double *a, int64_t n, int64_t k) {
    int64_t best = k;
    for (int64_t i = k + 1; i < n; i++)
        if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
    return best;
}

/* `a` is n x n and is overwritten. */
static double determinant(double *a, int64_t n) {
    double det = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t p = pivot_row(a, n, k);
        if (p != k) {
            for (int64_t j = k; j < n; j++) {
                double t = a[k * n + j];
                a[k * n + j] = a[p * n + j];
                a[p * n + j] = t;
            }
            det = -det;
        }
        double top = a[k * n + k];
        det *= top;
        if (top == 0) return 0;
        for (int64_t i = k + 1; i < n; i++) {
            double f = a[i * n + k] / top;
            for (int64_t j = k + 1; j < n; j++) a[i * n + j] -= f * a[k * n + j];
        }
    }
    return det;
}

typedef struct det_job {
    const tern_tensor *x;
    tern_tensor *y;
    int64_t n;
    double *a; /* n * n for each worker */
} det_job;

static void det_task(void *context, int64_t begin, int64_t end, int worker) {
    const det_job *j = context;
    int64_t size = j->n * j->n;
    double *a = j->a + worker * size;
    for (int64_t i = begin; i < end; i++) {
        tn_row_load_f64(j->x->dtype, j->x->data, i * size, size, a);
        double det = determinant(a, j->n);
        tn_row_store_f64(j->y->dtype, j->y->data, i, 1, &det);
    }
}

static tern_status run_det(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int64_t n = x->shape.dims[x->shape.rank - 1], count = tn_shape_count(&c->out[0]->shape);
    if (count == 0) return TERN_OK;
    int threads = count * n * n < 4096 ? 1 : TN_MAX(c->threads, 1);
    size_t cells = 0;
    det_job j = {x, c->out[0], n, NULL};
    if (tn_mul_size((size_t)(n * n), (size_t)threads, &cells)) j.a = tn_alloc_array(cells, sizeof *j.a);
    if (!j.a) return tn_fail_oom(c->err, cells * sizeof *j.a);
    tn_parallel_for(threads, count, det_task, &j);
    tn_free(j.a);
    return TERN_OK;
}

const tn_op tn_op_det = TN_ARGS_OP(infer_det, run_det, 1, 1, 1, 1, 0);
