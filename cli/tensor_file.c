#include "cli/tensor_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "cli/compare.h"
#include "cli/json.h"
#include "tensor/tensor.h"

char *cli_tensor_path(const char *folder, const char *name, cli_format format) {
    static const char *const endings[] = {"npy", "pb", "raw", "json"};
    size_t n = strlen(folder) + strlen(name) + 8;
    char *path = cli_must(malloc(n));
    snprintf(path, n, "%s/%s.%s", folder, name, endings[format]);
    char *base = path + strlen(folder) + 1;
    tn_utf8_clean_line(base); /* so that an index can name the file */
    for (size_t i = 0; base[i]; i++)
        if (base[i] == '/' || base[i] == '\\' || (base[i] == '?' && name[i] != '?')) base[i] = '_';
    if (*base == '.') *base = '_';
    return path;
}

tern_status cli_make_folder(const char *path, tern_error *err) {
    if (mkdir(path, 0777) == 0) return TERN_OK;
    struct stat st;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return TERN_OK;
    return tn_fail(err, TERN_IO, "%s: can not make the folder: %s", path, strerror(errno));
}

bool cli_fits_npy(const tern_tensor *t) {
    return tern_tensor_kind(t) == TERN_KIND_TENSOR &&
           (tern_tensor_dtype(t) < TERN_BFLOAT16 || tern_tensor_dtype(t) == TERN_STRING);
}

static tern_status write_raw(const tern_tensor *t, const char *path, tern_error *err) {
    if (tern_tensor_kind(t) != TERN_KIND_TENSOR || tern_tensor_dtype(t) == TERN_STRING)
        return tn_fail(err, TERN_UNSUPPORTED, "%s: strings, sequences, optionals and maps can not be raw; use .pb",
                       path);
    return tn_file_write(path, tern_tensor_const_data(t), tern_tensor_bytes(t), err);
}

static void add_element(tn_text *text, const tern_tensor *t, int64_t i) {
    double x = cli_element(t, i);
    if (!isfinite(x))
        tn_text_add(text, "null");
    else if (tern_tensor_dtype(t) == TERN_INT64)
        tn_text_add(text, "%" PRId64, ((const int64_t *)tern_tensor_const_data(t))[i]);
    else if (tern_tensor_dtype(t) == TERN_UINT64)
        tn_text_add(text, "%" PRIu64, ((const uint64_t *)tern_tensor_const_data(t))[i]);
    else
        tn_text_add(text, tern_tensor_dtype(t) == TERN_DOUBLE ? "%.17g" : "%.9g", x);
}

static tern_status write_json(const tern_tensor *t, const char *name, const char *path, tern_error *err) {
    if (tern_tensor_kind(t) != TERN_KIND_TENSOR || tern_tensor_dtype(t) == TERN_STRING ||
        tern_tensor_dtype(t) == TERN_COMPLEX64 || tern_tensor_dtype(t) == TERN_COMPLEX128)
        return tn_fail(err, TERN_UNSUPPORTED, "%s: only tensors of real numbers are written as JSON; use .pb", path);
    cJSON *head = cli_json_object(NULL, NULL);
    cli_json_string(head, "name", name);
    cli_json_string(head, "dtype", tern_dtype_name(tern_tensor_dtype(t)));
    cJSON *shape = cli_json_array(head, "shape");
    for (int i = 0; i < tern_tensor_rank(t); i++) cli_json_int(shape, NULL, tern_tensor_dims(t)[i]);
    char *start = cli_must(cJSON_PrintUnformatted(head));
    cJSON_Delete(head);
    tn_text text;
    tn_text_init(&text);
    tn_text_add_str(&text, start, strlen(start) - 1); /* without the closing brace */
    cJSON_free(start);
    tn_text_add(&text, ",\"data\":[");
    for (int64_t i = 0, n = tern_tensor_count(t); i < n; i++) {
        if (i) tn_text_add_str(&text, ",", 1);
        add_element(&text, t, i);
    }
    tn_text_add(&text, "]}\n");
    tern_status status = text.failed ? tn_fail_oom(err, text.len) : tn_file_write(path, text.data, text.len, err);
    tn_text_release(&text);
    return status;
}

tern_status cli_tensor_write(const tern_tensor *t, const char *name, const char *path, cli_format format,
                             tern_error *err) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) /* the name is the model's: it must not lead elsewhere */
        return tn_fail(err, TERN_IO, "%s: is a symbolic link; outputs are not written through it", path);
    switch (format) {
    case CLI_FORMAT_PB:
        return tern_tensor_save_pb(t, path, err);
    case CLI_FORMAT_RAW:
        return write_raw(t, path, err);
    case CLI_FORMAT_JSON:
        return write_json(t, name, path, err);
    default:
        return tern_tensor_save_npy(t, path, err);
    }
}
