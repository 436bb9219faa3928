#include "serve/scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define EMBEDDED_NAME "fashion"

bool serve_name_ok(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n <= 200 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@=") == n;
}

void serve_scan_release(serve_scan *s) {
    for (size_t i = 0; i < s->count; i++) {
        serve_scan_model *m = &s->models[i];
        for (size_t k = 0; k < m->n_versions; k++) tn_free(m->versions[k].path);
        tn_free(m->versions);
        tn_free(m->name);
        tn_free(m->folder);
        tn_free(m->config);
        tn_free(m->problem);
    }
    tn_free(s->models);
    *s = (serve_scan){0};
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static uint64_t signature_of(const char *path, uint64_t seed) {
    struct stat st;
    if (!path || stat(path, &st) != 0) return seed;
    uint64_t parts[] = {(uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec,
                        (uint64_t)st.st_ino};
    return tn_hash(parts, sizeof parts, seed);
}

/* "folder/name"; NULL: no memory. */
static char *join(const char *folder, const char *name) {
    tn_text t;
    tn_text_init(&t);
    tn_text_add(&t, "%s/%s", folder, name);
    if (!t.failed) return t.data;
    tn_text_release(&t);
    return NULL;
}

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

static bool is_model_name(const char *name) {
    return name[0] != '.' &&
           (ends_in(name, ".onnx") || ends_in(name, ".tern") || ends_in(name, ".pt") || ends_in(name, ".pth"));
}

typedef struct names {
    char **items;
    size_t count, cap;
} names;

static void names_release(names *n) {
    for (size_t i = 0; i < n->count; i++) tn_free(n->items[i]);
    tn_free(n->items);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* What a folder has, sorted, without what begins with a dot. */
static tern_status list(const char *folder, names *out, tern_error *err) {
    DIR *dir = opendir(folder);
    *out = (names){0};
    if (!dir) return tn_fail(err, TERN_IO, "%s: can not list the folder: %s", folder, strerror(errno));
    tern_status status = TERN_OK;
    for (const struct dirent *e = readdir(dir); e && status == TERN_OK; e = readdir(dir)) {
        if (e->d_name[0] == '.') continue;
        char *copy = tn_strdup(e->d_name);
        if (copy && tn_grow(&out->items, &out->cap, out->count + 1, sizeof *out->items)) {
            out->items[out->count++] = copy;
        } else {
            tn_free(copy);
            status = tn_fail_oom(err, 0);
        }
    }
    closedir(dir);
    if (out->count > 1) qsort(out->items, out->count, sizeof *out->items, by_text);
    return status;
}

/* ---- models ------------------------------------------------------------------------------------------------- */

/* Takes the strings, also on failure. */
static tern_status add_model(serve_scan *s, char *name, char *folder, serve_scan_model **out, tern_error *err) {
    const char *why = !name || !folder ? "" : NULL;
    for (size_t i = 0; !why && i < s->count; i++) {
        if (strcmp(s->models[i].name, name) == 0) why = name;
    }
    if (why || !tn_grow(&s->models, &s->cap, s->count + 1, sizeof *s->models)) {
        tern_status status =
            why && *why ? tn_fail(err, TERN_INVALID_ARGUMENT, "two models are called '%s'", name) : tn_fail_oom(err, 0);
        tn_free(name);
        tn_free(folder);
        return status;
    }
    *out = &s->models[s->count++];
    **out = (serve_scan_model){.name = name, .folder = folder};
    return TERN_OK;
}

/* Of all files right in a folder: weights and labels beside the model belong to what is loaded, too. */
static uint64_t signature_of_folder(const char *folder, uint64_t seed) {
    names n;
    tern_error err;
    list(folder, &n, &err); /* of one that can be entered but not listed, the model file is all that counts */
    for (size_t i = 0; i < n.count; i++) {
        char *path = join(folder, n.items[i]);
        if (path && is_file(path)) seed = signature_of(path, seed);
        tn_free(path);
    }
    names_release(&n);
    return seed;
}

/* Takes `path`, the model file in `folder`; folder NULL: it stands for itself. */
static tern_status add_version(serve_scan_model *m, int64_t number, char *path, const char *folder, tern_error *err) {
    uint64_t signature = signature_of(path, 1);
    if (folder) signature = signature_of_folder(folder, signature_of_folder(m->folder, signature));
    if (!tn_grow(&m->versions, &m->cap, m->n_versions + 1, sizeof *m->versions)) {
        tn_free(path);
        return tn_fail_oom(err, 0);
    }
    m->versions[m->n_versions++] = (serve_scan_version){number, path, signature};
    return TERN_OK;
}

static tern_status scan_file(serve_scan *s, const char *path, tern_error *err) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    char *stem = tn_strndup(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
    char *folder = slash ? tn_strndup(path, (size_t)(slash - path)) : tn_strdup(".");
    if (stem && !serve_name_ok(stem)) {
        tn_free(stem);
        tn_free(folder);
        return tn_fail(err, TERN_INVALID_ARGUMENT,
                       "%s: the model would be called like the file, and that name can not be used in a URL", path);
    }
    serve_scan_model *m;
    TN_TRY(add_model(s, stem, folder, &m, err));
    m->alone = true;
    char *copy = tn_strdup(path);
    return copy ? add_version(m, 1, copy, NULL, err) : tn_fail_oom(err, 0);
}

/* The model file in a folder: model.tern, model.onnx, model.pt, else the only one there is. *out NULL: none. */
static tern_status model_file(const char *folder, char **out, tern_error *err) {
    static const char *const usual[] = {"model.tern", "model.onnx", "model.pt"};
    *out = NULL;
    for (size_t i = 0; i < TN_COUNT(usual); i++) {
        char *path = join(folder, usual[i]);
        if (!path) return tn_fail_oom(err, 0);
        if (is_file(path)) {
            *out = path;
            return TERN_OK;
        }
        tn_free(path);
    }
    names n;
    tern_status status = list(folder, &n, err);
    const char *only = NULL;
    int count = 0;
    for (size_t i = 0; i < n.count; i++) {
        if (!is_model_name(n.items[i])) continue;
        only = n.items[i];
        count++;
    }
    if (status == TERN_OK && count == 1 && !(*out = join(folder, only))) status = tn_fail_oom(err, 0);
    names_release(&n);
    return status;
}

/* A name made of digits only. */
static bool version_number(const char *name, int64_t *out) {
    size_t n = strlen(name);
    if (n == 0 || n > 15 || strspn(name, "0123456789") != n) return false;
    *out = strtoll(name, NULL, 10);
    return true;
}

static int by_number(const void *a, const void *b) {
    const serve_scan_version *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static tern_status find_config(serve_scan_model *m, tern_error *err) {
    static const char *const usual[] = {"config.json", "config.pbtxt"};
    for (size_t i = 0; i < TN_COUNT(usual) && !m->config; i++) {
        char *path = join(m->folder, usual[i]);
        if (!path) return tn_fail_oom(err, 0);
        if (is_file(path)) {
            m->config = path;
        } else {
            tn_free(path);
        }
    }
    return TERN_OK;
}

/* Of folders like 1 and 01 nobody can say which is meant. */
static tern_status check_versions(serve_scan_model *m, tern_error *err) {
    for (size_t i = 1; i < m->n_versions && !m->problem; i++) {
        if (m->versions[i].number != m->versions[i - 1].number) continue;
        tn_text t;
        tn_text_init(&t);
        tn_text_add(&t, "%s: two folders for version %lld, with and without a zero in front; remove one", m->folder,
                    (long long)m->versions[i].number);
        m->problem = t.failed ? NULL : tn_strdup(t.data);
        tn_text_release(&t);
        if (!m->problem) return tn_fail_oom(err, 0);
    }
    return TERN_OK;
}

/* folder/<version>/model.onnx ...; or the model file right in the folder. */
static tern_status scan_model(serve_scan *s, const char *name, const char *folder, bool *found, tern_error *err) {
    names n;
    *found = false;
    tern_status status = list(folder, &n, err);
    serve_scan_model *m = NULL;
    for (size_t i = 0; i < n.count && status == TERN_OK; i++) {
        int64_t number;
        char *path = join(folder, n.items[i]), *file = NULL;
        if (path && version_number(n.items[i], &number) && is_folder(path)) {
            if (!m) status = add_model(s, tn_strdup(name), tn_strdup(folder), &m, err);
            if (status == TERN_OK) status = find_config(m, err);
            if (status == TERN_OK) status = model_file(path, &file, err);
            if (status == TERN_OK) status = add_version(m, number, file, path, err);
        }
        tn_free(path);
    }
    names_release(&n);
    if (status == TERN_OK && !m) {
        char *file;
        TN_TRY(model_file(folder, &file, err));
        if (!file) return TERN_OK;
        status = add_model(s, tn_strdup(name), tn_strdup(folder), &m, err);
        if (status == TERN_OK) status = find_config(m, err);
        if (status == TERN_OK) {
            status = add_version(m, 1, file, folder, err);
        } else {
            tn_free(file);
        }
    }
    *found = m != NULL;
    if (!m || m->n_versions < 2) return status;
    qsort(m->versions, m->n_versions, sizeof *m->versions, by_number);
    return status == TERN_OK ? check_versions(m, err) : status;
}

static tern_status scan_folder(serve_scan *s, const char *folder, tern_error *err) {
    names n;
    tern_status status = list(folder, &n, err);
    size_t before = s->count;
    for (size_t i = 0; i < n.count && status == TERN_OK; i++) {
        char *path = join(folder, n.items[i]);
        bool found;
        if (!path) {
            status = tn_fail_oom(err, 0);
        } else if (is_folder(path)) {
            int64_t number;
            if (serve_name_ok(n.items[i]) && !version_number(n.items[i], &number)) {
                status = scan_model(s, n.items[i], path, &found, err);
            }
        } else if (is_model_name(n.items[i]) && serve_name_ok(n.items[i])) {
            status = scan_file(s, path, err);
        }
        tn_free(path);
    }
    names_release(&n);
    if (status != TERN_OK || s->count > before) return status;
    /* The folder of one model, with versions in it. */
    char *clean = tn_strdup(folder);
    if (!clean) return tn_fail_oom(err, 0);
    size_t len = strlen(clean);
    while (len > 1 && clean[len - 1] == '/') clean[--len] = '\0';
    const char *slash = strrchr(clean, '/'), *name = slash ? slash + 1 : clean;
    bool found = false;
    if (serve_name_ok(name)) status = scan_model(s, name, clean, &found, err);
    tn_free(clean);
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const serve_scan_model *)a)->name, ((const serve_scan_model *)b)->name);
}

tern_status serve_scan_sources(serve_scan *out, const char *const *sources, size_t n_sources, tern_error *err) {
    *out = (serve_scan){0};
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n_sources && status == TERN_OK; i++) {
        if (is_folder(sources[i])) {
            status = scan_folder(out, sources[i], err);
        } else if (is_file(sources[i])) {
            status = scan_file(out, sources[i], err);
        } else {
            status = tn_fail(err, TERN_IO, "%s: there is no such file or folder", sources[i]);
        }
    }
    if (n_sources == 0) {
        serve_scan_model *m;
        status = add_model(out, tn_strdup(EMBEDDED_NAME), tn_strdup("."), &m, err);
        if (status == TERN_OK) m->alone = true;
        if (status == TERN_OK) status = add_version(m, 1, NULL, NULL, err);
    }
    if (status == TERN_OK && out->count > 1) qsort(out->models, out->count, sizeof *out->models, by_name);
    if (status != TERN_OK) serve_scan_release(out);
    return status;
}
