/* The pickle machine, tensors and containers, on files made here byte by byte. */
#include "test_util.h"

#include "vision/torch/torch.h"
#include "vision/torch/torch_internal.h"

/* ---- files in memory ------------------------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t data[4096];
    size_t size;
} bytes;

static void put(bytes *b, const void *data, size_t size) {
    assert_true(size <= sizeof b->data - b->size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void put_int(bytes *b, uint64_t value, int n) {
    for (int i = 0; i < n; i++, value >>= 8) put(b, &(uint8_t){(uint8_t)value}, 1);
}

#define PICKLE(TEXT) TEXT, sizeof(TEXT) - 1

static tern_ckpt *opened(const void *data, size_t size) {
    tern_ckpt *ckpt;
    tern_error err;
    if (tern_ckpt_open_memory(&ckpt, data, size, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    return ckpt;
}

static void refused(const void *data, size_t size, const char *why) {
    size_t live = tn_alloc_live();
    tern_ckpt *ckpt;
    tern_error err = {0};
    if (tern_ckpt_open_memory(&ckpt, data, size, NULL, &err) == TERN_OK) fail_msg("accepted, not: %s", why);
    assert_null(ckpt);
    if (!strstr(err.text, why)) fail_msg("'%s' is not in '%s'", why, err.text);
    assert_int_equal(tn_alloc_live(), live);
}

// A zip file of stored members; name, bytes and size of each.
typedef struct member {
    const char *name;
    const void *data;
    size_t size;
} member;

static bytes zip_of(const member *members, size_t count) {
    bytes zip = {.size = 0}, directory = {.size = 0};
    for (size_t i = 0; i < count; i++) {
        size_t header = zip.size, name = strlen(members[i].name);
        put(&zip, "PK\3\4\24\0\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 26); // sizes are in the directory only
        put_int(&zip, name, 2);
        put_int(&zip, 0, 2);
        put(&zip, members[i].name, name);
        put(&zip, members[i].data, members[i].size);
        put(&directory, "PK\1\2\24\0\24\0\10\0\0\0\0\0\0\0\0\0\0\0", 20);
        put_int(&directory, members[i].size, 4);
        put_int(&directory, members[i].size, 4);
        put_int(&directory, name, 2);
        put_int(&directory, 0, 12); // extra, comment, disk, attributes
        put_int(&directory, header, 4);
        put(&directory, members[i].name, name);
    }
    size_t at = zip.size;
    put(&zip, directory.data, directory.size);
    put(&zip, "PK\5\6\0\0\0\0", 8);
    put_int(&zip, count, 2);
    put_int(&zip, count, 2);
    put_int(&zip, directory.size, 4);
    put_int(&zip, at, 4);
    put_int(&zip, 0, 2);
    return zip;
}

/* ---- pickles --------------------------------------------------------------------------------------------------- */

static void numbers_of_every_form(void **state) {
    (void)state;
    static const char pickle[] =
        "\x80\x05(I-7\nI01\nL12L\nF2.5\nK\xffM\xff\xffJ\xfe\xff\xff\xff\x8a\x02\x00\x80\x8a\x00"
        "\x8a\x0a\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01G\xc0\x04\x00\x00\x00\x00\x00\x00\x88N]l.";
    tern_ckpt *c = opened(pickle, sizeof pickle - 1);
    const tern_py *r = tern_ckpt_root(c);
    static const int64_t ints[] = {-7, 1, 12, 0, 255, 65535, -2, -32768, 0};
    int64_t i;
    double d;
    bool b;
    assert_int_equal(tern_py_count(r), 14);
    for (int k = 0; k < 9; k++) {
        if (k == 3) continue;
        assert_true(tern_py_to_int(tern_py_item(r, k), &i));
        assert_int_equal(i, ints[k]);
    }
    assert_true(tern_py_to_real(tern_py_item(r, 3), &d) && d == 2.5);
    assert_false(tern_py_to_int(tern_py_item(r, 3), &i));
    assert_int_equal(tern_py_item(r, 9)->kind, TERN_PY_BIGINT);
    assert_int_equal(tern_py_item(r, 9)->text.len, 10);
    assert_true(tern_py_to_real(tern_py_item(r, 10), &d) && d == -2.5);
    assert_true(tern_py_to_bool(tern_py_item(r, 11), &b) && b);
    assert_int_equal(tern_py_item(r, 12)->kind, TERN_PY_NONE);
    assert_int_equal(tern_py_count(tern_py_item(r, 13)), 0);
    assert_null(tern_py_item(r, 14));
    tern_ckpt_free(c);
}

static void strings_of_every_form(void **state) {
    (void)state;
    static const char pickle[] = "\x80\x04(S'a\\n\\x41'\nV\\u00e4\xe4\nX\x02\x00\x00\x00\xc3\xa4\x8c\x01zU\x01\xff"
                                 "C\x02x\0\x96\x01\0\0\0\0\0\0\0qt.";
    tern_ckpt *c = opened(pickle, sizeof pickle - 1);
    const tern_py *r = tern_ckpt_root(c);
    assert_int_equal(tern_py_count(r), 7);
    assert_string_equal(tern_py_to_str(tern_py_item(r, 0)), "a\nA");
    assert_string_equal(tern_py_to_str(tern_py_item(r, 1)), "\xc3\xa4\xc3\xa4");
    assert_string_equal(tern_py_to_str(tern_py_item(r, 2)), "\xc3\xa4");
    assert_string_equal(tern_py_to_str(tern_py_item(r, 3)), "z");
    for (int k = 4; k < 7; k++) assert_int_equal(tern_py_item(r, k)->kind, TERN_PY_BYTES);
    assert_int_equal(tern_py_item(r, 5)->text.len, 2);
    tern_ckpt_free(c);
}

static void containers_and_memo(void **state) {
    (void)state;
    // {"a": [1, 2], "b": the same list, "a" again: {3, 4}}
    static const char pickle[] = "\x80\x04}\x94(\x8c\x01"
                                 "a](K\x01K\x02"
                                 "e\x94\x8c\x01"
                                 "bh\x01\x8c\x01"
                                 "a\x8f(K\x03K\x04\x90u.";
    tern_ckpt *c = opened(pickle, sizeof pickle - 1);
    const tern_py *r = tern_ckpt_root(c), *b = tern_py_get(r, "b"), *a = tern_py_get(r, "a");
    assert_int_equal(r->dict.count, 2);
    assert_int_equal(a->kind, TERN_PY_SET);
    assert_int_equal(tern_py_count(a), 2);
    assert_int_equal(b->kind, TERN_PY_LIST);
    int64_t ints[3] = {0};
    assert_int_equal(tern_py_to_ints(b, ints, 3), 2);
    assert_int_equal(ints[1], 2);
    assert_int_equal(tern_py_to_ints(b, ints, 1), 0);
    assert_null(tern_py_get(r, "c"));
    tern_ckpt_free(c);
}

static void classes_are_data(void **state) {
    (void)state;
    // An object of models.common.Conv with i = 3 and a parameter p in _parameters.
    static const char pickle[] = "\x80\x02"
                                 "cmodels.common\nConv\n)\x81}(U\x01iK\x03U\x0b_parameters}U\x01pK\x09su"
                                 "b.";
    tern_ckpt *c = opened(pickle, sizeof pickle - 1);
    const tern_py *r = tern_ckpt_root(c);
    int64_t i;
    assert_true(tern_py_is(r, "models.common", "Conv") && tern_py_is(r, NULL, "Conv"));
    assert_false(tern_py_is(r, "models", "Conv"));
    assert_true(tern_py_to_int(tern_py_attr(r, "i"), &i) && i == 3);
    assert_true(tern_py_to_int(tern_py_attr(r, "p"), &i) && i == 9);
    assert_null(tern_py_get(r, "p"));
    assert_int_equal(tern_ckpt_name_count(c), 1);
    assert_int_equal(tern_ckpt_warning_count(c), 0);
    tern_ckpt_free(c);
    c = opened(PICKLE("cstrange\nThing\n(K\x01tR."));
    assert_true(tern_ckpt_root(c)->object->called);
    assert_int_equal(tern_ckpt_warning_count(c), 1);
    assert_non_null(strstr(tern_ckpt_warning(c, 0), "strange.Thing"));
    assert_false(tern_ckpt_name_at(c, 0)->on_allow_list);
    tern_ckpt_free(c);
}

static void dangerous_names_are_refused(void **state) {
    (void)state;
    refused(PICKLE("cos\nsystem\n(S'true'\ntR."), "os.system");
    refused(PICKLE("(S'true'\nios\nsystem\n."), "os.system");
    refused(PICKLE("\x80\x04\x8c\x08"
                   "builtins\x8c\x04"
                   "eval\x93."),
            "builtins.eval");
    refused(PICKLE("\x80\x02"
                   "c__builtin__\n__import__\n."),
            "__builtin__.__import__");
    refused(PICKLE("\x80\x02"
                   "csubprocess\nPopen\n)\x81."),
            "subprocess.Popen");
    refused(PICKLE("\x80\x02"
                   "ctorch.hub\nload\n."),
            "torch.hub.load");
    refused(PICKLE("\x80\x04\x8c\x05torch\x8c\x09os.system\x93."), "os.system");
}

static void damage_is_refused(void **state) {
    (void)state;
    refused(PICKLE("\x80\x06N."), "protocol 6");
    refused(PICKLE("\x80\x02K"), "cut off");
    refused(PICKLE("\x80\x02X\xff\xff\xff\x7f"
                   "abc."),
            "cut off");
    refused(PICKLE("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff"
                   "abc."),
            "cut off");
    refused(PICKLE("\x80\x02\x8b\xff\xff\xff\xff."), "negative length");
    refused(PICKLE("\x80\x02Nr\xff\xff\xff\x7f."), "memo index");
    refused(PICKLE("\x80\x02h\x01."), "never stored");
    refused(PICKLE("\x80\x02."), "empty stack");
    refused(PICKLE("\x80\x02(0."), "empty stack");
    refused(PICKLE("\x80\x02K\x01(s."), "empty stack");
    refused(PICKLE("\x80\x02}(K\x01u."), "key without a value");
    refused(PICKLE("\x80\x02NK\x01"
                   "a."),
            "None");
    refused(PICKLE("\x80\x02]q\x00h\x00"
                   "a."),
            "contains itself");
    refused(PICKLE("\x80\x02N.N"), "after the pickle");
    refused(PICKLE("\x80\x02\x82\x01."), "0x82");
    refused(PICKLE("\x80\x02NQ."), "storage");
    refused(PICKLE(""), "empty");
    refused(PICKLE("<html>"), "no checkpoint");
}

static void nesting_and_growth_are_bounded(void **state) {
    (void)state;
    bytes deep = {.size = 0}, wide = {.size = 0};
    put(&deep, "\x80\x02", 2);
    for (int i = 0; i < 1000; i++) put(&deep, "]", 1);
    for (int i = 0; i < 999; i++) put(&deep, "a", 1);
    put(&deep, ".", 1);
    refused(deep.data, deep.size, "nested");
    // Each list holds the one before twice.
    put(&wide, "\x80\x02]", 3);
    for (int i = 0; i < 60; i++) put(&wide, "q\0]h\0ah\0a", 9);
    put(&wide, ".", 1);
    refused(wide.data, wide.size, "tree");
    tern_ckpt *c;
    tern_error err;
    tern_ckpt_options few = {.max_values = 100}, little = {.max_memory = 1000};
    assert_int_equal(tern_ckpt_open_memory(&c, wide.data, 300, &few, &err), TERN_INVALID_FORMAT); // cut off
    assert_int_equal(tern_ckpt_open_memory(&c, deep.data, deep.size, &few, &err), TERN_LIMIT_EXCEEDED);
    assert_int_equal(tern_ckpt_open_memory(&c, deep.data, deep.size, &little, &err), TERN_LIMIT_EXCEEDED);
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

#define STORAGE(CLASS, KEY, NUMEL) "(X\x07\0\0\0storagectorch\n" CLASS "\nX\x01\0\0\0" KEY "X\x03\0\0\0cpuK" NUMEL "tQ"

// {"t": _rebuild_tensor_v2(storage 0 of 6 halves, `view`)}
static bytes torch_zip(const char *view, size_t view_size, size_t storage_bytes) {
    bytes pickle = {.size = 0};
    static const uint16_t halves[6] = {0x0000, 0x3c00, 0x4000, 0x4200, 0x4400, 0xc500}; // 0 1 2 3 4 -5
    put(&pickle,
        PICKLE("\x80\x02}X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("HalfStorage", "0", "\x06")));
    put(&pickle, view, view_size);
    put(&pickle, PICKLE("\x89"
                        "ccollections\nOrderedDict\n)RtRs."));
    member members[] = {{"m/data.pkl", pickle.data, pickle.size}, {"m/data/0", halves, storage_bytes}};
    return zip_of(members, 2);
}

static void expect_tensor(const bytes *file, const float *want, int rank, const int64_t *dims) {
    tern_ckpt *c = opened(file->data, file->size);
    tern_tensor *t;
    tern_error err;
    if (tern_ckpt_read(&t, c, tern_py_get(tern_ckpt_root(c), "t"), TERN_FLOAT, &err) != TERN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(tern_tensor_rank(t), rank);
    assert_memory_equal(tern_tensor_dims(t), dims, (size_t)rank * sizeof *dims);
    assert_memory_equal(tern_tensor_const_data(t), want, tern_tensor_bytes(t));
    tern_tensor_free(t);
    tern_ckpt_free(c);
}

static void views_of_a_storage(void **state) {
    (void)state;
    bytes f = torch_zip(PICKLE("K\x00K\x02K\x03\x86K\x03K\x01\x86"), 12);
    expect_tensor(&f, (const float[]){0, 1, 2, 3, 4, -5}, 2, (const int64_t[]){2, 3});
    f = torch_zip(PICKLE("K\x00K\x03K\x02\x86K\x01K\x03\x86"), 12); // transposed
    expect_tensor(&f, (const float[]){0, 3, 1, 4, 2, -5}, 2, (const int64_t[]){3, 2});
    f = torch_zip(PICKLE("K\x05K\x02K\x02\x86K\x00K\x00\x86"), 12); // expanded
    expect_tensor(&f, (const float[]){-5, -5, -5, -5}, 2, (const int64_t[]){2, 2});
    f = torch_zip(PICKLE("K\x01))"), 12); // a scalar
    expect_tensor(&f, (const float[]){1}, 0, NULL);
}

static void views_that_leave_are_refused(void **state) {
    (void)state;
    bytes f = torch_zip(PICKLE("K\x01K\x02K\x03\x86K\x03K\x01\x86"), 12);
    refused(f.data, f.size, "leaves its storage");
    f = torch_zip(PICKLE("K\x00K\x02K\x03\x86K\x04K\x01\x86"), 12);
    refused(f.data, f.size, "leaves its storage");
    f = torch_zip(PICKLE("K\x00K\x02\x85J\xff\xff\xff\xff\x85"), 12);
    refused(f.data, f.size, "leaves its storage");
    f = torch_zip(PICKLE("K\x00K\x02\x85)"), 12);
    refused(f.data, f.size, "offset, size or stride");
    f = torch_zip(PICKLE("K\x00M\xff\xffM\xff\xff\x86K\x00K\x00\x86"), 12);
    refused(f.data, f.size, "limit");
    f = torch_zip(PICKLE("K\x00K\x02K\x03\x86K\x03K\x01\x86"), 11); // a short member
    refused(f.data, f.size, "11 bytes");
}

static void zip_damage_is_refused(void **state) {
    (void)state;
    const bytes good = torch_zip(PICKLE("K\x00K\x02K\x03\x86K\x03K\x01\x86"), 12);
    for (size_t n = 4; n < good.size; n += 7) refused(good.data, n, "zip");
    bytes f = good;
    size_t directory = good.size - 22 - 2 * 46 - strlen("m/data.pkl") - strlen("m/data/0");
    assert_memory_equal(good.data + directory, "PK\1\2", 4);
    f.data[directory + 8] |= 1;
    refused(f.data, f.size, "encrypted");
    f = good;
    f.data[directory + 10] = 12;
    refused(f.data, f.size, "method 12");
    f = good;
    f.data[directory + 24] ^= 1;
    refused(f.data, f.size, "sizes differ");
    f = good;
    f.data[directory + 42] = 1;
    refused(f.data, f.size, "local header");
    f = good;
    f.data[directory + 47] = 0;
    refused(f.data, f.size, "zero byte");
    member twice[] = {{"a", "x", 1}, {"a", "y", 1}}, none[] = {{"a", "x", 1}};
    f = zip_of(twice, 2);
    refused(f.data, f.size, "two members");
    f = zip_of(none, 1);
    refused(f.data, f.size, "neither");
}

/* ---- other containers ------------------------------------------------------------------------------------------ */

static bytes safetensors_of(const char *header, size_t data) {
    bytes f = {.size = 0};
    static const uint8_t elements[64] = {1, 2, 3, 4};
    put_int(&f, strlen(header), 8);
    put(&f, header, strlen(header));
    put(&f, elements, data);
    return f;
}

static void safetensors_are_read(void **state) {
    (void)state;
    bytes f = safetensors_of(
        "{\"__metadata__\":{\"k\":\"v\"},\"t\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[0,4]}}  ", 4);
    expect_tensor(&f, (const float[]){1, 2, 3, 4}, 2, (const int64_t[]){2, 2});
    tern_ckpt *c = opened(f.data, f.size);
    assert_string_equal(tern_py_to_str(tern_py_get(tern_ckpt_metadata(c), "k")), "v");
    tern_ckpt_free(c);
    static const char *const bad[][2] = {
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]}}", "leave the file"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,4]}}", "another number of bytes"},
        {"{\"t\":{\"dtype\":\"X8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "dtype"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}}", "shape"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]}}", "leave the file"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[9007199254740992,9007199254740992],\"data_offsets\":[0,4]}}",
         "too large"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_"
         "offsets\":[0,0]}}",
         "same name"},
        {"{\"t\":1}", "no object"},
        {"{\"t\":", "no JSON object"},
    };
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        f = safetensors_of(bad[i][0], 4);
        refused(f.data, f.size, bad[i][1]);
    }
}

// An id of ("module", ...) is a tuple; an object that collected the same items is not one.
static void legacy_ids_are_tuples(void **state) {
    (void)state;
    bytes f = {.size = 0};
    put(&f, PICKLE("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."));
    put(&f, PICKLE("M\xe9\x03."));
    put(&f, PICKLE("}."));
    put(&f, PICKLE("ctorch.nn\nModule\n)\x81X\x06\0\0\0moduleaNaQ."));
    put(&f, PICKLE("]."));
    refused(f.data, f.size, "no storage");
}

// The corpus has a file of each form, written by PyTorch and NumPy.
static void seeds_are_read(void **state) {
    (void)state;
    static const struct {
        const char *path;
        tern_ckpt_format format;
        const char *key;
        float sum;
    } files[] = {
        {"fuzz/corpus/pickle/tar", TERN_CKPT_TORCH_TAR, "c", 14},
        {"fuzz/corpus/pickle/legacy", TERN_CKPT_TORCH_LEGACY, "v", 12},
        {"fuzz/corpus/pickle/arrays-0", TERN_CKPT_PICKLE, "a", 15},
        {"fuzz/corpus/pickle/arrays-2", TERN_CKPT_PICKLE, "b", 4},
        {"fuzz/corpus/pickle/arrays-5", TERN_CKPT_PICKLE, "a", 15},
        {"fuzz/corpus/zip/state-dict", TERN_CKPT_TORCH_ZIP, "v", 12},
        {"fuzz/corpus/zip/state-dict", TERN_CKPT_TORCH_ZIP, "f", 6},
        {"fuzz/corpus/zip/state-dict", TERN_CKPT_TORCH_ZIP, "h", 2},
        {"fuzz/corpus/zip/protocol-4", TERN_CKPT_TORCH_ZIP, "w", 15},
        {"fuzz/corpus/zip/npz", TERN_CKPT_NPZ, "a", 15},
    };
    for (size_t i = 0; i < TN_COUNT(files); i++) {
        tern_ckpt *c;
        tern_tensor *t;
        tern_error err;
        char path[600];
        snprintf(path, sizeof path, "%s/%s", TERN_SOURCE_DIR, files[i].path);
        if (tern_ckpt_open(&c, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
        assert_int_equal(tern_ckpt_get_format(c), files[i].format);
        if (tern_ckpt_read(&t, c, tern_py_get(tern_ckpt_root(c), files[i].key), TERN_FLOAT, &err) != TERN_OK)
            fail_msg("%s: %s", files[i].path, err.text);
        float sum = 0;
        const float *x = tern_tensor_const_data(t);
        for (int64_t k = 0; k < tern_tensor_count(t); k++) sum += x[k];
        if (sum != files[i].sum) fail_msg("%s: %s sums up to %g", files[i].path, files[i].key, (double)sum);
        tern_tensor_free(t);
        tern_ckpt_free(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_every_form),
        cmocka_unit_test(strings_of_every_form),
        cmocka_unit_test(containers_and_memo),
        cmocka_unit_test(classes_are_data),
        cmocka_unit_test(dangerous_names_are_refused),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(nesting_and_growth_are_bounded),
        cmocka_unit_test(views_of_a_storage),
        cmocka_unit_test(views_that_leave_are_refused),
        cmocka_unit_test(zip_damage_is_refused),
        cmocka_unit_test(safetensors_are_read),
        cmocka_unit_test(legacy_ids_are_tuples),
        cmocka_unit_test(seeds_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
