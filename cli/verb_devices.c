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
  print_bytes("largest binding", caps->max_binding_bytes, "no limit");
  print_bytes("buffer alignment", caps->buffer_alignment, "none");
  print_bytes("buffer granularity", caps->buffer_granularity, "none");
  printf("    %-22s%s%s%s\n", "traits",
         caps->flags & TEG_BACKEND_UNIFIED ? " unified" : "",
         caps->flags & TEG_BACKEND_HAZARD_CHECKED ? " hazard-checked" : "",
         caps->flags & TEG_BACKEND_TOLD ? " told" : "");
}

static int print_device(const teg_backend_info* info, uint32_t index) {
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
  print_caps(&caps);
  teg_device_destroy(device);
  return CLI_OK;
}

static int print_backend(const teg_backend_info* info) {
  printf("%s: %s\n", info->name, info->summary);
  if (info->result != TEG_OK) {
    printf("  not there: %s\n", info->error.message);
    return CLI_OK;
  }
  int code = CLI_OK;
  for (uint32_t index = 0; index < info->device_count; ++index) {
    code = cli_worse(code, print_device(info, index));
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
    code = cli_worse(code, print_backend(&info));
  }
  return code;
}
