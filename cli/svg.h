/* Pictures as SVG text, for reports. */
#ifndef CLI_SVG_H
#define CLI_SVG_H

#include "base/base.h"
#include "plan/plan.h"

/* Text of HTML and SVG: what would be markup is escaped. */
void cli_svg_text(tn_text *out, const char *text);
/* The colour of category i: the first seven differ, the rest are grey. */
const char *cli_svg_color(size_t i);
/* The memory plan: steps from left to right, the run's memory from the bottom up; a box is a value from the step that
 * gives it to the last one that reads it. */
void cli_svg_memory(tn_text *out, const tn_plan *plan);

#endif
