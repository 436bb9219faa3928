/* External data: files in the model's folder, mapped once each and kept by the model. */
#include "onnx/onnx_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static tern_status fail_location(tern_error *err, tn_str location, const char *why) {
    return tn_fail(err, TERN_INVALID_MODEL, "external data in '%.*s': %s", (int)TN_MIN(location.len, (size_t)300),
                   location.data, why);
}

static bool has_parent_component(const char *path) {
    for (const char *at = path; at;) {
        const char *slash = strchr(at, '/');
        size_t len = slash ? (size_t)(slash - at) : strlen(at);
        if (len == 2 && at[0] == '.' && at[1] == '.') return true;
        at = slash ? slash + 1 : NULL;
    }
    return false;
}

static bool is_inside(const char *folder, const char *path) {
    size_t len = strlen(folder);
    if (strncmp(folder, path, len) != 0) return false;
    return path[len] == '/' || (len && folder[len - 1] == '/'); // the latter: the root
}

/* The file behind the location, without links. *out is freed with free. */
static tern_status real_location(const tn_importer *im, tn_str location, char **out, tern_error *err) {
    if (!location.len) return fail_location(err, location, "no location is given");
    if (memchr(location.data, 0, location.len)) return fail_location(err, location, "the path holds a NUL");
    char *name = tn_strndup(location.data, location.len);
    if (!name) return tn_fail_oom(err, location.len);
    tern_status status = TERN_OK;
    if (name[0] == '/') status = fail_location(err, location, "the path is absolute");
    if (has_parent_component(name)) status = fail_location(err, location, "the path leaves the model's folder");
    tn_text path;
    tn_text_init(&path);
    tn_text_add(&path, "%s/%s", im->folder, name);
    if (status == TERN_OK && path.failed) status = tn_fail_oom(err, location.len);
    if (status == TERN_OK) {
        *out = realpath(path.data, NULL);
        if (!*out) {
            status = tn_fail(err, TERN_IO, "external data in '%.300s': there is no such file beside the model", name);
        } else if (!is_inside(im->folder, *out)) {
            status = fail_location(err, location, "a link leaves the model's folder");
        }
    }
    tn_text_release(&path);
    tn_free(name);
    return status;
}

static tern_status map_location(tn_importer *im, tn_str location, size_t *index, tern_error *err) {
    tern_model *m = im->model;
    *index = (size_t)(uintptr_t)tn_map_get(&im->external, location);
    if (*index) return TERN_OK;
    char *path = NULL;
    tern_status status = real_location(im, location, &path, err);
    if (status == TERN_OK && !tn_grow(&m->files, &m->cap_files, m->n_files + 1, sizeof *m->files)) {
        status = tn_fail_oom(err, sizeof *m->files);
    }
    if (status == TERN_OK) status = tn_file_map(&m->files[m->n_files], path, err);
    free(path);
    if (status != TERN_OK) return status;
    *index = ++m->n_files;
    if (!tn_map_put(&im->external, location, (void *)(uintptr_t)*index)) return tn_fail_oom(err, location.len);
    return TERN_OK;
}

tern_status tn_import_external(void *importer, tn_str location, uint64_t offset, uint64_t length, const uint8_t **data,
                               tern_error *err) {
    tn_importer *im = importer;
    size_t index;
    TN_TRY(map_location(im, location, &index, err));
    const tn_file *file = &im->model->files[index - 1];
    if (offset > file->size || length > file->size - offset) {
        return tn_fail(err, TERN_INVALID_MODEL,
                       "external data in '%.*s': bytes %" PRIu64 " to %" PRIu64 " are wanted, the file has %zu",
                       (int)TN_MIN(location.len, (size_t)300), location.data, offset, offset + length, file->size);
    }
    *data = file->data + offset;
    return TERN_OK;
}
