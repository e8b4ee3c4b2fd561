// SPDX-License-Identifier: Apache-2.0
//
// Stands in for libFuzzer where a fuzz target is built as a test: gives every
// file, and every file of every folder, named on the command line to the
// target once. Each input is a heap block of its exact size, so that a
// sanitizer sees a read past its end.
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

static size_t input_count;

static int fail(const char* path) {
  fprintf(stderr, "%s: %s\n", path, strerror(errno));
  return 1;
}

static int run_file(const char* path, size_t size) {
  FILE* file = fopen(path, "rb");
  if (!file) return fail(path);
  uint8_t* data = malloc(size ? size : 1);
  if (!data || fread(data, 1, size, file) != size) {
    int result = fail(path);
    free(data);
    fclose(file);
    return result;
  }
  fclose(file);
  // A crash leaves the name of its input as the last line.
  printf("%s\n", path);
  fflush(stdout);
  LLVMFuzzerTestOneInput(data, size);
  ++input_count;
  free(data);
  return 0;
}

static int run_path(const char* path) {
  struct stat info;
  if (stat(path, &info)) return fail(path);
  if (!S_ISDIR(info.st_mode)) return run_file(path, (size_t)info.st_size);
  struct dirent** entries = NULL;
  int count = scandir(path, &entries, NULL, alphasort);
  if (count < 0) return fail(path);
  int result = 0;
  for (int i = 0; i < count; ++i) {
    char child[4096];
    int length =
        snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
    if (entries[i]->d_name[0] != '.' && length < (int)sizeof child) {
      result |= run_path(child);
    }
    free(entries[i]);
  }
  free(entries);
  return result;
}

int main(int argc, char** argv) {
  int result = 0;
  for (int i = 1; i < argc; ++i) result |= run_path(argv[i]);
  printf("%zu inputs\n", input_count);
  if (input_count == 0) {
    fprintf(stderr, "no input was run\n");
    return 1;
  }
  return result;
}
