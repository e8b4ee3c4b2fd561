// SPDX-License-Identifier: Apache-2.0
//
// disabled: nothing is kept. Each request is a device buffer of its own,
// destroyed once it is idle. Also what serves DEDICATED buffers, and exact
// weights under the policies that keep whole buffers.
#include "base/error.h"
#include "policy/whole.h"

typedef struct disabled_policy {
  tegi_policy base;
  tegi_policy_env env;
} disabled_policy;

static disabled_policy* cast(tegi_policy* policy) {
  return (disabled_policy*)policy;
}

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  disabled_policy* self = tegi_host_alloc(env->host, sizeof *self);
  if (!self) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy disabled: no host memory");
  }
  self->base.ops = &tegi_policy_disabled;
  self->env = *env;
  *out_policy = &self->base;
  return TEG_OK;
}

static void destroy(tegi_policy* policy) {
  disabled_policy* self = cast(policy);
  tegi_host_free(self->env.host, self, sizeof *self);
}

static tegi_block* take(tegi_policy* policy, const tegi_request* request) {
  (void)policy;
  (void)request;
  return NULL;
}

static void give(tegi_policy* policy, tegi_block* block) {
  tegi_whole_retire(&cast(policy)->env, block);
}

static teg_result grow(tegi_policy* policy, const tegi_request* request,
                       tegi_block** out_block, teg_error* err) {
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  return tegi_whole_create(&cast(policy)->env, size, request, out_block, err);
}

static uint64_t trim(tegi_policy* policy, uint64_t wanted, bool is_idle_only,
                     tegi_stream_id stream) {
  (void)policy;
  (void)wanted;
  (void)is_idle_only;
  (void)stream;
  return 0;
}

static teg_result validate(tegi_policy* policy, teg_error* err) {
  (void)policy;
  (void)err;
  return TEG_OK;
}

const tegi_policy_ops tegi_policy_disabled = {
    .name = "disabled",
    .keeps = "nothing: each request is a device buffer of its own",
    .create = create,
    .destroy = destroy,
    .take = take,
    .give = give,
    .grow = grow,
    .trim = trim,
    .exchange = tegi_whole_exchange,
    .validate = validate,
};
