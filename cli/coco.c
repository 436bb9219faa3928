#include "cli/coco.h"

#include <math.h>
#include <stdlib.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/json.h"

#define MAX_ITEMS INT32_MAX
#define MAX_ID    9007199254740992.0 /* 2^53: from there on JSON readers disagree about integers */

/* The list `key` of the file, with its length. */
static tern_status get_list(const cJSON *root, const char *key, cJSON **list, size_t *count, tern_error *err) {
    *list = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsArray(*list)) return tn_fail(err, TERN_INVALID_FORMAT, "there is no list \"%s\"", key);
    *count = 0;
    for (const cJSON *item = (*list)->child; item; item = item->next) ++*count;
    if (*count > MAX_ITEMS) return tn_fail(err, TERN_LIMIT_EXCEEDED, "\"%s\" has %zu entries", key, *count);
    return TERN_OK;
}

static bool get_id(const cJSON *object, const char *key, int64_t *id) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) < MAX_ID) || item->valuedouble != trunc(item->valuedouble)) {
        return false;
    }
    *id = (int64_t)item->valuedouble;
    return true;
}

static bool get_text(const cJSON *object, const char *key, char **text) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsString(item) || !item->valuestring[0]) return false;
    *text = cli_must(tn_strdup(item->valuestring));
    return true;
}

/* ---- pictures and categories ------------------------------------------------------------------------------------ */

static int compare_ids(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int by_picture(const void *a, const void *b) {
    return compare_ids(((const cli_coco_picture *)a)->id, ((const cli_coco_picture *)b)->id);
}

static int by_category(const void *a, const void *b) {
    return compare_ids(((const cli_coco_category *)a)->id, ((const cli_coco_category *)b)->id);
}

static tern_status read_pictures(cli_coco *out, const cJSON *root, tern_error *err) {
    cJSON *list;
    size_t count;
    TN_TRY(get_list(root, "images", &list, &count, err));
    out->pictures = cli_must(tn_calloc(count + 1, sizeof *out->pictures));
    for (const cJSON *item = list->child; item; item = item->next) {
        cli_coco_picture *p = &out->pictures[out->n_pictures];
        if (!get_id(item, "id", &p->id) || !get_text(item, "file_name", &p->file)) {
            return tn_fail(err, TERN_INVALID_FORMAT, "entry %zu of \"images\" has no \"id\" or no \"file_name\"",
                           out->n_pictures);
        }
        out->n_pictures++;
    }
    if (count == 0) return tn_fail(err, TERN_INVALID_FORMAT, "\"images\" is empty");
    qsort(out->pictures, count, sizeof *out->pictures, by_picture);
    for (size_t i = 1; i < count; i++) {
        if (out->pictures[i].id != out->pictures[i - 1].id) continue;
        return tn_fail(err, TERN_INVALID_FORMAT, "two images have the id %lld", (long long)out->pictures[i].id);
    }
    return TERN_OK;
}

static tern_status read_categories(cli_coco *out, const cJSON *root, tern_error *err) {
    cJSON *list;
    size_t count;
    TN_TRY(get_list(root, "categories", &list, &count, err));
    out->categories = cli_must(tn_calloc(count + 1, sizeof *out->categories));
    for (const cJSON *item = list->child; item; item = item->next) {
        cli_coco_category *c = &out->categories[out->n_categories];
        if (!get_id(item, "id", &c->id) || !get_text(item, "name", &c->name)) {
            return tn_fail(err, TERN_INVALID_FORMAT, "entry %zu of \"categories\" has no \"id\" or no \"name\"",
                           out->n_categories);
        }
        out->n_categories++;
    }
    if (count == 0) return tn_fail(err, TERN_INVALID_FORMAT, "\"categories\" is empty");
    qsort(out->categories, count, sizeof *out->categories, by_category);
    for (size_t i = 1; i < count; i++) {
        if (out->categories[i].id != out->categories[i - 1].id) continue;
        return tn_fail(err, TERN_INVALID_FORMAT, "two categories have the id %lld", (long long)out->categories[i].id);
    }
    return TERN_OK;
}

/* ---- annotations ------------------------------------------------------------------------------------------------ */

static bool get_box(const cJSON *object, coco_box *box) {
    double v[4];
    int count = 0;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, "bbox");
    if (!cJSON_IsArray(list)) return false;
    for (const cJSON *item = list->child; item; item = item->next) {
        if (count == 4 || !cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 1e9)) return false;
        v[count++] = item->valuedouble;
    }
    if (count != 4 || v[2] < 0 || v[3] < 0) return false;
    *box = (coco_box){v[0], v[1], v[2], v[3]};
    return true;
}

static tern_status read_truth(const cli_coco *data, const cJSON *item, coco_truth *out, size_t at, tern_error *err) {
    cli_coco_picture picture = {0}, *p = NULL;
    cli_coco_category category = {0}, *c = NULL;
    if (get_id(item, "image_id", &picture.id)) {
        p = bsearch(&picture, data->pictures, data->n_pictures, sizeof picture, by_picture);
    }
    if (!p) return tn_fail(err, TERN_INVALID_FORMAT, "annotation %zu: no image has its \"image_id\"", at);
    if (get_id(item, "category_id", &category.id)) {
        c = bsearch(&category, data->categories, data->n_categories, sizeof category, by_category);
    }
    if (!c) return tn_fail(err, TERN_INVALID_FORMAT, "annotation %zu: no category has its \"category_id\"", at);
    if (!get_box(item, &out->box)) {
        return tn_fail(err, TERN_INVALID_FORMAT, "annotation %zu: \"bbox\" is not x, y, width, height", at);
    }
    const cJSON *area = cJSON_GetObjectItemCaseSensitive(item, "area");
    const cJSON *crowd = cJSON_GetObjectItemCaseSensitive(item, "iscrowd");
    if (area && (!cJSON_IsNumber(area) || !(area->valuedouble >= 0 && area->valuedouble <= 1e18))) {
        return tn_fail(err, TERN_INVALID_FORMAT, "annotation %zu: \"area\" is not a number of pixels", at);
    }
    if (crowd && !cJSON_IsBool(crowd) && !cJSON_IsNumber(crowd)) {
        return tn_fail(err, TERN_INVALID_FORMAT, "annotation %zu: \"iscrowd\" is neither 0 nor 1", at);
    }
    out->picture = (int32_t)(p - data->pictures);
    out->cls = (int32_t)(c - data->categories);
    out->area = area ? area->valuedouble : out->box.w * out->box.h;
    out->crowd = cJSON_IsTrue(crowd) || (cJSON_IsNumber(crowd) && crowd->valuedouble != 0);
    return TERN_OK;
}

static tern_status read_all(cli_coco *out, const cJSON *root, tern_error *err) {
    cJSON *list;
    size_t count;
    TN_TRY(read_pictures(out, root, err));
    TN_TRY(read_categories(out, root, err));
    TN_TRY(get_list(root, "annotations", &list, &count, err));
    out->truths = cli_must(tn_calloc(count + 1, sizeof *out->truths));
    for (const cJSON *item = list->child; item; item = item->next) {
        TN_TRY(read_truth(out, item, &out->truths[out->n_truths], out->n_truths, err));
        out->n_truths++;
    }
    return TERN_OK;
}

tern_status cli_coco_load(cli_coco *out, const char *path, tern_error *err) {
    *out = (cli_coco){0};
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err));
    const char *text = (const char *)file.data, *end = text;
    cJSON *root = cJSON_ParseWithLengthOpts(text, file.size, &end, false);
    while (root && end < text + file.size && strchr(" \t\r\n", *end) && *end) end++;
    bool whole = root && end == text + file.size;
    tn_file_unmap(&file);
    tern_status status =
        whole ? read_all(out, root, err) : tn_fail(err, TERN_INVALID_FORMAT, "the file is not valid JSON");
    cJSON_Delete(root);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}

void cli_coco_release(cli_coco *data) {
    for (size_t i = 0; i < data->n_pictures; i++) tn_free(data->pictures[i].file);
    for (size_t i = 0; i < data->n_categories; i++) tn_free(data->categories[i].name);
    tn_free(data->pictures);
    tn_free(data->categories);
    tn_free(data->truths);
    *data = (cli_coco){0};
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* 17 digits read back as the same double. */
tern_status cli_coco_write_results(const cli_coco *data, const coco_detection *detections, size_t count,
                                   const char *path, tern_error *err) {
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "[");
    for (size_t i = 0; i < count; i++) {
        const coco_detection *d = &detections[i];
        tn_text_add(&text, "%s\n{\"image_id\": %lld, \"category_id\": %lld, \"bbox\": [%.17g, %.17g, %.17g, %.17g], ",
                    i ? "," : "", (long long)data->pictures[d->picture].id, (long long)data->categories[d->cls].id,
                    d->box.x, d->box.y, d->box.w, d->box.h);
        tn_text_add(&text, "\"score\": %.17g}", d->score);
    }
    tn_text_add(&text, "\n]\n");
    tern_status status = text.failed ? tn_fail_oom(err, text.len) : tn_file_write(path, text.data, text.len, err);
    tn_text_release(&text);
    return status;
}
