#include "cli/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"

/* The text in valid UTF-8: as it is, or in `room`, with U+FFFD for each byte that is no part of a character. */
static const char *valid_utf8(const char *s, tn_text *room) {
    size_t n = strlen(s);
    if (tn_utf8_valid(s, n)) return s;
    for (size_t i = 0; i < n;) {
        size_t length = tn_utf8_length(s + i, n - i);
        tn_text_add_str(room, length ? s + i : "\xef\xbf\xbd", length ? length : 3);
        i += length ? length : 1;
    }
    return cli_must(room->failed ? NULL : room->data);
}

static void add(cJSON *parent, const char *key, cJSON *item) {
    tn_text room;
    cli_must(item);
    tn_text_init(&room);
    cJSON_bool added =
        key ? cJSON_AddItemToObject(parent, valid_utf8(key, &room), item) : cJSON_AddItemToArray(parent, item);
    cli_must(added ? item : NULL);
    tn_text_release(&room);
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

void cli_json_string(cJSON *parent, const char *key, const char *value) {
    if (!value) {
        cli_json_null(parent, key);
        return;
    }
    tn_text room;
    tn_text_init(&room);
    add(parent, key, cJSON_CreateString(valid_utf8(value, &room)));
    tn_text_release(&room);
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

/* Whether a control character begins here that JSON may hold raw and terminals obey: DEL, U+0080 to U+009F. *code is
 * its number. */
static bool is_raw_control(const char *p, unsigned *code) {
    const unsigned char *u = (const unsigned char *)p;
    bool c1 = u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0;
    *code = c1 ? u[1] : u[0];
    return c1 || u[0] == 0x7f;
}

/* Tabs are layout only (those in strings are escaped): a blank after a key, two for a level. */
static void print_escaped(const char *text) {
    unsigned code;
    for (const char *p = text; *p; p++) {
        if (is_raw_control(p, &code)) {
            printf("\\u%04x", code);
            p += code != 0x7f;
        } else if (*p != '\t') {
            putchar(*p);
        } else {
            fputs(p > text && p[-1] == ':' ? " " : "  ", stdout);
        }
    }
}

void cli_json_print(cJSON *root) {
    char *text = cli_must(cJSON_Print(root));
    print_escaped(text);
    putchar('\n');
    cJSON_free(text);
    cJSON_Delete(root);
}

void cli_json_print_line(cJSON *root) {
    char *text = cli_must(cJSON_PrintUnformatted(root));
    print_escaped(text);
    putchar('\n');
    cJSON_free(text);
    cJSON_Delete(root);
}
