/* StringConcat, StringSplit, StringNormalizer, TfIdfVectorizer, RegexFullMatch. */
#include "op_test.h"
#include "ops/regex.h"

static void test_concat(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "StringConcat", 20);
    op_in(&t, op_str(DIMS(2, 1), STRS("a", "")));
    op_in(&t, op_str(DIMS(3), STRS("x", "", "\xc3\xa4z")));
    op_out(&t, op_str(DIMS(2, 3), STRS("ax", "a", "a\xc3\xa4z", "x", "", "\xc3\xa4z")));
    op_run_exact(&t);
    op_begin(&t, "StringConcat", 20);
    op_in(&t, op_str(DIMS(2), STRS("a", "b")));
    op_in(&t, op_str(DIMS(3), STRS("x", "y", "z")));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("do not broadcast"));
    op_begin(&t, "StringConcat", 20);
    op_in(&t, op_str(DIMS(1), STRS("a")));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32"));
}

static void split_is(const char *text, const char *by, int64_t most, size_t n, const char *const *parts) {
    op_test t;
    int64_t count = (int64_t)n;
    op_begin(&t, "StringSplit", 20);
    if (by) op_attr_s(&t, "delimiter", by);
    if (most >= 0) op_attr_i(&t, "maxsplit", most);
    op_in(&t, op_str(DIMS(1), STRS(text)));
    op_out(&t, op_str(2, (const int64_t[]){1, count}, n, parts));
    op_out(&t, op_int(TERN_INT64, DIMS(1), 1, &count));
    op_run_exact(&t);
}

static void test_split(void **state) {
    (void)state;
    split_is("a,b,,c", ",", -1, STRS("a", "b", "", "c"));
    split_is("a,b,,c,", ",", -1, STRS("a", "b", "", "c", ""));
    split_is("a--b-c", "--", -1, STRS("a", "b-c"));
    split_is("  a \t b\n", NULL, -1, STRS("a", "b"));
    split_is("  a  b  c  ", "", 1, STRS("a", "b  c"));
    split_is("a,b,c", ",", 1, STRS("a", "b,c"));
    split_is("a,b", ",", 0, STRS("a,b"));
}

static void normalized(const char *action, int64_t exact, size_t n_stop, const char *const *stop, size_t n,
                       const char *const *want) {
    op_test t;
    int64_t count = (int64_t)n;
    op_begin(&t, "StringNormalizer", 10);
    op_attr_s(&t, "case_change_action", action);
    op_attr_i(&t, "is_case_sensitive", exact);
    if (n_stop) op_attr_strings(&t, "stopwords", n_stop, stop);
    op_in(&t, op_str(DIMS(1, 3), STRS("Monday", "\xc3\x84rger", "\xd0\xb4\xd0\xb0"))); /* Ärger, да */
    op_out(&t, op_str(2, (const int64_t[]){1, count}, n, want));
    op_run_exact(&t);
}

static void test_normalizer(void **state) {
    (void)state;
    normalized("UPPER", 1, STRS("monday"), STRS("MONDAY", "\xc3\x84RGER", "\xd0\x94\xd0\x90"));
    normalized("LOWER", 0, STRS("MONDAY"), STRS("\xc3\xa4rger", "\xd0\xb4\xd0\xb0"));
    normalized("NONE", 0, STRS("monday", "\xc3\xa4rger", "\xd0\x94\xd0\x90"), STRS(""));
    op_test t;
    op_begin(&t, "StringNormalizer", 10);
    op_in(&t, op_str(DIMS(2, 1), STRS("a", "b")));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("[2x1]"));
    op_begin(&t, "StringNormalizer", 10);
    op_attr_s(&t, "case_change_action", "TITLE");
    op_in(&t, op_str(DIMS(1), STRS("a")));
    op_error(&t, TERN_INVALID_MODEL, STRS("TITLE"));
}

static void begin_tfidf(op_test *t, const char *mode) {
    op_begin(t, "TfIdfVectorizer", 9);
    op_attr_s(t, "mode", mode);
    op_attr_i(t, "min_gram_length", 1);
    op_attr_i(t, "max_gram_length", 2);
    op_attr_i(t, "max_skip_count", 1);
    op_attr_ints(t, "ngram_counts", INTS(0, 2));
    op_attr_ints(t, "ngram_indexes", INTS(0, 1, 3, 2));
    op_attr_strings(t, "pool_strings", STRS("a", "b", "a", "b", "b", "c"));
}

static void test_tfidf(void **state) {
    (void)state;
    op_test t;
    begin_tfidf(&t, "TF");
    op_in(&t, op_str(DIMS(2, 4), STRS("a", "b", "b", "c", "z", "z", "z", "z")));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 4), VALS(1, 2, 2, 2, 0, 0, 0, 0)));
    op_run_exact(&t);
    begin_tfidf(&t, "IDF");
    op_attr_floats(&t, "weights", VALS(1, 10, 100, 1000));
    op_in(&t, op_str(DIMS(4), STRS("a", "b", "b", "c")));
    op_out(&t, op_num(TERN_FLOAT, DIMS(4), VALS(1, 10, 1000, 100)));
    op_run_exact(&t);
    begin_tfidf(&t, "TFIDF");
    op_attr_floats(&t, "weights", VALS(1, 10, 100, 1000));
    op_in(&t, op_str(DIMS(4), STRS("a", "b", "b", "c")));
    op_out(&t, op_num(TERN_FLOAT, DIMS(4), VALS(1, 20, 2000, 200)));
    op_run_exact(&t);
    begin_tfidf(&t, "TF");
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("int64"));
}

static void test_tfidf_refuses(void **state) {
    (void)state;
    static const int64_t counts[][2] = {{0, 7}, {-1, 0}, {2, 0}};
    for (size_t i = 0; i < 3; i++) {
        op_test t;
        op_begin(&t, "TfIdfVectorizer", 9);
        op_attr_i(&t, "min_gram_length", 1);
        op_attr_i(&t, "max_gram_length", 2);
        op_attr_ints(&t, "ngram_counts", 2, counts[i]);
        op_attr_ints(&t, "ngram_indexes", INTS(0, 1));
        op_attr_ints(&t, "pool_int64s", INTS(1, 2, 3));
        op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(1)));
        op_error(&t, TERN_INVALID_MODEL, STRS("ngram_counts"));
    }
    op_test t;
    op_begin(&t, "TfIdfVectorizer", 9);
    op_attr_i(&t, "min_gram_length", 1);
    op_attr_i(&t, "max_gram_length", INT64_MAX);
    op_attr_i(&t, "max_skip_count", INT64_MAX);
    op_attr_ints(&t, "ngram_counts", INTS(0));
    op_attr_ints(&t, "ngram_indexes", INTS(0, 1));
    op_attr_ints(&t, "pool_int64s", INTS(1, 2, 3));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("9223372036854775807"));
}

/* ---- regular expressions --------------------------------------------------------------------------------------- */

static bool matches(const char *pattern, const char *text, size_t len) {
    tn_arena arena;
    tn_arena_init(&arena, 0);
    const tn_regex *r;
    tern_error err;
    if (tn_regex_compile(&arena, tn_str_c(pattern), &r, &err) != TERN_OK) fail_msg("%s: %s", pattern, err.text);
    void *work = tn_alloc_aligned(tn_regex_workspace(r), 64);
    bool yes = tn_regex_full_match(r, text, len, work);
    tn_free(work);
    tn_arena_release(&arena);
    return yes;
}

static void test_regex_matches(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool yes;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "a", true},
        {"a", "ab", false},
        {"a|b|cd", "cd", true},
        {"a|b|cd", "b", true},
        {"a|b|cd", "c", false},
        {"(a|b)*c", "abbac", true},
        {"(a*)*", "aaaa", true},
        {"(a*)*b", "aaaa", false},
        {"(|a)+", "aa", true},
        {"a+?b??", "aaa", true},
        {"a{2,3}", "a", false},
        {"a{2,3}", "aa", true},
        {"a{2,3}", "aaaa", false},
        {"a{2,}", "aaaaa", true},
        {"a{0}", "", true},
        {"(ab){2}", "abab", true},
        {"a{,3}", "a{,3}", true},
        {"x{", "x{", true},
        {"[a-c]+", "abcb", true},
        {"[^a-c]+", "xyb", false},
        {"[]a]+", "]a", true},
        {"[a-]+", "-a-", true},
        {"[[:alpha:]_][[:alnum:]_]*", "_x9", true},
        {"[[:^digit:]]", "5", false},
        {"\\d{3}-\\D\\w\\s", "123-x_ ", true},
        {"[\\d.]+", "3.14", true},
        {"[^\\s]+", "a b", false},
        {".", "\n", false},
        {"(?s).", "\n", true},
        {".", "\xe2\x82\xac", true},
        {"\\x{20ac}", "\xe2\x82\xac", true},
        {"[\xc3\xa4-\xc3\xb6]", "\xc3\xa7", true},
        {"(?i)straße\xc3\x84", "STRAßE\xc3\xa4", true},
        {"(?i:a)b", "AB", false},
        {"a(?i)b|c", "aB", true},
        {"^abc$", "abc", true},
        {"a^b", "ab", false},
        {"(?m)a\n^b$", "a\nb", true},
        {"\\Aa\\z", "a", true},
        {"a\\b.b", "a b", true},
        {"a\\bb", "ab", false},
        {"a\\Bb", "ab", true},
        {"\\Qa.b*\\E+", "a.b**", true},
        {"(?P<name>a)(?:b)(?<other>c)", "abc", true},
        {"\\.\\*\\(", ".*(", true},
        {"www.[\\w.-]+\\.\\bcom\\b", "www.example.com", true},
        {"[^a]", "\xff", true},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        const char *pattern = cases[i].pattern;
        if (matches(pattern, cases[i].text, strlen(cases[i].text)) != cases[i].yes)
            fail_msg("'%s' on '%s': expected %d", pattern, cases[i].text, cases[i].yes);
    }
}

static void test_regex_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {
        "(",           ")",     "a)",      "[a",    "*a",    "a**",     "a{3,2}",
        "a{1001}",     "(?=a)", "(?<=a)b", "\\1",   "\\",    "[b-a]",   "\\p{Foo}",
        "\\p{L",       "\\p",   "\\pX",    "(?z)a", "(?P<n", "[[:x:]]", "((a{99}){99}){99}",
        "\\x{110000}", "\\xg",  "\xff"};
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        op_test t;
        op_begin(&t, "RegexFullMatch", 20);
        op_attr_s(&t, "pattern", bad[i]);
        op_in(&t, op_str(DIMS(1), STRS("a")));
        op_error(&t, TERN_INVALID_MODEL, STRS("the pattern, at byte"));
    }
    char deep[2001];
    memset(deep, '(', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    op_test t;
    op_begin(&t, "RegexFullMatch", 20);
    op_attr_s(&t, "pattern", deep);
    op_in(&t, op_str(DIMS(1), STRS("a")));
    op_error(&t, TERN_INVALID_MODEL, STRS("nested too deeply"));
}

/* What takes a backtracking matcher 2^n steps. */
static void test_regex_unicode_classes(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool yes;
    } cases[] = {
        {"\\p{L}+", "aZ\xc3\xa9\xce\xa9\xe6\xbc\xa2", true}, /* latin, e with acute, Omega, a Han character */
        {"\\p{L}+", "a1", false},
        {"\\pN+", "1\xd9\xa3\xe2\x85\xa3", true}, /* Arabic three, Roman four */
        {"\\p{Nd}+", "\xe2\x85\xa3", false},
        {"\\p{Lu}\\p{Ll}", "\xce\xa9\xcf\x89", true},
        {"\\p{Lu}", "\xcf\x89", false},
        {"(?i)\\p{Lu}", "\xcf\x89", true},
        {"(?i)\\P{Lu}", "\xcf\x89", false},
        {"\\P{Lu}", "\xcf\x89", true},
        {"\\P{L}+", "1 .", true},
        {"\\p{^L}+", "1a", false},
        {"\\P{^L}+", "ab", true},
        {"\\p{Greek}+", "\xce\xa9\xcf\x89", true},
        {"\\p{Greek}+", "w", false},
        {"\\p{Han}\\p{Hiragana}\\p{Cyrillic}", "\xe6\xbc\xa2\xe3\x81\x82\xd0\xb6", true},
        {"[\\p{Greek}0-9\\p{Sc}]+",
         "\xce\xa9"
         "5\xe2\x82\xac",
         true}, /* the euro */
        {"[^\\p{L}\\d]", "\xce\xa9", false},
        {"[^\\p{L}\\d]", "-", true},
        {"\\p{Cc}", "\n", true},
        {"\\p{Any}", "\xf0\x9f\x98\x80", true},
        {"\\p{So}", "\xf0\x9f\x98\x80", true}, /* a smiling face */
        {"\\p{Zanabazar_Square}", "\xf0\x91\xa8\x80", true},
        {"\\p{Co}", "\xf4\x8f\xbf\xbd", true}, /* the last character of private use */
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        if (matches(cases[i].pattern, cases[i].text, strlen(cases[i].text)) != cases[i].yes)
            fail_msg("'%s' on '%s': expected %d", cases[i].pattern, cases[i].text, cases[i].yes);
}

static void test_regex_is_linear(void **state) {
    (void)state;
    size_t n = 20000;
    char *text = tn_alloc(n);
    memset(text, 'a', n);
    assert_false(matches("(a|a)*b", text, n));
    assert_false(matches("(a*)*(a*)*(a*)*b", text, n));
    assert_true(matches("(.*)(.*)(.*)(.*)(.*)[a-z]", text, n));
    tn_free(text);
}

static void test_regex_operator(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "RegexFullMatch", 20);
    op_attr_s(&t, "pattern", "[a-z]+@[a-z]+\\.(com|org)");
    op_in(&t, op_str(DIMS(2, 2), STRS("a@b.com", "a@b.net", "", "x@y.org")));
    op_out(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(1, 0, 0, 1)));
    op_run_exact(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concat),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_normalizer),
        cmocka_unit_test(test_tfidf),
        cmocka_unit_test(test_tfidf_refuses),
        cmocka_unit_test(test_regex_matches),
        cmocka_unit_test(test_regex_unicode_classes),
        cmocka_unit_test(test_regex_refuses),
        cmocka_unit_test(test_regex_is_linear),
        cmocka_unit_test(test_regex_operator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
