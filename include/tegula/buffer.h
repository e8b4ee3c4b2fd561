// SPDX-License-Identifier: Apache-2.0
//
// A buffer: bytes on a device that belong to one session. The session's
// policy for the buffer's lifetime decides where they come from and what
// becomes of them. A buffer is destroyed by the program, or with its session.
//
//   create -> (commands, maps) -> destroy
//
// Destroying a buffer that commands still use is fine, and usual: the memory
// passes to a new owner only as the rule of reuse allows (docs/design.md).
#ifndef TEGULA_BUFFER_H
#define TEGULA_BUFFER_H

#include "tegula/result.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_buffer teg_buffer;
typedef struct teg_session teg_session;
typedef struct teg_stream teg_stream;

// How long a buffer is meant to live. Numbers are pinned: traces store them.
typedef enum teg_lifetime {
  TEG_LIFETIME_UNKNOWN = 0,   // taken as TEG_LIFETIME_RUN
  TEG_LIFETIME_STATIC = 1,    // weights: until the session ends
  TEG_LIFETIME_STATE = 2,     // across runs, like a KV cache; may grow
  TEG_LIFETIME_RUN = 3,       // inside a run
  TEG_LIFETIME_PARAMS = 4,    // a few bytes per dispatch
  TEG_LIFETIME_STAGING = 5,   // host to device
  TEG_LIFETIME_READBACK = 6,  // device to host
  TEG_LIFETIME_COUNT = 7,
} teg_lifetime;

typedef uint32_t teg_buffer_flags;
enum {
  TEG_BUFFER_NONE = 0,
  // A device object of its own at offset 0 that never moves.
  TEG_BUFFER_DEDICATED = 1u << 0,
  // The program uses the buffer through its native handle or address, where
  // tegula cannot see it: its use is stamped when it is destroyed, on the home
  // stream and on every stream named by teg_buffer_used_on().
  TEG_BUFFER_FOREIGN = 1u << 1,
};

typedef struct teg_buffer_params {
  uint32_t struct_size;
  teg_lifetime lifetime;
  teg_buffer_flags flags;
  uint32_t tag;        // from teg_session_tag(); 0 = untagged
  uint64_t size;       // bytes, 1 .. 2^62
  uint64_t max_size;   // STATE only: may be resized up to this; 0 = fixed
  teg_stream* stream;  // home stream, the session's own; NULL = its first
} teg_buffer_params;

#define TEG_BUFFER_PARAMS_INIT                                             \
  {                                                                        \
    sizeof(teg_buffer_params), TEG_LIFETIME_RUN, TEG_BUFFER_NONE, 0, 0, 0, \
        NULL                                                               \
  }

// Makes a buffer of |params->size| bytes; the contents are undefined.
//   out_buffer  set only on TEG_OK; give back with teg_buffer_destroy()
// Returns    TEG_OVER_BUDGET, TEG_OUT_OF_MEMORY, TEG_LIMIT (normal: nothing is
//            logged; |err| says what was asked, tried, and who holds memory),
//            TEG_OUT_OF_HOST_MEMORY, TEG_INVALID (an argument, named in |err|)
// On failure no state changes.  Threads: any.  May block: only when memory
// has to be waited for.  May call the driver: only when the policy must grow.
TEG_API TEG_NODISCARD teg_result
teg_buffer_create(teg_session* session, const teg_buffer_params* params,
                  teg_buffer** out_buffer, teg_error* err);

// Gives the buffer back. NULL is fine. Threads: any. Never fails or blocks.
TEG_API void teg_buffer_destroy(teg_buffer* buffer);

// Grows or shrinks a STATE buffer made with a max_size. The address stays and
// nothing is copied; new bytes are undefined.
// Returns TEG_INVALID for a size of 0, above max_size, or a fixed buffer;
//         otherwise as create. On failure the buffer is as it was.
TEG_API TEG_NODISCARD teg_result teg_buffer_resize(teg_buffer* buffer,
                                                   uint64_t size,
                                                   teg_error* err);

// Says that commands tegula cannot see use the buffer on |stream|: at destroy
// it is stamped there as well. Returns TEG_OUT_OF_HOST_MEMORY at worst.
TEG_API TEG_NODISCARD teg_result teg_buffer_used_on(teg_buffer* buffer,
                                                    teg_stream* stream,
                                                    teg_error* err);

// A pointer through which the CPU may read and write the buffer's bytes. The
// buffer has a host hold from here to the unmap, or to its destruction, which
// ends all its maps; maps count.
// Waits until the device is done with the bytes.
// Returns TEG_UNSUPPORTED where memory cannot be mapped, or, as a wait does,
// the error that a stream which has used the buffer has kept.
TEG_API TEG_NODISCARD teg_result teg_buffer_map(teg_buffer* buffer,
                                                void** out_pointer,
                                                teg_error* err);
// Ends one map.
TEG_API void teg_buffer_unmap(teg_buffer* buffer);

typedef struct teg_buffer_info {
  uint32_t struct_size;
  teg_lifetime lifetime;
  teg_buffer_flags flags;
  uint32_t tag;
  uint64_t size;           // as asked for
  uint64_t granted_bytes;  // as the policy rounded it
  uint64_t number;         // unique on its device, never reused
  // Where it is. Stays as long as the buffer, unless teg_stream_write replaces
  // all its bytes (option fresh_max); never changes for STATIC, DEDICATED,
  // FOREIGN and growing buffers, and for those that are mapped.
  uint64_t offset;     // inside its device object
  const void* memory;  // identity of that device object
  const char* policy;  // name of the policy that placed it
} teg_buffer_info;

TEG_API void teg_buffer_get_info(const teg_buffer* buffer,
                                 teg_buffer_info* out_info);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_BUFFER_H
