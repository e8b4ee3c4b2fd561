// SPDX-License-Identifier: Apache-2.0
//
// bucket: buffers by a fixed table of size classes, each with a limit on how
// many free ones are kept. Requests above the largest class are served exactly
// and never kept. The default table is ONNX Runtime's (its WebGPU execution
// provider, buffer_manager.cc; "tuned based on 80 models").
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "policy/whole.h"

enum { MOST_CLASSES = 4096 };

static const char ort_table[] =
    "64:250 128:200 256:200 512:200 2048:230 4096:200 8192:50 16384:50 "
    "32768:50 65536:50 131072:50 262144:50 524288:50 1048576:50 2097152:30 "
    "4194304:20 8388608:10 12582912:10 16777216:10 26214400:15 33554432:22 "
    "44236800:2 58982400:6 67108864:6 134217728:6 167772160:6";

static teg_result bad_table(teg_error* err, const char* at, const char* why) {
  return tegi_error_set(err, TEG_INVALID,
                        "buckets: %s at \"%.40s\"; expected size:count pairs "
                        "with ascending sizes, such as \"4096:50 65536:20\"",
                        why, at);
}

static teg_result parse_pair(const char** in_out_at, uint64_t* out_size,
                             uint64_t* out_limit, teg_error* err) {
  const char* at = *in_out_at;
  char* end;
  *out_size = strtoull(at, &end, 10);
  if (end == at || *end != ':') return bad_table(err, at, "no size");
  const char* limit = end + 1;
  *out_limit = strtoull(limit, &end, 10);
  if (end == limit) return bad_table(err, at, "no count");
  while (*end == ' ' || *end == ',') end++;
  *in_out_at = end;
  return TEG_OK;
}

// Counts the pairs, and fills |items| unless it is NULL.
static teg_result parse_table(const char* text, tegi_class* items,
                              uint32_t* out_count, teg_error* err) {
  uint64_t before = 0;
  *out_count = 0;
  for (const char* at = text; *at;) {
    uint64_t size = 0;
    uint64_t limit = 0;
    const char* pair = at;
    teg_result result = parse_pair(&at, &size, &limit, err);
    if (result != TEG_OK) return result;
    if (size <= before || size > TEGI_MAX_BYTES) {
      return bad_table(err, pair, "sizes do not ascend");
    }
    if (limit >= UINT32_MAX) return bad_table(err, pair, "count too large");
    if (*out_count == MOST_CLASSES) return bad_table(err, pair, "too many");
    if (items) {
      items[*out_count] = (tegi_class){.size = size, .limit = (uint32_t)limit};
    }
    before = size;
    (*out_count)++;
  }
  return *out_count ? TEG_OK : bad_table(err, text, "no pair");
}

teg_result tegi_buckets_check(const char* text, teg_error* err) {
  uint32_t count = 0;
  return *text ? parse_table(text, NULL, &count, err) : TEG_OK;
}

static void destroy(tegi_policy* policy) {
  tegi_class_policy* self = tegi_class_policy_from(policy);
  tegi_class_table* table = &self->table;
  tegi_class_policy_retire_all(self);
  tegi_host* host = self->env.host;
  tegi_host_free(host, table->items, table->count * sizeof *table->items);
  tegi_host_free(host, self, sizeof *self);
}

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  const char* text = env->options->buckets;
  if (!text || !*text) text = ort_table;
  uint32_t count = 0;
  teg_result result = parse_table(text, NULL, &count, err);
  if (result != TEG_OK) return result;
  tegi_class_policy* self =
      tegi_class_policy_new(env, &tegi_policy_bucket, sizeof *self, err);
  if (!self) return TEG_OUT_OF_HOST_MEMORY;
  tegi_class* items = tegi_host_calloc(env->host, count, sizeof *items);
  if (!items) {
    tegi_host_free(env->host, self, sizeof *self);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy bucket: no host memory");
  }
  (void)parse_table(text, items, &count, NULL);
  self->table.items = items;
  self->table.count = count;
  tegi_class_table_index(&self->table);
  *out_policy = &self->base;
  return TEG_OK;
}

static tegi_block* take(tegi_policy* policy, const tegi_request* request) {
  return tegi_class_policy_take(tegi_class_policy_from(policy), request);
}

const tegi_policy_ops tegi_policy_bucket = {
    .name = "bucket",
    .keeps = "buffers by a table of size classes with limits",
    .create = create,
    .destroy = destroy,
    .take = take,
    .give = tegi_class_policy_give,
    .grow = tegi_class_policy_grow,
    .trim = tegi_class_policy_trim,
    .lend_buffers = tegi_class_policy_lend,
    .exchange = tegi_whole_exchange,
    .validate = tegi_class_policy_validate,
};
