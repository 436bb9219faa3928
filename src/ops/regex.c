/* Thompson's construction and simulation: a pattern becomes a program of at most REGEX_MOST instructions, and a match
 * steps through the text once, with the set of instructions that are alive. Time is text times program, whatever the
 * pattern; there is nothing to backtrack. Only "does the whole text match" is asked, so greediness and captures do not
 * matter: they are parsed and dropped.
 *
 * The parser emits code as it goes. A fragment is a range of the program whose every way out is its end, so that
 * repetition copies ranges (addresses are relative). */
#include "ops/regex.h"

#include "ops/unicode.h"

#include <stdlib.h>

enum { REGEX_MOST = 20000, REPEAT_MOST = 1000, NEST_MOST = 200, LAST_CHAR = 0x1100ff };

typedef enum op { SET, SPLIT, JUMP, BEGIN_TEXT, END_TEXT, BEGIN_LINE, END_LINE, WORD, NOT_WORD, FAIL } op;

typedef struct instruction {
    uint8_t op;
    bool negated;
    int32_t a, b; /* SPLIT, JUMP: relative targets. SET: ranges [a, a + b) */
} instruction;

typedef struct range {
    uint32_t first, last;
} range;

struct tn_regex {
    instruction *code; /* n, then the end */
    range *ranges;
    int32_t n;
};

typedef struct parser {
    const char *p, *end, *start;
    instruction *code;
    range *ranges;
    size_t n, cap, n_ranges, cap_ranges;
    bool fold, dot_all, multi_line, quoted;
    int depth;
    tern_error *err;
} parser;

static tern_status bad(parser *s, const char *what) {
    return tn_fail(s->err, TERN_INVALID_MODEL, "the pattern, at byte %zu: %s", (size_t)(s->p - s->start), what);
}

/* ---- code ------------------------------------------------------------------------------------------------------ */

static tern_status emit(parser *s, op o, int32_t a, int32_t b) {
    if (s->n >= REGEX_MOST) return bad(s, "the pattern is too large");
    if (!tn_grow(&s->code, &s->cap, s->n + 1, sizeof *s->code)) return tn_fail_oom(s->err, s->n * sizeof *s->code);
    s->code[s->n++] = (instruction){.op = (uint8_t)o, .a = a, .b = b};
    return TERN_OK;
}

/* Makes room for one instruction at `at`. */
static tern_status insert(parser *s, size_t at, op o, int32_t a, int32_t b) {
    TN_TRY(emit(s, o, a, b));
    instruction last = s->code[s->n - 1];
    memmove(s->code + at + 1, s->code + at, (s->n - 1 - at) * sizeof *s->code);
    s->code[at] = last;
    return TERN_OK;
}

static tern_status copy_range(parser *s, size_t from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        instruction c = s->code[from + i];
        TN_TRY(emit(s, FAIL, 0, 0));
        s->code[s->n - 1] = c;
    }
    return TERN_OK;
}

/* ---- characters ------------------------------------------------------------------------------------------------ */

static tern_status add_range(parser *s, uint32_t first, uint32_t last) {
    if (s->n_ranges >= 4 * REGEX_MOST) return bad(s, "the pattern is too large");
    if (!tn_grow(&s->ranges, &s->cap_ranges, s->n_ranges + 1, sizeof *s->ranges))
        return tn_fail_oom(s->err, s->n_ranges * sizeof *s->ranges);
    s->ranges[s->n_ranges++] = (range){first, last};
    return TERN_OK;
}

/* Ranges [from, end) in order and without overlaps, so that a set is searched in logarithmic time. */
static int compare_ranges(const void *a, const void *b) {
    const range *p = a, *q = b;
    return p->first < q->first ? -1 : p->first > q->first;
}
static void merge_ranges(parser *s, size_t from) {
    if (s->n_ranges == from) return;
    qsort(s->ranges + from, s->n_ranges - from, sizeof *s->ranges, compare_ranges);
    size_t kept = from;
    for (size_t i = from + 1; i < s->n_ranges; i++) {
        if (s->ranges[i].first <= s->ranges[kept].last + 1)
            s->ranges[kept].last = TN_MAX(s->ranges[kept].last, s->ranges[i].last);
        else
            s->ranges[++kept] = s->ranges[i];
    }
    s->n_ranges = kept + 1;
}

/* The ranges from `from` on become those between them. */
static tern_status complement(parser *s, size_t from) {
    merge_ranges(s, from);
    uint32_t at = 0;
    size_t kept = from;
    for (size_t i = from; i < s->n_ranges; i++) {
        range r = s->ranges[i];
        if (r.first > at) s->ranges[kept++] = (range){at, r.first - 1};
        at = r.last + 1;
    }
    s->n_ranges = kept;
    return at <= LAST_CHAR ? add_range(s, at, LAST_CHAR) : TERN_OK;
}

/* The set of ranges from `first` on. */
static tern_status emit_ranges(parser *s, size_t first, bool negated) {
    merge_ranges(s, first);
    TN_TRY(emit(s, SET, (int32_t)first, (int32_t)(s->n_ranges - first)));
    s->code[s->n - 1].negated = negated;
    return TERN_OK;
}

/* With (?i): both cases. Of long ranges the letters of the first planes are folded one by one. */
static tern_status add_folded(parser *s, uint32_t first, uint32_t last) {
    TN_TRY(add_range(s, first, last));
    for (uint32_t c = first; s->fold && c <= TN_MIN(last, first + 0x2000); c++) {
        uint32_t low = tn_unicode_lower(c), up = tn_unicode_upper(c);
        if (low != c) TN_TRY(add_range(s, low, low));
        if (up != c) TN_TRY(add_range(s, up, up));
    }
    return TERN_OK;
}

/* Ranges of ASCII classes, in pairs. */
static const char *class_pairs(char letter) {
    switch (letter) {
    case 'd':
        return "09";
    case 'w':
        return "09AZaz__";
    case 's':
        return "\t\n\f\r  ";
    default:
        return NULL;
    }
}

static const char *posix_pairs(tn_str name) {
    static const char *const table[][2] = {{"alnum", "09AZaz"},
                                           {"alpha", "AZaz"},
                                           {"ascii", "\x01\x7f"},
                                           {"blank", "\t\t  "},
                                           {"cntrl", "\x01\x1f\x7f\x7f"},
                                           {"digit", "09"},
                                           {"graph", "!~"},
                                           {"lower", "az"},
                                           {"print", " ~"},
                                           {"punct", "!/:@[`{~"},
                                           {"space", "\t\r  "},
                                           {"upper", "AZ"},
                                           {"word", "09AZaz__"},
                                           {"xdigit", "09AFaf"}};
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (tn_str_eq(name, tn_str_c(table[i][0]))) return table[i][1];
    return NULL;
}

/* The pairs, or what lies between them. */
static tern_status add_pairs(parser *s, const char *pairs, bool negated) {
    uint32_t at = 0;
    for (; *pairs; pairs += 2) {
        uint32_t first = (uint8_t)pairs[0], last = (uint8_t)pairs[1];
        if (!negated) TN_TRY(add_folded(s, first, last));
        if (negated && first > at) TN_TRY(add_range(s, at, first - 1));
        at = last + 1;
    }
    return negated ? add_range(s, at, LAST_CHAR) : TERN_OK;
}

static tern_status read_char(parser *s, uint32_t *out) {
    if (s->p == s->end) return bad(s, "it ends too early");
    s->p += tn_unicode_read(s->p, (size_t)(s->end - s->p), out);
    return *out >= 0x110000 ? bad(s, "it is not UTF-8") : TERN_OK;
}

static int digit(char c, int base) {
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return v < base ? v : -1;
}

static tern_status read_hex(parser *s, uint32_t *out) {
    bool braces = s->p < s->end && *s->p == '{';
    int n = 0;
    *out = 0;
    s->p += braces;
    for (; s->p < s->end && n < (braces ? 6 : 2) && digit(*s->p, 16) >= 0; n++)
        *out = *out * 16 + (uint32_t)digit(*s->p++, 16);
    if (n < (braces ? 1 : 2) || *out > 0x10ffff || (braces && (s->p == s->end || *s->p++ != '}')))
        return bad(s, "a hexadecimal character is wrong");
    return TERN_OK;
}

/* The character that \x stands for; s->p is behind the backslash. */
static tern_status read_escape(parser *s, uint32_t *out) {
    static const char names[] = "afnrtv", values[] = "\a\f\n\r\t\v";
    TN_TRY(read_char(s, out));
    const char *at = *out < 0x80 && *out ? strchr(names, (int)*out) : NULL;
    if (at)
        *out = (uint8_t)values[at - names];
    else if (*out == 'x')
        return read_hex(s, out);
    else if (*out == '0') {
        *out = 0;
        for (int n = 0; n < 2 && s->p < s->end && digit(*s->p, 8) >= 0; n++)
            *out = *out * 8 + (uint32_t)digit(*s->p++, 8);
    } else if (*out < 0x80 && (digit((char)*out, 10) >= 0 || (*out | 32) - 'a' < 26u)) {
        return bad(s, "an escape is unknown");
    }
    return TERN_OK;
}

/* \d, \w, \s and their opposites; false when there is none at s->p. */
static bool class_escape(parser *s, const char **pairs, bool *negated) {
    if (s->end - s->p < 2 || s->p[0] != '\\') return false;
    char c = s->p[1];
    *negated = c >= 'A' && c <= 'Z';
    *pairs = class_pairs(*negated ? (char)(c + 32) : c);
    if (*pairs) s->p += 2;
    return *pairs != NULL;
}

typedef struct class_reader {
    parser *s;
    tern_status status;
} class_reader;

static bool add_class_range(void *context, uint32_t first, uint32_t last) {
    class_reader *r = context;
    r->status = add_folded(r->s, first, last);
    return r->status == TERN_OK;
}

/* \pN, \p{Name}, \p{^Name} and \P, at s->p. */
static tern_status unicode_class(parser *s, bool *found) {
    *found = s->end - s->p >= 2 && s->p[0] == '\\' && (s->p[1] == 'p' || s->p[1] == 'P');
    if (!*found) return TERN_OK;
    class_reader r = {.s = s};
    bool negated = s->p[1] == 'P';
    size_t first = s->n_ranges;
    s->p += 2;
    tn_str name = {s->p, 1};
    if (s->p == s->end) return bad(s, "it ends too early");
    if (*s->p == '{') {
        const char *close = memchr(s->p, '}', (size_t)(s->end - s->p));
        if (!close) return bad(s, "the name of a class of characters is not closed");
        bool opposite = s->p[1] == '^';
        negated ^= opposite;
        name.data = s->p + 1 + opposite;
        name.len = (size_t)(close - name.data);
    }
    if (!tn_unicode_class(name, add_class_range, &r)) return bad(s, "a class of Unicode (\\p) is unknown");
    s->p = name.data + name.len + (*s->p == '{');
    TN_TRY(r.status);
    return negated ? complement(s, first) : TERN_OK;
}

static tern_status posix_class(parser *s, bool *found) {
    *found = false;
    if (s->end - s->p < 4 || s->p[0] != '[' || s->p[1] != ':') return TERN_OK;
    const char *close = s->p + 2;
    while (close + 1 < s->end && !(close[0] == ':' && close[1] == ']')) close++;
    if (close + 1 >= s->end) return TERN_OK;
    bool negated = s->p[2] == '^';
    const char *name = s->p + 2 + negated, *pairs = posix_pairs((tn_str){name, (size_t)(close - name)});
    if (!pairs) return bad(s, "a [:class:] is unknown");
    *found = true;
    s->p = close + 2;
    return add_pairs(s, pairs, negated);
}

static tern_status class_char(parser *s, uint32_t *out) {
    TN_TRY(read_char(s, out));
    return *out == '\\' ? read_escape(s, out) : TERN_OK;
}

/* [...]; s->p is behind the bracket. */
static tern_status parse_class(parser *s) {
    size_t first_range = s->n_ranges;
    bool negated = s->p < s->end && *s->p == '^', first = true;
    s->p += negated;
    for (; s->p == s->end || *s->p != ']' || first; first = false) {
        const char *pairs;
        bool opposite, posix;
        uint32_t low, high;
        TN_TRY(posix_class(s, &posix));
        if (posix) continue;
        TN_TRY(unicode_class(s, &posix));
        if (posix) continue;
        if (class_escape(s, &pairs, &opposite)) {
            TN_TRY(add_pairs(s, pairs, opposite));
            continue;
        }
        TN_TRY(class_char(s, &low));
        high = low;
        if (s->end - s->p >= 2 && s->p[0] == '-' && s->p[1] != ']') {
            s->p++;
            TN_TRY(class_char(s, &high));
        }
        if (high < low) return bad(s, "a range of characters is empty");
        TN_TRY(add_folded(s, low, high));
    }
    s->p++;
    return emit_ranges(s, first_range, negated);
}

static tern_status emit_set(parser *s, const char *pairs, bool negated) {
    size_t first = s->n_ranges;
    TN_TRY(add_pairs(s, pairs, negated));
    return emit_ranges(s, first, false);
}

static tern_status emit_char(parser *s, uint32_t c) {
    size_t first = s->n_ranges;
    TN_TRY(add_folded(s, c, c));
    return emit_ranges(s, first, false);
}

/* ---- the grammar ----------------------------------------------------------------------------------------------- */

static tern_status parse_alternatives(parser *s);

/* Flags behind "(?"; true in *only when the group is nothing but flags. */
static tern_status parse_flags(parser *s, bool *only) {
    bool on = true;
    for (*only = false; s->p < s->end; s->p++) {
        switch (*s->p) {
        case 'i':
            s->fold = on;
            break;
        case 's':
            s->dot_all = on;
            break;
        case 'm':
            s->multi_line = on;
            break;
        case 'U': /* only says which match is preferred */
            break;
        case '-':
            on = false;
            break;
        case ':':
        case ')':
            *only = *s->p++ == ')';
            return TERN_OK;
        default:
            return bad(s, "a group (?...) of this kind is unknown");
        }
    }
    return bad(s, "a group is not closed");
}

static tern_status skip_name(parser *s) {
    while (s->p < s->end && *s->p != '>') s->p++;
    if (s->p == s->end) return bad(s, "the name of a group is not closed");
    s->p++;
    return TERN_OK;
}

/* s->p is behind the opening parenthesis. */
static tern_status parse_group(parser *s) {
    bool fold = s->fold, dot_all = s->dot_all, multi_line = s->multi_line;
    if (s->p < s->end && *s->p == '?') {
        s->p++;
        bool only = false, named = s->end - s->p >= 2 && (s->p[0] == '<' || (s->p[0] == 'P' && s->p[1] == '<'));
        if (named && s->p[0] == '<' && (s->p[1] == '=' || s->p[1] == '!')) return bad(s, "there is no look-behind");
        if (named)
            TN_TRY(skip_name(s));
        else
            TN_TRY(parse_flags(s, &only));
        if (only) return TERN_OK; /* they hold until the group around ends */
    }
    if (++s->depth > NEST_MOST) return bad(s, "groups are nested too deeply");
    TN_TRY(parse_alternatives(s));
    s->depth--;
    if (s->p == s->end || *s->p++ != ')') return bad(s, "a group is not closed");
    s->fold = fold;
    s->dot_all = dot_all;
    s->multi_line = multi_line;
    return TERN_OK;
}

/* One character between \Q and \E, or the end of that. */
static tern_status parse_quoted(parser *s) {
    uint32_t c;
    bool ends = s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'E';
    if (!ends) {
        TN_TRY(read_char(s, &c));
        TN_TRY(emit_char(s, c));
        ends = s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'E';
    }
    if (ends) s->p += 2;
    s->quoted = !ends;
    return TERN_OK;
}

static tern_status parse_escape(parser *s) {
    const char *pairs;
    bool negated;
    uint32_t c;
    bool unicode;
    size_t first = s->n_ranges;
    if (class_escape(s, &pairs, &negated)) return emit_set(s, pairs, negated);
    TN_TRY(unicode_class(s, &unicode));
    if (unicode) return emit_ranges(s, first, false);
    s->p++;
    switch (s->p < s->end ? *s->p : 0) {
    case 'A':
        s->p++;
        return emit(s, BEGIN_TEXT, 0, 0);
    case 'z':
        s->p++;
        return emit(s, END_TEXT, 0, 0);
    case 'b':
        s->p++;
        return emit(s, WORD, 0, 0);
    case 'B':
        s->p++;
        return emit(s, NOT_WORD, 0, 0);
    case 'Q':
        s->p++;
        s->quoted = true;
        return TERN_OK;
    default:
        TN_TRY(read_escape(s, &c));
        return emit_char(s, c);
    }
}

static tern_status parse_atom(parser *s) {
    uint32_t c;
    switch (*s->p) {
    case '(':
        s->p++;
        return parse_group(s);
    case '[':
        s->p++;
        return parse_class(s);
    case '.':
        s->p++;
        return emit_set(s, s->dot_all ? "" : "\n\n", true);
    case '^':
        s->p++;
        return emit(s, s->multi_line ? BEGIN_LINE : BEGIN_TEXT, 0, 0);
    case '$':
        s->p++;
        return emit(s, s->multi_line ? END_LINE : END_TEXT, 0, 0);
    case '\\':
        return parse_escape(s);
    case '*':
    case '+':
    case '?':
        return bad(s, "there is nothing to repeat");
    default:
        TN_TRY(read_char(s, &c));
        return emit_char(s, c);
    }
}

/* The fragment [from, n) becomes (fragment)*. */
static tern_status star(parser *s, size_t from) {
    int32_t len = (int32_t)(s->n - from);
    TN_TRY(insert(s, from, SPLIT, 1, len + 2));
    return emit(s, JUMP, -(len + 1), 0);
}

static tern_status optional(parser *s, size_t from) { return insert(s, from, SPLIT, 1, (int32_t)(s->n - from) + 1); }

/* {least,most} of the fragment [from, n); most -1: no end. */
static tern_status repeat(parser *s, size_t from, int least, int most) {
    size_t len = s->n - from;
    for (int i = 1; i < least; i++) TN_TRY(copy_range(s, from, len));
    if (most < 0) {
        if (least == 0) return star(s, from);
        size_t last = s->n;
        TN_TRY(copy_range(s, from, len));
        return star(s, last);
    }
    if (most == 0) {
        s->n = from;
        return TERN_OK;
    }
    for (int i = TN_MAX(least, 1); i < most; i++) {
        size_t last = s->n;
        TN_TRY(copy_range(s, from, len));
        TN_TRY(optional(s, last));
    }
    return least == 0 ? optional(s, from) : TERN_OK;
}

/* {n}, {n,} or {n,m} at p; false when it is none of these: then the brace is a character. */
static bool read_counts(parser *s, int *least, int *most) {
    const char *p = s->p + 1;
    int n[2] = {0, -1}, k = 0, digits = 0;
    for (; p < s->end && *p != '}'; p++) {
        if (*p == ',' && k == 0 && digits) {
            k = 1;
            continue;
        }
        if (digit(*p, 10) < 0) return false;
        digits++;
        n[k] = TN_MIN(TN_MAX(n[k], 0) * 10 + digit(*p, 10), REPEAT_MOST + 1);
    }
    if (p == s->end || !digits) return false;
    *least = n[0];
    *most = k ? n[1] : n[0];
    s->p = p + 1;
    return true;
}

static tern_status parse_repeats(parser *s, size_t from) {
    bool repeated = false;
    while (s->p < s->end) {
        int least = 0, most = -1;
        const char *before = s->p;
        if (*s->p == '*' || *s->p == '+' || *s->p == '?') {
            least = *s->p == '+';
            most = *s->p == '?' ? 1 : -1;
            s->p++;
        } else if (*s->p != '{' || !read_counts(s, &least, &most)) {
            return TERN_OK;
        }
        if (repeated) {
            s->p = before;
            return bad(s, "a repetition is repeated");
        }
        if (least > REPEAT_MOST || most > REPEAT_MOST || (most >= 0 && most < least))
            return bad(s, "the counts of a repetition are wrong (at most 1000)");
        repeated = true;
        if (s->p < s->end && *s->p == '?') s->p++; /* only says which match is preferred */
        TN_TRY(repeat(s, from, least, most));
    }
    return TERN_OK;
}

static tern_status parse_sequence(parser *s) {
    while (s->p < s->end && (s->quoted || (*s->p != '|' && *s->p != ')'))) {
        size_t from = s->n;
        TN_TRY(s->quoted ? parse_quoted(s) : parse_atom(s));
        if (!s->quoted) TN_TRY(parse_repeats(s, from));
    }
    return TERN_OK;
}

static tern_status parse_alternatives(parser *s) {
    size_t from = s->n, jump = SIZE_MAX;
    for (;;) {
        TN_TRY(parse_sequence(s));
        if (jump != SIZE_MAX) s->code[jump].a = (int32_t)(s->n - jump);
        if (s->p == s->end || *s->p != '|') return TERN_OK;
        s->p++; /* what stands to the left is one alternative, what follows the other */
        TN_TRY(insert(s, from, SPLIT, 1, (int32_t)(s->n - from) + 2));
        jump = s->n;
        TN_TRY(emit(s, JUMP, 0, 0));
    }
}

static tern_status keep(tn_arena *arena, const parser *s, const tn_regex **out) {
    tn_regex *r = tn_arena_alloc(arena, sizeof *r);
    if (!r) return tn_fail_oom(s->err, sizeof *r);
    r->n = (int32_t)s->n;
    r->code = tn_arena_array(arena, s->n + 1, sizeof *r->code);
    r->ranges = tn_arena_array(arena, s->n_ranges + 1, sizeof *r->ranges);
    if (!r->code || !r->ranges) return tn_fail_oom(s->err, s->n * sizeof *r->code);
    if (s->n) memcpy(r->code, s->code, s->n * sizeof *r->code);
    if (s->n_ranges) memcpy(r->ranges, s->ranges, s->n_ranges * sizeof *r->ranges);
    *out = r;
    return TERN_OK;
}

tern_status tn_regex_compile(tn_arena *arena, tn_str pattern, const tn_regex **out, tern_error *err) {
    static const char nothing[1] = "";
    const char *text = pattern.len ? pattern.data : nothing;
    parser s = {.p = text, .end = text + pattern.len, .start = text, .err = err};
    tern_status status = parse_alternatives(&s);
    if (status == TERN_OK && s.p != s.end) status = bad(&s, "a parenthesis has no partner");
    if (status == TERN_OK) status = keep(arena, &s, out);
    tn_free(s.code);
    tn_free(s.ranges);
    return status;
}

/* ---- matching -------------------------------------------------------------------------------------------------- */

/* Instructions that are alive, each once. `mark[pc]` is the step that added it. */
typedef struct threads {
    int32_t *list, *stack;
    uint64_t *mark;
    int32_t count;
} threads;

typedef struct place {
    bool begin, end, begin_line, end_line, word;
} place;

size_t tn_regex_workspace(const tn_regex *r) {
    size_t n = (size_t)r->n + 1;
    return n * sizeof(uint64_t) + (n * 3 + 2 * n + 2) * sizeof(int32_t);
}

static bool holds(const instruction *i, const place *p) {
    switch ((op)i->op) {
    case BEGIN_TEXT:
        return p->begin;
    case END_TEXT:
        return p->end;
    case BEGIN_LINE:
        return p->begin_line;
    case END_LINE:
        return p->end_line;
    case WORD:
        return p->word;
    case NOT_WORD:
        return !p->word;
    default:
        return false;
    }
}

/* Adds pc and everything that is reached from it without a character. */
static void add_thread(const tn_regex *r, threads *t, int32_t start, uint64_t step, const place *p) {
    int32_t depth = 0;
    t->stack[depth++] = start;
    while (depth) {
        int32_t pc = t->stack[--depth];
        if (t->mark[pc] == step) continue;
        t->mark[pc] = step;
        if (pc == r->n) {
            t->list[t->count++] = pc;
            continue;
        }
        const instruction *i = &r->code[pc];
        if (i->op == SET) {
            t->list[t->count++] = pc;
        } else if (i->op == SPLIT) {
            t->stack[depth++] = pc + i->b;
            t->stack[depth++] = pc + i->a;
        } else if (i->op == JUMP) {
            t->stack[depth++] = pc + i->a;
        } else if (holds(i, p)) {
            t->stack[depth++] = pc + 1;
        }
    }
}

static bool in_set(const tn_regex *r, const instruction *i, uint32_t c) {
    const range *ranges = r->ranges + i->a;
    int32_t low = 0, high = i->b;
    while (low < high) { /* the first range that does not end before c */
        int32_t mid = low + (high - low) / 2;
        if (ranges[mid].last < c)
            low = mid + 1;
        else
            high = mid;
    }
    return (low < i->b && c >= ranges[low].first) != i->negated;
}

static bool is_word(const char *text, size_t len, size_t at) {
    if (at >= len) return false;
    char c = text[at];
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static place place_at(const char *text, size_t len, size_t at) {
    return (place){.begin = at == 0,
                   .end = at == len,
                   .begin_line = at == 0 || text[at - 1] == '\n',
                   .end_line = at == len || text[at] == '\n',
                   .word = (at > 0 && is_word(text, len, at - 1)) != is_word(text, len, at)};
}

bool tn_regex_full_match(const tn_regex *r, const char *text, size_t len, void *workspace) {
    size_t n = (size_t)r->n + 1;
    uint64_t *mark = workspace;
    int32_t *alive = (int32_t *)(mark + n), *next = alive + n, *stack = next + n;
    memset(mark, 0, n * sizeof *mark);
    threads t = {.list = alive, .stack = stack, .mark = mark};
    uint64_t step = 1;
    place p = place_at(text, len, 0);
    add_thread(r, &t, 0, step, &p);
    for (size_t at = 0; at < len && t.count;) {
        uint32_t c;
        at += tn_unicode_read(text + at, len - at, &c);
        p = place_at(text, len, at);
        threads to = {.list = t.list == alive ? next : alive, .stack = stack, .mark = mark};
        step++;
        for (int32_t k = 0; k < t.count; k++) {
            const instruction *i = &r->code[t.list[k]];
            if (t.list[k] < r->n && in_set(r, i, c)) add_thread(r, &to, t.list[k] + 1, step, &p);
        }
        t = to;
    }
    return mark[r->n] == step && t.count > 0;
}
