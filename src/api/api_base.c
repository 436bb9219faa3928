/* Exported functions of status.h, log.h, cpu.h, tensor.h and version.h. */
#include "base/base.h"
#include "cpu/cpu.h"
#include "tensor/tensor.h"
#include "tern/tern.h"

/* ---- status, version, hooks ---- */

const char *tern_status_name(tern_status status) { return tn_status_name(status); }
const char *tern_status_message(tern_status status) { return tn_status_message(status); }
const char *tern_version(void) { return TERN_VERSION; }

void tern_set_log(tern_log_fn fn, void *context, tern_log_level level) { tn_log_set_hook(fn, context, level); }

void tern_set_allocator(const tern_allocator *allocator) {
    bool complete = allocator && allocator->alloc && allocator->free;
    tn_alloc_set_hook(complete ? allocator : NULL);
}

/* ---- CPU ---- */

tern_cpu_tier tern_cpu_get_tier(void) { return tn_cpu_tier(); }
tern_status tern_cpu_set_mask(tern_cpu_tier highest, tern_error *err) { return tn_cpu_set_mask(highest, err); }
const char *tern_cpu_tier_name(tern_cpu_tier tier) { return tn_cpu_tier_name(tier); }

tern_status tern_cpu_tier_parse(const char *name, tern_cpu_tier *out, tern_error *err) {
    if (!name || !out) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_cpu_tier_parse: name and out must not be NULL");
    return tn_cpu_tier_parse(name, out, err);
}

/* ---- element types ---- */

const char *tern_dtype_name(tern_dtype dtype) { return tn_dtype_name(dtype); }
size_t tern_dtype_size(tern_dtype dtype) { return tn_dtype_size(dtype); }

tern_status tern_dtype_parse(const char *name, tern_dtype *out, tern_error *err) {
    if (!name || !out) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_dtype_parse: name and out must not be NULL");
    return tn_dtype_parse(name, out, err);
}

/* ---- tensors ---- */

static tern_status check_dims(tn_shape *shape, const char *function, int rank, const int64_t *dims, tern_error *err) {
    if (rank < 0 || rank > TERN_MAX_RANK)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: rank %d is not 0 to %d", function, rank, TERN_MAX_RANK);
    if (rank > 0 && !dims) return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: dims must not be NULL", function);
    for (int i = 0; i < rank; i++)
        if (dims[i] < 0)
            return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: dim %d is %lld", function, i, (long long)dims[i]);
    *shape = tn_shape_of(rank, dims);
    return TERN_OK;
}

tern_status tern_tensor_create(tern_tensor **out, tern_dtype dtype, int rank, const int64_t *dims, tern_error *err) {
    if (!out) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_create: out must not be NULL");
    *out = NULL;
    tn_shape shape;
    TN_TRY(check_dims(&shape, "tern_tensor_create", rank, dims, err));
    TN_TRY(tn_tensor_new(out, dtype, &shape, err));
    size_t bytes = tn_tensor_bytes(*out);
    if (bytes) memset((*out)->data, 0, bytes);
    return TERN_OK;
}

tern_status tern_tensor_borrow(tern_tensor **out, tern_dtype dtype, int rank, const int64_t *dims, void *data,
                               size_t bytes, tern_error *err) {
    if (!out) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_borrow: out must not be NULL");
    *out = NULL;
    tn_shape shape;
    TN_TRY(check_dims(&shape, "tern_tensor_borrow", rank, dims, err));
    size_t need;
    if (tn_bytes_for(dtype, &shape, 0, &need)) { // else tn_tensor_new_borrow explains
        if (bytes < need)
            return tn_fail(err, TERN_INVALID_ARGUMENT,
                           "tern_tensor_borrow: the tensor takes %zu bytes, the memory has %zu", need, bytes);
        if (need > 0 && !data) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_borrow: data must not be NULL");
    }
    return tn_tensor_new_borrow(out, dtype, &shape, data, err);
}

tern_status tern_tensor_group(tern_tensor **out, tern_kind kind, tern_tensor *const *items, size_t count,
                              tern_error *err) {
    if (!out) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_group: out must not be NULL");
    *out = NULL;
    if (count > 0 && !items) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_group: items must not be NULL");
    for (size_t i = 0; i < count; i++)
        if (!items[i]) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_group: item %zu is NULL", i);
    return tn_tensor_new_group(out, kind, items, count, err);
}

void tern_tensor_free(tern_tensor *tensor) { tn_tensor_unref(tensor); }

tern_kind tern_tensor_kind(const tern_tensor *tensor) { return tensor->kind; }
tern_dtype tern_tensor_dtype(const tern_tensor *tensor) { return tensor->dtype; }
int tern_tensor_rank(const tern_tensor *tensor) { return tensor->shape.rank; }
const int64_t *tern_tensor_dims(const tern_tensor *tensor) { return tensor->shape.dims; }

int64_t tern_tensor_count(const tern_tensor *tensor) {
    return tensor->kind == TERN_KIND_TENSOR ? tn_shape_count(&tensor->shape) : 0;
}

size_t tern_tensor_bytes(const tern_tensor *tensor) { return tn_tensor_bytes(tensor); }
const void *tern_tensor_const_data(const tern_tensor *tensor) { return tn_tensor_bytes(tensor) ? tensor->data : NULL; }
void *tern_tensor_data(tern_tensor *tensor) { return tn_tensor_bytes(tensor) ? tensor->data : NULL; }

tern_status tern_tensor_set_string(tern_tensor *tensor, int64_t index, const char *data, size_t len, tern_error *err) {
    if (!tensor || (len > 0 && !data))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_set_string: tensor and data must not be NULL");
    if (tensor->kind != TERN_KIND_TENSOR || tensor->dtype != TERN_STRING)
        return tn_fail(err, TERN_TYPE_MISMATCH, "tern_tensor_set_string: the tensor is of type %s, not string",
                       tn_dtype_name(tensor->dtype));
    int64_t count = tn_shape_count(&tensor->shape);
    if (index < 0 || index >= count)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_set_string: index %lld, the tensor has %lld elements",
                       (long long)index, (long long)count);
    return tn_tensor_set_string(tensor, index, data, len, err);
}

size_t tern_tensor_item_count(const tern_tensor *tensor) { return tensor->n_items; }

const tern_tensor *tern_tensor_item(const tern_tensor *tensor, size_t index) {
    return index < tensor->n_items ? tensor->items[index] : NULL;
}
