// SPDX-License-Identifier: Apache-2.0
//
// The progress bar.
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clean.h"
#include "cli.h"
#include "table.h"

enum { BAR_LENGTH = 30, INTERVAL_NS = 100000000 };
enum { MAX_WIDTH = 80 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void cli_progress_begin(cli_progress* progress, uint64_t step_count,
                        bool is_wanted) {
  *progress = (cli_progress){.step_count = step_count,
                             .is_shown = is_wanted && cli_is_terminal(stderr),
                             .labels = {"", ""}};
}

// A line that is not full, so that the terminal does not begin another.
static size_t line_width(void) {
  size_t width = cli_width(stderr, MAX_WIDTH);
  return (width < MAX_WIDTH ? width : MAX_WIDTH) - 1;
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
  char first[25];
  char second[15];
  char line[MAX_WIDTH];
  char shown[MAX_WIDTH];
  snprintf(line, sizeof line, "[%s] %3d %%  %s  %s", bar, (int)(share * 100),
           cli_clean(first, sizeof first, progress->labels[0]),
           cli_clean(second, sizeof second, progress->labels[1]));
  size_t width = line_width();
  cli_clean(shown, width + 1, line);
  fprintf(stderr, "\r%-*s", (int)width, shown);
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
  fprintf(stderr, "\r%*s\r", (int)line_width(), "");
  fflush(stderr);
}
