// SPDX-License-Identifier: Apache-2.0
//
// Opens a trace of any kind for a verb: what the library reads is taken as it
// is, a PyTorch memory snapshot goes through tools/pytorch_snapshot.py.
#ifndef TEGULA_CLI_TRACE_INPUT_H
#define TEGULA_CLI_TRACE_INPUT_H

#include "tegula/trace.h"

// As teg_trace_reader_open() with default parameters. For a snapshot python3
// is run beside the reader, which needs the script: in the folder that the
// environment variable TEGULA_DATA_DIR names, else in share/tegula or tools
// beside the program. What the script remarks goes to stderr.
// Returns also TEG_UNAVAILABLE (no python3, or no script), and TEG_CORRUPT
//         with what the script said if it failed.
TEG_NODISCARD teg_result tegula_trace_open(const char* path,
                                           teg_trace_reader** out_reader,
                                           teg_error* err);

#endif  // TEGULA_CLI_TRACE_INPUT_H
