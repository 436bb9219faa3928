/* Attention, FlexAttention, LinearAttention, CausalConvWithState, RotaryEmbedding, SwiGLU and TensorScatter, against
 * their definitions computed in double. */
#include "ops/op_test.h"

/* ---- Attention ------------------------------------------------------------------------------------------------- */

typedef struct shape {
    int64_t batch, q_heads, kv_heads, q_len, kv_len, size, v_size;
} shape;

/* May sample b, head h, query i see key j? What is added to its score? */
typedef double (*bias_fn)(const shape *s, int64_t b, int64_t h, int64_t i, int64_t j);

static double no_bias(const shape *s, int64_t b, int64_t h, int64_t i, int64_t j) {
    (void)s, (void)b, (void)h, (void)i, (void)j;
    return 0;
}

static double causal(const shape *s, int64_t b, int64_t h, int64_t i, int64_t j) {
    (void)s, (void)b, (void)h;
    return j <= i ? 0 : -INFINITY;
}

static double windowed(const shape *s, int64_t b, int64_t h, int64_t i, int64_t j) {
    (void)s, (void)b, (void)h;
    return j >= i - 2 && j <= i + 1 ? 0 : -INFINITY;
}

/* Samples have 3, 4, 5 ... keys of an outside cache; causal behind them. */
static double padded(const shape *s, int64_t b, int64_t h, int64_t i, int64_t j) {
    (void)h;
    int64_t valid = 3 + b;
    return j < valid && j <= i + valid - s->q_len ? 0 : -INFINITY;
}

static double value(const tern_tensor *t, int64_t len, int64_t heads, int64_t size, int64_t b, int64_t h, int64_t i,
                    int64_t d) {
    if (t->shape.rank == 3) return tn_tensor_get_f64(t, ((b * len + i) * heads + h) * size + d);
    return tn_tensor_get_f64(t, ((b * heads + h) * len + i) * size + d);
}

/* Y (batch, q_heads, q_len, v_size), or packed as Q is. A query that sees nothing gives zeros. */
static tern_tensor *attention_ref(const shape *s, const tern_tensor *q, const tern_tensor *k, const tern_tensor *v,
                                  double scale, double cap, bias_fn bias) {
    bool packed = q->shape.rank == 3;
    int64_t dims4[4] = {s->batch, s->q_heads, s->q_len, s->v_size};
    int64_t dims3[3] = {s->batch, s->q_len, s->q_heads * s->v_size};
    tern_tensor *y = op_tensor(q->dtype, packed ? 3 : 4, packed ? dims3 : dims4);
    double p[512];
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->q_heads; h++)
            for (int64_t i = 0; i < s->q_len; i++) {
                int64_t g = h / (s->q_heads / s->kv_heads);
                double top = -INFINITY, sum = 0;
                for (int64_t j = 0; j < s->kv_len; j++) {
                    p[j] = 0;
                    for (int64_t d = 0; d < s->size; d++)
                        p[j] += value(q, s->q_len, s->q_heads, s->size, b, h, i, d) *
                                value(k, s->kv_len, s->kv_heads, s->size, b, g, j, d);
                    p[j] *= scale;
                    if (cap > 0) p[j] = cap * tanh(p[j] / cap);
                    p[j] += bias(s, b, h, i, j);
                    top = p[j] > top ? p[j] : top;
                }
                for (int64_t j = 0; j < s->kv_len; j++) sum += p[j] = top == -INFINITY ? 0 : exp(p[j] - top);
                for (int64_t d = 0; d < s->v_size; d++) {
                    double o = 0;
                    for (int64_t j = 0; j < s->kv_len; j++)
                        o += p[j] * value(v, s->kv_len, s->kv_heads, s->v_size, b, g, j, d);
                    o = sum > 0 ? o / sum : 0;
                    op_set(y,
                           packed ? ((b * s->q_len + i) * s->q_heads + h) * s->v_size + d
                                  : ((b * s->q_heads + h) * s->q_len + i) * s->v_size + d,
                           o);
                }
            }
    return y;
}

static double tolerance(tern_dtype t) {
    return t == TERN_DOUBLE ? 1e-12 : t == TERN_FLOAT ? 2e-5 : t == TERN_FLOAT16 ? 4e-3 : 3e-2;
}

/* Fills Q, K and V (packed or not) and the expected Y. */
static void attention_begin(op_test *t, int opset, const shape *s, tern_dtype dtype, bool packed, double cap,
                            bias_fn bias) {
    op_begin(t, "Attention", opset);
    int64_t len[3] = {s->q_len, s->kv_len, s->kv_len}, heads[3] = {s->q_heads, s->kv_heads, s->kv_heads};
    int64_t size[3] = {s->size, s->size, s->v_size};
    for (int i = 0; i < 3; i++) {
        int64_t d4[4] = {s->batch, heads[i], len[i], size[i]}, d3[3] = {s->batch, len[i], heads[i] * size[i]};
        op_in(t, op_rand(dtype, packed ? 3 : 4, packed ? d3 : d4, -1, 1, (uint32_t)(7 + i)));
    }
    if (packed) {
        op_attr_i(t, "q_num_heads", s->q_heads);
        op_attr_i(t, "kv_num_heads", s->kv_heads);
    }
    if (cap > 0) op_attr_f(t, "softcap", (float)cap);
    op_out(t, attention_ref(s, t->in[0], t->in[1], t->in[2], 1 / sqrt((double)s->size), cap, bias));
}

static void test_attention_types_and_layouts(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    static const shape shapes[] = {
        {2, 4, 2, 5, 7, 8, 6}, {1, 3, 3, 70, 130, 16, 24}, {1, 8, 1, 1, 33, 4, 4}, {2, 2, 2, 3, 1, 1, 1}};
    for (size_t i = 0; i < TN_COUNT(shapes); i++)
        for (size_t k = 0; k < TN_COUNT(types); k++)
            for (int packed = 0; packed < 2; packed++) {
                op_test t;
                attention_begin(&t, 23, &shapes[i], types[k], packed, i == 1 ? 0.5 : 0, no_bias);
                op_run(&t, tolerance(types[k]), tolerance(types[k]));
            }
}

static void test_attention_masks(void **state) {
    (void)state;
    op_test t;
    shape s = {2, 4, 2, 6, 6, 8, 8};
    attention_begin(&t, 23, &s, TERN_FLOAT, false, 0, causal);
    op_attr_i(&t, "is_causal", 1);
    op_run(&t, 2e-5, 1e-6);

    attention_begin(&t, 25, &s, TERN_FLOAT, true, 0, windowed);
    op_attr_i(&t, "left_window_size", 2);
    op_attr_i(&t, "right_window_size", 1);
    op_run(&t, 2e-5, 1e-6);

    /* The first queries of a sample with fewer keys than queries see nothing. */
    s.batch = 3;
    s.kv_len = 9;
    attention_begin(&t, 24, &s, TERN_FLOAT, false, 0, padded);
    op_attr_i(&t, "is_causal", 1);
    for (int i = 0; i < 3; i++) op_in(&t, NULL);
    op_in(&t, op_num(TERN_INT64, DIMS(3), VALS(3, 4, 5)));
    op_run(&t, 2e-5, 1e-6);

    /* A causal mask as an input: bool with heads repeated; numbers shorter than the keys. */
    s = (shape){2, 2, 2, 4, 4, 8, 8};
    attention_begin(&t, 23, &s, TERN_DOUBLE, false, 0, causal);
    op_in(&t, op_num(TERN_BOOL, DIMS(4, 4), VALS(1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1)));
    op_run(&t, 1e-12, 1e-12);
    const double no = -INFINITY;
    attention_begin(&t, 24, &s, TERN_DOUBLE, false, 0, causal);
    op_attr_i(&t, "is_causal", 1);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 1, 4), VALS(0, 0, 0, 0)));
    op_run(&t, 1e-12, 1e-12);
    s = (shape){1, 1, 1, 2, 3, 1, 1};
    op_begin(&t, "Attention", 24);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 2, 1), VALS(0, 0)));
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 3, 1), VALS(1, 2, 3)));
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 3, 1), VALS(2, 4, 100)));
    op_in(&t, op_num(TERN_DOUBLE, DIMS(2, 2), VALS(0, 0, no, no)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 2, 1), VALS(3, 0)));
    op_run(&t, 1e-12, 1e-12);
}

static void test_attention_cache_and_scores(void **state) {
    (void)state;
    op_test t;
    const double e = exp(1.0), s = 1 + e;
    for (int mode = 0; mode < 4; mode++) {
        op_begin(&t, "Attention", 23);
        op_attr_i(&t, "qk_matmul_output_mode", mode);
        op_attr_f(&t, "scale", 1);
        op_attr_f(&t, "softcap", 1e6f);
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(1)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(2)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(3, 4)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 0)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(1)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(5, 6)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS((5 + 3 * e) / s, (6 + 4 * e) / s)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 1), VALS(1, 2)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 2), VALS(5, 6, 3, 4)));
        op_out(&t, mode < 3 ? op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(1, 2))
                            : op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(1 / s, e / s)));
        op_run(&t, 1e-5, 1e-5);
    }
}

static void test_attention_refuses(void **state) {
    (void)state;
    op_test t;
    shape s = {1, 2, 2, 3, 3, 4, 4};
    attention_begin(&t, 23, &s, TERN_FLOAT, false, 0, no_bias);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3, 4), VALS(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("attn_mask", "3x4"));
    attention_begin(&t, 24, &s, TERN_FLOAT, false, 0, no_bias);
    for (int i = 0; i < 3; i++) op_in(&t, NULL);
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(4)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("nonpad_kv_seqlen 4", "[0, 3]"));
    attention_begin(&t, 23, &s, TERN_FLOAT, false, 0, no_bias);
    op_attr_i(&t, "qk_matmul_output_mode", 4);
    op_error(&t, TERN_INVALID_MODEL, STRS("qk_matmul_output_mode", "4"));
    attention_begin(&t, 23, &s, TERN_FLOAT, false, 0, no_bias);
    op_in(&t, NULL);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 0, 4), NO_VALS));
    op_error(&t, TERN_INVALID_MODEL, STRS("past_value"));
    op_begin(&t, "Attention", 23);
    for (int i = 0; i < 3; i++) op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 3, 8), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("number of heads"));
    op_begin(&t, "Attention", 23);
    op_attr_i(&t, "q_num_heads", 3);
    op_attr_i(&t, "kv_num_heads", 2);
    for (int i = 0; i < 3; i++) op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 3, 6), -1, 1, 1));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("3", "2"));
}

static void test_attention_of_nothing(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Attention", 23);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 0), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 0), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 1), VALS(1, 3)));
    op_attr_f(&t, "scale", 1);
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 1), VALS(2, 2)));
    op_run(&t, 1e-6, 1e-6);
    op_begin(&t, "Attention", 23);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 1), VALS(1, 1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 0, 1), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 0, 2), NO_VALS));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 2), VALS(0, 0, 0, 0)));
    op_run(&t, 1e-6, 1e-6);
}

/* ---- FlexAttention without subgraphs is attention -------------------------------------------------------------- */

static void test_flex_attention(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16};
    shape s = {2, 4, 2, 5, 9, 8, 3};
    for (size_t k = 0; k < TN_COUNT(types); k++) {
        op_test t;
        op_begin_domain(&t, "ai.onnx.preview", "FlexAttention", 1);
        op_in(&t, op_rand(types[k], DIMS(2, 4, 5, 8), -1, 1, 1));
        op_in(&t, op_rand(types[k], DIMS(2, 2, 9, 8), -1, 1, 2));
        op_in(&t, op_rand(types[k], DIMS(2, 2, 9, 3), -1, 1, 3));
        op_out(&t, attention_ref(&s, t.in[0], t.in[1], t.in[2], 1 / sqrt(8.0), 0, no_bias));
        op_run(&t, tolerance(types[k]), tolerance(types[k]));
    }
    op_test t;
    op_begin_domain(&t, "ai.onnx.preview", "FlexAttention", 1);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 3, 2, 4), -1, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 2, 4), -1, 1, 2));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 2, 4), -1, 1, 3));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("3 heads"));
}

/* ---- LinearAttention ------------------------------------------------------------------------------------------- */

static void linear_case(const char *rule, bool decay, bool beta, bool per_key, bool past) {
    enum { B = 2, T = 3, HQ = 4, HK = 2, DK = 3, DV = 5 };
    op_test t;
    op_begin(&t, "LinearAttention", 27);
    op_attr_s(&t, "update_rule", rule);
    op_attr_i(&t, "q_num_heads", HQ);
    op_attr_i(&t, "kv_num_heads", HK);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(B, T, HQ * DK), -1, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(B, T, HK * DK), -1, 1, 2));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(B, T, HK * DV), -1, 1, 3));
    op_in(&t, past ? op_rand(TERN_FLOAT, DIMS(B, HK, DK, DV), -1, 1, 4) : NULL);
    int64_t last = per_key ? HK * DK : HK;
    op_in(&t, decay ? op_rand(TERN_FLOAT, DIMS(B, T, last), -2, 0, 5) : NULL);
    op_in(&t, beta ? op_rand(TERN_FLOAT, DIMS(B, T, 1), 0, 1, 6) : NULL);
    tern_tensor *y = op_tensor(TERN_FLOAT, DIMS(B, T, HQ * DV)), *state = op_tensor(TERN_FLOAT, DIMS(B, HK, DK, DV));
    for (int b = 0; b < B; b++)
        for (int h = 0; h < HK; h++) {
            double s[DK][DV] = {{0}};
            for (int i = 0; past && i < DK * DV; i++)
                s[i / DV][i % DV] = tn_tensor_get_f64(t.in[3], (b * HK + h) * DK * DV + i);
            for (int n = 0; n < T; n++) {
                int row = b * T + n;
                double v[DV], k[DK];
                for (int i = 0; i < DK; i++) {
                    k[i] = tn_tensor_get_f64(t.in[1], (row * HK + h) * DK + i);
                    int64_t g = per_key ? (row * HK + h) * DK + i : row * HK + h;
                    for (int j = 0; decay && j < DV; j++) s[i][j] *= exp(tn_tensor_get_f64(t.in[4], g));
                }
                for (int j = 0; j < DV; j++) {
                    v[j] = tn_tensor_get_f64(t.in[2], (row * HK + h) * DV + j);
                    double held = 0;
                    for (int i = 0; i < DK; i++) held += s[i][j] * k[i];
                    if (beta) v[j] = tn_tensor_get_f64(t.in[5], row) * (v[j] - held);
                }
                for (int i = 0; i < DK; i++)
                    for (int j = 0; j < DV; j++) s[i][j] += k[i] * v[j];
                for (int q = h * HQ / HK; q < (h + 1) * HQ / HK; q++)
                    for (int j = 0; j < DV; j++) {
                        double o = 0;
                        for (int i = 0; i < DK; i++) o += tn_tensor_get_f64(t.in[0], (row * HQ + q) * DK + i) * s[i][j];
                        op_set(y, (row * HQ + q) * DV + j, o / sqrt((double)DK));
                    }
            }
            for (int i = 0; i < DK * DV; i++) op_set(state, (b * HK + h) * DK * DV + i, s[i / DV][i % DV]);
        }
    op_out(&t, y);
    op_out(&t, state);
    op_run(&t, 1e-5, 1e-5);
}

static void test_linear_attention(void **state) {
    (void)state;
    for (int past = 0; past < 2; past++) {
        linear_case("linear", false, false, false, past);
        linear_case("gated", true, false, true, past);
        linear_case("delta", false, true, false, past);
        linear_case("gated_delta", true, true, false, past);
    }
    op_test t;
    op_begin(&t, "LinearAttention", 27);
    op_attr_i(&t, "q_num_heads", 2);
    op_attr_i(&t, "kv_num_heads", 2);
    for (int i = 0; i < 3; i++) op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("gated_delta", "decay"));
    op_begin(&t, "LinearAttention", 27);
    op_attr_i(&t, "q_num_heads", 0);
    for (int i = 0; i < 3; i++) op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("q_num_heads 0"));
}

/* ---- CausalConvWithState ---------------------------------------------------------------------------------------- */

static void test_causal_conv(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "CausalConvWithState", 27);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 2), VALS(1, 2, 3, 4)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 1, 4), VALS(1, 10, 100, 1000, 1, 1, 1, 1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 0.5)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 3), VALS(7, 8, 9, 1, 1, 1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 2), VALS(1987, 2198, 6.5, 9.5)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 3), VALS(9, 1, 2, 1, 3, 4)));
    op_run(&t, 1e-6, 0);
    op_begin(&t, "CausalConvWithState", 27);
    op_attr_s(&t, "activation", "silu");
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(2 / (1 + exp(-2.0)))));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 0), NO_VALS));
    op_run(&t, 1e-5, 0);
    op_begin(&t, "CausalConvWithState", 27);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 0), NO_VALS));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("kernel"));
}

/* ---- RotaryEmbedding, SwiGLU, TensorScatter --------------------------------------------------------------------- */

static void test_rotary(void **state) {
    (void)state;
    op_test t;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        op_begin(&t, "RotaryEmbedding", 23);
        op_attr_i(&t, "interleaved", interleaved);
        op_attr_i(&t, "num_heads", 2);
        op_attr_i(&t, "rotary_embedding_dim", 2);
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 6), VALS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(3, 1), VALS(9, 0, 1)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(3, 1), VALS(9, 1, 0)));
        op_in(&t, op_num(TERN_INT64, DIMS(1, 2), VALS(1, 2)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 6), VALS(-2, 1, 3, -5, 4, 6, 7, 8, 9, 10, 11, 12)));
        op_run(&t, 1e-6, 0);
    }
    op_begin(&t, "RotaryEmbedding", 23);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(0)));
    op_in(&t, op_num(TERN_INT64, DIMS(1, 1), VALS(1)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("position 1", "[0, 1)"));
}

static void test_swiglu(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    for (size_t k = 0; k < TN_COUNT(types); k++) {
        op_test t;
        op_begin(&t, "SwiGLU", 28);
        op_attr_f(&t, "alpha", 2);
        op_in(&t, op_num(types[k], DIMS(3), VALS(-1, 0, 2)));
        op_in(&t, op_num(types[k], DIMS(3), VALS(3, 4, 5)));
        op_out(&t, op_num(types[k], DIMS(3), VALS(-3 / (1 + exp(2.0)), 0, 10 / (1 + exp(-4.0)))));
        op_run(&t, types[k] == TERN_BFLOAT16 ? 1e-2 : 1e-3, 1e-6);
    }
    op_test t;
    op_begin(&t, "SwiGLU", 28);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("same"));
}

static void scatter_begin(op_test *t, const char *mode, int64_t start) {
    op_begin(t, "TensorScatter", 24);
    op_attr_s(t, "mode", mode);
    op_attr_i(t, "axis", 1);
    op_in(t, op_num(TERN_INT8, DIMS(1, 3, 2), VALS(1, 2, 3, 4, 5, 6)));
    op_in(t, op_num(TERN_INT8, DIMS(1, 2, 2), VALS(7, 8, 9, 10)));
    op_in(t, op_num(TERN_INT64, DIMS(1), VALS((double)start)));
}

static void test_tensor_scatter(void **state) {
    (void)state;
    op_test t;
    scatter_begin(&t, "linear", 1);
    op_out(&t, op_num(TERN_INT8, DIMS(1, 3, 2), VALS(1, 2, 7, 8, 9, 10)));
    op_run_exact(&t);
    scatter_begin(&t, "circular", 5);
    op_out(&t, op_num(TERN_INT8, DIMS(1, 3, 2), VALS(9, 10, 3, 4, 7, 8)));
    op_run_exact(&t);
    scatter_begin(&t, "linear", 2);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("write index 2"));
    scatter_begin(&t, "circular", -1);
    op_out(&t, op_num(TERN_INT8, DIMS(1, 3, 2), VALS(9, 10, 3, 4, 7, 8)));
    op_run_exact(&t);
    scatter_begin(&t, "linear", -1);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("write index -1"));
    op_begin(&t, "TensorScatter", 24);
    op_attr_i(&t, "axis", 0);
    op_in(&t, op_num(TERN_INT8, DIMS(1, 1), VALS(1)));
    op_in(&t, op_num(TERN_INT8, DIMS(1, 1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_types_and_layouts),
        cmocka_unit_test(test_attention_masks),
        cmocka_unit_test(test_attention_cache_and_scores),
        cmocka_unit_test(test_attention_refuses),
        cmocka_unit_test(test_attention_of_nothing),
        cmocka_unit_test(test_flex_attention),
        cmocka_unit_test(test_linear_attention),
        cmocka_unit_test(test_causal_conv),
        cmocka_unit_test(test_rotary),
        cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_tensor_scatter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
