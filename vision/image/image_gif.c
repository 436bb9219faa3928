#include "vision/image/image_internal.h"

#ifndef HAVE_GIF

tern_status tn_image_decode_gif(tern_image *out, tn_image_source *src, tern_error *err) {
    (void)out;
    (void)src;
    return tn_image_missing("GIF", "libgif-dev", err);
}
const char *tn_image_gif_library(void) { return NULL; }

#else

#include <gif_lib.h>

#include "vision/library/library.h"

#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
const char *tn_image_gif_library(void) {
    return "giflib " TEXT_OF(GIFLIB_MAJOR) "." TEXT_OF(GIFLIB_MINOR) "." TEXT_OF(GIFLIB_RELEASE);
}

#define FUNCTIONS(F)  \
    F(GifErrorString) \
    F(DGifOpen)       \
    F(DGifCloseFile) F(DGifGetRecordType) F(DGifGetExtension) F(DGifGetExtensionNext) F(DGifGetImageDesc) F(DGifGetLine)

typedef struct library {
    FUNCTIONS(TN_LIBRARY_FIELD)
} library;

typedef struct gif_reader {
    const tn_image_source *src;
    size_t at;
} gif_reader;

static int read_bytes(GifFileType *gif, GifByteType *dst, int n) {
    gif_reader *r = gif->UserData;
    size_t count = TN_MIN((size_t)TN_MAX(n, 0), r->src->size - r->at);
    memcpy(dst, r->src->data + r->at, count);
    r->at += count;
    return (int)count;
}

static tern_status fail(const library *lib, int code, tern_error *err) {
    const char *text = lib->GifErrorString(code);
    return tn_fail(err, TERN_INVALID_FORMAT, "%s", text ? text : "the data is damaged");
}

/* Moves to the first picture, past extensions. */
static tern_status find_frame(const library *lib, GifFileType *gif, tern_error *err) {
    for (;;) {
        GifRecordType type;
        if (lib->DGifGetRecordType(gif, &type) == GIF_ERROR) return fail(lib, gif->Error, err);
        if (type == IMAGE_DESC_RECORD_TYPE) break;
        if (type == TERMINATE_RECORD_TYPE) return tn_fail(err, TERN_INVALID_FORMAT, "there is no picture in it");
        if (type != EXTENSION_RECORD_TYPE) continue;
        int code;
        GifByteType *block;
        if (lib->DGifGetExtension(gif, &code, &block) == GIF_ERROR) return fail(lib, gif->Error, err);
        while (block) {
            if (lib->DGifGetExtensionNext(gif, &block) == GIF_ERROR) return fail(lib, gif->Error, err);
        }
    }
    return lib->DGifGetImageDesc(gif) == GIF_ERROR ? fail(lib, gif->Error, err) : TERN_OK;
}

static void put_row(uint8_t *dst, const GifByteType *row, int n, const ColorMapObject *map) {
    for (int x = 0; x < n; x++, dst += 3) {
        if (row[x] >= map->ColorCount) continue; /* stays background */
        const GifColorType *c = &map->Colors[row[x]];
        dst[0] = c->Red;
        dst[1] = c->Green;
        dst[2] = c->Blue;
    }
}

static void fill_background(tern_image *out, const GifFileType *gif) {
    const ColorMapObject *map = gif->SColorMap;
    if (!map || gif->SBackGroundColor < 0 || gif->SBackGroundColor >= map->ColorCount) return;
    GifByteType background = (GifByteType)gif->SBackGroundColor;
    size_t pixels = (size_t)out->width * (size_t)out->height;
    for (size_t i = 0; i < pixels; i++) put_row(out->data + 3 * i, &background, 1, map);
}

static tern_status decode(const library *lib, GifFileType *gif, tern_image *out, tn_image_source *src,
                          GifByteType **row, tern_error *err) {
    TN_TRY(find_frame(lib, gif, err));
    const GifImageDesc *d = &gif->Image;
    const ColorMapObject *map = d->ColorMap ? d->ColorMap : gif->SColorMap;
    if (!map) return tn_fail(err, TERN_INVALID_FORMAT, "there is no table of colours");
    /* Some writers leave the screen 0 x 0; the picture is then the screen. */
    bool no_screen = gif->SWidth == 0 || gif->SHeight == 0;
    int left = no_screen ? 0 : d->Left, top = no_screen ? 0 : d->Top;
    int width = no_screen ? d->Width : gif->SWidth, height = no_screen ? d->Height : gif->SHeight;
    TN_TRY(tn_image_start(out, src, (uint64_t)width, (uint64_t)height, err));
    if (d->Width < 1 || d->Height < 1 || left < 0 || top < 0 || d->Width > width - left || d->Height > height - top) {
        return tn_fail(err, TERN_INVALID_FORMAT, "a frame of %d x %d at (%d, %d) is not inside the screen of %d x %d",
                       d->Width, d->Height, left, top, width, height);
    }
    fill_background(out, gif);
    *row = tn_alloc((size_t)d->Width);
    if (!*row) return tn_fail_oom(err, (size_t)d->Width);
    static const struct { int first, step; } passes[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}, {0, 1}};
    for (int pass = d->Interlace ? 0 : 4; pass < (d->Interlace ? 4 : 5); pass++) {
        for (int y = passes[pass].first; y < d->Height; y += passes[pass].step) {
            if (lib->DGifGetLine(gif, *row, d->Width) == GIF_ERROR) return fail(lib, gif->Error, err);
            put_row(out->data + ((size_t)(top + y) * (size_t)width + (size_t)left) * 3, *row, d->Width, map);
        }
    }
    return TERN_OK;
}

tern_status tn_image_decode_gif(tern_image *out, tn_image_source *src, tern_error *err) {
    gif_reader reader = {src, 0};
#define ROW(NAME) TN_LIBRARY_ROW(library, NAME)
    static const tn_library_function functions[] = {FUNCTIONS(ROW)};
    library lib;
    int code = 0;
    TN_TRY(tn_library_load(GIF_SONAME, functions, TN_COUNT(functions), &lib, err));
    GifFileType *gif = lib.DGifOpen(&reader, read_bytes, &code);
    if (!gif) return fail(&lib, code, err);
    GifByteType *row = NULL;
    tern_status status = decode(&lib, gif, out, src, &row, err);
    tn_free(row);
    lib.DGifCloseFile(gif, &code);
    return status;
}

#endif
