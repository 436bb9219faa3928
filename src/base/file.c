/* Files: read whole by mapping, written whole by rename. */
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

static tern_status write_and_rename(const char *path, const struct stat *old, const tn_str *parts, size_t count,
                                    tern_error *err) {
    static atomic_uint counter;
    char temporary[4096];
    int fd = -1;
    for (int attempt = 0; attempt < 100 && fd < 0; attempt++) {
        int n =
            snprintf(temporary, sizeof temporary, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&counter, 1));
        if (n < 0 || (size_t)n >= sizeof temporary) return tn_fail(err, TERN_IO, "%s: the path is too long", path);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) break;
    }
    if (fd < 0) return fail_errno(err, path, "can not be created");
    bool ok = write_all(fd, parts, count) && (!old || fchmod(fd, old->st_mode & 0777) == 0);
    if (close(fd) != 0) ok = false;
    if (ok && rename(temporary, path) == 0) return TERN_OK;
    tern_status status = fail_errno(err, path, "can not be written");
    unlink(temporary);
    return status;
}

tern_status tn_file_write_parts(const char *path, const tn_str *parts, size_t count, tern_error *err) {
    struct stat st;
    if (stat(path, &st) != 0) return write_and_rename(path, NULL, parts, count, err);
    if (S_ISDIR(st.st_mode)) return tn_fail(err, TERN_IO, "%s: is a directory", path);
    if (!S_ISREG(st.st_mode)) return write_in_place(path, parts, count, err);
    // The file behind a symbolic link is replaced, not the link.
    char real[PATH_MAX];
    return write_and_rename(realpath(path, real) ? real : path, &st, parts, count, err);
}

tern_status tn_file_write(const char *path, const void *data, size_t size, tern_error *err) {
    return tn_file_write_parts(path, &(tn_str){data, size}, 1, err);
}
