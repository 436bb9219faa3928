/* Choosing between algorithms by timing them (--tune) instead of by estimate.
 *
 * What was found is kept in a file of text: a heading that names the format, tern's version and the CPU; a line for
 * each layer, "KEY ALGORITHM"; at the end how many there are, and a checksum. A file of another version or CPU, or one
 * that is damaged, counts as empty, with a warning, and is replaced. Writers merge with what is there under a lock on
 * the folder and rename a temporary file, so that any number of processes may use one file. */
#ifndef TN_KERNELS_TUNE_H
#define TN_KERNELS_TUNE_H

#include "kernels/conv.h"

/* What is known: from a layer's key to the name of an algorithm. Zeros are an empty one. */
typedef struct tn_tune_entry {
    char *key, *algo;
} tn_tune_entry;
typedef struct tn_tune_table {
    tn_map map; /* key to 1 + number of the entry */
    tn_tune_entry *entries;
    size_t count, cap;
} tn_tune_table;

void tn_tune_table_release(tn_tune_table *t);
/* NULL when it is not there. */
const char *tn_tune_table_get(const tn_tune_table *t, const char *key);
/* A key that is there gets another value. False: no memory, or text that a line can not hold. */
bool tn_tune_table_put(tn_tune_table *t, const char *key, const char *algo);
/* Adds what a file holds; `heading` is what its first line must be. On failure nothing is added, and the error says
 * what is wrong with it. */
tern_status tn_tune_table_parse(tn_tune_table *t, const char *heading, tn_str file, tern_error *err);
/* The text of a file. */
void tn_tune_table_print(const tn_tune_table *t, const char *heading, tn_text *out);

typedef struct tn_tuner tn_tuner;

typedef struct tn_tuner_options {
    const char *path;    /* NULL: tern/tune.txt in $XDG_CACHE_HOME or ~/.cache */
    size_t weight_bytes; /* of the whole network: decides from which cache a layer's weights come */
    size_t layers;       /* that will be asked for, for progress */
    void (*progress)(void *context, size_t done, size_t total); /* or NULL */
    void *progress_context;
} tn_tuner_options;

/* Reads the file; one that is not there, or no good, is an empty one. NULL: no memory. Not for threads. */
tn_tuner *tn_tuner_open(const tn_tuner_options *options);
/* The algorithm that is known to be fastest for the shape on this machine; times all candidates when none is known.
 * NULL when none takes it. */
const tn_conv_algo *tn_tuner_conv(tn_tuner *t, tern_cpu_tier tier, int threads, const tn_conv *c);
/* Writes what is new; a file that can not be written is a warning. */
void tn_tuner_save(tn_tuner *t);
/* NULL is fine. */
void tn_tuner_close(tn_tuner *t);

#endif
