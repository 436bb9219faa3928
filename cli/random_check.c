#include "cli/random_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/compare.h"
#include "runtime/runtime.h"

enum { DRAWS = 2000 };
#define SIGMAS 6.0

/* ---- which outputs --------------------------------------------------------------------------------------------- */

static bool random_node(const tn_node *n);

static bool random_graph(const tn_graph *g) {
    for (int i = 0; i < g->n_nodes; i++)
        if (random_node(g->nodes[i])) return true;
    return false;
}

static bool random_node(const tn_node *n) {
    const tn_op_row *row = tn_op_find(n->domain, n->op_type, n->opset);
    if ((row ? row->op : n->op) && ((row ? row->op : n->op)->flags & TN_OP_RANDOM)) return true;
    for (int i = 0; i < n->n_attrs; i++) {
        const tn_attr *a = &n->attrs[i];
        if (a->type == TN_ATTR_GRAPH && random_graph(a->g)) return true;
        for (size_t k = 0; a->type == TN_ATTR_GRAPHS && k < a->count; k++)
            if (random_graph(a->graphs[k])) return true;
    }
    return false;
}

bool cli_output_is_random(const tern_session *session, const char *name) {
    const tn_graph *g = session->model->graph;
    bool *random = cli_must(calloc((size_t)g->n_values + 1, sizeof *random)), result = false;
    for (int i = 0; i < g->n_nodes; i++) { /* in order: inputs are known */
        const tn_node *n = g->nodes[i];
        bool any = random_node(n);
        for (int k = 0; k < n->n_in; k++) any |= n->in[k] && random[n->in[k]->id];
        for (int k = 0; k < n->n_captures; k++) any |= random[n->captures[k]->id];
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k]) random[n->out[k]->id] = any;
    }
    for (int i = 0; i < g->n_outputs; i++)
        if (strcmp(g->outputs[i]->name, name) == 0) result = random[g->outputs[i]->id];
    free(random);
    return result;
}

/* ---- draws ----------------------------------------------------------------------------------------------------- */

static void drop_seeds(tn_graph *g) {
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        bool random = random_node(n);
        for (int k = 0; k < n->n_attrs; k++) {
            tn_attr *a = &n->attrs[k];
            if (a->type == TN_ATTR_GRAPH) drop_seeds(a->g);
            for (size_t j = 0; a->type == TN_ATTR_GRAPHS && j < a->count; j++) drop_seeds(a->graphs[j]);
            if (random && strcmp(a->name, "seed") == 0) *a = n->attrs[--n->n_attrs];
        }
    }
}

/* Moments of one element; m2 to m4 are sums of powers of the distance from the mean. */
typedef struct moments {
    double count, mean, m2, m3, m4, min, max;
} moments;

/* One more value: the update of T. Terriberry, "Computing higher-order moments online". */
static void add_value(moments *s, double x) {
    if (s->count == 0 || x < s->min) s->min = x;
    if (s->count == 0 || x > s->max) s->max = x;
    double n = ++s->count, delta = x - s->mean, dn = delta / n, term = delta * dn * (n - 1);
    s->mean += dn;
    s->m4 += term * dn * dn * (n * n - 3 * n + 3) + 6 * dn * dn * s->m2 - 4 * dn * s->m3;
    s->m3 += term * dn * (n - 2) - 3 * dn * s->m2;
    s->m2 += term;
}

static bool same_type(const tern_tensor *got, const tern_tensor *want, char *why, size_t size) {
    char text[300];
    /* Values do not matter with infinite tolerance; kinds, types and shapes do. */
    if (cli_compare(got, want, 0, INFINITY, text, sizeof text)) return true;
    snprintf(why, size, "%s", text);
    return false;
}

static bool draw(const cli_random_check *c, tern_session *s, moments *m, char *why, size_t size) {
    for (int k = 0; k < DRAWS; k++) {
        tern_tensor *y = NULL;
        tern_error err;
        if (tern_session_run(s, c->feeds, c->n_feeds, &c->output, &y, 1, &err) != TERN_OK) {
            snprintf(why, size, "%s", err.text);
            return false;
        }
        bool good = same_type(y, c->want, why, size);
        for (int64_t i = 0; good && i < tern_tensor_count(y); i++) add_value(&m[i], cli_element(y, i));
        tern_tensor_free(y);
        if (!good) return false;
    }
    return true;
}

/* ---- judgement ------------------------------------------------------------------------------------------------- */

static bool near(double sum, double variance, const char *what, char *why, size_t size) {
    double z = variance > 0 ? sum / sqrt(variance) : sum == 0 ? 0 : INFINITY;
    if (fabs(z) <= SIGMAS) return true;
    snprintf(why, size, "random: the expected %s is %.3g standard deviations from that of %d draws", what, z, DRAWS);
    return false;
}

static bool plausible(const tern_tensor *want, const moments *m, char *why, size_t size) {
    double sum = 0, variance = 0, squares = 0, squares_variance = 0;
    for (int64_t i = 0; i < tern_tensor_count(want); i++) {
        double x = cli_element(want, i), v = m[i].m2 / DRAWS, d = x - m[i].mean, slack = (m[i].max - m[i].min) / 2;
        if (!(x >= m[i].min - slack && x <= m[i].max + slack)) {
            snprintf(why, size, "random: element %" PRId64 " is expected to be %g; %d draws lie in [%g, %g]", i, x,
                     DRAWS, m[i].min, m[i].max);
            return false;
        }
        sum += d;
        variance += v;
        squares += d * d - v;
        squares_variance += m[i].m4 / DRAWS - v * v;
    }
    return near(sum, variance, "sum", why, size) && near(squares, squares_variance, "spread", why, size);
}

bool cli_check_random(const cli_random_check *c, char *why, size_t size) {
    if (tern_tensor_kind(c->want) != TERN_KIND_TENSOR || tern_tensor_dtype(c->want) == TERN_STRING) {
        snprintf(why, size, "random, but not a tensor of numbers");
        return false;
    }
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_error err;
    tern_options options = *c->options;
    options.seed = 1;
    moments *m = cli_must(calloc((size_t)tern_tensor_count(c->want) + 1, sizeof *m));
    bool good = tern_model_load(&model, c->path, NULL, &err) == TERN_OK;
    if (good) drop_seeds(model->graph);
    good = good && tern_session_create(&session, model, &options, &err) == TERN_OK;
    if (!good)
        snprintf(why, size, "%s", err.text);
    else
        good = draw(c, session, m, why, size) && plausible(c->want, m, why, size);
    tern_session_free(session);
    tern_model_free(model);
    free(m);
    return good;
}
