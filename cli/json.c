#include "cli/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"

static void add(cJSON *parent, const char *key, cJSON *item) {
    cli_must(item);
    cJSON_bool added = key ? cJSON_AddItemToObject(parent, key, item) : cJSON_AddItemToArray(parent, item);
    cli_must(added ? item : NULL);
}

cJSON *cli_json_object(cJSON *parent, const char *key) {
    cJSON *item = cli_must(cJSON_CreateObject());
    if (parent) add(parent, key, item);
    return item;
}

cJSON *cli_json_array(cJSON *parent, const char *key) {
    cJSON *item = cli_must(cJSON_CreateArray());
    if (parent) add(parent, key, item);
    return item;
}

/* Length of the UTF-8 character at s, which has n > 0 bytes left; 0: it is not one. */
static size_t utf8_char(const char *s, size_t n) {
    for (size_t len = 1; len <= TN_MIN(n, (size_t)4); len++) {
        if (tn_utf8_valid(s, len)) return len;
    }
    return 0;
}

void cli_json_string(cJSON *parent, const char *key, const char *value) {
    if (!value) {
        cli_json_null(parent, key);
        return;
    }
    size_t n = strlen(value);
    if (tn_utf8_valid(value, n)) {
        add(parent, key, cJSON_CreateString(value));
        return;
    }
    tn_text text;
    tn_text_init(&text);
    for (size_t i = 0; i < n;) {
        size_t len = utf8_char(value + i, n - i);
        tn_text_add_str(&text, len ? value + i : "\xef\xbf\xbd", len ? len : 3);
        i += len ? len : 1;
    }
    cli_must(text.failed ? NULL : text.data);
    add(parent, key, cJSON_CreateString(text.data));
    tn_text_release(&text);
}

void cli_json_int(cJSON *parent, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add(parent, key, cJSON_CreateRaw(text));
}

void cli_json_float(cJSON *parent, const char *key, float value) {
    if (!isfinite(value)) {
        cli_json_null(parent, key);
        return;
    }
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    add(parent, key, cJSON_CreateRaw(text));
}

void cli_json_double(cJSON *parent, const char *key, double value) {
    if (!isfinite(value)) {
        cli_json_null(parent, key);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    add(parent, key, cJSON_CreateRaw(text));
}

void cli_json_bool(cJSON *parent, const char *key, bool value) { add(parent, key, cJSON_CreateBool(value)); }

void cli_json_null(cJSON *parent, const char *key) { add(parent, key, cJSON_CreateNull()); }

void cli_json_print(cJSON *root) {
    char *text = cli_must(cJSON_Print(root));
    /* Tabs are layout only (those in strings are escaped): a blank after a key, two for a level. */
    for (const char *p = text; *p; p++) {
        if (*p != '\t') {
            putchar(*p);
        } else {
            fputs(p > text && p[-1] == ':' ? " " : "  ", stdout);
        }
    }
    putchar('\n');
    cJSON_free(text);
    cJSON_Delete(root);
}

void cli_json_print_line(cJSON *root) {
    char *text = cli_must(cJSON_PrintUnformatted(root));
    puts(text);
    cJSON_free(text);
    cJSON_Delete(root);
}
