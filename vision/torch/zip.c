/* Members of a zip file in memory. Sizes come from the central directory alone: torch writes none into the local
 * headers. Nothing is ever extracted to disk, so names are only compared. */
#include "vision/torch/torch_internal.h"

#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

enum { END_SIZE = 22, LOCATOR_SIZE = 20, END64_SIZE = 56, CENTRAL_SIZE = 46, LOCAL_SIZE = 30 };

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { return get16(p) | (uint32_t)get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

typedef struct directory {
    uint64_t offset, size, count;
} directory;

// Offset of the end record, whose comment must reach exactly to the end of the file; SIZE_MAX: none.
static size_t find_end(const uint8_t *data, size_t size) {
    if (size < END_SIZE) return SIZE_MAX;
    size_t last = size - END_SIZE, first = last > UINT16_MAX ? last - UINT16_MAX : 0;
    for (size_t at = last + 1; at-- > first;) {
        if (data[at] == 'P' && get32(data + at) == 0x06054b50 && get16(data + at + 20) == last - at) return at;
    }
    return SIZE_MAX;
}

static tern_status find_directory64(const uint8_t *data, size_t end, directory *d, tern_error *err) {
    if (end < LOCATOR_SIZE || get32(data + end - LOCATOR_SIZE) != 0x07064b50) return TERN_OK;
    uint64_t at = get64(data + end - LOCATOR_SIZE + 8);
    size_t last = end - LOCATOR_SIZE;
    if (last < END64_SIZE || at > last - END64_SIZE || get32(data + at) != 0x06064b50)
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: no zip64 end record at %llu", (unsigned long long)at);
    *d = (directory){get64(data + at + 48), get64(data + at + 40), get64(data + at + 32)};
    return TERN_OK;
}

static tern_status find_directory(const uint8_t *data, size_t size, directory *d, tern_error *err) {
    size_t end = find_end(data, size);
    if (end == SIZE_MAX)
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: no end record in %zu bytes; the file is cut off", size);
    const uint8_t *e = data + end;
    if (get16(e + 4) != get16(e + 6)) return tn_fail(err, TERN_UNSUPPORTED, "zip: spread over several disks");
    *d = (directory){get32(e + 16), get32(e + 12), get16(e + 10)};
    TN_TRY(find_directory64(data, end, d, err));
    if (d->offset > end || d->size > end - d->offset)
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: a directory of %llu bytes at %llu in a file of %zu",
                       (unsigned long long)d->size, (unsigned long long)d->offset, size);
    if (d->count > d->size / CENTRAL_SIZE)
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: %llu members in a directory of %llu bytes",
                       (unsigned long long)d->count, (unsigned long long)d->size);
    return TERN_OK;
}

static bool take64(const uint8_t **p, const uint8_t *end, uint64_t *value) {
    if (end - *p < 8) return false;
    *value = get64(*p);
    *p += 8;
    return true;
}

// Sizes of 2^32 - 1 stand in the zip64 field of `extra`.
static bool read_extra(tn_zip_entry *e, const uint8_t *extra, size_t len) {
    const uint8_t *end = extra + len;
    while (end - extra >= 4) {
        size_t n = get16(extra + 2);
        const uint8_t *p = extra + 4;
        if (n > (size_t)(end - p)) return false;
        if (get16(extra) == 1) {
            if (e->size == UINT32_MAX && !take64(&p, extra + 4 + n, &e->size)) return false;
            if (e->packed == UINT32_MAX && !take64(&p, extra + 4 + n, &e->packed)) return false;
            if (e->header == UINT32_MAX && !take64(&p, extra + 4 + n, &e->header)) return false;
        }
        extra += 4 + n;
    }
    return true;
}

static tern_status read_entry(tn_zip_entry *e, const uint8_t **at, const uint8_t *end, tern_error *err) {
    const uint8_t *p = *at;
    if (end - p < CENTRAL_SIZE || get32(p) != 0x02014b50)
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: the directory is damaged");
    size_t name = get16(p + 28), extra = get16(p + 30), comment = get16(p + 32);
    if (name + extra + comment > (size_t)(end - p) - CENTRAL_SIZE)
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: a name of %zu bytes leaves the directory", name);
    *e = (tn_zip_entry){.name = {(const char *)p + CENTRAL_SIZE, name},
                        .flags = get16(p + 8),
                        .method = get16(p + 10),
                        .crc = get32(p + 16),
                        .packed = get32(p + 20),
                        .size = get32(p + 24),
                        .header = get32(p + 42)};
    if (memchr(e->name.data, 0, name)) return tn_fail(err, TERN_INVALID_FORMAT, "zip: a name with a zero byte");
    if (!read_extra(e, p + CENTRAL_SIZE + name, extra))
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: %.*s: damaged extra field", (int)TN_MIN(name, 200),
                       e->name.data);
    *at = p + CENTRAL_SIZE + name + extra + comment;
    return TERN_OK;
}

static tern_status read_directory(tn_zip *zip, const directory *d, tern_error *err) {
    const uint8_t *at = zip->data + d->offset, *end = at + d->size;
    zip->directory = (size_t)d->offset;
    zip->entries = tn_alloc_array((size_t)d->count, sizeof *zip->entries);
    if (!zip->entries) return tn_fail_oom(err, (size_t)d->count * sizeof *zip->entries);
    for (zip->count = 0; zip->count < d->count; zip->count++) {
        tn_zip_entry *e = &zip->entries[zip->count];
        TN_TRY(read_entry(e, &at, end, err));
        if (tn_map_get(&zip->map, e->name))
            return tn_fail(err, TERN_INVALID_FORMAT, "zip: two members named %.*s", (int)TN_MIN(e->name.len, 200),
                           e->name.data);
        if (!tn_map_put(&zip->map, e->name, e)) return tn_fail_oom(err, sizeof *e);
    }
    if (at != end) return tn_fail(err, TERN_INVALID_FORMAT, "zip: the directory is longer than its members");
    return TERN_OK;
}

tern_status tn_zip_open(tn_zip *zip, const void *data, size_t size, tern_error *err) {
    directory d = {0, 0, 0};
    *zip = (tn_zip){.data = data, .size = size};
    tern_status s = find_directory(zip->data, size, &d, err);
    if (s == TERN_OK) s = read_directory(zip, &d, err);
    if (s != TERN_OK) tn_zip_release(zip);
    return s;
}

void tn_zip_release(tn_zip *zip) {
    tn_map_release(&zip->map);
    tn_free(zip->entries);
    *zip = (tn_zip){0};
}

const tn_zip_entry *tn_zip_find(const tn_zip *zip, tn_str name) { return tn_map_get(&zip->map, name); }

static tern_status bad_member(const tn_zip_entry *e, tern_status status, const char *what, tern_error *err) {
    return tn_fail(err, status, "zip: %.*s: %s", (int)TN_MIN(e->name.len, 200), e->name.data, what);
}

tern_status tn_zip_locate(const tn_zip *zip, const tn_zip_entry *e, const uint8_t **packed, tern_error *err) {
    size_t end = zip->directory;
    if (e->flags & 1) return bad_member(e, TERN_UNSUPPORTED, "is encrypted", err);
    if (e->method != 0 && e->method != 8)
        return tn_fail(err, TERN_UNSUPPORTED, "zip: %.*s: compression method %d, not 0 (stored) or 8 (deflated)",
                       (int)TN_MIN(e->name.len, 200), e->name.data, e->method);
    if (e->method == 0 && e->packed != e->size)
        return bad_member(e, TERN_INVALID_FORMAT, "is stored, but its two sizes differ", err);
    if (end < LOCAL_SIZE || e->header > end - LOCAL_SIZE || get32(zip->data + e->header) != 0x04034b50)
        return bad_member(e, TERN_INVALID_FORMAT, "has no local header where the directory says", err);
    const uint8_t *local = zip->data + e->header;
    uint64_t start = e->header + LOCAL_SIZE + get16(local + 26) + get16(local + 28);
    if (start > end || e->packed > end - start)
        return tn_fail(err, TERN_INVALID_FORMAT, "zip: %.*s: %llu bytes at %llu leave the file of %zu",
                       (int)TN_MIN(e->name.len, 200), e->name.data, (unsigned long long)e->packed,
                       (unsigned long long)start, zip->size);
    if (get16(local + 26) != e->name.len || memcmp(local + LOCAL_SIZE, e->name.data, e->name.len) != 0)
        return bad_member(e, TERN_INVALID_FORMAT, "has another name in its local header", err);
    *packed = zip->data + start;
    return TERN_OK;
}

#ifdef HAVE_ZLIB

// zlib counts in 32 bits, so large members go in pieces.
static int inflate_all(z_stream *z, const uint8_t *src, uint64_t packed, uint8_t *dst, uint64_t size) {
    const uint64_t piece = (uint64_t)1 << 30;
    uint64_t in = 0, out = 0;
    int code = Z_OK;
    while (code == Z_OK) {
        uInt n_in = (uInt)TN_MIN(packed - in, piece), n_out = (uInt)TN_MIN(size - out, piece);
        z->next_in = (Bytef *)(uintptr_t)(src + in);
        z->avail_in = n_in;
        z->next_out = dst + out;
        z->avail_out = n_out;
        code = inflate(z, Z_NO_FLUSH);
        in += n_in - z->avail_in;
        out += n_out - z->avail_out;
        if (code == Z_OK && z->avail_in == n_in && z->avail_out == n_out) code = Z_BUF_ERROR;
    }
    return code == Z_STREAM_END && out == size ? Z_OK : Z_DATA_ERROR;
}

static tern_status inflate_member(const tn_zip_entry *e, const uint8_t *src, uint8_t *dst, tern_error *err) {
    z_stream z = {0};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return tn_fail_oom(err, 1 << 16);
    int code = inflate_all(&z, src, e->packed, dst, e->size);
    inflateEnd(&z);
    return code == Z_OK ? TERN_OK : bad_member(e, TERN_INVALID_FORMAT, "the deflated bytes are damaged", err);
}

bool tn_zip_crc_ok(const tn_zip_entry *e, const uint8_t *bytes) { return crc32_z(0, bytes, (size_t)e->size) == e->crc; }

#else

static tern_status inflate_member(const tn_zip_entry *e, const uint8_t *src, uint8_t *dst, tern_error *err) {
    (void)src, (void)dst;
    return bad_member(e, TERN_UNSUPPORTED, "is deflated, and tern was built without zlib", err);
}

bool tn_zip_crc_ok(const tn_zip_entry *e, const uint8_t *bytes) { return e && bytes; }

#endif

tern_status tn_zip_read(const tn_zip *zip, const tn_zip_entry *e, uint64_t limit, const uint8_t **bytes,
                        uint8_t **owned, tern_error *err) {
    const uint8_t *packed;
    *owned = NULL;
    TN_TRY(tn_zip_locate(zip, e, &packed, err));
    *bytes = packed;
    if (e->method == 0) return TERN_OK;
    // Deflate gains at most a factor of 1032.
    if (e->size / 1040 > e->packed) return bad_member(e, TERN_INVALID_FORMAT, "can not inflate to its size", err);
    if (e->size > limit)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "zip: %.*s: inflates to %llu bytes, more than the limit of %llu",
                       (int)TN_MIN(e->name.len, 200), e->name.data, (unsigned long long)e->size,
                       (unsigned long long)limit);
    uint8_t *memory = tn_alloc((size_t)e->size);
    if (!memory) return tn_fail_oom(err, (size_t)e->size);
    tern_status s = inflate_member(e, packed, memory, err);
    if (s != TERN_OK) {
        tn_free(memory);
        return s;
    }
    *bytes = *owned = memory;
    return TERN_OK;
}
