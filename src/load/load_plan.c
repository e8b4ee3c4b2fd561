// SPDX-License-Identifier: Apache-2.0
//
// Planning a load.
#include "load/load_plan.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/checked.h"

// A packed buffer takes tensors up to so many bytes; a larger one has a buffer
// of its own. Large enough that buffers are few, small enough that the driver
// finds room for each.
#define PACKED_BYTES (UINT64_C(256) << 20)

// ---- Which tensors ---------------------------------------------------------

static teg_result check_params(const teg_load_params* params, teg_error* err) {
  TEG_REQUIRE(params->struct_size == sizeof *params, err,
              "load: params->struct_size is %" PRIu32 ", expected %zu",
              params->struct_size, sizeof *params);
  TEG_REQUIRE(params->tensors || params->tensor_count == 0, err,
              "load: tensors is NULL and tensor_count %" PRIu64,
              params->tensor_count);
  TEG_REQUIRE((uint32_t)params->way <= TEG_LOAD_STAGED, err,
              "load: unknown way %d", (int)params->way);
  TEG_REQUIRE(params->thread_count <= 64, err,
              "load: %" PRIu32 " threads are more than 64",
              params->thread_count);
  const teg_load_hook* hook = params->hook;
  TEG_REQUIRE(!hook || (hook->result_bytes && hook->convert), err,
              "load: the hook lacks a function");
  return TEG_OK;
}

static int compare_placements(const void* a, const void* b) {
  const tegi_placement* one = a;
  const tegi_placement* other = b;
  if (one->tensor == other->tensor) return 0;
  return one->tensor < other->tensor ? -1 : 1;
}

// Enters the tensors that are wanted, in the order of the model.
static teg_result list_tensors(const teg_model* model,
                               const teg_load_params* params,
                               tegi_load_plan* plan, teg_error* err) {
  uint64_t most = teg_model_tensor_count(model);
  bool is_sorted = true;
  for (uint64_t i = 0; i < plan->capacity; ++i) {
    uint64_t tensor = params->tensors ? params->tensors[i] : i;
    TEG_REQUIRE(tensor < most, err,
                "load: there is no tensor %" PRIu64 ", the model has %" PRIu64,
                tensor, most);
    plan->placements[i].tensor = tensor;
    if (i > 0 && tensor <= plan->placements[i - 1].tensor) is_sorted = false;
  }
  plan->placement_count = plan->capacity;
  if (is_sorted) return TEG_OK;
  qsort(plan->placements, (size_t)plan->capacity, sizeof *plan->placements,
        compare_placements);
  for (uint64_t i = 1; i < plan->placement_count; ++i) {
    TEG_REQUIRE(plan->placements[i].tensor != plan->placements[i - 1].tensor,
                err, "load: tensor %" PRIu64 " is asked for twice",
                plan->placements[i].tensor);
  }
  return TEG_OK;
}

static void describe(const teg_model* model, const teg_load_hook* hook,
                     tegi_placement* placement) {
  teg_tensor_info info;
  (void)teg_model_tensor(model, placement->tensor, &info);
  placement->file = info.file_index;
  placement->file_offset = info.file_offset;
  placement->file_bytes = placement->bytes = info.bytes;
  placement->buffer = TEGI_NO_BUFFER;
  if (!hook || info.bytes == 0) return;
  uint64_t kept = hook->result_bytes(hook->user, &info);
  placement->is_converted = kept != TEG_LOAD_AS_IT_IS;
  if (placement->is_converted) placement->bytes = kept;
}

// ---- Which buffers ---------------------------------------------------------

static void open_buffer(tegi_load_plan* plan, tegi_placement* placement) {
  placement->buffer = plan->buffer_count;
  placement->offset = 0;
  plan->buffer_bytes[plan->buffer_count++] = placement->bytes;
}

// Behind what is in the last buffer, if there is room.
static bool pack(tegi_load_plan* plan, uint64_t alignment, uint64_t most,
                 tegi_placement* placement) {
  if (plan->buffer_count == 0) return false;
  uint64_t* last = &plan->buffer_bytes[plan->buffer_count - 1];
  if (*last > most) return false;
  uint64_t at = tegi_align_up(*last, alignment);
  if (at > most || placement->bytes > most - at) return false;
  placement->buffer = plan->buffer_count - 1;
  placement->offset = at;
  *last = at + placement->bytes;
  return true;
}

static teg_result place(const teg_session* session, bool is_packed,
                        tegi_load_plan* plan, teg_error* err) {
  const teg_backend_caps* caps = &session->device->caps;
  uint64_t alignment =
      tegi_max_u64(caps->binding_alignment, caps->buffer_alignment);
  uint64_t most = tegi_min_u64(PACKED_BYTES, caps->max_allocation_bytes);
  for (uint64_t i = 0; i < plan->placement_count; ++i) {
    tegi_placement* placement = &plan->placements[i];
    if (placement->bytes == 0) continue;
    TEG_REQUIRE(placement->bytes <= TEGI_MAX_BYTES, err,
                "load: tensor %" PRIu64 " would have %" PRIu64
                " bytes on the device",
                placement->tensor, placement->bytes);
    if (!is_packed || !pack(plan, alignment, most, placement)) {
      open_buffer(plan, placement);
    }
  }
  for (uint64_t i = 0; i < plan->buffer_count; ++i) {
    uint64_t bytes =
        tegi_align_up(plan->buffer_bytes[i], caps->buffer_alignment);
    TEG_REQUIRE(tegi_add_u64(plan->device_bytes, bytes, &plan->device_bytes),
                err, "load: the tensors have more than 2^64 bytes");
  }
  return TEG_OK;
}

static void sum_up(tegi_load_plan* plan) {
  for (uint64_t i = 0; i < plan->placement_count; ++i) {
    const tegi_placement* placement = &plan->placements[i];
    if (placement->bytes == 0) continue;
    plan->file_bytes += placement->file_bytes;
    if (!placement->is_converted) continue;
    plan->most_original_bytes =
        tegi_max_u64(plan->most_original_bytes, placement->file_bytes);
  }
}

teg_result tegi_load_plan_make(const teg_session* session,
                               const teg_model* model,
                               const teg_load_params* params,
                               tegi_load_plan* out_plan, teg_error* err) {
  *out_plan = (tegi_load_plan){0};
  tegi_load_plan* plan = out_plan;
  teg_result result = check_params(params, err);
  if (result != TEG_OK) return result;
  tegi_host* host = &session->device->host;
  plan->capacity =
      params->tensors ? params->tensor_count : teg_model_tensor_count(model);
  size_t count = (size_t)plan->capacity;
  if (count == 0) return TEG_OK;
  plan->placements = tegi_host_calloc(host, count, sizeof *plan->placements);
  plan->buffer_bytes =
      tegi_host_calloc(host, count, sizeof *plan->buffer_bytes);
  if (!plan->placements || !plan->buffer_bytes) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "load: no host memory for the plan of %" PRIu64
                          " tensors",
                          plan->capacity);
  }
  result = list_tensors(model, params, plan, err);
  if (result != TEG_OK) return result;
  for (uint64_t i = 0; i < plan->placement_count; ++i) {
    describe(model, params->hook, &plan->placements[i]);
  }
  result = place(session, params->is_packed, plan, err);
  if (result == TEG_OK) sum_up(plan);
  return result;
}

void tegi_load_plan_destroy(tegi_host* host, tegi_load_plan* plan) {
  size_t count = (size_t)plan->capacity;
  tegi_host_free(host, plan->placements, count * sizeof *plan->placements);
  tegi_host_free(host, plan->buffer_bytes, count * sizeof *plan->buffer_bytes);
  *plan = (tegi_load_plan){0};
}

const tegi_placement* tegi_placement_find(const tegi_placement* placements,
                                          uint64_t count, uint64_t tensor) {
  if (count == 0) return NULL;
  const tegi_placement key = {.tensor = tensor};
  return bsearch(&key, placements, (size_t)count, sizeof *placements,
                 compare_placements);
}

// ---- Is there room? --------------------------------------------------------

static teg_result missing(teg_result result, const tegi_load_plan* plan,
                          uint64_t more_bytes, uint64_t room, const char* whose,
                          teg_error* err) {
  uint64_t needed = plan->device_bytes + more_bytes;
  (void)tegi_error_set(err, result,
                       "load: %" PRIu64
                       " bytes are missing: the weights need %" PRIu64,
                       needed - room, plan->device_bytes);
  if (more_bytes) {
    tegi_error_append(err, ", loading them %" PRIu64 " more", more_bytes);
  }
  tegi_error_append(err, ", and %s has room for %" PRIu64, whose, room);
  return result;
}

static uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

teg_result tegi_load_plan_check_room(teg_session* session,
                                     const tegi_load_plan* plan,
                                     uint64_t more_bytes, teg_error* err) {
  teg_device* device = session->device;
  uint64_t needed;
  TEG_REQUIRE(tegi_add_u64(plan->device_bytes, more_bytes, &needed), err,
              "load: the tensors have more than 2^64 bytes");
  if (session->session_budget) {
    uint64_t live = tegi_load_relaxed(&session->totals.live_bytes);
    uint64_t room = less(session->session_budget, live);
    if (plan->device_bytes > room) {
      return missing(TEG_OVER_BUDGET, plan, 0, room,
                     "the budget of the session", err);
    }
  }
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(device, &stats);
  // Reserved and held by no buffer: sessions give it back when asked.
  uint64_t held = less(stats.reserved_bytes, stats.granted_bytes);
  if (device->options.budget) {
    uint64_t room = less(device->options.budget, stats.reserved_bytes) + held;
    if (needed > room) {
      return missing(TEG_OVER_BUDGET, plan, more_bytes, room,
                     "the budget of the device", err);
    }
  }
  uint64_t room = device->tables.device->query_available(device->backend);
  if (room != UINT64_MAX && needed > room + held) {
    return missing(TEG_OUT_OF_MEMORY, plan, more_bytes, room + held,
                   "the device", err);
  }
  return TEG_OK;
}
