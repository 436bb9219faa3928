#include "cli/profile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json.h"

enum { MAX_EVENTS = 2000000 };

/* ---- gathering ------------------------------------------------------------------------------------------------- */

static void add_shape(tn_text *text, const tern_tensor *t, const char *before) {
    char shape[TN_SHAPE_TEXT];
    tn_text_add(text, "%s", before);
    if (!t)
        tn_text_add(text, "-");
    else if (t->kind != TERN_KIND_TENSOR)
        tn_text_add(text, "(%zu items)", t->n_items);
    else
        tn_text_add(text, "%s", t->shape.rank ? tn_shape_text(&t->shape, shape, sizeof shape) : "scalar");
}

static char *shapes_of(const tn_observation *o) {
    const tn_node *n = o->step->node;
    tn_text text;
    tn_text_init(&text);
    for (int i = 0; i < n->n_in; i++) add_shape(&text, n->in[i] ? o->values[n->in[i]->id] : NULL, i ? ", " : "");
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i]) add_shape(&text, o->values[n->out[i]->id], i ? ", " : " -> ");
    return cli_must(text.failed ? NULL : text.data);
}

/* A view moves nothing. */
static int64_t bytes_of(const tn_step *step) {
    return !step->dynamic && (step->node->op->flags & TN_OP_ALIAS) ? 0 : step->bytes;
}

static size_t find_row(cli_profile *p, const tn_observation *o) {
    const tn_node *node = o->step->node;
    /* Nodes live as long as the session's model: the address of the pointer within its graph is a key that stays. */
    tn_str key = {(const char *)&node->graph->nodes[node->id], sizeof(tn_node *)};
    size_t found = (size_t)(uintptr_t)tn_map_get(&p->index, key);
    if (found) return found - 1;
    if (!tn_grow(&p->rows, &p->cap_rows, p->n_rows + 1, sizeof *p->rows)) cli_must(NULL);
    p->rows[p->n_rows] = (cli_profile_row){.node = node,
                                           .kernel = o->step->kernel,
                                           .shapes = shapes_of(o),
                                           .inner = o->plan->graph->parent != NULL,
                                           .dynamic = o->step->dynamic,
                                           .macs = o->step->macs,
                                           .bytes = bytes_of(o->step),
                                           .min_ns = UINT64_MAX};
    if (!tn_map_put(&p->index, key, (void *)(uintptr_t)(p->n_rows + 1))) cli_must(NULL);
    return p->n_rows++;
}

static void observe(void *context, const tn_observation *o) {
    cli_profile *p = context;
    size_t at = find_row(p, o);
    cli_profile_row *r = &p->rows[at];
    uint64_t ns = o->end_ns - o->start_ns;
    r->calls++;
    r->total_ns += ns;
    r->min_ns = TN_MIN(r->min_ns, ns);
    if (!r->inner) p->step_ns += ns;
    if (!p->first_ns) p->first_ns = o->start_ns;
    if (!p->record || p->n_events == MAX_EVENTS) return;
    if (!tn_grow(&p->events, &p->cap_events, p->n_events + 1, sizeof *p->events)) cli_must(NULL);
    p->events[p->n_events++] = (cli_profile_event){at, o->start_ns, o->end_ns};
}

void cli_profile_watch(cli_profile *p, tern_session *session) {
    session->observe = observe;
    session->observe_context = p;
}

void cli_profile_release(cli_profile *p) {
    for (size_t i = 0; i < p->n_rows; i++) tn_free(p->rows[i].shapes);
    tn_free(p->rows);
    tn_free(p->events);
    tn_map_release(&p->index);
}

/* ---- numbers --------------------------------------------------------------------------------------------------- */

static double seconds_per_call(const cli_profile_row *r) {
    return r->calls ? (double)r->total_ns / (double)r->calls * 1e-9 : 0;
}

double cli_profile_gflops(const cli_profile_row *r) {
    double s = seconds_per_call(r);
    return s > 0 ? 2e-9 * (double)r->macs / s : 0;
}

double cli_profile_gbytes(const cli_profile_row *r) {
    double s = seconds_per_call(r);
    return s > 0 ? 1e-9 * (double)r->bytes / s : 0;
}

double cli_profile_roof(const cli_profile *p, const cli_profile_row *r) {
    if (!r->bytes || !r->macs) return p->peak_gflops;
    double by_memory = 2 * (double)r->macs / (double)r->bytes * p->peak_gbytes;
    return TN_MIN(p->peak_gflops, by_memory);
}

double cli_profile_roof_share(const cli_profile *p, const cli_profile_row *r) {
    if (r->macs) {
        double roof = cli_profile_roof(p, r);
        return roof > 0 ? 100 * cli_profile_gflops(r) / roof : 0;
    }
    return p->peak_gbytes > 0 ? 100 * cli_profile_gbytes(r) / p->peak_gbytes : 0;
}

double cli_profile_peak_share(const cli_profile *p, const cli_profile_row *r) {
    return r->macs && p->peak_gflops > 0 ? 100 * cli_profile_gflops(r) / p->peak_gflops : 0;
}

bool cli_profile_is_slow(const cli_profile *p, const cli_profile_row *r) {
    return r->macs && cli_profile_share(p, r) > CLI_SLOW_TIME && cli_profile_peak_share(p, r) < CLI_SLOW_PEAK;
}

double cli_profile_ms(const cli_profile *p, const cli_profile_row *r) {
    return p->runs ? (double)r->total_ns / (double)p->runs * 1e-6 : 0;
}

double cli_profile_share(const cli_profile *p, const cli_profile_row *r) {
    return p->step_ns ? 100 * (double)r->total_ns / (double)p->step_ns : 0;
}

/* ---- trace ----------------------------------------------------------------------------------------------------- */

tern_status cli_profile_trace(const cli_profile *p, const char *path, tern_error *err) {
    cJSON *root = cli_json_object(NULL, NULL);
    cli_json_string(root, "displayTimeUnit", "ms");
    cJSON *list = cli_json_array(root, "traceEvents");
    for (size_t i = 0; i < p->n_events; i++) {
        const cli_profile_event *e = &p->events[i];
        const cli_profile_row *r = &p->rows[e->row];
        cJSON *o = cli_json_object(list, NULL);
        cli_json_string(o, "name", *r->node->name ? r->node->name : r->node->op_type);
        cli_json_string(o, "cat", r->node->op_type);
        cli_json_string(o, "ph", "X");
        cli_json_double(o, "ts", (double)(e->start_ns - p->first_ns) / 1e3);
        cli_json_double(o, "dur", (double)(e->end_ns - e->start_ns) / 1e3);
        cli_json_int(o, "pid", 1);
        cli_json_int(o, "tid", 1);
        cJSON *more = cli_json_object(o, "args");
        cli_json_string(more, "op_type", r->node->op_type);
        cli_json_string(more, "kernel", r->kernel ? r->kernel : "portable");
        cli_json_string(more, "shapes", r->shapes);
        if (r->macs) cli_json_int(more, "macs", r->macs);
    }
    char *text = cli_must(cJSON_PrintUnformatted(root));
    tern_status status = tn_file_write(path, text, strlen(text), err);
    cJSON_free(text);
    cJSON_Delete(root);
    return status;
}
