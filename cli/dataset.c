#include "cli/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "cli/cli.h"

#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

/* ---- a file that may be compressed -------------------------------------------------------------------------- */

#ifdef HAVE_ZLIB
typedef gzFile stream; /* reads plain files as they are */
static stream open_stream(const char *path) { return gzopen(path, "rb"); }
static bool read_stream(stream s, void *dst, size_t n) { return gzread(s, dst, (unsigned)n) == (int)n; }
static void close_stream(stream s) {
    if (s) gzclose(s);
}
#else
typedef FILE *stream;
static stream open_stream(const char *path) { return fopen(path, "rb"); }
static bool read_stream(stream s, void *dst, size_t n) { return fread(dst, 1, n, s) == n; }
static void close_stream(stream s) {
    if (s) fclose(s);
}
#endif

/* ---- data sets --------------------------------------------------------------------------------------------- */

struct cli_dataset {
    size_t count, at;
    /* IDX */
    char *image_path, *label_path;
    stream images, labels;
    uint32_t height, width, depth;
    uint8_t *pixels; /* (height, width, depth) */
    /* folders */
    cli_paths files;
    size_t *classes; /* of each file */
};

void cli_dataset_close(cli_dataset *data) {
    if (!data) return;
    close_stream(data->images);
    close_stream(data->labels);
    tn_free(data->image_path);
    tn_free(data->label_path);
    tn_free(data->pixels);
    cli_paths_release(&data->files);
    tn_free(data->classes);
    tn_free(data);
}

size_t cli_dataset_count(const cli_dataset *data) { return data->count; }

static tern_status finish_open(cli_dataset **out, cli_dataset *data, tern_status status) {
    if (status != TERN_OK) {
        cli_dataset_close(data);
        data = NULL;
    }
    *out = data;
    return status;
}

/* ---- IDX --------------------------------------------------------------------------------------------------- */

#define IDX_UNSIGNED_BYTE 8

/* Two zero bytes, the type, the number of dims, the dims, most significant byte first. */
static tern_status read_idx_header(stream s, const char *path, int min_rank, int max_rank, uint32_t dims[4],
                                   tern_error *err) {
    uint8_t magic[4], bytes[16];
    if (!read_stream(s, magic, 4)) return tn_fail(err, TERN_INVALID_FORMAT, "%s: too short for an IDX file", path);
    if (magic[0] == 0x1f && magic[1] == 0x8b) {
        return tn_fail(err, TERN_UNSUPPORTED, "%s: this build reads no .gz files; install zlib1g-dev and rebuild",
                       path);
    }
    int rank = magic[3];
    if (magic[0] != 0 || magic[1] != 0 || magic[2] != IDX_UNSIGNED_BYTE || rank < min_rank || rank > max_rank) {
        return tn_fail(err, TERN_INVALID_FORMAT, "%s: not an IDX file of unsigned bytes with %d to %d dims", path,
                       min_rank, max_rank);
    }
    if (!read_stream(s, bytes, 4 * (size_t)rank))
        return tn_fail(err, TERN_INVALID_FORMAT, "%s: the IDX header is truncated", path);
    for (int i = 0; i < rank; i++) {
        const uint8_t *b = bytes + (size_t)i * 4;
        dims[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (int i = rank; i < 4; i++) dims[i] = 1;
    return TERN_OK;
}

static tern_status open_idx(cli_dataset *d, const char *images, const char *labels, tern_error *err) {
    d->image_path = cli_must(tn_strdup(images));
    d->label_path = cli_must(tn_strdup(labels));
    d->images = open_stream(images);
    if (!d->images) return tn_fail(err, TERN_IO, "%s: can not be opened: %s", images, strerror(errno));
    d->labels = open_stream(labels);
    if (!d->labels) return tn_fail(err, TERN_IO, "%s: can not be opened: %s", labels, strerror(errno));
    uint32_t dims[4], label_dims[4];
    TN_TRY(read_idx_header(d->images, images, 3, 4, dims, err));
    TN_TRY(read_idx_header(d->labels, labels, 1, 1, label_dims, err));
    if (dims[0] != label_dims[0] || dims[0] == 0) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "%s has %u pictures, %s has %u labels", images, dims[0], labels,
                       label_dims[0]);
    }
    d->count = dims[0];
    d->height = dims[1];
    d->width = dims[2];
    d->depth = dims[3];
    if (d->height < 1 || d->width < 1 || d->height > 16384 || d->width > 16384 || (d->depth != 1 && d->depth != 3)) {
        return tn_fail(err, TERN_UNSUPPORTED, "%s: pictures of %u x %u with %u channels", images, d->width, d->height,
                       d->depth);
    }
    size_t bytes = (size_t)d->height * d->width * d->depth;
    d->pixels = tn_alloc(bytes);
    return d->pixels ? TERN_OK : tn_fail_oom(err, bytes);
}

tern_status cli_dataset_open_idx(cli_dataset **out, const char *images, const char *labels, tern_error *err) {
    cli_dataset *d = cli_must(tn_calloc(1, sizeof *d));
    return finish_open(out, d, open_idx(d, images, labels, err));
}

static tern_status next_idx(cli_dataset *d, cli_sample *sample, tern_error *err) {
    size_t pixels = (size_t)d->height * d->width;
    uint8_t label;
    if (!read_stream(d->images, d->pixels, pixels * d->depth)) {
        return tn_fail(err, TERN_INVALID_FORMAT, "%s: ends in picture %zu of %zu", d->image_path, d->at, d->count);
    }
    if (!read_stream(d->labels, &label, 1)) {
        return tn_fail(err, TERN_INVALID_FORMAT, "%s: ends at label %zu of %zu", d->label_path, d->at, d->count);
    }
    TN_TRY(tern_image_create(&sample->image, (int)d->width, (int)d->height, err));
    for (size_t i = 0; i < pixels * 3; i++) sample->image.data[i] = d->pixels[d->depth == 3 ? i : i / 3];
    sample->label = label;
    return TERN_OK;
}

/* ---- a folder per class ------------------------------------------------------------------------------------ */

static bool all_digits(const char *s) { return *s && s[strspn(s, "0123456789")] == '\0' && strlen(s) < 8; }

/* The class that a folder's name stands for; false: none. */
static bool find_class(const tern_labels *labels, const char *name, size_t *out) {
    for (size_t i = 0; i < labels->count; i++) {
        const char *label = labels->names[i];
        size_t word = strcspn(label, " ");
        if (strcmp(label, name) == 0 || (strlen(name) == word && memcmp(label, name, word) == 0)) {
            *out = i;
            return true;
        }
    }
    if (!all_digits(name)) return false;
    *out = (size_t)strtoul(name, NULL, 10);
    return true;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names of the folders in a folder, sorted. */
static tern_status list_classes(cli_paths *out, const char *folder, tern_error *err) {
    DIR *dir = opendir(folder);
    if (!dir) return tn_fail(err, TERN_IO, "%s: can not list the folder: %s", folder, strerror(errno));
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] == '.') continue;
        tn_text path;
        tn_text_init(&path);
        tn_text_add(&path, "%s/%s", folder, e->d_name);
        cli_must(path.failed ? NULL : path.data);
        if (cli_is_folder(path.data)) cli_paths_add(out, e->d_name);
        tn_text_release(&path);
    }
    closedir(dir);
    if (out->count == 0) return tn_fail(err, TERN_NOT_FOUND, "%s: there is no folder per class in it", folder);
    qsort(out->items, out->count, sizeof *out->items, by_name);
    return TERN_OK;
}

static tern_status add_class(cli_dataset *d, const char *folder, const char *name, size_t class, size_t *cap,
                             tern_error *err) {
    tn_text path;
    tn_text_init(&path);
    tn_text_add(&path, "%s/%s", folder, name);
    cli_must(path.failed ? NULL : path.data);
    size_t before = d->files.count;
    tern_status status = cli_paths_add_folder(&d->files, path.data, err);
    tn_text_release(&path);
    if (status != TERN_OK) return status;
    cli_must(tn_grow(&d->classes, cap, d->files.count, sizeof *d->classes) ? d->classes : NULL);
    for (size_t i = before; i < d->files.count; i++) d->classes[i] = class;
    return TERN_OK;
}

static tern_status open_folder(cli_dataset *d, const char *folder, const cli_paths *names, const tern_labels *labels,
                               tern_error *err) {
    bool by_order = labels->count == 0;
    for (size_t i = 0; i < names->count; i++) by_order = by_order && !all_digits(names->items[i]);
    size_t cap = 0;
    for (size_t i = 0; i < names->count; i++) {
        size_t class = i;
        if (!by_order && !find_class(labels, names->items[i], &class)) {
            return tn_fail(err, TERN_NOT_FOUND, "%s/%s: the folder's name is no class of the model", folder,
                           names->items[i]);
        }
        TN_TRY(add_class(d, folder, names->items[i], class, &cap, err));
    }
    d->count = d->files.count;
    return TERN_OK;
}

tern_status cli_dataset_open_folder(cli_dataset **out, const char *folder, const tern_labels *labels, tern_error *err) {
    cli_dataset *d = cli_must(tn_calloc(1, sizeof *d));
    cli_paths names = {0};
    tern_status status = list_classes(&names, folder, err);
    if (status == TERN_OK) status = open_folder(d, folder, &names, labels, err);
    cli_paths_release(&names);
    return finish_open(out, d, status);
}

tern_status cli_dataset_next(cli_dataset *data, cli_sample *sample, tern_error *err) {
    *sample = (cli_sample){0};
    if (data->at >= data->count) return tn_fail(err, TERN_NOT_FOUND, "there are no more pictures");
    size_t at = data->at++;
    if (data->images) return next_idx(data, sample, err);
    sample->label = data->classes[at];
    sample->skipped = tern_image_load(&sample->image, data->files.items[at], NULL, err) != TERN_OK;
    return TERN_OK;
}
