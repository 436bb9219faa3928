/* Which pictures a folder has. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/dataset.h"

void cli_paths_add(cli_paths *paths, const char *path) {
    char *copy = cli_must(tn_strdup(path));
    cli_must(tn_grow(&paths->items, &paths->cap, paths->count + 1, sizeof *paths->items) ? copy : NULL);
    paths->items[paths->count++] = copy;
}

void cli_paths_release(cli_paths *paths) {
    for (size_t i = 0; i < paths->count; i++) tn_free(paths->items[i]);
    tn_free(paths->items);
    *paths = (cli_paths){0};
}

bool cli_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool cli_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool cli_is_picture(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false;
    tn_file file;
    if (tn_file_map(&file, path, NULL) != TERN_OK) return false;
    bool yes = file.size > 0 && tern_image_format_of(file.data, file.size) != NULL;
    tn_file_unmap(&file);
    return yes;
}

/* Broken pictures are taken too, to be reported, if their name says that they are meant to be some. */
static bool named_picture(const char *name) {
    static const char *const endings[] = {".jpg",  ".jpeg", ".png", ".bmp", ".webp", ".jp2", ".tif",
                                          ".tiff", ".gif",  ".pbm", ".pgm", ".ppm",  ".pnm", ".pam"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < TN_COUNT(endings); i++) {
        const char *a = dot, *b = endings[i];
        while (*a && (*a >= 'A' && *a <= 'Z' ? *a + 32 : *a) == *b) {
            a++;
            b++;
        }
        if (*a == '\0' && *b == '\0') return true;
    }
    return false;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

tern_status cli_paths_add_folder(cli_paths *paths, const char *folder, tern_error *err) {
    DIR *dir = opendir(folder);
    if (!dir) return tn_fail(err, TERN_IO, "%s: can not list the folder: %s", folder, strerror(errno));
    size_t first = paths->count, n = strlen(folder);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] == '.') continue;
        tn_text path;
        tn_text_init(&path);
        tn_text_add(&path, "%s%s%s", folder, n > 0 && folder[n - 1] == '/' ? "" : "/", e->d_name);
        cli_must(path.failed ? NULL : path.data);
        if (!cli_is_folder(path.data) && (named_picture(e->d_name) || cli_is_picture(path.data))) {
            cli_paths_add(paths, path.data);
        }
        tn_text_release(&path);
    }
    closedir(dir);
    if (paths->count == first) return tn_fail(err, TERN_NOT_FOUND, "%s: there are no pictures in the folder", folder);
    qsort(paths->items + first, paths->count - first, sizeof *paths->items, by_name);
    return TERN_OK;
}
