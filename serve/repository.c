#include "serve/repository.h"

#include <stdio.h>
#include <stdlib.h>

#include "serve/scan.h"

/* A version's place; it stays when the version goes, so that its counts do. */
typedef struct slot {
    int64_t number;
    serve_state state;
    char reason[400];
    serve_version *version; /* with the repository's reference; NULL: not loaded */
    uint64_t signature;     /* of what was loaded, or could not be */
    uint64_t seen;          /* by the last poll */
    serve_stats stats;
} slot;

typedef struct model {
    char *name;
    bool present;  /* in the last scan */
    bool unloaded; /* by a client */
    char *config;  /* by a client; NULL: what the files say */
    char reason[400];
    slot **slots; /* ascending by number */
    size_t n_slots, cap;
} model;

struct serve_repository {
    serve_repository_options options;
    pthread_mutex_t loading; /* held by who loads or unloads; taken before `mutex` */
    pthread_mutex_t mutex;   /* of what follows, for short times only */
    model **models;          /* by name */
    size_t n_models, cap;
    char scan_error[400]; /* of the last look, so that a lasting one is told once; under `loading` */
};

static void note(const serve_repository *r, const char *format, ...) TN_PRINTF(2, 3);
static void note(const serve_repository *r, const char *format, ...) {
    char text[1400];
    if (!r->options.note) return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tn_utf8_clean_line(text);
    r->options.note(r->options.note_context, text);
}

/* ---- tables ------------------------------------------------------------------------------------------------- */

static model *find_model(const serve_repository *r, const char *name) {
    size_t low = 0, high = r->n_models;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, r->models[middle]->name);
        if (order == 0) return r->models[middle];
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

static slot *find_slot(const model *m, int64_t number) {
    for (size_t i = 0; i < m->n_slots; i++) {
        if (m->slots[i]->number == number) return m->slots[i];
    }
    return NULL;
}

/* The entry called `name`, made when there is none; NULL: no memory. */
static model *get_model(serve_repository *r, const char *name) {
    model *m = find_model(r, name);
    if (m) return m;
    m = tn_calloc(1, sizeof *m);
    if (!m || !(m->name = tn_strdup(name)) || !tn_grow(&r->models, &r->cap, r->n_models + 1, sizeof *r->models)) {
        if (m) tn_free(m->name);
        tn_free(m);
        return NULL;
    }
    size_t at = r->n_models++;
    while (at > 0 && strcmp(r->models[at - 1]->name, name) > 0) {
        r->models[at] = r->models[at - 1];
        at--;
    }
    return r->models[at] = m;
}

static slot *get_slot(model *m, int64_t number) {
    slot *s = find_slot(m, number);
    if (s) return s;
    s = tn_calloc(1, sizeof *s);
    if (!s || !serve_stats_init(&s->stats) || !tn_grow(&m->slots, &m->cap, m->n_slots + 1, sizeof *m->slots)) {
        tn_free(s);
        return NULL;
    }
    s->number = number;
    s->state = SERVE_UNAVAILABLE;
    size_t at = m->n_slots++;
    while (at > 0 && m->slots[at - 1]->number > number) {
        m->slots[at] = m->slots[at - 1];
        at--;
    }
    return m->slots[at] = s;
}

/* ---- loading and unloading; `loading` is held --------------------------------------------------------------- */

static void replace(serve_repository *r, slot *s, serve_version *version, serve_state state, const char *reason) {
    pthread_mutex_lock(&r->mutex);
    serve_version *old = s->version;
    s->version = version;
    s->state = state;
    snprintf(s->reason, sizeof s->reason, "%.399s", reason);
    pthread_mutex_unlock(&r->mutex);
    serve_version_unref(old);
}

static void unload(serve_repository *r, model *m, slot *s, const char *reason) {
    if (s->version) note(r, "model %s version %lld: unloaded", m->name, (long long)s->number);
    s->signature = s->seen = 0;
    replace(r, s, NULL, SERVE_UNAVAILABLE, reason);
}

/* The model file: the configured one, in the folder of the version. */
static tern_status file_of(const serve_scan_model *sm, const serve_scan_version *sv, const serve_config *config,
                           tn_text *out, tern_error *err) {
    if (!config->file) {
        if (!sv->path && !sm->alone) {
            return tn_fail(err, TERN_NOT_FOUND, "%s/%lld: there is no model.onnx or model.pt", sm->folder,
                           (long long)sv->number);
        }
        tn_text_add(out, "%s", sv->path ? sv->path : "");
    } else if (sv->path) {
        const char *slash = strrchr(sv->path, '/');
        tn_text_add(out, "%.*s/%s", slash ? (int)(slash - sv->path) : 1, slash ? sv->path : ".", config->file);
    } else {
        tn_text_add(out, "%s/%lld/%s", sm->folder, (long long)sv->number, config->file);
    }
    return out->failed ? tn_fail_oom(err, 0) : TERN_OK;
}

static tern_status load_version(serve_repository *r, const serve_scan_model *sm, const serve_scan_version *sv,
                                const serve_config *config, slot *s, serve_version **out, tern_error *err) {
    tn_text path;
    tn_text_init(&path);
    tern_status status = file_of(sm, sv, config, &path, err);
    serve_load load = {.name = sm->name,
                       .path = path.len ? path.data : NULL,
                       .number = sv->number,
                       .config = config,
                       .folder = sm->folder,
                       .threads = r->options.threads,
                       .bf16 = r->options.bf16,
                       .tune = r->options.tune,
                       .tune_cache = r->options.tune_cache,
                       .stats = &s->stats};
    if (status == TERN_OK) status = serve_version_load(out, &load, err);
    tn_text_release(&path);
    return status;
}

static void load_slot(serve_repository *r, model *m, slot *s, const serve_scan_model *sm, const serve_scan_version *sv,
                      const serve_config *config) {
    if (!s->version) replace(r, s, NULL, SERVE_LOADING, "");
    tern_error err;
    serve_version *v = NULL;
    s->signature = sv->signature;
    if (load_version(r, sm, sv, config, s, &v, &err) == TERN_OK) {
        note(r, "model %s version %lld: %s in %.0f ms%s%s", m->name, (long long)s->number,
             s->version ? "reloaded" : "loaded", (double)v->load_ns * 1e-6, v->task_error[0] ? "; no pictures: " : "",
             v->task_error);
        replace(r, s, v, SERVE_READY, "");
        return;
    }
    note(r, "model %s version %lld: %s%s", m->name, (long long)s->number, s->version ? "kept as it was; " : "",
         err.text);
    if (!s->version) {
        replace(r, s, NULL, SERVE_UNAVAILABLE, err.text);
        return;
    }
    pthread_mutex_lock(&r->mutex);
    snprintf(s->reason, sizeof s->reason, "not reloaded: %.370s", err.text);
    pthread_mutex_unlock(&r->mutex);
}

static bool wanted(const serve_config *c, const serve_scan_model *sm, size_t index) {
    switch (c->policy) {
    case SERVE_ALL:
        return true;
    case SERVE_LATEST:
        return (int64_t)(sm->n_versions - index) <= c->num_versions;
    default:
        for (int i = 0; i < c->n_versions; i++) {
            if (c->versions[i] == sm->versions[index].number) return true;
        }
        return false;
    }
}

static tern_status read_config(const serve_scan_model *sm, const model *m, serve_config *c, tern_error *err) {
    serve_config_init(c);
    if (sm->problem) return tn_fail(err, TERN_INVALID_ARGUMENT, "%s", sm->problem);
    if (m->config) {
        tern_status status = serve_config_json(c, m->config, strlen(m->config), sm->name, err);
        if (status != TERN_OK) tn_error_prefix(err, "the configuration of the request: ");
        return status;
    }
    if (!sm->config) return TERN_OK;
    tn_file file;
    TN_TRY(tn_file_map(&file, sm->config, err));
    size_t n = strlen(sm->config);
    bool json = strcmp(sm->config + n - 5, ".json") == 0;
    tern_status status =
        (json ? serve_config_json : serve_config_pbtxt)(c, (const char *)file.data, file.size, sm->name, err);
    tn_file_unmap(&file);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", sm->config);
    return status;
}

/* What a scan's model asks for. `force`: load what is loaded already; `settled`: what has just been seen for the first
 * time is complete, too. */
static void update_model(serve_repository *r, model *m, const serve_scan_model *sm, bool force, bool settled) {
    serve_config config;
    tern_error err;
    tern_status status = read_config(sm, m, &config, &err);
    bool all_good = status == TERN_OK;
    if (status != TERN_OK && strcmp(m->reason, err.text) != 0) note(r, "model %s: %s", m->name, err.text);
    pthread_mutex_lock(&r->mutex);
    snprintf(m->reason, sizeof m->reason, "%.399s", status == TERN_OK ? "" : err.text);
    pthread_mutex_unlock(&r->mutex);
    for (size_t i = 0; status == TERN_OK && i < sm->n_versions; i++) {
        const serve_scan_version *sv = &sm->versions[i];
        if (!wanted(&config, sm, i)) continue;
        pthread_mutex_lock(&r->mutex);
        slot *s = get_slot(m, sv->number);
        pthread_mutex_unlock(&r->mutex);
        if (!s) continue;
        bool complete = settled || s->seen == sv->signature;
        s->seen = sv->signature;
        if (force || (s->signature != sv->signature && complete)) load_slot(r, m, s, sm, sv, &config);
        all_good = all_good && s->version && s->signature == sv->signature;
    }
    /* What is not wanted any more goes when what replaces it is there. */
    for (size_t k = 0; all_good && k < m->n_slots; k++) {
        bool keep = false;
        for (size_t i = 0; i < sm->n_versions; i++) {
            keep = keep || (sm->versions[i].number == m->slots[k]->number && wanted(&config, sm, i));
        }
        if (!keep && m->slots[k]->version) unload(r, m, m->slots[k], "unloaded");
    }
    serve_config_release(&config);
}

static void unload_model(serve_repository *r, model *m, const char *reason) {
    for (size_t k = 0; k < m->n_slots; k++) unload(r, m, m->slots[k], reason);
}

static tern_status scan_all(const serve_repository *r, serve_scan *scan, tern_error *err) {
    return serve_scan_sources(scan, r->options.sources, r->options.n_sources, err);
}

/* Brings all models in line with the scan. */
static void update_all(serve_repository *r, const serve_scan *scan, bool settled) {
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->n_models; i++) r->models[i]->present = false;
    for (size_t i = 0; i < scan->count; i++) {
        model *m = get_model(r, scan->models[i].name);
        if (m) m->present = true;
    }
    size_t count = r->n_models;
    pthread_mutex_unlock(&r->mutex);
    for (size_t i = 0; i < count; i++) {
        if (!r->models[i]->present) unload_model(r, r->models[i], "gone from the repository");
    }
    for (size_t i = 0; i < scan->count; i++) {
        model *m = find_model(r, scan->models[i].name);
        if (m && !m->unloaded) update_model(r, m, &scan->models[i], false, settled);
    }
}

/* ---- the doors ---------------------------------------------------------------------------------------------- */

tern_status serve_repository_open(serve_repository **out, const serve_repository_options *options, tern_error *err) {
    serve_repository *r = *out = tn_calloc(1, sizeof *r);
    if (!r) return tn_fail_oom(err, sizeof *r);
    r->options = *options;
    pthread_mutex_init(&r->loading, NULL);
    pthread_mutex_init(&r->mutex, NULL);
    serve_scan scan;
    tern_status status = scan_all(r, &scan, err);
    if (status != TERN_OK) {
        serve_repository_free(r);
        *out = NULL;
        return status;
    }
    pthread_mutex_lock(&r->loading);
    update_all(r, &scan, true);
    pthread_mutex_unlock(&r->loading);
    serve_scan_release(&scan);
    return TERN_OK;
}

void serve_repository_free(serve_repository *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n_models; i++) {
        model *m = r->models[i];
        for (size_t k = 0; k < m->n_slots; k++) {
            serve_version_unref(m->slots[k]->version);
            serve_stats_release(&m->slots[k]->stats);
            tn_free(m->slots[k]);
        }
        tn_free(m->slots);
        tn_free(m->config);
        tn_free(m->name);
        tn_free(m);
    }
    tn_free(r->models);
    pthread_mutex_destroy(&r->loading);
    pthread_mutex_destroy(&r->mutex);
    tn_free(r);
}

static tern_status get_locked(const serve_repository *r, const char *name, int64_t number, serve_version **out,
                              tern_error *err) {
    const model *m = find_model(r, name);
    if (!m || (!m->present && m->n_slots == 0)) {
        return tn_fail(err, TERN_NOT_FOUND, "there is no model called '%.200s'", name);
    }
    const slot *known = NULL;
    for (size_t i = m->n_slots; i > 0; i--) {
        const slot *s = m->slots[i - 1];
        if (number >= 0 && s->number != number) continue;
        if (!known) known = s;
        if (!s->version) continue;
        *out = serve_version_ref(s->version);
        return TERN_OK;
    }
    const char *reason = known && known->reason[0] ? known->reason : m->reason;
    if (!known && number >= 0) {
        return tn_fail(err, TERN_NOT_FOUND, "model '%s' has no version %lld", name, (long long)number);
    }
    return tn_fail(err, TERN_CANCELLED, "model '%s' is not ready%s%s", name, reason[0] ? ": " : "", reason);
}

tern_status serve_repository_get(serve_repository *r, const char *name, int64_t number, serve_version **out,
                                 tern_error *err) {
    *out = NULL;
    pthread_mutex_lock(&r->mutex);
    tern_status status = get_locked(r, name, number, out, err);
    pthread_mutex_unlock(&r->mutex);
    return status;
}

bool serve_repository_ready(serve_repository *r) {
    bool ready = true;
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->n_models && ready; i++) {
        const model *m = r->models[i];
        if (!m->present || m->unloaded) continue;
        bool any = false;
        for (size_t k = 0; k < m->n_slots; k++) any = any || m->slots[k]->version;
        ready = any;
    }
    pthread_mutex_unlock(&r->mutex);
    return ready;
}

void serve_repository_poll(serve_repository *r, bool complete) {
    serve_scan scan;
    tern_error err;
    pthread_mutex_lock(&r->loading);
    if (scan_all(r, &scan, &err) == TERN_OK) {
        update_all(r, &scan, complete);
        serve_scan_release(&scan);
        r->scan_error[0] = '\0';
    } else if (strncmp(r->scan_error, err.text, sizeof r->scan_error - 1) != 0) {
        snprintf(r->scan_error, sizeof r->scan_error, "%.399s", err.text);
        note(r, "models stay as they are: %s", err.text);
    }
    pthread_mutex_unlock(&r->loading);
}

/* What the last round could not do; TERN_OK: nothing. */
static tern_status failure_of(const model *m, tern_error *err) {
    if (m->reason[0]) return tn_fail(err, TERN_INVALID_ARGUMENT, "%s", m->reason);
    for (size_t k = 0; k < m->n_slots; k++) {
        /* Of this round: a version that is not wanted has no signature. */
        const slot *s = m->slots[k];
        if (s->signature && s->reason[0]) return tn_fail(err, TERN_INVALID_ARGUMENT, "%s", s->reason);
    }
    return TERN_OK;
}

/* A load that fails leaves no configuration behind, with which later versions would fail, too. Takes `config`. */
static tern_status load_model(serve_repository *r, model *m, const serve_scan_model *sm, char *config,
                              tern_error *err) {
    char *before = m->config, reason[sizeof m->reason];
    bool unloaded = m->unloaded;
    memcpy(reason, m->reason, sizeof reason);
    pthread_mutex_lock(&r->mutex);
    m->config = config;
    m->present = true;
    m->unloaded = false;
    pthread_mutex_unlock(&r->mutex);
    update_model(r, m, sm, true, true);
    tern_status status = failure_of(m, err);
    if (status == TERN_OK || !config) {
        tn_free(before);
        return status;
    }
    pthread_mutex_lock(&r->mutex);
    m->config = before;
    m->unloaded = unloaded;
    memcpy(m->reason, reason, sizeof reason);
    for (size_t k = 0; k < m->n_slots; k++) {
        if (!m->slots[k]->version) m->slots[k]->signature = 0; /* the files may say better */
    }
    pthread_mutex_unlock(&r->mutex);
    tn_free(config);
    return status;
}

static tern_status load_named(serve_repository *r, const char *name, const char *config, tern_error *err) {
    serve_scan scan;
    TN_TRY(scan_all(r, &scan, err));
    const serve_scan_model *sm = NULL;
    for (size_t i = 0; i < scan.count; i++) {
        if (strcmp(scan.models[i].name, name) == 0) sm = &scan.models[i];
    }
    tern_status status;
    if (sm) {
        char *copy = config ? tn_strdup(config) : NULL;
        pthread_mutex_lock(&r->mutex);
        model *m = get_model(r, name);
        pthread_mutex_unlock(&r->mutex);
        if (m && (copy || !config)) {
            status = load_model(r, m, sm, copy, err);
        } else {
            tn_free(copy);
            status = tn_fail_oom(err, 0);
        }
    } else {
        status = tn_fail(err, TERN_NOT_FOUND, "there is no model called '%.200s' in the repository", name);
    }
    serve_scan_release(&scan);
    return status;
}

tern_status serve_repository_load(serve_repository *r, const char *name, const char *config, tern_error *err) {
    pthread_mutex_lock(&r->loading);
    tern_status status = load_named(r, name, config, err);
    pthread_mutex_unlock(&r->loading);
    return status;
}

tern_status serve_repository_unload(serve_repository *r, const char *name, tern_error *err) {
    pthread_mutex_lock(&r->loading);
    model *m = find_model(r, name);
    if (m) {
        pthread_mutex_lock(&r->mutex);
        m->unloaded = true;
        pthread_mutex_unlock(&r->mutex);
        unload_model(r, m, "unloaded");
    }
    pthread_mutex_unlock(&r->loading);
    return m ? TERN_OK : tn_fail(err, TERN_NOT_FOUND, "there is no model called '%.200s'", name);
}

/* ---- the list ----------------------------------------------------------------------------------------------- */

static bool fill_entry(serve_entry *e, const model *m, slot *s) {
    *e = (serve_entry){.name = tn_strdup(m->name), .number = -1, .state = SERVE_UNAVAILABLE};
    e->reason = tn_strdup(s && s->reason[0] ? s->reason : m->reason[0] ? m->reason : "");
    if (!s) return e->name && e->reason;
    e->number = s->number;
    e->state = s->state;
    e->stats = &s->stats;
    e->version = s->version ? serve_version_ref(s->version) : NULL;
    return e->name && e->reason;
}

tern_status serve_repository_list(serve_repository *r, serve_entry **out, size_t *count, tern_error *err) {
    size_t cap = 0;
    bool good = true;
    *out = NULL;
    *count = 0;
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->n_models && good; i++) {
        const model *m = r->models[i];
        if (!m->present) continue;
        for (size_t k = 0; (k < m->n_slots || (k == 0 && m->n_slots == 0)) && good; k++) {
            good = tn_grow(out, &cap, *count + 1, sizeof **out);
            if (good) good = fill_entry(&(*out)[(*count)++], m, k < m->n_slots ? m->slots[k] : NULL);
        }
    }
    pthread_mutex_unlock(&r->mutex);
    if (good) return TERN_OK;
    serve_entries_release(*out, *count);
    *out = NULL;
    *count = 0;
    return tn_fail_oom(err, 0);
}

void serve_entries_release(serve_entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tn_free(entries[i].name);
        tn_free(entries[i].reason);
        serve_version_unref(entries[i].version);
    }
    tn_free(entries);
}
