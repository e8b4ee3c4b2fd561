// SPDX-License-Identifier: Apache-2.0
//
// Slots of parameters. See parameters.h. A slot's content is kept in host
// memory too, since staging memory may be slow to read. No lock: a stream is
// used by one thread.
#include "core/parameters.h"

#include <string.h>

#include "base/error.h"
#include "core/objects.h"

enum {
  SMALLEST_SLOT_BYTES = 256,
  PAGE_BYTES = 16384,
};

// One cache line: a dispatch often finds it cold.
struct tegi_parameter_slot {
  tegi_parameter_slot* following;  // in the ring
  tegi_parameter_slot* next;       // of the same head
  tegi_parameter_page* page;
  uint8_t* content;  // the copy in host memory
  uint64_t serial;   // of the last batch that reads it; 0 = none yet
  uint64_t hash;
  uint32_t offset;
  uint32_t size;  // of the content; 0 = none yet
};

struct tegi_parameter_page {
  tegi_parameter_page* next;
  tegi_extent* extent;
  uint8_t* pointer;
  uint32_t slot_bytes;
  uint32_t slot_count;
  uint8_t* contents;
  tegi_parameter_slot slots[];
};

static uint32_t class_of(uint32_t size) {
  uint32_t at = 0;
  while (((uint32_t)SMALLEST_SLOT_BYTES << (2 * at)) < size) at++;
  return at;
}

static uint64_t hash_of(const void* content, uint32_t size) {
  const uint8_t* bytes = content;
  uint64_t hash = size;
  while (size > 0) {
    uint64_t word = 0;
    uint32_t taken = size < sizeof word ? size : (uint32_t)sizeof word;
    memcpy(&word, bytes, taken);
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
    bytes += taken;
    size -= taken;
  }
  return hash;
}

// ---- By content ------------------------------------------------------------

static tegi_parameter_slot** head_of(tegi_parameters* self, uint64_t hash) {
  return &self->heads[hash >> 32 & (TEGI_PARAMETER_HEADS - 1)];
}

static void forget_content(tegi_parameters* self, tegi_parameter_slot* slot) {
  if (slot->size == 0) return;
  tegi_parameter_slot** at = head_of(self, slot->hash);
  while (*at != slot) at = &(*at)->next;
  *at = slot->next;
  slot->size = 0;
}

// A call costs more than the first word, where most contents differ.
static inline bool has_content(const tegi_parameter_slot* slot,
                               const void* content, uint32_t size) {
  uint64_t word, other;
  if (slot->size != size) return false;
  if (size < sizeof word) return memcmp(slot->content, content, size) == 0;
  memcpy(&word, slot->content, sizeof word);
  memcpy(&other, content, sizeof other);
  if (word != other) return false;
  return size == sizeof word || memcmp(slot->content, content, size) == 0;
}

static tegi_parameter_slot* find(tegi_parameters* self, const void* content,
                                 uint32_t size, uint64_t hash) {
  tegi_parameter_slot* slot = *head_of(self, hash);
  while (slot && (slot->hash != hash || !has_content(slot, content, size))) {
    slot = slot->next;
  }
  return slot;
}

// Parameters are often those of the dispatch before, or follow each other as
// they did the last time.
static tegi_parameter_slot* guess(const tegi_parameter_class* ring,
                                  const void* content, uint32_t size) {
  tegi_parameter_slot* last = ring->last;
  if (!last) return NULL;
  if (has_content(last->following, content, size)) return last->following;
  return has_content(last, content, size) ? last : NULL;
}

// ---- Pages -----------------------------------------------------------------

static size_t record_bytes(uint32_t slot_count) {
  return sizeof(tegi_parameter_page) + slot_count * sizeof(tegi_parameter_slot);
}

static void free_page(tegi_host* host, tegi_parameter_page* page) {
  if (!page) return;
  tegi_host_free(host, page->contents,
                 (size_t)page->slot_count * page->slot_bytes);
  tegi_host_free(host, page, record_bytes(page->slot_count));
}

static tegi_parameter_page* new_page(tegi_host* host, uint32_t slot_bytes) {
  uint32_t count = slot_bytes < PAGE_BYTES ? PAGE_BYTES / slot_bytes : 1;
  tegi_parameter_page* page = tegi_host_alloc(host, record_bytes(count));
  if (!page) return NULL;
  page->slot_bytes = slot_bytes;
  page->slot_count = count;
  page->contents = tegi_host_calloc(host, count, slot_bytes);
  if (page->contents) return page;
  free_page(host, page);
  return NULL;
}

// Puts the slots of a new page into the ring, next to be written.
static void enter_slots(tegi_parameter_class* ring, tegi_parameter_page* page) {
  tegi_parameter_slot* slots = page->slots;
  uint32_t count = page->slot_count;
  for (uint32_t i = 0; i < count; ++i) {
    slots[i] = (tegi_parameter_slot){
        .following = i + 1 < count ? &slots[i + 1] : &slots[0],
        .page = page,
        .offset = i * page->slot_bytes,
        .content = page->contents + (size_t)i * page->slot_bytes};
  }
  if (ring->before) {
    slots[count - 1].following = ring->before->following;
    ring->before->following = &slots[0];
  } else {
    ring->before = &slots[count - 1];
    ring->last = ring->before;
  }
}

static teg_result add_page(teg_stream* stream, uint32_t class_index,
                           teg_error* err) {
  teg_session* session = stream->session;
  tegi_parameters* self = &stream->parameters;
  tegi_host* host = &session->device->host;
  uint64_t alignment = session->device->caps.parameter_alignment;
  uint32_t slot_bytes = (uint32_t)tegi_align_up(
      (uint64_t)SMALLEST_SLOT_BYTES << (2 * class_index), alignment);
  tegi_parameter_page* page = new_page(host, slot_bytes);
  if (!page) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "dispatch: no host memory for parameters");
  }
  uint64_t bytes = (uint64_t)page->slot_count * slot_bytes;
  teg_result result = TEG_EXHAUSTED;
  if (self->bytes + bytes <= session->options.parameters_max) {
    result = tegi_staging_create(session, bytes, false, &page->extent,
                                 (char**)&page->pointer, err);
  }
  if (result != TEG_OK) {
    free_page(host, page);
    return result;
  }
  enter_slots(&self->classes[class_index], page);
  page->next = self->pages;
  self->pages = page;
  self->bytes += bytes;
  return TEG_OK;
}

// ---- Taking a slot ---------------------------------------------------------

static bool is_free(teg_stream* stream, const tegi_parameter_slot* slot) {
  return slot->serial <= tegi_load_relaxed(&stream->timeline.completed) ||
         slot->serial <= teg_stream_completed(stream);
}

// Finds a slot that may be written among the next few of the ring, which goes
// on behind it. NULL if there is none.
static tegi_parameter_slot* next_free(teg_stream* stream,
                                      tegi_parameter_class* ring) {
  enum { LOOKS = 8 };
  if (!ring->before) return NULL;
  for (int i = 0; i < LOOKS; ++i) {
    ring->before = ring->before->following;
    if (is_free(stream, ring->before)) return ring->before;
  }
  return NULL;
}

static teg_result take_slot(teg_stream* stream, uint32_t class_index,
                            tegi_parameter_slot** out_slot, teg_error* err) {
  tegi_parameter_class* ring = &stream->parameters.classes[class_index];
  *out_slot = next_free(stream, ring);
  if (*out_slot) return TEG_OK;
  teg_result result = add_page(stream, class_index, err);
  if (result == TEG_EXHAUSTED && !ring->before) {
    return tegi_error_set(err, TEG_LIMIT,
                          "dispatch: parameters_max has no room for slots of "
                          "this size beside the others");
  }
  if (result != TEG_OK && !ring->before) return result;
  // A new one, or else the oldest.
  ring->before = ring->before->following;
  *out_slot = ring->before;
  if (result == TEG_OK) return TEG_OK;
  return tegi_stream_wait_own(stream, ring->before->serial, err);
}

static teg_result write_slot(teg_stream* stream, tegi_parameter_slot* slot,
                             const void* content, uint32_t size, uint64_t hash,
                             teg_error* err) {
  tegi_parameters* self = &stream->parameters;
  forget_content(self, slot);
  tegi_parameter_page* page = slot->page;
  teg_span span = {page->extent->memory, slot->offset, size, 0};
  teg_result result =
      tegi_device_host_access(stream->session->device, &span, true, err);
  if (result != TEG_OK) return result;
  memcpy(page->pointer + slot->offset, content, size);
  memcpy(slot->content, content, size);
  result = tegi_device_flush(stream->session->device, page->extent->memory,
                             slot->offset, page->slot_bytes, err);
  if (result != TEG_OK) return result;
  slot->hash = hash;
  slot->size = size;
  slot->next = *head_of(self, hash);
  *head_of(self, hash) = slot;
  return TEG_OK;
}

teg_result tegi_parameters_put(teg_stream* stream, const void* content,
                               uint32_t size, teg_span* out_span,
                               teg_error* err) {
  if (size == 0) {
    *out_span = (teg_span){0};
    return TEG_OK;
  }
  tegi_parameters* self = &stream->parameters;
  uint32_t class_index = class_of(size);
  tegi_parameter_class* ring = &self->classes[class_index];
  tegi_parameter_slot* slot = guess(ring, content, size);
  uint64_t hash = slot ? slot->hash : hash_of(content, size);
  if (!slot) slot = find(self, content, size, hash);
  if (slot) {
    self->hit_count++;
  } else {
    teg_result result = take_slot(stream, class_index, &slot, err);
    if (result != TEG_OK) return result;
    result = write_slot(stream, slot, content, size, hash, err);
    if (result != TEG_OK) return result;
    self->miss_count++;
  }
  ring->last = slot;
  slot->serial = tegi_stream_recording(stream);
  *out_span = (teg_span){slot->page->extent->memory, slot->offset, size, 0};
  return TEG_OK;
}

void tegi_parameters_destroy(teg_stream* stream) {
  tegi_parameters* self = &stream->parameters;
  while (self->pages) {
    tegi_parameter_page* page = self->pages;
    self->pages = page->next;
    tegi_staging_retire(stream, page->extent);
    free_page(&stream->session->device->host, page);
  }
  *self = (tegi_parameters){0};
}
