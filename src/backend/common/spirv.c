// SPDX-License-Identifier: Apache-2.0
//
// A module is a header of five words, then instructions, the first word of
// which has the length in words (high half) and the opcode. The first pass
// makes sure of every length; the later ones look for what they want among the
// declarations, over and over, which needs no memory. The limit on the number
// of resources keeps that cheap whatever the module.
#include "backend/common/spirv.h"

#include "base/error.h"

#define MAGIC 0x07230203u
#define MAGIC_SWAPPED 0x03022307u
#define HEADER_WORDS 5u
#define FIRST_VERSION TEGI_SPIRV_VERSION(1, 0)
// From here on an entry point's interface has all the variables it uses.
#define VERSION_1_4 TEGI_SPIRV_VERSION(1, 4)
#define MODEL_COMPUTE 5u
// Of one module, for all its entry points.
#define MOST_RESOURCES 1024u

enum {
  OP_ENTRY_POINT = 15,
  OP_TYPE_ARRAY = 28,
  OP_TYPE_RUNTIME_ARRAY = 29,
  OP_TYPE_STRUCT = 30,
  OP_TYPE_POINTER = 32,
  OP_FUNCTION = 54,
  OP_FUNCTION_END = 56,
  OP_VARIABLE = 59,
  OP_DECORATE = 71,
  OP_MEMBER_DECORATE = 72,
  OP_GROUP_DECORATE = 74,
  OP_GROUP_MEMBER_DECORATE = 75,
};

enum {
  DECORATION_BUFFER_BLOCK = 3,
  DECORATION_NON_WRITABLE = 24,
  DECORATION_NON_READABLE = 25,
  DECORATION_BINDING = 33,
  DECORATION_DESCRIPTOR_SET = 34,
  DECORATION_OFFSET = 35,
};

enum {
  CLASS_UNIFORM_CONSTANT = 0,
  CLASS_UNIFORM = 2,
  CLASS_PUSH_CONSTANT = 9,
  CLASS_STORAGE_BUFFER = 12,
};

typedef struct module {
  const teg_kernel_params* params;
  const char* name;  // of the kernel
  const uint32_t* words;
  size_t count;
  size_t declarations_end;
  size_t entry;           // where its instruction is
  uint32_t interface_at;  // of its words, the first of the interface
  uint32_t resource_count;
  teg_error* err;
} module;

// What is known of one binding: several variables may be the same.
typedef struct binding_state {
  bool is_there;
  bool is_writable;
  bool is_readable;
} binding_state;

// TEG_INVALID with a sentence about |m|'s kernel.
#define REFUSE(m, format, ...)                                       \
  tegi_error_set((m)->err, TEG_INVALID, "kernel \"%.60s\": " format, \
                 (m)->name, __VA_ARGS__)

static uint32_t length_at(const module* m, size_t at) {
  return m->words[at] >> 16;
}

static uint32_t opcode_at(const module* m, size_t at) {
  return m->words[at] & 0xffffu;
}

// ---- The first pass: lengths.

static teg_result check_header(module* m, uint32_t max_version) {
  const size_t bytes = m->params->spirv_bytes;
  if (bytes < HEADER_WORDS * sizeof *m->words || bytes % sizeof *m->words) {
    return REFUSE(m,
                  "%zu bytes are not SPIR-V: it is a header of 20 bytes and "
                  "whole words behind it",
                  bytes);
  }
  m->count = bytes / sizeof *m->words;
  if (m->words[0] == MAGIC_SWAPPED) {
    return REFUSE(m,
                  "its SPIR-V has the byte order of another machine, word 0 "
                  "is 0x%08x",
                  m->words[0]);
  }
  if (m->words[0] != MAGIC) {
    return REFUSE(m, "it is not SPIR-V: word 0 is 0x%08x, not 0x%08x",
                  m->words[0], MAGIC);
  }
  const uint32_t version = m->words[1];
  if (version < FIRST_VERSION || version & 0xff0000ffu) {
    return REFUSE(m, "word 1 of its SPIR-V, 0x%08x, is no version", version);
  }
  if (version > max_version) {
    return tegi_error_set(
        m->err, TEG_UNSUPPORTED,
        "kernel \"%.60s\": it is SPIR-V %u.%u, this device takes %u.%u at most",
        m->name, version >> 16, version >> 8 & 0xffu, max_version >> 16,
        max_version >> 8 & 0xffu);
  }
  return TEG_OK;
}

// The length of the shortest instruction of those that are read here.
static uint32_t least_length(const module* m, size_t at) {
  switch (opcode_at(m, at)) {
    case OP_ENTRY_POINT:
    case OP_TYPE_ARRAY:
    case OP_TYPE_POINTER:
    case OP_VARIABLE:
      return 4;
    case OP_TYPE_RUNTIME_ARRAY:
    case OP_DECORATE:
      return 3;
    case OP_TYPE_STRUCT:
      return 2;
    case OP_MEMBER_DECORATE:
      return 4;
    default:
      return 1;
  }
}

// Makes sure that all instructions are whole, and finds where declarations end.
static teg_result check_lengths(module* m) {
  uint32_t last = 0;
  m->declarations_end = m->count;
  for (size_t at = HEADER_WORDS; at < m->count; at += length_at(m, at)) {
    const uint32_t length = length_at(m, at);
    const uint32_t opcode = opcode_at(m, at);
    if (length > m->count - at) {
      return REFUSE(m,
                    "its SPIR-V ends inside the instruction at word %zu, %u "
                    "of %u words",
                    at, (uint32_t)(m->count - at), length);
    }
    if (length < least_length(m, at)) {
      return REFUSE(m,
                    "the instruction at word %zu of its SPIR-V, opcode %u, "
                    "has %u words only",
                    at, opcode, length);
    }
    if (opcode == OP_FUNCTION && m->declarations_end == m->count) {
      m->declarations_end = at;
    }
    // They name decorations for ids elsewhere, and no compiler emits them.
    if (opcode == OP_GROUP_DECORATE || opcode == OP_GROUP_MEMBER_DECORATE) {
      return REFUSE(m,
                    "its SPIR-V has a group of decorations at word %zu, which "
                    "are not understood",
                    at);
    }
    last = opcode;
  }
  // Functions come last.
  if (m->declarations_end < m->count && last != OP_FUNCTION_END) {
    return REFUSE(m, "its SPIR-V ends inside a function, at word %zu",
                  m->count);
  }
  return TEG_OK;
}

// ---- Declarations.

// Where the declaration of type |id| is; 0 = nowhere.
static size_t find_type(const module* m, uint32_t id, uint32_t opcode) {
  for (size_t at = HEADER_WORDS; at < m->declarations_end;
       at += length_at(m, at)) {
    if (opcode_at(m, at) == opcode && m->words[at + 1] == id) return at;
  }
  return 0;
}

// True, with its operand if it has one, if |id| has |decoration|.
static bool find_decoration(const module* m, uint32_t id, uint32_t decoration,
                            uint32_t* out_operand) {
  for (size_t at = HEADER_WORDS; at < m->declarations_end;
       at += length_at(m, at)) {
    if (opcode_at(m, at) != OP_DECORATE || m->words[at + 1] != id ||
        m->words[at + 2] != decoration) {
      continue;
    }
    if (!out_operand) return true;
    if (length_at(m, at) < 4) continue;
    *out_operand = m->words[at + 3];
    return true;
  }
  return false;
}

// How many members of |structure| have |decoration|, and its largest operand.
static uint32_t count_members(const module* m, uint32_t structure,
                              uint32_t decoration, uint32_t* out_largest) {
  uint32_t count = 0;
  *out_largest = 0;
  for (size_t at = HEADER_WORDS; at < m->declarations_end;
       at += length_at(m, at)) {
    if (opcode_at(m, at) != OP_MEMBER_DECORATE ||
        m->words[at + 1] != structure || m->words[at + 3] != decoration) {
      continue;
    }
    count++;
    if (length_at(m, at) > 4 && m->words[at + 4] > *out_largest) {
      *out_largest = m->words[at + 4];
    }
  }
  return count;
}

// ---- The entry point.

// True if the words of the instruction at |at| from |first| on spell |name|;
// gives the word behind it.
static bool is_spelled(const module* m, size_t at, uint32_t first,
                       const char* name, uint32_t* out_next) {
  const uint32_t length = length_at(m, at);
  for (size_t i = 0; first + i / 4 < length; i++) {
    char letter = (char)(m->words[at + first + i / 4] >> (8 * (i % 4)));
    if (letter != name[i]) return false;
    if (letter == '\0') {
      *out_next = (uint32_t)(first + i / 4 + 1);
      return true;
    }
  }
  return false;
}

static teg_result find_entry(module* m) {
  const char* wanted = tegi_spirv_entry_point(m->params);
  uint32_t compute_count = 0;
  for (size_t at = HEADER_WORDS; at < m->declarations_end;
       at += length_at(m, at)) {
    if (opcode_at(m, at) != OP_ENTRY_POINT) continue;
    if (m->words[at + 1] != MODEL_COMPUTE) continue;
    compute_count++;
    if (is_spelled(m, at, 3, wanted, &m->interface_at)) {
      m->entry = at;
      return TEG_OK;
    }
  }
  return REFUSE(m,
                "none of the %u compute entry points of its SPIR-V is called "
                "\"%.60s\"",
                compute_count, wanted);
}

static bool is_used(const module* m, uint32_t variable) {
  if (m->words[1] < VERSION_1_4) return true;
  const uint32_t length = length_at(m, m->entry);
  for (uint32_t i = m->interface_at; i < length; i++) {
    if (m->words[m->entry + i] == variable) return true;
  }
  return false;
}

// ---- Resources.

// The structure that a resource variable points to.
static teg_result find_structure(module* m, size_t variable_at,
                                 uint32_t binding, size_t* out_at) {
  const uint32_t* variable = &m->words[variable_at];
  size_t pointer_at = find_type(m, variable[1], OP_TYPE_POINTER);
  uint32_t type = pointer_at ? m->words[pointer_at + 3] : 0;
  *out_at = find_type(m, type, OP_TYPE_STRUCT);
  if (pointer_at && *out_at) return TEG_OK;
  if (find_type(m, type, OP_TYPE_ARRAY) ||
      find_type(m, type, OP_TYPE_RUNTIME_ARRAY)) {
    return REFUSE(m, "its binding %u is an array of buffers, not one", binding);
  }
  return REFUSE(m, "its binding %u is not a block of memory", binding);
}

// True if |decoration| is on a variable or on every member of its structure.
static bool is_decorated(const module* m, uint32_t variable,
                         size_t structure_at, uint32_t decoration) {
  if (find_decoration(m, variable, decoration, NULL)) return true;
  const uint32_t member_count = length_at(m, structure_at) - 2;
  uint32_t largest;
  return member_count > 0 &&
         count_members(m, m->words[structure_at + 1], decoration, &largest) >=
             member_count;
}

static teg_result check_parameters(module* m, uint32_t structure,
                                   uint32_t binding) {
  const teg_kernel_params* params = m->params;
  if (binding != params->binding_count || params->parameter_bytes == 0) {
    return REFUSE(m,
                  "its binding %u is a uniform buffer; declared are %u storage "
                  "buffers and %s",
                  binding, params->binding_count,
                  params->parameter_bytes ? "a uniform buffer behind them"
                                          : "no parameters");
  }
  uint32_t last;
  (void)count_members(m, structure, DECORATION_OFFSET, &last);
  if (last >= params->parameter_bytes) {
    return REFUSE(m, "its parameters reach past byte %u, %u bytes are declared",
                  last, params->parameter_bytes);
  }
  return TEG_OK;
}

static teg_result check_buffer(module* m, uint32_t binding) {
  const teg_kernel_params* params = m->params;
  if (binding < params->binding_count) return TEG_OK;
  if (binding == params->binding_count && params->parameter_bytes) {
    return REFUSE(m,
                  "its binding %u is a storage buffer, where the parameters "
                  "should be a uniform buffer",
                  binding);
  }
  return REFUSE(m, "its binding %u is a storage buffer, %u are declared",
                binding, params->binding_count);
}

static teg_result find_place(module* m, uint32_t variable,
                             uint32_t* out_binding) {
  uint32_t set;
  *out_binding = 0;
  if (!find_decoration(m, variable, DECORATION_DESCRIPTOR_SET, &set) ||
      !find_decoration(m, variable, DECORATION_BINDING, out_binding)) {
    return REFUSE(m, "its variable %u has no descriptor set and binding",
                  variable);
  }
  if (set == 0) return TEG_OK;
  return REFUSE(m, "its binding %u is in descriptor set %u; all are in set 0",
                *out_binding, set);
}

// A variable in the memory of resources.
static teg_result check_resource(module* m, size_t at, binding_state* states) {
  const uint32_t variable = m->words[at + 2];
  const uint32_t kind = m->words[at + 3];
  if (++m->resource_count > MOST_RESOURCES) {
    return REFUSE(m, "its SPIR-V has more than %u resources", MOST_RESOURCES);
  }
  if (!is_used(m, variable)) return TEG_OK;
  if (kind == CLASS_PUSH_CONSTANT) {
    return REFUSE(
        m,
        "its variable %u is a push constant; parameters are a uniform "
        "buffer",
        variable);
  }
  uint32_t binding;
  teg_result result = find_place(m, variable, &binding);
  if (result != TEG_OK) return result;
  if (kind == CLASS_UNIFORM_CONSTANT) {
    return REFUSE(m, "its binding %u is an image or sampler, not a buffer",
                  binding);
  }
  size_t structure_at;
  result = find_structure(m, at, binding, &structure_at);
  if (result != TEG_OK) return result;
  const uint32_t structure = m->words[structure_at + 1];
  const bool is_parameters =
      kind == CLASS_UNIFORM &&
      !find_decoration(m, structure, DECORATION_BUFFER_BLOCK, NULL);
  result = is_parameters ? check_parameters(m, structure, binding)
                         : check_buffer(m, binding);
  if (result != TEG_OK) return result;
  binding_state* state = &states[binding];
  state->is_there = true;
  state->is_writable |=
      !is_decorated(m, variable, structure_at, DECORATION_NON_WRITABLE);
  state->is_readable |=
      !is_decorated(m, variable, structure_at, DECORATION_NON_READABLE);
  return TEG_OK;
}

static teg_result check_resources(module* m, binding_state* states) {
  for (size_t at = HEADER_WORDS; at < m->declarations_end;
       at += length_at(m, at)) {
    if (opcode_at(m, at) != OP_VARIABLE) continue;
    const uint32_t kind = m->words[at + 3];
    if (kind != CLASS_UNIFORM_CONSTANT && kind != CLASS_UNIFORM &&
        kind != CLASS_PUSH_CONSTANT && kind != CLASS_STORAGE_BUFFER) {
      continue;
    }
    teg_result result = check_resource(m, at, states);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

static teg_result check_declared(module* m, const binding_state* states) {
  const teg_kernel_params* params = m->params;
  for (uint32_t i = 0; i < params->binding_count; i++) {
    const teg_access access = params->bindings[i];
    if (!states[i].is_there) {
      return REFUSE(m,
                    "its SPIR-V has no storage buffer at binding %u; %u are "
                    "declared",
                    i, params->binding_count);
    }
    if ((access & TEG_ACCESS_WRITE) && !states[i].is_writable) {
      return REFUSE(m,
                    "binding %u is declared as written, its SPIR-V says that "
                    "it is only read",
                    i);
    }
    if ((access & TEG_ACCESS_READ) && !states[i].is_readable) {
      return REFUSE(m,
                    "binding %u is declared as read, its SPIR-V says that it "
                    "is only written",
                    i);
    }
  }
  if (params->parameter_bytes && !states[params->binding_count].is_there) {
    return REFUSE(m,
                  "its SPIR-V has no uniform buffer at binding %u; %u bytes of "
                  "parameters are declared",
                  params->binding_count, params->parameter_bytes);
  }
  return TEG_OK;
}

static teg_result check_params(module* m) {
  const teg_kernel_params* params = m->params;
  if (params->binding_count > TEG_MOST_BINDINGS) {
    return REFUSE(m, "%u bindings are more than %u", params->binding_count,
                  (uint32_t)TEG_MOST_BINDINGS);
  }
  if (!params->spirv || (params->binding_count && !params->bindings)) {
    return REFUSE(m, "its %s missing",
                  params->spirv ? "bindings are" : "SPIR-V is");
  }
  for (uint32_t i = 0; i < params->binding_count; i++) {
    const teg_access access = params->bindings[i];
    if (access > 0 && access <= TEG_ACCESS_READ_WRITE) continue;
    return REFUSE(m,
                  "binding %u is declared as neither read nor written, but "
                  "0x%x",
                  i, access);
  }
  return TEG_OK;
}

teg_result tegi_spirv_check(const teg_kernel_params* params,
                            uint32_t max_version, teg_error* err) {
  module m = {
      .params = params,
      .name = params->name ? params->name : "without a name",
      .words = params->spirv,
      .err = err,
  };
  binding_state states[TEG_MOST_BINDINGS + 1] = {0};
  teg_result result = check_params(&m);
  if (result == TEG_OK) result = check_header(&m, max_version);
  if (result == TEG_OK) result = check_lengths(&m);
  if (result == TEG_OK) result = find_entry(&m);
  if (result == TEG_OK) result = check_resources(&m, states);
  if (result == TEG_OK) result = check_declared(&m, states);
  return result;
}
