#include "cli/detections.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/base.h"
#include "cli/tensor_file.h"
#include "vision/classify/classify.h"
#include "vision/draw/draw.h"

/* ---- text --------------------------------------------------------------------------------------------------- */

static void print_name(const tern_labels *labels, size_t cls) {
    const char *name = tern_labels_get(labels, cls);
    if (name) {
        cli_print_name(name);
    } else {
        printf("class %zu", cls);
    }
}

static size_t best_classes(const cli_detections_output *o, const tern_detections *d, tern_score **best) {
    size_t top = TN_MIN(o->top, d->n_class_scores);
    *best = cli_must(tn_alloc_array(top + 1, sizeof **best));
    return tern_top_k(d->class_scores, d->n_class_scores, *best, top);
}

static void print_text(const cli_detections_output *o, const char *path, const tern_detections *d) {
    if (d->class_scores) {
        tern_score *best;
        size_t n = best_classes(o, d, &best);
        cli_print_name(path);
        printf(": %d x %d\n", d->width, d->height);
        for (size_t i = 0; i < n; i++) {
            printf("  %.3f  ", (double)best[i].score);
            print_name(o->labels, best[i].index);
            printf("\n");
        }
        tn_free(best);
        return;
    }
    cli_print_name(path);
    printf(": %d x %d, %zu object%s, network %.1f ms, boxes %.2f ms\n", d->width, d->height, d->count,
           d->count == 1 ? "" : "s", (double)d->network_ns * 1e-6, (double)d->boxes_ns * 1e-6);
    for (size_t i = 0; i < d->count; i++) {
        const tern_detection *item = &d->items[i];
        printf("  %.3f  %7.1f %7.1f %7.1f %7.1f  ", (double)item->score, (double)item->box.x1, (double)item->box.y1,
               (double)item->box.x2, (double)item->box.y2);
        print_name(o->labels, (size_t)item->cls);
        printf("\n");
    }
}

/* ---- JSON --------------------------------------------------------------------------------------------------- */

/* COCO's run lengths: down the columns, zeros first. */
static void add_mask(cJSON *entry, const tern_detections *d, size_t i) {
    size_t w = (size_t)d->width, h = (size_t)d->height;
    uint8_t *mask = tn_calloc(w, h);
    if (!mask) {
        cli_must(NULL);
        return;
    }
    const tern_box *b = &d->items[i].box;
    int x1 = (int)b->x1, x2 = (int)TN_MIN(ceil((double)b->x2), (double)d->width);
    for (int y = (int)b->y1; y < (int)TN_MIN(ceil((double)b->y2), (double)d->height) && x2 > x1; y++) {
        tern_mask_row(d, i, y, x1, x2, mask + (size_t)y * w + x1);
    }
    cJSON *rle = cli_json_object(entry, "mask");
    cJSON *size = cli_json_array(rle, "size");
    cli_json_int(size, NULL, d->height);
    cli_json_int(size, NULL, d->width);
    cJSON *counts = cli_json_array(rle, "counts");
    uint8_t last = 0;
    int64_t run = 0;
    for (size_t x = 0; x < w; x++) {
        for (size_t y = 0; y < h; y++) {
            uint8_t v = mask[y * w + x];
            if (v != last) {
                cli_json_int(counts, NULL, run);
                run = 0;
                last = v;
            }
            run++;
        }
    }
    cli_json_int(counts, NULL, run);
    tn_free(mask);
}

static void add_landmarks(cJSON *entry, const tern_detections *d, size_t i) {
    const float *p = d->landmarks + i * (size_t)d->points * (size_t)d->point_size;
    cJSON *list = cli_json_array(entry, "landmarks");
    for (int k = 0; k < d->points; k++) {
        cJSON *point = cli_json_array(list, NULL);
        for (int c = 0; c < d->point_size; c++) cli_json_float(point, NULL, *p++);
    }
}

static void fill_json(const cli_detections_output *o, cJSON *entry, const tern_detections *d) {
    cli_json_int(entry, "width", d->width);
    cli_json_int(entry, "height", d->height);
    cli_json_double(entry, "network_ms", (double)(d->network_ns / 1000) * 1e-3);
    cli_json_double(entry, "boxes_ms", (double)(d->boxes_ns / 1000) * 1e-3);
    if (d->class_scores) {
        tern_score *best;
        size_t n = best_classes(o, d, &best);
        cJSON *list = cli_json_array(entry, "classes");
        for (size_t i = 0; i < n; i++) {
            cJSON *item = cli_json_object(list, NULL);
            cli_json_float(item, "score", best[i].score);
            cli_json_int(item, "class", (int64_t)best[i].index);
            cli_json_string(item, "name", tern_labels_get(o->labels, best[i].index));
        }
        tn_free(best);
        return;
    }
    cJSON *list = cli_json_array(entry, "detections");
    for (size_t i = 0; i < d->count; i++) {
        const tern_detection *item = &d->items[i];
        cJSON *object = cli_json_object(list, NULL), *box = cli_json_array(object, "box");
        cli_json_float(box, NULL, item->box.x1);
        cli_json_float(box, NULL, item->box.y1);
        cli_json_float(box, NULL, item->box.x2);
        cli_json_float(box, NULL, item->box.y2);
        cli_json_float(object, "score", item->score);
        cli_json_int(object, "class", item->cls);
        cli_json_string(object, "name", tern_labels_get(o->labels, (size_t)item->cls));
        if (d->landmarks) add_landmarks(object, d, i);
        if (d->masks && o->masks) add_mask(object, d, i);
    }
}

/* ---- files -------------------------------------------------------------------------------------------------- */

char *cli_output_path(const char *folder, const char *path, const char *suffix, const char *ending) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    int stem = dot && dot != name ? (int)(dot - name) : (int)strlen(name);
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "%s/%.*s%s%s", folder, stem, name, suffix, ending ? ending : dot && dot != name ? dot : "");
    return cli_must(text.failed ? NULL : text.data);
}

static char *picture_path(const cli_detections_output *o, const char *path) {
    if (!o->picture_is_folder) return cli_must(tn_strdup(o->picture));
    return cli_output_path(o->picture, path, "", tern_image_can_save(path) ? NULL : ".jpg");
}

/* `taken` has the picture of each output so far; it and `file` live until the end. */
static tern_status take_name(tn_map *taken, const char *file, const char *path, tern_error *err) {
    const char *other = tn_map_get(taken, tn_str_c(file));
    if (other && strcmp(other, path) != 0) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s and %s would both be written to %s", other, path, file);
    }
    cli_must(tn_map_put(taken, tn_str_c(file), (void *)(uintptr_t)path) ? taken : NULL);
    return TERN_OK;
}

static tern_status check_picture(const cli_detections_output *o, const char *path, cli_paths *names, tn_map *taken,
                                 tern_error *err) {
    if (o->picture) {
        char *file = picture_path(o, path);
        cli_paths_add(names, file);
        tn_free(file);
        file = names->items[names->count - 1];
        if (cli_same_file(path, file)) {
            return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: the output would replace the picture: give another name",
                           path);
        }
        TN_TRY(take_name(taken, file, path, err));
    }
    if (!o->txt && !o->crops) return TERN_OK;
    char *file = cli_output_path(o->txt ? o->txt : o->crops, path, "", o->txt ? ".txt" : "_1.jpg");
    cli_paths_add(names, file);
    tn_free(file);
    return take_name(taken, names->items[names->count - 1], path, err);
}

tern_status cli_detections_check(const cli_detections_output *o, const cli_paths *pictures, tern_error *err) {
    cli_paths names = {0};
    tn_map taken = {0};
    tern_status status = TERN_OK;
    for (size_t i = 0; i < pictures->count && status == TERN_OK; i++) {
        status = check_picture(o, pictures->items[i], &names, &taken, err);
    }
    tn_map_release(&taken);
    cli_paths_release(&names);
    return status;
}

/* A line per box: class, middle and size as parts of the picture, and the score when asked for. */
static tern_status write_txt(const cli_detections_output *o, const char *path, const tern_detections *d,
                             tern_error *err) {
    tn_text text;
    tn_text_init(&text);
    for (size_t i = 0; i < d->count; i++) {
        const tern_detection *item = &d->items[i];
        double x1 = (double)item->box.x1, y1 = (double)item->box.y1, x2 = (double)item->box.x2,
               y2 = (double)item->box.y2;
        tn_text_add(&text, "%d %.6g %.6g %.6g %.6g", (int)item->cls, (x1 + x2) / 2 / d->width,
                    (y1 + y2) / 2 / d->height, (x2 - x1) / d->width, (y2 - y1) / d->height);
        if (o->save_conf) tn_text_add(&text, " %.6g", (double)item->score);
        tn_text_add(&text, "\n");
    }
    cli_must(text.failed ? NULL : (void *)&text);
    char *file = cli_output_path(o->txt, path, "", ".txt");
    tern_status status = tn_file_write(file, text.data ? text.data : "", text.len, err);
    tn_free(file);
    tn_text_release(&text);
    return status;
}

/* One picture per box, "name_1_person.jpg". */
static tern_status write_crops(const cli_detections_output *o, const char *path, const tern_image *image,
                               const tern_detections *d, tern_error *err) {
    tern_status status = TERN_OK;
    for (size_t i = 0; i < d->count && status == TERN_OK; i++) {
        const tern_detection *item = &d->items[i];
        int x1 = (int)item->box.x1, y1 = (int)item->box.y1;
        int x2 = (int)ceilf(item->box.x2), y2 = (int)ceilf(item->box.y2);
        if (x2 <= x1 || y2 <= y1) continue; /* nothing in it */
        const char *name = tern_labels_get(o->labels, (size_t)item->cls);
        char suffix[120];
        if (name) {
            snprintf(suffix, sizeof suffix, "_%zu_%.80s", i + 1, name);
        } else {
            snprintf(suffix, sizeof suffix, "_%zu_%d", i + 1, (int)item->cls);
        }
        tn_utf8_clean_line(suffix);
        for (char *p = suffix; *p; p++) *p = *p == '/' || *p == ' ' ? '-' : *p;
        char *file = cli_output_path(o->crops, path, suffix, ".jpg");
        tern_image crop;
        status = tern_image_crop(&crop, image, x1, y1, x2 - x1, y2 - y1, err);
        if (status == TERN_OK) status = tern_image_save(&crop, file, (int)o->quality, err);
        tern_image_release(&crop);
        tn_free(file);
    }
    return status;
}

static tern_status draw(const cli_detections_output *o, tern_image *image, const tern_detections *d, tern_error *err) {
    tern_draw_options options = {.names = (const char *const *)o->labels->names,
                                 .n_names = o->labels->count,
                                 .no_labels = o->no_labels,
                                 .no_scores = o->no_scores,
                                 .line_width = o->line_width};
    return tern_draw_detections(image, d, &options, err);
}

static tern_status write_picture(const cli_detections_output *o, const char *path, tern_image *image,
                                 const tern_detections *d, tern_error *err) {
    TN_TRY(draw(o, image, d, err));
    char *file = picture_path(o, path);
    tern_status status = tern_image_save(image, file, (int)o->quality, err);
    tn_free(file);
    return status;
}

static tern_status write_files(const cli_detections_output *o, const char *path, const tern_image *image,
                               const tern_detections *d, tern_error *err) {
    if (o->txt && !d->class_scores) TN_TRY(write_txt(o, path, d, err));
    return o->crops ? write_crops(o, path, image, d, err) : TERN_OK;
}

tern_status cli_detections_write(const cli_detections_output *o, const char *path, tern_image *image,
                                 const tern_detections *d, tern_error *err) {
    if (o->json) {
        cJSON *entry = cli_json_object(o->json, NULL);
        cli_json_string(entry, "image", path);
        fill_json(o, entry, d);
    } else {
        print_text(o, path, d);
    }
    TN_TRY(write_files(o, path, image, d, err));
    return o->picture ? write_picture(o, path, image, d, err) : TERN_OK;
}

static void print_frame(const cli_detections_output *o, const cli_frame *frame, const tern_detections *d) {
    if (o->json_lines) {
        cJSON *entry = cli_json_object(NULL, NULL);
        cli_json_int(entry, "frame", frame->number);
        cli_json_double(entry, "time", (double)llround(frame->seconds * 1e6) / 1e6);
        fill_json(o, entry, d);
        cli_json_print_line(entry);
        return;
    }
    tn_text label;
    tn_text_init(&label);
    tn_text_add(&label, "%s, frame %lld, %.3f s", frame->source, (long long)frame->number, frame->seconds);
    print_text(o, cli_must(label.failed ? NULL : label.data), d);
    tn_text_release(&label);
}

tern_status cli_detections_write_frame(const cli_detections_output *o, const cli_frame *frame, tern_image *image,
                                       const tern_detections *d, tern_error *err) {
    print_frame(o, frame, d);
    if (fflush(stdout) != 0) return tn_fail(err, TERN_IO, "can not write to standard output: %s", strerror(errno));
    if (o->txt || o->crops) {
        char suffix[32];
        snprintf(suffix, sizeof suffix, "_%lld", (long long)frame->number);
        char *path = cli_output_path(".", frame->source, suffix, NULL);
        tern_status status = write_files(o, path, image, d, err);
        tn_free(path);
        TN_TRY(status);
    }
    return frame->draw ? draw(o, image, d, err) : TERN_OK;
}
