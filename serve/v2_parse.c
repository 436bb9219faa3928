/* The body of a v2 inference request: JSON, then the bytes of binary tensors in the order of the inputs. The JSON is
 * read once, from front to back, numbers going straight into their tensor; only where `data` comes before name, type
 * and shape is it passed over first and read when those are known. */
#include <stdlib.h>

#include "serve/infer.h"
#include "serve/json_read.h"

typedef struct input {
    char *name, *datatype;
    int rank; /* -1: no shape yet */
    int64_t dims[TERN_MAX_RANK];
    int64_t binary_size; /* -1: JSON */
    tn_str data;         /* passed over; data NULL: there is none */
    int index;           /* of the model's inputs; -1: not known yet */
    bool filled;
} input;

typedef struct parser {
    serve_infer *q;
    serve_json r;
    char *tail; /* binary tensors, in the body */
    size_t tail_size;
    tern_error *err;
} parser;

void serve_infer_release(serve_infer *q) {
    for (int i = 0; q->inputs && i < q->version->n_inputs; i++) tern_tensor_free(q->inputs[i]);
    for (int i = 0; q->outputs && i < q->version->n_outputs; i++) tern_tensor_free(q->outputs[i]);
    tn_free(q->inputs);
    tn_free(q->outputs);
    serve_version_unref(q->version);
    q->inputs = q->outputs = NULL;
    q->version = NULL;
}

/* ---- inputs ------------------------------------------------------------------------------------------------- */

static tern_status find_input(parser *p, input *in) {
    const serve_version *v = p->q->version;
    for (int i = 0; i < v->n_inputs; i++) {
        if (strcmp(v->inputs[i].name, in->name) != 0) continue;
        if (p->q->inputs[i]) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "input '%s' is given twice", in->name);
        in->index = i;
        return TERN_OK;
    }
    return tn_fail(p->err, TERN_INVALID_ARGUMENT, "the model has no input '%.200s'", in->name);
}

/* "[1,3,-1]" */
static const char *dims_text(const int64_t *dims, int rank, char *to, size_t size) {
    tn_text t;
    tn_text_init(&t);
    serve_put_dims(&t, NULL, dims, rank);
    size_t n = TN_MIN(t.len, size - 1);
    memcpy(to, t.data, n);
    to[n] = '\0';
    tn_text_release(&t);
    return to;
}

static tern_status check_shape(const parser *p, const input *in, const tern_value_info *want) {
    bool fits = want->rank < 0 || want->rank == in->rank;
    for (int i = 0; fits && i < want->rank; i++) fits = want->dims[i] < 0 || want->dims[i] == in->dims[i];
    if (fits) return TERN_OK;
    char have[160], wanted[160];
    return tn_fail(p->err, TERN_SHAPE_MISMATCH, "input '%s' has the shape %s; the model wants %s", in->name,
                   dims_text(in->dims, in->rank, have, sizeof have),
                   dims_text(want->dims, want->rank, wanted, sizeof wanted));
}

/* Number of elements; refuses shapes that more bytes would be needed for than have come: an element takes at least
 * `least` of them. */
static tern_status count_of(const parser *p, const input *in, size_t least, int64_t *count) {
    *count = 1;
    for (int i = 0; i < in->rank; i++) {
        if (!tn_mul_i64(*count, in->dims[i], count))
            return tn_fail(p->err, TERN_LIMIT_EXCEEDED, "input '%s' has too many elements", in->name);
    }
    if ((uint64_t)*count <= serve_body(p->q->x).len / least) return TERN_OK;
    return tn_fail(p->err, TERN_SHAPE_MISMATCH, "input '%s' would have %lld elements, more than the request can hold",
                   in->name, (long long)*count);
}

/* Whether the tensor can be the body's own bytes, which stay until the answer is made: megabytes are not copied. */
static bool fits_in_place(const parser *p, const input *in, tern_dtype dtype, int64_t count) {
    size_t size = tern_dtype_size(dtype);
    return dtype != TERN_STRING && count > 0 && (uint64_t)in->binary_size == (uint64_t)count * size &&
           (uintptr_t)p->tail % size == 0;
}

static tern_status make_tensor(parser *p, input *in) {
    serve_infer *q = p->q;
    if (!in->name) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "an input without \"name\"");
    if (!in->datatype) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "input '%s' has no \"datatype\"", in->name);
    if (in->rank < 0) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "input '%s' has no \"shape\"", in->name);
    TN_TRY(find_input(p, in));
    const tern_value_info *want = &q->version->inputs[in->index];
    tern_dtype dtype = serve_dtype_of(in->datatype);
    if (dtype != want->dtype) {
        return tn_fail(p->err, TERN_TYPE_MISMATCH, "input '%s' has the datatype '%.40s'; the model wants %s", in->name,
                       in->datatype, serve_datatype(want->dtype));
    }
    bool binary = in->binary_size >= 0;
    if (!binary && (dtype == TERN_FLOAT16 || dtype == TERN_BFLOAT16)) {
        return tn_fail(p->err, TERN_UNSUPPORTED, "input '%s': %s has no form in JSON; send it as binary data", in->name,
                       in->datatype);
    }
    TN_TRY(check_shape(p, in, want));
    int64_t count;
    size_t least = dtype == TERN_STRING ? binary ? 4 : 3 : binary ? tern_dtype_size(dtype) : 2;
    TN_TRY(count_of(p, in, least, &count));
    tern_tensor **to = &q->inputs[in->index];
    return binary && fits_in_place(p, in, dtype, count)
               ? tern_tensor_borrow(to, dtype, in->rank, in->dims, p->tail, (size_t)in->binary_size, p->err)
               : tern_tensor_create(to, dtype, in->rank, in->dims, p->err);
}

static bool read_shape(serve_json *r, input *in) {
    bool first = true;
    int rank = 0;
    serve_json_open(r, '[');
    while (serve_json_element(r, &first)) {
        if (rank == TERN_MAX_RANK) return serve_json_fail(r, "a shape of more than %d dims", TERN_MAX_RANK);
        if (!serve_json_i64(r, &in->dims[rank])) return false;
        if (in->dims[rank++] < 0) return serve_json_fail(r, "a negative dim in a shape");
    }
    in->rank = rank;
    return !r->failed;
}

static bool read_input_parameters(serve_json *r, input *in) {
    tn_str key;
    bool first = true;
    serve_json_open(r, '{');
    while (serve_json_member(r, &first, &key)) {
        if (serve_key_is(key, "binary_data_size")) {
            if (in->binary_size >= 0) return serve_json_fail(r, "\"binary_data_size\" twice");
            if (serve_json_i64(r, &in->binary_size) && in->binary_size < 0)
                return serve_json_fail(r, "a negative \"binary_data_size\"");
        } else if (key.len >= 13 && memcmp(key.data, "shared_memory", 13) == 0) {
            return serve_json_fail(r, "shared memory is not supported");
        } else {
            serve_json_skip(r, NULL);
        }
    }
    return !r->failed;
}

static bool twice(serve_json *r, bool there, const char *key) {
    return !there || serve_json_fail(r, "\"%s\" twice in one object", key);
}

/* `data`: into the tensor at once when everything is known. */
static tern_status read_data(parser *p, input *in) {
    if (!twice(&p->r, in->filled || in->data.data, "data")) return p->err->status;
    if (!in->name || !in->datatype || in->rank < 0) {
        return serve_json_skip(&p->r, &in->data) ? TERN_OK : p->err->status;
    }
    if (in->binary_size >= 0)
        return tn_fail(p->err, TERN_INVALID_ARGUMENT, "input '%s' has both data and binary data", in->name);
    TN_TRY(make_tensor(p, in));
    in->filled = true;
    return serve_json_tensor(&p->r, p->q->inputs[in->index], in->name) ? TERN_OK : p->err->status;
}

/* Binary elements of strings: a length of 4 bytes each, then so many bytes. */
static tern_status take_strings(parser *p, const input *in, tern_tensor *t) {
    const char *at = p->tail;
    size_t left = (size_t)in->binary_size;
    for (int64_t i = 0; i < tern_tensor_count(t); i++) {
        uint32_t n;
        if (left < sizeof n)
            return tn_fail(p->err, TERN_INVALID_FORMAT, "input '%s': its strings are cut off", in->name);
        memcpy(&n, at, sizeof n);
        if (left - sizeof n < n)
            return tn_fail(p->err, TERN_INVALID_FORMAT, "input '%s': its strings are cut off", in->name);
        TN_TRY(tern_tensor_set_string(t, i, at + sizeof n, n, p->err));
        at += sizeof n + n;
        left -= sizeof n + n;
    }
    if (left == 0) return TERN_OK;
    return tn_fail(p->err, TERN_INVALID_FORMAT, "input '%s': %zu bytes follow its strings", in->name, left);
}

static tern_status check_bools(const parser *p, const input *in, const tern_tensor *t) {
    const uint8_t *data = tern_tensor_const_data(t);
    for (int64_t i = 0; i < tern_tensor_count(t); i++) {
        if (data[i] > 1) return tn_fail(p->err, TERN_INVALID_FORMAT, "input '%s': a bool that is not 0 or 1", in->name);
    }
    return TERN_OK;
}

static tern_status take_binary(parser *p, input *in) {
    if (in->data.data)
        return tn_fail(p->err, TERN_INVALID_ARGUMENT, "input '%s' has both data and binary data", in->name);
    if ((uint64_t)in->binary_size > p->tail_size) {
        return tn_fail(p->err, TERN_INVALID_ARGUMENT, "input '%s' announces %lld bytes of binary data; %zu are left",
                       in->name ? in->name : "", (long long)in->binary_size, p->tail_size);
    }
    TN_TRY(make_tensor(p, in));
    tern_tensor *t = p->q->inputs[in->index];
    tern_dtype dtype = tern_tensor_dtype(t);
    size_t bytes = tern_tensor_bytes(t);
    if (dtype == TERN_STRING) {
        TN_TRY(take_strings(p, in, t));
    } else if (bytes != (size_t)in->binary_size) {
        return tn_fail(p->err, TERN_SHAPE_MISMATCH, "input '%s' announces %lld bytes; its shape and type need %zu",
                       in->name, (long long)in->binary_size, bytes);
    } else if (bytes) {
        if (tern_tensor_data(t) != p->tail) memcpy(tern_tensor_data(t), p->tail, bytes);
        if (dtype == TERN_BOOL) TN_TRY(check_bools(p, in, t));
    }
    p->tail += in->binary_size;
    p->tail_size -= (size_t)in->binary_size;
    return TERN_OK;
}

static tern_status finish_input(parser *p, input *in) {
    if (in->filled) return TERN_OK;
    if (in->binary_size >= 0) return take_binary(p, in);
    TN_TRY(make_tensor(p, in));
    if (!in->data.data) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "input '%s' has no \"data\"", in->name);
    serve_json r;
    serve_json_init(&r, p->r.begin, (size_t)(in->data.data + in->data.len - p->r.begin), p->err);
    r.p = in->data.data;
    return serve_json_tensor(&r, p->q->inputs[in->index], in->name) ? TERN_OK : p->err->status;
}

static tern_status read_input(parser *p) {
    serve_json *r = &p->r;
    tn_arena *arena = &p->q->x->arena;
    input in = {.rank = -1, .binary_size = -1, .index = -1};
    tn_str key;
    bool first = true, parameters = false;
    serve_json_open(r, '{');
    while (serve_json_member(r, &first, &key)) {
        if (serve_key_is(key, "name")) {
            if (twice(r, in.name, "name")) serve_json_string(r, arena, &in.name, NULL);
        } else if (serve_key_is(key, "datatype")) {
            if (twice(r, in.datatype, "datatype")) serve_json_string(r, arena, &in.datatype, NULL);
        } else if (serve_key_is(key, "shape")) {
            if (twice(r, in.rank >= 0, "shape")) read_shape(r, &in);
        } else if (serve_key_is(key, "parameters")) {
            if (twice(r, parameters, "parameters")) read_input_parameters(r, &in);
            parameters = true;
        } else if (serve_key_is(key, "data")) {
            TN_TRY(read_data(p, &in));
        } else {
            serve_json_skip(r, NULL);
        }
    }
    return r->failed ? p->err->status : finish_input(p, &in);
}

/* ---- outputs ------------------------------------------------------------------------------------------------ */

static bool read_output_parameters(serve_json *r, serve_wanted *w) {
    tn_str key;
    bool first = true;
    serve_json_open(r, '{');
    while (serve_json_member(r, &first, &key)) {
        if (serve_key_is(key, "binary_data")) {
            serve_json_bool(r, &w->binary);
        } else if (serve_key_is(key, "classification")) {
            if (serve_json_i64(r, &w->classes) && (w->classes < 0 || w->classes > 1000000))
                return serve_json_fail(r, "\"classification\" wants a number of classes");
        } else if (key.len >= 13 && memcmp(key.data, "shared_memory", 13) == 0) {
            return serve_json_fail(r, "shared memory is not supported");
        } else {
            serve_json_skip(r, NULL);
        }
    }
    return !r->failed;
}

static tern_status read_output(parser *p) {
    serve_infer *q = p->q;
    const serve_version *v = q->version;
    serve_json *r = &p->r;
    serve_wanted w = {.index = -1, .binary = q->binary_output};
    char *name = NULL;
    tn_str key;
    bool first = true, parameters = false;
    serve_json_open(r, '{');
    while (serve_json_member(r, &first, &key)) {
        if (serve_key_is(key, "name")) {
            if (twice(r, name, "name")) serve_json_string(r, &q->x->arena, &name, NULL);
        } else if (serve_key_is(key, "parameters")) {
            if (twice(r, parameters, "parameters")) read_output_parameters(r, &w);
            parameters = true;
        } else {
            serve_json_skip(r, NULL);
        }
    }
    if (r->failed) return p->err->status;
    if (!name) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "an output without \"name\"");
    for (int i = 0; i < v->n_outputs; i++) {
        if (strcmp(v->output_names[i], name) == 0) w.index = i;
    }
    if (w.index < 0) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "the model has no output '%.200s'", name);
    for (int i = 0; i < q->n_wanted; i++) {
        if (q->wanted[i].index == w.index)
            return tn_fail(p->err, TERN_INVALID_ARGUMENT, "output '%s' is asked for twice", name);
    }
    q->wanted[q->n_wanted++] = w; /* no more than there are outputs */
    return TERN_OK;
}

/* ---- the request -------------------------------------------------------------------------------------------- */

static bool read_parameters(parser *p) {
    serve_json *r = &p->r;
    tn_str key;
    bool first = true;
    serve_json_open(r, '{');
    while (serve_json_member(r, &first, &key)) {
        if (serve_key_is(key, "binary_data_output")) {
            serve_json_bool(r, &p->q->binary_output);
        } else if (serve_key_is(key, "timeout")) {
            if (serve_json_i64(r, &p->q->timeout_us) && p->q->timeout_us < 0)
                return serve_json_fail(r, "a negative \"timeout\"");
        } else if (key.len >= 9 && memcmp(key.data, "sequence_", 9) == 0) {
            return serve_json_fail(r, "sequences are not supported: the models here keep no state");
        } else {
            serve_json_skip(r, NULL);
        }
    }
    return !r->failed;
}

static tern_status read_list(parser *p, tern_status (*item)(parser *p)) {
    bool first = true;
    serve_json_open(&p->r, '[');
    while (serve_json_element(&p->r, &first)) TN_TRY(item(p));
    return p->r.failed ? p->err->status : TERN_OK;
}

enum { SEEN_ID = 1, SEEN_PARAMETERS = 2, SEEN_INPUTS = 4, SEEN_OUTPUTS = 8 };

/* Outputs are read last: a default for them may come after them. */
static tern_status read_member(parser *p, tn_str key, unsigned *seen, tn_str *outputs) {
    static const char *const names[] = {"id", "parameters", "inputs", "outputs"};
    serve_json *r = &p->r;
    unsigned which = 0;
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        if (serve_key_is(key, names[i])) which = 1u << i;
    }
    if (which && (*seen & which)) {
        serve_json_fail(r, "\"%.*s\" twice in one object", (int)key.len, key.data);
        return p->err->status;
    }
    *seen |= which;
    char *id = NULL;
    switch (which) {
    case SEEN_ID:
        serve_json_string(r, &p->q->x->arena, &id, NULL);
        p->q->id = id;
        break;
    case SEEN_PARAMETERS:
        read_parameters(p);
        break;
    case SEEN_INPUTS:
        return read_list(p, read_input);
    case SEEN_OUTPUTS:
        serve_json_skip(r, outputs);
        break;
    default:
        serve_json_skip(r, NULL);
    }
    return r->failed ? p->err->status : TERN_OK;
}

static tern_status read_request(parser *p) {
    tn_str key, outputs = {0};
    bool first = true;
    unsigned seen = 0;
    serve_json_open(&p->r, '{');
    while (serve_json_member(&p->r, &first, &key)) TN_TRY(read_member(p, key, &seen, &outputs));
    if (!serve_json_end(&p->r)) return p->err->status;
    if (!(seen & SEEN_INPUTS)) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "the request has no \"inputs\"");
    if (outputs.data) {
        serve_json_init(&p->r, p->r.begin, (size_t)(outputs.data + outputs.len - p->r.begin), p->err);
        p->r.p = outputs.data;
        TN_TRY(read_list(p, read_output));
    }
    if (p->tail_size == 0) return TERN_OK;
    return tn_fail(p->err, TERN_INVALID_ARGUMENT, "%zu bytes follow the binary data of the inputs", p->tail_size);
}

/* A body without JSON: the bytes of the only input, whose one free dim, if any, follows from their number. */
static tern_status read_raw(parser *p) {
    const serve_version *v = p->q->version;
    if (v->n_inputs != 1) return tn_fail(p->err, TERN_INVALID_ARGUMENT, "raw bytes are for models of one input");
    const tern_value_info *want = &v->inputs[0];
    input in = {.name = (char *)(uintptr_t)want->name, .rank = want->rank, .binary_size = (int64_t)p->tail_size};
    in.datatype = (char *)(uintptr_t)serve_datatype(want->dtype);
    int64_t known = (int64_t)tern_dtype_size(want->dtype), open = -1;
    for (int i = 0; i < want->rank; i++) {
        in.dims[i] = want->dims[i];
        if (in.dims[i] < 0 && open >= 0)
            return tn_fail(p->err, TERN_INVALID_ARGUMENT, "raw bytes: input '%s' has more than one free dim", in.name);
        if (in.dims[i] < 0) {
            open = i;
        } else if (!tn_mul_i64(known, in.dims[i], &known)) {
            return tn_fail(p->err, TERN_LIMIT_EXCEEDED, "input '%s' has too many elements", in.name);
        }
    }
    if (want->rank < 0 || want->dtype == TERN_STRING)
        return tn_fail(p->err, TERN_INVALID_ARGUMENT, "raw bytes: input '%s' has no fixed size", in.name);
    if (open >= 0) in.dims[open] = known > 0 ? (int64_t)p->tail_size / known : 0;
    if (p->tail_size == 0 && known > 0 && open >= 0)
        return tn_fail(p->err, TERN_INVALID_ARGUMENT, "the body is empty: raw bytes of input '%s' are expected",
                       in.name);
    p->q->binary_output = true;
    return take_binary(p, &in);
}

/* Where the JSON ends. */
static tern_status split(parser *p, serve_exchange *x, bool *raw) {
    const char *text = x->headers.header_length;
    tn_str body = serve_body(x);
    size_t size = body.len;
    *raw = false;
    if (text) {
        size_t n = strlen(text);
        if (n == 0 || n > 18 || strspn(text, "0123456789") != n)
            return tn_fail(p->err, TERN_INVALID_ARGUMENT, "Inference-Header-Content-Length is no number");
        size = (size_t)strtoull(text, NULL, 10);
        if (size > body.len) {
            return tn_fail(p->err, TERN_INVALID_ARGUMENT,
                           "Inference-Header-Content-Length is %zu, the body has %zu bytes", size, body.len);
        }
        *raw = size == 0;
    }
    serve_json_init(&p->r, body.data, size, p->err);
    p->tail = x->body.data + (x->body.len - body.len) + size;
    p->tail_size = body.len - size;
    return TERN_OK;
}

/* All inputs are there, and how many rows they have. */
static tern_status check_inputs(serve_infer *q, tern_error *err) {
    const serve_version *v = q->version;
    for (int i = 0; i < v->n_inputs; i++) {
        if (!q->inputs[i]) return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' is missing", v->inputs[i].name);
    }
    if (!v->batchable) return TERN_OK;
    int64_t rows = tern_tensor_dims(q->inputs[0])[0];
    for (int i = 1; i < v->n_inputs; i++) {
        if (tern_tensor_dims(q->inputs[i])[0] == rows) continue;
        return tn_fail(err, TERN_SHAPE_MISMATCH, "input '%s' has %lld rows, input '%s' has %lld", v->inputs[0].name,
                       (long long)rows, v->inputs[i].name, (long long)tern_tensor_dims(q->inputs[i])[0]);
    }
    if (v->config.batch_dim && rows > v->max_batch) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a batch of %lld rows; the model is configured for at most %lld",
                       (long long)rows, (long long)v->max_batch);
    }
    q->job.rows = rows;
    return TERN_OK;
}

tern_status serve_infer_parse(serve_infer *q, serve_exchange *x, serve_version *version, tern_error *err) {
    *q = (serve_infer){.x = x, .version = version, .timeout_us = -1};
    q->inputs = tn_calloc((size_t)version->n_inputs + 1, sizeof *q->inputs);
    q->outputs = tn_calloc((size_t)version->n_outputs + 1, sizeof *q->outputs);
    q->wanted = tn_arena_array(&x->arena, (size_t)version->n_outputs + 1, sizeof *q->wanted);
    if (!q->inputs || !q->outputs || !q->wanted) return tn_fail_oom(err, 0);
    parser p = {.q = q, .err = err};
    bool raw;
    TN_TRY(split(&p, x, &raw));
    TN_TRY(raw ? read_raw(&p) : read_request(&p));
    for (int i = 0; q->n_wanted == 0 && i < version->n_outputs; i++)
        q->wanted[i] = (serve_wanted){.index = i, .binary = q->binary_output};
    if (q->n_wanted == 0) q->n_wanted = version->n_outputs;
    return check_inputs(q, err);
}
