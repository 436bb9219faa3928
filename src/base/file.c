/* Files: read whole by mapping, written whole: without a name, then renamed. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static tern_status fail_errno(tern_error *err, const char *path, const char *what) {
    int code = errno;
    char buffer[128];
    return tn_fail(err, code == ENOMEM ? TERN_OUT_OF_MEMORY : TERN_IO, "%s: %s: %s", path, what,
                   strerror_r(code, buffer, sizeof buffer));
}

static tern_status map_descriptor(tn_file *file, int fd, const char *path, tern_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return fail_errno(err, path, "can not be read");
    if (S_ISDIR(st.st_mode)) return tn_fail(err, TERN_IO, "%s: is a directory, not a file", path);
    if (!S_ISREG(st.st_mode)) return tn_fail(err, TERN_IO, "%s: is not a regular file", path);
    if ((uintmax_t)st.st_size > PTRDIFF_MAX) return tn_fail(err, TERN_IO, "%s: is too large to map", path);
    *file = (tn_file){(const uint8_t *)"", (size_t)st.st_size};
    if (file->size == 0) return TERN_OK; // an empty mapping is not allowed
    void *data = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        *file = (tn_file){NULL, 0};
        return fail_errno(err, path, "can not be mapped");
    }
    file->data = data;
    return TERN_OK;
}

tern_status tn_file_map(tn_file *file, const char *path, tern_error *err) {
    *file = (tn_file){NULL, 0};
    // O_NONBLOCK: opening a pipe that nobody writes to must not hang.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail_errno(err, path, "can not be opened");
    tern_status status = map_descriptor(file, fd, path, err);
    close(fd);
    return status;
}

void tn_file_unmap(tn_file *file) {
    if (file->size) munmap((void *)(uintptr_t)file->data, file->size);
    *file = (tn_file){NULL, 0};
}

void tn_file_evict(const tn_file *file, const void *data, size_t size) {
    uintptr_t begin = (uintptr_t)data, base = (uintptr_t)file->data, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (begin < base || begin - base > file->size || size > file->size - (begin - base)) return;
    uintptr_t end = (begin + size) / page * page;
    begin = (begin + page - 1) / page * page;
    /* Clean pages of a private mapping: dropping them loses nothing. */
    if (end > begin) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static bool write_all(int fd, const tn_str *parts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (size_t done = 0; done < parts[i].len;) {
            ssize_t n = write(fd, parts[i].data + done, TN_MIN(parts[i].len - done, (size_t)1 << 30));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            done += (size_t)n;
        }
    }
    return true;
}

// Devices, pipes and the like can not be replaced, only written to.
static tern_status write_in_place(const char *path, const tn_str *parts, size_t count, tern_error *err) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(err, path, "can not be opened for writing");
    bool ok = write_all(fd, parts, count);
    if (close(fd) != 0) ok = false;
    return ok ? TERN_OK : fail_errno(err, path, "can not be written");
}

/* A file without a name vanishes with the process, however that ends. -1: the file system has none, or nothing to name
 * it by later. */
static int open_nameless(const char *path) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = slash ? snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path)
                  : snprintf(folder, sizeof folder, ".");
    if (n < 0 || (size_t)n >= sizeof folder || access("/proc/self/fd", X_OK) != 0) return -1;
    return open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
}

/* Finds a name next to `path` for the nameless file `fd`, or with -1 creates a file there. The descriptor; -1: neither
 * was possible, and `name` is empty. */
static int take_name(char *name, size_t size, const char *path, int fd) {
    static atomic_uint counter;
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    for (int attempt = 0; attempt < 100; attempt++) {
        int n = snprintf(name, size, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&counter, 1));
        errno = ENAMETOOLONG;
        if (n < 0 || (size_t)n >= size) break;
        int taken = fd < 0 ? open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
                    : linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0 ? fd
                                                                                     : -1;
        if (taken >= 0) return taken;
        if (errno != EEXIST) break;
    }
    *name = 0;
    return -1;
}

typedef struct content {
    const tn_str *parts;
    size_t count;
    const struct stat *old; /* whose mode it gets; may be NULL */
} content;

/* Whether `c` is now in the file `name`, which is empty when there is none. */
static bool write_temporary(char *name, size_t size, const char *path, const content *c, bool nameless) {
    *name = 0;
    int fd = nameless ? open_nameless(path) : take_name(name, size, path, -1);
    if (fd < 0) return false;
    bool ok = write_all(fd, c->parts, c->count) && (!c->old || fchmod(fd, c->old->st_mode & 0777) == 0);
    if (ok && nameless) ok = take_name(name, size, path, fd) >= 0;
    int code = errno;
    if (close(fd) != 0) return false;
    errno = code;
    return ok;
}

static tern_status write_and_rename(const char *path, const content *c, tern_error *err) {
    char temporary[PATH_MAX];
    bool ok = write_temporary(temporary, sizeof temporary, path, c, true);
    if (!ok && !*temporary) ok = write_temporary(temporary, sizeof temporary, path, c, false);
    if (ok && rename(temporary, path) == 0) return TERN_OK;
    tern_status status = fail_errno(err, path, *temporary ? "can not be written" : "can not be created");
    if (*temporary) unlink(temporary);
    return status;
}

tern_status tn_file_write_parts(const char *path, const tn_str *parts, size_t count, tern_error *err) {
    struct stat st;
    if (stat(path, &st) != 0) return write_and_rename(path, &(content){parts, count, NULL}, err);
    if (S_ISDIR(st.st_mode)) return tn_fail(err, TERN_IO, "%s: is a directory", path);
    if (!S_ISREG(st.st_mode)) return write_in_place(path, parts, count, err);
    // The file behind a symbolic link is replaced, not the link.
    char real[PATH_MAX];
    return write_and_rename(realpath(path, real) ? real : path, &(content){parts, count, &st}, err);
}

tern_status tn_file_write(const char *path, const void *data, size_t size, tern_error *err) {
    return tn_file_write_parts(path, &(tn_str){data, size}, 1, err);
}
