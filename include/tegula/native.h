// SPDX-License-Identifier: Apache-2.0
//
// The driver's objects behind tegula's, for programs that call the driver
// themselves. What is given, and how it may be used, is said by the backend's
// own header (tegula/vulkan.h), whose functions are made of these four.
//
//   backend  whose objects are meant; TEG_UNSUPPORTED on a device of another,
//            and on one whose calls are checked
//   out      a structure of the backend's header, with its struct_size set
#ifndef TEGULA_NATIVE_H
#define TEGULA_NATIVE_H

#include "tegula/buffer.h"
#include "tegula/device.h"
#include "tegula/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

TEG_API TEG_NODISCARD teg_result teg_device_native(const teg_device* device,
                                                   const char* backend,
                                                   void* out, teg_error* err);
// Valid until the buffer is destroyed or resized. TEG_INVALID for one that was
// not made with TEG_BUFFER_FOREIGN: its memory could pass to another while the
// program's own commands still use it.
TEG_API TEG_NODISCARD teg_result teg_buffer_native(const teg_buffer* buffer,
                                                   const char* backend,
                                                   void* out, teg_error* err);
// Valid until the stream is destroyed.
TEG_API TEG_NODISCARD teg_result teg_stream_native(const teg_stream* stream,
                                                   const char* backend,
                                                   void* out, teg_error* err);
// The batch being recorded waits, on the device, for |event|, a structure of
// the backend's header.
TEG_API TEG_NODISCARD teg_result teg_stream_wait_native(teg_stream* stream,
                                                        const char* backend,
                                                        const void* event,
                                                        teg_error* err);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_NATIVE_H
