// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a GGUF file. An input that begins with 'L' is one of 1 TiB, so
// that tensors far behind the header are inside it.
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

enum { FILE_NUMBER = 100 };

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static int is_made;
  if (!is_made) make_file(FILE_NUMBER);
  is_made = 1;
  int is_large = size > 0 && data[0] == 'L';
  fill_file(FILE_NUMBER, data + is_large, size - (size_t)is_large,
            is_large ? UINT64_C(1) << 40 : 0);
  teg_model* model = open_model("/proc/self/fd/100");
  if (model) check_model(model);
  teg_model_close(model);
  return 0;
}
