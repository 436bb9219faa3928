#include "vision/classify/classify.h"

#include <math.h>

/* ---- scores ------------------------------------------------------------------------------------------------ */

void tern_softmax(float *scores, size_t count) {
    float most = -INFINITY;
    for (size_t i = 0; i < count; i++) most = TN_MAX(most, scores[i]);
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += exp((double)scores[i] - (double)most);
    for (size_t i = 0; i < count; i++) scores[i] = (float)(exp((double)scores[i] - (double)most) / sum);
}

static bool better(float a, float b) { return a > b || (isnan(b) && !isnan(a)); }

size_t tern_top_k(const float *scores, size_t count, tern_score *best, size_t k) {
    size_t have = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = have;
        while (at > 0 && better(scores[i], best[at - 1].score)) at--;
        if (at >= k) continue;
        if (have < k) have++;
        memmove(best + at + 1, best + at, (have - 1 - at) * sizeof *best);
        best[at] = (tern_score){i, scores[i]};
    }
    return have;
}

/* ---- classifier -------------------------------------------------------------------------------------------- */

static tern_status find_output(tern_classifier *c, const tern_model *model, const char *name, tern_error *err) {
    int count = tern_model_output_count(model);
    for (int i = 0; i < count; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(model, i, &info, err));
        if (name && strcmp(name, info.name) != 0) continue;
        c->output = info.name;
        return TERN_OK;
    }
    if (name) return tn_fail(err, TERN_NOT_FOUND, "the model has no output '%s'", name);
    return tn_fail(err, TERN_UNSUPPORTED, "the model has no output");
}

tern_status tern_classifier_init(tern_classifier *out, const tern_model *model, tern_session *session,
                                 const tern_preprocess *preprocess, const char *output, tern_error *err) {
    *out = (tern_classifier){.session = session, .preprocess = *preprocess};
    int inputs = tern_model_input_count(model);
    if (inputs != 1) return tn_fail(err, TERN_UNSUPPORTED, "a classifier has one input; this model has %d", inputs);
    TN_TRY(tern_model_input(model, 0, &out->input, err));
    TN_TRY(find_output(out, model, output, err));
    TN_TRY(tern_preprocess_resolve(&out->preprocess, &out->input, err));
    out->fixed_batch = out->input.dims[0];
    if (out->fixed_batch == 0 || out->fixed_batch > 65536) {
        return tn_fail(err, TERN_UNSUPPORTED, "input '%s' wants %lld pictures at a time", out->input.name,
                       (long long)out->fixed_batch);
    }
    return TERN_OK;
}

int tern_classifier_batch(const tern_classifier *c, int want) {
    if (c->fixed_batch > 0) return (int)c->fixed_batch;
    return c->preprocess.width == 0 ? 1 : TN_MAX(want, 1);
}

tern_status tern_classifier_input(const tern_classifier *c, const tern_image *images, int count, tern_tensor **out,
                                  tern_error *err) {
    const tern_preprocess *p = &c->preprocess;
    int width = p->width ? p->width : images[0].width, height = p->height ? p->height : images[0].height;
    int64_t batch = c->fixed_batch > 0 ? c->fixed_batch : count;
    int64_t channels = tern_preprocess_channels(p);
    int64_t dims[4] = {batch, channels, height, width};
    if (p->layout == TERN_LAYOUT_NHWC) {
        dims[1] = height;
        dims[2] = width;
        dims[3] = channels;
    }
    TN_TRY(tern_tensor_create(out, c->input.dtype, 4, dims, err));
    size_t stride = tern_tensor_bytes(*out) / (size_t)batch;
    for (int i = 0; i < count; i++) {
        char *dst = (char *)tern_tensor_data(*out) + stride * (size_t)i;
        tern_status status = tern_preprocess_image(p, &images[i], width, height, c->input.dtype, dst, err);
        if (status != TERN_OK) {
            tern_tensor_free(*out);
            *out = NULL;
            return status;
        }
    }
    return TERN_OK;
}

static float score_at(const tern_tensor *t, size_t i) {
    const void *data = tern_tensor_const_data(t);
    switch (tern_tensor_dtype(t)) {
    case TERN_FLOAT:
        return ((const float *)data)[i];
    case TERN_DOUBLE:
        return (float)((const double *)data)[i];
    case TERN_FLOAT16:
        return tn_f16_to_f32(((const uint16_t *)data)[i]);
    case TERN_BFLOAT16:
        return tn_bf16_to_f32(((const uint16_t *)data)[i]);
    case TERN_UINT8:
        return (float)((const uint8_t *)data)[i];
    case TERN_INT8:
        return (float)((const int8_t *)data)[i];
    case TERN_INT32:
        return (float)((const int32_t *)data)[i];
    default:
        return (float)((const int64_t *)data)[i];
    }
}

static bool is_score_type(tern_dtype t) {
    return t == TERN_FLOAT || t == TERN_DOUBLE || t == TERN_FLOAT16 || t == TERN_BFLOAT16 || t == TERN_UINT8 ||
           t == TERN_INT8 || t == TERN_INT32 || t == TERN_INT64;
}

/* Whatever the rank, classes = elements / batch: (batch, classes), or with dims of 1 after or between. */
tern_status tern_classifier_scores(const tern_classifier *c, const tern_tensor *t, int count, float **scores,
                                   size_t *classes, tern_error *err) {
    int64_t batch = c->fixed_batch > 0 ? c->fixed_batch : count;
    *scores = NULL;
    *classes = 0;
    if (tern_tensor_kind(t) != TERN_KIND_TENSOR || !is_score_type(tern_tensor_dtype(t))) {
        return tn_fail(err, TERN_UNSUPPORTED, "output '%s' is no tensor of scores", c->output);
    }
    int64_t elements = tern_tensor_count(t);
    int rank = tern_tensor_rank(t);
    int64_t first = rank > 0 ? tern_tensor_dims(t)[0] : 0, widest = 0;
    for (int i = 1; i < rank; i++) widest = TN_MAX(widest, tern_tensor_dims(t)[i]);
    if (elements == 0 || first != batch || elements != batch * widest) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' has rank %d and %lld elements, not %lld scores per class",
                       c->output, rank, (long long)elements, (long long)batch);
    }
    *classes = (size_t)widest;
    size_t n = (size_t)widest * (size_t)count;
    *scores = tn_alloc_array(n, sizeof **scores);
    if (!*scores) return tn_fail_oom(err, n * sizeof **scores);
    for (size_t i = 0; i < n; i++) (*scores)[i] = score_at(t, i);
    return TERN_OK;
}

tern_status tern_classifier_run(const tern_classifier *c, const tern_image *images, int count, float **scores,
                                size_t *classes, tern_error *err) {
    *scores = NULL;
    *classes = 0;
    tern_tensor *input = NULL, *output = NULL;
    TN_TRY(tern_classifier_input(c, images, count, &input, err));
    tern_feed feed = {c->input.name, input};
    tern_status status = tern_session_run(c->session, &feed, 1, &c->output, &output, 1, err);
    if (status == TERN_OK) status = tern_classifier_scores(c, output, count, scores, classes, err);
    tern_tensor_free(output);
    tern_tensor_free(input);
    return status;
}
