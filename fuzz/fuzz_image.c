/* Pictures: any bytes to RGB. Our own readers (BMP, PNM, EXIF) are what is being tested; the libraries come along. */
#include <stddef.h>
#include <stdint.h>

#include "vision/image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tern_image image;
    tern_image_options options = {.max_pixels = 1 << 18};
    if (tern_image_decode(&image, data, size, &options, NULL) == TERN_OK) {
        /* Every pixel is looked at, so that a sanitizer sees a picture shorter than its size says. */
        volatile uint8_t sum = 0;
        for (size_t i = 0; i < (size_t)image.width * (size_t)image.height * 3; i++)
            sum = (uint8_t)(sum + image.data[i]);
        (void)sum;
    }
    tern_image_release(&image);
    return 0;
}
