// SPDX-License-Identifier: Apache-2.0
//
// tegula devices: which devices there are and what they can do.
#include <inttypes.h>

#include "cli.h"
#include "tegula/device.h"

static const char about[] =
    "Lists the devices that this build knows and what they can do.";

static const char* remap_name(teg_remap_kind remap) {
  switch (remap) {
    case TEG_REMAP_AT_ONCE:
      return "tiles can be moved, at once";
    case TEG_REMAP_QUEUE_ORDERED:
      return "tiles can be moved, in queue order";
    default:
      return "tiles cannot be moved";
  }
}

static void print_bytes(const char* what, uint64_t bytes, const char* if_zero) {
  printf("    %-22s %s\n", what, bytes ? cli_binary(bytes).text : if_zero);
}

static void print_count(const char* what, uint64_t count) {
  printf("    %-22s %s\n", what, count ? cli_grouped(count).text : "no limit");
}

static void print_caps(const teg_backend_caps* caps) {
  print_bytes("memory", caps->total_bytes, "not known");
  print_bytes("tile", caps->tile_bytes, "none");
  printf("    %-22s %s\n", "remap", remap_name(caps->remap));
  print_count("mappings at once", caps->max_mapping_count);
  print_count("allocations at once", caps->max_allocation_count);
  print_bytes("largest allocation", caps->max_allocation_bytes, "no limit");
  print_bytes("largest range", caps->max_range_bytes, "no limit");
  print_bytes("largest binding", caps->max_binding_bytes, "no limit");
  print_bytes("buffer alignment", caps->buffer_alignment, "none");
  print_bytes("buffer granularity", caps->buffer_granularity, "none");
  printf("    %-22s%s%s%s\n", "traits",
         caps->flags & TEG_BACKEND_UNIFIED ? " unified" : "",
         caps->flags & TEG_BACKEND_HAZARD_CHECKED ? " hazard-checked" : "",
         caps->flags & TEG_BACKEND_TOLD ? " told" : "");
}

static const char* type_name(teg_device_type type) {
  static const char* const names[] = {
      "another kind of device", "ordinary memory", "discrete GPU",
      "integrated GPU",         "virtual GPU",     "GPU driver on the CPU"};
  return names[(uint32_t)type < sizeof names / sizeof *names ? type : 0];
}

static void print_heap(const teg_device_heap* heap, uint32_t index) {
  char what[24];
  snprintf(what, sizeof what, "heap %" PRIu32, index);
  printf("    %-22s %s", what, cli_binary(heap->bytes).text);
  if (heap->available_bytes != UINT64_MAX) {
    printf(", %s available", cli_binary(heap->available_bytes).text);
  }
  printf("%s%s\n", heap->is_device_local ? ", the device's own" : "",
         heap->is_mappable ? ", mappable" : "");
}

static void print_description(const teg_device_description* about_device) {
  printf("    %-22s %s\n", "name", about_device->name);
  printf("    %-22s %s\n", "type", type_name(about_device->type));
  printf("    %-22s %s\n", "driver", about_device->driver);
  if (about_device->version[0]) {
    printf("    %-22s %s\n", "driver version", about_device->version);
  }
  for (uint32_t i = 0; i < about_device->heap_count; ++i) {
    print_heap(&about_device->heaps[i], i);
  }
  print_bytes("mappable", about_device->mappable_bytes, "none");
}

static int print_device(const teg_backend_info* info, size_t backend_index,
                        uint32_t index) {
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = info->name;
  params.device_index = index;
  teg_device* device = NULL;
  teg_error err;
  if (teg_device_create(&params, &device, &err) != TEG_OK) {
    return cli_fail(CLI_FAILED, "%s:%" PRIu32 ": %s", info->name, index,
                    err.message);
  }
  teg_backend_caps caps = {.struct_size = sizeof caps};
  teg_device_get_caps(device, &caps);
  printf("  %s:%" PRIu32 "\n", info->name, index);
  teg_device_description description = {.struct_size = sizeof description};
  if (teg_backend_describe(backend_index, index, &description, NULL) ==
      TEG_OK) {
    print_description(&description);
  }
  print_caps(&caps);
  teg_device_destroy(device);
  return CLI_OK;
}

static int print_backend(const teg_backend_info* info, size_t backend_index) {
  printf("%s: %s\n", info->name, info->summary);
  if (info->result != TEG_OK) {
    printf("  not there: %s\n", info->error.message);
    return CLI_OK;
  }
  int code = CLI_OK;
  for (uint32_t index = 0; index < info->device_count; ++index) {
    code = cli_worse(code, print_device(info, backend_index, index));
  }
  return code;
}

static error_t parse(int key, char* argument, struct argp_state* state) {
  if (key != ARGP_KEY_ARG) return ARGP_ERR_UNKNOWN;
  argp_error(state, "takes no argument: \"%s\"", argument);
  return EINVAL;
}

int cli_devices(int argc, char** argv) {
  const struct argp argp = {.parser = parse, .doc = about};
  cli_parse(&argp, argc, argv, NULL);
  int code = CLI_OK;
  teg_backend_info info = {.struct_size = sizeof info};
  for (size_t i = 0; teg_backend_get_info(i, &info) == TEG_OK; ++i) {
    code = cli_worse(code, print_backend(&info, i));
  }
  return code;
}
