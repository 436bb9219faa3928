#include "serve/config.h"

#include <math.h>
#include <stdlib.h>

void serve_config_init(serve_config *c) {
    *c = (serve_config){.num_versions = 1, .softmax = -1, .conf = -1, .iou = -1};
}

void serve_config_release(serve_config *c) {
    tn_free(c->output);
    tn_free(c->labels);
    tn_free(c->label_list);
    tn_free(c->file);
    *c = (serve_config){0};
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static tern_status wrong(const cJSON *item, const char *wanted, tern_error *err) {
    return tn_fail(err, TERN_INVALID_FORMAT, "\"%.60s\" wants %s", item->string ? item->string : "a list", wanted);
}

/* pbtxt has no list of one: a single value stands for it. */
static const cJSON *first_of(const cJSON *item) { return cJSON_IsArray(item) ? item->child : item; }
static const cJSON *next_of(const cJSON *list, const cJSON *item) { return cJSON_IsArray(list) ? item->next : NULL; }

/* Numbers of Triton's JSON may be strings (64-bit integers in protobuf's JSON). */
static tern_status take_whole(const cJSON *item, int64_t min, int64_t max, int64_t *out, tern_error *err) {
    double v = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    if (cJSON_IsString(item)) {
        char *end;
        v = strtod(item->valuestring, &end);
        if (end == item->valuestring || *end) v = NAN;
    }
    if (v >= (double)min && v <= (double)max && v == floor(v)) {
        *out = (int64_t)v;
        return TERN_OK;
    }
    return tn_fail(err, TERN_INVALID_FORMAT, "\"%.60s\" wants a whole number from %lld to %lld",
                   item->string ? item->string : "a list", (long long)min, (long long)max);
}

static tern_status take_text(const cJSON *item, char **out, tern_error *err) {
    if (!cJSON_IsString(item)) return wrong(item, "a string", err);
    tn_free(*out);
    *out = tn_strdup(item->valuestring);
    return *out ? TERN_OK : tn_fail_oom(err, strlen(item->valuestring));
}

/* A name in the model's own folder. */
static tern_status take_file(const cJSON *item, char **out, tern_error *err) {
    if (!cJSON_IsString(item) || !item->valuestring[0]) return wrong(item, "the name of a file", err);
    if (strchr(item->valuestring, '/') || item->valuestring[0] == '.') {
        return wrong(item, "the name of a file in the model's folder, without '/'", err);
    }
    return take_text(item, out, err);
}

static tern_status take_part(const cJSON *item, double *out, tern_error *err) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= 1)) {
        return wrong(item, "a number from 0 to 1", err);
    }
    *out = item->valuedouble;
    return TERN_OK;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static tern_status take_list(const cJSON *list, int64_t min, int64_t max, int64_t *out, int cap, int *count,
                             tern_error *err) {
    *count = 0;
    for (const cJSON *item = first_of(list); item; item = next_of(list, item)) {
        if (*count == cap) return wrong(list, "fewer numbers", err);
        TN_TRY(take_whole(item, min, max, &out[(*count)++], err));
    }
    qsort(out, (size_t)*count, sizeof *out, by_value);
    return TERN_OK;
}

/* ---- Triton's messages -------------------------------------------------------------------------------------- */

static tern_status take_policy(serve_config *c, const cJSON *item, tern_error *err) {
    const char *word = cJSON_IsString(item) ? item->valuestring : NULL;
    const cJSON *latest = cJSON_GetObjectItemCaseSensitive(item, "latest");
    const cJSON *specific = cJSON_GetObjectItemCaseSensitive(item, "specific");
    if ((word && strcmp(word, "all") == 0) || cJSON_HasObjectItem(item, "all")) {
        c->policy = SERVE_ALL;
    } else if (word && strcmp(word, "latest") == 0) {
        c->policy = SERVE_LATEST;
    } else if (latest) {
        c->policy = SERVE_LATEST;
        const cJSON *n = cJSON_GetObjectItemCaseSensitive(latest, "num_versions");
        if (n) TN_TRY(take_whole(n, 1, 1000000, &c->num_versions, err));
    } else if (specific) {
        c->policy = SERVE_SPECIFIC;
        const cJSON *list = cJSON_IsArray(specific) ? specific : cJSON_GetObjectItemCaseSensitive(specific, "versions");
        TN_TRY(take_list(list, 0, INT64_C(1) << 53, c->versions, SERVE_MAX_SPECIFIC, &c->n_versions, err));
        if (c->n_versions == 0) return wrong(item, "at least one version", err);
    } else {
        return wrong(
            item, "\"latest\", \"all\", {\"latest\": {\"num_versions\": n}} or {\"specific\": {\"versions\": [...]}}",
            err);
    }
    return TERN_OK;
}

static tern_status take_queue_policy(serve_config *c, const cJSON *object, tern_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(object)) return wrong(object, "an object", err);
    cJSON_ArrayForEach(item, object) {
        if (strcmp(item->string, "max_queue_size") == 0) {
            TN_TRY(take_whole(item, 0, 1000000, &c->max_queue, err));
        } else if (strcmp(item->string, "default_timeout_microseconds") == 0) {
            TN_TRY(take_whole(item, 0, INT64_C(1) << 50, &c->timeout_us, err));
        } else if (strcmp(item->string, "allow_timeout_override") == 0) {
            if (!cJSON_IsBool(item)) return wrong(item, "true or false", err);
            c->no_timeout_of_client = !cJSON_IsTrue(item);
        } else if (strcmp(item->string, "timeout_action") == 0) {
            if (cJSON_IsString(item) && strcmp(item->valuestring, "REJECT") == 0) continue;
            return tn_fail(err, TERN_UNSUPPORTED, "timeout_action: only REJECT is possible here");
        } else {
            return tn_fail(err, TERN_UNSUPPORTED, "default_queue_policy: \"%.60s\" is not supported", item->string);
        }
    }
    return TERN_OK;
}

static tern_status take_batching(serve_config *c, const cJSON *object, tern_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(object)) return wrong(object, "an object", err);
    cJSON_ArrayForEach(item, object) {
        if (strcmp(item->string, "preferred_batch_size") == 0) {
            TN_TRY(take_list(item, 1, SERVE_MAX_BATCH, c->preferred, SERVE_MAX_PREFERRED, &c->n_preferred, err));
        } else if (strcmp(item->string, "max_queue_delay_microseconds") == 0) {
            TN_TRY(take_whole(item, 0, 60000000, &c->max_delay_us, err));
        } else if (strcmp(item->string, "default_queue_policy") == 0) {
            TN_TRY(take_queue_policy(c, item, err));
        } else if (strcmp(item->string, "preserve_ordering") != 0) { /* requests are answered as they are ready */
            return tn_fail(err, TERN_UNSUPPORTED, "dynamic_batching: \"%.60s\" is not supported", item->string);
        }
    }
    return TERN_OK;
}

/* The sum of all groups. */
static tern_status take_groups(serve_config *c, const cJSON *list, tern_error *err) {
    int64_t sum = 0;
    for (const cJSON *g = first_of(list); g; g = next_of(list, g)) {
        const cJSON *kind = cJSON_GetObjectItemCaseSensitive(g, "kind");
        const cJSON *count = cJSON_GetObjectItemCaseSensitive(g, "count");
        int64_t n = 1;
        if (cJSON_IsString(kind) && strcmp(kind->valuestring, "KIND_GPU") == 0) {
            return tn_fail(err, TERN_UNSUPPORTED, "instance_group: KIND_GPU; there are only CPUs here");
        }
        if (count) TN_TRY(take_whole(count, 1, 1024, &n, err));
        sum += n;
    }
    c->instances = TN_MAX(sum, 1);
    return TERN_OK;
}

/* Only the labels of the outputs are of use: types and shapes are the model's. */
static tern_status take_outputs(serve_config *c, const cJSON *list, tern_error *err) {
    for (const cJSON *o = first_of(list); o; o = next_of(list, o)) {
        const cJSON *file = cJSON_GetObjectItemCaseSensitive(o, "label_filename");
        if (file && cJSON_IsString(file) && file->valuestring[0] && !c->labels)
            TN_TRY(take_file(file, &c->labels, err));
    }
    return TERN_OK;
}

/* ---- our own ------------------------------------------------------------------------------------------------ */

static tern_status take_task(serve_config *c, const cJSON *item, tern_error *err) {
    static const char *const words[] = {"auto", "none", "classify", "detect"};
    for (size_t i = 0; cJSON_IsString(item) && i < TN_COUNT(words); i++) {
        if (strcmp(item->valuestring, words[i]) != 0) continue;
        c->task = (serve_task)i;
        return TERN_OK;
    }
    return wrong(item, "\"auto\", \"none\", \"classify\" or \"detect\"", err);
}

static tern_status take_precision(serve_config *c, const cJSON *item, tern_error *err) {
    const char *word = cJSON_IsString(item) ? item->valuestring : "";
    if (strcmp(word, "f32") != 0 && strcmp(word, "bf16") != 0) return wrong(item, "\"f32\" or \"bf16\"", err);
    c->has_precision = true;
    c->bf16 = *word == 'b';
    return TERN_OK;
}

static tern_status take_labels(serve_config *c, const cJSON *item, tern_error *err) {
    if (!cJSON_IsArray(item)) return take_file(item, &c->labels, err);
    char *text = cJSON_PrintUnformatted(item);
    if (!text) return tn_fail_oom(err, 0);
    tn_free(c->label_list);
    c->label_list = tn_strdup(text);
    cJSON_free(text);
    return c->label_list ? TERN_OK : tn_fail_oom(err, 0);
}

static tern_status take_preprocess(serve_config *c, const cJSON *item, tern_error *err) {
    char *text = cJSON_PrintUnformatted(item);
    if (!text) return tn_fail_oom(err, 0);
    tern_status status = tern_preprocess_parse(&c->preprocess, text, strlen(text), err);
    cJSON_free(text);
    return status;
}

static tern_status take_max_batch(serve_config *c, const cJSON *item, tern_error *err) {
    int64_t n;
    TN_TRY(take_whole(item, 0, SERVE_MAX_BATCH, &n, err));
    c->batch_dim = n > 0;
    c->max_batch = TN_MAX(n, 1);
    return TERN_OK;
}

/* ---- the table ---------------------------------------------------------------------------------------------- */

static bool is_one_of(const char *key, const char *words) {
    size_t n = strlen(key);
    for (const char *p = words; *p; p += strcspn(p, " ") + (p[strcspn(p, " ")] != 0)) {
        if (strcspn(p, " ") == n && memcmp(p, key, n) == 0) return true;
    }
    return false;
}

static tern_status take_key(serve_config *c, const cJSON *item, const char *name, tern_error *err) {
    const char *key = item->string;
    if (is_one_of(key, "max_batch max_batch_size")) return take_max_batch(c, item, err);
    if (is_one_of(key, "max_delay_us")) return take_whole(item, 0, 60000000, &c->max_delay_us, err);
    if (is_one_of(key, "preferred"))
        return take_list(item, 1, SERVE_MAX_BATCH, c->preferred, SERVE_MAX_PREFERRED, &c->n_preferred, err);
    if (is_one_of(key, "max_queue")) return take_whole(item, 1, 1000000, &c->max_queue, err);
    if (is_one_of(key, "timeout_us")) return take_whole(item, 0, INT64_C(1) << 50, &c->timeout_us, err);
    if (is_one_of(key, "instances")) return take_whole(item, 1, 1024, &c->instances, err);
    if (is_one_of(key, "threads")) return take_whole(item, 1, 1024, &c->threads, err);
    if (is_one_of(key, "version_policy")) return take_policy(c, item, err);
    if (is_one_of(key, "task")) return take_task(c, item, err);
    if (is_one_of(key, "precision")) return take_precision(c, item, err);
    if (is_one_of(key, "labels")) return take_labels(c, item, err);
    if (is_one_of(key, "preprocess")) return take_preprocess(c, item, err);
    if (is_one_of(key, "conf")) return take_part(item, &c->conf, err);
    if (is_one_of(key, "iou")) return take_part(item, &c->iou, err);
    if (is_one_of(key, "max_det")) return take_whole(item, 1, 30000, &c->max_det, err);
    if (is_one_of(key, "dynamic_batching")) return take_batching(c, item, err);
    if (is_one_of(key, "instance_group")) return take_groups(c, item, err);
    if (is_one_of(key, "default_model_filename")) return take_file(item, &c->file, err);
    if (is_one_of(key, "softmax warmup")) {
        if (!cJSON_IsBool(item)) return wrong(item, "true or false", err);
        if (*key == 's') c->softmax = cJSON_IsTrue(item);
        if (*key == 'w') c->no_warmup = !cJSON_IsTrue(item);
        return TERN_OK;
    }
    /* Ours is the name of an output; Triton's a list of descriptions. */
    if (is_one_of(key, "output")) {
        return cJSON_IsString(item) ? take_text(item, &c->output, err) : take_outputs(c, item, err);
    }
    if (is_one_of(key, "name")) {
        if (cJSON_IsString(item) && (!item->valuestring[0] || strcmp(item->valuestring, name) == 0)) return TERN_OK;
        return tn_fail(err, TERN_INVALID_FORMAT, "\"name\" is not the model's, which is '%s'", name);
    }
    /* Says nothing that changes an answer here. */
    if (is_one_of(key, "platform backend input optimization model_warmup parameters metric_tags cc_model_filenames "
                       "model_operations model_repository_agents response_cache runtime batch_input batch_output "
                       "model_transaction_policy"))
        return TERN_OK;
    return tn_fail(err, TERN_UNSUPPORTED, "\"%.60s\" is no setting that is understood here", key);
}

tern_status serve_config_apply(serve_config *c, const cJSON *root, const char *name, tern_error *err) {
    if (!cJSON_IsObject(root)) return tn_fail(err, TERN_INVALID_FORMAT, "the configuration is no JSON object");
    const cJSON *item;
    cJSON_ArrayForEach(item, root) TN_TRY(take_key(c, item, name, err));
    return TERN_OK;
}

tern_status serve_config_json(serve_config *c, const char *text, size_t size, const char *name, tern_error *err) {
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    if (!root) {
        int line = 1;
        for (const char *at = text; end && at < end; at++) line += *at == '\n';
        return tn_fail(err, TERN_INVALID_FORMAT, "line %d: this is not JSON", line);
    }
    tern_status status = serve_config_apply(c, root, name, err);
    cJSON_Delete(root);
    return status;
}

tern_status serve_config_pbtxt(serve_config *c, const char *text, size_t size, const char *name, tern_error *err) {
    cJSON *root;
    TN_TRY(serve_pbtxt_parse(&root, text, size, err));
    tern_status status = serve_config_apply(c, root, name, err);
    cJSON_Delete(root);
    return status;
}
