/* Descriptions of networks: which module each layer is and where its inputs come from. The official ones are built in.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "vision/yolo/yolo_internal.h"

#define ROWS(NAME, ...) static const char *const rows_##NAME[] = {__VA_ARGS__, NULL};
#include "vision/yolo/arch_list.inc"
#undef ROWS

/* Official networks. `letters`: a size from nsmlx belongs into the name after "yolov5". */
static const struct {
    const char *prefix, *suffix; /* around the letter */
    bool letters;
    double first, last; /* releases */
    const char *const *rows;
    const char *activation, *csp_activation;
    double eps;
    bool rare; /* only by name: the tensors are those of another network */
} table[] = {
    {"yolov5", "", true, 1.0, 1.0, rows_p5_v1, "LeakyReLU", "LeakyReLU", 1e-4, false},
    {"yolov5", "", true, 2.0, 3.0, rows_p5_v2, "LeakyReLU", "LeakyReLU", 1e-3, false},
    {"yolov5", "", true, 3.1, 3.1, rows_p5_v2, "Hardswish", "LeakyReLU", 1e-3, false},
    {"yolov5", "", true, 4.0, 5.0, rows_p5_v4, "SiLU", "LeakyReLU", 1e-3, false},
    {"yolov5", "6", true, 5.0, 5.0, rows_p6_v5, "SiLU", "LeakyReLU", 1e-3, false},
    {"yolov5", "", true, 6.0, 7.0, rows_p5_v6, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "6", true, 6.0, 7.0, rows_p6_v6, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "-seg", true, 7.0, 7.0, rows_seg, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "-cls", true, 6.2, 7.0, rows_cls, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "-transformer", true, 5.0, 6.0, rows_transformer_v5, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "-transformer", true, 6.1, 7.0, rows_transformer_v6, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "-ghost", true, 6.1, 7.0, rows_ghost, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "-LeakyReLU", true, 7.0, 7.0, rows_p5_v6, "LeakyReLU", "SiLU", 1e-3, true},
    {"yolov5-bifpn", "", false, 6.1, 7.0, rows_bifpn, "SiLU", "SiLU", 1e-3, false},
    {"yolov5-panet", "", false, 6.1, 7.0, rows_p5_v6, "SiLU", "SiLU", 1e-3, false},
    {"yolov5-fpn", "", false, 6.1, 7.0, rows_fpn, "SiLU", "SiLU", 1e-3, false},
    {"yolov5-p2", "", false, 6.1, 7.0, rows_p2, "SiLU", "SiLU", 1e-3, false},
    {"yolov5-p34", "", false, 6.1, 7.0, rows_p34, "SiLU", "SiLU", 1e-3, false},
    {"yolov5-p6", "", false, 6.1, 7.0, rows_p6_v6, "SiLU", "SiLU", 1e-3, false},
    {"yolov5-p7", "", false, 6.1, 7.0, rows_p7, "SiLU", "SiLU", 1e-3, false},
    {"yolov3", "", false, 4.0, 7.0, rows_v3, "SiLU", "SiLU", 1e-3, false},
    {"yolov3-spp", "", false, 4.0, 7.0, rows_v3_spp, "SiLU", "SiLU", 1e-3, false},
    {"yolov3-tiny", "", false, 4.0, 7.0, rows_v3_tiny, "SiLU", "SiLU", 1e-3, false},
    {"yolov5", "-face", true, 0, 99, rows_face, "SiLU", "LeakyReLU", 1e-3, false},
    {"yolov5", "6-face", true, 0, 99, rows_face6, "SiLU", "LeakyReLU", 1e-3, false},
    {"yolov5n-shuffle-face", "", false, 0, 99, rows_face_n, "SiLU", "LeakyReLU", 1e-3, false},
    {"yolov5n6-shuffle-face", "", false, 0, 99, rows_face_n6, "SiLU", "LeakyReLU", 1e-3, false},
};

void yolo_arch_release(yolo_arch *arch) {
    tn_free(arch->rows);
    *arch = (yolo_arch){0};
}

tern_status yolo_arch_activation(yolo_arch *arch, const char *activation, double slope, const char *csp, double eps) {
    snprintf(arch->activation, sizeof arch->activation, "%s", activation);
    snprintf(arch->csp_activation, sizeof arch->csp_activation, "%s", csp);
    arch->slope = slope;
    arch->eps = eps;
    return TERN_OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

/* "-1,6 Concat 1"; the table is ours, so that a row can not be wrong. */
static void parse_row(const char *text, yolo_row *row) {
    char *end;
    *row = (yolo_row){0};
    for (;; text = end + 1) {
        row->from[row->n_from++] = strtol(text, &end, 10);
        if (*end != ',') break;
    }
    text = end + 1;
    size_t len = strcspn(text, " ");
    snprintf(row->module, sizeof row->module, "%.*s", (int)len, text);
    for (text += len; *text == ' ' && row->n_args < YOLO_MAX_ARGS; text += strcspn(text, " ")) {
        text++;
        row->args[row->n_args++] = *text == '-' && (text[1] == ' ' || !text[1]) ? NAN : strtod(text, NULL);
    }
}

static tern_status take(yolo_arch *out, size_t index, tern_error *err) {
    int count = 0;
    while (table[index].rows[count]) count++;
    *out = (yolo_arch){.n_rows = count, .rows = tn_calloc((size_t)count, sizeof *out->rows)};
    if (!out->rows) return tn_fail_oom(err, (size_t)count * sizeof *out->rows);
    for (int i = 0; i < count; i++) parse_row(table[index].rows[i], &out->rows[i]);
    out->face = strstr(table[index].prefix, "-face") || strstr(table[index].suffix, "-face");
    return yolo_arch_activation(out, table[index].activation, 0.1, table[index].csp_activation, table[index].eps);
}

size_t yolo_arch_count(void) { return TN_COUNT(table); }

tern_status yolo_arch_at(yolo_arch *out, size_t index, tern_error *err) { return take(out, index, err); }

const char *yolo_arch_name(size_t index, char *buffer, size_t size) {
    double release = table[index].first;
    int len =
        snprintf(buffer, size, "%s%s%s", table[index].prefix, table[index].letters ? "s" : "", table[index].suffix);
    if (release > 0 && len > 0 && (size_t)len < size) snprintf(buffer + len, size - (size_t)len, "@%.1f", release);
    return buffer;
}

bool yolo_arch_is_rare(size_t index) { return table[index].rare; }

bool yolo_arch_equivalent(size_t a, size_t b) {
    return table[a].rows == table[b].rows && strcmp(table[a].activation, table[b].activation) == 0 &&
           table[a].eps == table[b].eps;
}

bool yolo_arch_same_tensors(size_t a, size_t b) { return table[a].rows == table[b].rows; }

/* ---- by name --------------------------------------------------------------------------------------------------- */

static bool name_fits(size_t i, const char *name, size_t len) {
    size_t prefix = strlen(table[i].prefix), suffix = strlen(table[i].suffix), letter = table[i].letters;
    if (len != prefix + letter + suffix || strncmp(name, table[i].prefix, prefix) != 0) return false;
    if (letter && !strchr("nsmlx", name[prefix])) return false;
    return strncmp(name + prefix + letter, table[i].suffix, suffix) == 0;
}

/* "6.0" after an @; 0 when there is no @; -1 when it is no release. */
static double release_of(const char *at) {
    if (!at) return 0;
    at += at[1] == 'v' ? 2 : 1;
    char *end;
    double release = strtod(at, &end);
    return end == at || *end || !(release >= 1 && release < 100) ? -1 : release;
}

tern_status yolo_arch_builtin(yolo_arch *out, const char *name, tern_error *err) {
    const char *at = strchr(name, '@');
    size_t len = at ? (size_t)(at - name) : strlen(name), found = SIZE_MAX;
    double release = release_of(at);
    bool known = false;
    if (release < 0)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "'%s' is no release of YOLOv5, as in yolov5s@6.0", at + 1);
    for (size_t i = 0; i < TN_COUNT(table); i++) {
        if (!name_fits(i, name, len)) continue;
        known = true;
        bool fits = release == 0 || (release > table[i].first - 1e-9 && release < table[i].last + 1e-9);
        if (!fits) continue;
        if (found != SIZE_MAX && !yolo_arch_equivalent(i, found)) {
            return tn_fail(err, TERN_INVALID_ARGUMENT,
                           "'%s' differs between the releases of YOLOv5: say which, as in "
                           "%.*s@6.0",
                           name, (int)len, name);
        }
        found = i;
    }
    if (found != SIZE_MAX) return take(out, found, err);
    if (known) return tn_fail(err, TERN_NOT_FOUND, "'%.*s' did not exist in release %g", (int)len, name, release);
    return tn_fail(err, TERN_NOT_FOUND,
                   "'%s' is neither a file nor a known network (yolov5s@6.0, yolov5m6@7.0, yolov5s-seg@7.0, "
                   "yolov5s-face ...)",
                   name);
}
