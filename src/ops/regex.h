/* Regular expressions in RE2's syntax, matched in time linear in the text. */
#ifndef TN_OPS_REGEX_H
#define TN_OPS_REGEX_H

#include "base/base.h"

typedef struct tn_regex tn_regex;

/* Compiles; the program lives in the arena. What the syntax has but this does not do (\p{..} beyond ASCII scripts, \C)
 * is refused with a text that says where. */
tern_status tn_regex_compile(tn_arena *arena, tn_str pattern, const tn_regex **out, tern_error *err);
/* Bytes of scratch memory, aligned to 8, that a match needs. */
size_t tn_regex_workspace(const tn_regex *r);
/* Whether the whole text matches. */
bool tn_regex_full_match(const tn_regex *r, const char *text, size_t len, void *workspace);

#endif
