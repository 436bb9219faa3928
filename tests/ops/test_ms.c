/* ONNX Runtime's operators refuse what they can not compute, naming node, operator and values; and shapes are inferred
 * through those that are given as others. What they compute is compared in test_ms_cases.sh. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "graph/graph.h"
#include "tern/tern.h"

#define MAX 16

/* A node as text. Inputs are separated by blanks: a type (f float32, h float16, b uint8, c int8, i int32, l int64, ?
 * bool), dims in brackets, =V for the value of all elements (1); '-' is an absent one. Attributes: name=V, an integer,
 * a float when it has a dot, a list of integers in brackets, or else a string. */
typedef struct spec {
    const char *op, *inputs, *attrs;
    const char *words; /* of the error, separated by | */
    int n_out;         /* 0: one */
} spec;

typedef struct built {
    tern_graph *graph;
    tern_feed feeds[MAX];
    char names[MAX][16];
    size_t n_feeds;
} built;

static tern_dtype dtype_of(char c) {
    static const char letters[] = "fhbcil?";
    static const tern_dtype types[] = {TERN_FLOAT, TERN_FLOAT16, TERN_UINT8, TERN_INT8,
                                       TERN_INT32, TERN_INT64,   TERN_BOOL};
    const char *at = strchr(letters, c);
    assert_non_null(at);
    return types[at - letters];
}

static void fill(tern_tensor *t, double v) {
    for (int64_t i = 0; i < tern_tensor_count(t); i++) {
        void *data = tern_tensor_data(t);
        switch (tern_tensor_dtype(t)) {
        case TERN_FLOAT:
            ((float *)data)[i] = (float)v;
            break;
        case TERN_FLOAT16:
            ((uint16_t *)data)[i] = tn_f32_to_f16((float)v);
            break;
        case TERN_INT32:
            ((int32_t *)data)[i] = (int32_t)v;
            break;
        case TERN_INT64:
            ((int64_t *)data)[i] = (int64_t)v;
            break;
        default:
            ((int8_t *)data)[i] = (int8_t)v;
            break;
        }
    }
}

/* One input from its text up to a blank; false: absent. */
static bool add_input(built *b, const char *text, const char *name) {
    tern_error err;
    if (*text == '-') return false;
    tern_value_info info = {.name = name, .dtype = dtype_of(*text)};
    const char *p = text + 1;
    assert_int_equal(*p++, '[');
    while (*p != ']') {
        char *end;
        info.dims[info.rank++] = strtoll(p, &end, 10);
        p = *end == ',' ? end + 1 : end;
    }
    assert_int_equal(tern_graph_input(b->graph, &info, &err), TERN_OK);
    tern_tensor *t;
    assert_int_equal(tern_tensor_create(&t, info.dtype, info.rank, info.dims, &err), TERN_OK);
    fill(t, p[1] == '=' ? strtod(p + 2, NULL) : 1);
    b->feeds[b->n_feeds++] = (tern_feed){name, t};
    return true;
}

static tern_attr parse_attr(char *text, int64_t *ints, float *number) {
    char *value = strchr(text, '=');
    assert_non_null(value);
    *value++ = 0;
    if (*value == '[') {
        size_t n = 0;
        for (char *p = value + 1; *p && *p != ']'; p = *p == ',' ? p + 1 : p) ints[n++] = strtoll(p, &p, 10);
        return (tern_attr){.name = text, .type = TERN_ATTR_INTS, .ints = ints, .count = n};
    }
    bool digits = strchr("-0123456789", *value) != NULL;
    if (!digits) return (tern_attr){.name = text, .type = TERN_ATTR_STRING, .s = value};
    if (!strchr(value, '.')) return (tern_attr){.name = text, .type = TERN_ATTR_INT, .i = strtoll(value, NULL, 10)};
    *number = strtof(value, NULL);
    return (tern_attr){.name = text, .type = TERN_ATTR_FLOAT, .f = *number};
}

/* The next part of *at up to the separator, which is cut off; NULL: none is left. */
static char *part_of(char **at, const char *separator) {
    char *p = *at + strspn(*at, separator);
    if (!*p) return NULL;
    *at = p + strcspn(p, separator);
    if (**at) *(*at)++ = 0;
    return p;
}

static void build(built *b, const spec *s) {
    tern_error err;
    memset(b, 0, sizeof *b);
    assert_int_equal(tern_graph_create(&b->graph, "g", 17, &err), TERN_OK);
    assert_int_equal(tern_graph_import(b->graph, "com.microsoft", 1, &err), TERN_OK);
    char inputs[400], attrs[400];
    snprintf(inputs, sizeof inputs, "%s", s->inputs);
    snprintf(attrs, sizeof attrs, "%s", s->attrs);
    const char *names[MAX], *outputs[] = {"y0", "y1", "y2", "y3"};
    int n_in = 0, n_attrs = 0, n_out = s->n_out ? s->n_out : 1;
    char *at = inputs;
    for (char *t = part_of(&at, " "); t; t = part_of(&at, " "), n_in++) {
        snprintf(b->names[n_in], sizeof b->names[n_in], "x%d", n_in);
        names[n_in] = add_input(b, t, b->names[n_in]) ? b->names[n_in] : "";
    }
    tern_attr list[MAX];
    int64_t ints[MAX][8];
    float number;
    at = attrs;
    for (char *t = part_of(&at, " "); t; t = part_of(&at, " "), n_attrs++)
        list[n_attrs] = parse_attr(t, ints[n_attrs], &number);
    tern_node_info node = {.domain = "com.microsoft",
                           .op_type = s->op,
                           .name = "the_node",
                           .inputs = names,
                           .n_inputs = (size_t)n_in,
                           .outputs = outputs,
                           .n_outputs = (size_t)n_out,
                           .attrs = list,
                           .n_attrs = (size_t)n_attrs};
    assert_int_equal(tern_graph_node(b->graph, &node, &err), TERN_OK);
    for (int i = 0; i < n_out; i++)
        assert_int_equal(tern_graph_output(b->graph, &(tern_value_info){.name = outputs[i], .rank = -1}, &err),
                         TERN_OK);
}

static void release(built *b) {
    for (size_t i = 0; i < b->n_feeds; i++) tern_tensor_free((tern_tensor *)(uintptr_t)b->feeds[i].tensor);
    tern_graph_free(b->graph);
}

/* Runs the node; y: its first output. */
static tern_status run(const spec *s, tern_value_info *inferred, tern_tensor **y, tern_error *err) {
    built b;
    tern_model *m = NULL;
    tern_session *session = NULL;
    tern_tensor *out[4] = {NULL};
    build(&b, s);
    tern_status status = tern_graph_finish(b.graph, &m, err);
    if (status == TERN_OK && inferred) status = tern_model_output(m, 0, inferred, err);
    if (status == TERN_OK) status = tern_session_create(&session, m, NULL, err);
    if (status == TERN_OK)
        status = tern_session_run(session, b.feeds, b.n_feeds, NULL, out, (size_t)(s->n_out ? s->n_out : 1), err);
    for (int i = 1; i < 4; i++) tern_tensor_free(out[i]);
    if (y)
        *y = out[0];
    else
        tern_tensor_free(out[0]);
    tern_session_free(session);
    tern_model_free(m);
    release(&b);
    return status;
}

#define Q8(DIMS) "b" DIMS " f[] b[]"

static const spec bad[] = {
    /* quantised */
    {"QLinearAdd", Q8("[2,3]") " " Q8("[4]") " f[] b[]", "", "QLinearAdd|2x3|4", 0},
    {"QLinearAdd", Q8("[2,3]") " c[3] f[] c[] f[] b[]", "", "uint8|int8", 0},
    {"QLinearMul", "b[2,3] f[2] b[] " Q8("[3]") " f[] b[]", "", "scale of A|2", 0},
    {"QLinearMul", "f[2,3] f[] b[] " Q8("[3]") " f[] b[]", "", "float32", 0},
    {"QLinearSigmoid", "b[2] f[] b[]", "", "scale of the output", 0},
    {"QLinearSoftmax", Q8("[2]") " f[] b[]", "opset=99", "opset is 99", 0},
    {"QLinearConcat", "f[] b[] b[2] f[]", "axis=0", "4 inputs", 0},
    {"QLinearConcat", "f[] b[] b[2] f[] b[]", "axis=3", "axis|3", 0},
    {"QLinearAveragePool", Q8("[1,2,5,5]") " f[] b[]", "", "kernel_shape", 0},
    {"QLinearAveragePool", Q8("[1,2,5,5]") " f[] b[]", "kernel_shape=[3]", "QLinearAveragePool", 0},
    {"QLinearGlobalAveragePool", Q8("[2,3]") " f[] b[]", "", "rank 2", 0},
    {"QLinearGlobalAveragePool", Q8("[2,3,0,4]") " f[] b[]", "", "dim 2", 0},
    {"QLinearConv", Q8("[1,5,5,3]") " c[4,3,3,3] f[] c[] f[] b[]", "channels_last=1 pads=[1]", "pads", 0},
    {"QGemm", Q8("[3,5]") " c[4,4] f[] c[]", "", "QGemm|5", 0},
    {"QGemm", Q8("[3,5]") " c[5,4] f[] c[] - f[]", "", "QGemm|takes 1", 2},
    {"MatMulIntegerToFloat", "b[3,5] b[4,5] f[] f[]", "", "MatMulIntegerToFloat|3x5|4x5", 0},
    {"DynamicQuantizeMatMul", "b[3,5] c[5,4] f[]", "", "DynamicQuantizeMatMul|uint8", 0},
    {"NhwcMaxPool", "b[1,5,5,3]", "kernel_shape=[0,2]", "NhwcMaxPool|kernel_shape", 0},
    {"DequantizeLinear", "b[3,4] f[5]", "axis=1", "DequantizeLinear|5", 0},
    /* fused */
    {"FusedConv", "f[1,2,5,5] f[3,2,3,3]", "activation=Frob", "Frob", 0},
    {"FusedConv", "f[1,2,5,5] f[3,4,3,3]", "activation=Relu", "FusedConv|the_node", 0},
    {"NhwcFusedConv", "f[1,5,5,2] f[3,2,3,3] f[4]", "activation=Relu", "NhwcFusedConv", 0},
    {"FusedGemm", "f[2,3] f[4,5]", "activation=Relu", "3 columns|4 rows", 0},
    {"FusedMatMul", "f[2,3] f[4,3]", "", "2x3|4x3", 0},
    {"FusedMatMul", "f[2,3] f[3,4]", "transA=1", "3x2|3x4", 0},
    {"FusedMatMul", "f[2,3] h[3,4]", "", "float16", 0},
    {"BiasGelu", "f[2,3] f[4]", "", "BiasGelu|2x3|4", 0},
    {"QuickGelu", "i[2,3]", "", "QuickGelu|int32", 0},
    {"SkipLayerNormalization", "f[2,3] f[2,3] f[4]", "", "SkipLayerNormalization|4", 0},
    {"SkipSimplifiedLayerNormalization", "f[2,3] f[2,3] f[3]", "", "no mean", 2},
    {"EmbedLayerNormalization", "i[1,2] - f[5,4] f[6,4] - f[4]", "", "beta", 0},
    {"EmbedLayerNormalization", "i[1,2] i[1,2] f[5,4] f[6,4] - f[4] f[4]", "", "segment", 0},
    {"EmbedLayerNormalization", "i[1,2]=9 - f[5,4] f[6,4] - f[4] f[4]", "", "EmbedLayerNormalization|9", 0},
    {"EmbedLayerNormalization", "i[1,7] - f[5,4] f[6,4] - f[4] f[4]", "", "EmbedLayerNormalization|6", 0},
    {"GroupNorm", "f[1,2,2,4] f[4] f[4]", "groups=3 activation=0", "GroupNorm|3", 0},
    /* attention */
    {"Attention", "f[1,2,4] f[4,12] f[12]", "", "num_heads is 0", 0},
    {"Attention", "f[1,2,4] f[4,12] f[12]", "num_heads=3", "Attention|3 heads", 0},
    {"Attention", "f[1,2,4] f[4,12] f[12] i[1,3]", "num_heads=2", "1x3|2 keys", 0},
    {"Attention", "f[1,2,4] f[4,12] f[12]", "num_heads=2 do_rotary=1", "do_rotary", 0},
    {"Attention", "f[1,2,4] f[4,12] f[12]", "num_heads=2 qkv_hidden_sizes=[4,4]", "qkv_hidden_sizes has 2", 0},
    {"Attention", "f[1,2,4] f[4,12] f[12]", "num_heads=2 qkv_hidden_sizes=[4,4,5]", "Attention", 0},
    {"MultiHeadAttention", "f[1,2,4] f[1,3,4] f[1,5,4]", "num_heads=2", "length of K and V is 3 and 5", 0},
    {"MultiHeadAttention", "f[1,2,4] - f[1,5,4]", "num_heads=2", "without key", 0},
    {"MultiHeadAttention", "f[1,2,4] f[1,3,4] f[1,3,4] - - f[1,2,2,4]", "num_heads=2", "1x2x2x4", 0},
    {"MultiHeadAttention", "f[1,2,4] f[1,3,4] f[1,3,4] f[11]", "num_heads=2", "MultiHeadAttention", 0},
    {"MultiHeadAttention", "f[1,2,2,2,2]", "num_heads=2", "Split|2", 0},
    {"MultiHeadAttention", "f[1,2,4] f[1,3,2,3,2]", "num_heads=2", "Split|3", 0},
    {"MultiHeadAttention", "f[2,2,4] f[2,3,4] f[2,3,4] - i[2,1]", "num_heads=2", "2x1|3 keys", 0},
    {"MultiHeadAttention", "f[1,1,4] f[1,1,4] f[1,1,4] - - - f[1,2,5,2] f[1,2,5,2] i[]=6", "num_heads=2", "Split|-1",
     0},
    {"MultiHeadAttention", "f[1,1,4] f[1,1,4] f[1,1,4] - - - f[1,2,5,2] f[1,2,5,2] i[]=-1", "num_heads=2", "Split|-1",
     0},
    {"MultiHeadAttention", "f[1,1,4] f[1,1,4] f[1,1,4] - - - f[1,2,5,2] f[1,2,5,2] i[]=5", "num_heads=2", "Split|-1",
     3},
    {"MultiHeadAttention", "f[1,1,4] f[1,1,4] f[1,1,4] - - - f[1,2,5,2]", "num_heads=2", "past_value", 0},
    {"MultiHeadAttention", "f[1,2,4] f[1,2,3,2] f[1,2,3,2] f[3]", "num_heads=2", "MultiHeadAttention|-1", 0},
    {"MultiHeadAttention", "f[1,1,4] f[1,1,4] f[1,1,4] - - - f[1,2,5,2] f[1,2,5,2] i[] i[1,1,5]", "num_heads=2",
     "cache_indirection", 0},
    {"DecoderMaskedMultiHeadAttention", "f[1,1,4] f[1,1,4] f[1,1,4] - - f[1,2,5,2] f[1,2,5,2]",
     "num_heads=2 past_present_share_buffer=1", "past_sequence_length", 0},
    {"Attention", "f[1,1,4] f[4,12] f[12] - f[2,1,2,5,2]", "num_heads=2 past_present_share_buffer=1",
     "past_sequence_length", 0},
    {"RotaryEmbedding", "f[1,2,8] l[1]=9 f[10,4] f[10,4]", "", "position 10", 0},
    {"RotaryEmbedding", "f[1,2,8] l[1]=9223372036854775807 f[10,4] f[10,4]", "", "position", 0},
    {"RotaryEmbedding", "f[1,2,8] l[1,3] f[10,4] f[10,4]", "", "1x3", 0},
    {"RotaryEmbedding", "f[1,2,8] l[1] f[10,3] f[10,3]", "num_heads=1", "10x3", 0},
    {"RotaryEmbedding", "f[1,2,8] l[1] f[10,4] f[10,4]", "is_packed_batching=1", "is_packed_batching", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]", "num_heads=3 kv_num_heads=2", "num_heads is 3",
     0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,6] f[1,1,6] - - i[1]=0 i[]", "num_heads=2 kv_num_heads=1", "key|1x1x6", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=5 i[]", "num_heads=2 kv_num_heads=1", "seqlens_k 5",
     0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=-2147483648 i[]", "num_heads=2 kv_num_heads=1",
     "seqlens_k", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]=-3", "num_heads=2 kv_num_heads=1",
     "total_sequence_length is -3", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] f[1,1,2,4] - i[1] i[]=3", "num_heads=2 kv_num_heads=1",
     "past_key", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]", "num_heads=2 kv_num_heads=1 do_rotary=1",
     "cos_cache", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]",
     "num_heads=2 kv_num_heads=1 sliding_window_cache=1", "sliding_window_cache", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]",
     "num_heads=2 kv_num_heads=1 local_window_size=-7", "-7", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]", "num_heads=2 kv_num_heads=1", "output_qk", 4},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]", "num_heads=2 kv_num_heads=1 qk_output=3",
     "qk_output is 3", 4},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]",
     "num_heads=2 kv_num_heads=1 qk_norm_epsilon=-5.0", "qk_norm_epsilon is -5", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[]", "num_heads=2 kv_num_heads=1 softcap=-1.0",
     "softcap is -1", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[] - - - - - - - f[4]",
     "num_heads=2 kv_num_heads=1", "k_norm_weight", 0},
    {"GroupQueryAttention", "f[1,1,8] f[1,1,4] f[1,1,4] - - i[1]=0 i[] - - - - - - - f[5] f[5]",
     "num_heads=2 kv_num_heads=1", "q_norm_weight|5", 0},
    {"MatMulNBits", "f[2,32] b[3,2,8] f[6]", "K=32 N=3 bits=4 block_size=12", "block_size is 12", 0},
    {"MatMulNBits", "f[2,32] b[3,2,8] f[6]", "K=32 N=3 bits=5 block_size=16", "5 bits", 0},
    {"MatMulNBits", "f[2,32] b[3,2,8] f[5]", "K=32 N=3 bits=4 block_size=16", "scales|5|6", 0},
    {"MatMulNBits", "f[2,32] b[3,2,7] f[6]", "K=32 N=3 bits=4 block_size=16", "weights|48", 0},
    {"MatMulNBits", "f[2,31] b[3,2,8] f[6]", "K=32 N=3 bits=4 block_size=16", "2x31|K is 32", 0},
    {"MatMulNBits", "f[2,32] b[3,2,8] f[6] - i[32]=2", "K=32 N=3 bits=4 block_size=16", "group index 2", 0},
    {"MatMulNBits", "f[2,32] b[3,2,8] f[6]", "K=-1 N=3 block_size=16", "K is -1", 0},
    {"GatherBlockQuantized", "b[4,24] l[2]=9 f[4,3]", "block_size=16", "GatherBlockQuantized|9", 0},
    {"GatherBlockQuantized", "b[4,24] l[2] f[4,2]", "block_size=16", "GatherBlockQuantized|2x2", 0},
    {"GatherBlockQuantized", "b[4,24] l[2] f[4,3]", "block_size=16 quantize_axis=0", "quantize_axis 0", 0},
    {"GatherBlockQuantized", "b[4,24] l[2] f[4,3]", "block_size=16 bits=3", "3 bits", 0},
    {"DynamicQuantizeLSTM", "f[4,2,3] c[1,3,20] c[1,5,20] - - - - - f[1]", "hidden_size=5", "scale of R", 0},
    {"DynamicQuantizeLSTM", "f[4,2,3] c[1,4,20] c[1,5,20] - - - - - f[1] - f[1]", "hidden_size=5",
     "DynamicQuantizeLSTM", 0},
    /* others */
    {"CDist", "f[2,3] f[4,5]", "metric=cosine", "cosine", 0},
    {"CDist", "f[2,3] f[4,5]", "metric=euclidean", "CDist|3|5", 0},
    {"GatherND", "f[2,3] i[1,2]=7", "", "GatherND|7", 0},
    {"Pad", "f[2,3] l[3]", "", "Pad", 0},
    {"ExpandDims", "f[2,3] i[]=9", "", "ExpandDims|9", 0},
};

static void test_bad_input_is_refused(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        tern_error err = {0};
        char words[200];
        if (run(&bad[i], NULL, NULL, &err) == TERN_OK)
            fail_msg("%s (%s; %s) was computed", bad[i].op, bad[i].inputs, bad[i].attrs);
        snprintf(words, sizeof words, "the_node|%s", bad[i].words);
        char *at = words;
        for (char *w = part_of(&at, "|"); w; w = part_of(&at, "|"))
            if (!strstr(err.text, w)) {
                print_error("%s (%s; %s): no '%s' in: %s\n", bad[i].op, bad[i].inputs, bad[i].attrs, w, err.text);
                wrong++;
            }
    }
    assert_int_equal(wrong, 0);
}

/* ---- shapes and values ------------------------------------------------------------------------------------------- */

static const struct {
    spec s;
    tern_dtype dtype;
    int rank;
    int64_t dims[5];
    double first; /* element 0 of y for inputs of 1, to 1e-3 */
} good[] = {
    {{"QLinearAdd", Q8("[2,1]=3") " " Q8("[3]=5") " f[] b[]", "", "", 0}, TERN_UINT8, 2, {2, 3}, 7},
    {{"BiasGelu", "h[2,3] h[3]", "", "", 0}, TERN_FLOAT16, 2, {2, 3}, 1.9545},
    {{"QuickGelu", "h[2,3]", "alpha=2.0", "", 0}, TERN_FLOAT16, 2, {2, 3}, 0.8808},
    {{"FusedMatMul", "h[4,2] h[5,4]", "transA=1 transB=1 alpha=0.5", "", 0}, TERN_FLOAT16, 2, {2, 5}, 2},
    {{"FusedMatMulActivation", "f[2,4] f[5,4]", "transB=1 activation=LeakyRelu activation_alpha=0.5 alpha=-1.0", "", 0},
     TERN_FLOAT,
     2,
     {2, 5},
     -2},
    {{"NhwcFusedConv", "f[1,5,6,2] f[3,2,3,3] f[3] f[1,3,4,3]=-20", "activation=Relu", "", 0},
     TERN_FLOAT,
     4,
     {1, 3, 4, 3},
     0},
    {{"NhwcConv", "f[1,5,6,2] f[3,2,3,3]", "kernel_shape=[3,3]", "", 0}, TERN_FLOAT, 4, {1, 3, 4, 3}, 18},
    {{"BiasSplitGelu", "f[1,2,8] f[8]", "", "", 0}, TERN_FLOAT, 3, {1, 2, 4}, 3.9090},
    {{"BiasAdd", "f[1,2,8] f[8] f[1,2,8]", "", "", 0}, TERN_FLOAT, 3, {1, 2, 8}, 3},
    {{"GroupNorm", "f[1,2,2,4] f[4] f[4]=2", "groups=2 activation=1", "", 0}, TERN_FLOAT, 4, {1, 2, 2, 4}, 1.7616},
    {{"MulInteger", "b[2,3]=7 b[]=3 b[3]=9 b[]=11", "", "", 0}, TERN_INT32, 2, {2, 3}, -8},
    {{"QLinearReduceMean", Q8("[2,3]=9") " f[] b[]", "axes=[1] keepdims=0", "", 0}, TERN_UINT8, 1, {2}, 9},
    {{"MultiHeadAttention", "f[1,2,4] f[1,3,4] f[1,3,6]", "num_heads=2", "", 0}, TERN_FLOAT, 3, {1, 2, 6}, 1},
    /* two of nine rows of the past count: (1 + 1 + 7) / 3 */
    {{"MultiHeadAttention", "f[1,1,4] f[1,1,4] f[1,1,4]=7 - - - f[1,2,9,2] f[1,2,9,2] i[]=2", "num_heads=2", "", 0},
     TERN_FLOAT,
     3,
     {1, 1, 4},
     3},
    {{"Attention", "f[1,1,4] f[4,12]=0 f[12]=7 - f[2,1,2,9,2] - i[1]=2",
      "num_heads=2 past_present_share_buffer=1 scale=0.0000001", "", 0},
     TERN_FLOAT,
     3,
     {1, 1, 4},
     3},
    {{"Attention", "f[2,3,4] f[4,12] f[12] i[1,1]=0", "num_heads=2", "", 0}, TERN_FLOAT, 3, {2, 3, 4}, 5},
    {{"QGemm", Q8("[3,5]=2") " c[5,4]=3 f[] c[]=0 - f[]", "", "", 0}, TERN_FLOAT, 2, {3, 4}, 15},
    /* heads of 3 and 5 become 1 and 0.5: scores of 0 and 1 * 0.5 * 4 / sqrt(4), (1 + 9 e) / (1 + e) */
    {{"GroupQueryAttention",
      "f[1,1,4]=3 f[1,1,4]=5 f[1,1,4]=9 f[1,1,1,4]=0 f[1,1,1,4] i[1] i[]=2 - - - - - - - f[4] f[4]=0.5",
      "num_heads=1 kv_num_heads=1", "", 0},
     TERN_FLOAT,
     3,
     {1, 1, 4},
     6.8485},
    {{"MatMulNBits", "h[2,32] b[3,2,8]=119 h[6]", "K=32 N=3 bits=4 block_size=16", "", 0},
     TERN_FLOAT16,
     2,
     {2, 3},
     -32},
    {{"MatMulNBits", "f[2,32] b[3,2,4]=85 f[6]", "K=32 N=3 bits=2 block_size=16", "", 0}, TERN_FLOAT, 2, {2, 3}, -32},
    {{"MatMulNBits", "f[2,32] b[3,2,8]=119 f[6] - i[32]=1 f[3]", "K=32 N=3 bits=4 block_size=16", "", 0},
     TERN_FLOAT,
     2,
     {2, 3},
     -31},
};

static double element(const tern_tensor *t, tern_dtype dtype) {
    const void *data = tern_tensor_const_data(t);
    if (dtype == TERN_FLOAT) return (double)*(const float *)data;
    if (dtype == TERN_FLOAT16) return (double)tn_f16_to_f32(*(const uint16_t *)data);
    return dtype == TERN_INT32 ? (double)*(const int32_t *)data : (double)*(const uint8_t *)data;
}

static void test_shapes_are_inferred_and_values_right(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(good); i++) {
        tern_error err = {0};
        tern_value_info info;
        tern_tensor *y = NULL;
        if (run(&good[i].s, &info, &y, &err) != TERN_OK) fail_msg("%s: %s", good[i].s.op, err.text);
        const char *op = good[i].s.op;
        if (info.dtype != good[i].dtype || info.rank != good[i].rank) fail_msg("%s: type or rank %d", op, info.rank);
        for (int d = 0; d < info.rank; d++)
            if (info.dims[d] != good[i].dims[d]) fail_msg("%s: dim %d is %lld", op, d, (long long)info.dims[d]);
        double have = element(y, good[i].dtype);
        if (!(fabs(have - good[i].first) <= 1e-3 * fabs(good[i].first) + 1e-3)) fail_msg("%s: %g", op, have);
        tern_tensor_free(y);
    }
}

/* What is built is what is saved: the operators as they were added, none of tern's own. */
static void test_models_keep_the_operators(void **state) {
    (void)state;
    static const spec s = {"Attention", "f[1,2,4] f[4,12] f[12] i[1,2]", "num_heads=2", "", 0};
    char path[] = "/tmp/tern-test-ms-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    built b;
    tern_error err;
    tern_model *m, *read;
    build(&b, &s);
    assert_int_equal(tern_graph_finish(b.graph, &m, &err), TERN_OK);
    assert_int_equal(tern_model_save(m, path, &err), TERN_OK);
    assert_int_equal(tern_model_load(&read, path, NULL, &err), TERN_OK);
    unlink(path);
    assert_int_equal(read->graph->n_nodes, 1);
    assert_string_equal(read->graph->nodes[0]->op_type, "Attention");
    assert_string_equal(read->graph->nodes[0]->domain, "com.microsoft");
    tern_session *session;
    assert_int_equal(tern_session_create(&session, read, NULL, &err), TERN_OK);
    tern_session_free(session);
    tern_model_free(read);
    tern_model_free(m);
    release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_keep_the_operators),
        cmocka_unit_test(test_bad_input_is_refused),
        cmocka_unit_test(test_shapes_are_inferred_and_values_right),
    };
    return cmocka_run_group_tests_name("ONNX Runtime's operators", tests, NULL, NULL);
}
