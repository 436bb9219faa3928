/* Speed of the server's JSON reader and writer on arrays of floats, for ./do bench serve.
 *
 *     bench_json [ROUNDS]
 *
 * Three arrays of a million floats: pixels (k/255, as clients send pictures), numbers of a normal network's outputs,
 * and any finite bits. Prints one object of JSON: MB (1e6 bytes of text) per second of one core, medians of the rounds;
 * each round's text is read back and compared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "serve/json_read.h"
#include "serve/json_write.h"
#include "tern/tensor.h"

#define COUNT      1000000
#define MAX_ROUNDS 99

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint32_t next(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

typedef enum kind { PIXELS, OUTPUTS, ANY, KINDS } kind;
static const char *const names[] = {"pixels", "outputs", "any"};

static float value(kind k, uint64_t *seed) {
    uint32_t bits = next(seed);
    if (k == PIXELS) return (float)(bits >> 24) / 255;
    if (k == OUTPUTS) return ((float)(bits >> 8) * 0x1p-24f + (float)(next(seed) >> 8) * 0x1p-24f - 1) * 8;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (bits >> 23 & 255) == 255 ? 1 : f;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *list, int n) {
    qsort(list, (size_t)n, sizeof *list, by_value);
    return list[n / 2];
}

/* One text printed and read; false: it did not come back. */
static bool turn(const tern_tensor *from, tern_tensor *to, double *print, double *parse, tern_error *err) {
    tn_text text;
    tn_text_init(&text);
    double begin = now();
    bool good = serve_put_tensor(&text, NULL, from, "x", err) == TERN_OK && !text.failed;
    double middle = now();
    serve_json r;
    serve_json_init(&r, text.data, text.len, err);
    good = good && serve_json_tensor(&r, to, "x") && serve_json_end(&r);
    double end = now();
    *print = (double)text.len * 1e-6 / (middle - begin);
    *parse = (double)text.len * 1e-6 / (end - middle);
    tn_text_release(&text);
    return good && memcmp(tern_tensor_const_data(from), tern_tensor_const_data(to), COUNT * sizeof(float)) == 0;
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 9;
    const int64_t dims[] = {COUNT};
    tern_tensor *from, *to;
    tern_error err;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_json [ROUNDS]\n");
        return 2;
    }
    if (tern_tensor_create(&from, TERN_FLOAT, 1, dims, &err) != TERN_OK ||
        tern_tensor_create(&to, TERN_FLOAT, 1, dims, &err) != TERN_OK) {
        fprintf(stderr, "bench_json: %s\n", err.text);
        return 1;
    }
    for (kind k = PIXELS; k < KINDS; k++) {
        uint64_t seed = 1;
        double print[MAX_ROUNDS], parse[MAX_ROUNDS];
        float *x = tern_tensor_data(from);
        for (int i = 0; i < COUNT; i++) x[i] = value(k, &seed);
        for (int i = 0; i < rounds; i++) {
            if (turn(from, to, &print[i], &parse[i], &err)) continue;
            fprintf(stderr, "bench_json: %s: not what was printed\n", names[k]);
            return 1;
        }
        printf("%s\"%s\": {\"parse_mb_s\": %.0f, \"print_mb_s\": %.0f}%s", k == PIXELS ? "{" : ", ", names[k],
               median(parse, rounds), median(print, rounds), k == KINDS - 1 ? "}\n" : "");
    }
    tern_tensor_free(from);
    tern_tensor_free(to);
    return 0;
}
