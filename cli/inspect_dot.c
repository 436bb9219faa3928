/* Graphs for Graphviz, and pictures by it. */
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/inspect.h"

static void dot_text(FILE *to, const char *s) {
    fputc('"', to);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', to);
        fputc((unsigned char)*s < 32 ? ' ' : *s, to);
    }
    fputc('"', to);
}

static void dot_edge(FILE *file, const tern_model *m, const char *from_kind, int from, const char *to_kind, int to,
                     const tn_value *v) {
    tn_text label;
    tn_text_init(&label);
    tn_type_text(m, &v->type, &label);
    fprintf(file, "  %s%d -> %s%d [label=", from_kind, from, to_kind, to);
    dot_text(file, label.failed || v->type.dtype == TERN_UNDEFINED ? v->name : label.data);
    fprintf(file, "];\n");
    tn_text_release(&label);
}

static void dot_source(FILE *file, const tern_model *m, const tn_graph *g, const char *to_kind, int to,
                       const tn_value *v) {
    if (!v || v->constant) return;
    if (v->producer) {
        dot_edge(file, m, "n", v->producer->id, to_kind, to, v);
        return;
    }
    for (int k = 0; k < g->n_inputs; k++)
        if (g->inputs[k] == v) dot_edge(file, m, "in", k, to_kind, to, v);
}

void cli_inspect_dot(FILE *file, const tern_model *m) {
    const tn_graph *g = m->graph;
    fprintf(file, "digraph model {\n  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11];\n"
                  "  edge [fontname=\"sans-serif\", fontsize=9];\n");
    for (int i = 0; i < g->n_inputs; i++) {
        fprintf(file, "  in%d [shape=oval, label=", i);
        dot_text(file, g->inputs[i]->name);
        fprintf(file, "];\n");
    }
    for (int i = 0; i < g->n_nodes; i++) {
        const tn_node *n = g->nodes[i];
        char label[400];
        snprintf(label, sizeof label, "%s%s%s%s%s", n->op_type, n->fused ? " + " : "", n->fused ? n->fused : "",
                 *n->name ? "  " : "", n->name);
        fprintf(file, "  n%d [label=", i);
        dot_text(file, label);
        fprintf(file, "];\n");
        for (int k = 0; k < n->n_in; k++) dot_source(file, m, g, "n", i, n->in[k]);
        for (int k = 0; k < n->n_captures; k++) dot_source(file, m, g, "n", i, n->captures[k]);
    }
    for (int i = 0; i < g->n_outputs; i++) {
        fprintf(file, "  out%d [shape=oval, label=", i);
        dot_text(file, g->outputs[i]->name);
        fprintf(file, "];\n");
        dot_source(file, m, g, "out", i, g->outputs[i]);
    }
    fprintf(file, "}\n");
}

/* ---- pictures -------------------------------------------------------------------------------------------------- */

extern char **environ;

/* A temporary file; its name goes to path[size]. NULL: errno says why. */
static FILE *temporary(char *path, size_t size) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, size, "%s/tern-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (fd >= 0 && !file) close(fd);
    return file;
}

/* `dot` is started without a shell, so no name is interpreted. */
static tern_status run_dot(char *in, char *out, tern_error *err) {
    char name[] = "dot", form[] = "-Tsvg", to[] = "-o";
    char *argv[] = {name, form, to, out, in, NULL};
    pid_t child;
    int code = posix_spawnp(&child, name, NULL, NULL, argv, environ), status = 0;
    if (code == ENOENT)
        return tn_fail(
            err, TERN_UNSUPPORTED,
            "--svg needs Graphviz's dot, which is not installed (apt install graphviz); --dot needs nothing");
    if (code) return tn_fail(err, TERN_IO, "dot can not be started: %s", strerror(code));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return TERN_OK;
    return tn_fail(err, TERN_INTERNAL, "dot could not draw the graph");
}

static tern_status draw(const tern_model *m, const char *path, char *in, char *out, tern_error *err) {
    FILE *file = temporary(in, 1024);
    if (!file) return tn_fail(err, TERN_IO, "%s: %s", in, strerror(errno));
    cli_inspect_dot(file, m);
    bool written = !ferror(file);
    if (fclose(file) != 0 || !written) return tn_fail(err, TERN_IO, "%s: can not be written", in);
    file = temporary(out, 1024);
    if (!file) return tn_fail(err, TERN_IO, "%s: %s", out, strerror(errno));
    fclose(file);
    TN_TRY(run_dot(in, out, err));
    tn_file picture;
    TN_TRY(tn_file_map(&picture, out, err));
    tern_status status = tn_file_write(path, picture.data, picture.size, err);
    tn_file_unmap(&picture);
    return status;
}

tern_status cli_inspect_svg(const tern_model *m, const char *path, tern_error *err) {
    char in[1024] = "", out[1024] = "";
    tern_status status = draw(m, path, in, out, err);
    if (*in) unlink(in);
    if (*out) unlink(out);
    return status;
}
