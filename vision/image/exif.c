/* The one thing wanted from EXIF: which way up the picture is. */
#include "vision/image/image_internal.h"

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT      3
#define TYPE_LONG       4

typedef struct reader {
    const uint8_t *data;
    size_t size;
    bool big;
} reader;

/* Reading past the end gives 0, which no field below accepts as meaningful. */
static uint32_t read_u16(const reader *r, size_t at) {
    if (r->size < 2 || at > r->size - 2) return 0;
    const uint8_t *p = r->data + at;
    return r->big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t read_u32(const reader *r, size_t at) {
    uint32_t a = read_u16(r, at), b = read_u16(r, at + 2);
    return r->big ? a << 16 | b : b << 16 | a;
}

int tn_exif_orientation(const uint8_t *data, size_t size) {
    if (size >= 6 && memcmp(data, "Exif\0\0", 6) == 0) {
        data += 6;
        size -= 6;
    }
    if (size < 8 || (memcmp(data, "II*\0", 4) != 0 && memcmp(data, "MM\0*", 4) != 0)) return 1;
    reader r = {data, size, data[0] == 'M'};
    size_t directory = read_u32(&r, 4);
    uint32_t entries = read_u16(&r, directory);
    for (uint32_t i = 0; i < entries; i++) {
        size_t entry = directory + 2 + (size_t)i * 12;
        if (entry + 12 > size) break;
        if (read_u16(&r, entry) != TAG_ORIENTATION) continue;
        uint32_t type = read_u16(&r, entry + 2);
        uint32_t value = type == TYPE_SHORT ? read_u16(&r, entry + 8) : type == TYPE_LONG ? read_u32(&r, entry + 8) : 0;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
