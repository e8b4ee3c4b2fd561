// SPDX-License-Identifier: Apache-2.0
//
// The figures of loads, for people and as JSON.
#include "load_report.h"

#include <inttypes.h>
#include <stdlib.h>

#include "clean.h"
#include "cli.h"
#include "json.h"

static const char* way_name(teg_load_way way) {
  return way == TEG_LOAD_STAGED ? "staged" : "mapped";
}

// Bytes a second; 0 if that cannot be said.
static double rate(uint64_t bytes, uint64_t ns) {
  return ns ? (double)bytes * 1e9 / (double)ns : 0;
}

static double rate_of(const teg_load_stats* stats) {
  return rate(stats->bytes, stats->elapsed_ns);
}

// Without the time that the driver took to make the buffers.
static double read_rate_of(const teg_load_stats* stats) {
  return rate(stats->bytes, stats->elapsed_ns - stats->allocate_ns);
}

static cli_text gigabytes(double bytes) { return cli_fixed(bytes / 1e9, 2); }

static int compare_loads(const void* a, const void* b) {
  const cli_load_result* const* one = a;
  const cli_load_result* const* other = b;
  uint64_t first = (*one)->stats.elapsed_ns;
  uint64_t second = (*other)->stats.elapsed_ns;
  return first < second ? -1 : first > second;
}

// The one whose time is in the middle.
static const cli_load_result* median(const cli_load_results* results) {
  const cli_load_result** sorted =
      calloc(results->load_count, sizeof(cli_load_result*));
  if (!sorted) return &results->loads[0];
  for (size_t i = 0; i < results->load_count; ++i) {
    sorted[i] = &results->loads[i];
  }
  qsort(sorted, results->load_count, sizeof *sorted, compare_loads);
  const cli_load_result* middle = sorted[(results->load_count - 1) / 2];
  free(sorted);
  return middle;
}

// ---- Text -------------------------------------------------------------------

static void print_line(const char* label, const char* text) {
  printf("  %-16s %s\n", label, text);
}

static void print_bytes(const char* label, uint64_t bytes) {
  printf("  %-16s %s MB\n", label, cli_megabytes(bytes).text);
}

static void print_ways(const teg_load_stats* stats) {
  printf("  %-16s %s, %" PRIu32 " threads\n", "way", way_name(stats->way),
         stats->thread_count);
  print_bytes("  read in place", stats->mapped_bytes);
  print_bytes("  by the ring", stats->staged_bytes);
}

static void print_times(const teg_load_stats* stats) {
  printf("  %-16s %s, of it ", "time", cli_duration(stats->elapsed_ns).text);
  printf("%s making buffers\n", cli_duration(stats->allocate_ns).text);
  printf("  %-16s %s GB/s, ", "rate", gigabytes(rate_of(stats)).text);
  printf("%s without making buffers\n", gigabytes(read_rate_of(stats)).text);
}

static void print_repeats(const cli_load_results* results) {
  if (results->load_count == 1) return;
  printf("  %-16s", "all rates");
  for (size_t i = 0; i < results->load_count; ++i) {
    printf(" %s", gigabytes(rate_of(&results->loads[i].stats)).text);
  }
  printf(" GB/s; of %zu loads the middle one is shown\n", results->load_count);
}

void cli_print_load(const cli_load_results* results) {
  const cli_load_result* load = median(results);
  const teg_load_stats* stats = &load->stats;
  char shown[4096];
  printf("%s: %s, ", cli_clean(shown, sizeof shown, results->path),
         results->format);
  printf("%s tensors, ", cli_grouped(results->tensor_count).text);
  printf("%s MB\n", cli_megabytes(results->bytes).text);
  print_line("device", results->device);
  print_ways(stats);
  print_times(stats);
  print_repeats(results);
  print_bytes("device peak", stats->peak_reserved_bytes);
  print_bytes("staging peak", stats->ring_bytes);
  printf("  %-16s %s MB more resident at most", "process",
         cli_megabytes(load->peak_own_resident_bytes).text);
  printf(", %s MB with the device's\n",
         cli_megabytes(load->peak_resident_bytes).text);
  if (load->is_verified) {
    printf("  %-16s all bytes are those of the file (%s)\n", "verified",
           cli_duration(load->verify_ns).text);
  }
}

// ---- JSON -------------------------------------------------------------------

static json_t* load_to_json(const cli_load_result* load) {
  const teg_load_stats* stats = &load->stats;
  json_t* row = json_object();
  json_object_set_new(row, "way", json_string(way_name(stats->way)));
  json_object_set_new(row, "thread_count", json_integer(stats->thread_count));
#define SET_COUNT(name, value) \
  json_object_set_new(row, name, cli_json_count(value))
  SET_COUNT("bytes", stats->bytes);
  SET_COUNT("mapped_bytes", stats->mapped_bytes);
  SET_COUNT("staged_bytes", stats->staged_bytes);
  SET_COUNT("elapsed_ns", stats->elapsed_ns);
  SET_COUNT("allocate_ns", stats->allocate_ns);
  SET_COUNT("peak_reserved_bytes", stats->peak_reserved_bytes);
  SET_COUNT("ring_bytes", stats->ring_bytes);
  SET_COUNT("peak_resident_bytes", load->peak_resident_bytes);
  SET_COUNT("peak_own_resident_bytes", load->peak_own_resident_bytes);
  if (load->is_verified) SET_COUNT("verify_ns", load->verify_ns);
#undef SET_COUNT
  json_object_set_new(row, "bytes_per_second",
                      cli_json_number(rate_of(stats), 0));
  json_object_set_new(row, "read_bytes_per_second",
                      cli_json_number(read_rate_of(stats), 0));
  json_object_set_new(row, "is_verified", json_boolean(load->is_verified));
  return row;
}

void cli_print_load_json(const cli_load_results* results) {
  json_t* all = json_object();
  json_object_set_new(all, "path", cli_json_text(results->path));
  json_object_set_new(all, "format", cli_json_text(results->format));
  json_object_set_new(all, "device", cli_json_text(results->device));
  json_object_set_new(all, "tensor_count",
                      cli_json_count(results->tensor_count));
  json_object_set_new(all, "tensor_bytes", cli_json_count(results->bytes));
  json_t* loads = json_array();
  for (size_t i = 0; i < results->load_count; ++i) {
    json_array_append_new(loads, load_to_json(&results->loads[i]));
  }
  json_object_set_new(all, "loads", loads);
  json_dumpf(all, stdout, JSON_INDENT(2));
  putchar('\n');
  json_decref(all);
}
