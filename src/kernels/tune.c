/* Timing the candidates of a layer.
 *
 * Candidates take turns, and the fastest run of each counts. Before each run, caches are put into the state that a
 * whole network leaves: as many bytes are read as its weights have (up to what L2 or L3 holds), so that the layer's own
 * weights come from as far away as they will, then the input, which the layer before has just written. */
#include "kernels/tune.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "kernels/kernels_internal.h"
#include "tern/version.h"
#include "thread/thread.h"

enum {
    MAX_CANDIDATES = 8,
    MIN_ROUNDS = 3,
    MAX_ROUNDS = 15,
    ENOUGH_NS = 4000000, /* of timed runs of one candidate: no further rounds */
    MAX_BYTES = 1 << 30, /* of memory for a candidate: what needs more is not timed */
    MAX_SWEEP = 128 << 20,
    PATH_BYTES = 4096,
    KEY_BYTES = 256
};

/* Where the weights of a network are when a layer wants its own. */
typedef enum weights_in { WEIGHTS_IN_L2, WEIGHTS_IN_L3, WEIGHTS_IN_MEMORY } weights_in;

struct tn_tuner {
    char path[PATH_BYTES]; /* "": nowhere to keep it */
    char heading[160];
    bool leave; /* there is a file of another kind: it stays as it is */
    bool changed;
    tn_tune_table table;
    tn_tuner_options options;
    weights_in weights;
    size_t done;
    float *sweep;
    size_t sweep_floats;
};

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* Makes the folder of the default place. */
static void default_path(char *path, size_t size) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[PATH_BYTES - 16];
    int n = -1;
    *path = '\0';
    if (cache && *cache == '/')
        n = snprintf(folder, sizeof folder, "%s/tern", cache);
    else if (home && *home == '/')
        n = snprintf(folder, sizeof folder, "%s/.cache/tern", home);
    if (n < 0 || (size_t)n >= sizeof folder) return;
    for (char *p = folder + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        mkdir(folder, 0777); /* what can not be made shows when the file is written */
        *p = '/';
    }
    mkdir(folder, 0777);
    snprintf(path, size, "%s/tune.txt", folder);
}

/* Adds what the file has to the table. */
static void read_file(tn_tuner *t, tn_tune_table *table, bool warn) {
    tn_file file;
    tern_error err = {0};
    if (!*t->path || access(t->path, F_OK) != 0) return;
    tern_status status = tn_file_map(&file, t->path, &err);
    if (status != TERN_OK) {
        if (warn) tn_log(TERN_LOG_WARNING, "%s", err.text);
        t->leave = true;
        return;
    }
    tn_str text = {(const char *)file.data, file.size};
    static const char ours[] = "tern tune ";
    t->leave = text.len > 0 && (text.len < sizeof ours - 1 || memcmp(text.data, ours, sizeof ours - 1) != 0);
    status = tn_tune_table_parse(table, t->heading, text, &err);
    if (status != TERN_OK && warn)
        tn_log(TERN_LOG_WARNING, "%s: is not used as the tuning cache: %s; %s", t->path, err.text,
               t->leave ? "it stays as it is" : "it is replaced");
    tn_file_unmap(&file);
}

/* Holds the lock on the path's folder; -1: there is none, and the worst that can happen is that of two writers' results
 * one's are lost. */
static int lock_folder(const char *path) {
    char folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) flock(fd, LOCK_EX);
    return fd;
}

void tn_tuner_save(tn_tuner *t) {
    if (!t->changed || t->leave || !*t->path) return;
    t->changed = false;
    tn_tune_table all = {0};
    tn_text text;
    tern_error err;
    tn_text_init(&text);
    int lock = lock_folder(t->path);
    read_file(t, &all, false);
    bool good = !t->leave;
    for (size_t i = 0; good && i < t->table.count; i++)
        good = tn_tune_table_put(&all, t->table.entries[i].key, t->table.entries[i].algo);
    tn_tune_table_print(&all, t->heading, &text);
    if (good && !text.failed && tn_file_write(t->path, text.data, text.len, &err) != TERN_OK)
        tn_log(TERN_LOG_WARNING, "%s: what tuning found is not kept", err.text);
    if (lock >= 0) close(lock);
    tn_text_release(&text);
    tn_tune_table_release(&all);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

tn_tuner *tn_tuner_open(const tn_tuner_options *options) {
    tn_tuner *t = tn_calloc(1, sizeof *t);
    const tn_cpu_info *cpu = tn_cpu_get_info();
    const tn_cpu_system *system = tn_cpu_get_system();
    if (!t) return NULL;
    t->options = *options;
    if (!options->path)
        default_path(t->path, sizeof t->path);
    else if (strlen(options->path) < sizeof t->path)
        snprintf(t->path, sizeof t->path, "%s", options->path);
    else
        tn_log(TERN_LOG_WARNING, "the path of the tuning cache is too long: what tuning finds is not kept");
    char name[sizeof system->name];
    snprintf(name, sizeof name, "%s", system->name);
    tn_utf8_clean_line(name);
    snprintf(t->heading, sizeof t->heading, "tern tune 1, %s, %s, %zu KB L2, %zu MB L3", TERN_VERSION, name,
             cpu->l2 >> 10, system->l3 >> 20);
    t->weights = options->weight_bytes <= cpu->l2 / 2      ? WEIGHTS_IN_L2
                 : options->weight_bytes <= system->l3 / 2 ? WEIGHTS_IN_L3
                                                           : WEIGHTS_IN_MEMORY;
    read_file(t, &t->table, true);
    return t;
}

void tn_tuner_close(tn_tuner *t) {
    if (!t) return;
    tn_tune_table_release(&t->table);
    tn_free(t->sweep);
    tn_free(t);
}

/* ---- timing ---------------------------------------------------------------------------------------------------- */

typedef struct trial {
    const tn_conv_algo *algo;
    void *packed, *workspace;
    uint64_t best, total;
} trial;

typedef struct layer {
    const tn_kernels *k;
    const tn_conv *c;
    int threads;
    float *x, *y, *residual, *bias;
    size_t x_floats, y_floats;
    trial trials[MAX_CANDIDATES];
    int count;
} layer;

static float *floats(size_t count) {
    enum { SMALL = 0x3c }; /* bytes of a float near 0.01 */
    float *p = tn_alloc_aligned(count * sizeof(float) + TN_CACHE_LINE, TN_CACHE_LINE);
    if (p) memset(p, SMALL, count * sizeof(float));
    return p;
}

static bool prepare_layer(layer *l) {
    const tn_conv *c = l->c;
    int64_t b = l->k->width;
    double x = (double)c->n * (double)(c->ic + b) * (double)c->ih * (double)c->iw,
           y = (double)c->n * (double)(c->oc + b) * (double)c->oh * (double)c->ow;
    if ((x + 2 * y) * sizeof(float) > MAX_BYTES) return false;
    l->x_floats = (size_t)(c->n * (c->in_plain ? c->ic : tn_round_up(c->ic, b)) * c->ih * c->iw);
    l->y_floats = (size_t)(c->n * tn_round_up(c->oc, b) * c->oh * c->ow);
    l->x = floats(l->x_floats);
    l->y = floats(l->y_floats);
    l->bias = floats((size_t)tn_round_up(c->oc, b));
    l->residual = c->residual ? floats(l->y_floats) : NULL;
    if (!l->x || !l->y || !l->bias || (c->residual && !l->residual)) return false;
    for (int i = 0; i < l->count; i++) {
        trial *t = &l->trials[i];
        size_t packed = t->algo->packed_bytes(c), workspace = t->algo->workspace(c, l->threads);
        if (packed > MAX_BYTES || workspace > MAX_BYTES) return false;
        t->packed = floats(packed / sizeof(float) + 1);
        t->workspace = floats(workspace / sizeof(float) + 1);
        t->best = UINT64_MAX;
        if (!t->packed || !t->workspace) return false;
    }
    return true;
}

static void release_layer(layer *l) {
    tn_free(l->x);
    tn_free(l->y);
    tn_free(l->bias);
    tn_free(l->residual);
    for (int i = 0; i < l->count; i++) {
        tn_free(l->trials[i].packed);
        tn_free(l->trials[i].workspace);
    }
}

typedef struct sweep_job {
    const tn_kernels *k;
    const float *data;
    size_t floats, tasks;
} sweep_job;

static void sweep_task(void *context, int64_t begin, int64_t end, int worker) {
    const sweep_job *j = context;
    float sink;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        size_t from = j->floats / j->tasks * (size_t)i;
        j->k->probe_read_f32(j->data + from / 16 * 16, (int64_t)(j->floats / j->tasks / 256 * 256), &sink);
    }
}

static void read_all(const layer *l, const float *data, size_t count) {
    sweep_job j = {l->k, data, count, (size_t)l->threads};
    if (data) tn_parallel_for(l->threads, l->threads, sweep_task, &j);
}

/* What the layers before leave in the caches. */
static void set_caches(const tn_tuner *t, const layer *l) {
    read_all(l, t->sweep, t->sweep_floats);
    read_all(l, l->x, l->x_floats);
    read_all(l, l->residual, l->y_floats);
}

static void make_sweep(tn_tuner *t, const layer *l) {
    const tn_cpu_info *cpu = tn_cpu_get_info();
    if (t->sweep || t->weights == WEIGHTS_IN_L2) return;
    size_t bytes = 2 * cpu->l2 * (size_t)l->threads;
    if (t->weights == WEIGHTS_IN_MEMORY) bytes = TN_MAX(bytes, 2 * tn_cpu_get_system()->l3);
    bytes = TN_MIN(bytes, (size_t)MAX_SWEEP);
    t->sweep = floats(bytes / sizeof(float));
    t->sweep_floats = t->sweep ? bytes / sizeof(float) : 0;
}

static void time_once(const tn_tuner *t, const layer *l, trial *r) {
    set_caches(t, l);
    uint64_t begin = tn_clock_ns();
    r->algo->run(l->c, l->x, r->packed, l->bias, l->residual, l->y, r->workspace, l->threads);
    uint64_t ns = tn_clock_ns() - begin;
    r->total += ns;
    r->best = TN_MIN(r->best, ns);
}

/* The number of the fastest. The first one, which is the default, stays unless another is clearly faster. */
static int race(const tn_tuner *t, layer *l) {
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        bool ran = false;
        for (int i = 0; i < l->count; i++) {
            trial *r = &l->trials[i];
            bool enough = r->total > ENOUGH_NS || r->best / 2 > best;
            if (round >= MIN_ROUNDS && enough) continue;
            time_once(t, l, r);
            best = TN_MIN(best, r->best);
            ran = true;
        }
        if (!ran) break;
    }
    if ((double)l->trials[0].best <= (double)best * 1.02) return 0;
    for (int i = 1; i < l->count; i++)
        if (l->trials[i].best == best) return i;
    return 0;
}

static void key_of(const tn_tuner *t, tern_cpu_tier tier, int threads, const tn_conv *c, char *key) {
    static const char *const weights[] = {"L2", "L3", "memory"};
    snprintf(key, KEY_BYTES,
             "conv %s threads %d weights %s n %lld x %lldx%lldx%lld y %lldx%lldx%lld groups %lld kernel %dx%d stride "
             "%dx%d dilation %dx%d pad %d,%d plain %d residual %d act %d%s",
             tn_cpu_tier_name(tier), threads, weights[t->weights], (long long)c->n, (long long)c->ic, (long long)c->ih,
             (long long)c->iw, (long long)c->oc, (long long)c->oh, (long long)c->ow, (long long)c->groups, c->kh, c->kw,
             c->sh, c->sw, c->dh, c->dw, c->pad_top, c->pad_left, c->in_plain, c->residual, (int)c->act.kind,
             c->pooled ? " pooled" : "");
}

/* The candidate of that name; NULL: there is none. */
static const tn_conv_algo *named(const tn_conv_algo *const *list, int count, const char *name) {
    for (int i = 0; name && i < count; i++)
        if (strcmp(list[i]->name, name) == 0) return list[i];
    return NULL;
}

const tn_conv_algo *tn_tuner_conv(tn_tuner *t, tern_cpu_tier tier, int threads, const tn_conv *c) {
    const tn_conv_algo *list[MAX_CANDIDATES], *found;
    char key[KEY_BYTES];
    int count = tn_conv_candidates(tier, c, list, MAX_CANDIDATES);
    if (t->options.progress) t->options.progress(t->options.progress_context, ++t->done, t->options.layers);
    if (count < 2) return count ? list[0] : NULL;
    key_of(t, tier, threads, c, key);
    found = named(list, count, tn_tune_table_get(&t->table, key));
    if (found) return found;
    layer l = {.k = tn_kernels_get(tier), .c = c, .threads = threads, .count = count};
    for (int i = 0; i < count; i++) l.trials[i].algo = list[i];
    make_sweep(t, &l);
    bool timed = prepare_layer(&l);
    found = list[timed ? race(t, &l) : 0];
    release_layer(&l);
    if (timed && tn_tune_table_put(&t->table, key, found->name)) t->changed = true;
    return found;
}
