/* The pickle machine, protocols 0 to 5.
 *
 * A pickle is a program for a stack machine. This one knows every opcode that makes data; where Python would import a
 * class or call a function it makes a value that says so (call.c). Time and memory are linear in the input: lengths are
 * checked against the bytes that are left before anything is allocated, all values lie in one arena with a limit, the
 * memo is an array whose index may not be above the position in the input (picklers count from 0), lists grow by
 * doubling, and dicts take their items unseen (repeated keys are merged later, in graph.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vision/torch/torch_internal.h"

typedef struct machine {
    tern_ckpt *ckpt;
    const uint8_t *start, *at, *end;
    tn_persistent persistent;
    tern_py **stack;
    size_t count, cap;
    size_t *marks;
    size_t n_marks, marks_cap;
    tern_py **memo;
    size_t n_memo, memo_cap;
    tern_error *err;
    bool stopped;
} machine;

/* ---- input ----------------------------------------------------------------------------------------------------- */

static tern_status truncated(machine *m) { return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle is cut off"); }

// The next n bytes.
static tern_status take(machine *m, uint64_t n, const uint8_t **bytes) {
    *bytes = m->at;
    if (n > (uint64_t)(m->end - m->at)) return truncated(m);
    m->at += n;
    return TERN_OK;
}

// A little-endian number of n bytes.
static tern_status number(machine *m, int n, uint64_t *value) {
    const uint8_t *p;
    *value = 0;
    TN_TRY(take(m, (uint64_t)n, &p));
    for (int i = n - 1; i >= 0; i--) *value = *value << 8 | p[i];
    return TERN_OK;
}

// The text up to a newline, which is skipped.
static tern_status line(machine *m, tn_str *text) {
    const uint8_t *end = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (!end) return truncated(m);
    *text = (tn_str){(const char *)m->at, (size_t)(end - m->at)};
    m->at = end + 1;
    if (text->len && text->data[text->len - 1] == '\r') text->len--;
    return TERN_OK;
}

/* ---- stack ----------------------------------------------------------------------------------------------------- */

static size_t floor_of(const machine *m) { return m->n_marks ? m->marks[m->n_marks - 1] : 0; }

static tern_status push(machine *m, tern_py *v) {
    if (!tn_grow(&m->stack, &m->cap, m->count + 1, sizeof *m->stack)) return tn_fail_oom(m->err, m->cap);
    m->stack[m->count++] = v;
    return TERN_OK;
}

// At least n values above the last mark.
static tern_status need(machine *m, size_t n) {
    if (m->count - floor_of(m) >= n) return TERN_OK;
    return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle takes a value from an empty stack");
}

static tern_status pop(machine *m, tern_py **v) {
    TN_TRY(need(m, 1));
    *v = m->stack[--m->count];
    return TERN_OK;
}

static tern_status mark(machine *m) {
    size_t limit = 2 * (size_t)m->ckpt->options.max_depth + 16;
    if (m->n_marks >= limit)
        return tn_fail(m->err, TERN_LIMIT_EXCEEDED, "the pickle has more than %zu open marks", limit);
    if (!tn_grow(&m->marks, &m->marks_cap, m->n_marks + 1, sizeof *m->marks)) return tn_fail_oom(m->err, limit);
    m->marks[m->n_marks++] = m->count;
    return TERN_OK;
}

// Takes away the last mark and what is above it; the values stay readable in the array until the next push.
static tern_status pop_mark(machine *m, tern_py ***items, size_t *n) {
    *items = m->stack;
    *n = 0;
    if (!m->n_marks) return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle has no mark where it needs one");
    size_t at = m->marks[--m->n_marks];
    *items = m->stack + at;
    *n = m->count - at;
    m->count = at;
    return TERN_OK;
}

static tern_status push_text(machine *m, tern_py_kind kind, const void *data, size_t len) {
    tern_py *v;
    TN_TRY(tn_py_text(m->ckpt, kind, data, len, &v, m->err));
    return push(m, v);
}

/* ---- memo ------------------------------------------------------------------------------------------------------ */

static tern_status put(machine *m, uint64_t index) {
    TN_TRY(need(m, 1));
    if (index > (uint64_t)(m->at - m->start))
        return tn_fail(m->err, TERN_INVALID_FORMAT, "memo index %llu after %zu bytes of pickle",
                       (unsigned long long)index, (size_t)(m->at - m->start));
    size_t old = m->memo_cap;
    if (!tn_grow(&m->memo, &m->memo_cap, (size_t)index + 1, sizeof *m->memo)) return tn_fail_oom(m->err, (size_t)index);
    if (m->memo_cap > old) memset(m->memo + old, 0, (m->memo_cap - old) * sizeof *m->memo);
    m->n_memo += !m->memo[index];
    m->memo[index] = m->stack[m->count - 1];
    return TERN_OK;
}

static tern_status get(machine *m, uint64_t index) {
    if (index >= m->memo_cap || !m->memo[index])
        return tn_fail(m->err, TERN_INVALID_FORMAT, "memo index %llu was never stored", (unsigned long long)index);
    return push(m, m->memo[index]);
}

/* ---- text opcodes ---------------------------------------------------------------------------------------------- */

// A decimal number; false: none, or not within 64 bits.
static bool decimal(tn_str text, int64_t *value) {
    char buffer[24], *end;
    if (text.len && text.data[text.len - 1] == 'L') text.len--;
    if (!text.len || text.len >= sizeof buffer || memchr(text.data, 0, text.len)) return false;
    memcpy(buffer, text.data, text.len);
    buffer[text.len] = 0;
    errno = 0;
    *value = strtoll(buffer, &end, 10);
    return !*end && !errno && buffer[0] != ' ';
}

static tern_status bad_text(machine *m, const char *what, tn_str text) {
    return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle has no %s that tern can take in '%.*s'", what,
                   (int)TN_MIN(text.len, 40), text.data);
}

static tern_status memo_text(machine *m, bool store) {
    tn_str text;
    int64_t index;
    TN_TRY(line(m, &text));
    if (!decimal(text, &index) || index < 0) return bad_text(m, "memo index", text);
    return store ? put(m, (uint64_t)index) : get(m, (uint64_t)index);
}

static tern_status int_text(machine *m) {
    tn_str text;
    int64_t value;
    tern_py *v;
    TN_TRY(line(m, &text));
    if (text.len == 2 && text.data[0] == '0' && (text.data[1] == '0' || text.data[1] == '1'))
        return push(m, m->ckpt->truth[text.data[1] == '1']);
    if (!decimal(text, &value)) return bad_text(m, "integer", text);
    TN_TRY(tn_py_int(m->ckpt, value, &v, m->err));
    return push(m, v);
}

static tern_status float_text(machine *m) {
    char buffer[64], *end;
    tn_str text;
    tern_py *v;
    TN_TRY(line(m, &text));
    if (!text.len || text.len >= sizeof buffer) return bad_text(m, "number", text);
    memcpy(buffer, text.data, text.len);
    buffer[text.len] = 0;
    double value = strtod(buffer, &end);
    if (end != buffer + text.len) return bad_text(m, "number", text);
    TN_TRY(tn_py_real(m->ckpt, value, &v, m->err));
    return push(m, v);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// n hexadecimal digits at s; -1: they are not there.
static int64_t hex(const char *s, const char *end, int n) {
    int64_t value = 0;
    if (end - s < n) return -1;
    for (int i = 0; i < n; i++) {
        int digit = hex_digit(s[i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static size_t put_utf8(char *to, uint32_t c) {
    if (c < 0x80) return to[0] = (char)c, 1;
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(first[n] | c);
    return n;
}

// Python's repr of a byte string, without its quotes; the result is never longer. False: a bad escape.
static bool unescape(tn_str text, char *to, size_t *len) {
    static const char from[] = "\\'\"abfnrtv", plain[] = "\\'\"\a\b\f\n\r\t\v";
    const char *s = text.data, *end = s + text.len;
    char *o = to;
    while (s < end) {
        if (*s != '\\') {
            *o++ = *s++;
            continue;
        }
        if (++s == end) return false;
        const char *found = *s ? strchr(from, *s) : NULL;
        if (found) {
            *o++ = plain[found - from];
            s++;
        } else if (*s == 'x') {
            int64_t value = hex(s + 1, end, 2);
            if (value < 0) return false;
            *o++ = (char)value;
            s += 3;
        } else {
            return false;
        }
    }
    *len = (size_t)(o - to);
    return true;
}

// Python's raw-unicode-escape, which is Latin-1 with \uXXXX and \UXXXXXXXX; at most twice as long.
static bool raw_unicode(tn_str text, char *to, size_t *len) {
    const char *s = text.data, *end = s + text.len;
    char *o = to;
    while (s < end) {
        int n = *s == '\\' && end - s > 1 ? (s[1] == 'u' ? 4 : s[1] == 'U' ? 8 : 0) : 0;
        int64_t c = n ? hex(s + 2, end, n) : (uint8_t)*s;
        if (c < 0 || c > 0x10ffff) return false;
        o += put_utf8(o, (uint32_t)c);
        s += n ? n + 2 : 1;
    }
    *len = (size_t)(o - to);
    return true;
}

// A str of Python 2: text, or the bytes of an array.
static tern_status push_str(machine *m, const void *data, size_t len) {
    return push_text(m, tn_utf8_valid(data, len) ? TERN_PY_STR : TERN_PY_BYTES, data, len);
}

static tern_status string_text(machine *m, bool unicode) {
    tn_str text;
    size_t len = 0;
    TN_TRY(line(m, &text));
    tn_str body = text;
    if (!unicode) {
        if (text.len < 2 || (text.data[0] != '\'' && text.data[0] != '"') || text.data[text.len - 1] != text.data[0])
            return bad_text(m, "string", text);
        body = (tn_str){text.data + 1, text.len - 2};
    }
    char *to = tn_alloc_array(body.len + 1, 2);
    if (!to) return tn_fail_oom(m->err, body.len);
    tern_status s;
    if (!(unicode ? raw_unicode(body, to, &len) : unescape(body, to, &len)))
        s = bad_text(m, "string", text);
    else
        s = unicode ? push_text(m, TERN_PY_STR, to, len) : push_str(m, to, len);
    tn_free(to);
    return s;
}

/* ---- numbers and strings of known length ----------------------------------------------------------------------- */

static tern_status push_int(machine *m, int bytes, bool is_signed) {
    uint64_t value;
    tern_py *v;
    TN_TRY(number(m, bytes, &value));
    TN_TRY(tn_py_int(m->ckpt, is_signed ? (int32_t)(uint32_t)value : (int64_t)value, &v, m->err));
    return push(m, v);
}

static tern_status push_long(machine *m, int length_bytes) {
    uint64_t n, value = 0;
    const uint8_t *p;
    tern_py *v;
    TN_TRY(number(m, length_bytes, &n));
    if (length_bytes == 4 && n > INT32_MAX)
        return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle has an integer of negative length");
    TN_TRY(take(m, n, &p));
    while (n > 8 && ((p[n - 1] == 0 && p[n - 2] < 0x80) || (p[n - 1] == 0xff && p[n - 2] >= 0x80))) n--;
    if (n > 8) return push_text(m, TERN_PY_BIGINT, p, n);
    for (uint64_t i = 0; i < n; i++) value |= (uint64_t)p[i] << 8 * i;
    if (n && n < 8 && p[n - 1] >= 0x80) value |= ~(uint64_t)0 << 8 * n;
    TN_TRY(tn_py_int(m->ckpt, (int64_t)value, &v, m->err));
    return push(m, v);
}

static tern_status push_double(machine *m) {
    const uint8_t *p;
    uint64_t bits = 0;
    double value;
    tern_py *v;
    TN_TRY(take(m, 8, &p));
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
    memcpy(&value, &bits, sizeof value);
    TN_TRY(tn_py_real(m->ckpt, value, &v, m->err));
    return push(m, v);
}

// kind NONE: a str of Python 2, whose length is signed.
static tern_status push_sized(machine *m, tern_py_kind kind, int length_bytes) {
    uint64_t n;
    const uint8_t *p;
    TN_TRY(number(m, length_bytes, &n));
    TN_TRY(take(m, n, &p));
    if (kind == TERN_PY_NONE) kind = tn_utf8_valid((const char *)p, (size_t)n) ? TERN_PY_STR : TERN_PY_BYTES;
    if (kind == TERN_PY_STR) return push_text(m, kind, p, (size_t)n);
    // Arrays may be large: they stay where they are.
    tern_py *v;
    TN_TRY(tn_py_new(m->ckpt, kind, &v, m->err));
    v->text = (tern_string){(const char *)p, (size_t)n};
    return push(m, v);
}

/* ---- containers ------------------------------------------------------------------------------------------------ */

static tern_status push_new(machine *m, tern_py_kind kind) {
    tern_py *v;
    TN_TRY(tn_py_new(m->ckpt, kind, &v, m->err));
    return push(m, v);
}

static tern_status push_tuple(machine *m, size_t n) {
    tern_py *v;
    TN_TRY(need(m, n));
    TN_TRY(tn_py_seq(m->ckpt, TERN_PY_TUPLE, m->stack + m->count - n, n, &v, m->err));
    m->count -= n;
    return push(m, v);
}

// What is above the mark becomes one value.
static tern_status from_mark(machine *m, tern_py_kind kind) {
    tern_py **items, *v;
    size_t n;
    TN_TRY(pop_mark(m, &items, &n));
    if (kind == TERN_PY_DICT) {
        if (n % 2) return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle has a key without a value");
        TN_TRY(tn_py_new(m->ckpt, kind, &v, m->err));
        TN_TRY(tn_py_set_items(m->ckpt, v, items, n, m->err));
    } else {
        TN_TRY(tn_py_seq(m->ckpt, kind, items, n, &v, m->err));
    }
    return push(m, v);
}

// The value that takes the items: itself, or what an object collects.
static tern_status collector(machine *m, tern_py_kind kind, tern_py **to) {
    TN_TRY(need(m, 1));
    tern_py *v = m->stack[m->count - 1];
    if (v->kind == TERN_PY_OBJECT) {
        if (!v->object->items) TN_TRY(tn_py_new(m->ckpt, kind, &v->object->items, m->err));
        v = v->object->items;
    }
    *to = v;
    if (v->kind == kind || (kind == TERN_PY_LIST && v->kind == TERN_PY_SET)) return TERN_OK;
    return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle puts items into a %s as if it were a %s",
                   tern_py_kind_name(v->kind), tern_py_kind_name(kind));
}

static tern_status append(machine *m, tern_py **items, size_t n) {
    tern_py *to;
    TN_TRY(collector(m, TERN_PY_LIST, &to));
    return tn_py_append(m->ckpt, to, items, n, m->err);
}

static tern_status set_items(machine *m, tern_py **items, size_t n) {
    tern_py *to;
    if (n % 2) return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle has a key without a value");
    TN_TRY(collector(m, TERN_PY_DICT, &to));
    return tn_py_set_items(m->ckpt, to, items, n, m->err);
}

// n items above the container, or all above the mark when n is 0.
static tern_status add(machine *m, bool dict, size_t n) {
    tern_py **items;
    if (n) {
        TN_TRY(need(m, n + 1));
        m->count -= n;
        items = m->stack + m->count;
    } else {
        TN_TRY(pop_mark(m, &items, &n));
    }
    return dict ? set_items(m, items, n) : append(m, items, n);
}

/* ---- classes and objects --------------------------------------------------------------------------------------- */

static tern_status push_global(machine *m, tn_str module, tn_str name) {
    tern_py *v;
    // The machine trusts no name with a NUL, and an error wants to show it.
    if (!module.len || !name.len || module.len + name.len > 1000 || memchr(module.data, 0, module.len) ||
        memchr(name.data, 0, name.len))
        return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle names a class of %zu + %zu characters", module.len,
                       name.len);
    char *a = tn_arena_strndup(&m->ckpt->arena, module.data, module.len);
    char *b = tn_arena_strndup(&m->ckpt->arena, name.data, name.len);
    if (!a || !b) return tn_fail(m->err, TERN_LIMIT_EXCEEDED, "the names of the pickle take too much memory");
    tn_utf8_clean_line(a);
    tn_utf8_clean_line(b);
    TN_TRY(tn_name_note(m->ckpt, a, b, m->err));
    TN_TRY(tn_py_object(m->ckpt, a, b, NULL, false, &v, m->err));
    v->kind = TERN_PY_GLOBAL;
    return push(m, v);
}

static tern_status global_text(machine *m) {
    tn_str module, name;
    TN_TRY(line(m, &module));
    TN_TRY(line(m, &name));
    return push_global(m, module, name);
}

static tern_status global_stack(machine *m) {
    tern_py *module, *name;
    TN_TRY(pop(m, &name));
    TN_TRY(pop(m, &module));
    if (module->kind != TERN_PY_STR || name->kind != TERN_PY_STR)
        return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle names a class by a %s and a %s",
                       tern_py_kind_name(module->kind), tern_py_kind_name(name->kind));
    return push_global(m, (tn_str){module->text.data, module->text.len}, (tn_str){name->text.data, name->text.len});
}

static tern_status reduce(machine *m) {
    tern_py *function, *args, *v;
    TN_TRY(pop(m, &args));
    TN_TRY(pop(m, &function));
    TN_TRY(tn_pickle_call(m->ckpt, function, args, &v, m->err));
    return push(m, v);
}

// cls.__new__(cls, *args): an object of the class. Keyword arguments (NEWOBJ_EX) go behind the others, as a dict.
static tern_status new_object(machine *m, bool keywords) {
    tern_py *cls, *args, *dict = NULL, *v;
    if (keywords) TN_TRY(pop(m, &dict));
    TN_TRY(pop(m, &args));
    TN_TRY(pop(m, &cls));
    if (cls->kind != TERN_PY_GLOBAL || args->kind != TERN_PY_TUPLE)
        return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle makes an object of a %s with a %s",
                       tern_py_kind_name(cls->kind), tern_py_kind_name(args->kind));
    if (dict && dict->kind == TERN_PY_DICT && dict->dict.count) {
        tern_py *pair[2] = {args, dict};
        TN_TRY(tn_py_seq(m->ckpt, TERN_PY_TUPLE, pair, 2, &args, m->err));
    }
    if (tern_py_is(cls, "collections", "OrderedDict")) return push_new(m, TERN_PY_DICT);
    TN_TRY(tn_py_object(m->ckpt, cls->object->module, cls->object->name, args, false, &v, m->err));
    return push(m, v);
}

// INST and OBJ of protocol 0 and 1: a class with all above the mark as arguments.
static tern_status old_object(machine *m, bool named) {
    tern_py **items, *args, *v;
    size_t n;
    if (named) TN_TRY(global_text(m));
    tern_py *cls = named ? m->stack[--m->count] : NULL;
    TN_TRY(pop_mark(m, &items, &n));
    if (!named) {
        if (!n) return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle makes an object without a class");
        cls = *items++;
        n--;
    }
    TN_TRY(tn_py_seq(m->ckpt, TERN_PY_TUPLE, items, n, &args, m->err));
    TN_TRY(tn_pickle_call(m->ckpt, cls, args, &v, m->err));
    return push(m, v);
}

static tern_status build(machine *m) {
    tern_py *state;
    TN_TRY(pop(m, &state));
    TN_TRY(need(m, 1));
    return tn_pickle_build(m->ckpt, m->stack[m->count - 1], state, m->err);
}

static tern_status persistent(machine *m, bool is_text) {
    tern_py *id, *v;
    if (is_text) {
        tn_str text;
        TN_TRY(line(m, &text));
        TN_TRY(push_text(m, TERN_PY_STR, text.data, text.len));
    }
    TN_TRY(pop(m, &id));
    if (!m->persistent)
        return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle refers to a storage, and there can be none here");
    TN_TRY(m->persistent(m->ckpt, id, &v, m->err));
    return push(m, v);
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static tern_status protocol(machine *m) {
    uint64_t version;
    TN_TRY(number(m, 1, &version));
    if (version <= 5) return TERN_OK;
    return tn_fail(m->err, TERN_UNSUPPORTED, "pickle protocol %d; tern knows 0 to 5", (int)version);
}

static tern_status stack_op(machine *m, uint8_t op) {
    uint64_t n;
    tern_py *v, **items;
    size_t count;
    switch (op) {
    case '(':
        return mark(m);
    case '0':
        // Python pops a mark when it is on top.
        if (m->n_marks && m->marks[m->n_marks - 1] == m->count) return m->n_marks--, TERN_OK;
        return pop(m, &v);
    case '1':
        return pop_mark(m, &items, &count);
    case '2':
        TN_TRY(need(m, 1));
        return push(m, m->stack[m->count - 1]);
    case 'p':
        return memo_text(m, true);
    case 'g':
        return memo_text(m, false);
    case 'q':
        TN_TRY(number(m, 1, &n));
        return put(m, n);
    case 'r':
        TN_TRY(number(m, 4, &n));
        return put(m, n);
    case 'h':
        TN_TRY(number(m, 1, &n));
        return get(m, n);
    case 'j':
        TN_TRY(number(m, 4, &n));
        return get(m, n);
    case 0x94:
        return put(m, m->n_memo);
    case 0x80:
        return protocol(m);
    case 0x95:
        return number(m, 8, &n); // frames only help those who read in pieces
    default:
        break;
    }
    if (op >= 0x20 && op < 0x7f)
        return tn_fail(m->err, TERN_INVALID_FORMAT, "the pickle has an unknown opcode '%c' at %zu", op,
                       (size_t)(m->at - m->start) - 1);
    return tn_fail(
        m->err, op == 0x97 || op == 0x98 || (op >= 0x82 && op <= 0x84) ? TERN_UNSUPPORTED : TERN_INVALID_FORMAT,
        "the pickle has an opcode 0x%02x at %zu that tern does not take", op, (size_t)(m->at - m->start) - 1);
}

static tern_status object_op(machine *m, uint8_t op) {
    switch (op) {
    case 'c':
        return global_text(m);
    case 0x93:
        return global_stack(m);
    case 'R':
        return reduce(m);
    case 0x81:
        return new_object(m, false);
    case 0x92:
        return new_object(m, true);
    case 'i':
        return old_object(m, true);
    case 'o':
        return old_object(m, false);
    case 'b':
        return build(m);
    case 'P':
        return persistent(m, true);
    case 'Q':
        return persistent(m, false);
    case '.':
        m->stopped = true;
        return need(m, 1);
    default:
        return stack_op(m, op);
    }
}

static tern_status container_op(machine *m, uint8_t op) {
    switch (op) {
    case ')':
        return push(m, m->ckpt->empty_tuple);
    case 't':
        return from_mark(m, TERN_PY_TUPLE);
    case 0x85:
    case 0x86:
    case 0x87:
        return push_tuple(m, (size_t)op - 0x84);
    case ']':
        return push_new(m, TERN_PY_LIST);
    case 'l':
        return from_mark(m, TERN_PY_LIST);
    case '}':
        return push_new(m, TERN_PY_DICT);
    case 'd':
        return from_mark(m, TERN_PY_DICT);
    case 0x8f:
        return push_new(m, TERN_PY_SET);
    case 0x91:
        return from_mark(m, TERN_PY_SET);
    case 'a':
        return add(m, false, 1);
    case 'e':
    case 0x90:
        return add(m, false, 0);
    case 's':
        return add(m, true, 2);
    case 'u':
        return add(m, true, 0);
    default:
        return object_op(m, op);
    }
}

static tern_status step(machine *m, uint8_t op) {
    switch (op) {
    case 'N':
        return push(m, m->ckpt->none);
    case 0x88:
        return push(m, m->ckpt->truth[1]);
    case 0x89:
        return push(m, m->ckpt->truth[0]);
    case 'I':
    case 'L':
        return int_text(m);
    case 'F':
        return float_text(m);
    case 'J':
        return push_int(m, 4, true);
    case 'K':
        return push_int(m, 1, false);
    case 'M':
        return push_int(m, 2, false);
    case 0x8a:
        return push_long(m, 1);
    case 0x8b:
        return push_long(m, 4);
    case 'G':
        return push_double(m);
    case 'S':
        return string_text(m, false);
    case 'V':
        return string_text(m, true);
    case 'T':
        return push_sized(m, TERN_PY_NONE, 4);
    case 'U':
        return push_sized(m, TERN_PY_NONE, 1);
    case 'X':
        return push_sized(m, TERN_PY_STR, 4);
    case 0x8c:
        return push_sized(m, TERN_PY_STR, 1);
    case 0x8d:
        return push_sized(m, TERN_PY_STR, 8);
    case 'B':
        return push_sized(m, TERN_PY_BYTES, 4);
    case 'C':
        return push_sized(m, TERN_PY_BYTES, 1);
    case 0x8e:
    case 0x96:
        return push_sized(m, TERN_PY_BYTES, 8);
    default:
        return container_op(m, op);
    }
}

static tern_status run(machine *m) {
    while (!m->stopped) {
        uint64_t op;
        TN_TRY(number(m, 1, &op));
        TN_TRY(step(m, (uint8_t)op));
    }
    return TERN_OK;
}

tern_status tn_pickle_load(tern_ckpt *ckpt, const uint8_t *data, size_t size, tn_persistent persistent, tern_py **out,
                           size_t *used, tern_error *err) {
    machine m = {.ckpt = ckpt, .start = data, .at = data, .end = data + size, .persistent = persistent, .err = err};
    // From the start on there is an array, so that an empty range of it is one, too.
    tern_status s = tn_grow(&m.stack, &m.cap, 16, sizeof *m.stack) ? run(&m) : tn_fail_oom(err, 16 * sizeof *m.stack);
    if (s == TERN_OK) {
        *out = m.stack[m.count - 1];
        *used = (size_t)(m.at - data);
    }
    tn_free(m.stack);
    tn_free(m.marks);
    tn_free(m.memo);
    return s;
}
