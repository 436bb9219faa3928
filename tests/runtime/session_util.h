/* What tests of sessions share. */
#ifndef TN_SESSION_UTIL_H
#define TN_SESSION_UTIL_H

#include "model_builder.h"
#include "tern/tern.h"

#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

static inline tern_session *open_session(tern_model *m, int threads) {
    tern_options o;
    tern_options_init(&o);
    o.threads = threads;
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, &o, &err) != TERN_OK) fail_msg("%s", err.text);
    return s;
}

#endif
