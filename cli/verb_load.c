// SPDX-License-Identifier: Apache-2.0
//
// tegula load: a model's tensors into a session on a device, with figures.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clean.h"
#include "cli.h"
#include "load_report.h"
#include "progress.h"
#include "resident.h"

enum {
  KEY_WAY = 1,
  KEY_THREADS,
  KEY_PACKED,
  KEY_VERIFY,
  KEY_JSON,
  KEY_REPEAT,
  VERIFY_BYTES = 4 << 20,
};

typedef struct load_request {
  const char* path;
  const char* device;  // as given
  char* backend;
  uint32_t device_index;
  teg_options* options;
  teg_load_way way;
  uint32_t thread_count;
  uint32_t repeat_count;
  bool is_packed;
  bool is_verified;
  bool is_json;
  bool is_quiet;
} load_request;

static const struct argp_option load_options[] = {
    {"device", 'd', "NAME[:N]", 0, "Device to load on (host)", 1},
    {"way", KEY_WAY, "WAY", 0,
     "How bytes get there: auto, mapped (read in place) or staged (auto)", 1},
    {"threads", KEY_THREADS, "N", 0, "Threads that read (as many as help)", 1},
    {"packed", KEY_PACKED, NULL, 0,
     "Tensors share few buffers, instead of having one each", 1},
    {"repeat", KEY_REPEAT, "N", 0, "Load N times, each in a new session (1)",
     1},
    {"set", 's', "KEY=VALUE", 0, "Any option; see `tegula options`", 1},
    {"verify", KEY_VERIFY, NULL, 0,
     "Read all bytes back and compare them with the file", 2},
    {"json", KEY_JSON, NULL, 0, "Print a JSON object", 2},
    {"quiet", 'q', NULL, 0, "Show no progress", 2},
    {0}};

static const char about[] =
    "Loads the tensors of the model FILE (safetensors, its index, or GGUF) "
    "into a session on a device, and says how fast, by which way, and what "
    "memory it took."
    "\vWays and figures are explained in docs/load.md.";

// ---- The command line -------------------------------------------------------

static teg_load_way parse_way(const char* text) {
  static const char* const names[] = {"auto", "mapped", "staged"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    if (strcmp(text, names[i]) == 0) return (teg_load_way)i;
  }
  exit(
      cli_fail(CLI_USAGE, "--way: \"%s\" is not auto, mapped or staged", text));
}

// "host" or "host:1".
static void set_device(load_request* request, const char* text) {
  free(request->backend);
  request->device = text;
  request->backend = strdup(text);
  if (!request->backend) exit(cli_fail(CLI_FAILED, "no memory"));
  char* colon = strchr(request->backend, ':');
  request->device_index = 0;
  if (!colon) return;
  *colon = '\0';
  request->device_index = (uint32_t)cli_number("--device", colon + 1, 0, 1023);
}

static void set_option(load_request* request, const char* pair) {
  teg_error err;
  if (teg_options_set_pair(request->options, pair, &err) == TEG_OK) return;
  exit(cli_fail(CLI_USAGE, "--set: %s", err.message));
}

static error_t parse(int key, char* argument, struct argp_state* state) {
  load_request* request = state->input;
  switch (key) {
    case 'd':
      set_device(request, argument);
      return 0;
    case KEY_WAY:
      request->way = parse_way(argument);
      return 0;
    case KEY_THREADS:
      request->thread_count =
          (uint32_t)cli_number("--threads", argument, 1, 64);
      return 0;
    case KEY_PACKED:
      request->is_packed = true;
      return 0;
    case KEY_REPEAT:
      request->repeat_count =
          (uint32_t)cli_number("--repeat", argument, 1, 1000);
      return 0;
    case 's':
      set_option(request, argument);
      return 0;
    case KEY_VERIFY:
      request->is_verified = true;
      return 0;
    case KEY_JSON:
      request->is_json = true;
      return 0;
    case 'q':
      request->is_quiet = true;
      return 0;
    case ARGP_KEY_ARG:
      if (request->path) argp_error(state, "one FILE only: \"%s\"", argument);
      request->path = argument;
      return 0;
    case ARGP_KEY_NO_ARGS:
      argp_error(state, "a FILE is needed");
      return EINVAL;
    default:
      return ARGP_ERR_UNKNOWN;
  }
}

// ---- The device -------------------------------------------------------------

static int open_device(const load_request* request, teg_device** out_device) {
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = request->backend;
  params.device_index = request->device_index;
  params.options = request->options;
  teg_error err;
  teg_result result = teg_device_create(&params, out_device, &err);
  if (result == TEG_OK) return CLI_OK;
  bool is_usage = result == TEG_NOT_FOUND || result == TEG_INVALID;
  return cli_fail(is_usage ? CLI_USAGE : CLI_FAILED, "--device: %s",
                  err.message);
}

// Whether the device's memory is the process's own and counts as resident.
static bool has_own_memory(const load_request* request) {
  teg_backend_info info = {.struct_size = sizeof info};
  for (size_t i = 0; teg_backend_get_info(i, &info) == TEG_OK; ++i) {
    if (strcmp(info.name, request->backend) != 0) continue;
    teg_device_description about_device = {.struct_size = sizeof about_device};
    if (teg_backend_describe(i, request->device_index, &about_device, NULL) !=
        TEG_OK) {
      return true;  // host and null have nothing to describe
    }
    return about_device.type == TEG_DEVICE_HOST ||
           about_device.type == TEG_DEVICE_CPU;
  }
  return false;
}

// ---- One load ---------------------------------------------------------------

typedef struct watching {
  cli_progress* progress;
  cli_resident resident;
} watching;

static bool watch(void* user, const teg_load_progress* now) {
  watching* seen = user;
  cli_resident_look(&seen->resident, now->done_bytes,
                    now->done_bytes == now->total_bytes);
  cli_progress_tell(seen->progress, now->done_bytes, now->total_bytes);
  return true;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool read_file(int file, char* to, uint64_t size, uint64_t offset) {
  while (size > 0) {
    ssize_t got = pread(file, to, (size_t)size, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    offset += (uint64_t)got;
    size -= (uint64_t)got;
  }
  return true;
}

// Compares a tensor on the device with its bytes in the file.
static int verify_tensor(const teg_weights* weights, teg_stream* stream,
                         uint64_t index, const teg_tensor_info* info,
                         const char* path, int file, char* bytes[2]) {
  teg_buffer* buffer;
  uint64_t offset;
  uint64_t size;
  teg_error err;
  if (teg_weights_tensor(weights, index, &buffer, &offset, &size, &err) !=
      TEG_OK) {
    return cli_fail(CLI_FAILED, "%s", err.message);
  }
  for (uint64_t done = 0; done < size;) {
    uint64_t piece = size - done < VERIFY_BYTES ? size - done : VERIFY_BYTES;
    if (teg_stream_read(stream, buffer, offset + done, bytes[0], piece, &err) !=
        TEG_OK) {
      return cli_fail(CLI_FAILED, "%s", err.message);
    }
    uint64_t at = info->file_offset + done;
    if (!read_file(file, bytes[1], piece, at)) {
      return cli_fail(CLI_INPUT, "%s: byte %" PRIu64 " cannot be read again",
                      path, at);
    }
    if (memcmp(bytes[0], bytes[1], (size_t)piece) != 0) {
      uint64_t same = 0;
      while (bytes[0][same] == bytes[1][same]) same++;
      return cli_fail(CLI_MISMATCH,
                      "%s: tensor \"%s\" is not what the file has, from byte "
                      "%" PRIu64 " of the file",
                      path, info->name, at + same);
    }
    done += piece;
  }
  return CLI_OK;
}

static int verify_tensors(const teg_model* model, const teg_weights* weights,
                          teg_stream* stream, char* bytes[2]) {
  int code = CLI_OK;
  int file = -1;
  const char* path = NULL;
  uint32_t file_index = UINT32_MAX;
  teg_tensor_info info;
  for (uint64_t i = 0; code == CLI_OK && teg_model_tensor(model, i, &info);
       ++i) {
    if (info.file_index != file_index) {
      if (file >= 0) close(file);
      file_index = info.file_index;
      path = teg_model_file_path(model, file_index);
      file = open(path, O_RDONLY | O_CLOEXEC);
      if (file < 0) return cli_fail(CLI_INPUT, "%s: %s", path, strerror(errno));
    }
    code = verify_tensor(weights, stream, i, &info, path, file, bytes);
  }
  if (file >= 0) close(file);
  return code;
}

static int verify(const teg_model* model, const teg_weights* weights,
                  teg_session* session, cli_load_result* out_result) {
  char* bytes[2] = {malloc(VERIFY_BYTES), malloc(VERIFY_BYTES)};
  uint64_t begin_ns = now_ns();
  int code =
      bytes[0] && bytes[1]
          ? verify_tensors(model, weights, teg_session_stream(session), bytes)
          : cli_fail(CLI_FAILED, "no memory");
  out_result->verify_ns = now_ns() - begin_ns;
  out_result->is_verified = code == CLI_OK;
  free(bytes[0]);
  free(bytes[1]);
  return code;
}

static bool is_file_trouble(teg_result result) {
  return result == TEG_IO || result == TEG_TRUNCATED || result == TEG_CORRUPT;
}

static int load_in(const load_request* request, teg_session* session,
                   const teg_model* model, cli_progress* progress,
                   cli_load_result* out_result) {
  watching seen = {.progress = progress};
  cli_resident_begin(&seen.resident, has_own_memory(request));
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.is_packed = request->is_packed;
  params.way = request->way;
  params.thread_count = request->thread_count;
  params.watch = watch;
  params.watch_user = &seen;
  teg_weights* weights = NULL;
  teg_error err;
  teg_result result = teg_load(session, model, &params, &weights, &err);
  cli_progress_wipe(progress);
  if (result != TEG_OK) {
    return cli_fail(is_file_trouble(result) ? CLI_INPUT : CLI_FAILED, "%s",
                    err.message);
  }
  out_result->stats.struct_size = sizeof out_result->stats;
  teg_weights_get_stats(weights, &out_result->stats);
  out_result->peak_resident_bytes = (uint64_t)seen.resident.peak_bytes;
  out_result->peak_own_resident_bytes = (uint64_t)seen.resident.peak_own_bytes;
  int code = CLI_OK;
  if (request->is_verified) code = verify(model, weights, session, out_result);
  teg_weights_destroy(weights);
  return code;
}

static int load_once(const load_request* request, teg_device* device,
                     const teg_model* model, cli_progress* progress,
                     cli_load_result* out_result) {
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.name = "load";
  params.options = request->options;
  teg_session* session = NULL;
  teg_error err;
  teg_result result = teg_session_create(device, &params, &session, &err);
  if (result != TEG_OK) {
    bool is_usage = result == TEG_NOT_FOUND || result == TEG_INVALID;
    return cli_fail(is_usage ? CLI_USAGE : CLI_FAILED, "%s", err.message);
  }
  int code = load_in(request, session, model, progress, out_result);
  teg_session_destroy(session);
  return code;
}

// ---- All --------------------------------------------------------------------

static int load_all(const load_request* request, teg_device* device,
                    const teg_model* model, cli_load_result* loads) {
  cli_progress progress;
  cli_progress_begin(&progress, request->repeat_count, !request->is_quiet);
  int code = CLI_OK;
  for (uint32_t i = 0; code == CLI_OK && i < request->repeat_count; ++i) {
    cli_progress_step(&progress, request->path, request->device);
    code = load_once(request, device, model, &progress, &loads[i]);
    cli_progress_end_step(&progress);
  }
  cli_progress_wipe(&progress);
  return code;
}

static int run(const load_request* request, const teg_model* model) {
  teg_device* device = NULL;
  int code = open_device(request, &device);
  if (code != CLI_OK) return code;
  cli_load_result* loads = calloc(request->repeat_count, sizeof *loads);
  code = loads ? load_all(request, device, model, loads)
               : cli_fail(CLI_FAILED, "no memory");
  if (code == CLI_OK) {
    const cli_load_results results = {
        .path = request->path,
        .format = teg_model_format(model),
        .device = request->device,
        .tensor_count = teg_model_tensor_count(model),
        .bytes = teg_model_tensor_bytes(model),
        .loads = loads,
        .load_count = request->repeat_count,
    };
    (request->is_json ? cli_print_load_json : cli_print_load)(&results);
  }
  free(loads);
  teg_device_destroy(device);
  return code;
}

int cli_load(int argc, char** argv) {
  const struct argp argp = {.options = load_options,
                            .parser = parse,
                            .args_doc = "FILE",
                            .doc = about};
  load_request request = {.repeat_count = 1};
  teg_error err;
  if (teg_options_create(NULL, &request.options, &err) != TEG_OK) {
    return cli_fail(CLI_FAILED, "%s", err.message);
  }
  set_device(&request, "host");
  cli_parse(&argp, argc, argv, &request);
  teg_model* model = NULL;
  int code = CLI_OK;
  if (teg_model_open(request.path, NULL, &model, &err) != TEG_OK) {
    code = cli_fail_file(CLI_INPUT, request.path, &err);
  } else {
    code = run(&request, model);
  }
  teg_model_close(model);
  teg_options_destroy(request.options);
  free(request.backend);
  return code;
}
