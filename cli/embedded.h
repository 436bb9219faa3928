/* Files that the command carries inside: the default model and the names of the ImageNet-1k classes. */
#ifndef CLI_EMBEDDED_H
#define CLI_EMBEDDED_H

#include <stddef.h>

/* models/fashion.onnx: the default of `tern classify`. Aligned to 64 bytes. */
extern const unsigned char tern_embedded_fashion[];
extern const size_t tern_embedded_fashion_size;

/* models/imagenet_labels.txt: line k is "n02123597 Siamese cat, Siamese". Not terminated by a zero. */
extern const char tern_embedded_imagenet[];
extern const size_t tern_embedded_imagenet_size;

#endif
