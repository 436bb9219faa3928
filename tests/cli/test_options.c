/* Parsing of command lines by a table, suggestions, help. */
#include "test_util.h"

#include "cli/options.h"

typedef struct sample_args {
    cli_common common;
    int64_t count;
    double ratio;
    const char *name;
    cli_strings inputs;
    cli_reals mean;
    int fit;
    bool loud;
    int64_t limit;
    cli_ints list;
} sample_args;

static void defaults(void *args) { ((sample_args *)args)->count = 7; }

static const cli_option options[] = {
    {"count", 'n', CLI_INT, "N", "how many", offsetof(sample_args, count), 1, 100},
    {"ratio", 0, CLI_REAL, "X", "a ratio", offsetof(sample_args, ratio), 0, 0},
    {"name", 0, CLI_STRING, "NAME", "a name", offsetof(sample_args, name), 0, 0},
    {"input", 'i', CLI_STRINGS, "FILE", "may be repeated", offsetof(sample_args, inputs), 0, 0},
    {"mean", 0, CLI_REALS, "A,B", "numbers", offsetof(sample_args, mean), 0, 0},
    {"fit", 0, CLI_CHOICE, "stretch|crop", "a choice", offsetof(sample_args, fit), 0, 0},
    {"limit", 0, CLI_BYTES, "SIZE", "bytes", offsetof(sample_args, limit), 0, 0},
    {"list", 0, CLI_INTS, "A,B", "whole numbers", offsetof(sample_args, list), 1, 64},
    {"loud", 'v', CLI_FLAG, NULL, "a flag", offsetof(sample_args, loud), 0, 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_NO_FUSE,
    CLI_OPT_JSON,
};

static const char *const examples[] = {"tern sample x", NULL};

static const cli_command sample = {.name = "sample",
                                   .summary = "a sample",
                                   .operands = "FILE...",
                                   .description = "Does nothing.",
                                   .options = options,
                                   .n_options = sizeof options / sizeof options[0],
                                   .examples = examples,
                                   .failure = "it failed",
                                   .min_operands = 1,
                                   .max_operands = 2,
                                   .args_size = sizeof(sample_args),
                                   .defaults = defaults};

/* Splits at blanks; stderr goes to a file whose text is then in `message`. */
static char message[1000];

static int parse(cli_parsed *out, const char *line) {
    static char words[500];
    char *argv[30], *rest = NULL;
    int argc = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) argv[argc++] = w;
    fflush(stderr);
    int saved = dup(2);
    FILE *file = tmpfile();
    assert_non_null(file);
    dup2(fileno(file), 2);
    int code = cli_parse(out, &sample, argc, argv);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    rewind(file);
    message[fread(message, 1, sizeof message - 1, file)] = '\0';
    fclose(file);
    return code;
}

static void accept_all_forms(void **state) {
    (void)state;
    cli_parsed p;
    assert_int_equal(parse(&p,
                           "--count 5 a -v --input=x -iy -i z --ratio=-1.5 --mean -1,2e3 --fit crop --name= b --json "
                           "--no-fuse --threads 3 --cpu avx2 --limit 3K --list 1,64,7"),
                     CLI_OK);
    const sample_args *a = p.args;
    assert_int_equal(p.n_operands, 2);
    assert_string_equal(p.operands[1], "b");
    assert_true(a->count == 5 && a->loud && a->ratio == -1.5 && a->fit == 1 && a->name[0] == '\0');
    assert_true(a->inputs.count == 3);
    assert_string_equal(a->inputs.items[1], "y");
    assert_true(a->mean.count == 2 && a->mean.values[0] == -1 && a->mean.values[1] == 2000);
    assert_true(a->common.json && !a->common.optimize && a->common.threads == 3 && a->common.cpu == TERN_CPU_AVX2);
    assert_true(a->limit == 3072 && a->list.count == 3 && a->list.values[1] == 64);
    cli_parsed_release(&p);
}

static void defaults_hold(void **state) {
    (void)state;
    cli_parsed p;
    assert_int_equal(parse(&p, "-- --count"), CLI_OK);
    const sample_args *a = p.args;
    assert_string_equal(p.operands[0], "--count");
    assert_true(a->count == 7 && !a->loud && !a->name && a->common.optimize && a->common.cpu == -1 &&
                a->common.threads == 0);
    cli_parsed_release(&p);
    assert_int_equal(parse(&p, "-"), CLI_OK);
    assert_string_equal(p.operands[0], "-");
    cli_parsed_release(&p);
}

static void refuse(const char *line, const char *text) {
    cli_parsed p;
    if (parse(&p, line) != CLI_USAGE) fail_msg("'%s' was accepted", line);
    cli_parsed_release(&p);
    if (!strstr(message, text) || strncmp(message, "tern: ", 6) != 0) fail_msg("'%s' gave %s", line, message);
    assert_ptr_equal(strchr(message, '\n'), message + strlen(message) - 1);
}

static void refuse_the_rest(void **state) {
    (void)state;
    refuse("x --cuont 5", "did you mean '--count'?");
    refuse("x --hepl", "did you mean '--help'?");
    refuse("x --zebra", "no option '--zebra'");
    refuse("x -q", "no option '-q'");
    refuse("x --count", "--count needs a value, N");
    refuse("x -n", "-n needs a value");
    refuse("x --count 0", "from 1 to 100, not '0'");
    refuse("x --count 5x", "not '5x'");
    refuse("x --count 99999999999999999999", "whole number");
    refuse("x --ratio nan", "a number, not 'nan'");
    refuse("x --mean 1,,2", "commas");
    refuse("x --mean 1,2,", "commas");
    refuse("x --fit squash", "one of stretch|crop");
    refuse("x --loud=1", "takes no value");
    refuse("x --cpu sse", "scalar|avx2|avx512");
    refuse("x --limit 3Q", "4096, 64K, 512M or 2G, not '3Q'");
    refuse("x --limit 0", "not '0'");
    refuse("x --limit -1", "not '-1'");
    refuse("x --limit 3KB", "not '3KB'");
    refuse("x --limit 9999999999T", "not '9999999999T'");
    refuse("x --list 1,65", "from 1 to 64, not '1,65'");
    refuse("x --list 1,", "commas");
    refuse("x --list 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "commas");
    refuse("--loud", "needs FILE");
    refuse("a b c", "'c' is one argument too many");
}

static void help_ends_parsing(void **state) {
    (void)state;
    cli_parsed p;
    assert_int_equal(parse(&p, "--loud --help --nonsense"), CLI_OK);
    assert_true(p.help);
    cli_parsed_release(&p);
    assert_int_equal(parse(&p, "-h"), CLI_OK);
    assert_true(p.help);
    cli_parsed_release(&p);
}

static void help_comes_from_the_table(void **state) {
    (void)state;
    char text[5000];
    FILE *file = tmpfile();
    assert_non_null(file);
    cli_print_help(file, &sample);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    static const char *const parts[] = {"usage: tern sample [OPTION...] FILE...",
                                        "-n, --count N",
                                        "--fit stretch|crop",
                                        "--no-fuse",
                                        "-h, --help",
                                        "tern sample x",
                                        "exit codes: 0 done; 1 it failed; 2"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!strstr(text, parts[i])) fail_msg("no '%s' in:\n%s", parts[i], text);
    }
}

static void distances(void **state) {
    (void)state;
    assert_int_equal(cli_edit_distance("", "abc"), 3);
    assert_int_equal(cli_edit_distance("classify", "clasify"), 1);
    assert_int_equal(cli_edit_distance("bench", "becnh"), 1);
    assert_int_equal(cli_edit_distance("run", "run"), 0);
    const char *const words[] = {"classify", "bench", "run"};
    assert_string_equal(cli_suggest("bnech", words, 3), "bench");
    assert_null(cli_suggest("inspect", words, 3));
    assert_null(cli_suggest("x", words, 3));
}

static void sizes(void **state) {
    (void)state;
    int w, h;
    assert_true(cli_parse_size("640x480", &w, &h) && w == 640 && h == 480);
    static const char *const bad[] = {"",     "640",   "640x",    "x480", "0x5",  "5x0",
                                      "-1x5", "5x5x5", "70000x1", " 5x5", "5x 5", "none"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(cli_parse_size(bad[i], &w, &h));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_all_forms),
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(refuse_the_rest),
        cmocka_unit_test(help_ends_parsing),
        cmocka_unit_test(help_comes_from_the_table),
        cmocka_unit_test(distances),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
