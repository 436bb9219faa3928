#include "cli/svg.h"

#include <stdlib.h>

void cli_svg_text(tn_text *out, const char *text) {
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '&':
            tn_text_add(out, "&amp;");
            break;
        case '<':
            tn_text_add(out, "&lt;");
            break;
        case '>':
            tn_text_add(out, "&gt;");
            break;
        case '"':
            tn_text_add(out, "&quot;");
            break;
        default:
            tn_text_add_str(out, (unsigned char)*p < 32 || *p == 127 ? "?" : p, 1);
        }
    }
}

const char *cli_svg_color(size_t i) {
    static const char *const colors[] = {"#3b6fb6", "#d9822b", "#3f9a6b", "#c2476b", "#7a62b8", "#2f9aa8", "#a3872d"};
    return i < TN_COUNT(colors) ? colors[i] : "#8a8f98";
}

/* ---- memory plan ----------------------------------------------------------------------------------------------- */

enum { LEFT = 76, TOP = 12, WIDTH = 860, HEIGHT = 300, BOTTOM = 34 };

static void find_lives(const tn_plan *plan, int *first, int *last) {
    for (int i = 0; i < plan->graph->n_values; i++) first[i] = last[i] = -1;
    for (int s = 0; s < plan->n_steps; s++) {
        const tn_node *n = plan->steps[s].node;
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k]) first[n->out[k]->id] = last[n->out[k]->id] = s;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) last[n->in[k]->id] = s;
        for (int k = 0; k < n->n_captures; k++) last[n->captures[k]->id] = s;
    }
}

static void add_box(tn_text *out, const tn_plan *plan, int id, int first, int last, double total) {
    const tn_slot *s = &plan->slots[id];
    const tn_value *v = plan->graph->values[id];
    double step = (double)WIDTH / TN_MAX(plan->n_steps, 1);
    double h = (double)s->bytes / total * HEIGHT, y = TOP + HEIGHT - (double)s->offset / total * HEIGHT - h;
    tn_text_add(out,
                "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\" fill-opacity=\".75\" "
                "stroke=\"currentColor\" stroke-opacity=\".35\" stroke-width=\".5\"><title>",
                LEFT + step * first, y, step * (last - first + 1), TN_MAX(h, 0.4), cli_svg_color((size_t)id % 7));
    cli_svg_text(out, v->name);
    tn_text_add(out, " (");
    cli_svg_text(out, v->producer ? v->producer->op_type : "input");
    tn_text_add(out, "), %zu bytes at %zu, steps %d to %d</title></rect>\n", s->bytes, s->offset, first, last);
}

void cli_svg_memory(tn_text *out, const tn_plan *plan) {
    int n = plan->graph->n_values;
    int *lives = tn_alloc_array(2 * (size_t)n + 1, sizeof *lives);
    if (!lives) {
        out->failed = true;
        return;
    }
    find_lives(plan, lives, lives + n);
    size_t bytes = plan->arena_bytes + plan->workspace_bytes;
    double total = (double)TN_MAX(bytes, (size_t)1), arena = (double)plan->arena_bytes / total * HEIGHT;
    tn_text_add(out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"memory\" viewBox=\"0 0 %d %d\" "
                "font-family=\"sans-serif\" font-size=\"11\" fill=\"currentColor\" role=\"img\" "
                "aria-label=\"memory plan\">\n",
                LEFT + WIDTH + 12, TOP + HEIGHT + BOTTOM);
    for (int i = 0; i <= 4; i++) {
        double y = TOP + HEIGHT * (1 - i / 4.0);
        tn_text_add(out,
                    "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"currentColor\" stroke-opacity=\".18\"/>"
                    "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.2f MB</text>\n",
                    LEFT, LEFT + WIDTH, y, y, LEFT - 6, y + 4, total * i / 4 / 1e6);
    }
    if (plan->workspace_bytes)
        tn_text_add(out,
                    "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%.2f\" fill=\"currentColor\" fill-opacity=\".12\">"
                    "<title>scratch of the steps, %zu bytes</title></rect>\n",
                    LEFT, TOP, WIDTH, HEIGHT - arena, plan->workspace_bytes);
    for (int i = 0; i < n; i++)
        if (plan->slots[i].place == TN_PLACE_ARENA && lives[i] >= 0)
            add_box(out, plan, i, lives[i], lives[n + i], total);
    tn_text_add(out,
                "<text x=\"%d\" y=\"%d\">step 0</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">step %d</text>\n"
                "</svg>\n",
                LEFT, TOP + HEIGHT + 20, LEFT + WIDTH, TOP + HEIGHT + 20, TN_MAX(plan->n_steps - 1, 0));
    tn_free(lives);
}
