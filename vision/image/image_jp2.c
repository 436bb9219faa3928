/* JPEG 2000: JP2 files and bare codestreams, of 1 to 4 components with up to 31 bits. */
#include "vision/image/image_internal.h"

#ifndef HAVE_JPEG2000

tern_status tn_image_decode_jp2(tern_image *out, tn_image_source *src, tern_error *err) {
    (void)out;
    (void)src;
    return tn_image_missing("JPEG 2000", "libopenjp2-7-dev", err);
}
const char *tn_image_jp2_library(void) { return NULL; }

#else

#include <openjpeg.h>

#include "vision/library/library.h"

const char *tn_image_jp2_library(void) {
#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
    return "OpenJPEG " TEXT_OF(OPJ_VERSION_MAJOR) "." TEXT_OF(OPJ_VERSION_MINOR) "." TEXT_OF(OPJ_VERSION_BUILD);
}

#define FUNCTIONS(F)                      \
    F(opj_create_decompress)              \
    F(opj_decode)                         \
    F(opj_destroy_codec)                  \
    F(opj_end_decompress)                 \
    F(opj_image_destroy)                  \
    F(opj_read_header)                    \
    F(opj_set_default_decoder_parameters) \
    F(opj_set_error_handler)              \
    F(opj_set_info_handler)               \
    F(opj_set_warning_handler)            \
    F(opj_setup_decoder)                  \
    F(opj_stream_default_create)          \
    F(opj_stream_destroy)                 \
    F(opj_stream_set_read_function)       \
    F(opj_stream_set_seek_function)       \
    F(opj_stream_set_skip_function) F(opj_stream_set_user_data) F(opj_stream_set_user_data_length)

typedef struct library {
    FUNCTIONS(TN_LIBRARY_FIELD)
} library;

typedef struct jp2_state {
    library lib;
    const tn_image_source *src;
    size_t at;
    char text[200]; /* the library's first complaint */
    opj_stream_t *stream;
    opj_codec_t *codec;
    opj_image_t *image;
} jp2_state;

/* ---- the bytes ------------------------------------------------------------------------------------------------- */

static OPJ_SIZE_T read_bytes(void *buffer, OPJ_SIZE_T size, void *context) {
    jp2_state *s = context;
    size_t n = TN_MIN((size_t)size, s->src->size - s->at);
    if (n == 0) return (OPJ_SIZE_T)-1;
    memcpy(buffer, s->src->data + s->at, n);
    s->at += n;
    return n;
}

static OPJ_OFF_T skip_bytes(OPJ_OFF_T count, void *context) {
    jp2_state *s = context;
    if (count < 0 || (uint64_t)count > s->src->size - s->at) return -1;
    s->at += (size_t)count;
    return count;
}

static OPJ_BOOL seek_to(OPJ_OFF_T where, void *context) {
    jp2_state *s = context;
    if (where < 0 || (uint64_t)where > s->src->size) return OPJ_FALSE;
    s->at = (size_t)where;
    return OPJ_TRUE;
}

static void keep_message(const char *message, void *context) {
    jp2_state *s = context;
    size_t n = strcspn(message, "\r\n");
    if (s->text[0] || n >= sizeof s->text) return;
    memcpy(s->text, message, n);
    s->text[n] = 0;
}

static void ignore_message(const char *message, void *context) {
    (void)message;
    (void)context;
}

/* ---- the pixels ------------------------------------------------------------------------------------------------ */

/* The sample of component c at (x, y) of the picture, as 0..255. */
static int sample(const opj_image_t *m, uint32_t c, uint32_t x, uint32_t y) {
    const opj_image_comp_t *p = &m->comps[c];
    uint32_t px = TN_MIN(x / p->dx, p->w - 1), py = TN_MIN(y / p->dy, p->h - 1);
    int64_t v = p->data[(size_t)py * p->w + px];
    if (p->sgnd) v += (int64_t)1 << (p->prec - 1);
    v = p->prec > 8 ? v >> (p->prec - 8) : p->prec < 8 ? v * 255 / ((1 << p->prec) - 1) : v;
    return (int)TN_MIN(TN_MAX(v, 0), 255);
}

static uint8_t clamp(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5); }

/* ITU-R BT.601 with the full range, as JPEG has it. */
static void ycc_to_rgb(int y, int cb, int cr, uint8_t *rgb) {
    rgb[0] = clamp(y + 1.402 * (cr - 128));
    rgb[1] = clamp(y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128));
    rgb[2] = clamp(y + 1.772 * (cb - 128));
}

static void fill(tern_image *out, const opj_image_t *m) {
    bool color = m->numcomps >= 3, ycc = color && m->color_space == OPJ_CLRSPC_SYCC;
    uint8_t *rgb = out->data;
    for (uint32_t y = 0; y < (uint32_t)out->height; y++) {
        for (uint32_t x = 0; x < (uint32_t)out->width; x++, rgb += 3) {
            int v[3] = {sample(m, 0, x, y)};
            for (uint32_t c = 1; c < 3; c++) v[c] = color ? sample(m, c, x, y) : v[0];
            if (ycc)
                ycc_to_rgb(v[0], v[1], v[2], rgb);
            else
                for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)v[c];
        }
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static tern_status damaged(const jp2_state *s, tern_error *err) {
    return tn_fail(err, TERN_INVALID_FORMAT, "%s", s->text[0] ? s->text : "the data is damaged");
}

/* Before anything of the picture's size is allocated. */
static tern_status check_header(const opj_image_t *m, tern_image *out, const tn_image_source *src, tern_error *err) {
    if (m->x1 <= m->x0 || m->y1 <= m->y0) return tn_fail(err, TERN_INVALID_FORMAT, "the picture is empty");
    if (m->numcomps < 1 || m->numcomps > 4 || m->color_space == OPJ_CLRSPC_CMYK || m->color_space == OPJ_CLRSPC_EYCC)
        return tn_fail(err, TERN_INVALID_FORMAT, "%u components, or CMYK or e-YCC colours, which are not supported",
                       m->numcomps);
    for (uint32_t c = 0; c < m->numcomps; c++)
        if (m->comps[c].prec < 1 || m->comps[c].prec > 31 || m->comps[c].dx < 1 || m->comps[c].dy < 1)
            return tn_fail(err, TERN_INVALID_FORMAT, "component %u has %u bits", c, m->comps[c].prec);
    return tn_image_start(out, src, m->x1 - m->x0, m->y1 - m->y0, err);
}

static tern_status decode(jp2_state *s, tern_image *out, tern_error *err) {
    opj_dparameters_t parameters;
    s->lib.opj_set_default_decoder_parameters(&parameters);
    s->lib.opj_set_error_handler(s->codec, keep_message, s);
    s->lib.opj_set_warning_handler(s->codec, ignore_message, s);
    s->lib.opj_set_info_handler(s->codec, ignore_message, s);
    if (!s->lib.opj_setup_decoder(s->codec, &parameters) || !s->lib.opj_read_header(s->stream, s->codec, &s->image))
        return damaged(s, err);
    TN_TRY(check_header(s->image, out, s->src, err));
    if (!s->lib.opj_decode(s->codec, s->stream, s->image) || !s->lib.opj_end_decompress(s->codec, s->stream))
        return damaged(s, err);
    const opj_image_t *m = s->image; /* palettes may have changed the number of components */
    if (m->numcomps < 1) return damaged(s, err);
    for (uint32_t c = 0; c < TN_MIN(m->numcomps, 4u); c++)
        if (!m->comps[c].data || m->comps[c].w < 1 || m->comps[c].h < 1 || m->comps[c].prec < 1 ||
            m->comps[c].prec > 31)
            return damaged(s, err);
    fill(out, m);
    return TERN_OK;
}

tern_status tn_image_decode_jp2(tern_image *out, tn_image_source *src, tern_error *err) {
#define ROW(NAME) TN_LIBRARY_ROW(library, NAME)
    static const tn_library_function functions[] = {FUNCTIONS(ROW)};
    jp2_state s = {.src = src};
    TN_TRY(tn_library_load(JPEG2000_SONAME, functions, TN_COUNT(functions), &s.lib, err));
    s.stream = s.lib.opj_stream_default_create(OPJ_TRUE);
    s.codec = s.lib.opj_create_decompress(src->data[0] == 0xff ? OPJ_CODEC_J2K : OPJ_CODEC_JP2);
    tern_status status = TERN_OK;
    if (s.stream && s.codec) {
        s.lib.opj_stream_set_read_function(s.stream, read_bytes);
        s.lib.opj_stream_set_skip_function(s.stream, skip_bytes);
        s.lib.opj_stream_set_seek_function(s.stream, seek_to);
        s.lib.opj_stream_set_user_data(s.stream, &s, NULL);
        s.lib.opj_stream_set_user_data_length(s.stream, src->size);
        status = decode(&s, out, err);
    } else {
        status = tn_fail_oom(err, 0);
    }
    if (s.image) s.lib.opj_image_destroy(s.image);
    if (s.codec) s.lib.opj_destroy_codec(s.codec);
    if (s.stream) s.lib.opj_stream_destroy(s.stream);
    return status;
}

#endif
