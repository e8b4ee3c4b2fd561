// SPDX-License-Identifier: Apache-2.0
//
// A progress bar on stderr, when that is a terminal, and nothing otherwise.
#ifndef TEGULA_CLI_PROGRESS_H
#define TEGULA_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
  bool is_shown;
  uint64_t step_count;  // of equal weight
  uint64_t step_index;
  uint64_t shown_at_ns;
  const char* labels[2];  // of the step in progress
} cli_progress;

void cli_progress_begin(cli_progress* progress, uint64_t step_count,
                        bool is_wanted);
void cli_progress_step(cli_progress* progress, const char* first,
                       const char* second);
// A teg_replay_progress; |user| is the progress.
int cli_progress_tell(void* user, uint64_t done_count, uint64_t total_count);
// The step in progress has ended.
void cli_progress_end_step(cli_progress* progress);
// Wipes the bar away, before other output and at the end.
void cli_progress_wipe(cli_progress* progress);

#endif  // TEGULA_CLI_PROGRESS_H
