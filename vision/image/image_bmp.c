/* Windows and OS/2 bitmaps: 1, 4, 8, 16, 24 and 32 bits per pixel, RLE4 and RLE8, masks, either row order. */
#include "vision/image/image_internal.h"

enum { BI_RGB = 0, BI_RLE8 = 1, BI_RLE4 = 2, BI_BITFIELDS = 3, BI_ALPHABITFIELDS = 6 };
#define FILE_HEADER 14
#define CORE_HEADER 12
#define INFO_HEADER 40
#define OS2_HEADER  64
#define MASKS_AT    (FILE_HEADER + INFO_HEADER) /* inside the longer headers, behind the short one */

typedef struct bmp {
    const uint8_t *data;
    size_t size;
    size_t pixels_at;
    uint32_t header, compression;
    uint32_t width, height;
    bool top_down;
    int bits;
    uint32_t masks[3];       /* red, green, blue */
    uint8_t palette[256][3]; /* red, green, blue; black where the file has none */
} bmp;

static uint32_t u16_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | u16_at(p + 2) << 16; }

static tern_status check_kind(const bmp *b, tern_error *err) {
    bool good = false;
    switch (b->compression) {
    case BI_RGB:
        good = b->bits == 1 || b->bits == 4 || b->bits == 8 || b->bits == 16 || b->bits == 24 || b->bits == 32;
        break;
    case BI_RLE8:
        good = b->bits == 8 && !b->top_down;
        break;
    case BI_RLE4:
        good = b->bits == 4 && !b->top_down;
        break;
    case BI_BITFIELDS:
    case BI_ALPHABITFIELDS:
        good = (b->bits == 16 || b->bits == 32) && b->header != OS2_HEADER;
        break;
    default:
        break;
    }
    if (good) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "compression %u with %d bits per pixel is not supported", b->compression,
                   b->bits);
}

static void read_palette(bmp *b, size_t at, uint32_t count, size_t entry) {
    for (uint32_t i = 0; i < count && at + 3 <= b->size; i++, at += entry) {
        for (int c = 0; c < 3; c++) b->palette[i][c] = b->data[at + 2 - (size_t)c];
    }
}

static tern_status read_masks(bmp *b, tern_error *err) {
    static const uint32_t masks16[] = {0x7c00, 0x03e0, 0x001f}, masks32[] = {0xff0000, 0xff00, 0xff};
    memcpy(b->masks, b->bits == 16 ? masks16 : masks32, sizeof b->masks);
    if (b->compression != BI_BITFIELDS && b->compression != BI_ALPHABITFIELDS) return TERN_OK;
    if (b->size < MASKS_AT + 12) return tn_fail(err, TERN_INVALID_FORMAT, "the file ends inside the masks");
    for (size_t i = 0; i < 3; i++) {
        uint32_t mask = u32_at(b->data + MASKS_AT + 4 * i);
        uint32_t ones = mask ? mask >> __builtin_ctz(mask) : 0;
        if ((ones & (ones + 1)) != 0) return tn_fail(err, TERN_INVALID_FORMAT, "mask 0x%08x has a hole", mask);
        b->masks[i] = mask;
    }
    return TERN_OK;
}

static tern_status read_header(bmp *b, tern_error *err) {
    if (b->size < FILE_HEADER + CORE_HEADER)
        return tn_fail(err, TERN_INVALID_FORMAT, "the file ends inside the header");
    b->pixels_at = u32_at(b->data + 10);
    b->header = u32_at(b->data + FILE_HEADER);
    const uint8_t *h = b->data + FILE_HEADER;
    uint32_t colors = 0;
    if (b->header == CORE_HEADER) {
        b->width = u16_at(h + 4);
        b->height = u16_at(h + 6);
        b->bits = (int)u16_at(h + 10);
    } else {
        if (b->header < INFO_HEADER || b->header > 1024 || b->size < FILE_HEADER + (size_t)b->header) {
            return tn_fail(err, TERN_INVALID_FORMAT, "a header of %u bytes in a file of %zu", b->header, b->size);
        }
        int32_t width = (int32_t)u32_at(h + 4), height = (int32_t)u32_at(h + 8);
        if (width < 1 || height == INT32_MIN) return tn_fail(err, TERN_INVALID_FORMAT, "%d x %d pixels", width, height);
        b->width = (uint32_t)width;
        b->top_down = height < 0;
        b->height = (uint32_t)(height < 0 ? -height : height);
        b->bits = (int)u16_at(h + 14);
        b->compression = u32_at(h + 16);
        colors = u32_at(h + 32);
    }
    TN_TRY(check_kind(b, err));
    TN_TRY(read_masks(b, err));
    size_t palette_at = FILE_HEADER + (size_t)b->header;
    if (b->header == INFO_HEADER && b->compression == BI_BITFIELDS) palette_at += 12;
    if (b->header == INFO_HEADER && b->compression == BI_ALPHABITFIELDS) palette_at += 16;
    size_t entry = b->header == CORE_HEADER ? 3 : 4;
    if (b->bits > 8) {
        if (b->pixels_at == 0) b->pixels_at = palette_at;
        return TERN_OK;
    }
    uint32_t most = 1u << b->bits;
    if (colors == 0 || colors > most) colors = most;
    /* An old writer's short table ends where the pixels begin. */
    if (b->pixels_at > palette_at) colors = (uint32_t)TN_MIN((size_t)colors, (b->pixels_at - palette_at) / entry);
    read_palette(b, palette_at, colors, entry);
    if (b->pixels_at == 0) b->pixels_at = palette_at + colors * entry;
    return TERN_OK;
}

static uint8_t *row_of(const bmp *b, const tern_image *out, uint32_t y) {
    uint32_t row = b->top_down ? y : b->height - 1 - y;
    return out->data + (size_t)row * b->width * 3;
}

static uint8_t masked(uint32_t value, uint32_t mask) {
    if (mask == 0) return 0;
    int shift = __builtin_ctz(mask);
    uint64_t most = mask >> shift;
    return (uint8_t)((((value & mask) >> shift) * (uint64_t)255 + most / 2) / most);
}

static void unpack_row(const bmp *b, const uint8_t *src, uint8_t *dst) {
    for (uint32_t x = 0; x < b->width; x++, dst += 3) {
        switch (b->bits) {
        case 1:
            memcpy(dst, b->palette[src[x >> 3] >> (7 - (x & 7)) & 1], 3);
            break;
        case 4:
            memcpy(dst, b->palette[src[x >> 1] >> (x & 1 ? 0 : 4) & 15], 3);
            break;
        case 8:
            memcpy(dst, b->palette[src[x]], 3);
            break;
        case 24:
            for (size_t c = 0; c < 3; c++) dst[c] = src[3 * (size_t)x + 2 - c];
            break;
        default: {
            uint32_t value = b->bits == 16 ? u16_at(src + 2 * (size_t)x) : u32_at(src + 4 * (size_t)x);
            for (int c = 0; c < 3; c++) dst[c] = masked(value, b->masks[c]);
        }
        }
    }
}

static tern_status read_plain(const bmp *b, tern_image *out, tern_error *err) {
    size_t bits = (size_t)b->width * (size_t)b->bits;
    size_t pitch = (bits + 31) / 32 * 4, last = (bits + 7) / 8;
    size_t need = pitch * (b->height - 1) + last;
    if (b->pixels_at > b->size || b->size - b->pixels_at < need) {
        return tn_fail(err, TERN_INVALID_FORMAT,
                       "the file is truncated: %zu bytes of pixels from %zu on, %zu are in the file", need,
                       b->pixels_at, b->size - TN_MIN(b->size, b->pixels_at));
    }
    const uint8_t *src = b->data + b->pixels_at;
    for (uint32_t y = 0; y < b->height; y++, src += pitch) unpack_row(b, src, row_of(b, out, y));
    return TERN_OK;
}

/* One pixel of a run or of literal data; those outside the picture are dropped. */
static void put(const bmp *b, tern_image *out, uint32_t x, uint32_t y, unsigned index) {
    if (x < b->width && y < b->height) memcpy(row_of(b, out, y) + (size_t)x * 3, b->palette[index], 3);
}

static tern_status read_rle(const bmp *b, tern_image *out, tern_error *err) {
    size_t at = b->pixels_at;
    uint32_t x = 0, y = 0;
    bool rle4 = b->bits == 4;
    for (uint32_t i = 0; i < b->height; i++) {
        for (uint32_t k = 0; k < b->width; k++) put(b, out, k, i, 0);
    }
    while (y < b->height && at < b->size && b->size - at >= 2) {
        uint32_t count = b->data[at], value = b->data[at + 1];
        at += 2;
        if (count > 0) {
            for (uint32_t i = 0; i < count; i++) {
                put(b, out, TN_MIN(x, b->width), y, rle4 ? value >> (i & 1 ? 0 : 4) & 15 : value);
                x++;
            }
        } else if (value == 0) {
            x = 0;
            y++;
        } else if (value == 1) {
            return TERN_OK;
        } else if (value == 2) {
            if (b->size - at < 2) break;
            x += b->data[at];
            y += b->data[at + 1];
            at += 2;
        } else {
            size_t bytes = rle4 ? (value + 1) / 2 : value;
            if (b->size - at < bytes) break;
            for (uint32_t i = 0; i < value; i++, x++) {
                put(b, out, x, y, rle4 ? b->data[at + i / 2] >> (i & 1 ? 0 : 4) & 15 : b->data[at + i]);
            }
            at += bytes + (bytes & 1);
        }
        if (x > b->width) x = b->width;
    }
    if (y >= b->height || (y == b->height - 1 && x >= b->width)) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "the file is truncated: the run-length data ends in row %u of %u", y,
                   b->height);
}

tern_status tn_image_decode_bmp(tern_image *out, tn_image_source *src, tern_error *err) {
    bmp b = {.data = src->data, .size = src->size};
    TN_TRY(read_header(&b, err));
    TN_TRY(tn_image_start(out, src, b.width, b.height, err));
    return b.compression == BI_RLE4 || b.compression == BI_RLE8 ? read_rle(&b, out, err) : read_plain(&b, out, err);
}
