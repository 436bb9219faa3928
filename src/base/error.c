/* Status names and error texts. */
#include "base/base.h"

#include <stdio.h>

static const struct {
    const char *name, *message;
} status_table[] = {
#define X(NAME, VALUE, MESSAGE) [VALUE] = {"TERN_" #NAME, MESSAGE},
    TERN_STATUS_LIST(X)
#undef X
};

const char *tn_status_name(tern_status status) {
    return (unsigned)status < TN_COUNT(status_table) ? status_table[status].name : "unknown status";
}

const char *tn_status_message(tern_status status) {
    return (unsigned)status < TN_COUNT(status_table) ? status_table[status].message : "unknown status";
}

tern_status tn_fail(tern_error *err, tern_status status, const char *format, ...) {
    if (!err) return status;
    // Arguments may point into err->text, hence the detour.
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    // Names out of hostile files may hold anything; a text that was cut inside a character is repaired here, too.
    tn_utf8_clean_line(text);
    err->status = status;
    memcpy(err->text, text, sizeof text);
    return status;
}

tern_status tn_fail_oom(tern_error *err, size_t bytes) {
    return tn_fail(err, TERN_OUT_OF_MEMORY, "out of memory: %zu bytes are not available", bytes);
}

void tn_error_prefix(tern_error *err, const char *format, ...) {
    if (!err) return;
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0) return;
    if ((size_t)length < sizeof text) {
        size_t room = sizeof text - 1 - (size_t)length;
        size_t rest = strnlen(err->text, sizeof err->text);
        if (rest > room) rest = room;
        memcpy(text + length, err->text, rest);
        text[(size_t)length + rest] = 0;
    }
    tn_utf8_clean_line(text);
    memcpy(err->text, text, sizeof text);
}
