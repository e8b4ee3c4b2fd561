// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a GGUF file. Behind an input that begins with 'L' there is 1 MiB
// of zeros, so that tensors far behind the header are inside it.
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

enum { FILE_NUMBER = 100, BEHIND = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static int is_made;
  if (!is_made) make_file(FILE_NUMBER);
  is_made = 1;
  int is_large = size > 0 && data[0] == 'L';
  fill_file(FILE_NUMBER, data + is_large, size - (size_t)is_large,
            is_large ? size + BEHIND : 0);
  teg_model* model = open_model("/proc/self/fd/100");
  if (model) check_model(model);
  teg_model_close(model);
  return 0;
}
