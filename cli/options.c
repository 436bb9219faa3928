#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

/* ---- suggestions ------------------------------------------------------------------------------------------- */

#define MAX_WORD 40

int cli_edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX_WORD || m > MAX_WORD) return 100;
    int d[MAX_WORD + 1][MAX_WORD + 1];
    for (size_t i = 0; i <= n; i++) d[i][0] = (int)i;
    for (size_t j = 0; j <= m; j++) d[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = TN_MIN(best, TN_MIN(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = TN_MIN(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *cli_suggest(const char *word, const char *const *candidates, size_t count) {
    const char *best = NULL;
    int best_distance = 100;
    for (size_t i = 0; i < count; i++) {
        int distance = cli_edit_distance(word, candidates[i]);
        if (distance > 1 && word[0] != candidates[i][0]) continue; /* "thread" does not mean "head" */
        if (distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    /* A third of the letters, at least one: "tpo" means "top", "x" means nothing. */
    int len = (int)strlen(word);
    return len >= 2 && best_distance <= TN_MAX(1, (len + 1) / 3) ? best : NULL;
}

/* ---- values ------------------------------------------------------------------------------------------------ */

bool cli_parse_size(const char *text, int *width, int *height) {
    long values[2];
    for (int i = 0; i < 2; i++) {
        if (*text < '0' || *text > '9') return false;
        char *end;
        values[i] = strtol(text, &end, 10);
        if (values[i] < 1 || values[i] > 65535 || *end != (i == 0 ? 'x' : '\0')) return false;
        text = end + 1;
    }
    *width = (int)values[0];
    *height = (int)values[1];
    return true;
}

static bool parse_real(const char *text, const char **end, double *out) {
    char *stop;
    errno = 0;
    double value = strtod(text, &stop);
    if (stop == text || *text == ' ' || !isfinite(value)) return false;
    *out = value;
    *end = stop;
    return true;
}

static bool in_range(const cli_option *o, double value) {
    return (o->min == 0 && o->max == 0) || (value >= o->min && value <= o->max);
}

static int wrong_value(const cli_command *command, const cli_option *o, const char *what, const char *text) {
    if (o->min != 0 || o->max != 0) {
        return cli_usage_error(command, "--%s wants %s from %.15g to %.15g, not '%s'", o->name, what, o->min, o->max,
                               text);
    }
    return cli_usage_error(command, "--%s wants %s, not '%s'", o->name, what, text);
}

static int set_int(const cli_command *command, const cli_option *o, void *field, const char *text) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool good = end != text && *end == '\0' && *text != ' ' && errno == 0 && in_range(o, (double)value);
    if (!good) return wrong_value(command, o, "a whole number", text);
    *(int64_t *)field = value;
    return CLI_OK;
}

static int set_real(const cli_command *command, const cli_option *o, void *field, const char *text) {
    const char *end;
    double value;
    if (!parse_real(text, &end, &value) || *end != '\0' || !in_range(o, value)) {
        return wrong_value(command, o, "a number", text);
    }
    *(double *)field = value;
    return CLI_OK;
}

static int set_reals(const cli_command *command, const cli_option *o, cli_reals *field, const char *text) {
    const char *p = text;
    field->count = 0;
    for (;;) {
        double value;
        if (field->count == CLI_MAX_REALS || !parse_real(p, &p, &value) || !in_range(o, value)) break;
        field->values[field->count++] = value;
        if (*p == '\0') return CLI_OK;
        if (*p++ != ',') break;
    }
    return wrong_value(command, o, "numbers with commas between", text);
}

static int set_bytes(const cli_command *command, const cli_option *o, int64_t *field, const char *text) {
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool good = *text >= '0' && *text <= '9' && errno == 0 && value > 0;
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) end++;
    for (; good && unit && unit >= units; unit--) good = !__builtin_mul_overflow(value, 1024, &value);
    if (!good || *end)
        return cli_usage_error(command, "--%s wants a size like 4096, 64K, 512M or 2G, not '%s'", o->name, text);
    *field = value;
    return CLI_OK;
}

static int set_ints(const cli_command *command, const cli_option *o, cli_ints *field, const char *text) {
    const char *p = text;
    field->count = 0;
    for (;;) {
        char *end;
        errno = 0;
        long long value = strtoll(p, &end, 10);
        if (field->count == CLI_MAX_INTS || end == p || *p == ' ' || errno || !in_range(o, (double)value)) break;
        field->values[field->count++] = value;
        if (*end == '\0') return CLI_OK;
        if (*end != ',') break;
        p = end + 1;
    }
    return wrong_value(command, o, "whole numbers with commas between", text);
}

static int set_choice(const cli_command *command, const cli_option *o, int *field, const char *text) {
    size_t len = strlen(text);
    const char *word = o->value;
    for (int i = 0;; i++) {
        size_t n = strcspn(word, "|");
        if (n == len && memcmp(word, text, n) == 0) {
            *field = i;
            return CLI_OK;
        }
        if (word[n] == '\0') break;
        word += n + 1;
    }
    return cli_usage_error(command, "--%s wants one of %s, not '%s'", o->name, o->value, text);
}

static int set_option(const cli_command *command, const cli_option *o, char *args, const char *text, int argc) {
    void *field = args + o->offset;
    switch (o->type) {
    case CLI_FLAG:
        *(bool *)field = true;
        return CLI_OK;
    case CLI_FLAG_OFF:
        *(bool *)field = false;
        return CLI_OK;
    case CLI_INT:
        return set_int(command, o, field, text);
    case CLI_REAL:
        return set_real(command, o, field, text);
    case CLI_STRING:
        *(const char **)field = text;
        return CLI_OK;
    case CLI_REALS:
        return set_reals(command, o, field, text);
    case CLI_BYTES:
        return set_bytes(command, o, field, text);
    case CLI_INTS:
        return set_ints(command, o, field, text);
    case CLI_CHOICE:
        return set_choice(command, o, field, text);
    case CLI_STRINGS:
        break;
    }
    cli_strings *list = field;
    if (!list->items) list->items = cli_must(calloc((size_t)argc + 1, sizeof *list->items));
    list->items[list->count++] = text;
    return CLI_OK;
}

/* ---- the command line -------------------------------------------------------------------------------------- */

static bool is_flag(const cli_option *o) { return o->type == CLI_FLAG || o->type == CLI_FLAG_OFF; }

static const cli_option *find_long(const cli_command *command, const char *name, size_t len) {
    for (size_t i = 0; i < command->n_options; i++) {
        const cli_option *o = &command->options[i];
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0) return o;
    }
    return NULL;
}

static const cli_option *find_letter(const cli_command *command, char letter) {
    for (size_t i = 0; i < command->n_options; i++) {
        if (command->options[i].letter == letter) return &command->options[i];
    }
    return NULL;
}

static int unknown_option(const cli_command *command, const char *word, size_t len) {
    char name[MAX_WORD + 1];
    const char *near = NULL;
    if (len <= MAX_WORD) {
        memcpy(name, word, len);
        name[len] = '\0';
        const char **names = cli_must(calloc(command->n_options + 1, sizeof *names));
        for (size_t i = 0; i < command->n_options; i++) names[i] = command->options[i].name;
        names[command->n_options] = "help";
        near = cli_suggest(name, names, command->n_options + 1);
        free(names);
    }
    int shown = (int)TN_MIN(len, (size_t)200);
    if (near) return cli_usage_error(command, "no option '--%.*s'; did you mean '--%s'?", shown, word, near);
    return cli_usage_error(command, "no option '--%.*s'", shown, word);
}

/* One word that begins with "--". *i is moved over a value that is the next word. */
static int parse_long(cli_parsed *out, int argc, char **argv, int *i) {
    const cli_command *command = out->command;
    const char *name = argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    if (len == 4 && !value && memcmp(name, "help", 4) == 0) {
        out->help = true;
        return CLI_OK;
    }
    const cli_option *o = find_long(command, name, len);
    if (!o) return unknown_option(command, name, len);
    if (is_flag(o)) {
        if (value) return cli_usage_error(command, "--%s takes no value", o->name);
    } else if (!value) {
        if (*i + 1 >= argc) return cli_usage_error(command, "--%s needs a value, %s", o->name, o->value);
        value = argv[++*i];
    }
    return set_option(command, o, out->args, value, argc);
}

/* One word of short options: -abc, -n5, -n 5. */
static int parse_short(cli_parsed *out, int argc, char **argv, int *i) {
    const cli_command *command = out->command;
    for (const char *p = argv[*i] + 1; *p; p++) {
        const cli_option *o = find_letter(command, *p);
        if (!o && *p == 'h') {
            out->help = true;
            return CLI_OK;
        }
        if (!o) return cli_usage_error(command, "no option '-%c'", *p);
        const char *value = NULL;
        if (!is_flag(o)) {
            if (p[1]) {
                value = p + 1;
            } else if (*i + 1 < argc) {
                value = argv[++*i];
            } else {
                return cli_usage_error(command, "-%c needs a value, %s", *p, o->value);
            }
        }
        int code = set_option(command, o, out->args, value, argc);
        if (code != CLI_OK || value) return code;
    }
    return CLI_OK;
}

static int check_operands(const cli_parsed *p) {
    const cli_command *command = p->command;
    if (p->n_operands < command->min_operands) {
        return cli_usage_error(command, "%s needs %s", command->name, command->operands);
    }
    if (command->max_operands >= 0 && p->n_operands > command->max_operands) {
        const char *extra = p->operands[command->max_operands];
        return cli_usage_error(command, "'%s' is one argument too many", extra);
    }
    return CLI_OK;
}

int cli_parse(cli_parsed *out, const cli_command *command, int argc, char **argv) {
    *out = (cli_parsed){.command = command};
    out->args = cli_must(calloc(1, TN_MAX(command->args_size, sizeof(cli_common))));
    out->operands = cli_must(calloc((size_t)argc + 1, sizeof *out->operands));
    *(cli_common *)out->args = (cli_common){.cpu = -1, .optimize = true};
    if (command->defaults) command->defaults(out->args);
    bool only_operands = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        int code = CLI_OK;
        if (only_operands || word[0] != '-' || word[1] == '\0') {
            out->operands[out->n_operands++] = argv[i];
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else {
            code = word[1] == '-' ? parse_long(out, argc, argv, &i) : parse_short(out, argc, argv, &i);
        }
        if (code != CLI_OK || out->help) return code;
    }
    return check_operands(out);
}

void cli_parsed_release(cli_parsed *parsed) {
    const cli_command *command = parsed->command;
    for (size_t i = 0; i < command->n_options; i++) {
        if (command->options[i].type != CLI_STRINGS) continue;
        free(((cli_strings *)(void *)((char *)parsed->args + command->options[i].offset))->items);
    }
    free(parsed->args);
    free(parsed->operands);
    *parsed = (cli_parsed){.command = command};
}

/* ---- help -------------------------------------------------------------------------------------------------- */

#define HELP_COLUMN 28
#define HELP_WIDTH  100

/* `text` from column HELP_COLUMN on, wrapped between words. */
static void print_wrapped(FILE *to, const char *text) {
    int column = HELP_COLUMN;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + n > HELP_WIDTH) {
            fprintf(to, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            fputc(' ', to);
            column++;
        }
        fprintf(to, "%.*s", n, text);
        column += n;
        text += n;
        while (*text == ' ') text++;
    }
    fputc('\n', to);
}

static void print_option(FILE *to, char letter, const char *name, const char *value, const char *help) {
    char left[120];
    char dash[8] = "    ";
    if (letter) snprintf(dash, sizeof dash, "-%c, ", letter);
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", dash, name, value ? " " : "", value ? value : "");
    fputs(left, to);
    if (n > HELP_COLUMN - 2) {
        fputc('\n', to);
        n = 0;
    }
    fprintf(to, "%*s", HELP_COLUMN - n, "");
    print_wrapped(to, help);
}

void cli_print_help(FILE *to, const cli_command *command) {
    fprintf(to, "usage: tern %s [OPTION...]%s%s\n\n%s\n\noptions:\n", command->name, command->operands[0] ? " " : "",
            command->operands, command->description);
    for (size_t i = 0; i < command->n_options; i++) {
        const cli_option *o = &command->options[i];
        print_option(to, o->letter, o->name, o->value, o->help);
    }
    print_option(to, find_letter(command, 'h') ? 0 : 'h', "help", NULL, "print this text");
    fputs("\nexamples:\n", to);
    for (const char *const *e = command->examples; e && *e; e++) fprintf(to, "  %s\n", *e);
    fprintf(to, "\nexit codes: 0 done; 1 %s; 2 wrong command line\n", command->failure);
}
