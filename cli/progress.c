// SPDX-License-Identifier: Apache-2.0
//
// The progress bar.
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR_LENGTH = 30, INTERVAL_NS = 100000000 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void cli_progress_begin(cli_progress* progress, uint64_t step_count,
                        bool is_wanted) {
  *progress = (cli_progress){.step_count = step_count,
                             .is_shown = is_wanted && isatty(STDERR_FILENO),
                             .labels = {"", ""}};
}

static void draw(cli_progress* progress, double share_of_step) {
  double share = ((double)progress->step_index + share_of_step) /
                 (double)progress->step_count;
  if (share > 1) share = 1;
  char bar[BAR_LENGTH + 1];
  size_t full = (size_t)(share * BAR_LENGTH);
  memset(bar, '#', full);
  memset(bar + full, '.', BAR_LENGTH - full);
  bar[BAR_LENGTH] = '\0';
  fprintf(stderr, "\r\033[K[%s] %3d %%  %.24s  %.16s", bar, (int)(share * 100),
          progress->labels[0], progress->labels[1]);
  fflush(stderr);
  progress->shown_at_ns = now_ns();
}

void cli_progress_step(cli_progress* progress, const char* first,
                       const char* second) {
  progress->labels[0] = first;
  progress->labels[1] = second;
  if (progress->is_shown) draw(progress, 0);
}

int cli_progress_tell(void* user, uint64_t done_count, uint64_t total_count) {
  cli_progress* progress = user;
  if (!progress->is_shown) return 0;
  if (now_ns() - progress->shown_at_ns < INTERVAL_NS) return 0;
  draw(progress, total_count ? (double)done_count / (double)total_count : 0);
  return 0;
}

void cli_progress_end_step(cli_progress* progress) { progress->step_index++; }

void cli_progress_wipe(cli_progress* progress) {
  if (!progress->is_shown) return;
  fputs("\r\033[K", stderr);
  fflush(stderr);
}
