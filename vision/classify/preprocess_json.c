/* Preprocessing as JSON: our own keys, and the words of the info.json that some collections of models carry. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "vision/classify/preprocess.h"

/* ---- our own format ---------------------------------------------------------------------------------------- */

static tern_status bad(tern_error *err, const char *key, const char *want) {
    return tn_fail(err, TERN_INVALID_FORMAT, "\"%s\" must be %s", key, want);
}

static bool read_whole(const cJSON *item, int most, int *out) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 1) || item->valuedouble > most ||
        item->valuedouble != floor(item->valuedouble)) {
        return false;
    }
    *out = (int)item->valuedouble;
    return true;
}

/* [w, h], "none" or "WxH". */
static bool read_size(const cJSON *item, tern_preprocess *p) {
    if (cJSON_IsString(item)) {
        if (strcmp(item->valuestring, "none") == 0) {
            p->width = p->height = 0;
            return true;
        }
        char *end;
        long width = strtol(item->valuestring, &end, 10);
        if (*end != 'x' || width < 1 || width > TERN_IMAGE_MAX_SIDE) return false;
        long height = strtol(end + 1, &end, 10);
        if (*end != '\0' || height < 1 || height > TERN_IMAGE_MAX_SIDE) return false;
        p->width = (int)width;
        p->height = (int)height;
        return true;
    }
    return cJSON_IsArray(item) && cJSON_GetArraySize(item) == 2 &&
           read_whole(cJSON_GetArrayItem(item, 0), TERN_IMAGE_MAX_SIDE, &p->width) &&
           read_whole(cJSON_GetArrayItem(item, 1), TERN_IMAGE_MAX_SIDE, &p->height);
}

/* A number, or one per channel. */
static bool read_values(const cJSON *item, double values[TERN_MAX_CHANNELS], int *count) {
    if (cJSON_IsNumber(item)) {
        values[0] = item->valuedouble;
        *count = 1;
        return isfinite(values[0]);
    }
    int n = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 0;
    if (n < 1 || n > TERN_MAX_CHANNELS) return false;
    for (int i = 0; i < n; i++) {
        const cJSON *v = cJSON_GetArrayItem(item, i);
        if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble)) return false;
        values[i] = v->valuedouble;
    }
    *count = n;
    return true;
}

/* Index of the word in a list; letters of either case. */
static bool read_word(const cJSON *item, const char *const *words, int n, int *out) {
    if (!cJSON_IsString(item)) return false;
    for (int i = 0; i < n; i++) {
        const char *a = item->valuestring, *b = words[i];
        while (*a && (*a >= 'A' && *a <= 'Z' ? *a + 32 : *a) == *b) {
            a++;
            b++;
        }
        if (*a == '\0' && *b == '\0') {
            *out = i;
            return true;
        }
    }
    return false;
}

static const char *const fits[] = {"stretch", "crop", "letterbox"};
static const char *const filters[] = {"auto", "linear", "area"};
static const char *const channel_orders[] = {"rgb", "bgr", "grey", "gray"};
static const char *const layouts[] = {"nchw", "nhwc"};

static tern_status read_key(tern_preprocess *p, const cJSON *item, tern_error *err) {
    const char *key = item->string;
    int word = 0;
    if (strcmp(key, "size") == 0) {
        if (!read_size(item, p)) return bad(err, key, "[width, height], \"WxH\" or \"none\"");
        p->set |= TERN_PRE_SIZE;
    } else if (strcmp(key, "fit") == 0) {
        if (!read_word(item, fits, 3, &word)) return bad(err, key, "\"stretch\", \"crop\" or \"letterbox\"");
        p->fit = (tern_fit)word;
        p->set |= TERN_PRE_FIT;
    } else if (strcmp(key, "resize") == 0) {
        if (!read_whole(item, TERN_IMAGE_MAX_SIDE, &p->resize)) return bad(err, key, "a number of pixels");
        p->set |= TERN_PRE_RESIZE;
    } else if (strcmp(key, "filter") == 0) {
        if (!read_word(item, filters, 3, &word)) return bad(err, key, "\"auto\", \"linear\" or \"area\"");
        p->filter = (tern_filter)word;
        p->set |= TERN_PRE_FILTER;
    } else if (strcmp(key, "scale") == 0) {
        if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)) return bad(err, key, "a number");
        p->scale = item->valuedouble;
        p->set |= TERN_PRE_SCALE;
    } else if (strcmp(key, "mean") == 0) {
        if (!read_values(item, p->mean, &p->n_mean)) return bad(err, key, "a number or one per channel");
        p->set |= TERN_PRE_MEAN;
    } else if (strcmp(key, "std") == 0) {
        if (!read_values(item, p->std, &p->n_std)) return bad(err, key, "a number or one per channel");
        p->set |= TERN_PRE_STD;
    } else if (strcmp(key, "channels") == 0) {
        if (!read_word(item, channel_orders, 4, &word)) return bad(err, key, "\"rgb\", \"bgr\" or \"grey\"");
        p->channels = word == 3 ? TERN_CHANNELS_GREY : (tern_channels)word;
        p->set |= TERN_PRE_CHANNELS;
    } else if (strcmp(key, "layout") == 0) {
        if (!read_word(item, layouts, 2, &word)) return bad(err, key, "\"nchw\" or \"nhwc\"");
        p->layout = (tern_layout)word;
        p->set |= TERN_PRE_LAYOUT;
    } else {
        return tn_fail(err, TERN_INVALID_FORMAT,
                       "\"%s\" is no key of the preprocessing (size fit resize filter scale mean std channels layout)",
                       key);
    }
    return TERN_OK;
}

static tern_status read_object(tern_preprocess *out, const cJSON *object, tern_error *err) {
    if (!cJSON_IsObject(object)) return tn_fail(err, TERN_INVALID_FORMAT, "the preprocessing must be a JSON object");
    const cJSON *item;
    cJSON_ArrayForEach(item, object) TN_TRY(read_key(out, item, err));
    return TERN_OK;
}

static tern_status parse_json(cJSON **out, const char *json, size_t len, tern_error *err) {
    const char *end = NULL;
    *out = cJSON_ParseWithLengthOpts(json, len, &end, 0);
    if (*out) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "not JSON from byte %zu on", end ? (size_t)(end - json) : (size_t)0);
}

tern_status tern_preprocess_parse(tern_preprocess *out, const char *json, size_t len, tern_error *err) {
    *out = (tern_preprocess){0};
    cJSON *root;
    TN_TRY(parse_json(&root, json, len, err));
    tern_status status = read_object(out, root, err);
    cJSON_Delete(root);
    return status;
}

/* ---- info.json --------------------------------------------------------------------------------------------- */

static void skip_blanks(const char **p) {
    while (**p == ' ') (*p)++;
}

static bool take(const char **p, const char *word) {
    skip_blanks(p);
    size_t n = strlen(word);
    if (strncmp(*p, word, n) != 0) return false;
    *p += n;
    return true;
}

static bool take_number(const char **p, double *out) {
    skip_blanks(p);
    char *end;
    *out = strtod(*p, &end);
    if (end == *p || !isfinite(*out)) return false;
    *p = end;
    return true;
}

/* "(u8 - 128) * 0.0078125", "u8 / 255", "u8": value = (pixel - shift) * factor, hence scale = factor and
 * mean = shift * factor. */
static bool read_formula(const char *text, tern_preprocess *p) {
    double shift = 0, factor = 1;
    bool bracket = take(&text, "(");
    if (!take(&text, "u8")) return false;
    if (bracket && take(&text, "-")) {
        if (!take_number(&text, &shift)) return false;
    } else if (bracket && take(&text, "+")) {
        if (!take_number(&text, &shift)) return false;
        shift = -shift;
    }
    if (bracket && !take(&text, ")")) return false;
    if (take(&text, "*")) {
        if (!take_number(&text, &factor)) return false;
    } else if (take(&text, "/")) {
        if (!take_number(&text, &factor) || factor == 0) return false;
        factor = 1 / factor;
    }
    skip_blanks(&text);
    if (*text) return false;
    p->scale = factor;
    p->mean[0] = shift * factor;
    p->n_mean = 1;
    p->set |= TERN_PRE_SCALE | TERN_PRE_MEAN;
    return true;
}

static tern_status read_info(tern_preprocess *out, const cJSON *object, tern_error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        const char *key = item->string;
        int word;
        if (strcmp(key, "formula") == 0) {
            if (!cJSON_IsString(item) || !read_formula(item->valuestring, out)) {
                return tn_fail(err, TERN_UNSUPPORTED,
                               "the formula of the preprocessing is not like \"(u8 - 128) * 0.0078125\"");
            }
        } else if (strcmp(key, "channel_order") == 0) {
            if (!read_word(item, channel_orders, 4, &word)) return bad(err, key, "\"RGB\", \"BGR\" or \"grey\"");
            out->channels = word == 3 ? TERN_CHANNELS_GREY : (tern_channels)word;
            out->set |= TERN_PRE_CHANNELS;
        } else if (strcmp(key, "mean") == 0 || strcmp(key, "std") == 0 || strcmp(key, "scale") == 0 ||
                   strcmp(key, "layout") == 0) {
            TN_TRY(read_key(out, item, err));
        }
        /* The rest is prose. */
    }
    return TERN_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------- */

/* Keys of the preprocessing that stand outside of "preprocess" would be ignored: that is a mistake, not a wish. */
static tern_status check_top_level(const cJSON *root, tern_error *err) {
    static const char *const keys[] = {"size", "fit", "resize", "scale", "mean", "std"};
    for (size_t i = 0; i < TN_COUNT(keys); i++)
        if (cJSON_GetObjectItemCaseSensitive(root, keys[i]))
            return tn_fail(err, TERN_INVALID_FORMAT, "\"%s\" belongs into an object \"preprocess\"", keys[i]);
    return TERN_OK;
}

/* *described: the file says something of preprocessing. An empty file says nothing. */
static tern_status read_file(tern_preprocess *out, const char *path, bool *described, tern_error *err) {
    tn_file file;
    *described = false;
    TN_TRY(tn_file_map(&file, path, err));
    cJSON *root = NULL;
    tern_status status = file.size ? parse_json(&root, (const char *)file.data, file.size, err) : TERN_OK;
    if (root) {
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(root, "preprocess");
        const cJSON *info = cJSON_GetObjectItemCaseSensitive(root, "preprocessing");
        *described = own || cJSON_IsObject(info);
        if (own) {
            status = read_object(out, own, err);
        } else if (cJSON_IsObject(info)) {
            status = read_info(out, info, err);
        } else {
            status = check_top_level(root, err);
        }
    }
    cJSON_Delete(root);
    tn_file_unmap(&file);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}

tern_status tern_preprocess_load(tern_preprocess *out, const char *path, tern_error *err) {
    *out = (tern_preprocess){0};
    bool described;
    TN_TRY(read_file(out, path, &described, err));
    if (described) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "%s: there is no \"preprocess\" in it", path);
}

static tern_status try_beside(tern_preprocess *out, const char *folder, size_t folder_len, const char *name,
                              size_t name_len, bool *described, tern_error *err) {
    tn_text path;
    tn_text_init(&path);
    tn_text_add_str(&path, folder, folder_len);
    tn_text_add_str(&path, name, name_len);
    tn_text_add(&path, ".json");
    tern_status status = TERN_OK;
    struct stat st;
    if (path.failed) {
        status = tn_fail_oom(err, folder_len + name_len + 6);
    } else if (stat(path.data, &st) == 0 && S_ISREG(st.st_mode)) {
        status = read_file(out, path.data, described, err);
    }
    tn_text_release(&path);
    return status;
}

tern_status tern_preprocess_beside(tern_preprocess *out, const char *model_path, tern_error *err) {
    *out = (tern_preprocess){0};
    const char *slash = strrchr(model_path, '/');
    const char *name = slash ? slash + 1 : model_path;
    size_t folder = (size_t)(name - model_path), len = strlen(name);
    if (len > 5 && strcmp(name + len - 5, ".onnx") == 0) len -= 5;
    const tn_str names[] = {{name, len}, {"preprocess", 10}, {"info", 4}};
    bool described = false;
    for (size_t i = 0; i < TN_COUNT(names) && !described; i++) {
        TN_TRY(try_beside(out, model_path, folder, names[i].data, names[i].len, &described, err));
    }
    return TERN_OK;
}

tern_status tern_preprocess_metadata(tern_preprocess *out, const tern_model *model, tern_error *err) {
    *out = (tern_preprocess){0};
    const char *text = tern_model_metadata(model, "tern.preprocess");
    if (!text) return TERN_OK;
    tern_status status = tern_preprocess_parse(out, text, strlen(text), err);
    if (status != TERN_OK) tn_error_prefix(err, "metadata \"tern.preprocess\": ");
    return status;
}
