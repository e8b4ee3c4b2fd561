// SPDX-License-Identifier: Apache-2.0
//
// Planted faults of order, through the tables of checked devices: each is
// found, and its twin, where what is missing is there, is silent. The devices
// are null, host, a host that claims to order binds on its queue, and Vulkan
// where there is one: what the checker says is the same on all of them.
#include <stdio.h>
#include <string.h>

#include "backend/check/check_wrap.h"
#include "core/registry.h"
#include "support/call.h"
#include "support/device_fixture.h"

#define TILE UINT64_C(65536)
#define SIZE UINT64_C(4096)

enum { TILES = 4 };

typedef struct scene {
  device_fixture fx;
  const teg_queue_ops* queue;
  const teg_remap_ops* remap;
  bool is_ordered;  // binds are
  bool is_fake;
  teg_memory* x;
  teg_memory* y;
  teg_memory* heap;
  teg_memory* range;  // |TILES| tiles, none mapped; NULL without tiles
  teg_queue_stream* a;
  teg_queue_stream* b;
  teg_queue_stream* c;
  teg_queue_stream* bind;  // NULL where binds act at once
  uint64_t serials[4];     // of a, b, c, bind
  bool is_planted;
} scene;

// ---- A host device whose binds are ordered by the queue. Its ranges are
// buffers, and mapping does nothing: only what the checker says matters.

static struct fake_tables {
  teg_device_ops device;
  teg_remap_ops remap;
  teg_queue_stream* bind;
  void (*real_query_caps)(teg_backend_device* device, teg_backend_caps* caps);
} fake;

static void fake_query_caps(teg_backend_device* device,
                            teg_backend_caps* out_caps) {
  fake.real_query_caps(device, out_caps);
  out_caps->remap = TEG_REMAP_QUEUE_ORDERED;
}

static teg_result fake_map(teg_backend_device* device, teg_memory* range,
                           const teg_tile_run* runs, size_t run_count,
                           teg_error* err) {
  return TEG_OK;
}

static teg_queue_stream* fake_bind_stream(teg_backend_device* device) {
  return fake.bind;
}

static void fake_begin(device_fixture* fx) {
  teg_backend_tables* tables = &fx->device->tables;
  EXPECT_OK(fx, tables->queue->stream_create(fx->device, &fake.bind, &fx->err));
  fake.device = *tables->device;
  fake.real_query_caps = fake.device.query_caps;
  fake.device.query_caps = fake_query_caps;
  fake.remap = *tables->remap;
  fake.remap.range_reserve = fake.device.buffer_create;
  fake.remap.range_release = fake.device.memory_destroy;
  fake.remap.map = fake_map;
  fake.remap.unmap = fake_map;
  fake.remap.bind_stream = fake_bind_stream;
  tables->device = &fake.device;
  tables->remap = &fake.remap;
}

// ---- The scene.

typedef struct scene_config {
  device_config device;
  bool is_fake;
} scene_config;

static const scene_config configs[] = {
    {{"null", "null", TILE, true, false}, false},
    {{"host", "host", TILE, true, false}, false},
    {{"ordered", "host", TILE, true, false}, true},
    {{"vulkan", "vulkan", 0, true, false}, false},
};

static bool is_there(const device_config* config) {
  for (size_t i = 0; tegi_backends[i]; i++) {
    uint32_t count;
    if (strcmp(tegi_backends[i]->name, config->backend) == 0) {
      return tegi_backends[i]->probe(&count, NULL) == TEG_OK;
    }
  }
  return false;
}

static void check_fixture(device_fixture* fx) {
  if (fx->caps.flags & TEG_BACKEND_HAZARD_CHECKED) return;
  tegi_check_params params = {.allocator =
                                  device_fixture_allocator(&fx->allocator)};
  teg_backend_device* inner = fx->device;
  EXPECT_OK(fx, tegi_check_wrap(inner, &params, &fx->device, &fx->err));
  fx->tables = fx->device->tables;
  fx->tables.device->query_caps(fx->device, &fx->caps);
}

static uint64_t tile_of(const scene* s) { return s->fx.caps.tile_bytes; }

static void scene_begin(scene* s, const scene_config* config) {
  memset(s, 0, sizeof *s);
  device_fixture_open(&s->fx, &config->device, NULL);
  s->is_fake = config->is_fake;
  if (s->is_fake) fake_begin(&s->fx);
  check_fixture(&s->fx);
  s->queue = s->fx.tables.queue;
  s->remap = s->fx.tables.remap;
  s->x = fixture_buffer(&s->fx, SIZE);
  s->y = fixture_buffer(&s->fx, SIZE);
  if (s->remap) {
    s->heap = fixture_heap(&s->fx, TILES * tile_of(s));
    s->range = fixture_range(&s->fx, TILES * tile_of(s));
    s->is_ordered = s->fx.caps.remap == TEG_REMAP_QUEUE_ORDERED;
    s->is_ordered = s->is_ordered && s->remap->bind_stream;
    if (s->is_ordered) s->bind = s->remap->bind_stream(s->fx.device);
  }
  s->a = fixture_stream(&s->fx);
  s->b = fixture_stream(&s->fx);
  s->c = fixture_stream(&s->fx);
}

static uint64_t* serial_of(scene* s, const teg_queue_stream* stream) {
  if (stream == s->a) return &s->serials[0];
  if (stream == s->b) return &s->serials[1];
  return stream == s->c ? &s->serials[2] : &s->serials[3];
}

static void submit(scene* s, teg_queue_stream* stream) {
  EXPECT_OK(&s->fx,
            s->queue->submit(stream, ++*serial_of(s, stream), &s->fx.err));
}

static teg_result finish(scene* s, teg_queue_stream* stream) {
  return s->queue->wait(stream, *serial_of(s, stream), &s->fx.err);
}

static uint64_t report(scene* s, char* text, size_t text_size) {
  return s->fx.tables.check->get_report(s->fx.device, text, text_size);
}

static void scene_end(scene* s) {
  teg_queue_stream* streams[] = {s->c, s->b, s->a};
  for (size_t i = 0; i < 3; i++) {
    s->queue->stream_destroy(s->fx.device, streams[i]);
  }
  // Tiles that a scenario has left under addresses are taken away one by one.
  for (uint32_t t = 0; s->range && t < TILES; t++) {
    teg_tile_run run = {NULL, 0, t, 1};
    if (s->is_ordered || !s->is_fake) {
      teg_result result =
          s->remap->unmap(s->fx.device, s->range, &run, 1, NULL);
      (void)result;
    }
  }
  if (s->bind) {
    submit(s, s->bind);
    teg_result result = finish(s, s->bind);
    (void)result;
  }
  if (s->remap) {
    s->remap->range_release(s->fx.device, s->range);
    fixture_destroy(&s->fx, s->heap);
  }
  fixture_destroy(&s->fx, s->y);
  fixture_destroy(&s->fx, s->x);
  if (s->is_fake) {
    // The device beneath has it as a stream of its own.
    teg_backend_device* inner = tegi_check_inner(s->fx.device);
    inner->tables.queue->stream_destroy(inner, fake.bind);
  }
  device_fixture_close(&s->fx);
}

// ---- Steps.

static void fill_bytes(scene* s, teg_queue_stream* stream, teg_memory* memory,
                       uint64_t offset) {
  teg_span span = {memory, offset, 64, 1};
  EXPECT_OK(&s->fx, s->queue->record_fill(stream, &span, 7, &s->fx.err));
}

static void fill(scene* s, teg_queue_stream* stream, teg_memory* memory) {
  fill_bytes(s, stream, memory, 0);
}

static void copy(scene* s, teg_queue_stream* stream, teg_memory* target,
                 teg_memory* source) {
  teg_span to = {target, 0, 64, 1}, from = {source, 0, 64, 1};
  EXPECT_OK(&s->fx, s->queue->record_copy(stream, &to, &from, &s->fx.err));
}

static void barrier(scene* s, teg_queue_stream* stream) {
  fixture_barrier(&s->fx, stream);
}

static void wait_for(scene* s, teg_queue_stream* stream,
                     teg_queue_stream* other, uint64_t serial) {
  EXPECT_OK(&s->fx, s->queue->record_wait(stream, other, serial, &s->fx.err));
}

// Bytes that are written and that nobody is busy with.
static void settle(scene* s, teg_memory* memory) {
  barrier(s, s->c);
  fill(s, s->c, memory);
  submit(s, s->c);
  EXPECT_OK(&s->fx, finish(s, s->c));
}

static teg_result touch(scene* s, teg_memory* memory, bool is_written) {
  teg_span span = {memory, 0, 64, 1};
  return s->fx.tables.check->host_access(s->fx.device, &span, !is_written,
                                         is_written, &s->fx.err);
}

static teg_result map(scene* s, uint32_t range_tile, uint32_t heap_tile) {
  teg_tile_run run = {s->heap, heap_tile, range_tile, 1};
  return s->remap->map(s->fx.device, s->range, &run, 1, &s->fx.err);
}

static teg_result unmap(scene* s, uint32_t range_tile) {
  teg_tile_run run = {NULL, 0, range_tile, 1};
  return s->remap->unmap(s->fx.device, s->range, &run, 1, &s->fx.err);
}

// Tile 0 is under the begin of the range, for everybody.
static void map_settled(scene* s) {
  EXPECT_OK(&s->fx, map(s, 0, 0));
  if (!s->bind) return;
  submit(s, s->bind);
  EXPECT_OK(&s->fx, finish(s, s->bind));
}

// ---- Commands of one batch.

static void read_behind_write(scene* s) {
  barrier(s, s->a);
  fill(s, s->a, s->x);
  if (!s->is_planted) barrier(s, s->a);
  copy(s, s->a, s->y, s->x);
  submit(s, s->a);
}

static void write_behind_read(scene* s) {
  settle(s, s->x);
  barrier(s, s->a);
  copy(s, s->a, s->y, s->x);
  if (!s->is_planted) barrier(s, s->a);
  fill(s, s->a, s->x);
  submit(s, s->a);
}

static void write_behind_write(scene* s) {
  barrier(s, s->a);
  fill(s, s->a, s->x);
  fill_bytes(s, s->a, s->x, 64);
  if (!s->is_planted) barrier(s, s->a);
  fill_bytes(s, s->a, s->x, 32);
  submit(s, s->a);
}

// The barrier is there, and a command too late.
static void barrier_behind_the_reader(scene* s) {
  barrier(s, s->a);
  fill(s, s->a, s->x);
  if (!s->is_planted) barrier(s, s->a);
  copy(s, s->a, s->y, s->x);
  if (s->is_planted) barrier(s, s->a);
  submit(s, s->a);
}

// One tile, by its addresses and in its heap.
static void one_tile_by_two_names(scene* s) {
  map_settled(s);
  barrier(s, s->a);
  fill(s, s->a, s->range);
  if (!s->is_planted) barrier(s, s->a);
  copy(s, s->a, s->x, s->heap);
  submit(s, s->a);
}

// ---- Batches.

static void batch_without_first_barrier(scene* s) {
  barrier(s, s->a);
  fill(s, s->a, s->x);
  submit(s, s->a);
  if (!s->is_planted) barrier(s, s->a);
  copy(s, s->a, s->y, s->x);
  submit(s, s->a);
}

static void last_barrier_of_the_batch_before(scene* s) {
  fill(s, s->a, s->x);
  if (!s->is_planted) barrier(s, s->a);
  submit(s, s->a);
  copy(s, s->a, s->y, s->x);
  submit(s, s->a);
}

static void batch_of_another_stream(scene* s) {
  barrier(s, s->a);
  fill(s, s->a, s->x);
  submit(s, s->a);
  if (!s->is_planted) barrier(s, s->b);
  copy(s, s->b, s->y, s->x);
  submit(s, s->b);
}

static void wait_instead_of_barrier(scene* s) {
  fill(s, s->a, s->x);
  submit(s, s->a);
  if (!s->is_planted) wait_for(s, s->b, s->a, 1);
  copy(s, s->b, s->y, s->x);
  submit(s, s->b);
}

static void wait_for_a_batch_too_early(scene* s) {
  submit(s, s->a);
  fill(s, s->a, s->x);
  submit(s, s->a);
  wait_for(s, s->b, s->a, s->is_planted ? 1 : 2);
  copy(s, s->b, s->y, s->x);
  submit(s, s->b);
}

static void wait_for_who_waits(scene* s) {
  fill(s, s->a, s->x);
  submit(s, s->a);
  if (!s->is_planted) wait_for(s, s->c, s->a, 1);
  submit(s, s->c);
  wait_for(s, s->b, s->c, 1);
  copy(s, s->b, s->y, s->x);
  submit(s, s->b);
}

// A wait holds for its batch; the next one needs its own, or a barrier.
static void wait_of_the_batch_before(scene* s) {
  fill(s, s->a, s->x);
  submit(s, s->a);
  wait_for(s, s->b, s->a, 1);
  submit(s, s->b);
  if (!s->is_planted) barrier(s, s->b);
  copy(s, s->b, s->y, s->x);
  submit(s, s->b);
}

static void completion_instead_of_barrier(scene* s) {
  fill(s, s->a, s->x);
  submit(s, s->a);
  if (!s->is_planted) EXPECT_OK(&s->fx, finish(s, s->a));
  copy(s, s->a, s->y, s->x);
  submit(s, s->a);
}

// Who follows a batch that is seen to be complete is complete as well.
static void completion_of_who_follows(scene* s) {
  fill(s, s->a, s->x);
  submit(s, s->a);
  if (!s->is_planted) barrier(s, s->b);
  fill(s, s->b, s->y);
  submit(s, s->b);
  EXPECT_OK(&s->fx, finish(s, s->b));
  fill(s, s->c, s->x);
  submit(s, s->c);
}

// ---- The CPU.

static void cpu_reads_an_unfinished_copy(scene* s) {
  settle(s, s->x);
  barrier(s, s->a);
  copy(s, s->a, s->y, s->x);
  submit(s, s->a);
  if (!s->is_planted) EXPECT_OK(&s->fx, finish(s, s->a));
  EXPECT_RESULT(&s->fx, s->is_planted ? TEG_HAZARD : TEG_OK,
                touch(s, s->y, false));
}

static void cpu_writes_under_an_unfinished_copy(scene* s) {
  settle(s, s->x);
  barrier(s, s->a);
  copy(s, s->a, s->y, s->x);
  submit(s, s->a);
  EXPECT_OK(&s->fx, touch(s, s->x, false));
  if (!s->is_planted) EXPECT_OK(&s->fx, finish(s, s->a));
  EXPECT_RESULT(&s->fx, s->is_planted ? TEG_HAZARD : TEG_OK,
                touch(s, s->x, true));
}

// ---- Binds on a queue.

static void no_wait_for_a_bind(scene* s) {
  EXPECT_OK(&s->fx, map(s, 0, 0));
  submit(s, s->bind);
  if (!s->is_planted) wait_for(s, s->a, s->bind, 1);
  barrier(s, s->a);
  fill(s, s->a, s->range);
  submit(s, s->a);
}

static void wait_for_an_earlier_bind(scene* s) {
  EXPECT_OK(&s->fx, map(s, 0, 0));
  submit(s, s->bind);
  EXPECT_OK(&s->fx, map(s, 1, 1));
  submit(s, s->bind);
  wait_for(s, s->a, s->bind, s->is_planted ? 1 : 2);
  barrier(s, s->a);
  fill(s, s->a, s->range);
  fill_bytes(s, s->a, s->range, tile_of(s));
  submit(s, s->a);
}

// The batch before on the queue has waited, and a barrier passes that on.
static void wait_for_a_bind_passed_on(scene* s) {
  EXPECT_OK(&s->fx, map(s, 0, 0));
  submit(s, s->bind);
  wait_for(s, s->a, s->bind, 1);
  submit(s, s->a);
  if (!s->is_planted) barrier(s, s->b);
  fill(s, s->b, s->range);
  submit(s, s->b);
}

static void bind_seen_complete(scene* s) {
  EXPECT_OK(&s->fx, map(s, 0, 0));
  submit(s, s->bind);
  if (!s->is_planted) EXPECT_OK(&s->fx, finish(s, s->bind));
  barrier(s, s->a);
  fill(s, s->a, s->range);
  submit(s, s->a);
}

static void bind_that_does_not_wait(scene* s) {
  map_settled(s);
  barrier(s, s->a);
  fill(s, s->a, s->range);
  submit(s, s->a);
  if (!s->is_planted) wait_for(s, s->bind, s->a, 1);
  EXPECT_OK(&s->fx, unmap(s, 0));
  submit(s, s->bind);
}

// A tile moves on: the old user, the bind, the new user.
static void tile_handed_on(scene* s) {
  map_settled(s);
  barrier(s, s->a);
  fill(s, s->a, s->range);
  submit(s, s->a);
  wait_for(s, s->bind, s->a, 1);
  EXPECT_OK(&s->fx, unmap(s, 0));
  EXPECT_OK(&s->fx, map(s, 2, 0));
  submit(s, s->bind);
  if (!s->is_planted) wait_for(s, s->b, s->bind, 2);
  barrier(s, s->b);
  fill_bytes(s, s->b, s->range, 2 * tile_of(s));
  submit(s, s->b);
}

// The new user needs no barrier to the old one: it follows the bind, which
// follows the old one.
static void order_through_a_bind(scene* s) {
  map_settled(s);
  fill(s, s->a, s->range);
  submit(s, s->a);
  if (!s->is_planted) wait_for(s, s->bind, s->a, 1);
  EXPECT_OK(&s->fx, map(s, 1, 1));
  submit(s, s->bind);
  wait_for(s, s->b, s->bind, 2);
  fill(s, s->b, s->range);
  submit(s, s->b);
}

static void unmap_under_a_recorded_command(scene* s) {
  map_settled(s);
  barrier(s, s->a);
  fill(s, s->a, s->range);
  if (!s->is_planted) submit(s, s->a);
  EXPECT_RESULT(&s->fx, s->is_planted ? TEG_HAZARD : TEG_OK, unmap(s, 0));
  if (s->is_planted) {
    submit(s, s->a);
  } else {
    wait_for(s, s->bind, s->a, 1);
    submit(s, s->bind);
  }
}

static void discarded_binds_are_taken_back(scene* s) {
  map_settled(s);
  EXPECT_OK(&s->fx, unmap(s, 0));
  EXPECT_OK(&s->fx, map(s, 1, 0));
  if (!s->is_planted) s->queue->discard(s->bind);
  barrier(s, s->a);
  fill(s, s->a, s->range);
  submit(s, s->a);
}

static void heap_goes_behind_its_binds(scene* s) {
  teg_memory* heap = fixture_heap(&s->fx, tile_of(s));
  teg_tile_run run = {heap, 0, 1, 1};
  EXPECT_OK(&s->fx, s->remap->map(s->fx.device, s->range, &run, 1, &s->fx.err));
  submit(s, s->bind);
  EXPECT_OK(&s->fx, unmap(s, 1));
  if (!s->is_planted) submit(s, s->bind);
  fixture_destroy(&s->fx, heap);
}

// Nothing of a range that is gone is bound, or comes back.
static void range_takes_its_binds_along(scene* s) {
  teg_memory* range = fixture_range(&s->fx, tile_of(s));
  teg_tile_run run = {s->heap, 0, 0, 1};
  EXPECT_OK(&s->fx, s->remap->map(s->fx.device, range, &run, 1, &s->fx.err));
  if (!s->is_planted) s->remap->range_release(s->fx.device, range);
  EXPECT_RESULT(&s->fx, s->is_planted ? TEG_HAZARD : TEG_OK, map(s, 0, 0));
  if (s->is_planted) s->remap->range_release(s->fx.device, range);
  s->queue->discard(s->bind);
  map_settled(s);
}

// ---- Dispatches.

static teg_result nothing(const teg_invocation* invocation) { return TEG_OK; }

static void dispatch(scene* s, teg_queue_stream* stream,
                     const teg_dispatch* params) {
  teg_kernel_params kernel = {.struct_size = sizeof kernel};
  kernel.name = "nothing";
  kernel.function = nothing;
  teg_dispatch full = *params;
  const teg_kernel_ops* ops = s->fx.tables.kernel;
  EXPECT_OK(&s->fx,
            ops->create(s->fx.device, &kernel, &full.kernel, &s->fx.err));
  EXPECT_OK(&s->fx, ops->record_dispatch(stream, &full, &s->fx.err));
  ops->destroy(s->fx.device, full.kernel);
}

static void parameters_are_read(scene* s) {
  barrier(s, s->a);
  fill(s, s->a, s->x);
  if (!s->is_planted) barrier(s, s->a);
  dispatch(s, s->a, &(teg_dispatch){.parameters = {s->x, 0, 16, 0}});
  submit(s, s->a);
}

static void counts_are_read(scene* s) {
  barrier(s, s->a);
  fill(s, s->a, s->x);
  if (!s->is_planted) barrier(s, s->a);
  teg_span counts = {s->x, 16, 12, 1};
  dispatch(s, s->a, &(teg_dispatch){.indirect = &counts});
  submit(s, s->a);
}

static void bindings_are_written(scene* s) {
  barrier(s, s->a);
  teg_binding binding = {{s->x, 0, 64, 1}, false, true};
  dispatch(s, s->a, &(teg_dispatch){.bindings = &binding, .binding_count = 1});
  if (!s->is_planted) barrier(s, s->a);
  copy(s, s->a, s->y, s->x);
  submit(s, s->a);
}

// ---- The list.

typedef enum needs {
  NEEDS_NOTHING,
  NEEDS_TILES,
  NEEDS_BINDS,  // on the queue
  NEEDS_FAKE,   // a driver may not survive it
  NEEDS_CALLS,
} scenario_needs;

typedef struct scenario {
  const char* name;
  void (*run)(scene* s);
  scenario_needs needs;
  bool is_at_once;   // the fault is refused; no batch has it as its result
  const char* text;  // of the report
} scenario;

#define BETWEEN "no barrier between stream 1 batch 1 ("
#define OR_WAIT "no barrier or wait between stream 1 batch "

static const scenario scenarios[] = {
    {"read_behind_write", read_behind_write, NEEDS_NOTHING, false,
     BETWEEN "fill), command 1, which writes 64 bytes at 0 of memory"},
    {"write_behind_read", write_behind_read, NEEDS_NOTHING, false,
     BETWEEN "copy), command 1, which reads 64 bytes at 0 of memory"},
    {"write_behind_write", write_behind_write, NEEDS_NOTHING, false,
     "stream 1 batch 1 (fill), command 3, which writes them for owner 1"},
    {"barrier_behind_the_reader", barrier_behind_the_reader, NEEDS_NOTHING,
     false, BETWEEN},
    {"one_tile_by_two_names", one_tile_by_two_names, NEEDS_TILES, false,
     BETWEEN "fill)"},
    {"batch_without_first_barrier", batch_without_first_barrier, NEEDS_NOTHING,
     false, OR_WAIT "1 (fill)"},
    {"last_barrier_of_the_batch_before", last_barrier_of_the_batch_before,
     NEEDS_NOTHING, false, OR_WAIT "1 (fill)"},
    {"batch_of_another_stream", batch_of_another_stream, NEEDS_NOTHING, false,
     "stream 2 batch 1 (copy), command 1, which reads them for owner 1"},
    {"wait_instead_of_barrier", wait_instead_of_barrier, NEEDS_NOTHING, false,
     OR_WAIT "1 (fill)"},
    {"wait_for_a_batch_too_early", wait_for_a_batch_too_early, NEEDS_NOTHING,
     false, OR_WAIT "2 (fill)"},
    {"wait_for_who_waits", wait_for_who_waits, NEEDS_NOTHING, false,
     OR_WAIT "1 (fill)"},
    {"wait_of_the_batch_before", wait_of_the_batch_before, NEEDS_NOTHING, false,
     OR_WAIT "1 (fill)"},
    {"completion_instead_of_barrier", completion_instead_of_barrier,
     NEEDS_NOTHING, false, OR_WAIT "1 (fill)"},
    {"completion_of_who_follows", completion_of_who_follows, NEEDS_NOTHING,
     false, OR_WAIT "1 (fill)"},
    {"cpu_reads_an_unfinished_copy", cpu_reads_an_unfinished_copy,
     NEEDS_NOTHING, true, "the CPU reads 64 bytes at 0 of memory"},
    {"cpu_writes_under_an_unfinished_copy", cpu_writes_under_an_unfinished_copy,
     NEEDS_NOTHING, true, "the CPU writes 64 bytes at 0 of memory"},
    {"no_wait_for_a_bind", no_wait_for_a_bind, NEEDS_BINDS, false,
     "no wait orders it behind bind batch 1"},
    {"wait_for_an_earlier_bind", wait_for_an_earlier_bind, NEEDS_BINDS, false,
     "no wait orders it behind bind batch 2"},
    {"wait_for_a_bind_passed_on", wait_for_a_bind_passed_on, NEEDS_BINDS, false,
     "no wait orders it behind bind batch 1"},
    {"bind_seen_complete", bind_seen_complete, NEEDS_BINDS, false,
     "no wait orders it behind bind batch 1"},
    {"bind_that_does_not_wait", bind_that_does_not_wait, NEEDS_BINDS, false,
     "bind batch 2 unmaps tile 0 of memory 3 and does not wait for stream 1 "
     "batch 1 (fill)"},
    {"tile_handed_on", tile_handed_on, NEEDS_BINDS, false,
     "no wait orders it behind bind batch 2"},
    {"order_through_a_bind", order_through_a_bind, NEEDS_BINDS, false,
     OR_WAIT "1 (fill)"},
    {"unmap_under_a_recorded_command", unmap_under_a_recorded_command,
     NEEDS_BINDS, true,
     "is unmapped before stream 1 batch 1 (fill), which touches it, is "
     "submitted"},
    {"discarded_binds_are_taken_back", discarded_binds_are_taken_back,
     NEEDS_BINDS, false, "with no tile"},
    {"heap_goes_behind_its_binds", heap_goes_behind_its_binds, NEEDS_FAKE, true,
     "is destroyed before bind batch 2, which moves tiles of it, is "
     "submitted"},
    {"range_takes_its_binds_along", range_takes_its_binds_along, NEEDS_BINDS,
     true, "is mapped elsewhere already"},
    {"parameters_are_read", parameters_are_read, NEEDS_CALLS, false,
     "(dispatch), command 2, which reads them for owner 0"},
    {"counts_are_read", counts_are_read, NEEDS_CALLS, false,
     "(dispatch), command 2, which reads them for owner 1"},
    {"bindings_are_written", bindings_are_written, NEEDS_CALLS, false,
     BETWEEN "dispatch)"},
};

static bool has(const scene* s, scenario_needs needs) {
  switch (needs) {
    case NEEDS_NOTHING:
      return true;
    case NEEDS_TILES:
      return s->range && !s->is_fake;
    case NEEDS_BINDS:
      return s->is_ordered;
    case NEEDS_FAKE:
      return s->is_fake;
    case NEEDS_CALLS:
      return fixture_has_calls(&s->fx);
  }
  return false;
}

// How many of the streams' waits say that a batch is wrong.
static int finish_all(scene* s) {
  teg_queue_stream* streams[] = {s->a, s->b, s->c, s->bind};
  int hazard_count = 0;
  for (size_t i = 0; i < 4; i++) {
    if (!streams[i]) continue;
    teg_result result = finish(s, streams[i]);
    hazard_count += result == TEG_HAZARD;
    if (result != TEG_HAZARD) assert_int_equal(result, TEG_OK);
    // Once.
    EXPECT_OK(&s->fx, finish(s, streams[i]));
  }
  return hazard_count;
}

static void play(scene* s, const scenario* one, bool is_planted) {
  s->is_planted = is_planted;
  one->run(s);
  int wrong_count = finish_all(s);
  char text[512];
  uint64_t count = report(s, text, sizeof text);
  if (!is_planted) {
    if (count) fail_msg("the twin is reported: %s", text);
    assert_int_equal(wrong_count, 0);
    return;
  }
  if (!strstr(text, one->text)) {
    fail_msg("\"%s\" is not in \"%s\"", one->text, text);
  }
  assert_int_equal(wrong_count, one->is_at_once ? 0 : 1);
}

typedef struct scenario_case {
  const scenario* scenario;
  const scene_config* config;
  char name[128];
} scenario_case;

static void run_case(void** state) {
  const scenario_case* one = *state;
  if (!is_there(&one->config->device)) skip();
  for (int is_planted = 0; is_planted < 2; is_planted++) {
    static scene s;
    scene_begin(&s, one->config);
    bool is_possible = has(&s, one->scenario->needs);
    if (is_possible) play(&s, one->scenario, is_planted);
    scene_end(&s);
    if (!is_possible) skip();
  }
}

// ---- What a wrapper passes on.

static void what_the_device_lacks_is_not_there(void** state) {
  (void)state;
  static scene s;
  scene_begin(&s, &configs[1]);
  assert_null(s.fx.tables.map->tile_pointer);
  assert_null(s.fx.tables.map->flush);
  assert_null(s.fx.tables.device->staging_create);
  assert_null(s.remap->bind_stream);
  assert_non_null(tegi_check_inner(s.fx.device));
  assert_null(tegi_check_inner(tegi_check_inner(s.fx.device)));
  assert_null(tegi_check_inner(NULL));
  scene_end(&s);
}

static void reports_are_counted_until_reset(void** state) {
  (void)state;
  static scene s;
  scene_begin(&s, &configs[1]);
  for (int i = 0; i < 3; i++) {
    fill(&s, s.a, s.x);
    fill(&s, s.a, s.x);
    submit(&s, s.a);
  }
  char text[512];
  // In each batch, and between them.
  assert_true(report(&s, text, sizeof text) >= 5);
  assert_non_null(strstr(text, "stream 1 batch 1"));
  s.fx.tables.check->reset_report(s.fx.device);
  assert_int_equal(report(&s, text, sizeof text), 0);
  assert_string_equal(text, "");
  EXPECT_RESULT(&s.fx, TEG_HAZARD, finish(&s, s.a));
  EXPECT_OK(&s.fx, finish(&s, s.a));
  scene_end(&s);
}

// A wait for an earlier batch does not report a later one.
static void a_hazard_belongs_to_its_batch(void** state) {
  (void)state;
  static scene s;
  scene_begin(&s, &configs[1]);
  submit(&s, s.a);
  fill(&s, s.a, s.x);
  fill(&s, s.a, s.x);
  EXPECT_OK(&s.fx, s.queue->wait(s.a, 1, &s.fx.err));
  submit(&s, s.a);
  EXPECT_OK(&s.fx, s.queue->wait(s.a, 1, &s.fx.err));
  EXPECT_RESULT(&s.fx, TEG_HAZARD, s.queue->wait(s.a, 2, &s.fx.err));
  // What is dropped was never wrong.
  fill(&s, s.a, s.x);
  fill(&s, s.a, s.x);
  s.queue->discard(s.a);
  submit(&s, s.a);
  EXPECT_OK(&s.fx, finish(&s, s.a));
  scene_end(&s);
}

// ---- Without host memory.

// A call fails cleanly: it works when it is made again.
#define RETRY(s, call)                                  \
  do {                                                  \
    teg_result first_ = (call);                         \
    if (first_ != TEG_OK) {                             \
      assert_int_equal(first_, TEG_OUT_OF_HOST_MEMORY); \
      assert_string_not_equal((s)->fx.err.message, ""); \
      EXPECT_OK(&(s)->fx, call);                        \
    }                                                   \
  } while (0)

static void bind_and_use(scene* s) {
  teg_error* err = &s->fx.err;
  teg_span span = {s->range, 0, 64, 1};
  RETRY(s, map(s, 0, 0));
  RETRY(s, s->queue->submit(s->bind, 1, err));
  RETRY(s, s->queue->record_wait(s->a, s->bind, 1, err));
  RETRY(s, s->queue->record_barrier(s->a, err));
  RETRY(s, s->queue->record_fill(s->a, &span, 7, err));
  RETRY(s, s->queue->submit(s->a, 1, err));
  RETRY(s, s->queue->record_wait(s->b, s->a, 1, err));
  RETRY(s, s->queue->record_fill(s->b, &span, 8, err));
  RETRY(s, s->queue->submit(s->b, 1, err));
  RETRY(s, s->queue->record_wait(s->bind, s->b, 1, err));
  RETRY(s, unmap(s, 0));
  RETRY(s, s->queue->submit(s->bind, 2, err));
  RETRY(s, s->queue->record_wait(s->bind, s->a, 1, err));
  RETRY(s, map(s, 1, 1));
  s->queue->discard(s->bind);
  RETRY(s, map(s, 2, 1));
  RETRY(s, s->queue->submit(s->bind, 3, err));
  s->serials[0] = s->serials[1] = 1;
  s->serials[3] = 3;
}

static void every_call_can_lack_host_memory(void** state) {
  (void)state;
  uint64_t left = 0, k;
  for (k = 1; left == 0; k++) {
    static scene s;
    scene_begin(&s, &configs[2]);
    tegi_store_relaxed(&s.fx.allocator.fail_at, k);
    bind_and_use(&s);
    left = tegi_load_relaxed(&s.fx.allocator.fail_at);
    tegi_store_relaxed(&s.fx.allocator.fail_at, 0);
    assert_int_equal(finish_all(&s), 0);
    char text[512];
    if (report(&s, text, sizeof text)) fail_msg("%s", text);
    scene_end(&s);
  }
  assert_true(k > 8);
}

int main(void) {
  enum {
    SCENARIOS = sizeof scenarios / sizeof *scenarios,
    CONFIGS = sizeof configs / sizeof *configs,
    OTHERS = 4,
    MOST = SCENARIOS * CONFIGS,
  };
  static scenario_case cases[MOST];
  static struct CMUnitTest list[MOST + OTHERS] = {
      cmocka_unit_test(what_the_device_lacks_is_not_there),
      cmocka_unit_test(reports_are_counted_until_reset),
      cmocka_unit_test(a_hazard_belongs_to_its_batch),
      cmocka_unit_test(every_call_can_lack_host_memory),
  };
  for (size_t i = 0; i < MOST; i++) {
    scenario_case* one = &cases[i];
    one->scenario = &scenarios[i % SCENARIOS];
    one->config = &configs[i / SCENARIOS];
    snprintf(one->name, sizeof one->name, "%s/%s", one->config->device.name,
             one->scenario->name);
    list[OTHERS + i] = (struct CMUnitTest){
        .name = one->name, .test_func = run_case, .initial_state = one};
  }
  return _cmocka_run_group_tests("order", list, MOST + OTHERS, NULL, NULL);
}
