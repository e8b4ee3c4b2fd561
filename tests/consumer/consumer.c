// SPDX-License-Identifier: Apache-2.0
//
// A program outside the repository: includes what is installed, links, runs.
#include <stdio.h>
#include <string.h>
#include <tegula/result.h>

int main(void) {
  teg_error err;
  memset(&err, 0, sizeof err);
  teg_error_clear(&err);
  printf("tegula says %s\n", teg_result_name(TEG_OVER_BUDGET));
  return strcmp(teg_result_name(err.result), "ok") != 0;
}
