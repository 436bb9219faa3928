/* The shared set of checkpoints: every valid file opens and all its tensors can be read; every hostile one behaves as
 * its index says, as far as a reader can tell (what only a network builder sees begins with graph_). */
#include "test_util.h"

#include <cjson/cJSON.h>
#include <dirent.h>

#include "vision/torch/torch.h"

static char folder[256]; // where the archive is unpacked; empty: there is none

static int unpack(void **state) {
    (void)state;
    const char *shared = tt_shared_dir();
    char archive[600], command[1000];
    if (!shared) return 0;
    snprintf(archive, sizeof archive, "%s/checkpoints/checkpoints.tar.xz", shared);
    if (access(archive, R_OK) != 0) return 0;
    tt_temp dir = tt_temp_dir();
    snprintf(command, sizeof command, "tar -C '%s' -xf '%s'", dir.path, archive);
    if (system(command) == 0) memcpy(folder, dir.path, sizeof folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char command[300];
    if (!*folder) return 0;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : 1;
}

static tern_status read_all(tern_ckpt *ckpt, const tern_py *v, uint8_t *seen, int64_t *tensors, tern_error *err) {
    if (!v || seen[v->id]) return TERN_OK;
    seen[v->id] = 1;
    switch (v->kind) {
    case TERN_PY_LIST:
    case TERN_PY_TUPLE:
    case TERN_PY_SET:
        for (size_t i = 0; i < v->seq.count; i++) TN_TRY(read_all(ckpt, v->seq.items[i], seen, tensors, err));
        return TERN_OK;
    case TERN_PY_DICT:
        for (size_t i = 0; i < v->dict.count; i++) {
            TN_TRY(read_all(ckpt, v->dict.items[i].key, seen, tensors, err));
            TN_TRY(read_all(ckpt, v->dict.items[i].value, seen, tensors, err));
        }
        return TERN_OK;
    case TERN_PY_OBJECT:
        TN_TRY(read_all(ckpt, v->object->args, seen, tensors, err));
        TN_TRY(read_all(ckpt, v->object->state, seen, tensors, err));
        return read_all(ckpt, v->object->items, seen, tensors, err);
    case TERN_PY_TENSOR: {
        tern_tensor *t;
        TN_TRY(tern_ckpt_read(&t, ckpt, v, TERN_FLOAT, err));
        tern_tensor_free(t);
        ++*tensors;
        return TERN_OK;
    }
    default:
        return TERN_OK;
    }
}

// Opens the file and reads all tensors; their number in *tensors.
static tern_status read_file(const char *path, int64_t *tensors, tern_error *err) {
    tern_ckpt *ckpt;
    *tensors = 0;
    TN_TRY(tern_ckpt_open(&ckpt, path, NULL, err));
    uint8_t *seen = tn_calloc(tern_ckpt_value_count(ckpt) + 1, 1);
    assert_non_null(seen);
    tern_status s = read_all(ckpt, tern_ckpt_root(ckpt), seen, tensors, err);
    tn_free(seen);
    tern_ckpt_free(ckpt);
    return s;
}

static bool is_checkpoint(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".pt") || !strcmp(dot, ".pth") || !strcmp(dot, ".pkl"));
}

static int read_case(const char *path) {
    int count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char file[1200];
        int64_t tensors;
        tern_error err;
        if (!is_checkpoint(e->d_name)) continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (read_file(file, &tensors, &err) != TERN_OK) fail_msg("%s", err.text);
        if (tensors < 50) fail_msg("%s: only %d tensors", file, (int)tensors);
        count++;
    }
    closedir(dir);
    return count;
}

static void valid_files_are_read(void **state) {
    (void)state;
    char path[300];
    int count = 0;
    if (!*folder) {
        print_message("shared checkpoints are missing\n");
        skip();
    }
    size_t live = tn_alloc_live();
    snprintf(path, sizeof path, "%s/cases", folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char one[600];
        if (e->d_name[0] == '.') continue;
        snprintf(one, sizeof one, "%s/%s", path, e->d_name);
        count += read_case(one);
    }
    closedir(dir);
    assert_in_range(count, 30, 1000);
    assert_int_equal(tn_alloc_live(), live);
}

// What the index expects that a network builder, and no reader, has to refuse.
static bool for_a_builder(const char *file) {
    return !strncmp(file, "graph_", 6) || !strcmp(file, "pickle_int_top.pt");
}

static void check_hostile(const char *file, const char *expect) {
    char path[700];
    int64_t tensors;
    tern_error err;
    snprintf(path, sizeof path, "%s/hostile/%s", folder, file);
    uint64_t begin = tn_clock_ns();
    tern_status s = read_file(path, &tensors, &err);
    double seconds = (double)(tn_clock_ns() - begin) * 1e-9;
    if (seconds > 10) fail_msg("%s: took %.1f s", file, seconds);
    if (!strncmp(expect, "accept", 6) && s != TERN_OK) fail_msg("%s", err.text);
    if (!strcmp(expect, "reject") && s == TERN_OK && !for_a_builder(file)) fail_msg("%s: was accepted", file);
    if (!strncmp(file, "exec_", 5) && s == TERN_OK) fail_msg("%s: was accepted", file);
    if (s != TERN_OK && (!err.text[0] || strchr(err.text, '\n'))) fail_msg("%s: error of no or many lines", file);
}

static void hostile_files_are_refused(void **state) {
    (void)state;
    char path[300];
    tn_file index;
    if (!*folder) {
        print_message("shared checkpoints are missing\n");
        skip();
    }
    size_t live = tn_alloc_live();
    snprintf(path, sizeof path, "%s/hostile/index.json", folder);
    assert_int_equal(tn_file_map(&index, path, NULL), TERN_OK);
    cJSON *list = cJSON_ParseWithLength((const char *)index.data, index.size), *e;
    assert_non_null(list);
    assert_in_range(cJSON_GetArraySize(list), 50, 1000);
    cJSON_ArrayForEach(e, list)
        check_hostile(cJSON_GetObjectItem(e, "file")->valuestring, cJSON_GetObjectItem(e, "expect")->valuestring);
    cJSON_Delete(list);
    tn_file_unmap(&index);
    assert_int_equal(tn_alloc_live(), live);
    assert_int_not_equal(access("yolov5_test_pwned", F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_files_are_read),
        cmocka_unit_test(hostile_files_are_refused),
    };
    return cmocka_run_group_tests(tests, unpack, remove_folder);
}
