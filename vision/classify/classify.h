/* A network that takes pictures and gives a score per class. */
#ifndef TERN_VISION_CLASSIFY_H
#define TERN_VISION_CLASSIFY_H

#include "tern/session.h"
#include "vision/classify/preprocess.h"

typedef struct tern_classifier {
    tern_session *session;      /* borrowed */
    tern_preprocess preprocess; /* resolved */
    tern_value_info input;      /* strings owned by the model */
    const char *output;         /* which output has the scores; owned by the model */
    int64_t fixed_batch;        /* of the input; -1: free */
} tern_classifier;

typedef struct tern_score {
    size_t index;
    float score;
} tern_score;

/* Checks that the model has one picture input and the output `output` (NULL: its first), and completes `preprocess`
 * from the input. Model and session must outlive the classifier, which needs no release. */
tern_status tern_classifier_init(tern_classifier *out, const tern_model *model, tern_session *session,
                                 const tern_preprocess *preprocess, const char *output, tern_error *err);
/* How many pictures to give at a time: the fixed batch, `want` when it is free, 1 when pictures keep their own size. */
int tern_classifier_batch(const tern_classifier *c, int want);
/* Scores of `count` pictures, 1 <= count <= tern_classifier_batch: *scores is (count, *classes), freed by tn_free.
 * Scores of any numeric type become floats. */
tern_status tern_classifier_run(const tern_classifier *c, const tern_image *images, int count, float **scores,
                                size_t *classes, tern_error *err);
/* The same in two steps, for callers who run the network themselves: the input tensor of pictures, which the caller
 * frees (unused places of a fixed batch stay zero), and the scores from the output called c->output. */
tern_status tern_classifier_input(const tern_classifier *c, const tern_image *images, int count, tern_tensor **out,
                                  tern_error *err);
tern_status tern_classifier_scores(const tern_classifier *c, const tern_tensor *output, int count, float **scores,
                                   size_t *classes, tern_error *err);

/* In place, in double precision. */
void tern_softmax(float *scores, size_t count);
/* The best `k` of `count`, best first, equal ones by index; NaN is worse than anything. Returns min(k, count). */
size_t tern_top_k(const float *scores, size_t count, tern_score *best, size_t k);

#endif
