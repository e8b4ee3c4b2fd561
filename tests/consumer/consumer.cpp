// SPDX-License-Identifier: Apache-2.0
//
// The same from C++: the headers carry their own extern "C".
#include <tegula/result.h>
#include <iostream>
#include <string>

int main() {
  teg_error err{};
  teg_error_clear(&err);
  std::cout << "tegula says " << teg_result_name(TEG_OVER_BUDGET) << "\n";
  return std::string(teg_result_name(err.result)) != "ok";
}
