// SPDX-License-Identifier: Apache-2.0
//
// Uploads, runs a kernel, lets the policy move memory from dead buffers to a
// new one while commands are on their way, and reads back. On a Vulkan device
// if there is one, on the host's memory otherwise; an argument chooses.
// docs/guide/streams.md goes through it step by step.
#include <stdio.h>
#include <stdlib.h>
#include <tegula/tegula.h>

#include "stream.spv.h"  // made of stream.comp by glslangValidator

enum {
  WORDS = 1 << 18,
  SIZE = WORDS * 4,
  LARGE_WORDS = 2 * WORDS,
  LARGE_SIZE = 2 * SIZE,
  GROUP_WORDS = 64,
};

static teg_error err;

static void check(teg_result result) {
  if (result == TEG_OK) return;
  fprintf(stderr, "stream: %s\n", err.message);
  exit(1);
}

// The kernel for devices that run C functions: one call is all the groups.
static teg_result multiply(const teg_invocation* invocation) {
  float* words = invocation->pointers[0];
  const float* factor = invocation->parameters;
  uint64_t count = invocation->sizes[0] / sizeof *words;
  for (uint64_t i = 0; i < count; ++i) words[i] *= *factor;
  return TEG_OK;
}

static teg_kernel* make_kernel(teg_device* device) {
  static const teg_access bindings[] = {TEG_ACCESS_READ_WRITE};
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params.name = "multiply";
  params.spirv = stream_spv;
  params.spirv_bytes = sizeof stream_spv;
  params.function = multiply;
  params.bindings = bindings;
  params.binding_count = 1;
  params.parameter_bytes = sizeof(float);
  teg_kernel* kernel;
  check(teg_kernel_create(device, &params, &kernel, &err));
  return kernel;
}

static teg_device* open_device(const char* backend, teg_options* options) {
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.options = options;
  params.backend = backend ? backend : "vulkan";
  teg_device* device;
  teg_result result = teg_device_create(&params, &device, &err);
  if (result == TEG_UNAVAILABLE && !backend) {
    printf("no Vulkan here (%s)\n", err.message);
    params.backend = "host";
    result = teg_device_create(&params, &device, &err);
  }
  check(result);
  return device;
}

static teg_buffer* make_buffer(teg_session* session, uint64_t size) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;  // lives inside a run
  params.size = size;
  teg_buffer* buffer;
  check(teg_buffer_create(session, &params, &buffer, &err));
  return buffer;
}

static void run(teg_stream* stream, teg_kernel* kernel, teg_buffer* buffer,
                uint32_t word_count, float factor) {
  teg_argument argument = {.buffer = buffer};
  uint32_t groups[3] = {word_count / GROUP_WORDS, 1, 1};
  check(
      teg_stream_dispatch(stream, kernel, &argument, 1, &factor, groups, &err));
}

static teg_stats stats_of(teg_device* device) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(device, &stats);
  return stats;
}

int main(int argc, char** argv) {
  teg_options* options;
  check(teg_options_create(NULL, &options, &err));
  check(teg_options_set(options, "tile_bytes", "64KiB", &err));
  check(teg_options_set(options, "policy", "tiled", &err));
  check(teg_options_set(options, "slack", "0", &err));
  teg_device* device = open_device(argc > 1 ? argv[1] : NULL, options);
  teg_session_params session_params = TEG_SESSION_PARAMS_INIT;
  session_params.options = options;
  teg_session* session;
  check(teg_session_create(device, &session_params, &session, &err));
  teg_stream* stream = teg_session_stream(session);
  teg_kernel* kernel = make_kernel(device);
  printf("device: %s\n", teg_device_backend_name(device));

  static float words[LARGE_WORDS];
  for (int i = 0; i < LARGE_WORDS; ++i) words[i] = (float)i;
  teg_buffer* small[4];
  for (int i = 0; i < 4; ++i) {
    small[i] = make_buffer(session, SIZE);
    check(teg_stream_write(stream, small[i], 0, words, SIZE, &err));
    run(stream, kernel, small[i], WORDS, 2);
  }
  teg_stats before = stats_of(device);
  printf("4 buffers of 1 MiB: %.1f MiB reserved\n",
         (double)before.reserved_bytes / (1 << 20));

  // Two that are not neighbours go, before their commands have run.
  teg_buffer_destroy(small[0]);
  teg_buffer_destroy(small[2]);
  teg_buffer* large = make_buffer(session, LARGE_SIZE);
  teg_stats after = stats_of(device);
  printf("2 of them gone, 1 of 2 MiB made: %.1f MiB reserved, %d tiles moved\n",
         (double)after.reserved_bytes / (1 << 20),
         (int)(after.tiles_remapped_count - before.tiles_remapped_count));
  check(teg_stream_write(stream, large, 0, words, LARGE_SIZE, &err));
  run(stream, kernel, large, LARGE_WORDS, 3);

  static float got[LARGE_WORDS];
  int wrong = 0;
  check(teg_stream_read(stream, small[1], 0, got, SIZE, &err));
  for (int i = 0; i < WORDS; ++i) wrong += got[i] != words[i] * 2;
  check(teg_stream_read(stream, large, 0, got, LARGE_SIZE, &err));
  for (int i = 0; i < LARGE_WORDS; ++i) wrong += got[i] != words[i] * 3;
  after = stats_of(device);
  printf("read back: %d words wrong\n", wrong);
  printf("written: %.1f MiB directly, %.1f MiB through the staging ring\n",
         (double)after.direct_write_bytes / (1 << 20),
         (double)after.ring_write_bytes / (1 << 20));

  teg_kernel_destroy(kernel);
  teg_device_destroy(device);  // and its sessions, and their buffers
  teg_options_destroy(options);
  return wrong > 0;
}
