// SPDX-License-Identifier: Apache-2.0
//
// Use sets with more than one entry. The further entries are nodes of a
// chain, each holding a few. A stream has at most one entry in a set.
#include "range/useset.h"

enum { ENTRIES_PER_NODE = 6 };

struct tegi_use_list {
  tegi_use_list* next;
  uint32_t count;
  uint32_t unused;
  tegi_use entries[ENTRIES_PER_NODE];
};

bool tegi_use_at(const tegi_use_set* set, size_t index, tegi_use* out_use) {
  if (set->stream == 0) return false;
  if (index == 0) {
    *out_use = (tegi_use){set->stream, 0, set->serial};
    return true;
  }
  index--;
  for (const tegi_use_list* node = set->more; node; node = node->next) {
    if (index < node->count) {
      *out_use = node->entries[index];
      return true;
    }
    index -= node->count;
  }
  return false;
}

static tegi_use* find(tegi_use_set* set, uint32_t stream) {
  for (tegi_use_list* node = set->more; node; node = node->next) {
    for (uint32_t i = 0; i < node->count; ++i) {
      if (node->entries[i].stream == stream) return &node->entries[i];
    }
  }
  return NULL;
}

bool tegi_use_stamp_slow(tegi_host* host, tegi_use_set* set, uint32_t stream,
                         uint64_t serial) {
  if (set->stream == stream) {
    if (set->serial < serial) set->serial = serial;
    return true;
  }
  tegi_use* entry = find(set, stream);
  if (entry) {
    if (entry->serial < serial) entry->serial = serial;
    return true;
  }
  tegi_use_list* node = set->more;
  if (!node || node->count == ENTRIES_PER_NODE) {
    node = tegi_host_alloc(host, sizeof *node);
    if (!node) return false;
    node->next = set->more;
    set->more = node;
  }
  node->entries[node->count++] = (tegi_use){stream, 0, serial};
  return true;
}

static void free_node(tegi_host* host, tegi_use_list* node) {
  tegi_host_free(host, node, sizeof *node);
}

void tegi_use_clear(tegi_host* host, tegi_use_set* set) {
  while (set->more) {
    tegi_use_list* node = set->more;
    set->more = node->next;
    free_node(host, node);
  }
  *set = (tegi_use_set){0};
}

bool tegi_use_merge_slow(tegi_host* host, tegi_use_set* into,
                         tegi_use_set* from) {
  if (into->stream == 0) {
    uint32_t holds = into->host_holds;
    *into = *from;
    into->host_holds += holds;
    *from = (tegi_use_set){0};
    return true;
  }
  if (from->stream != 0 &&
      !tegi_use_stamp(host, into, from->stream, from->serial)) {
    return false;
  }
  // From here on nothing can fail: an entry that finds no room in |into|
  // stays in its node, which joins the chain.
  while (from->more) {
    tegi_use_list* node = from->more;
    from->more = node->next;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->count; ++i) {
      tegi_use use = node->entries[i];
      if (!tegi_use_stamp(host, into, use.stream, use.serial)) {
        node->entries[kept++] = use;
      }
    }
    node->count = kept;
    if (kept == 0) {
      free_node(host, node);
    } else {
      node->next = into->more;
      into->more = node;
    }
  }
  into->host_holds += from->host_holds;
  *from = (tegi_use_set){0};
  return true;
}

bool tegi_use_copy(tegi_host* host, tegi_use_set* into,
                   const tegi_use_set* from) {
  *into = (tegi_use_set){from->serial, from->stream, from->host_holds, NULL};
  tegi_use_list** tail = &into->more;
  for (const tegi_use_list* node = from->more; node; node = node->next) {
    tegi_use_list* copy = tegi_host_alloc(host, sizeof *copy);
    if (!copy) {
      tegi_use_clear(host, into);
      return false;
    }
    *copy = *node;
    copy->next = NULL;
    *tail = copy;
    tail = &copy->next;
  }
  return true;
}

void tegi_use_prune(tegi_host* host, tegi_use_set* set,
                    bool (*is_over)(void* user, tegi_use use), void* user) {
  tegi_use_set kept = {.host_holds = set->host_holds};
  tegi_use_list* spare = set->more;
  tegi_use_list* rest = NULL;
  tegi_use first = {set->stream, 0, set->serial};
  if (first.stream != 0 && !is_over(user, first)) {
    kept.stream = first.stream;
    kept.serial = first.serial;
  }
  while (spare) {
    tegi_use_list* node = spare;
    spare = node->next;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->count; ++i) {
      tegi_use use = node->entries[i];
      if (is_over(user, use)) continue;
      if (kept.stream == 0) {
        kept.stream = use.stream;
        kept.serial = use.serial;
      } else {
        node->entries[count++] = use;
      }
    }
    node->count = count;
    if (count == 0) {
      free_node(host, node);
    } else {
      node->next = rest;
      rest = node;
    }
  }
  kept.more = rest;
  *set = kept;
}
