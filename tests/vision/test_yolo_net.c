/* A small network, Focus - Conv - Detect, from a state dict and its description: the model's outputs against a naive
 * forward pass of the modules as PyTorch would run them, for each kind of conversion. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "tern/tern.h"
#include "vision/yolo/yolo.h"

enum { C1 = 4, C2 = 6, NC = 2, NA = 2, NO = 5 + NC, SIZE = 16, OUT = SIZE / 4 };

typedef struct net {
    float focus[C1][12][3][3], conv[C2][C1][3][3], head[NA * NO][C2], head_bias[NA * NO];
    float bn1[4][C1], bn2[4][C2]; /* weight, bias, mean, variance */
    float anchors[NA][2], x[3][SIZE][SIZE];
    double raw[NA * NO][OUT][OUT];
    char folder[32], ckpt[64], yaml[64];
} net;

/* -1 to 1, the same on every machine. */
static float next_value(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return (float)((int32_t)*seed >> 8) / 8388608.0f;
}

static void fill(float *v, size_t n, float scale, float shift, uint32_t *seed) {
    for (size_t i = 0; i < n; i++) v[i] = next_value(seed) * scale + shift;
}

/* ---- the naive network ----------------------------------------------------------------------------------------- */

static double active(double v, const float bn[], int channels, int c, bool act) {
    double y = (v - bn[2 * channels + c]) / sqrt(bn[3 * channels + c] + 1e-3) * bn[c] + bn[channels + c];
    return act ? y / (1 + exp(-y)) : y;
}

static void forward(net *n) {
    enum { H = SIZE / 2 };
    static double sliced[12][H][H], a[C1][H][H], b[C2][OUT][OUT];
    for (int g = 0; g < 4; g++) {
        for (int c = 0; c < 3; c++) {
            for (int y = 0; y < H; y++) {
                for (int x = 0; x < H; x++) sliced[g * 3 + c][y][x] = n->x[c][2 * y + g % 2][2 * x + g / 2];
            }
        }
    }
    for (int o = 0; o < C1; o++) {
        for (int y = 0; y < H; y++) {
            for (int x = 0; x < H; x++) {
                double sum = 0;
                for (int i = 0; i < 12 * 9; i++) {
                    int c = i / 9, ky = i / 3 % 3, kx = i % 3, yy = y + ky - 1, xx = x + kx - 1;
                    if (yy >= 0 && yy < H && xx >= 0 && xx < H) sum += n->focus[o][c][ky][kx] * sliced[c][yy][xx];
                }
                a[o][y][x] = active(sum, n->bn1[0], C1, o, true);
            }
        }
    }
    for (int o = 0; o < C2; o++) {
        for (int y = 0; y < OUT; y++) {
            for (int x = 0; x < OUT; x++) {
                double sum = 0;
                for (int i = 0; i < C1 * 9; i++) {
                    int c = i / 9, ky = i / 3 % 3, kx = i % 3, yy = 2 * y + ky - 1, xx = 2 * x + kx - 1;
                    if (yy >= 0 && yy < H && xx >= 0 && xx < H) sum += n->conv[o][c][ky][kx] * a[c][yy][xx];
                }
                b[o][y][x] = active(sum, n->bn2[0], C2, o, true);
            }
        }
    }
    for (int o = 0; o < NA * NO; o++) {
        for (int i = 0; i < OUT * OUT; i++) {
            double sum = n->head_bias[o];
            for (int c = 0; c < C2; c++) sum += n->head[o][c] * b[c][i / OUT][i % OUT];
            n->raw[o][i / OUT][i % OUT] = sum;
        }
    }
}

/* ---- its files ------------------------------------------------------------------------------------------------- */

typedef struct writer {
    tn_text header, data;
} writer;

static void put(writer *w, const char *name, const char *shape, const float *values, size_t n) {
    size_t from = w->data.len;
    tn_text_add_str(&w->data, (const char *)values, n * sizeof *values);
    tn_text_add(&w->header, "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
                w->header.len ? ", " : "{", name, shape, from, w->data.len);
}

static void put_norm(writer *w, const char *prefix, const float *bn, int channels) {
    static const char *const names[] = {"weight", "bias", "running_mean", "running_var"};
    for (int i = 0; i < 4; i++) {
        char name[64], shape[16];
        snprintf(name, sizeof name, "%s.%s", prefix, names[i]);
        snprintf(shape, sizeof shape, "%d", channels);
        put(w, name, shape, bn + i * channels, (size_t)channels);
    }
}

static void write_file(const char *path, const void *data, size_t size) {
    assert_int_equal(tn_file_write(path, data, size, NULL), TERN_OK);
}

static void write_checkpoint(net *n) {
    writer w;
    tn_text_init(&w.header);
    tn_text_init(&w.data);
    put(&w, "model.0.conv.conv.weight", "4, 12, 3, 3", n->focus[0][0][0], C1 * 12 * 9);
    put_norm(&w, "model.0.conv.bn", n->bn1[0], C1);
    put(&w, "model.1.conv.weight", "6, 4, 3, 3", n->conv[0][0][0], C2 * C1 * 9);
    put_norm(&w, "model.1.bn", n->bn2[0], C2);
    put(&w, "model.2.anchors", "1, 2, 2", n->anchors[0], NA * 2);
    put(&w, "model.2.m.0.weight", "14, 6, 1, 1", n->head[0], NA * NO * C2);
    put(&w, "model.2.m.0.bias", "14", n->head_bias, NA * NO);
    tn_text_add(&w.header, "}");
    tn_text file;
    tn_text_init(&file);
    uint64_t len = w.header.len;
    tn_text_add_str(&file, (const char *)&len, 8);
    tn_text_add_str(&file, w.header.data, w.header.len);
    tn_text_add_str(&file, w.data.data, w.data.len);
    assert_false(file.failed);
    write_file(n->ckpt, file.data, file.len);
    tn_text_release(&file);
    tn_text_release(&w.header);
    tn_text_release(&w.data);
}

static int setup(void **state) {
    net *n = calloc(1, sizeof *n);
    uint32_t seed = 1;
    static const char pattern[] = "/tmp/tern_yolo_XXXXXX";
    memcpy(n->folder, pattern, sizeof pattern);
    if (!mkdtemp(n->folder)) return -1;
    snprintf(n->ckpt, sizeof n->ckpt, "%s/net.safetensors", n->folder);
    snprintf(n->yaml, sizeof n->yaml, "%s/net.yaml", n->folder);
    fill(n->focus[0][0][0], C1 * 12 * 9, 0.2f, 0, &seed);
    fill(n->conv[0][0][0], C2 * C1 * 9, 0.3f, 0, &seed);
    fill(n->head[0], NA * NO * C2, 1, 0, &seed);
    fill(n->head_bias, NA * NO, 0.5f, 0, &seed);
    for (int i = 0; i < 4; i++) {
        fill(n->bn1[i], C1, 0.4f, i % 3 ? 0 : 1, &seed); // weights and variances around 1
        fill(n->bn2[i], C2, 0.4f, i % 3 ? 0 : 1, &seed);
    }
    fill(n->anchors[0], NA * 2, 1, 3, &seed);
    fill(n->x[0][0], 3 * SIZE * SIZE, 0.5f, 0.5f, &seed);
    forward(n);
    write_checkpoint(n);
    static const char yaml[] = "nc: 2\nbackbone:\n  [[-1, 1, Focus, [64, 3]],\n   [-1, 1, Conv, [128, 3, 2]]]\n"
                               "head:\n  [[[1], 1, Detect, [nc, anchors]]]\n";
    write_file(n->yaml, yaml, sizeof yaml - 1);
    *state = n;
    return 0;
}

static int teardown(void **state) {
    net *n = *state;
    unlink(n->ckpt);
    unlink(n->yaml);
    rmdir(n->folder);
    free(n);
    return 0;
}

/* ---- tests ----------------------------------------------------------------------------------------------------- */

static tv_yolo_options options_of(const net *n) {
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    o.width = o.height = SIZE;
    o.arch = n->yaml;
    return o;
}

/* Builds without libyaml can not read the description. */
static bool load(const net *n, const tv_yolo_options *o, tern_model **m) {
    tern_error err;
    if (tv_yolo_load(m, n->ckpt, o, &err) == TERN_OK) return true;
    if (err.status == TERN_UNSUPPORTED && strstr(err.text, "no YAML")) return false;
    fail_msg("%s", err.text);
    return false;
}

static tern_tensor *run(net *n, tern_model *m, const char *name) {
    tern_error err;
    tern_session *s;
    tern_tensor *x, *y = NULL;
    if (tern_session_create(&s, m, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(tern_tensor_borrow(&x, TERN_FLOAT, 4, (int64_t[]){1, 3, SIZE, SIZE}, n->x, sizeof n->x, &err), 0);
    if (tern_session_run(s, &(tern_feed){"images", x}, 1, &name, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_tensor_free(x);
    tern_session_free(s);
    return y;
}

/* Sums of at most 108 products of values around one, three layers of them: some hundred rounding errors of 2^-24. */
#define TOLERANCE (300.0 / (1 << 24))

static void check_raw(net *n, const tv_yolo_options *o, double tolerance) {
    tern_model *m;
    if (!load(n, o, &m)) skip();
    tern_tensor *y = run(n, m, "out0");
    assert_int_equal(tern_tensor_count(y), NA * NO * OUT * OUT);
    const float *got = tern_tensor_const_data(y);
    const double *want = n->raw[0][0];
    for (int i = 0; i < NA * NO * OUT * OUT; i++) {
        if (!(fabs(got[i] - want[i]) <= tolerance)) fail_msg("element %d: %g, expected %g", i, got[i], want[i]);
    }
    tern_tensor_free(y);
    tern_model_free(m);
}

static void test_raw(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    for (o.opset = 9; o.opset <= 28; o.opset++) check_raw(n, &o, TOLERANCE);
}

static void test_without_folding(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    o.fuse = false;
    check_raw(n, &o, TOLERANCE);
}

static void test_free_sizes(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    o.dynamic = true;
    o.width = o.height = 0;
    check_raw(n, &o, TOLERANCE);
}

/* Weights have an error of 2^-11; sums of up to 108 of them, through three layers. */
static void test_half_precision(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    o.fp16 = true;
    check_raw(n, &o, 20.0 / (1 << 11));
}

static double sigmoid(double v) { return 1 / (1 + exp(-v)); }

static void check_decoded(net *n, const tv_yolo_options *o) {
    tern_model *m;
    if (!load(n, o, &m)) skip();
    tern_tensor *y = run(n, m, "output0");
    const float *got = tern_tensor_const_data(y);
    assert_int_equal(tern_tensor_count(y), NA * OUT * OUT * NO);
    for (int i = 0; i < NA * OUT * OUT * NO; i++) {
        int k = i % NO, x = i / NO % OUT, row = i / NO / OUT % OUT, a = i / NO / OUT / OUT;
        double s = sigmoid(n->raw[a * NO + k][row][x]), want = s;
        if (k < 2) want = (2 * s - 0.5 + (k ? row : x)) * 4;
        if (k == 2 || k == 3) want = 4 * s * s * n->anchors[a][k - 2] * 4;
        if (!(fabs(got[i] - want) <= 64 * TOLERANCE)) fail_msg("element %d: %g, expected %g", i, got[i], want);
    }
    tern_tensor_free(y);
    tern_model_free(m);
}

static void test_decoded(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    o.head = TV_YOLO_DECODED;
    check_decoded(n, &o);
    o.opset = 9;
    check_decoded(n, &o);
    o.opset = 20;
    o.dynamic = true;
    check_decoded(n, &o);
}

/* Greedy suppression over the decoded rows: what the graph must select. */
static void test_suppression(void **state) {
    net *n = *state;
    enum { ROWS = NA * OUT * OUT };
    tv_yolo_options o = options_of(n);
    tern_model *m;
    o.head = TV_YOLO_DECODED;
    if (!load(n, &o, &m)) skip();
    tern_tensor *all = run(n, m, "output0");
    tern_model_free(m);
    const float *rows = tern_tensor_const_data(all);
    o.head = TV_YOLO_NMS;
    o.conf = 0.1;
    assert_true(load(n, &o, &m));
    tern_tensor *scores = run(n, m, "scores"), *boxes = run(n, m, "boxes"), *classes = run(n, m, "classes");
    double last = INFINITY;
    bool gone[ROWS] = {false};
    int64_t kept = 0;
    for (;;) {
        int best = -1, label = 0;
        double score = 0;
        for (int i = 0; i < ROWS; i++) {
            for (int c = 0; c < NC; c++) {
                double s = (double)rows[i * NO + 4] * rows[i * NO + 5 + c];
                bool top = s >= (double)rows[i * NO + 4] * rows[i * NO + 6 - c];
                if (!gone[i] && top && s > score) best = i, score = s, label = c;
            }
        }
        if (best < 0 || score <= o.conf) break;
        assert_true(kept < tern_tensor_count(scores));
        const float *box = (const float *)tern_tensor_const_data(boxes) + 4 * kept, *r = rows + best * NO;
        assert_true(fabs(((const float *)tern_tensor_const_data(scores))[kept] - score) < 1e-6);
        assert_int_equal(((const int64_t *)tern_tensor_const_data(classes))[kept], label);
        for (int i = 0; i < 4; i++) assert_true(fabs(box[i] - (r[i % 2] + (i < 2 ? -0.5 : 0.5) * r[2 + i % 2])) < 1e-4);
        assert_true(score <= last);
        last = score;
        kept++;
        for (int i = 0; i < ROWS; i++) {
            const float *q = rows + i * NO;
            int other = q[6] > q[5];
            double w = fmin(r[0] + r[2] / 2, q[0] + q[2] / 2) - fmax(r[0] - r[2] / 2, q[0] - q[2] / 2);
            double h = fmin(r[1] + r[3] / 2, q[1] + q[3] / 2) - fmax(r[1] - r[3] / 2, q[1] - q[3] / 2);
            double both = w > 0 && h > 0 ? w * h : 0;
            if (other == label && both > o.iou * (r[2] * r[3] + q[2] * q[3] - both)) gone[i] = true;
        }
        gone[best] = true;
    }
    assert_true(kept > 1);
    assert_int_equal(kept, tern_tensor_count(scores));
    tern_tensor_free(scores);
    tern_tensor_free(boxes);
    tern_tensor_free(classes);
    tern_tensor_free(all);
    tern_model_free(m);
}

static void test_metadata(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    tern_model *m;
    if (!load(n, &o, &m)) skip();
    assert_string_equal(tern_model_metadata(m, "stride"), "4");
    const char *head = tern_model_metadata(m, "tern.yolo");
    assert_non_null(strstr(head, "\"task\": \"detect\", \"head\": \"raw\", \"classes\": 2, \"strides\": [4]"));
    assert_non_null(strstr(tern_model_metadata(m, "tern.preprocess"), "\"size\": [16, 16]"));
    assert_null(tern_model_metadata(m, "names")); // a state dict has none
    tern_model_free(m);
}

static void refuse(const net *n, const tv_yolo_options *o, const char *text) {
    tern_error err;
    tern_model *m;
    assert_int_not_equal(tv_yolo_load(&m, n->ckpt, o, &err), TERN_OK);
    assert_null(m);
    if (!strstr(err.text, text)) fail_msg("'%s' is not in: %s", text, err.text);
}

static void test_refusals(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    tern_model *m;
    if (!load(n, &o, &m)) skip();
    tern_model_free(m);
    o.opset = 8;
    refuse(n, &o, "opset 8");
    o = options_of(n);
    o.width = 15;
    refuse(n, &o, "layer 0 (Focus, model.0): maps of 15x16 pixels");
    o = options_of(n);
    o.head = TV_YOLO_NMS;
    o.opset = 9;
    refuse(n, &o, "opset 10");
    o = options_of(n);
    o.arch = "yolov5s@6.0";
    refuse(n, &o, "layer 0 (Conv): its tensors are not those");
    o.arch = "yolov5s@9.9";
    refuse(n, &o, "9.9");
    o.arch = "yolov5s";
    refuse(n, &o, "say which");
    o.arch = NULL;
    refuse(n, &o, "fits no official network");
}

/* Aliases make a list of lists that is far longer than the file: 4,000 times 15,000 arguments here. */
static void test_descriptions_are_bounded(void **state) {
    net *n = *state;
    tv_yolo_options o = options_of(n);
    tern_model *m;
    if (!load(n, &o, &m)) skip();
    tern_model_free(m);
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "head: []\nbackbone:\n- [-1, 1, Conv, &a [1");
    for (int i = 0; i < 15000; i++) tn_text_add(&text, ",1");
    tn_text_add(&text, "]]\n- [-1, 1, Conv, [1");
    for (int i = 0; i < 4000; i++) tn_text_add(&text, ",*a ");
    tn_text_add(&text, "]]\n");
    char path[48];
    snprintf(path, sizeof path, "%s/long.yaml", n->folder);
    write_file(path, text.data, text.len);
    o.arch = path;
    refuse(n, &o, "line 3: a shorter list of arguments");
    memset(text.data, '[', text.len); // libyaml's time grows with the square of the depth
    while (text.len <= 1 << 16) tn_text_add(&text, "[[[[[[[[[[");
    write_file(path, text.data, text.len);
    refuse(n, &o, "more than 65536 bytes");
    tn_text_release(&text);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_without_folding),
        cmocka_unit_test(test_free_sizes),
        cmocka_unit_test(test_decoded),
        cmocka_unit_test(test_half_precision),
        cmocka_unit_test(test_suppression),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_descriptions_are_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
