/* torch.save since 1.6: a zip file with PREFIX/data.pkl, a member PREFIX/data/KEY per storage, and sometimes
 * PREFIX/byteorder. */
#include <inttypes.h>
#include <stdio.h>

#include "vision/torch/torch_internal.h"

/* ---- storages by id -------------------------------------------------------------------------------------------- */

// Keys are texts of digits, rarely integers.
static tern_status key_of(tern_ckpt *ckpt, const tern_py *v, const char **key, tern_error *err) {
    char digits[24];
    *key = tern_py_to_str(v);
    if (v->kind == TERN_PY_INT) {
        snprintf(digits, sizeof digits, "%" PRId64, v->integer);
        *key = tn_arena_strndup(&ckpt->arena, digits, strlen(digits));
        if (!*key) return tn_fail_oom(err, sizeof digits);
    }
    if (*key) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "the key of a storage is a %s", tern_py_kind_name(v->kind));
}

tern_status tn_storage_of_id(tern_ckpt *ckpt, const tern_py *id, tern_storage **out, bool *created, tern_error *err) {
    bool untyped;
    const char *key, *tag = tern_py_to_str(tern_py_item(id, 0));
    const tern_py *numel = tern_py_item(id, 4);
    if (id->kind != TERN_PY_TUPLE || !tag || strcmp(tag, "storage") != 0 || !numel || numel->kind != TERN_PY_INT)
        return tn_fail(err, TERN_INVALID_FORMAT, "the pickle refers to something that is no storage");
    const tern_py *cls = tern_py_item(id, 1);
    tern_dtype dtype = tn_name_storage_dtype(cls, &untyped);
    if (!dtype)
        return tn_fail(err, TERN_UNSUPPORTED, "a storage of class %.100s.%.100s",
                       cls->kind == TERN_PY_GLOBAL ? cls->object->module : "",
                       cls->kind == TERN_PY_GLOBAL ? cls->object->name : tern_py_kind_name(cls->kind));
    TN_TRY(key_of(ckpt, tern_py_item(id, 2), &key, err));
    *out = tn_map_get(&ckpt->storage_map, tn_str_c(key));
    *created = !*out;
    if (*created) {
        TN_TRY(tn_storage_new(ckpt, key, dtype, numel->integer, out, err));
        (*out)->untyped = untyped;
        (*out)->big_endian = ckpt->big_endian;
    } else if ((*out)->dtype != dtype || (*out)->numel != numel->integer) {
        return tn_fail(err, TERN_INVALID_FORMAT, "storage %.60s is %lld %s in one place and %lld %s in another", key,
                       (long long)(*out)->numel, tern_dtype_name((*out)->dtype), (long long)numel->integer,
                       tern_dtype_name(dtype));
    }
    return TERN_OK;
}

/* ---- the archive ----------------------------------------------------------------------------------------------- */

static tn_str prefix_of(const tern_ckpt *ckpt) {
    const char *name = ckpt->pickle_member->name.data;
    return (tn_str){name, ckpt->pickle_member->name.len - strlen("data.pkl")}; // with its slash
}

// PREFIX/name; NULL in *entry: there is no such member.
static tern_status find_member(tern_ckpt *ckpt, const char *folder, const char *name, const tn_zip_entry **entry,
                               tern_error *err) {
    tn_str prefix = prefix_of(ckpt);
    tn_text path;
    tn_text_init(&path);
    tn_text_add_str(&path, prefix.data, prefix.len);
    tn_text_add(&path, "%s%s", folder, name);
    *entry = path.failed ? NULL : tn_zip_find(&ckpt->zip, (tn_str){path.data, path.len});
    bool failed = path.failed;
    tn_text_release(&path);
    return failed ? tn_fail_oom(err, prefix.len) : TERN_OK;
}

static tern_status persistent(tern_ckpt *ckpt, tern_py *id, tern_py **out, tern_error *err) {
    tern_storage *s;
    bool created;
    const uint8_t *packed;
    TN_TRY(tn_storage_of_id(ckpt, id, &s, &created, err));
    if (created && s->bytes > 0) {
        TN_TRY(find_member(ckpt, "data/", s->key, &s->entry, err));
        if (!s->entry) return tn_fail(err, TERN_INVALID_FORMAT, "there is no member for storage %.60s", s->key);
        if (s->entry->size < s->bytes)
            return tn_fail(err, TERN_INVALID_FORMAT, "storage %.60s has %llu bytes for %lld %s", s->key,
                           (unsigned long long)s->entry->size, (long long)s->numel, tern_dtype_name(s->dtype));
        TN_TRY(tn_zip_locate(&ckpt->zip, s->entry, &packed, err));
        if (s->entry->method == 0) s->data = packed;
    }
    TN_TRY(tn_py_new(ckpt, TERN_PY_STORAGE, out, err));
    (*out)->storage = s;
    return TERN_OK;
}

static bool is_pickle(tn_str name) {
    static const char end[] = "data.pkl";
    size_t n = sizeof end - 1;
    return name.len >= n && !memcmp(name.data + name.len - n, end, n) &&
           (name.len == n || name.data[name.len - n - 1] == '/');
}

static tern_status find_pickle(tern_ckpt *ckpt, tern_error *err) {
    for (size_t i = 0; i < ckpt->zip.count; i++) {
        const tn_zip_entry *e = &ckpt->zip.entries[i];
        if (!is_pickle(e->name)) continue;
        if (ckpt->pickle_member)
            return tn_fail(err, TERN_INVALID_FORMAT, "zip: two pickles, %.*s and %.*s",
                           (int)TN_MIN(ckpt->pickle_member->name.len, 100), ckpt->pickle_member->name.data,
                           (int)TN_MIN(e->name.len, 100), e->name.data);
        ckpt->pickle_member = e;
    }
    if (ckpt->pickle_member) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT,
                   "zip: neither a data.pkl (PyTorch) nor .npy files (NumPy) among %zu members", ckpt->zip.count);
}

static tern_status read_byte_order(tern_ckpt *ckpt, tern_error *err) {
    const tn_zip_entry *e;
    const uint8_t *bytes;
    uint8_t *owned;
    TN_TRY(find_member(ckpt, "", "byteorder", &e, err));
    if (!e) return TERN_OK;
    TN_TRY(tn_zip_read(&ckpt->zip, e, 64, &bytes, &owned, err));
    ckpt->big_endian = e->size == 3 && !memcmp(bytes, "big", 3);
    tn_free(owned);
    return TERN_OK;
}

tern_status tn_ckpt_open_torch_zip(tern_ckpt *ckpt, tern_error *err) {
    const uint8_t *bytes;
    size_t used;
    TN_TRY(find_pickle(ckpt, err));
    TN_TRY(read_byte_order(ckpt, err));
    const tn_zip_entry *e = ckpt->pickle_member;
    // Pickles shrink by 5 to 20; a bomb by 1000.
    if (e->method && e->size > ((uint64_t)16 << 20) && e->size / 200 > e->packed)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "zip: %.*s inflates %llu bytes to %llu: refused as a bomb",
                       (int)TN_MIN(e->name.len, 200), e->name.data, (unsigned long long)e->packed,
                       (unsigned long long)e->size);
    TN_TRY(tn_zip_read(&ckpt->zip, e, ckpt->options.max_memory, &bytes, &ckpt->pickle, err));
    if (!tn_zip_crc_ok(e, bytes)) TN_TRY(tn_ckpt_warn(ckpt, err, "the checksum of data.pkl is wrong"));
    TN_TRY(tn_pickle_load(ckpt, bytes, (size_t)e->size, persistent, &ckpt->root, &used, err));
    if (used == e->size) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "data.pkl goes on for %zu bytes after its end", (size_t)e->size - used);
}
