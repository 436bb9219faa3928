/* Numbers between text and memory, fast enough that a JSON tensor costs less than its transport. */
#ifndef SERVE_NUMBER_H
#define SERVE_NUMBER_H

#include "base/base.h"

/* All parse one JSON number (RFC 8259, section 6) at *p, of which `end` is the limit, and move *p behind it. False: it
 * is none, or not of the type; *why then says what is wrong, and *p is where. A token of more than SERVE_MAX_NUMBER
 * characters is refused. */
#define SERVE_MAX_NUMBER 1000
bool serve_parse_f32(const char **p, const char *end, float *out, const char **why);
bool serve_parse_f64(const char **p, const char *end, double *out, const char **why);
/* Whole numbers without fraction and exponent. */
bool serve_parse_i64(const char **p, const char *end, int64_t *out, const char **why);
bool serve_parse_u64(const char **p, const char *end, uint64_t *out, const char **why);

/* The most that any of the following writes. */
#define SERVE_NUMBER_TEXT 32
/* A finite float in the fewest digits that read back as the same float (nine at most); returns the length. */
int serve_print_f32(char *to, float value);
int serve_print_f64(char *to, double value);
int serve_print_i64(char *to, int64_t value);
int serve_print_u64(char *to, uint64_t value);

#endif
