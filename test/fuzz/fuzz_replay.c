/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target on the files of folders given as arguments, in the order of their names:
 * seed corpora and inputs that once were findings, as an ordinary test with any compiler. Linked
 * with one target.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *const file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "fuzz_replay: %s can't be read\n", path);
        return 1;
    }
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    fseek(file, 0, SEEK_SET);
    uint8_t *const data = malloc(size > 0 ? (size_t)size : 1);
    const int is_read = data && size >= 0 && fread(data, 1, (size_t)size, file) == (size_t)size;
    fclose(file);
    if (is_read) LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return !is_read;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    int n_file = 0, n_bad = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **list;
        const int n = scandir(argv[i], &list, is_visible, alphasort);
        for (int k = 0; k < n; k++) {
            n_bad += run_file(argv[i], list[k]->d_name);
            n_file++;
            free(list[k]);
        }
        if (n >= 0) free(list);
    }
    printf("%d inputs replayed\n", n_file);
    return n_bad || n_file == 0;
}
