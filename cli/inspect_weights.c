/* tern inspect --weights: what the constants of a model hold. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/base.h"
#include "cli/compare.h"
#include "cli/inspect.h"
#include "cli/json.h"

typedef struct weight_stats {
    double min, max, mean, deviation;
    int64_t count, zeros, not_finite;
} weight_stats;

static weight_stats measure(const tern_tensor *t) {
    weight_stats s = {.min = INFINITY, .max = -INFINITY, .count = tern_tensor_count(t)};
    double m2 = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < s.count; i++) { /* Welford: one pass, no cancellation */
        double x = cli_element(t, i);
        if (!isfinite(x)) {
            s.not_finite++;
            continue;
        }
        s.min = fmin(s.min, x);
        s.max = fmax(s.max, x);
        s.zeros += x == 0;
        double delta = x - s.mean;
        s.mean += delta / (double)++n;
        m2 += delta * (x - s.mean);
    }
    s.deviation = n ? sqrt(m2 / (double)n) : 0;
    return s;
}

static void print_one(const char *name, const tern_tensor *t, const weight_stats *s) {
    char shape[TN_SHAPE_TEXT], bad[60] = "";
    if (s->not_finite) snprintf(bad, sizeof bad, "  %" PRId64 " NaN or infinite", s->not_finite);
    printf("%-10s %-18s %11.4g %11.4g %11.4g %11.4g %6.1f%%  ", tern_dtype_name(t->dtype),
           t->shape.rank ? tn_shape_text(&t->shape, shape, sizeof shape) : "scalar", s->count ? s->min : 0,
           s->count ? s->max : 0, s->mean, s->deviation, s->count ? 100.0 * (double)s->zeros / (double)s->count : 0);
    cli_print_name(name);
    printf("%s\n", bad);
}

static void json_one(cJSON *list, const char *name, const tern_tensor *t, const weight_stats *s) {
    cJSON *o = cli_json_object(list, NULL);
    cli_json_string(o, "name", name);
    cli_json_string(o, "dtype", tern_dtype_name(t->dtype));
    cJSON *shape = cli_json_array(o, "shape");
    for (int i = 0; i < t->shape.rank; i++) cli_json_int(shape, NULL, t->shape.dims[i]);
    cli_json_double(o, "min", s->min);
    cli_json_double(o, "max", s->max);
    cli_json_double(o, "mean", s->mean);
    cli_json_double(o, "std", s->deviation);
    cli_json_int(o, "zeros", s->zeros);
    cli_json_int(o, "not_finite", s->not_finite);
}

static void report_tensor(cJSON *list, const char *name, const tern_tensor *t) {
    if (!t || t->kind != TERN_KIND_TENSOR || t->dtype == TERN_STRING) return;
    weight_stats s = measure(t);
    if (list)
        json_one(list, name, t, &s);
    else
        print_one(name, t, &s);
}

static void report_graph(cJSON *list, const tn_graph *g) {
    for (int i = 0; i < g->n_values; i++) report_tensor(list, g->values[i]->name, g->values[i]->constant);
    for (int i = 0; i < g->n_nodes; i++) {
        const tn_node *n = g->nodes[i];
        for (int a = 0; a < n->n_attrs; a++) {
            const tn_attr *at = &n->attrs[a];
            if (at->type == TN_ATTR_TENSOR) report_tensor(list, n->out[0] ? n->out[0]->name : n->name, at->t);
            if (at->type == TN_ATTR_GRAPH) report_graph(list, at->g);
            for (size_t k = 0; at->type == TN_ATTR_GRAPHS && k < at->count; k++) report_graph(list, at->graphs[k]);
        }
    }
}

void cli_inspect_weights(const tern_model *m, bool json) {
    cJSON *root = json ? cli_json_object(NULL, NULL) : NULL;
    if (!root)
        printf("%-10s %-18s %11s %11s %11s %11s %7s  %s\n", "type", "shape", "min", "max", "mean", "std", "zeros",
               "name");
    report_graph(root ? cli_json_array(root, "weights") : NULL, m->graph);
    if (root) cli_json_print(root);
}
