/* Operators of the ONNX standard that need a library, registered through tern/op.h. */
#ifndef TERN_VISION_OP_H
#define TERN_VISION_OP_H

#include "tern/op.h"

/* Registers ImageDecoder (ai.onnx, since opset 20), once per process, before sessions are made. It reads what
 * tern_image_decode reads. As the standard wants it, bytes that are no picture give an output of 0 x 0 pixels (a
 * warning is logged); EXIF orientation is not applied. */
tern_status tern_vision_register_operators(tern_error *err);

#endif
