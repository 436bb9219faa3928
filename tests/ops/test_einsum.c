#include <ctype.h>

#include "ops/einsum_internal.h"
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

#define TERMS 5

/* Operands and the output of an equation of letters. Sizes by letter: a 2, b 3, c 4, ...; 1 where it is a capital. */
typedef struct reference {
    const char *term[TERMS];
    int n, rank[TERMS];
    int64_t dims[TERMS][TERN_MAX_RANK], count[TERMS], size[26]; /* size 0: in no term */
    tern_tensor *x[TERMS], *real[TERMS];
} reference;

static void reference_init(reference *r, const char *letters, tern_dtype dtype) {
    memset(r, 0, sizeof *r);
    for (const char *c = letters; r->n == 0 || *c; r->n++) {
        int t = r->n;
        assert_true(t < TERMS);
        r->term[t] = c;
        for (; *c && *c != ',' && *c != '-'; c++) {
            int k = tolower(*c) - 'a';
            r->dims[t][r->rank[t]++] = *c == 'a' + k ? k + 2 : 1;
            r->size[k] = k + 2;
        }
        c += *c == ',' ? 1 : *c == '-' ? 2 : 0;
        if (c[-1] == '>' && !*c) r->n++; /* a scalar */
    }
    for (int t = 0; t < r->n; t++) {
        r->x[t] = op_tensor(dtype, r->rank[t], r->dims[t]);
        r->real[t] = op_tensor(TERN_DOUBLE, r->rank[t], r->dims[t]);
        r->count[t] = tn_shape_count(&r->x[t]->shape);
        for (int64_t i = 0; i < r->count[t]; i++) {
            double v = t + 1 < r->n ? (double)((i * 7 + t) % 5 - 2) : 0;
            op_set(r->x[t], i, v);
            op_set(r->real[t], i, v);
        }
    }
}

/* The definition: one loop over the indices of all letters. */
static void reference_run(reference *r) {
    int64_t at[26] = {0};
    for (int k = 0; k < 26;) {
        int64_t offset[TERMS] = {0};
        double product = 1;
        for (int t = 0; t < r->n; t++) {
            for (int d = 0; d < r->rank[t]; d++)
                offset[t] = offset[t] * r->dims[t][d] + (r->dims[t][d] == 1 ? 0 : at[r->term[t][d] - 'a']);
            double *data = r->real[t]->data;
            if (t + 1 < r->n)
                product *= data[offset[t]];
            else
                data[offset[t]] += product;
        }
        for (k = 0; k < 26; at[k++] = 0)
            if (r->size[k] && ++at[k] < r->size[k]) break;
    }
    for (int64_t i = 0; i < r->count[r->n - 1]; i++) op_set(r->x[r->n - 1], i, ((double *)r->real[r->n - 1]->data)[i]);
}

/* Runs `equation` (NULL: `letters`) on operands large enough for matrix products, against the definition. */
static void product_case(const char *equation, const char *letters, tern_dtype dtype) {
    reference r;
    reference_init(&r, letters, dtype);
    reference_run(&r);
    op_test t;
    begin(&t, equation ? equation : letters);
    for (int i = 0; i < r.n; i++) {
        tn_tensor_unref(r.real[i]);
        if (i + 1 < r.n)
            op_in(&t, r.x[i]);
        else
            op_out(&t, r.x[i]);
    }
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
        "hij,hl->jl",      /* i is in one operand alone: summed there first */
        "hij,khl->jl",     /* one such in each */
        "ijh,hl->jl",      /* and one that lies outermost */
        "jih,jih->jh",     /* sums of rows */
    };
    static const tern_dtype types[] = {TERN_FLOAT, TERN_FLOAT16, TERN_DOUBLE};
    for (size_t i = 0; i < TN_COUNT(equations); i++)
        for (size_t k = 0; k < TN_COUNT(types); k++) product_case(NULL, equations[i], types[k]);
    product_case(NULL, "cz,zy->cy", TERN_DOUBLE); /* rows of 26 */
    product_case("czy,zy->cy", "cZy,zy->cy", TERN_INT32);
    product_case("fhj,fjl->fhl", "Fhj,fjl->fhl", TERN_FLOAT); /* a is repeated along f */
}

/* Three and four operands. */
static void test_einsum_pairs(void **state) {
    (void)state;
    static const char *const equations[][2] = {
        {NULL, "fg,gh,hi->fi"},                         /* a chain */
        {NULL, "fg,hi,gh->if"},                         /* out of order, transposed */
        {NULL, "bc,cd,de,ef->bf"},                      /* four */
        {NULL, "bc,cd,de,ef->"},                        /* a scalar */
        {NULL, "cd,cd,cd->cd"},                         /* elementwise */
        {NULL, "ce,de,fe->cdf"},                        /* a label that all have */
        {NULL, "c,d,e,f->fdce"},                        /* nothing is summed */
        {NULL, "hhi,ij,jj->hj"},                        /* diagonals */
        {NULL, "fgb,gh,ch->f"},                         /* labels of one operand alone */
        {NULL, "cde,cf,dg,eh->fgh"},                    /* a Tucker decomposition */
        {"bfg,bgh,hi->bfi", "Bfg,bgh,hi->bfi"},         /* a dim of size 1 */
        {"...fg,...gh,hi->...fi", "bcfg,Cgh,hi->bcfi"}, /* broadcast ellipses */
        {"...fg,gh,...h->...", "bcfg,gh,bCh->bc"},      /* that of the last one too */
    };
    static const tern_dtype types[] = {TERN_FLOAT, TERN_FLOAT16, TERN_BFLOAT16, TERN_DOUBLE, TERN_INT32, TERN_INT64};
    for (size_t i = 0; i < TN_COUNT(equations); i++)
        for (size_t k = 0; k < TN_COUNT(types); k++) product_case(equations[i][0], equations[i][1], types[k]);
}

/* Loops of a chain ij,jk,kl->il of n x n matrices. */
static tn_einsum_loops chain(int64_t n) {
    return (tn_einsum_loops){.n_out = 2, /* i, l, j, k */
                             .n_all = 4,
                             .size = {n, n, n, n},
                             .stride = {{n, 0, 1, 0}, {0, 0, n, 1}, {0, 1, 0, n}}};
}

static void test_einsum_path(void **state) {
    (void)state;
    tn_einsum_path p;
    tn_einsum_loops l = chain(256);
    tn_einsum_path_find(&l, 3, &p);
    assert_int_equal(p.n, 2);
    for (int i = 0; i < 2; i++) assert_int_equal(p.moves[i].macs, 256 * 256 * 256);
    for (int i = 0; i < 2; i++) assert_int_equal(p.moves[i].count, 256 * 256);
    assert_int_equal(p.moves[1].b, 3);
    l = chain((int64_t)1 << 40); /* saturates */
    tn_einsum_path_find(&l, 3, &p);
    assert_int_equal(p.n, 0);
    l = chain(0);
    tn_einsum_path_find(&l, 3, &p);
    assert_int_equal(p.n, 0);
    /* ax,bx,cx->abc: the pair would hold far more than operands and output do */
    l = (tn_einsum_loops){.n_out = 3,
                          .n_all = 4,
                          .size = {256, 256, 256, 1 << 20},
                          .stride = {{1 << 20, 0, 0, 1}, {0, 1 << 20, 0, 1}, {0, 0, 1 << 20, 1}}};
    tn_einsum_path_find(&l, 3, &p);
    assert_int_equal(p.n, 0);
}

/* Rows longer than a tile, over all threads. */
static void test_einsum_rows(void **state) {
    (void)state;
    enum { ROWS = 5, LENGTH = 203 };
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_UINT8, TERN_INT16, TERN_INT32, TERN_INT64};
    for (size_t k = 0; k < TN_COUNT(types); k++) {
        tern_tensor *x = op_tensor(types[k], 3, (int64_t[]){2, ROWS, LENGTH}),
                    *w = op_num(types[k], DIMS(ROWS), VALS(1, 0, 2, 1, 3));
        tern_tensor *y = op_tensor(types[k], 2, (int64_t[]){2, LENGTH});
        for (int64_t i = 0; i < 2 * ROWS * LENGTH; i++) op_set(x, i, (double)(i % 11));
        for (int64_t i = 0; i < 2 * LENGTH; i++) {
            int64_t at = i / LENGTH * ROWS * LENGTH + i % LENGTH;
            static const int weight[ROWS] = {1, 0, 2, 1, 3};
            double sum = 0;
            for (int r = 0; r < ROWS; r++) sum += weight[r] * (double)((at + r * LENGTH) % 11);
            op_set(y, i, sum);
        }
        binary("bij,i->bj", x, w, y);
    }
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
    begin(&t, "ab,bc,c->a"); /* empty sums */
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 0), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(0, 2), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 10)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 0)));
    op_run_exact(&t);
    begin(&t, "ab,bc,c->a"); /* no output */
    op_in(&t, op_num(TERN_FLOAT, DIMS(0, 3), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, B32));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 10)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(0), NO_VALS));
    op_run_exact(&t);
    begin(&t, "ab->a");
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
        cmocka_unit_test(test_einsum),      cmocka_unit_test(test_einsum_products), cmocka_unit_test(test_einsum_pairs),
        cmocka_unit_test(test_einsum_path), cmocka_unit_test(test_einsum_rows),     cmocka_unit_test(test_einsum_many),
        cmocka_unit_test(test_einsum_bad),  cmocka_unit_test(test_max_unpool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
