#include "ops/op_test.h"

/* ---- Einsum -------------------------------------------------------------------------------------------------- */

static void begin(op_test *t, const char *equation) {
    op_begin(t, "Einsum", 12);
    op_attr_s(t, "equation", equation);
}

#define A23 DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)
#define B32 DIMS(3, 2), VALS(1, 2, 3, 4, 5, 6)

static void unary(const char *equation, tern_tensor *x, tern_tensor *y) {
    op_test t;
    begin(&t, equation);
    op_in(&t, x);
    op_out(&t, y);
    op_run_exact(&t);
}

static void binary(const char *equation, tern_tensor *a, tern_tensor *b, tern_tensor *y) {
    op_test t;
    begin(&t, equation);
    op_in(&t, a);
    op_in(&t, b);
    op_out(&t, y);
    op_run_exact(&t);
}

static void test_einsum(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8,   TERN_INT16,
                                       TERN_INT32, TERN_INT64,  TERN_UINT8,   TERN_UINT16,   TERN_UINT32, TERN_UINT64};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        tern_dtype d = types[i];
        unary("ij->ji", op_num(d, A23), op_num(d, DIMS(3, 2), VALS(1, 4, 2, 5, 3, 6)));
        unary("ba", op_num(d, A23), op_num(d, DIMS(3, 2), VALS(1, 4, 2, 5, 3, 6)));
        unary("ij -> i", op_num(d, A23), op_num(d, DIMS(2), VALS(6, 15)));
        unary("ij->", op_num(d, A23), op_num(d, SCALAR, VALS(21)));
        unary("ii->i", op_num(d, DIMS(2, 2), VALS(1, 2, 3, 4)), op_num(d, DIMS(2), VALS(1, 4)));
        unary("ii", op_num(d, DIMS(2, 2), VALS(1, 2, 3, 4)), op_num(d, SCALAR, VALS(5)));
        unary("...i->...", op_num(d, A23), op_num(d, DIMS(2), VALS(6, 15)));
        binary("ij,jk", op_num(d, A23), op_num(d, B32), op_num(d, DIMS(2, 2), VALS(22, 28, 49, 64)));
        binary("ij,jk->ki", op_num(d, A23), op_num(d, B32), op_num(d, DIMS(2, 2), VALS(22, 49, 28, 64)));
        binary("i,j->ij", op_num(d, DIMS(2), VALS(2, 3)), op_num(d, DIMS(2), VALS(5, 7)),
               op_num(d, DIMS(2, 2), VALS(10, 14, 15, 21)));
        binary("...i,...i", op_num(d, A23), op_num(d, DIMS(3), VALS(1, 0, 2)), op_num(d, DIMS(2), VALS(7, 16)));
        binary("i...,i...->...", op_num(d, A23), op_num(d, DIMS(2, 1), VALS(1, 2)),
               op_num(d, DIMS(3), VALS(9, 12, 15)));
    }
}

/* Operands large enough for matrix products, against the definition. Sizes by letter: a 2, b 3, c 4, ... */
static void product_case(const char *equation, tern_dtype dtype, int64_t batch_a) {
    const char *term[3] = {equation, strchr(equation, ',') + 1, strchr(equation, '>') + 1};
    int64_t size[26], dims[3][TERN_MAX_RANK], at[26] = {0};
    int rank[3] = {0};
    for (int i = 0; i < 26; i++) size[i] = i + 2;
    for (int t = 0; t < 3; t++)
        for (const char *c = term[t]; *c >= 'a' && *c <= 'z'; c++) dims[t][rank[t]++] = size[*c - 'a'];
    dims[0][0] = batch_a ? batch_a : dims[0][0];
    tern_tensor *x[3], *real[2];
    int64_t n[3];
    for (int t = 0; t < 3; t++) {
        x[t] = op_tensor(dtype, rank[t], dims[t]);
        n[t] = tn_shape_count(&x[t]->shape);
    }
    for (int t = 0; t < 2; t++) {
        real[t] = op_tensor(TERN_DOUBLE, rank[t], dims[t]);
        for (int64_t i = 0; i < n[t]; i++) {
            double v = (double)((i * 7 + t) % 5 - 2);
            op_set(x[t], i, v);
            op_set(real[t], i, v);
        }
    }
    double *sum = calloc((size_t)n[2], sizeof *sum);
    assert_non_null(sum);
    for (;;) {
        int64_t offset[3] = {0};
        for (int t = 0; t < 3; t++)
            for (int d = 0; d < rank[t]; d++) {
                int64_t i = at[term[t][d] - 'a'];
                offset[t] = offset[t] * dims[t][d] + (dims[t][d] == 1 ? 0 : i);
            }
        sum[offset[2]] += ((double *)real[0]->data)[offset[0]] * ((double *)real[1]->data)[offset[1]];
        int k = 0;
        for (; k < 26; k++) {
            if (!memchr(equation, 'a' + k, (size_t)(term[2] - equation) - 2)) continue;
            if (++at[k] < size[k]) break;
            at[k] = 0;
        }
        if (k == 26) break;
    }
    for (int64_t i = 0; i < n[2]; i++) op_set(x[2], i, sum[i]);
    free(sum);
    tn_tensor_unref(real[0]);
    tn_tensor_unref(real[1]);
    op_test t;
    begin(&t, equation);
    op_in(&t, x[0]);
    op_in(&t, x[1]);
    op_out(&t, x[2]);
    op_run_exact(&t);
}

static void test_einsum_products(void **state) {
    (void)state;
    static const char *const equations[] = {
        "fhj,fjl->fhl",    /* a batch as it is */
        "hj,lj->hl",       /* transposed b */
        "hj,jl->lh",       /* transposed output */
        "bhic,bjhc->bhij", /* scores of attention */
        "bhij,bjhd->bihd", /* its values */
        "bdhf,edf->behf",  /* a batch label that lies inside */
        "acdef,cfg->adeg", /* two summed labels apart: graph convolutions */
        "h,l->hl",         /* nothing is summed */
        "hj,hj->h",        /* no matrix: plain loops */
        "hh,hl->l",        /* a diagonal */
        "hij,hl->jl",      /* i is in one operand alone: plain loops */
    };
    static const tern_dtype types[] = {TERN_FLOAT, TERN_FLOAT16, TERN_DOUBLE};
    for (size_t i = 0; i < TN_COUNT(equations); i++)
        for (size_t k = 0; k < TN_COUNT(types); k++) product_case(equations[i], types[k], 0);
    product_case("fhj,fjl->fhl", TERN_FLOAT, 1); /* a is repeated along f */
}

static void test_einsum_many(void **state) {
    (void)state;
    op_test t;
    begin(&t, "ab,bc,c->a");
    op_in(&t, op_num(TERN_FLOAT, A23));
    op_in(&t, op_num(TERN_FLOAT, B32));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 10)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(302, 689)));
    op_run_exact(&t);
    begin(&t, "ab->a"); /* empty sums */
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 0), NO_VALS));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 0)));
    op_run_exact(&t);
}

static void bad(const char *equation, tern_status status) {
    op_test t;
    begin(&t, equation);
    op_in(&t, op_num(TERN_FLOAT, A23));
    op_error(&t, status, STRS(""));
}

static void test_einsum_bad(void **state) {
    (void)state;
    bad("", TERN_INVALID_MODEL);
    bad("ij,jk", TERN_INVALID_MODEL);
    bad("i1->i", TERN_INVALID_MODEL);
    bad("ij->k", TERN_INVALID_MODEL);
    bad("ij->ii", TERN_INVALID_MODEL);
    bad("ij->i,j", TERN_INVALID_MODEL);
    bad("ij-i", TERN_INVALID_MODEL);
    bad("ij-", TERN_INVALID_MODEL);
    bad("ij..", TERN_INVALID_MODEL);
    bad("......", TERN_INVALID_MODEL);
    bad("abcdefghijklmnop", TERN_INVALID_MODEL);
    bad("i", TERN_SHAPE_MISMATCH);
    bad("ijk", TERN_SHAPE_MISMATCH);
    bad("ijk...", TERN_SHAPE_MISMATCH);
    bad("ii", TERN_SHAPE_MISMATCH);
}

/* ---- MaxUnpool ----------------------------------------------------------------------------------------------- */

static void begin_unpool(op_test *t, double last) {
    op_begin(t, "MaxUnpool", 11);
    op_attr_ints(t, "kernel_shape", INTS(2));
    op_attr_ints(t, "strides", INTS(2));
    op_in(t, op_num(TERN_FLOAT, DIMS(1, 2, 2), VALS(1, 2, 3, 4)));
    op_in(t, op_num(TERN_INT64, DIMS(1, 2, 2), VALS(0, 3, 5, last)));
}

static void test_max_unpool(void **state) {
    (void)state;
    op_test t;
    begin_unpool(&t, 6);
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 4), VALS(1, 0, 0, 2, 0, 3, 4, 0)));
    op_run_exact(&t);
    begin_unpool(&t, 6);
    op_in(&t, op_num(TERN_INT64, DIMS(3), VALS(1, 2, 5)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 5), VALS(1, 0, 0, 2, 0, 0, 3, 4, 0, 0)));
    op_run_exact(&t);
    begin_unpool(&t, 8);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("index 8", "8 elements"));
    begin_unpool(&t, -1);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("index -1"));
    begin_unpool(&t, 6);
    op_in(&t, op_num(TERN_INT64, DIMS(3), VALS(1, 2, 3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("output_shape"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_einsum),     cmocka_unit_test(test_einsum_products), cmocka_unit_test(test_einsum_many),
        cmocka_unit_test(test_einsum_bad), cmocka_unit_test(test_max_unpool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
