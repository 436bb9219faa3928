/* torch.save before 1.6.
 *
 * Consecutive pickles (0.1.10 to 1.5): magic number, protocol 1001, sys_info, the object, a list of the keys of the
 * storages; then for each key the number of elements (64 bits) and the elements.
 *
 * TAR (before 0.1.10) has the members `storages` (a count, then key, location and class, count and elements of each,
 * and a list of views), `tensors` (a count, then key, storage and class, rank, dims, strides and offset of each),
 * `pickle` (the object, in which a tensor is its key) and `sys_info`. */
#include <inttypes.h>
#include <stdio.h>

#include "vision/torch/torch_internal.h"

typedef struct reader {
    tern_ckpt *ckpt;
    const uint8_t *at, *end;
    tern_error *err;
} reader;

static tern_status bytes(reader *r, uint64_t n, const uint8_t **out) {
    if (n > (uint64_t)(r->end - r->at))
        return tn_fail(r->err, TERN_INVALID_FORMAT, "the file is cut off: %llu bytes are needed, %zu are left",
                       (unsigned long long)n, (size_t)(r->end - r->at));
    *out = r->at;
    r->at += n;
    return TERN_OK;
}

static uint64_t unsigned_at(const uint8_t *p, int n, bool big_endian) {
    uint64_t value = 0;
    for (int i = 0; i < n; i++) value = value << 8 | p[big_endian ? i : n - 1 - i];
    return value;
}

static tern_status int64(reader *r, int64_t *value) {
    const uint8_t *p = NULL;
    TN_TRY(bytes(r, 8, &p));
    *value = (int64_t)unsigned_at(p, 8, r->ckpt->big_endian);
    return TERN_OK;
}

static tern_status pickle(reader *r, tn_persistent persistent, tern_py **out) {
    size_t used;
    TN_TRY(tn_pickle_load(r->ckpt, r->at, (size_t)(r->end - r->at), persistent, out, &used, r->err));
    r->at += used;
    return TERN_OK;
}

static tern_status read_sys_info(reader *r) {
    tern_py *info;
    bool little = true;
    TN_TRY(pickle(r, NULL, &info));
    TN_TRY(tn_ckpt_check_graph(r->ckpt, info, r->err));
    if (info->kind != TERN_PY_DICT)
        return tn_fail(r->err, TERN_INVALID_FORMAT, "sys_info is a %s, not a dict", tern_py_kind_name(info->kind));
    if (tern_py_to_bool(tern_py_get(info, "little_endian"), &little)) r->ckpt->big_endian = !little;
    return TERN_OK;
}

// Count and elements of a storage.
static tern_status read_elements(reader *r, tern_storage *s) {
    int64_t numel;
    TN_TRY(int64(r, &numel));
    // Untyped storages count bytes, as they do in their id.
    if (numel != s->numel)
        return tn_fail(r->err, TERN_INVALID_FORMAT, "storage %.60s has %lld elements instead of %lld", s->key,
                       (long long)numel, (long long)s->numel);
    return bytes(r, s->bytes, &s->data);
}

/* ---- consecutive pickles --------------------------------------------------------------------------------------- */

// A part of a storage that has a key of its own; it is made once.
static tern_status view_of(tern_ckpt *ckpt, tern_storage *root, const tern_py *view, tern_storage **out,
                           tern_error *err) {
    const char *key = tern_py_to_str(tern_py_item(view, 0));
    int64_t offset, numel;
    if (!key || !tern_py_to_int(tern_py_item(view, 1), &offset) || !tern_py_to_int(tern_py_item(view, 2), &numel) ||
        offset < 0 || numel < 0 || offset > root->numel || numel > root->numel - offset)
        return tn_fail(err, TERN_INVALID_FORMAT, "a view that leaves storage %.60s", root->key);
    // \1 keeps these keys apart from those of whole storages.
    size_t len = strlen(key);
    char *own = tn_arena_alloc(&ckpt->arena, len + 2);
    if (!own) return tn_fail_oom(err, len);
    own[0] = 1;
    memcpy(own + 1, key, len);
    *out = tn_map_get(&ckpt->storage_map, tn_str_c(own));
    if (*out && (*out)->base == root && (*out)->base_offset == offset && (*out)->numel == numel) return TERN_OK;
    if (*out) return tn_fail(err, TERN_INVALID_FORMAT, "view %.60s has two places", key);
    TN_TRY(tn_storage_new(ckpt, own, root->dtype, numel, out, err));
    (*out)->base = root;
    (*out)->base_offset = offset;
    (*out)->big_endian = root->big_endian;
    return TERN_OK;
}

static tern_status persistent(tern_ckpt *ckpt, tern_py *id, tern_py **out, tern_error *err) {
    tern_storage *s;
    bool created;
    // ("module", class, file, source): the class, whose source nobody reads.
    const char *tag = id->kind == TERN_PY_TUPLE ? tern_py_to_str(tern_py_item(id, 0)) : NULL;
    if (tag && !strcmp(tag, "module") && id->seq.count >= 2) return *out = id->seq.items[1], TERN_OK;
    TN_TRY(tn_storage_of_id(ckpt, id, &s, &created, err));
    const tern_py *view = tern_py_item(id, 5);
    if (view && view->kind == TERN_PY_TUPLE) TN_TRY(view_of(ckpt, s, view, &s, err));
    TN_TRY(tn_py_new(ckpt, TERN_PY_STORAGE, out, err));
    (*out)->storage = s;
    return TERN_OK;
}

static tern_status read_storages(reader *r, const tern_py *keys) {
    if (keys->kind != TERN_PY_LIST)
        return tn_fail(r->err, TERN_INVALID_FORMAT, "the keys of the storages are a %s", tern_py_kind_name(keys->kind));
    for (int64_t i = 0; i < tern_py_count(keys); i++) {
        const char *key = tern_py_to_str(tern_py_item(keys, i));
        tern_storage *s = key ? tn_map_get(&r->ckpt->storage_map, tn_str_c(key)) : NULL;
        if (!s || s->data)
            return tn_fail(r->err, TERN_INVALID_FORMAT, "the list of storages names %.60s, which is not among them",
                           key ? key : "something else");
        TN_TRY(read_elements(r, s));
    }
    for (const tern_storage *s = r->ckpt->storages; s; s = s->next)
        if (!s->data && !s->base)
            return tn_fail(r->err, TERN_INVALID_FORMAT, "there are no bytes for storage %.60s", s->key);
    return TERN_OK;
}

tern_status tn_ckpt_open_legacy(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err) {
    reader r = {ckpt, data, data + size, err};
    tern_py *v;
    int64_t version;
    TN_TRY(pickle(&r, NULL, &v)); // the magic number, which told the format
    TN_TRY(pickle(&r, NULL, &v));
    if (!tern_py_to_int(v, &version) || version != 1001)
        return tn_fail(err, TERN_UNSUPPORTED, "the version of the format is not 1001");
    TN_TRY(read_sys_info(&r));
    TN_TRY(pickle(&r, persistent, &ckpt->root));
    TN_TRY(pickle(&r, NULL, &v));
    TN_TRY(read_storages(&r, v));
    if (r.at == r.end) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "the file goes on for %zu bytes after the last storage",
                   (size_t)(r.end - r.at));
}

/* ---- TAR ------------------------------------------------------------------------------------------------------- */

static bool octal(const uint8_t *p, size_t n, uint64_t *value) {
    *value = 0;
    size_t i = 0;
    while (i < n && p[i] == ' ') i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) *value = *value << 3 | (uint64_t)(p[i] - '0');
    return i == n || p[i] == 0 || p[i] == ' ';
}

// The regular file of that name, with or without "./".
static tern_status find_in_tar(reader *tar, const char *name, reader *out) {
    enum { BLOCK = 512 };
    const uint8_t *p = tar->at;
    uint64_t size;
    while (tar->end - p >= BLOCK && *p) {
        if (!octal(p + 124, 12, &size) || size > (uint64_t)(tar->end - p) - BLOCK)
            return tn_fail(tar->err, TERN_INVALID_FORMAT, "tar: a member leaves the file");
        const char *entry = (const char *)p;
        if (!strncmp(entry, "./", 2)) entry += 2;
        if ((p[156] == '0' || p[156] == 0) && !strncmp(entry, name, 90)) {
            *out = (reader){tar->ckpt, p + BLOCK, p + BLOCK + size, tar->err};
            return TERN_OK;
        }
        uint64_t padded = (size + BLOCK - 1) / BLOCK * BLOCK;
        if (padded > (uint64_t)(tar->end - p) - BLOCK) break;
        p += BLOCK + padded;
    }
    return tn_fail(tar->err, TERN_INVALID_FORMAT, "tar: there is no member '%s'", name);
}

static tern_status count(reader *r, int64_t *n) {
    tern_py *v;
    TN_TRY(pickle(r, NULL, &v));
    if (v->kind != TERN_PY_INT || v->integer < 0)
        return tn_fail(r->err, TERN_INVALID_FORMAT, "tar: a count is a %s", tern_py_kind_name(v->kind));
    *n = v->integer;
    return TERN_OK;
}

// Keys are addresses of the program that saved: integers, or texts of them.
static tern_status key_text(tern_ckpt *ckpt, const tern_py *v, char kind, const char **out, tern_error *err) {
    char text[80];
    const char *s = tern_py_to_str(v);
    if (v && v->kind == TERN_PY_INT)
        snprintf(text, sizeof text, "%c%" PRId64, kind, v->integer);
    else if (s && strlen(s) < 60)
        snprintf(text, sizeof text, "%c%s", kind, s);
    else
        return tn_fail(err, TERN_INVALID_FORMAT, "tar: a key is neither an integer nor a short text");
    *out = tn_arena_strndup(&ckpt->arena, text, strlen(text));
    return *out ? TERN_OK : tn_fail_oom(err, sizeof text);
}

static tern_status tar_storage(reader *r) {
    tern_py *args;
    const char *key;
    int64_t numel;
    bool untyped;
    tern_storage *s;
    TN_TRY(pickle(r, NULL, &args));
    TN_TRY(key_text(r->ckpt, tern_py_item(args, 0), 's', &key, r->err));
    tern_dtype dtype = tn_name_storage_dtype(tern_py_item(args, 2), &untyped);
    if (!dtype || untyped) return tn_fail(r->err, TERN_UNSUPPORTED, "tar: storage %.60s is of an unknown class", key);
    TN_TRY(int64(r, &numel));
    TN_TRY(tn_storage_new(r->ckpt, key, dtype, numel, &s, r->err));
    s->big_endian = r->ckpt->big_endian;
    return bytes(r, s->bytes, &s->data);
}

static tern_status tar_views(reader *r) {
    tern_py *views;
    TN_TRY(pickle(r, NULL, &views));
    for (int64_t i = 0; i < tern_py_count(views); i++) {
        const tern_py *v = tern_py_item(views, i); // (key, key of the root, offset, size)
        const char *key, *root_key;
        int64_t offset, numel;
        tern_storage *s;
        TN_TRY(key_text(r->ckpt, tern_py_item(v, 0), 's', &key, r->err));
        TN_TRY(key_text(r->ckpt, tern_py_item(v, 1), 's', &root_key, r->err));
        tern_storage *root = tn_map_get(&r->ckpt->storage_map, tn_str_c(root_key));
        if (!root || root->base || !tern_py_to_int(tern_py_item(v, 2), &offset) ||
            !tern_py_to_int(tern_py_item(v, 3), &numel) || offset < 0 || numel < 0 || offset > root->numel ||
            numel > root->numel - offset)
            return tn_fail(r->err, TERN_INVALID_FORMAT, "tar: view %.60s leaves its storage", key);
        TN_TRY(tn_storage_new(r->ckpt, key, root->dtype, numel, &s, r->err));
        s->base = root;
        s->base_offset = offset;
        s->big_endian = root->big_endian;
    }
    return TERN_OK;
}

// Dims and strides follow the pickle: rank (32 bits), 4 bytes of nothing, dims, strides and offset (64 bits).
static tern_status tar_tensor(reader *r) {
    tern_py *args, *v;
    const char *key, *storage_key;
    const uint8_t *head = NULL;
    int64_t dims[TERN_MAX_RANK], strides[TERN_MAX_RANK], offset;
    TN_TRY(pickle(r, NULL, &args));
    TN_TRY(key_text(r->ckpt, tern_py_item(args, 0), 't', &key, r->err));
    TN_TRY(key_text(r->ckpt, tern_py_item(args, 1), 's', &storage_key, r->err));
    TN_TRY(bytes(r, 8, &head));
    uint64_t rank = unsigned_at(head, 4, r->ckpt->big_endian);
    if (rank > TERN_MAX_RANK)
        return tn_fail(r->err, TERN_UNSUPPORTED, "tar: a tensor of %llu dims", (unsigned long long)rank);
    for (uint64_t i = 0; i < rank; i++) TN_TRY(int64(r, &dims[i]));
    for (uint64_t i = 0; i < rank; i++) TN_TRY(int64(r, &strides[i]));
    TN_TRY(int64(r, &offset));
    tern_storage *s = tn_map_get(&r->ckpt->storage_map, tn_str_c(storage_key));
    if (!s) return tn_fail(r->err, TERN_INVALID_FORMAT, "tar: a tensor of an unknown storage");
    TN_TRY(tn_tensor_value(r->ckpt, s, s->dtype, (int)rank, dims, strides, offset, &v, r->err));
    return tn_map_put(&r->ckpt->tensor_map, tn_str_c(key), v) ? TERN_OK : tn_fail_oom(r->err, sizeof *v);
}

static tern_status tar_persistent(tern_ckpt *ckpt, tern_py *id, tern_py **out, tern_error *err) {
    const char *key;
    // A tuple begins with the class of a module.
    if (id->kind == TERN_PY_TUPLE && id->seq.count) return *out = id->seq.items[0], TERN_OK;
    TN_TRY(key_text(ckpt, id, 't', &key, err));
    *out = tn_map_get(&ckpt->tensor_map, tn_str_c(key));
    if (*out) return TERN_OK;
    TN_TRY(key_text(ckpt, id, 's', &key, err));
    tern_storage *s = tn_map_get(&ckpt->storage_map, tn_str_c(key));
    if (!s) return tn_fail(err, TERN_INVALID_FORMAT, "tar: the pickle refers to %.60s, which is not there", key + 1);
    TN_TRY(tn_py_new(ckpt, TERN_PY_STORAGE, out, err));
    (*out)->storage = s;
    return TERN_OK;
}

tern_status tn_ckpt_open_tar(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err) {
    reader tar = {ckpt, data, data + size, err}, r;
    int64_t n;
    TN_TRY(find_in_tar(&tar, "sys_info", &r));
    TN_TRY(read_sys_info(&r));
    TN_TRY(find_in_tar(&tar, "storages", &r));
    TN_TRY(count(&r, &n));
    for (int64_t i = 0; i < n; i++) TN_TRY(tar_storage(&r));
    TN_TRY(tar_views(&r));
    TN_TRY(find_in_tar(&tar, "tensors", &r));
    TN_TRY(count(&r, &n));
    for (int64_t i = 0; i < n; i++) TN_TRY(tar_tensor(&r));
    TN_TRY(find_in_tar(&tar, "pickle", &r));
    return pickle(&r, tar_persistent, &ckpt->root);
}
