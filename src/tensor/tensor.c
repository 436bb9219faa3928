/* Tensors: creation, sharing, strings, comparison. A buffer is one allocation, a header of 64 bytes and the elements
 * behind it; it is freed with the last tensor that refers to it. */
#include "tensor/tensor.h"

enum { DATA_ALIGN = 64 };

struct tn_buffer {
    uint32_t refs;     // atomic
    bool has_strings;  // `strings` is initialised
    tn_arena strings;  // bytes of string elements
    size_t compact_at; // arena bytes from which garbage of replaced strings is collected
};

_Static_assert(sizeof(struct tn_buffer) <= DATA_ALIGN, "the header must fit before the elements");

static tn_buffer *buffer_new(size_t bytes) {
    size_t total;
    if (!tn_add_size(bytes, DATA_ALIGN, &total)) return NULL;
    tn_buffer *buffer = tn_alloc_aligned(total, DATA_ALIGN);
    if (buffer) *buffer = (tn_buffer){.refs = 1};
    return buffer;
}

static void *buffer_data(tn_buffer *buffer) { return (uint8_t *)buffer + DATA_ALIGN; }

static void buffer_unref(tn_buffer *buffer) {
    if (!buffer || __atomic_sub_fetch(&buffer->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    if (buffer->has_strings) tn_arena_release(&buffer->strings);
    tn_free(buffer);
}

/* ---- sizes ---- */

tn_shape tn_tensor_stored_shape(const tern_tensor *t) {
    tn_shape s = t->shape;
    if (t->block == 0) return s;
    s.dims[1] = tn_ceil_div(s.dims[1], t->block);
    s.dims[s.rank++] = t->block;
    return s;
}

// False when the stored shape would not fit or a size overflows.
static bool stored_count(const tn_shape *shape, int block, int64_t *count) {
    tn_shape s = *shape;
    if (s.rank < 0 || s.rank > TERN_MAX_RANK) return false;
    if (block != 0) {
        if (block < 0 || s.rank < 3 || s.rank >= TERN_MAX_RANK || !tn_dim_known(s.dims[1]) || s.dims[1] < 0 ||
            s.dims[1] > INT64_MAX - block)
            return false;
        s.dims[1] = tn_ceil_div(s.dims[1], block);
        s.dims[s.rank++] = block;
    }
    return tn_shape_count_checked(&s, count);
}

bool tn_bytes_for(tern_dtype dtype, const tn_shape *shape, int block, size_t *bytes) {
    int64_t count;
    return tn_dtype_valid((int)dtype) && stored_count(shape, block, &count) &&
           tn_mul_size((size_t)count, tn_dtype_size(dtype), bytes) && *bytes <= PTRDIFF_MAX;
}

int64_t tn_tensor_stored_count(const tern_tensor *t) {
    if (t->kind != TERN_KIND_TENSOR) return 0;
    tn_shape s = tn_tensor_stored_shape(t);
    return tn_shape_count(&s);
}

size_t tn_tensor_bytes(const tern_tensor *t) { return (size_t)tn_tensor_stored_count(t) * tn_dtype_size(t->dtype); }

/* ---- life ---- */

static tern_status check_size(tern_dtype dtype, const tn_shape *shape, size_t *bytes, tern_error *err) {
    if (!tn_dtype_valid((int)dtype))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%d is not an element type", (int)dtype);
    if (shape->rank < 0 || shape->rank > TERN_MAX_RANK)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a tensor of rank %d; 0 to %d is possible", shape->rank,
                       TERN_MAX_RANK);
    if (tn_bytes_for(dtype, shape, 0, bytes)) return TERN_OK;
    char text[TN_SHAPE_TEXT];
    tn_shape_text(shape, text, sizeof text);
    if (!tn_shape_known(shape))
        return tn_fail(err, TERN_SHAPE_MISMATCH, "a tensor of shape %s can not be made: a dim is unknown", text);
    for (int i = 0; i < shape->rank; i++)
        if (shape->dims[i] < 0)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "a tensor of shape %s can not be made: a dim is negative", text);
    return tn_fail(err, TERN_LIMIT_EXCEEDED, "a tensor of shape %s and type %s does not fit in memory", text,
                   tn_dtype_name(dtype));
}

static tern_tensor *handle_new(tern_kind kind, tern_dtype dtype, const tn_shape *shape) {
    tern_tensor *t = tn_alloc(sizeof *t);
    if (t) *t = (tern_tensor){.kind = kind, .dtype = dtype, .shape = *shape, .refs = 1};
    return t;
}

tern_status tn_tensor_new(tern_tensor **out, tern_dtype dtype, const tn_shape *shape, tern_error *err) {
    size_t bytes;
    *out = NULL;
    TN_TRY(check_size(dtype, shape, &bytes, err));
    tern_tensor *t = handle_new(TERN_KIND_TENSOR, dtype, shape);
    tn_buffer *buffer = t ? buffer_new(bytes) : NULL;
    if (!buffer) {
        tn_free(t);
        return tn_fail_oom(err, bytes);
    }
    t->buffer = buffer;
    t->data = buffer_data(buffer);
    if (dtype == TERN_STRING && bytes) memset(t->data, 0, bytes);
    *out = t;
    return TERN_OK;
}

tern_status tn_tensor_new_borrow(tern_tensor **out, tern_dtype dtype, const tn_shape *shape, const void *data,
                                 tern_error *err) {
    size_t bytes;
    *out = NULL;
    TN_TRY(check_size(dtype, shape, &bytes, err));
    tern_tensor *t = handle_new(TERN_KIND_TENSOR, dtype, shape);
    if (!t) return tn_fail_oom(err, sizeof *t);
    t->data = (void *)(uintptr_t)data;
    *out = t;
    return TERN_OK;
}

tern_status tn_tensor_new_view(tern_tensor **out, tern_tensor *src, tern_dtype dtype, const tn_shape *shape,
                               tern_error *err) {
    size_t bytes;
    *out = NULL;
    TN_TRY(check_size(dtype, shape, &bytes, err));
    bool strings = dtype == TERN_STRING;
    if (src->kind != TERN_KIND_TENSOR || src->block || strings != (src->dtype == TERN_STRING) ||
        bytes > tn_tensor_bytes(src))
        return tn_fail(err, TERN_INTERNAL, "a view of %zu bytes and type %s over %zu bytes of type %s", bytes,
                       tn_dtype_name(dtype), tn_tensor_bytes(src), tn_dtype_name(src->dtype));
    tern_tensor *t = handle_new(TERN_KIND_TENSOR, dtype, shape);
    if (!t) return tn_fail_oom(err, sizeof *t);
    t->data = src->data;
    t->buffer = src->buffer;
    if (t->buffer) __atomic_add_fetch(&t->buffer->refs, 1, __ATOMIC_RELAXED);
    *out = t;
    return TERN_OK;
}

static const char *kind_name(tern_kind kind) {
    static const char *const names[] = {"tensor", "sequence", "optional", "map"};
    return (unsigned)kind < TN_COUNT(names) ? names[kind] : "unknown kind";
}

tern_status tn_tensor_new_group(tern_tensor **out, tern_kind kind, tern_tensor *const *items, size_t count,
                                tern_error *err) {
    *out = NULL;
    bool fits = kind == TERN_KIND_SEQUENCE || (kind == TERN_KIND_OPTIONAL && count <= 1) ||
                (kind == TERN_KIND_MAP && count == 2);
    if (!fits) return tn_fail(err, TERN_INVALID_ARGUMENT, "%s of %zu items is not possible", kind_name(kind), count);
    tern_tensor *t = handle_new(kind, TERN_UNDEFINED, &(tn_shape){0});
    tern_tensor **list = t && count ? tn_alloc_array(count, sizeof *list) : NULL;
    if (!t || (count && !list)) {
        tn_free(t);
        return tn_fail_oom(err, count * sizeof *list);
    }
    for (size_t i = 0; i < count; i++) list[i] = tn_tensor_ref(items[i]);
    t->items = list;
    t->n_items = count;
    *out = t;
    return TERN_OK;
}

tern_tensor *tn_tensor_ref(tern_tensor *t) {
    __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
    return t;
}

void tn_tensor_unref(tern_tensor *t) {
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    // Groups nest no deeper than the program that built them; readers of files bound the nesting.
    for (size_t i = 0; i < t->n_items; i++) tn_tensor_unref(t->items[i]);
    tn_free(t->items);
    buffer_unref(t->buffer);
    tn_free(t);
}

/* ---- strings ---- */

// The arena that owns the bytes of t's elements; NULL: no memory.
static tn_arena *string_arena(tern_tensor *t) {
    if (!t->buffer) t->buffer = buffer_new(0);
    if (t->buffer && !t->buffer->has_strings) {
        tn_arena_init(&t->buffer->strings, 0);
        t->buffer->has_strings = true;
        t->buffer->compact_at = 4096;
    }
    return t->buffer ? &t->buffer->strings : NULL;
}

tern_status tn_tensor_own_strings(tern_tensor *t, tern_error *err) {
    tern_string *s = t->data;
    size_t count = (size_t)tn_tensor_stored_count(t);
    tn_arena *own = string_arena(t);
    if (!own) return tn_fail_oom(err, DATA_ALIGN);
    // Views would still point into the old bytes.
    if (__atomic_load_n(&t->buffer->refs, __ATOMIC_ACQUIRE) != 1)
        return tn_fail(err, TERN_INTERNAL, "strings of a shared tensor can not be replaced");
    tn_arena fresh;
    tn_arena_init(&fresh, 0);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        if (!tn_add_size(bytes, s[i].len, &bytes)) return tn_fail_oom(err, SIZE_MAX);
    char *to = bytes ? tn_arena_alloc(&fresh, bytes) : NULL;
    if (bytes && !to) return tn_fail_oom(err, bytes);
    for (size_t i = 0; i < count; i++) {
        if (s[i].len) {
            memcpy(to, s[i].data, s[i].len);
            s[i].data = to;
            to += s[i].len;
        } else {
            s[i].data = NULL;
        }
    }
    tn_arena_release(own);
    *own = fresh;
    return TERN_OK;
}

tern_status tn_tensor_set_string(tern_tensor *t, int64_t index, const char *data, size_t len, tern_error *err) {
    tern_string *s = (tern_string *)t->data + index;
    tn_arena *arena = string_arena(t);
    char *copy = arena && len ? tn_arena_alloc(arena, len) : NULL;
    if (!arena || (len && !copy)) return tn_fail_oom(err, len);
    if (len) memcpy(copy, data, len);
    *s = (tern_string){copy, len};
    if (arena->used < t->buffer->compact_at || __atomic_load_n(&t->buffer->refs, __ATOMIC_ACQUIRE) != 1) return TERN_OK;
    // Replaced strings leave garbage: collected whenever the arena has doubled, so a tensor that is filled again and
    // again stays small. The element is set already: failing to collect is no error.
    if (tn_tensor_own_strings(t, NULL) == TERN_OK) arena = &t->buffer->strings;
    t->buffer->compact_at = TN_MAX(arena->used * 2, (size_t)4096);
    return TERN_OK;
}

/* ---- copies and comparison ---- */

static tern_status copy_group(tern_tensor **out, const tern_tensor *src, tern_error *err) {
    tern_tensor **items = src->n_items ? tn_calloc(src->n_items, sizeof *items) : NULL;
    if (src->n_items && !items) return tn_fail_oom(err, src->n_items * sizeof *items);
    tern_status status = TERN_OK;
    for (size_t i = 0; i < src->n_items && status == TERN_OK; i++)
        status = tn_tensor_copy(&items[i], src->items[i], err);
    if (status == TERN_OK) status = tn_tensor_new_group(out, src->kind, items, src->n_items, err);
    for (size_t i = 0; i < src->n_items; i++) tn_tensor_unref(items[i]); // the group holds its own references
    tn_free(items);
    return status;
}

tern_status tn_tensor_copy(tern_tensor **out, const tern_tensor *src, tern_error *err) {
    *out = NULL;
    if (src->kind != TERN_KIND_TENSOR) return copy_group(out, src, err);
    tern_tensor *t;
    tn_shape stored = tn_tensor_stored_shape(src);
    TN_TRY(tn_tensor_new(&t, src->dtype, &stored, err));
    t->shape = src->shape;
    t->block = src->block;
    size_t bytes = tn_tensor_bytes(src);
    if (bytes) memcpy(t->data, src->data, bytes);
    tern_status status = src->dtype == TERN_STRING ? tn_tensor_own_strings(t, err) : TERN_OK;
    if (status != TERN_OK) {
        tn_tensor_unref(t);
        return status;
    }
    *out = t;
    return TERN_OK;
}

static bool equal_strings(const tern_string *a, const tern_string *b, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!tn_str_eq((tn_str){a[i].data, a[i].len}, (tn_str){b[i].data, b[i].len})) return false;
    return true;
}

bool tn_tensor_equal(const tern_tensor *a, const tern_tensor *b) {
    if (a->kind != b->kind) return false;
    if (a->kind != TERN_KIND_TENSOR) {
        if (a->n_items != b->n_items) return false;
        for (size_t i = 0; i < a->n_items; i++)
            if (!tn_tensor_equal(a->items[i], b->items[i])) return false;
        return true;
    }
    if (a->dtype != b->dtype || a->block != b->block || !tn_shape_equal(&a->shape, &b->shape)) return false;
    int64_t count = tn_tensor_stored_count(a);
    if (count == 0) return true;
    if (a->dtype == TERN_STRING) return equal_strings(a->data, b->data, count);
    return memcmp(a->data, b->data, tn_tensor_bytes(a)) == 0;
}

/* ---- single elements ---- */

double tn_tensor_get_f64(const tern_tensor *t, int64_t i) {
    float f;
    switch (t->dtype) {
    case TERN_FLOAT: /* also where it is unaligned */
        memcpy(&f, (const char *)t->data + i * (int64_t)sizeof f, sizeof f);
        return f;
    case TERN_DOUBLE:
        return ((const double *)t->data)[i];
    case TERN_COMPLEX64:
        return ((const float *)t->data)[2 * i];
    case TERN_COMPLEX128:
        return ((const double *)t->data)[2 * i];
    case TERN_FLOAT16:
        return tn_f16_to_f32(((const uint16_t *)t->data)[i]);
    case TERN_BFLOAT16:
        return tn_bf16_to_f32(((const uint16_t *)t->data)[i]);
    case TERN_FLOAT8E4M3FN:
        return tn_f8e4m3fn_to_f32(((const uint8_t *)t->data)[i]);
    case TERN_FLOAT8E4M3FNUZ:
        return tn_f8e4m3fnuz_to_f32(((const uint8_t *)t->data)[i]);
    case TERN_FLOAT8E5M2:
        return tn_f8e5m2_to_f32(((const uint8_t *)t->data)[i]);
    case TERN_FLOAT8E5M2FNUZ:
        return tn_f8e5m2fnuz_to_f32(((const uint8_t *)t->data)[i]);
    case TERN_FLOAT8E8M0:
        return tn_f8e8m0_to_f32(((const uint8_t *)t->data)[i]);
    case TERN_FLOAT4E2M1:
        return tn_f4e2m1_to_f32(((const uint8_t *)t->data)[i]);
    case TERN_UINT64:
        return (double)((const uint64_t *)t->data)[i];
    default:
        return (double)tn_tensor_get_i64(t, i);
    }
}

// Towards zero; out of range values go to the nearest end, NaN to 0.
static int64_t f64_to_i64(double v) {
    if (v != v) return 0;
    if (v >= 9223372036854775808.0) return INT64_MAX;
    return v < -9223372036854775808.0 ? INT64_MIN : (int64_t)v;
}

int64_t tn_tensor_get_i64(const tern_tensor *t, int64_t i) {
    switch (t->dtype) {
    case TERN_INT8:
    case TERN_INT4:
    case TERN_INT2:
        return ((const int8_t *)t->data)[i];
    case TERN_UINT8:
    case TERN_BOOL:
    case TERN_UINT4:
    case TERN_UINT2:
        return ((const uint8_t *)t->data)[i];
    case TERN_INT16:
        return ((const int16_t *)t->data)[i];
    case TERN_UINT16:
        return ((const uint16_t *)t->data)[i];
    case TERN_INT32:
        return ((const int32_t *)t->data)[i];
    case TERN_UINT32:
        return ((const uint32_t *)t->data)[i];
    case TERN_INT64:
        return ((const int64_t *)t->data)[i];
    case TERN_UINT64: {
        uint64_t v = ((const uint64_t *)t->data)[i];
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    }
    case TERN_STRING:
    case TERN_UNDEFINED:
    case TERN_DTYPE_COUNT:
        return 0;
    default:
        return f64_to_i64(tn_tensor_get_f64(t, i));
    }
}
