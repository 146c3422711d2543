/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target on files, without a fuzzer and with any compiler: each argument is a file
 * or a folder of files. Seeds and old findings are ordinary tests in this way.
 * Exit 1 when an argument can't be read or nothing was run.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "can't open %s\n", path);
        return 0;
    }
    fseek(f, 0, SEEK_END);
    const long size = ftell(f);
    rewind(f);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1); /* exact, for the sanitizers */
    const int ok = data && size >= 0 && fread(data, 1, (size_t)size, f) == (size_t)size;
    fclose(f);
    if (ok) LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return ok;
}

static int run_folder(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    if (!dir) return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        n += is_folder(name) ? run_folder(name) : run_file(name);
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int n_all = 0;
    for (int i = 1; i < argc; i++) {
        const int n = is_folder(argv[i]) ? run_folder(argv[i]) : run_file(argv[i]);
        if (n == 0) {
            fprintf(stderr, "nothing was run from %s\n", argv[i]);
            return 1;
        }
        n_all += n;
    }
    printf("%d inputs\n", n_all);
    return n_all ? 0 : 1;
}
