#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H

#include <stddef.h>

extern const char serve_web_index[], serve_web_style[], serve_web_script[];
extern const size_t serve_web_index_size, serve_web_style_size, serve_web_script_size;

#endif
