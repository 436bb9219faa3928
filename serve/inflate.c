#include "serve/inflate.h"

#include <strings.h>

#ifdef HAVE_ZLIB

#include <zlib.h>

/* Appends what comes out, in growing pieces, so that memory follows what is really there. */
static int run(z_stream *z, tn_text *out, size_t most) {
    int code = Z_OK;
    while (code == Z_OK) {
        size_t room = TN_MIN(TN_MAX(out->len, (size_t)65536), most - out->len + 1);
        if (out->len > most) return Z_BUF_ERROR;
        if (!tn_text_reserve(out, room)) return Z_MEM_ERROR;
        z->next_out = (Bytef *)out->data + out->len;
        z->avail_out = (uInt)TN_MIN(room, (size_t)1 << 30);
        uInt before = z->avail_out;
        code = inflate(z, Z_NO_FLUSH);
        out->len += before - z->avail_out;
        if (code == Z_OK && before == z->avail_out) return Z_DATA_ERROR; /* the end is missing */
    }
    return code;
}

static tern_status inflate_body(serve_exchange *x) {
    size_t most = x->server->options->max_body;
    tn_str in = serve_body(x);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.len};
    /* 32: gzip or zlib, by the header. */
    if (inflateInit2(&z, 32 + MAX_WBITS) != Z_OK) {
        serve_error(x, 503, "no memory for inflating the body");
        return TERN_OUT_OF_MEMORY;
    }
    tn_text out;
    tn_text_init(&out);
    int code = run(&z, &out, most);
    bool all = z.avail_in == 0;
    inflateEnd(&z);
    if (code == Z_STREAM_END && all && out.len <= most) {
        if (!serve_count_body(x, out.len)) {
            tn_text_release(&out);
            return TERN_LIMIT_EXCEEDED;
        }
        out.data[out.len] = '\0';
        tn_text_release(&x->body);
        x->body = out;
        x->body_pad = 0;
        return TERN_OK;
    }
    bool large = out.len > most;
    tn_text_release(&out);
    if (large) {
        serve_error(x, 413, "the inflated body has more than %zu bytes (--max-body)", most);
        return TERN_LIMIT_EXCEEDED;
    }
    serve_error(x, 400, "the body is not what its Content-Encoding says");
    return TERN_INVALID_FORMAT;
}

#else

static tern_status inflate_body(serve_exchange *x) {
    serve_error(x, 415, "this build can not inflate bodies; install zlib1g-dev and rebuild");
    return TERN_UNSUPPORTED;
}

#endif

tern_status serve_inflate_body(serve_exchange *x) {
    const char *e = x->headers.content_encoding;
    if (!e || strcasecmp(e, "identity") == 0) return TERN_OK;
    if (strcasecmp(e, "gzip") == 0 || strcasecmp(e, "deflate") == 0) return inflate_body(x);
    serve_error(x, 415, "Content-Encoding '%.40s' is not supported; gzip and deflate are", e);
    return TERN_UNSUPPORTED;
}
