// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite cannot see of the Vulkan device's timestamps: the
// numbers of those that are dropped, and clocks of other machines.
#include "backend/vulkan/vulkan_backend.h"
#include "backend/vulkan/vulkan_register.h"
#include "support/device_fixture.h"

static const device_config plain = {"vulkan", "vulkan", 65536, false, false};

#define NEEDS_DEVICE()   \
  (void)state;           \
  uint32_t device_count; \
  if (tegi_vk_backend.probe(&device_count, NULL) != TEG_OK) skip()

static tegi_vk_device* native(device_fixture* fx) {
  return tegi_vk_device_from(fx->device);
}

static PFN_vkCreateQueryPool real_create;
static uint32_t fail_count;

static VKAPI_ATTR VkResult VKAPI_CALL
failing_queries(VkDevice device, const VkQueryPoolCreateInfo* info,
                const VkAllocationCallbacks* callbacks, VkQueryPool* out) {
  return fail_count ? (fail_count--, VK_ERROR_OUT_OF_DEVICE_MEMORY)
                    : real_create(device, info, callbacks, out);
}

static void run(device_fixture* fx, teg_queue_stream* stream, uint64_t serial) {
  EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
  EXPECT_OK(fx, fx->tables.queue->wait(stream, serial, &fx->err));
}

static void dropped_timestamps_are_given_again(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  const teg_queue_ops* queue = fx.tables.queue;
  if (!queue->record_timestamp) {
    device_fixture_close(&fx);
    skip();
  }
  teg_queue_stream* stream = fixture_stream(&fx);
  uint64_t first, second, ns;
  real_create = native(&fx)->vk.CreateQueryPool;
  native(&fx)->vk.CreateQueryPool = failing_queries;
  fail_count = 1;
  EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY,
                queue->record_timestamp(stream, &first, &fx.err));
  EXPECT_OK(&fx, queue->record_timestamp(stream, &first, &fx.err));
  EXPECT_RESULT(&fx, TEG_BAD_STATE,
                queue->timestamp(stream, first, &ns, &fx.err));
  queue->discard(stream);
  EXPECT_RESULT(&fx, TEG_BAD_STATE,
                queue->timestamp(stream, first, &ns, &fx.err));
  EXPECT_OK(&fx, queue->record_timestamp(stream, &second, &fx.err));
  assert_int_equal(second, first);
  run(&fx, stream, 1);
  EXPECT_OK(&fx, queue->timestamp(stream, second, &ns, &fx.err));
  assert_true(ns > 0);
  EXPECT_RESULT(&fx, TEG_BAD_STATE,
                queue->timestamp(stream, second + 1, &ns, &fx.err));
  queue->stream_destroy(fx.device, stream);
  device_fixture_close(&fx);
}

static void ticks_are_nanoseconds(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  tegi_vk_device* device = native(&fx);
  device->timestamp_bits = 64;
  device->facts.timestamp_ns = 1.0f;
  assert_true(tegi_vk_ticks_to_ns(device, UINT64_MAX) == UINT64_MAX);
  device->facts.timestamp_ns = 52.0f;
  assert_true(tegi_vk_ticks_to_ns(device, UINT64_C(1) << 57) == UINT64_C(52)
                                                                    << 57);
  device->facts.timestamp_ns = 0.5f;
  assert_true(tegi_vk_ticks_to_ns(device, UINT64_C(3) << 40) == UINT64_C(3)
                                                                    << 39);
  device_fixture_close(&fx);
}

// A clock of few bits begins anew, and time goes on.
static void ticks_go_on_past_their_bits(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  tegi_vk_device* device = native(&fx);
  device->facts.timestamp_ns = 1.0f;
  device->timestamp_bits = 36;
  const uint64_t round = UINT64_C(1) << 36;
  uint64_t ticks = round - 1000;
  const uint64_t begin = tegi_vk_ticks_to_ns(device, ticks);
  for (uint64_t passed = 300; passed < 3 * round; passed += round / 3) {
    assert_true(tegi_vk_ticks_to_ns(device, (ticks + passed) % round) ==
                begin + passed);
    // An older one, read late.
    assert_true(tegi_vk_ticks_to_ns(device, (ticks + passed - 200) % round) ==
                begin + passed - 200);
  }
  device_fixture_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dropped_timestamps_are_given_again),
      cmocka_unit_test(ticks_are_nanoseconds),
      cmocka_unit_test(ticks_go_on_past_their_bits),
  };
  return cmocka_run_group_tests_name("vulkan_clock", tests, NULL, NULL);
}
