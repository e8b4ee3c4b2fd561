// SPDX-License-Identifier: Apache-2.0
//
// tegula: device memory for programs that run neural networks.
//
// Conventions, for all headers:
//   - a call that can fail returns a teg_result and takes a teg_error last;
//     outputs are set to NULL or 0 first; state is unchanged on failure
//   - destroy(NULL) is fine; what is destroyed must not be used again
//   - parameter structs start with struct_size: begin with their ..._INIT
//   - device bytes and offsets are uint64_t; other units are in the name
//   - no call prints, exits or aborts
#ifndef TEGULA_TEGULA_H
#define TEGULA_TEGULA_H

#define TEG_VERSION_MAJOR 0
#define TEG_VERSION_MINOR 1
#define TEG_VERSION_PATCH 0

#include "tegula/buffer.h"
#include "tegula/check.h"
#include "tegula/device.h"
#include "tegula/kernel.h"
#include "tegula/load.h"
#include "tegula/options.h"
#include "tegula/replay.h"
#include "tegula/result.h"
#include "tegula/session.h"
#include "tegula/stats.h"
#include "tegula/stream.h"
#include "tegula/trace.h"

#endif  // TEGULA_TEGULA_H
