/* Open Inference Protocol v2: server, health, models, configuration, statistics, repository. */
#include <stdio.h>

#include "serve/json_read.h"
#include "serve/server.h"
#include "tern/version.h"

static void reply(serve_exchange *x) {
    x->status = 200;
    x->type = "application/json";
    serve_put_open(&x->out, NULL, '{');
}

void serve_v2_server(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    static const char *const extensions[] = {
        "classification", "model_configuration", "model_repository", "model_repository(unload_dependents)",
        "statistics",     "binary_tensor_data",  "parameters"};
    reply(x);
    serve_put_string(&x->out, "name", "tern");
    serve_put_string(&x->out, "version", tern_version());
    serve_put_open(&x->out, "extensions", '[');
    for (size_t i = 0; i < TN_COUNT(extensions); i++) serve_put_string(&x->out, NULL, extensions[i]);
    serve_put_close(&x->out, ']');
    serve_put_close(&x->out, '}');
}

void serve_v2_live(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    reply(x);
    serve_put_bool(&x->out, "live", true);
    serve_put_close(&x->out, '}');
}

void serve_v2_ready(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    bool ready = !atomic_load(&x->server->draining) && serve_repository_ready(x->server->repository);
    reply(x);
    x->status = ready ? 200 : 503;
    serve_put_bool(&x->out, "ready", ready);
    serve_put_close(&x->out, '}');
}

/* ---- a model ------------------------------------------------------------------------------------------------ */

/* Outputs may be what the protocol has no word for; they can not be asked for, but that they are there is told. */
static const char *type_of(const tern_value_info *v) {
    static const char *const kinds[] = {NULL, "SEQUENCE", "OPTIONAL", "MAP"};
    if (v->kind != TERN_KIND_TENSOR) return kinds[v->kind];
    const char *type = serve_datatype(v->dtype);
    return type ? type : tern_dtype_name(v->dtype);
}

static void put_values(tn_text *t, const char *key, const tern_value_info *values, int count) {
    serve_put_open(t, key, '[');
    for (int i = 0; i < count; i++) {
        static const int64_t any[] = {-1};
        const tern_value_info *v = &values[i];
        bool known = v->kind == TERN_KIND_TENSOR && v->rank >= 0;
        serve_put_open(t, NULL, '{');
        serve_put_string(t, "name", v->name);
        serve_put_string(t, "datatype", type_of(v));
        serve_put_dims(t, "shape", known ? v->dims : any, known ? v->rank : 1);
        serve_put_close(t, '}');
    }
    serve_put_close(t, ']');
}

/* All versions of a model that are ready, as strings. */
static void put_versions(serve_exchange *x, const char *name) {
    serve_entry *entries;
    size_t count;
    tern_error err;
    serve_put_open(&x->out, "versions", '[');
    if (serve_repository_list(x->server->repository, &entries, &count, &err) == TERN_OK) {
        for (size_t i = 0; i < count; i++) {
            if (strcmp(entries[i].name, name) == 0 && entries[i].version)
                serve_put_string(&x->out, NULL, entries[i].version->number_text);
        }
        serve_entries_release(entries, count);
    }
    serve_put_close(&x->out, ']');
}

static const char *const task_names[] = {"auto", "none", "classify", "detect"};

void serve_v2_model(serve_exchange *x, tn_str model, tn_str version) {
    serve_version *v = serve_find_version(x, model, version);
    if (!v) return;
    reply(x);
    serve_put_string(&x->out, "name", v->name);
    put_versions(x, v->name);
    serve_put_string(&x->out, "platform", v->platform);
    put_values(&x->out, "inputs", v->inputs, v->n_inputs);
    put_values(&x->out, "outputs", v->outputs, v->n_outputs);
    /* Ours; the protocol lets a server add members. */
    serve_put_open(&x->out, "parameters", '{');
    serve_put_string(&x->out, "task", task_names[v->task]);
    serve_put_i64(&x->out, "max_batch", v->max_batch);
    serve_put_dims(&x->out, "batch_sizes", v->sizes, v->n_sizes);
    serve_put_close(&x->out, '}');
    serve_put_close(&x->out, '}');
    serve_version_unref(v);
}

void serve_v2_model_ready(serve_exchange *x, tn_str model, tn_str version) {
    serve_version *v = serve_find_version(x, model, version);
    if (!v && x->status != 503) return;
    bool ready = v != NULL;
    tn_text_release(&x->out);
    reply(x);
    if (!ready) x->status = 503;
    serve_put_string(&x->out, "name", x->model);
    serve_put_bool(&x->out, "ready", ready);
    serve_put_close(&x->out, '}');
    serve_version_unref(v);
}

/* ---- configuration, in the words of Triton's ModelConfig ---------------------------------------------------- */

static void put_config_values(tn_text *t, const char *key, const tern_value_info *values, int count, bool batch,
                              const char *labels) {
    serve_put_open(t, key, '[');
    for (int i = 0; i < count; i++) {
        const tern_value_info *v = &values[i];
        char word[40];
        /* TYPE_STRING is the protocol's BYTES. */
        snprintf(word, sizeof word, "TYPE_%s",
                 v->kind == TERN_KIND_TENSOR && v->dtype == TERN_STRING ? "STRING" : type_of(v));
        int skip = batch && v->rank > 0;
        serve_put_open(t, NULL, '{');
        serve_put_string(t, "name", v->name);
        serve_put_string(t, "data_type", word);
        serve_put_dims(t, "dims", v->dims + skip, TN_MAX(v->rank - skip, 0));
        if (labels && i == 0) serve_put_string(t, "label_filename", labels);
        serve_put_close(t, '}');
    }
    serve_put_close(t, ']');
}

static void put_policy(tn_text *t, const serve_config *c) {
    static const char *const words[] = {"latest", "all", "specific"};
    serve_put_open(t, "version_policy", '{');
    serve_put_open(t, words[c->policy], '{');
    if (c->policy == SERVE_LATEST) serve_put_i64(t, "num_versions", c->num_versions);
    if (c->policy == SERVE_SPECIFIC) serve_put_dims(t, "versions", c->versions, c->n_versions);
    serve_put_close(t, '}');
    serve_put_close(t, '}');
}

static void put_batching(tn_text *t, const serve_version *v) {
    const serve_config *c = &v->config;
    serve_put_open(t, "dynamic_batching", '{');
    serve_put_dims(t, "preferred_batch_size", c->preferred, c->n_preferred);
    serve_put_i64(t, "max_queue_delay_microseconds", c->max_delay_us);
    serve_put_open(t, "default_queue_policy", '{');
    serve_put_string(t, "timeout_action", "REJECT");
    serve_put_i64(t, "default_timeout_microseconds", c->timeout_us);
    serve_put_bool(t, "allow_timeout_override", !c->no_timeout_of_client);
    serve_put_i64(t, "max_queue_size", c->max_queue ? c->max_queue : SERVE_DEFAULT_QUEUE);
    serve_put_close(t, '}');
    serve_put_close(t, '}');
}

void serve_v2_config(serve_exchange *x, tn_str model, tn_str version) {
    serve_version *v = serve_find_version(x, model, version);
    if (!v) return;
    const serve_config *c = &v->config;
    tn_text *t = &x->out;
    reply(x);
    serve_put_string(t, "name", v->name);
    serve_put_string(t, "platform", v->platform);
    serve_put_string(t, "backend", "tern");
    put_policy(t, c);
    serve_put_i64(t, "max_batch_size", v->batchable ? v->max_batch : 0);
    put_config_values(t, "input", v->inputs, v->n_inputs, v->batchable, NULL);
    put_config_values(t, "output", v->outputs, v->n_outputs, v->batchable, c->labels);
    if (v->batchable) put_batching(t, v);
    serve_put_open(t, "instance_group", '[');
    serve_put_open(t, NULL, '{');
    serve_put_string(t, "name", v->name);
    serve_put_string(t, "kind", "KIND_CPU");
    serve_put_i64(t, "count", TN_MAX(c->instances, 1));
    serve_put_close(t, '}');
    serve_put_close(t, ']');
    serve_put_close(t, '}');
    serve_version_unref(v);
}

/* ---- statistics --------------------------------------------------------------------------------------------- */

static void put_count(tn_text *t, const char *key, uint64_t count, uint64_t ns) {
    serve_put_open(t, key, '{');
    serve_put_u64(t, "count", count);
    serve_put_u64(t, "ns", ns);
    serve_put_close(t, '}');
}

static void put_stats(tn_text *t, const serve_entry *e) {
    static const char *const names[] = {"success", "fail", "queue", "compute_input", "compute_infer", "compute_output"};
    char number[24];
    serve_counts c;
    serve_stats_copy(e->stats, &c);
    snprintf(number, sizeof number, "%lld", (long long)e->number);
    serve_put_open(t, NULL, '{');
    serve_put_string(t, "name", e->name);
    serve_put_string(t, "version", number);
    serve_put_u64(t, "last_inference", c.last_ms);
    serve_put_u64(t, "inference_count", c.inferences);
    serve_put_u64(t, "execution_count", c.executions);
    serve_put_open(t, "inference_stats", '{');
    for (int i = 0; i < SERVE_STAT_COUNT; i++) put_count(t, names[i], c.count[i], c.ns[i]);
    put_count(t, "cache_hit", 0, 0);
    put_count(t, "cache_miss", 0, 0);
    serve_put_close(t, '}');
    serve_put_open(t, "batch_stats", '[');
    for (int i = 0; i < c.n_batches; i++) {
        const serve_batch_stat *b = &c.batches[i];
        serve_put_open(t, NULL, '{');
        serve_put_i64(t, "batch_size", b->size);
        put_count(t, "compute_input", b->count, b->input_ns);
        put_count(t, "compute_infer", b->count, b->infer_ns);
        put_count(t, "compute_output", b->count, b->output_ns);
        serve_put_close(t, '}');
    }
    serve_put_close(t, ']');
    serve_put_open(t, "memory_usage", '[');
    serve_put_open(t, NULL, '{');
    serve_put_string(t, "type", "CPU");
    serve_put_i64(t, "id", 0);
    serve_put_u64(t, "byte_size", e->version ? e->version->memory : 0);
    serve_put_close(t, '}');
    serve_put_close(t, ']');
    serve_put_close(t, '}');
}

static bool entry_matches(const serve_entry *e, tn_str model, tn_str version) {
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)e->number);
    if (e->number < 0 || (model.len && !tn_str_eq(model, tn_str_c(e->name)))) return false;
    return !version.len || tn_str_eq(version, tn_str_c(number));
}

void serve_v2_stats(serve_exchange *x, tn_str model, tn_str version) {
    serve_entry *entries;
    size_t count, shown = 0;
    tern_error err;
    if (serve_repository_list(x->server->repository, &entries, &count, &err) != TERN_OK) {
        serve_failed(x, &err);
        return;
    }
    reply(x);
    serve_put_open(&x->out, "model_stats", '[');
    for (size_t i = 0; i < count; i++) {
        if (!entry_matches(&entries[i], model, version)) continue;
        put_stats(&x->out, &entries[i]);
        shown++;
    }
    serve_put_close(&x->out, ']');
    serve_put_close(&x->out, '}');
    serve_entries_release(entries, count);
    if (shown == 0 && model.len) {
        serve_error(x, 404, "there is no such model or version: '%.*s'", (int)TN_MIN(model.len, (size_t)200),
                    model.data);
    }
}

/* ---- repository --------------------------------------------------------------------------------------------- */

static bool read_index_request(serve_exchange *x, bool *only_ready) {
    serve_json r;
    tn_str key;
    bool first = true;
    tern_error err;
    *only_ready = false;
    tn_str body = serve_body(x);
    if (body.len == 0) return true;
    serve_json_init(&r, body.data, body.len, &err);
    serve_json_open(&r, '{');
    while (serve_json_member(&r, &first, &key)) {
        if (serve_key_is(key, "ready")) {
            serve_json_bool(&r, only_ready);
        } else {
            serve_json_skip(&r, NULL);
        }
    }
    serve_json_end(&r);
    if (r.failed) serve_failed(x, &err);
    return !r.failed;
}

void serve_v2_index(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    static const char *const states[] = {"LOADING", "READY", "UNAVAILABLE"};
    serve_entry *entries;
    size_t count;
    bool only_ready;
    tern_error err;
    if (!read_index_request(x, &only_ready)) return;
    if (serve_repository_list(x->server->repository, &entries, &count, &err) != TERN_OK) {
        serve_failed(x, &err);
        return;
    }
    x->status = 200;
    x->type = "application/json";
    serve_put_open(&x->out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        const serve_entry *e = &entries[i];
        char number[24];
        if (only_ready && e->state != SERVE_READY) continue;
        snprintf(number, sizeof number, "%lld", (long long)e->number);
        serve_put_open(&x->out, NULL, '{');
        serve_put_string(&x->out, "name", e->name);
        if (e->number >= 0) serve_put_string(&x->out, "version", number);
        serve_put_string(&x->out, "state", states[e->state]);
        serve_put_string(&x->out, "reason", e->reason);
        serve_put_close(&x->out, '}');
    }
    serve_put_close(&x->out, ']');
    serve_entries_release(entries, count);
}

/* {"parameters": {"config": "{...}"}}; *config NULL: none. */
static bool read_load_request(serve_exchange *x, char **config) {
    serve_json r;
    tn_str key;
    bool first = true;
    tern_error err;
    *config = NULL;
    tn_str body = serve_body(x);
    if (body.len == 0) return true;
    serve_json_init(&r, body.data, body.len, &err);
    serve_json_open(&r, '{');
    while (serve_json_member(&r, &first, &key)) {
        if (!serve_key_is(key, "parameters")) {
            serve_json_skip(&r, NULL);
            continue;
        }
        bool inner = true;
        serve_json_open(&r, '{');
        while (serve_json_member(&r, &inner, &key)) {
            if (serve_key_is(key, "config")) {
                serve_json_string(&r, &x->arena, config, NULL);
            } else if (key.len >= 5 && memcmp(key.data, "file:", 5) == 0) {
                serve_json_fail(&r, "files in a load request are not supported: put them into the repository");
            } else {
                serve_json_skip(&r, NULL);
            }
        }
    }
    serve_json_end(&r);
    if (r.failed) serve_failed(x, &err);
    return !r.failed;
}

/* A terminated copy of the name in the path; NULL: too long. */
static char *name_of(serve_exchange *x, tn_str model) {
    snprintf(x->model, sizeof x->model, "%.*s", (int)TN_MIN(model.len, sizeof x->model - 1), model.data);
    return tn_arena_strndup(&x->arena, model.data, model.len);
}

static void end_control(serve_exchange *x, tern_status status, const tern_error *err) {
    if (status != TERN_OK) {
        serve_failed(x, err);
    } else {
        reply(x);
        serve_put_close(&x->out, '}');
    }
    serve_done(x);
}

void serve_v2_load(serve_exchange *x, tn_str model, tn_str version) {
    (void)version;
    char *config, *name = name_of(x, model);
    tern_error err;
    if (!read_load_request(x, &config)) {
        serve_done(x);
        return;
    }
    tern_status status = name ? serve_repository_load(x->server->repository, name, config, &err) : tn_fail_oom(&err, 0);
    end_control(x, status, &err);
}

void serve_v2_unload(serve_exchange *x, tn_str model, tn_str version) {
    (void)version;
    char *config, *name = name_of(x, model);
    tern_error err;
    if (!read_load_request(x, &config)) {
        serve_done(x);
        return;
    }
    tern_status status = name ? serve_repository_unload(x->server->repository, name, &err) : tn_fail_oom(&err, 0);
    end_control(x, status, &err);
}
