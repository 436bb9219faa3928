/* Small things that many tests need: cmocka's includes, random numbers, shared data, temporary files. */
#ifndef TEST_UTIL_H
#define TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- random numbers: xorshift64*, the same sequence for the same seed everywhere --------------------------------- */

typedef struct tt_rng {
    uint64_t state;
} tt_rng;

static inline tt_rng tt_rng_init(uint64_t seed) { return (tt_rng){seed * 0x9e3779b97f4a7c15u + 0x1234567u}; }

static inline uint64_t tt_random(tt_rng *rng) {
    uint64_t s = rng->state ? rng->state : 1;
    s ^= s >> 12;
    s ^= s << 25;
    s ^= s >> 27;
    rng->state = s;
    return s * 0x2545f4914f6cdd1du;
}

/* 0 <= result < limit. */
static inline uint64_t tt_random_below(tt_rng *rng, uint64_t limit) { return (tt_random(rng) >> 11) % limit; }

/* low <= result <= high. */
static inline int64_t tt_random_int(tt_rng *rng, int64_t low, int64_t high) {
    return low + (int64_t)tt_random_below(rng, (uint64_t)(high - low) + 1);
}

/* low <= result < high. */
static inline double tt_random_real(tt_rng *rng, double low, double high) {
    return low + (high - low) * ((double)(tt_random(rng) >> 11) * 0x1p-53);
}

static inline void tt_fill_f32(tt_rng *rng, float *values, size_t n, float low, float high) {
    for (size_t i = 0; i < n; i++) values[i] = (float)tt_random_real(rng, low, high);
}

static inline void tt_fill_bytes(tt_rng *rng, void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) ((uint8_t *)bytes)[i] = (uint8_t)(tt_random(rng) >> 56);
}

/* ---- data beside the repository -----------------------------------------------------------------------------------
 */

/* The directory that TERN_SHARED names; NULL when there is none: the test skips. */
static inline const char *tt_shared_dir(void) {
    const char *path = getenv("TERN_SHARED");
    struct stat st;
    return path && *path && stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? path : NULL;
}

/* Skips the test; the runner shows the reason. */
#define tt_skip(reason)                 \
    do {                                \
        printf("reason: %s\n", reason); \
        fflush(stdout);                 \
        skip();                         \
    } while (0)

/* ---- temporary files ----------------------------------------------------------------------------------------------
 */

/* Path of a new, empty file; remove it with tt_temp_remove. */
typedef struct tt_temp {
    char path[256];
} tt_temp;

static inline tt_temp tt_temp_file(void) {
    tt_temp temp;
    const char *folder = getenv("TMPDIR");
    snprintf(temp.path, sizeof temp.path, "%s/tern-test-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(temp.path);
    assert_true(fd >= 0);
    close(fd);
    return temp;
}

/* A file with the given bytes. */
static inline tt_temp tt_temp_file_with(const void *data, size_t size) {
    tt_temp temp = tt_temp_file();
    FILE *file = fopen(temp.path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return temp;
}

static inline void tt_temp_remove(const tt_temp *temp) { unlink(temp->path); }

/* Path of a new, empty folder; the test removes what it puts there, then tt_temp_remove_dir. */
static inline tt_temp tt_temp_dir(void) {
    tt_temp temp;
    const char *folder = getenv("TMPDIR");
    snprintf(temp.path, sizeof temp.path, "%s/tern-test-XXXXXX", folder && *folder ? folder : "/tmp");
    assert_non_null(mkdtemp(temp.path));
    return temp;
}

static inline void tt_temp_remove_dir(const tt_temp *temp) { rmdir(temp->path); }

#endif
