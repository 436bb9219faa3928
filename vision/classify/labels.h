/* Names of classes. */
#ifndef TERN_VISION_LABELS_H
#define TERN_VISION_LABELS_H

#include "tern/model.h"

typedef struct tern_labels {
    char **names; /* UTF-8 or whatever the file has; owned */
    size_t count;
} tern_labels;

/* A JSON list of strings, a JSON or Python dictionary from numbers to strings ({0: 'person', 1: 'bicycle'}), or one
 * name per line. */
tern_status tern_labels_parse(tern_labels *out, const char *text, size_t len, tern_error *err);
tern_status tern_labels_load(tern_labels *out, const char *path, tern_error *err);
/* From the metadata keys "tern.labels", "names" or "labels"; *out is empty when there is none. */
tern_status tern_labels_metadata(tern_labels *out, const tern_model *model, tern_error *err);
void tern_labels_release(tern_labels *labels);
/* NULL when the class has no name. */
const char *tern_labels_get(const tern_labels *labels, size_t index);

#endif
