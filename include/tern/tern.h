/* tern: an ONNX inference engine. This header includes the whole public interface.
 *
 *   tern_model *model; tern_session *session; tern_error err;
 *   tern_model_load(&model, "net.onnx", NULL, &err);
 *   tern_session_create(&session, model, NULL, &err);
 *   tern_session_run(session, &(tern_feed){"input", x}, 1, NULL, &y, 1, &err);
 *
 * Functions return a tern_status, TERN_OK (0) on success, and explain a failure in a tern_error. The library never
 * prints, exits or aborts on input. Whoever creates an object frees it; what is borrowed is said at the parameter. */
#ifndef TERN_H
#define TERN_H

#include "tern/cpu.h"
#include "tern/graph.h"
#include "tern/io.h"
#include "tern/log.h"
#include "tern/model.h"
#include "tern/op.h"
#include "tern/session.h"
#include "tern/status.h"
#include "tern/tensor.h"
#include "tern/version.h"

#endif
