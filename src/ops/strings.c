/* StringConcat, StringSplit, StringNormalizer, RegexFullMatch. */
#include "ops/args.h"
#include "ops/copy.h"
#include "ops/regex.h"
#include "ops/unicode.h"

static tern_status new_string(tn_run *c, size_t len, char **out) {
    *out = tn_arena_alloc(c->strings, TN_MAX(len, (size_t)1));
    return *out ? TERN_OK : tn_fail_oom(c->err, len);
}

/* ---- StringConcat ---------------------------------------------------------------------------------------------- */

static tern_status infer_concat(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_T(STRING)));
    TN_TRY(tn_args_need(c, 1, TN_T(STRING)));
    tn_shape a, b, out;
    if (!tn_args_shape(c, 0, &a) || !tn_args_shape(c, 1, &b)) {
        tn_infer_out(c, 0, TERN_STRING, NULL);
        return TERN_OK;
    }
    TN_TRY(tn_infer_broadcast(c, (const tn_shape *const[]){&a, &b}, 2, &out));
    return tn_args_out_shape(c, 0, TERN_STRING, &out);
}

/* Strides of t for walking over `out`; 0 where it repeats. */
static void broadcast_strides(const tern_tensor *t, const tn_shape *out, int64_t *strides) {
    int64_t dense[TERN_MAX_RANK];
    tn_copy_strides(&t->shape, dense);
    for (int i = 0; i < out->rank; i++) {
        int k = i - (out->rank - t->shape.rank);
        strides[i] = k < 0 || t->shape.dims[k] == 1 ? 0 : dense[k];
    }
}

static tern_status run_concat(tn_run *c) {
    const tern_string *a = c->in[0]->data, *b = c->in[1]->data;
    tern_tensor *y = c->out[0];
    int64_t sa[TERN_MAX_RANK], sb[TERN_MAX_RANK], at[TERN_MAX_RANK] = {0}, ia = 0, ib = 0;
    broadcast_strides(c->in[0], &y->shape, sa);
    broadcast_strides(c->in[1], &y->shape, sb);
    for (int64_t i = 0, n = tn_shape_count(&y->shape); i < n; i++) {
        size_t len;
        char *text;
        if (!tn_add_size(a[ia].len, b[ib].len, &len)) return tn_fail_oom(c->err, SIZE_MAX);
        TN_TRY(new_string(c, len, &text));
        if (a[ia].len) memcpy(text, a[ia].data, a[ia].len);
        if (b[ib].len) memcpy(text + a[ia].len, b[ib].data, b[ib].len);
        ((tern_string *)y->data)[i] = (tern_string){text, len};
        for (int d = y->shape.rank - 1; d >= 0; d--) {
            ia += sa[d];
            ib += sb[d];
            if (++at[d] < y->shape.dims[d]) break;
            ia -= sa[d] * y->shape.dims[d];
            ib -= sb[d] * y->shape.dims[d];
            at[d] = 0;
        }
    }
    return TERN_OK;
}

const tn_op tn_op_string_concat = TN_ARGS_OP(infer_concat, run_concat, 2, 2, 1, 1, 0);

/* ---- StringSplit ----------------------------------------------------------------------------------------------- */

static tern_status infer_split(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_T(STRING)));
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, TERN_STRING, NULL);
        tn_infer_out(c, 1, TERN_INT64, NULL);
        return TERN_OK;
    }
    tn_infer_out(c, 1, TERN_INT64, &s);
    if (s.rank >= TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "a result of rank %d; at most %d are possible", s.rank + 1,
                             TERN_MAX_RANK);
    s.dims[s.rank++] = TN_DIM_UNKNOWN;
    tn_infer_out(c, 0, TERN_STRING, &s);
    return TERN_OK;
}

typedef struct splitter {
    tn_str by;    /* empty: runs of white space */
    int64_t most; /* splits; negative: no limit */
} splitter;

static bool is_space(char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r'); }

/* The next part of s from *at on; *at moves behind it and its delimiter, past the end when it was the last one. */
static bool next_part(const splitter *p, tern_string s, int64_t done, size_t *at, tern_string *out) {
    bool rest = p->most >= 0 && done >= p->most;
    if (p->by.len == 0) {
        while (*at < s.len && is_space(s.data[*at])) (*at)++;
        if (*at >= s.len) return false;
        size_t end = *at;
        if (rest)
            for (end = s.len; is_space(s.data[end - 1]);) end--;
        else
            while (end < s.len && !is_space(s.data[end])) end++;
        *out = (tern_string){s.data + *at, end - *at};
        *at = rest ? s.len : end;
        return true;
    }
    if (*at > s.len || s.len == 0) return false;
    size_t end = s.len;
    for (size_t i = *at; !rest && i + p->by.len <= s.len; i++)
        if (memcmp(s.data + i, p->by.data, p->by.len) == 0) {
            end = i;
            break;
        }
    *out = (tern_string){s.data + *at, end - *at};
    *at = end == s.len ? s.len + 1 : end + p->by.len;
    return true;
}

/* The parts of s go to `out` (may be NULL); returns how many there are. */
static int64_t split(const splitter *p, tern_string s, tern_string *out) {
    int64_t n = 0;
    tern_string part;
    for (size_t at = 0; next_part(p, s, n, &at, &part); n++)
        if (out) out[n] = part;
    return n;
}

static tern_status run_split(tn_run *c) {
    const tern_string *x = c->in[0]->data;
    int64_t n = tn_shape_count(&c->in[0]->shape), most = 0;
    splitter p = {tn_attr_s(c->node, "delimiter", ""), tn_attr_i(c->node, "maxsplit", -1)};
    tern_tensor *counts = tn_args_out(c, 1);
    for (int64_t i = 0; i < n; i++) {
        int64_t parts = split(&p, x[i], NULL);
        if (counts) ((int64_t *)counts->data)[i] = parts;
        most = TN_MAX(most, parts);
    }
    tn_shape shape = c->in[0]->shape;
    shape.dims[shape.rank++] = most;
    TN_TRY(tn_run_alloc(c, 0, TERN_STRING, &shape));
    tern_string *y = c->out[0]->data;
    for (int64_t i = 0; i < n; i++) {
        int64_t parts = split(&p, x[i], y + i * most);
        for (int64_t k = parts; k < most; k++) y[i * most + k] = (tern_string){NULL, 0};
    }
    return TERN_OK;
}

const tn_op tn_op_string_split = TN_ARGS_OP(infer_split, run_split, 1, 1, 1, 2, TN_OP_ALLOC);

/* ---- StringNormalizer ------------------------------------------------------------------------------------------ */

static tern_status infer_normalizer(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_T(STRING)));
    tn_str action = tn_attr_s(c->node, "case_change_action", "NONE");
    if (!tn_str_eq(action, tn_str_c("NONE")) && !tn_str_eq(action, tn_str_c("LOWER")) &&
        !tn_str_eq(action, tn_str_c("UPPER")))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "case_change_action is '%.*s'; NONE, LOWER and UPPER are possible",
                             (int)TN_MIN(action.len, (size_t)40), action.data);
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, TERN_STRING, NULL);
        return TERN_OK;
    }
    if (s.rank < 1 || s.rank > 2 || (s.rank == 2 && tn_dim_known(s.dims[0]) && s.dims[0] != 1)) {
        char text[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "an input of shape [%s] where [C] or [1,C] is needed",
                             tn_shape_text(&s, text, sizeof text));
    }
    s.dims[s.rank - 1] = TN_DIM_UNKNOWN;
    tn_infer_out(c, 0, TERN_STRING, &s);
    return TERN_OK;
}

static tern_status change_case(tn_run *c, tern_string s, bool upper, tern_string *out) {
    /* A character grows from 1 byte to 3 at most, or from 2 to 3: three times is enough for all. */
    size_t most, len = 0;
    char *text;
    if (!tn_mul_size(s.len, 3, &most)) return tn_fail_oom(c->err, SIZE_MAX);
    TN_TRY(new_string(c, most, &text));
    for (size_t i = 0; i < s.len;) {
        uint32_t ch;
        i += tn_unicode_read(s.data + i, s.len - i, &ch);
        len += tn_unicode_write(upper ? tn_unicode_upper(ch) : tn_unicode_lower(ch), text + len);
    }
    *out = (tern_string){text, len};
    return TERN_OK;
}

static tern_status collect_stopwords(tn_run *c, bool exact, tn_map *map) {
    size_t n;
    const tn_str *words = tn_attr_strings(c->node, "stopwords", &n);
    for (size_t i = 0; i < n; i++) {
        tern_string key = {words[i].data, words[i].len};
        if (!exact) TN_TRY(change_case(c, key, false, &key));
        if (!tn_map_put(map, (tn_str){key.data, key.len}, map)) return tn_fail_oom(c->err, sizeof key);
    }
    return TERN_OK;
}

static tern_status normalize(tn_run *c, const tn_map *stop, bool exact, tern_string *out, int64_t *kept) {
    const tern_string *x = c->in[0]->data;
    tn_str action = tn_attr_s(c->node, "case_change_action", "NONE");
    bool upper = tn_str_eq(action, tn_str_c("UPPER")), change = upper || tn_str_eq(action, tn_str_c("LOWER"));
    *kept = 0;
    for (int64_t i = 0, n = tn_shape_count(&c->in[0]->shape); i < n; i++) {
        tern_string key = x[i];
        if (!exact && stop->count) TN_TRY(change_case(c, key, false, &key));
        if (tn_map_get(stop, (tn_str){key.data, key.len})) continue;
        if (change)
            TN_TRY(change_case(c, x[i], upper, &out[*kept]));
        else
            out[*kept] = x[i];
        (*kept)++;
    }
    return TERN_OK;
}

static tern_status run_normalizer(tn_run *c) {
    tn_map stop = {0};
    bool exact = tn_attr_i(c->node, "is_case_sensitive", 0) != 0;
    int64_t kept = 0;
    tern_string *words = tn_alloc_array((size_t)tn_shape_count(&c->in[0]->shape) + 1, sizeof *words);
    tern_status s = words ? TERN_OK : tn_fail_oom(c->err, tn_tensor_bytes(c->in[0]));
    if (s == TERN_OK) s = collect_stopwords(c, exact, &stop);
    if (s == TERN_OK) s = normalize(c, &stop, exact, words, &kept);
    if (s == TERN_OK && kept == 0) words[kept++] = (tern_string){NULL, 0}; /* one empty string stands for nothing */
    tn_shape shape = c->in[0]->shape;
    shape.dims[shape.rank - 1] = kept;
    if (s == TERN_OK) s = tn_run_alloc(c, 0, TERN_STRING, &shape);
    if (s == TERN_OK) memcpy(c->out[0]->data, words, (size_t)kept * sizeof *words);
    tn_map_release(&stop);
    tn_free(words);
    return s;
}

const tn_op tn_op_string_normalizer = TN_ARGS_OP(infer_normalizer, run_normalizer, 1, 1, 1, 1, TN_OP_ALLOC);

/* ---- RegexFullMatch -------------------------------------------------------------------------------------------- */

static tern_status infer_regex(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_T(STRING)));
    if (!tn_attr_find(c->node, "pattern"))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'pattern' is missing");
    tn_shape s;
    bool known = tn_args_shape(c, 0, &s);
    tn_infer_out(c, 0, TERN_BOOL, known ? &s : NULL);
    return TERN_OK;
}

static tern_status prepare_regex(tn_prepare *c) {
    const tn_regex *r;
    TN_TRY(tn_regex_compile(c->arena, tn_attr_s(c->node, "pattern", ""), &r, c->err));
    c->state = (void *)(uintptr_t)r;
    c->workspace = tn_regex_workspace(r);
    return TERN_OK;
}

static tern_status run_regex(tn_run *c) {
    const tern_string *x = c->in[0]->data;
    for (int64_t i = 0, n = tn_shape_count(&c->in[0]->shape); i < n; i++)
        ((uint8_t *)c->out[0]->data)[i] = tn_regex_full_match(c->state, x[i].data, x[i].len, c->workspace);
    return TERN_OK;
}

const tn_op tn_op_regex_full_match = {.infer = infer_regex,
                                      .prepare = prepare_regex,
                                      .run = run_regex,
                                      .min_in = 1,
                                      .max_in = 1,
                                      .min_out = 1,
                                      .max_out = 1};
