// SPDX-License-Identifier: Apache-2.0
//
// A buffer that is written anew while commands still read what it was: its
// block trades places with a spare that nothing uses, which the CPU can write
// at once. So the inputs of every run rotate over as many blocks as batches
// run ahead, and one more. A buffer keeps its spares, oldest first, until it
// is destroyed: given back, each would become part of a hole that is as busy
// as its busiest part.
#include "core/objects.h"

// Where any number of batches may run ahead.
enum { SPARES_OTHERWISE = 4 };

// What a caller may know the place of does not move; weights stay contiguous.
static bool may_move(const teg_buffer* buffer) {
  return !(buffer->flags & TEGI_BUFFER_HAS_MAX_SIZE) &&
         buffer->lifetime != TEG_LIFETIME_STATIC &&
         !(buffer->flags & (TEG_BUFFER_DEDICATED | TEG_BUFFER_FOREIGN)) &&
         !buffer->has_foreign && buffer->block.use.host_holds == 0;
}

// ---- Spares: linked by bin_next. Session's lock held -----------------------

static void append_spare(teg_buffer* buffer, tegi_block* block) {
  if (!buffer->has_spares) buffer->spares = NULL;
  buffer->has_spares = true;
  tegi_block** at = &buffer->spares;
  while (*at) at = &(*at)->bin_next;
  // No caller holds it: the record is no buffer's.
  ((teg_buffer*)block)->session = NULL;
  block->bin_next = NULL;
  *at = block;
}

static tegi_block* take_spare(teg_buffer* buffer) {
  tegi_block* block = buffer->spares;
  buffer->spares = block->bin_next;
  return block;
}

void tegi_fresh_release(teg_buffer* buffer) {
  tegi_policy* policy = tegi_buffer_policy(buffer);
  while (buffer->spares) policy->ops->give(policy, take_spare(buffer));
}

static uint64_t count_spares(const teg_buffer* buffer) {
  uint64_t count = 0;
  if (!buffer->has_spares) return 0;
  for (const tegi_block* at = buffer->spares; at; at = at->bin_next) count++;
  return count;
}

// ---- One more --------------------------------------------------------------

static tegi_block* make_block(teg_session* session, tegi_policy* policy,
                              const tegi_request* request) {
  tegi_lock_acquire(&session->lock);
  tegi_block* block = policy->ops->take(policy, request);
  tegi_lock_release(&session->lock);
  if (block) return block;
  tegi_mutex_lock(&session->growth);
  if (policy->ops->grow(policy, request, &block, NULL) != TEG_OK) block = NULL;
  tegi_mutex_unlock(&session->growth);
  return block;
}

static void add_spare(teg_stream* stream, teg_buffer* buffer) {
  teg_session* session = buffer->session;
  tegi_policy* policy = tegi_buffer_policy(buffer);
  const tegi_request request = {
      .size =
          tegi_align_up(buffer->size, session->device->caps.buffer_alignment),
      .stream = stream->timeline.id};
  tegi_block* block = make_block(session, policy, &request);
  if (!block) return;
  tegi_lock_acquire(&session->lock);
  if (block->size == buffer->block.size) {
    append_spare(buffer, block);
  } else {
    policy->ops->give(policy, block);
  }
  tegi_lock_release(&session->lock);
}

// Trades places with the first spare that is idle. Session's lock held.
static bool exchange_idle(teg_buffer* buffer) {
  if (!buffer->has_spares) return false;
  teg_session* session = buffer->session;
  tegi_policy* policy = tegi_buffer_policy(buffer);
  tegi_block** at = &buffer->spares;
  while (*at && !tegi_device_set_is_idle(session->device, &(*at)->use)) {
    at = &(*at)->bin_next;
  }
  tegi_block* spare = *at;
  if (!spare) return false;
  *at = spare->bin_next;
  policy->ops->exchange(policy, &buffer->block, spare);
  buffer->inherited = (tegi_use){0};
  append_spare(buffer, spare);
  return true;
}

bool tegi_fresh_block(teg_stream* stream, teg_buffer* buffer) {
  teg_session* session = buffer->session;
  if (!tegi_buffer_policy(buffer)->ops->exchange || !may_move(buffer)) {
    return false;
  }
  uint64_t most = session->options.batches_in_flight;
  if (most == 0) most = SPARES_OTHERWISE;
  tegi_lock_acquire(&session->lock);
  bool is_done = exchange_idle(buffer);
  tegi_lock_release(&session->lock);
  if (is_done || count_spares(buffer) >= most) return is_done;
  add_spare(stream, buffer);
  tegi_lock_acquire(&session->lock);
  is_done = exchange_idle(buffer);
  tegi_lock_release(&session->lock);
  return is_done;
}
