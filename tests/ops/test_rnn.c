/* RNN, GRU and LSTM against their equations, step by step in double. */
#include "ops/op_test.h"

enum { RNN, GRU, LSTM };
static const char *const op_names[] = {"RNN", "GRU", "LSTM"};
static const int gate_counts[] = {1, 3, 4};

typedef struct setup {
    int kind, opset;
    int64_t length, batch, input, hidden;
    const char *direction;
    bool layout, bias, lengths, initial, peep, linear, coupled;
    double clip; /* 0: none */
} setup;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double clipped(const setup *s, double x) { return s->clip > 0 ? fmin(fmax(x, -s->clip), s->clip) : x; }

typedef struct tensors {
    tern_tensor *x, *w, *r, *b, *len, *h0, *c0, *p, *y, *yh, *yc;
} tensors;

static int64_t state_at(const setup *s, int64_t dirs, int64_t d, int64_t b) {
    return (s->layout ? b * dirs + d : d * s->batch + b) * s->hidden;
}

static double dot(const tern_tensor *m, int64_t at, const double *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += tn_tensor_get_f64(m, at + i) * v[i];
    return sum;
}

/* Input part, recurrent part and both biases of gate g, unit j. */
static void parts(const setup *s, const tensors *t, int64_t d, int g, int64_t j, const double *x, const double *h,
                  double *in, double *rec, double *rec_bias) {
    int64_t gates = gate_counts[s->kind], row = (d * gates + g) * s->hidden + j;
    *in = dot(t->w, row * s->input, x, s->input);
    *rec = dot(t->r, row * s->hidden, h, s->hidden);
    *rec_bias = 0;
    if (!t->b) return;
    int64_t at = d * 2 * gates * s->hidden + g * s->hidden + j;
    *in += tn_tensor_get_f64(t->b, at);
    *rec_bias = tn_tensor_get_f64(t->b, at + gates * s->hidden);
}

static double gate(const setup *s, const tensors *t, int64_t d, int g, int64_t j, const double *x, const double *h) {
    double in, rec, bias;
    parts(s, t, d, g, j, x, h, &in, &rec, &bias);
    return in + rec + bias;
}

static double peephole(const setup *s, const tensors *t, int64_t d, int g, int64_t j, double c) {
    return t->p ? tn_tensor_get_f64(t->p, (d * 3 + g) * s->hidden + j) * c : 0;
}

static void step(const setup *s, const tensors *t, int64_t d, const double *x, double *h, double *c) {
    double next[16], z[16], rh[16];
    for (int64_t j = 0; j < s->hidden; j++) {
        if (s->kind == RNN) next[j] = tanh(clipped(s, gate(s, t, d, 0, j, x, h)));
        if (s->kind == GRU) {
            z[j] = sigmoid(clipped(s, gate(s, t, d, 0, j, x, h)));
            rh[j] = sigmoid(clipped(s, gate(s, t, d, 1, j, x, h)));
            if (!s->linear) rh[j] *= h[j];
        }
    }
    for (int64_t j = 0; j < s->hidden && s->kind == GRU; j++) {
        double in, rec, bias;
        parts(s, t, d, 2, j, x, s->linear ? h : rh, &in, &rec, &bias);
        double g = tanh(clipped(s, s->linear ? in + rh[j] * (rec + bias) : in + rec + bias));
        next[j] = (1 - z[j]) * g + z[j] * h[j];
    }
    for (int64_t j = 0; j < s->hidden && s->kind == LSTM; j++) {
        double i = sigmoid(clipped(s, gate(s, t, d, 0, j, x, h) + peephole(s, t, d, 0, j, c[j])));
        double f = sigmoid(clipped(s, gate(s, t, d, 2, j, x, h) + peephole(s, t, d, 2, j, c[j])));
        double g = tanh(clipped(s, gate(s, t, d, 3, j, x, h)));
        double now = (s->coupled ? 1 - i : f) * c[j] + i * g;
        double o = sigmoid(clipped(s, gate(s, t, d, 1, j, x, h) + peephole(s, t, d, 1, j, now)));
        next[j] = o * tanh(clipped(s, now));
        c[j] = now;
    }
    memcpy(h, next, (size_t)s->hidden * sizeof *h);
}

static void reference(const setup *s, tensors *t, int64_t dirs) {
    for (int64_t d = 0; d < dirs; d++)
        for (int64_t b = 0; b < s->batch; b++) {
            double h[16] = {0}, c[16] = {0}, x[16];
            int64_t at = state_at(s, dirs, d, b), n = t->len ? tn_tensor_get_i64(t->len, b) : s->length;
            for (int64_t j = 0; j < s->hidden; j++) {
                if (t->h0) h[j] = tn_tensor_get_f64(t->h0, at + j);
                if (t->c0) c[j] = tn_tensor_get_f64(t->c0, at + j);
            }
            for (int64_t k = 0; k < n; k++) {
                bool backward = d == 1 || s->direction[0] == 'r';
                int64_t time = backward ? n - 1 - k : k;
                int64_t row = s->layout ? b * s->length + time : time * s->batch + b;
                for (int64_t i = 0; i < s->input; i++) x[i] = tn_tensor_get_f64(t->x, row * s->input + i);
                step(s, t, d, x, h, c);
                int64_t out = s->layout ? (row * dirs + d) : (time * dirs + d) * s->batch + b;
                for (int64_t j = 0; j < s->hidden; j++) op_set(t->y, out * s->hidden + j, h[j]);
            }
            for (int64_t j = 0; j < s->hidden; j++) {
                op_set(t->yh, at + j, h[j]);
                if (t->yc) op_set(t->yc, at + j, c[j]);
            }
        }
}

static tern_tensor *state_tensor(const setup *s, tern_dtype dtype, int64_t dirs, uint32_t seed) {
    int64_t a[3] = {dirs, s->batch, s->hidden}, b[3] = {s->batch, dirs, s->hidden};
    return seed ? op_rand(dtype, 3, s->layout ? b : a, -1, 1, seed) : op_tensor(dtype, 3, s->layout ? b : a);
}

static void recurrent_case(const setup *s, tern_dtype dtype, double tolerance) {
    op_test t;
    op_begin(&t, op_names[s->kind], s->opset);
    int64_t dirs = s->direction[0] == 'b' ? 2 : 1, g = gate_counts[s->kind], h = s->hidden;
    op_attr_s(&t, "direction", s->direction);
    op_attr_i(&t, "hidden_size", h);
    if (s->layout) op_attr_i(&t, "layout", 1);
    if (s->linear) op_attr_i(&t, "linear_before_reset", 1);
    if (s->coupled) op_attr_i(&t, "input_forget", 1);
    if (s->clip > 0) op_attr_f(&t, "clip", (float)s->clip);
    int64_t first = s->layout ? s->batch : s->length, second = s->layout ? s->length : s->batch;
    tensors v = {.x = op_rand(dtype, DIMS(first, second, s->input), -1, 1, 1),
                 .w = op_rand(dtype, DIMS(dirs, g * h, s->input), -1, 1, 2),
                 .r = op_rand(dtype, DIMS(dirs, g * h, h), -1, 1, 3)};
    if (s->bias) v.b = op_rand(dtype, DIMS(dirs, 2 * g * h), -1, 1, 4);
    if (s->lengths) {
        v.len = op_tensor(TERN_INT32, DIMS(s->batch));
        for (int64_t b = 0; b < s->batch; b++) op_set(v.len, b, (double)(b % (s->length + 1)));
    }
    if (s->initial) v.h0 = state_tensor(s, dtype, dirs, 5);
    if (s->initial && s->kind == LSTM) v.c0 = state_tensor(s, dtype, dirs, 6);
    if (s->peep) v.p = op_rand(dtype, DIMS(dirs, 3 * h), -1, 1, 7);
    v.y = s->layout ? op_tensor(dtype, DIMS(s->batch, s->length, dirs, h))
                    : op_tensor(dtype, DIMS(s->length, dirs, s->batch, h));
    v.yh = state_tensor(s, dtype, dirs, 0);
    if (s->kind == LSTM) v.yc = state_tensor(s, dtype, dirs, 0);
    reference(s, &v, dirs);
    tern_tensor *in[] = {v.x, v.w, v.r, v.b, v.len, v.h0, v.c0, v.p};
    for (int i = 0; i < (s->kind == LSTM ? 8 : 6); i++) op_in(&t, in[i]);
    op_out(&t, v.y);
    op_out(&t, v.yh);
    if (v.yc) op_out(&t, v.yc);
    op_run(&t, tolerance, tolerance);
}

static setup base(int kind) {
    return (setup){.kind = kind, .opset = 14, .length = 4, .batch = 3, .input = 5, .hidden = 6, .direction = "forward"};
}

static void test_everything_together(void **state) {
    (void)state;
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    for (int kind = RNN; kind <= LSTM; kind++)
        for (int bits = 0; bits < 32; bits++)
            for (int d = 0; d < 3; d++) {
                setup s = base(kind);
                s.direction = directions[d];
                s.layout = bits & 1;
                s.bias = bits & 2;
                s.lengths = bits & 4;
                s.initial = bits & 8;
                s.peep = kind == LSTM && bits & 16;
                s.linear = kind == GRU && bits & 16;
                s.clip = bits % 3 == 0 ? 0.25 : 0;
                s.coupled = kind == LSTM && bits % 5 == 0;
                recurrent_case(&s, TERN_FLOAT, 3e-5);
                recurrent_case(&s, TERN_DOUBLE, 1e-12);
            }
}

static void test_small_floats_and_sizes(void **state) {
    (void)state;
    for (int kind = RNN; kind <= LSTM; kind++) {
        setup s = base(kind);
        s.opset = 22;
        s.bias = s.initial = true;
        recurrent_case(&s, TERN_FLOAT16, 1e-2);
        recurrent_case(&s, TERN_BFLOAT16, 8e-2);
        s.opset = kind == GRU ? 3 : 1;
        s.hidden = s.input = s.batch = 1;
        recurrent_case(&s, TERN_FLOAT, 3e-5);
        s.length = 0;
        recurrent_case(&s, TERN_FLOAT, 3e-5);
    }
}

/* One unit, no recurrence: Y = f(x). */
static void activation_case(const char *name, double x, double alpha, double beta, double want) {
    op_test t;
    op_begin(&t, "RNN", 14);
    op_attr_strings(&t, "activations", STRS(name));
    op_attr_floats(&t, "activation_alpha", VALS(alpha));
    op_attr_floats(&t, "activation_beta", VALS(beta));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(x)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(want)));
    op_run(&t, 1e-5, 1e-6);
}

static void test_activations(void **state) {
    (void)state;
    activation_case("Relu", -2, 0, 0, 0);
    activation_case("tanh", 0.5, 0, 0, tanh(0.5));
    activation_case("SIGMOID", 0.5, 0, 0, sigmoid(0.5));
    activation_case("Affine", 2, 3, 4, 10);
    activation_case("LeakyRelu", -2, 0.1, 0, -0.2);
    activation_case("ThresholdedRelu", 2, 3, 0, 0);
    activation_case("ThresholdedRelu", 4, 3, 0, 4);
    activation_case("ScaledTanh", 0.5, 2, 3, 2 * tanh(1.5));
    activation_case("HardSigmoid", 0.5, 0.4, 0.1, 0.3);
    activation_case("Elu", -1, 2, 0, 2 * (exp(-1.0) - 1));
    activation_case("Softsign", -3, 0, 0, -0.75);
    activation_case("Softplus", 1, 0, 0, log1p(exp(1.0)));
}

static void small_begin(op_test *t, const char *op) {
    op_begin(t, op, 14);
    op_in(t, op_rand(TERN_FLOAT, DIMS(2, 1, 3), -1, 1, 1));
    int64_t gates = op[0] == 'L' ? 4 : op[0] == 'G' ? 3 : 1;
    op_in(t, op_rand(TERN_FLOAT, DIMS(1, gates * 2, 3), -1, 1, 2));
    op_in(t, op_rand(TERN_FLOAT, DIMS(1, gates * 2, 2), -1, 1, 3));
}

static void test_refuses(void **state) {
    (void)state;
    op_test t;
    small_begin(&t, "LSTM");
    op_attr_s(&t, "direction", "sideways");
    op_error(&t, TERN_INVALID_MODEL, STRS("sideways"));
    small_begin(&t, "LSTM");
    op_attr_s(&t, "direction", "bidirectional");
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("dim 0"));
    small_begin(&t, "GRU");
    op_attr_strings(&t, "activations", STRS("Sigmoid", "Cosh"));
    op_error(&t, TERN_INVALID_MODEL, STRS("Cosh"));
    small_begin(&t, "GRU");
    op_attr_strings(&t, "activations", STRS("Sigmoid"));
    op_error(&t, TERN_INVALID_MODEL, STRS("activations"));
    small_begin(&t, "RNN");
    op_in(&t, NULL);
    op_in(&t, op_num(TERN_INT32, DIMS(1), VALS(3)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("sequence length 3"));
    small_begin(&t, "RNN");
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 3), VALS(0, 0, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("input 3"));
    small_begin(&t, "GRU");
    op_attr_i(&t, "hidden_size", INT64_MAX);
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("input 2"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_together),
        cmocka_unit_test(test_small_floats_and_sizes),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
