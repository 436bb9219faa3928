/* What is told by a name alone. */
#include <ctype.h>

#include "vision/video/video.h"

/* `path` ends in one of `endings`, whatever the case of the letters. */
static bool ends_in(const char *path, const char *const *endings, size_t count) {
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < count; i++) {
        const char *a = dot + 1, *b = endings[i];
        while (*a && tolower((unsigned char)*a) == *b) {
            a++;
            b++;
        }
        if (!*a && !*b) return true;
    }
    return false;
}

bool tern_video_can_write(const char *path) {
    static const char *const endings[] = {"mp4", "m4v", "mov", "mkv", "avi", "webm"};
    return ends_in(path, endings, TN_COUNT(endings));
}

bool tern_video_is_source(const char *source) {
    static const char *const endings[] = {"mp4",  "m4v", "mov", "mkv", "avi", "webm", "ts",   "mpg",
                                          "mpeg", "wmv", "flv", "3gp", "ogv", "m2ts", "mjpg", "y4m"};
    return strstr(source, "://") || strncmp(source, "/dev/video", 10) == 0 ||
           ends_in(source, endings, TN_COUNT(endings));
}
