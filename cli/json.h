/* JSON output by cJSON, with what it leaves open: 64-bit integers, floats with as many digits as they need, strings
 * that are not UTF-8. There is no error to check: a lack of memory ends the command (cli_must). NULL as key: the parent
 * is an array. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

cJSON *cli_json_object(cJSON *parent, const char *key); /* parent NULL: a root */
cJSON *cli_json_array(cJSON *parent, const char *key);
/* Bytes that are not UTF-8 become U+FFFD; NULL becomes null. */
void cli_json_string(cJSON *parent, const char *key, const char *value);
void cli_json_int(cJSON *parent, const char *key, int64_t value);
/* The shortest text that reads back as the same float or double; null for infinities and NaN, which JSON lacks. */
void cli_json_float(cJSON *parent, const char *key, float value);
void cli_json_double(cJSON *parent, const char *key, double value);
void cli_json_bool(cJSON *parent, const char *key, bool value);
void cli_json_null(cJSON *parent, const char *key);

/* Prints the root to stdout with a newline, indented, and deletes it. */
void cli_json_print(cJSON *root);
/* The same on one line. */
void cli_json_print_line(cJSON *root);

#endif
