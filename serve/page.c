/* The web page, from the files of serve/web. */
#include "serve/page.h"
#include "cli/embed.h"
#include "serve/server.h"

CLI_EMBED(serve_web_index, TERN_WEB "/index.html");
CLI_EMBED(serve_web_style, TERN_WEB "/style.css");
CLI_EMBED(serve_web_script, TERN_WEB "/app.js");

static void send_file(serve_exchange *x, const char *type, const char *data, size_t size) {
    x->status = 200;
    x->type = type;
    x->fixed = (tn_str){data, size};
}

void serve_page(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    send_file(x, "text/html; charset=utf-8", serve_web_index, serve_web_index_size);
}

void serve_page_style(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    send_file(x, "text/css; charset=utf-8", serve_web_style, serve_web_style_size);
}

void serve_page_script(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    send_file(x, "text/javascript; charset=utf-8", serve_web_script, serve_web_script_size);
}
