// SPDX-License-Identifier: Apache-2.0
//
// A session: one loaded model on a device, with its policies, what they have
// learned, its streams and its buffers. It is ended by the program, or with
// its device. Between run_begin and run_end is one inference; outside of runs
// a session is idle and lends its free memory to the others.
//
//   create -> load (STATIC buffers) -> trim -> { run_begin ... run_end } ->
//   destroy
//
// Any thread may allocate and free; two sessions run at once.
#ifndef TEGULA_SESSION_H
#define TEGULA_SESSION_H

#include "tegula/buffer.h"
#include "tegula/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_session_params {
  uint32_t struct_size;
  uint32_t reserved;           // 0
  const char* name;            // for reports; NULL = "session"
  const teg_options* options;  // session options are read; NULL = defaults
} teg_session_params;

#define TEG_SESSION_PARAMS_INIT \
  { sizeof(teg_session_params), 0, NULL, NULL }

TEG_API TEG_NODISCARD teg_result
teg_session_create(teg_device* device, const teg_session_params* params,
                   teg_session** out_session, teg_error* err);

// Waits for the session's submitted work, then frees what is left of it;
// buffers still alive are named in the log. NULL is fine.
TEG_API void teg_session_destroy(teg_session* session);

// One inference. A run inside a run, or an end without a begin, is
// TEG_BAD_STATE. run_end submits nothing.
TEG_API TEG_NODISCARD teg_result teg_session_run_begin(teg_session* session,
                                                       teg_error* err);
TEG_API TEG_NODISCARD teg_result teg_session_run_end(teg_session* session,
                                                     teg_error* err);

// Gives the session's free memory back to the driver (not what other sessions
// hold), and starts the live peak that slack is measured by anew: what loading
// needed for a moment is no measure for the runs. Returns the bytes given
// back. Threads: any. TEG_TRIM_UNUSED only gives heaps back.
TEG_API uint64_t teg_session_trim(teg_session* session, teg_trim_level level);

// A number for a name, to account buffers under; the same name gives the same
// number. At most 63 names a session.
// Returns TEG_LIMIT, TEG_INVALID, TEG_OUT_OF_HOST_MEMORY.
TEG_API TEG_NODISCARD teg_result teg_session_tag(teg_session* session,
                                                 const char* name,
                                                 uint32_t* out_tag,
                                                 teg_error* err);

// The stream every session starts with. Owned by the session.
TEG_API teg_stream* teg_session_stream(teg_session* session);

// The name of the policy that serves |lifetime| (after "auto" was resolved).
TEG_API const char* teg_session_policy(const teg_session* session,
                                       teg_lifetime lifetime);

// Checks every structure of the session against its own records.
// Returns TEG_BAD_STATE with what is wrong. For tests; slow.
TEG_API TEG_NODISCARD teg_result teg_session_validate(teg_session* session,
                                                      teg_error* err);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_SESSION_H
