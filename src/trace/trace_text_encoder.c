// SPDX-License-Identifier: Apache-2.0
//
// Exports to text: RMM's CSV log, as trace_rmm_decoder.c reads it, and a
// timeline in the JSON of Chrome's trace viewer, which Perfetto loads: a
// counter of live bytes, an asynchronous slice per buffer and per run, and an
// instant per mark. Neither keeps anything but a few counters.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "trace/trace_writer.h"

enum { LINE_SIZE = 2048 };

// Formats and writes one piece of text.
static teg_result print(teg_trace_writer* writer, teg_error* err,
                        const char* format, ...) TEGI_PRINTF(3, 4);

static teg_result print(teg_trace_writer* writer, teg_error* err,
                        const char* format, ...) {
  char line[LINE_SIZE];
  va_list args;
  va_start(args, format);
  int size = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  TEG_ASSERT(size >= 0 && (size_t)size < sizeof line);
  return tegi_trace_output_write(&writer->output, line, (size_t)size, err);
}

static void no_close(teg_trace_writer* writer) { (void)writer; }

// ---------------------------------------------------------------------------
// RMM's CSV

static teg_result rmm_open(teg_trace_writer* writer, teg_error* err) {
  return print(writer, err, "Thread,Time,Action,Pointer,Size,Stream\n");
}

static teg_result rmm_append(teg_trace_writer* writer,
                             const teg_trace_event* event, teg_error* err) {
  uint64_t us = event->time_ns / 1000;
  unsigned rest = (unsigned)(event->time_ns % 1000);
  char fraction[8] = "";
  if (rest != 0) snprintf(fraction, sizeof fraction, ".%03u", rest);
  const char* action = teg_trace_kind_name(event->kind);
  if (event->id == 0) {
    char stream[16] = "";
    if (event->stream) snprintf(stream, sizeof stream, "%u", event->stream);
    return print(writer, err, "%u,%" PRIu64 "%s,%s,,,%s\n", event->thread, us,
                 fraction, action, stream);
  }
  return print(writer, err, "%u,%" PRIu64 "%s,%s,%" PRIu64 ",%" PRIu64 ",%u\n",
               event->thread, us, fraction, action, event->id, event->size,
               event->stream);
}

static teg_result rmm_finish(teg_trace_writer* writer, teg_error* err) {
  (void)writer;
  (void)err;
  return TEG_OK;
}

const tegi_trace_encoder_ops tegi_trace_rmm_encoder = {.open = rmm_open,
                                                       .append = rmm_append,
                                                       .finish = rmm_finish,
                                                       .close = no_close};

// ---------------------------------------------------------------------------
// Chrome's JSON

typedef struct chrome_encoder {
  uint64_t run_count;  // begun
  bool is_in_run;
} chrome_encoder;

enum { QUOTED_SIZE = 6 * 255 + 1 };  // a name or tag, all of it escaped

// |text| with what JSON forbids escaped. Bytes that are no ASCII become "?":
// they may not be UTF-8.
static void quote(const char* text, char out_text[QUOTED_SIZE]) {
  char* to = out_text;
  for (const char* from = text; *from; ++from) {
    unsigned char letter = (unsigned char)*from;
    if (letter == '"' || letter == '\\') {
      *to++ = '\\';
      *to++ = (char)letter;
    } else if (letter < 0x20) {
      to += snprintf(to, 7, "\\u%04x", letter);
    } else {
      *to++ = letter < 0x80 ? (char)letter : '?';
    }
  }
  *to = '\0';
}

// "96 B", "1.50 KiB".
static void size_text(uint64_t size, char out_text[32]) {
  static const char* const units[] = {"B",   "KiB", "MiB", "GiB",
                                      "TiB", "PiB", "EiB"};
  size_t unit = 0;
  double value = (double)size;
  while (value >= 1024 && unit < sizeof units / sizeof *units - 1) {
    value /= 1024;
    ++unit;
  }
  snprintf(out_text, 32, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
}

static teg_result chrome_open(teg_trace_writer* writer, teg_error* err) {
  chrome_encoder* encoder = tegi_host_alloc(&writer->host, sizeof *encoder);
  if (!encoder) return tegi_trace_writer_no_memory(writer, err);
  writer->state = encoder;
  char name[QUOTED_SIZE];
  quote(writer->name[0] ? writer->name : "trace", name);
  return print(writer, err,
               "{\"traceEvents\":[\n"
               "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,"
               "\"args\":{\"name\":\"%s\"}}",
               name);
}

// The fields that every event has, after its name and phase. All are of one
// process and its first thread: viewers give the number 0 a meaning.
static teg_result print_place(teg_trace_writer* writer,
                              const teg_trace_event* event, teg_error* err) {
  return print(writer, err, ",\"ts\":%" PRIu64 ".%03u,\"pid\":1,\"tid\":1",
               event->time_ns / 1000, (unsigned)(event->time_ns % 1000));
}

static teg_result print_buffer(teg_trace_writer* writer,
                               const teg_trace_event* event, teg_error* err) {
  char size[32];
  char name[QUOTED_SIZE];
  size_text(event->size, size);
  quote(event->tag ? writer->tags[event->tag - 1] : size, name);
  bool is_begin = event->kind == TEG_TRACE_ALLOCATE;
  teg_result result = print(writer, err,
                            ",\n{\"name\":\"%s\",\"cat\":\"buffer\","
                            "\"ph\":\"%s\",\"id\":\"0x%" PRIx64 "\"",
                            name, is_begin ? "b" : "e", event->id);
  if (result == TEG_OK) result = print_place(writer, event, err);
  if (result != TEG_OK) return result;
  result = is_begin
               ? print(writer, err,
                       ",\"args\":{\"buffer\":%" PRIu64 ",\"bytes\":%" PRIu64
                       ",\"stream\":%u,\"thread\":%u,\"lifetime\":%u}}",
                       event->id, event->size, event->stream, event->thread,
                       event->lifetime)
               : print(writer, err, "}");
  if (result != TEG_OK) return result;
  result = print(writer, err, ",\n{\"name\":\"live bytes\",\"ph\":\"C\"");
  if (result == TEG_OK) result = print_place(writer, event, err);
  if (result != TEG_OK) return result;
  return print(writer, err, ",\"args\":{\"bytes\":%" PRIu64 "}}",
               writer->live_bytes);
}

// A slice for a run; an end without a beginning has none.
static teg_result print_run(teg_trace_writer* writer,
                            const teg_trace_event* event, bool is_begin,
                            teg_error* err) {
  chrome_encoder* encoder = writer->state;
  teg_result result =
      print(writer, err,
            ",\n{\"name\":\"run\",\"cat\":\"run\",\"ph\":\"%s\","
            "\"id\":\"0x%" PRIx64 "\"",
            is_begin ? "b" : "e", encoder->run_count);
  if (result == TEG_OK) result = print_place(writer, event, err);
  if (result == TEG_OK) result = print(writer, err, "}");
  return result;
}

static teg_result print_mark(teg_trace_writer* writer,
                             const teg_trace_event* event, teg_error* err) {
  teg_result result = print(writer, err,
                            ",\n{\"name\":\"%s\",\"cat\":\"mark\",\"ph\":\"i\","
                            "\"s\":\"p\"",
                            teg_trace_kind_name(event->kind));
  if (result == TEG_OK) result = print_place(writer, event, err);
  if (result == TEG_OK) result = print(writer, err, "}");
  return result;
}

static teg_result chrome_append(teg_trace_writer* writer,
                                const teg_trace_event* event, teg_error* err) {
  chrome_encoder* encoder = writer->state;
  if (event->id != 0) return print_buffer(writer, event, err);
  teg_result result = print_mark(writer, event, err);
  if (result != TEG_OK) return result;
  if (event->kind == TEG_TRACE_RUN_BEGIN && !encoder->is_in_run) {
    ++encoder->run_count;
    encoder->is_in_run = true;
    return print_run(writer, event, true, err);
  }
  if (event->kind == TEG_TRACE_RUN_END && encoder->is_in_run) {
    encoder->is_in_run = false;
    return print_run(writer, event, false, err);
  }
  return TEG_OK;
}

static teg_result chrome_finish(teg_trace_writer* writer, teg_error* err) {
  return print(writer, err, "\n]}\n");
}

static void chrome_close(teg_trace_writer* writer) {
  tegi_host_free(&writer->host, writer->state, sizeof(chrome_encoder));
  writer->state = NULL;
}

const tegi_trace_encoder_ops tegi_trace_chrome_encoder = {
    .open = chrome_open,
    .append = chrome_append,
    .finish = chrome_finish,
    .close = chrome_close};
