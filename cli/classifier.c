#include "cli/classifier.h"

#include <math.h>

#include "base/base.h"
#include "cli/embedded.h"
#include "cli/options.h"

#define IMAGENET_CLASSES 1000

void cli_classifier_defaults(cli_classifier_args *args) {
    args->fit = args->filter = -1;
    args->scale = NAN;
    args->batch = 8;
}

static int copy_reals(const cli_command *command, const char *name, const cli_reals *from, double *values, int *count) {
    if (from->count > TERN_MAX_CHANNELS) {
        return cli_usage_error(command, "--%s wants at most %d numbers, not %zu", name, TERN_MAX_CHANNELS, from->count);
    }
    memcpy(values, from->values, from->count * sizeof *values);
    *count = (int)from->count;
    return CLI_OK;
}

/* What the flags say. */
static int from_flags(const cli_command *command, const cli_classifier_args *a, tern_preprocess *p) {
    *p = (tern_preprocess){0};
    if (a->size) {
        if (strcmp(a->size, "none") != 0 && !cli_parse_size(a->size, &p->width, &p->height)) {
            return cli_usage_error(command, "--size wants WxH, 224x224 for one, or none, not '%s'", a->size);
        }
        p->set |= TERN_PRE_SIZE;
    }
    if (a->fit >= 0) {
        p->fit = (tern_fit)a->fit;
        p->set |= TERN_PRE_FIT;
    }
    if (a->filter >= 0) {
        p->filter = (tern_filter)a->filter;
        p->set |= TERN_PRE_FILTER;
    }
    if (a->resize > 0) {
        p->resize = (int)a->resize;
        p->set |= TERN_PRE_RESIZE;
    }
    if (!isnan(a->scale)) {
        p->scale = a->scale;
        p->set |= TERN_PRE_SCALE;
    }
    if (a->mean.count) p->set |= TERN_PRE_MEAN;
    if (a->std.count) p->set |= TERN_PRE_STD;
    for (size_t i = 0; i < a->std.count; i++) {
        if (a->std.values[i] == 0) return cli_usage_error(command, "--std can not be 0");
    }
    if (a->bgr) {
        p->channels = TERN_CHANNELS_BGR;
        p->set |= TERN_PRE_CHANNELS;
    }
    if (a->nhwc) {
        p->layout = TERN_LAYOUT_NHWC;
        p->set |= TERN_PRE_LAYOUT;
    }
    int code = copy_reals(command, "mean", &a->mean, p->mean, &p->n_mean);
    return code != CLI_OK ? code : copy_reals(command, "std", &a->std, p->std, &p->n_std);
}

static tern_status add_sources(tern_preprocess *p, const cli_classifier_args *a, const char *path,
                               const tern_model *model, tern_error *err) {
    tern_preprocess more = {0};
    if (a->preprocess && strcmp(a->preprocess, "none") == 0) return TERN_OK;
    if (a->preprocess) {
        TN_TRY(tern_preprocess_load(&more, a->preprocess, err));
        tern_preprocess_merge(p, &more);
        return TERN_OK;
    }
    if (path) {
        TN_TRY(tern_preprocess_beside(&more, path, err));
        tern_preprocess_merge(p, &more);
    }
    TN_TRY(tern_preprocess_metadata(&more, model, err));
    tern_preprocess_merge(p, &more);
    return TERN_OK;
}

static tern_status load_model(tern_model **out, const char *path, tern_error *err) {
    if (path) return tern_model_load(out, path, NULL, err);
    if (tern_embedded_fashion_size == 0) {
        return tn_fail(err, TERN_NOT_FOUND, "this build has no default model: models/fashion.onnx was not there");
    }
    return tern_model_load_memory(out, tern_embedded_fashion, tern_embedded_fashion_size, NULL, NULL, err);
}

/* The number of classes, where the model states it. */
static void guess_labels(cli_classifier *c) {
    for (int i = 0; i < tern_model_output_count(c->model); i++) {
        tern_value_info info;
        if (tern_model_output(c->model, i, &info, NULL) != TERN_OK || strcmp(info.name, c->classifier.output) != 0)
            continue;
        int64_t widest = 0;
        for (int k = 1; k < info.rank; k++) widest = TN_MAX(widest, info.dims[k]);
        cli_classifier_choose_labels(c, (size_t)widest);
    }
}

static tern_status set_up(cli_classifier *out, const cli_classifier_args *args, const char *path, tern_preprocess *p,
                          tern_error *err) {
    TN_TRY(load_model(&out->model, path, err));
    TN_TRY(add_sources(p, args, path, out->model, err));
    TN_TRY(args->labels ? tern_labels_load(&out->labels, args->labels, err)
                        : tern_labels_metadata(&out->labels, out->model, err));
    tern_options options = cli_session_options(&args->common);
    TN_TRY(tern_session_create(&out->session, out->model, &options, err));
    tern_status status = tern_classifier_init(&out->classifier, out->model, out->session, p, args->output, err);
    if (status == TERN_OK) guess_labels(out);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path ? path : "the default model");
    return status;
}

int cli_classifier_init(cli_classifier *out, const cli_command *command, const cli_classifier_args *args,
                        const char *path) {
    *out = (cli_classifier){0};
    tern_preprocess p;
    int code = from_flags(command, args, &p);
    if (code != CLI_OK) return code;
    tern_error err;
    tern_status status = set_up(out, args, strcmp(path, "default") == 0 ? NULL : path, &p, &err);
    return status == TERN_OK ? CLI_OK : cli_fail(&err);
}

void cli_classifier_release(cli_classifier *c) {
    tern_labels_release(&c->labels);
    tern_session_free(c->session);
    tern_model_free(c->model);
    *c = (cli_classifier){0};
}

void cli_classifier_choose_labels(cli_classifier *c, size_t classes) {
    if (c->labels.count > 0 || classes != IMAGENET_CLASSES) return;
    tern_error err;
    if (tern_labels_parse(&c->labels, tern_embedded_imagenet, tern_embedded_imagenet_size, &err) != TERN_OK)
        cli_fail(&err);
}
