/* The page of tern profile --html: one file, no script needed to read it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/profile.h"
#include "cli/svg.h"

/* ---- operators with their kernels, by time --------------------------------------------------------------------- */

typedef struct type_time {
    const char *name, *kernel; /* kernel NULL: the portable one */
    double ms, share;
    int64_t nodes;
} type_time;

typedef struct types {
    type_time *list; /* most time first */
    size_t count, cap;
} types;

static int more_time(const void *a, const void *b) {
    double x = ((const type_time *)a)->ms, y = ((const type_time *)b)->ms;
    return x < y ? 1 : x > y ? -1 : 0;
}

static size_t find_type(const types *t, const cli_profile_row *r) {
    size_t k = 0;
    while (k < t->count && (strcmp(t->list[k].name, r->node->op_type) != 0 || !t->list[k].kernel != !r->kernel ||
                            (r->kernel && strcmp(t->list[k].kernel, r->kernel) != 0)))
        k++;
    return k;
}

static types collect_types(const cli_profile *p) {
    types t = {0};
    for (size_t i = 0; i < p->n_rows; i++) {
        const cli_profile_row *r = &p->rows[i];
        if (r->inner) continue;
        size_t k = find_type(&t, r);
        if (k == t.count) {
            if (!tn_grow(&t.list, &t.cap, t.count + 1, sizeof *t.list)) cli_must(NULL);
            t.list[t.count++] = (type_time){.name = r->node->op_type, .kernel = r->kernel};
        }
        t.list[k].ms += cli_profile_ms(p, r);
        t.list[k].share += cli_profile_share(p, r);
        t.list[k].nodes++;
    }
    if (t.count) qsort(t.list, t.count, sizeof *t.list, more_time);
    return t;
}

static const char *color_of(const types *t, const cli_profile_row *r) { return cli_svg_color(find_type(t, r)); }

/* ---- head ------------------------------------------------------------------------------------------------------ */

static const char style[] =
    ":root{--bg:#fff;--fg:#1c2430;--soft:#5b6675;--line:#e3e7ec;--card:#f6f8fa}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14181f;--fg:#e5e9ef;--soft:#9aa5b3;--line:#2b323d;--card:#1c222b}}"
    "*{box-sizing:border-box}body{margin:0 auto;padding:28px 24px 60px;max-width:1080px;background:var(--bg);"
    "color:var(--fg);font:14px/1.5 system-ui,sans-serif}h1{font-size:22px;margin:0}h2{font-size:16px;margin:34px 0 8px}"
    "p{margin:4px 0;color:var(--soft)}.tiles{display:flex;flex-wrap:wrap;gap:10px;margin:18px 0}"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 14px;min-width:128px}"
    ".tile b{display:block;font-size:19px;font-weight:600}.tile span{color:var(--soft);font-size:12px}"
    ".stack{display:flex;height:26px;border-radius:6px;overflow:hidden}.stack i{display:block}"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:8px 0;font-size:12px}"
    ".legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}"
    "table{border-collapse:collapse;width:100%;font-size:12px}th{text-align:left;color:var(--soft);font-weight:500;"
    "position:sticky;top:0;background:var(--bg);cursor:pointer}th,td{padding:3px 8px;border-bottom:1px solid "
    "var(--line);white-space:nowrap}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    "td.name{max-width:150px;overflow:hidden;text-overflow:ellipsis}td.shape{color:var(--soft);max-width:190px;"
    "overflow:hidden;text-overflow:ellipsis}td.bar{min-width:170px}td.bar "
    "i{display:block;height:11px;border-radius:2px;"
    "min-width:1px}tr.inner td{color:var(--soft)}svg{width:100%;height:auto;display:block}.scroll{overflow-x:auto}";

static void add_tile(tn_text *out, const char *value, const char *what) {
    tn_text_add(out, "<div class=\"tile\"><b>%s</b><span>%s</span></div>\n", value, what);
}

static void add_tiles(tn_text *out, const cli_profile *p, const tn_plan *plan) {
    char text[80];
    double runs = (double)TN_MAX(p->runs, (int64_t)1), lost = (double)p->run_ns - (double)p->step_ns, macs = 0;
    for (size_t i = 0; i < p->n_rows; i++) macs += (double)p->rows[i].macs * (double)p->rows[i].calls / runs;
    double ms = (double)p->run_ns / runs * 1e-6;
    tn_text_add(out, "<div class=\"tiles\">\n");
    snprintf(text, sizeof text, "%.3f ms", ms);
    add_tile(out, text, "mean of a run");
    snprintf(text, sizeof text, "%zu", p->n_rows);
    add_tile(out, text, "steps");
    snprintf(text, sizeof text, "%.1f %%", p->run_ns ? 100 * lost / (double)p->run_ns : 0);
    add_tile(out, text, "between the steps");
    snprintf(text, sizeof text, "%.1f", ms > 0 ? 2 * macs / ms * 1e-6 : 0);
    add_tile(out, text, "GFLOP/s");
    snprintf(text, sizeof text, "%.0f / %.0f", p->peak_gflops, p->peak_gbytes);
    add_tile(out, text, "peak GFLOP/s, GB/s");
    if (plan) {
        snprintf(text, sizeof text, "%.2f MB", (double)(plan->arena_bytes + plan->workspace_bytes) / 1e6);
        add_tile(out, text, "planned memory");
    }
    tn_text_add(out, "</div>\n");
}

static void add_types(tn_text *out, const types *t) {
    tn_text_add(out, "<h2>Time by operator and kernel</h2>\n<div class=\"stack\">");
    for (size_t i = 0; i < t->count; i++) {
        tn_text_add(out, "<i style=\"width:%.3f%%;background:%s\" title=\"", t->list[i].share, cli_svg_color(i));
        cli_svg_text(out, t->list[i].name);
        tn_text_add(out, " %.1f %%\"></i>", t->list[i].share);
    }
    tn_text_add(out, "</div>\n<div class=\"legend\">");
    for (size_t i = 0; i < t->count; i++) {
        tn_text_add(out, "<span><i style=\"background:%s\"></i>", cli_svg_color(i));
        cli_svg_text(out, t->list[i].name);
        if (t->list[i].kernel) tn_text_add(out, " %s", t->list[i].kernel);
        tn_text_add(out, ": %.1f %% &middot; %.3f ms &middot; %" PRId64 "</span>\n", t->list[i].share, t->list[i].ms,
                    t->list[i].nodes);
    }
    tn_text_add(out, "</div>\n");
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static void add_node(tn_text *out, const cli_profile *p, const types *t, const cli_profile_row *r, size_t order,
                     double longest) {
    double ms = cli_profile_ms(p, r);
    tn_text_add(out, "<tr%s data-order=\"%zu\" data-time=\"%.9f\"><td class=\"name\" title=\"",
                r->inner ? " class=\"inner\"" : "", order, ms);
    cli_svg_text(out, r->node->name);
    tn_text_add(out, "\">");
    cli_svg_text(out, *r->node->name ? r->node->name : r->node->out[0] ? r->node->out[0]->name : "");
    tn_text_add(out, "</td><td>");
    cli_svg_text(out, r->node->op_type);
    if (r->node->fused) {
        tn_text_add(out, " + ");
        cli_svg_text(out, r->node->fused);
    }
    tn_text_add(out, "</td><td class=\"bar\"><i style=\"width:%.2f%%;background:%s\"></i></td>",
                longest > 0 ? 100 * ms / longest : 0, color_of(t, r));
    tn_text_add(out, "<td class=\"n\">%.4f</td><td class=\"n\">%.1f</td><td class=\"n\">%.1f</td>", ms,
                cli_profile_share(p, r), cli_profile_gflops(r));
    tn_text_add(
        out,
        "<td class=\"n\">%.1f</td><td class=\"n\">%.0f</td><td>%s</td><td class=\"shape\" title=\"%s\">%s</td></tr>\n",
        cli_profile_gbytes(r), cli_profile_roof_share(p, r), r->kernel ? r->kernel : "portable", r->shapes, r->shapes);
}

static void add_nodes(tn_text *out, const cli_profile *p, const types *t) {
    double longest = 0;
    for (size_t i = 0; i < p->n_rows; i++) longest = fmax(longest, cli_profile_ms(p, &p->rows[i]));
    tn_text_add(out, "<h2>Nodes, in the order in which they run</h2>\n<p>A click on &ldquo;ms&rdquo; sorts by time, "
                     "one on &ldquo;node&rdquo; puts them back. Greyed nodes are inside of a subgraph; their time is "
                     "part of the node around them.</p>\n<div class=\"scroll\"><table id=\"nodes\"><thead><tr>"
                     "<th data-key=\"order\">node</th><th>operator</th><th></th><th class=\"n\" data-key=\"time\">ms"
                     "</th><th class=\"n\">%%</th><th class=\"n\">GFLOP/s</th><th class=\"n\">GB/s</th><th class=\"n\">"
                     "%% of roof</th><th>kernel</th><th>shapes</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < p->n_rows; i++) add_node(out, p, t, &p->rows[i], i, longest);
    tn_text_add(out, "</tbody></table></div>\n");
}

static const char script[] =
    "<script>document.querySelectorAll('#nodes th[data-key]').forEach(function(h){h.onclick=function(){"
    "var k=h.dataset.key,b=document.querySelector('#nodes tbody'),r=Array.from(b.rows);"
    "r.sort(function(x,y){return k==='time'?y.dataset.time-x.dataset.time:x.dataset.order-y.dataset.order});"
    "r.forEach(function(x){b.appendChild(x)})}})</script>\n";

/* ---- roofline -------------------------------------------------------------------------------------------------- */

enum { LEFT = 64, TOP = 12, WIDTH = 860, HEIGHT = 340, BOTTOM = 44 };

/* Decades that the plot covers. */
typedef struct axes {
    double x0, x1, y0, y1; /* powers of ten */
} axes;

static double to_x(const axes *a, double v) { return LEFT + (log10(v) - a->x0) / (a->x1 - a->x0) * WIDTH; }
static double to_y(const axes *a, double v) { return TOP + HEIGHT - (log10(v) - a->y0) / (a->y1 - a->y0) * HEIGHT; }

static double intensity(const cli_profile_row *r) { return 2 * (double)r->macs / (double)r->bytes; }

static axes fit_axes(const cli_profile *p) {
    axes a = {-1, 2, 0, ceil(log10(fmax(p->peak_gflops, 1)))};
    for (size_t i = 0; i < p->n_rows; i++) {
        const cli_profile_row *r = &p->rows[i];
        double rate = cli_profile_gflops(r);
        if (!r->macs || !r->bytes || rate <= 0) continue;
        a.x0 = fmin(a.x0, floor(log10(intensity(r))));
        a.x1 = fmax(a.x1, ceil(log10(intensity(r))));
        a.y0 = fmin(a.y0, floor(log10(rate)));
        a.y1 = fmax(a.y1, ceil(log10(rate)));
    }
    a.y1 = fmax(a.y1, a.y0 + 1);
    return a;
}

static void add_grid(tn_text *out, const axes *a) {
    for (double d = a->x0; d <= a->x1; d++)
        tn_text_add(out,
                    "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"currentColor\" stroke-opacity=\".14\"/>"
                    "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n",
                    to_x(a, pow(10, d)), to_x(a, pow(10, d)), TOP, TOP + HEIGHT, to_x(a, pow(10, d)), TOP + HEIGHT + 16,
                    pow(10, d));
    for (double d = a->y0; d <= a->y1; d++)
        tn_text_add(out,
                    "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"currentColor\" stroke-opacity=\".14\"/>"
                    "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                    LEFT, LEFT + WIDTH, to_y(a, pow(10, d)), to_y(a, pow(10, d)), LEFT - 6, to_y(a, pow(10, d)) + 4,
                    pow(10, d));
    tn_text_add(out,
                "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">operations per byte</text>"
                "<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">GFLOP/s</text>\n",
                LEFT + WIDTH / 2, TOP + HEIGHT + 36, TOP + HEIGHT / 2);
}

static void add_roof(tn_text *out, const cli_profile *p, const axes *a) {
    if (p->peak_gbytes <= 0 || p->peak_gflops <= 0) return;
    double ridge = p->peak_gflops / p->peak_gbytes, low = pow(10, a->x0),
           start = fmax(low, pow(10, a->y0) / p->peak_gbytes);
    tn_text_add(out,
                "<polyline points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\" fill=\"none\" stroke=\"currentColor\" "
                "stroke-width=\"1.6\"/>\n",
                to_x(a, start), to_y(a, start * p->peak_gbytes), to_x(a, fmax(ridge, start)), to_y(a, p->peak_gflops),
                to_x(a, pow(10, a->x1)), to_y(a, p->peak_gflops));
}

static void add_roofline(tn_text *out, const cli_profile *p, const types *t) {
    axes a = fit_axes(p);
    tn_text_add(out,
                "<h2>Roofline</h2>\n<p>A dot is a node, its area the share of the time; the line is what this machine "
                "allows, measured with these threads. Winograd saves multiplications that are counted here: such a dot "
                "may lie above the line, as may one whose data stay in the caches.</p>\n"
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"roofline\" viewBox=\"0 0 %d %d\" "
                "font-family=\"sans-serif\" font-size=\"11\" fill=\"currentColor\" role=\"img\" "
                "aria-label=\"roofline\">\n",
                LEFT + WIDTH + 24, TOP + HEIGHT + BOTTOM);
    add_grid(out, &a);
    add_roof(out, p, &a);
    for (size_t i = 0; i < p->n_rows; i++) {
        const cli_profile_row *r = &p->rows[i];
        double rate = cli_profile_gflops(r);
        if (!r->macs || !r->bytes || rate <= 0) continue;
        tn_text_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\" fill-opacity=\".7\"><title>",
                    to_x(&a, intensity(r)), to_y(&a, rate), 2.5 + 3 * sqrt(cli_profile_share(p, r)), color_of(t, r));
        cli_svg_text(out, *r->node->name ? r->node->name : r->node->op_type);
        tn_text_add(out, ": %.1f GFLOP/s, %.1f %% of the time</title></circle>\n", rate, cli_profile_share(p, r));
    }
    tn_text_add(out, "</svg>\n");
}

/* ---- the page -------------------------------------------------------------------------------------------------- */

tern_status cli_profile_html(const cli_profile *p, const tern_model *model, const char *setting, const tn_plan *plan,
                             const char *path, tern_error *err) {
    types t = collect_types(p);
    tn_text out;
    tn_text_init(&out);
    const char *name = model->path ? model->path : "model", *slash = strrchr(name, '/');
    tn_text_add(&out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width\"><title>");
    cli_svg_text(&out, slash ? slash + 1 : name);
    tn_text_add(&out, " - tern profile</title><style>%s</style></head><body>\n<h1>", style);
    cli_svg_text(&out, slash ? slash + 1 : name);
    tn_text_add(&out, "</h1>\n<p>");
    cli_svg_text(&out, setting);
    tn_text_add(&out, "; mean of %" PRId64 " runs</p>\n", p->runs);
    add_tiles(&out, p, plan);
    add_types(&out, &t);
    add_roofline(&out, p, &t);
    if (plan) {
        tn_text_add(&out, "<h2>Memory over time</h2>\n<p>A box is a value: where it lies, from the step that gives it "
                          "to the last one that reads it. Grey on top is scratch memory. Values that live in the "
                          "caller's tensors or whose shape depends on data are not planned.</p>\n");
        cli_svg_memory(&out, plan);
    }
    add_nodes(&out, p, &t);
    tn_text_add(&out, "%s</body></html>\n", script);
    tern_status status = out.failed ? tn_fail_oom(err, out.len) : tn_file_write(path, out.data, out.len, err);
    tn_text_release(&out);
    tn_free(t.list);
    return status;
}
