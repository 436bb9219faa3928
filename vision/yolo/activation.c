/* Activations, in the words that every opset and OpenCV's importer know: x * sigmoid(x) is recognised by tern's
 * optimiser and by OpenCV, while an operator of its own exists for some of them only in late opsets. */
#include "vision/yolo/yolo_internal.h"

static tern_status simple(yolo_net *n, const char *op, const yolo_value *x, yolo_value *out) {
    return yolo_unary(n, op, x->name, &out->name);
}

static tern_status sigmoid_times(yolo_net *n, const yolo_value *x, yolo_value *out) {
    const char *s = NULL;
    TN_TRY(yolo_unary(n, "Sigmoid", x->name, &s));
    return yolo_binary(n, "Mul", x->name, s, &out->name);
}

/* clip(x, low, high) */
static tern_status clip(yolo_net *n, const char *x, float low, float high, const char **out) {
    if (n->options->opset < 11) {
        tern_attr attrs[] = {YOLO_FLOAT("min", low), YOLO_FLOAT("max", high)};
        return yolo_node(n, "Clip", &x, 1, attrs, 2, out);
    }
    const char *in[3] = {x};
    TN_TRY(yolo_float(n, low, &in[1]));
    TN_TRY(yolo_float(n, high, &in[2]));
    return yolo_node(n, "Clip", in, 3, NULL, 0, out);
}

/* clip(x / 6 + 1 / 2, 0, 1), times x when `times`. OpenCV 4.6 reads no Clip with bounds that are inputs. */
static tern_status hard(yolo_net *n, const yolo_value *x, bool times, yolo_value *out) {
    tern_attr attrs[] = {YOLO_FLOAT("alpha", 1.0f / 6), YOLO_FLOAT("beta", 0.5f)};
    if (!times) return yolo_node(n, "HardSigmoid", &x->name, 1, attrs, 2, &out->name);
    const char *gate = NULL;
    TN_TRY(yolo_node(n, "HardSigmoid", &x->name, 1, attrs, 2, &gate));
    return yolo_binary(n, "Mul", x->name, gate, &out->name);
}

static tern_status mish(yolo_net *n, const yolo_value *x, yolo_value *out) {
    const char *soft = NULL, *t = NULL;
    TN_TRY(yolo_unary(n, "Softplus", x->name, &soft));
    TN_TRY(yolo_unary(n, "Tanh", soft, &t));
    return yolo_binary(n, "Mul", x->name, t, &out->name);
}

static tern_status with_alpha(yolo_net *n, const tern_py *m, const char *op, const char *attr, const yolo_value *x,
                              yolo_value *out) {
    double alpha;
    TN_TRY(yolo_attr_real(n, m, attr, &alpha));
    tern_attr a = YOLO_FLOAT("alpha", (float)alpha);
    return yolo_node(n, op, &x->name, 1, &a, 1, &out->name);
}

/* max(x, bn(conv(x))) */
static tern_status frelu(yolo_net *n, const tern_py *m, const yolo_value *x, yolo_value *out) {
    const tern_py *conv, *bn = tern_py_attr(m, "bn");
    yolo_value y;
    TN_TRY(yolo_get_child(n, m, "conv", &conv));
    TN_TRY(yolo_conv_norm(n, conv, yolo_is_module(bn) ? bn : NULL, false, x, &y));
    return yolo_binary(n, "Max", x->name, y.name, &out->name);
}

typedef enum kind { SILU, HARDSWISH, HARDSIGMOID, LEAKY, RELU, RELU6, MISH, SIGMOID, TANH, ELU, FRELU } kind;

static const struct {
    const char *name;
    kind kind;
} table[] = {
    {"SiLU", SILU},       {"Swish", SILU},  {"MemoryEfficientSwish", SILU}, {"Hardswish", HARDSWISH},
    {"LeakyReLU", LEAKY}, {"ReLU", RELU},   {"Hardsigmoid", HARDSIGMOID},   {"ReLU6", RELU6},
    {"Mish", MISH},       {"Tanh", TANH},   {"MemoryEfficientMish", MISH},  {"Sigmoid", SIGMOID},
    {"ELU", ELU},         {"FReLU", FRELU},
};

static int find(const char *name) {
    for (size_t i = 0; i < TN_COUNT(table); i++) {
        if (strcmp(table[i].name, name) == 0) return (int)i;
    }
    return -1;
}

bool yolo_is_activation(const char *class_name) { return find(class_name) >= 0; }

tern_status yolo_activation(yolo_net *n, const tern_py *m, const yolo_value *x, yolo_value *out) {
    int at = find(yolo_class(m));
    if (at < 0) return yolo_fail(n, TERN_UNSUPPORTED, "the activation '%s' is not known", yolo_class(m));
    *out = *x;
    out->name = NULL;
    switch (table[at].kind) {
    case SILU:
        return sigmoid_times(n, x, out);
    case HARDSWISH:
        return hard(n, x, true, out);
    case HARDSIGMOID:
        return hard(n, x, false, out);
    case LEAKY:
        return with_alpha(n, m, "LeakyRelu", "negative_slope", x, out);
    case RELU6:
        return clip(n, x->name, 0, 6, &out->name);
    case MISH:
        return mish(n, x, out);
    case ELU:
        return with_alpha(n, m, "Elu", "alpha", x, out);
    case FRELU:
        return frelu(n, m, x, out);
    case SIGMOID:
        return simple(n, "Sigmoid", x, out);
    case TANH:
        return simple(n, "Tanh", x, out);
    default:
        return simple(n, "Relu", x, out);
    }
}
