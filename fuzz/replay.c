/* Runs a fuzz target over files, without libFuzzer: every file named, and every file right in each folder named, once.
 * What is checked is that the target returns; a crash, an abort of a sanitizer or a hang is the failure. Prints TAP. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count;

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    /* Named before it runs: after a crash the last name is the culprit. */
    printf("# %s\n", path);
    fflush(stdout);
    uint8_t *data = NULL;
    size_t size = 0, cap = 0, got;
    do {
        if (size == cap) {
            cap = cap ? cap * 2 : 4096;
            uint8_t *grown = realloc(data, cap);
            if (!grown) abort();
            data = grown;
        }
        got = fread(data + size, 1, cap - size, file);
        size += got;
    } while (got > 0);
    fclose(file);
    /* An exact copy, so that a sanitizer sees a read past the end. */
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) abort();
    memcpy(exact, data, size);
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    printf("ok %d - %s\n", ++count, path);
    return 0;
}

static int not_dot(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int replay_folder(const char *path) {
    struct dirent **entries;
    int n = scandir(path, &entries, not_dot, alphasort);
    if (n < 0) {
        perror(path);
        return 1;
    }
    int failed = 0;
    for (int i = 0; i < n; i++) {
        char *file = malloc(strlen(path) + strlen(entries[i]->d_name) + 2);
        if (!file) abort();
        memcpy(file, path, strlen(path));
        file[strlen(path)] = '/';
        memcpy(file + strlen(path) + 1, entries[i]->d_name, strlen(entries[i]->d_name) + 1);
        failed |= replay_file(file);
        free(file);
        free(entries[i]);
    }
    free(entries);
    return failed;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            failed |= replay_folder(argv[i]);
        else
            failed |= replay_file(argv[i]);
    }
    printf("1..%d\n", count);
    return failed;
}
