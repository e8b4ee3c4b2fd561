// SPDX-License-Identifier: Apache-2.0
//
// The checker of SPIR-V: what it lets pass, what it refuses with which words,
// and that no damage makes it read a word beyond the last. Modules lie at the
// end of a page with nothing behind it.
// cmocka.h wants these first.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/common/spirv.h"
#include "kernel_add.spv.h"
#include "kernel_idle.spv.h"
#include "kernel_step.spv.h"
#include "kernel_wide.spv.h"

#define HEADER_WORDS 5u
#define NEWEST TEGI_SPIRV_VERSION(1, 5)

enum {
  OP_ENTRY_POINT = 15,
  OP_TYPE_STRUCT = 30,
  OP_TYPE_POINTER = 32,
  OP_VARIABLE = 59,
  OP_DECORATE = 71,
  OP_MEMBER_DECORATE = 72,
  DECORATION_BLOCK = 2,
  DECORATION_BUFFER_BLOCK = 3,
  DECORATION_NON_WRITABLE = 24,
  DECORATION_BINDING = 33,
  DECORATION_DESCRIPTOR_SET = 34,
  CLASS_UNIFORM_CONSTANT = 0,
  CLASS_UNIFORM = 2,
  CLASS_PUSH_CONSTANT = 9,
  CLASS_STORAGE_BUFFER = 12,
};

#define IN TEG_ACCESS_READ
#define OUT TEG_ACCESS_WRITE

static const teg_access add_bindings[] = {IN, IN, OUT};
static const teg_access step_bindings[] = {IN | OUT};

// A copy of a module to damage, and what is declared of it.
typedef struct copy {
  uint8_t* pages;
  size_t page_bytes;
  uint32_t* words;
  size_t count;
  teg_kernel_params params;
  teg_error err;
} copy;

static void copy_module(copy* c, const uint32_t* words, size_t count,
                        const teg_access* bindings, uint32_t binding_count,
                        uint32_t parameter_bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t bytes = count * sizeof *words;
  *c = (copy){.count = count};
  c->page_bytes = (bytes + page - 1) / page * page + page;
  c->pages = mmap(NULL, c->page_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(c->pages, MAP_FAILED);
  uint8_t* end = c->pages + c->page_bytes - page;
  assert_int_equal(mprotect(end, page, PROT_NONE), 0);
  c->words = (uint32_t*)(void*)(end - bytes);
  memcpy(c->words, words, bytes);
  c->params = (teg_kernel_params){.struct_size = sizeof c->params,
                                  .name = "damaged",
                                  .spirv = c->words,
                                  .spirv_bytes = bytes,
                                  .bindings = bindings,
                                  .binding_count = binding_count,
                                  .parameter_bytes = parameter_bytes};
}

static void copy_add(copy* c) {
  copy_module(c, kernel_add_spv, sizeof kernel_add_spv / 4, add_bindings, 3, 8);
}

static void copy_step(copy* c) {
  copy_module(c, kernel_step_spv, sizeof kernel_step_spv / 4, step_bindings, 1,
              0);
}

static void drop(copy* c) {
  assert_int_equal(munmap(c->pages, c->page_bytes), 0);
}

static teg_result check(copy* c) {
  return tegi_spirv_check(&c->params, NEWEST, &c->err);
}

static void expect_ok(copy* c) {
  if (check(c) != TEG_OK) fail_msg("%s", c->err.message);
}

static void expect(copy* c, teg_result want, const char* text) {
  assert_int_equal(check(c), want);
  if (!strstr(c->err.message, text)) {
    fail_msg("\"%s\" is not in: %s", text, c->err.message);
  }
  assert_non_null(strstr(c->err.message, "kernel \"damaged\": "));
}

static void refuse(copy* c, const char* text) { expect(c, TEG_INVALID, text); }

// The |nth| instruction |opcode| whose word |index| is |value|.
static uint32_t* find(copy* c, uint32_t opcode, uint32_t index, uint32_t value,
                      uint32_t nth) {
  for (size_t at = HEADER_WORDS; at < c->count; at += c->words[at] >> 16) {
    if ((c->words[at] & 0xffff) == opcode && c->words[at] >> 16 > index &&
        c->words[at + index] == value && nth-- == 0) {
      return &c->words[at];
    }
  }
  fail_msg("no such instruction: opcode %u", opcode);
  return NULL;
}

// The decoration that puts a variable at |binding|.
static uint32_t* find_binding(copy* c, uint32_t binding) {
  uint32_t* at;
  uint32_t nth = 0;
  do {
    at = find(c, OP_DECORATE, 2, DECORATION_BINDING, nth++);
  } while (at[3] != binding);
  return at;
}

static uint32_t* find_variable(copy* c, uint32_t binding) {
  return find(c, OP_VARIABLE, 2, find_binding(c, binding)[1], 0);
}

// ---- What passes.

static void whole_modules_pass(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  expect_ok(&c);
  c.params.entry_point = "main";
  expect_ok(&c);
  drop(&c);
  copy_step(&c);
  expect_ok(&c);
  // What is only read or only written may be declared so, though the shader
  // could do both.
  static const teg_access less[] = {IN};
  c.params.bindings = less;
  expect_ok(&c);
  drop(&c);
  copy_module(&c, kernel_idle_spv, sizeof kernel_idle_spv / 4, NULL, 0, 0);
  expect_ok(&c);
  drop(&c);
  teg_access most[TEG_MOST_BINDINGS];
  for (uint32_t i = 0; i < TEG_MOST_BINDINGS; i++) most[i] = IN;
  most[TEG_MOST_BINDINGS - 1] = OUT;
  copy_module(&c, kernel_wide_spv, sizeof kernel_wide_spv / 4, most,
              TEG_MOST_BINDINGS, 4 * TEG_MOST_BINDINGS);
  expect_ok(&c);
  drop(&c);
}

// Before SPIR-V 1.3 a storage buffer was a uniform one with another block.
static void old_storage_buffers_pass(void** state) {
  (void)state;
  copy c;
  copy_step(&c);
  c.words[1] = TEGI_SPIRV_VERSION(1, 0);
  find(&c, OP_DECORATE, 2, DECORATION_BLOCK, 0)[2] = DECORATION_BUFFER_BLOCK;
  uint32_t* variable = find_variable(&c, 0);
  variable[3] = CLASS_UNIFORM;
  find(&c, OP_TYPE_POINTER, 1, variable[1], 0)[2] = CLASS_UNIFORM;
  expect_ok(&c);
  // The same with a plain block would be parameters.
  find(&c, OP_DECORATE, 2, DECORATION_BUFFER_BLOCK, 0)[2] = DECORATION_BLOCK;
  refuse(&c, "binding 0 is a uniform buffer");
  drop(&c);
}

// What another entry point uses is no matter.
static void variables_outside_the_interface_pass(void** state) {
  (void)state;
  copy c;
  copy_step(&c);
  const uint32_t variable = find_variable(&c, 0)[2];
  uint32_t* entry = find(&c, OP_ENTRY_POINT, 1, 5, 0);
  uint32_t id = 0;
  for (uint32_t i = 5; i < entry[0] >> 16; i++) {
    if (entry[i] == variable) id = i;
  }
  assert_true(id > 0);
  entry[id] = 0;
  c.params.binding_count = 0;
  expect_ok(&c);
  // Interfaces of older modules do not list buffers.
  c.words[1] = TEGI_SPIRV_VERSION(1, 3);
  refuse(&c, "binding 0 is a storage buffer, 0 are declared");
  drop(&c);
}

// ---- What is no module.

static void what_is_not_spirv_is_refused(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  c.words[0] ^= 1;
  refuse(&c, "it is not SPIR-V");
  c.words[0] = 0x03022307;
  refuse(&c, "byte order");
  c.words[0] = 0x07230203;
  for (size_t bytes = 0; bytes < 20; bytes++) {
    c.params.spirv_bytes = bytes;
    refuse(&c, "are not SPIR-V");
  }
  c.params.spirv_bytes = 4 * c.count - 3;
  refuse(&c, "whole words");
  c.params.spirv_bytes = 20;
  refuse(&c, "none of the 0 compute entry points");
  c.params.spirv = NULL;
  refuse(&c, "its SPIR-V is missing");
  drop(&c);
}

static void versions_are_looked_at(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  c.words[1] = TEGI_SPIRV_VERSION(1, 6);
  expect(&c, TEG_UNSUPPORTED, "SPIR-V 1.6, this device takes 1.5 at most");
  c.words[1] = 0;
  refuse(&c, "is no version");
  c.words[1] = 0x01010500;
  refuse(&c, "is no version");
  drop(&c);
}

static void lengths_are_not_believed(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  for (size_t at = HEADER_WORDS; at < c.count; at += c.words[at] >> 16) {
    const uint32_t word = c.words[at];
    const uint32_t left = (uint32_t)(c.count - at);
    c.words[at] = word & 0xffff;
    refuse(&c, "has 0 words only");
    c.words[at] = 0xffff0000u | (word & 0xffff);
    refuse(&c, "ends inside the instruction");
    c.words[at] = (left + 1) << 16 | (word & 0xffff);
    refuse(&c, "ends inside the instruction");
    c.words[at] = word;
  }
  expect_ok(&c);
  uint32_t* entry = find(&c, OP_ENTRY_POINT, 1, 5, 0);
  *entry = 3u << 16 | OP_ENTRY_POINT;
  refuse(&c, "opcode 15, has 3 words only");
  drop(&c);
}

// ---- What does not fit.

static void entry_points_are_found_by_name(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  static const char* const wrong[] = {"", "mai", "main2", "Main",
                                      "mainmainmainmain"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    c.params.entry_point = wrong[i];
    refuse(&c, "none of the 1 compute entry points");
  }
  c.params.entry_point = NULL;
  uint32_t* entry = find(&c, OP_ENTRY_POINT, 1, 5, 0);
  // A name without an end.
  const uint32_t length = *entry >> 16;
  *entry = 4u << 16 | OP_ENTRY_POINT;
  entry[4] = (length - 4) << 16;  // the rest, as another instruction
  refuse(&c, "is called \"main\"");
  drop(&c);
  copy_add(&c);
  find(&c, OP_ENTRY_POINT, 1, 5, 0)[1] = 4;  // a fragment shader
  refuse(&c, "none of the 0 compute entry points");
  drop(&c);
}

static void places_must_fit(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  uint32_t* set = find(&c, OP_DECORATE, 2, DECORATION_DESCRIPTOR_SET, 1);
  set[3] = 2;
  refuse(&c, "in descriptor set 2");
  set[3] = 0;
  set[2] = 30;  // another decoration
  refuse(&c, "has no descriptor set and binding");
  set[2] = DECORATION_DESCRIPTOR_SET;
  uint32_t* binding = find_binding(&c, 2);
  binding[3] = 7;
  refuse(&c, "binding 7 is a storage buffer, 3 are declared");
  binding[3] = UINT32_MAX;
  refuse(&c, "binding 4294967295 is a storage buffer");
  binding[3] = 3;
  refuse(&c, "binding 3 is a storage buffer, where the parameters should be");
  // Two variables at one binding are fine, but one is missing then.
  binding[3] = 0;
  refuse(&c, "no storage buffer at binding 2");
  binding[3] = 2;
  binding = find_binding(&c, 3);
  binding[3] = 1;
  refuse(&c, "binding 1 is a uniform buffer");
  drop(&c);
}

static void counts_must_fit(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  c.params.binding_count = 2;
  refuse(&c, "binding 2 is a storage buffer, where the parameters should be");
  c.params.binding_count = TEG_MOST_BINDINGS + 1;
  refuse(&c, "33 bindings are more than 32");
  c.params.binding_count = 3;
  c.params.parameter_bytes = 0;
  refuse(&c,
         "binding 3 is a uniform buffer; declared are 3 storage buffers and "
         "no parameters");
  // The second parameter is at byte 4.
  c.params.parameter_bytes = 4;
  refuse(&c, "reach past byte 4");
  drop(&c);
  copy_step(&c);
  c.params.parameter_bytes = 16;
  refuse(&c, "no uniform buffer at binding 1; 16 bytes");
  static const teg_access two[] = {IN, IN};
  c.params.parameter_bytes = 0;
  c.params.bindings = two;
  c.params.binding_count = 2;
  refuse(&c, "no storage buffer at binding 1; 2 are declared");
  c.params.bindings = NULL;
  refuse(&c, "bindings are missing");
  drop(&c);
}

static void access_must_fit(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  static const teg_access writes_source[] = {IN | OUT, IN, OUT};
  static const teg_access reads_target[] = {IN, IN, IN | OUT};
  static const teg_access nothing[] = {IN, 0, OUT};
  static const teg_access unknown[] = {IN, 8, OUT};
  c.params.bindings = writes_source;
  refuse(&c, "binding 0 is declared as written");
  c.params.bindings = reads_target;
  refuse(&c, "binding 2 is declared as read");
  c.params.bindings = nothing;
  refuse(&c, "binding 1 is declared as neither");
  c.params.bindings = unknown;
  refuse(&c, "binding 1 is declared as neither");
  drop(&c);
}

static void other_resources_are_refused(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  uint32_t* variable = find_variable(&c, 1);
  variable[3] = CLASS_PUSH_CONSTANT;
  refuse(&c, "is a push constant");
  variable[3] = CLASS_UNIFORM_CONSTANT;
  refuse(&c, "binding 1 is an image or sampler");
  variable[3] = CLASS_STORAGE_BUFFER;
  uint32_t* pointer = find(&c, OP_TYPE_POINTER, 1, variable[1], 0);
  const uint32_t structure = pointer[3];
  // The runtime array inside the structure, in its place.
  pointer[3] = find(&c, OP_TYPE_STRUCT, 1, structure, 0)[2];
  refuse(&c, "binding 1 is an array of buffers");
  pointer[3] = UINT32_MAX;
  refuse(&c, "binding 1 is not a block of memory");
  drop(&c);
}

static void groups_of_decorations_are_refused(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  uint32_t* at = find(&c, OP_DECORATE, 2, DECORATION_BINDING, 0);
  *at = (*at & 0xffff0000u) | 74;
  refuse(&c, "group of decorations");
  drop(&c);
}

// ---- Damage.

// Any result will do, as long as it says why.
static void expect_survived(copy* c) {
  c->err.message[0] = '\0';
  teg_result result = check(c);
  assert_true(result == TEG_OK || result == TEG_INVALID ||
              result == TEG_UNSUPPORTED);
  assert_true(result == TEG_OK || strlen(c->err.message) > 20);
}

enum { OP_FUNCTION = 54, OP_FUNCTION_END = 56 };

static void cut_modules_are_refused(void** state) {
  (void)state;
  copy whole;
  copy_add(&whole);
  for (size_t count = 0; count < whole.count; count++) {
    copy c;
    copy_module(&c, kernel_add_spv, count, add_bindings, 3, 8);
    c.params.spirv = c.words;
    expect_survived(&c);
    // Before the declarations' end it may be a whole module of fewer of them.
    size_t at = HEADER_WORDS;
    bool has_function = false;
    uint32_t last = 0;
    while (at < count) {
      last = whole.words[at] & 0xffffu;
      has_function = has_function || last == OP_FUNCTION;
      at += whole.words[at] >> 16;
    }
    bool is_cut = at != count || (has_function && last != OP_FUNCTION_END);
    if (is_cut) assert_int_equal(check(&c), TEG_INVALID);
    drop(&c);
  }
  drop(&whole);
}

static void flipped_bits_are_survived(void** state) {
  (void)state;
  copy c;
  copy_add(&c);
  for (size_t i = 0; i < c.count; i++) {
    for (uint32_t bit = 0; bit < 32; bit++) {
      c.words[i] ^= UINT32_C(1) << bit;
      expect_survived(&c);
      c.words[i] ^= UINT32_C(1) << bit;
    }
  }
  expect_ok(&c);
  drop(&c);
}

static void overwritten_words_are_survived(void** state) {
  (void)state;
  static const uint32_t values[] = {0,          1,          UINT32_MAX,
                                    0xffff0000, 0x00010000, 0x0004003b,
                                    0x00020020, 0x00030047, 0x00040048};
  copy c;
  copy_add(&c);
  for (size_t i = 0; i < c.count; i++) {
    const uint32_t word = c.words[i];
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
      c.words[i] = values[v];
      expect_survived(&c);
    }
    c.words[i] = word;
  }
  // Many at once.
  uint64_t seed = 99;
  for (int round = 0; round < 20000; round++) {
    memcpy(c.words, kernel_add_spv, sizeof kernel_add_spv);
    for (int n = 0; n < 1 + round % 6; n++) {
      seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
      const size_t i = HEADER_WORDS + (seed >> 33) % (c.count - HEADER_WORDS);
      const size_t from = (seed >> 13) % c.count;
      c.words[i] = seed & 64 ? kernel_add_spv[from] : (uint32_t)(seed >> 7);
    }
    expect_survived(&c);
  }
  drop(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_modules_pass),
      cmocka_unit_test(old_storage_buffers_pass),
      cmocka_unit_test(variables_outside_the_interface_pass),
      cmocka_unit_test(what_is_not_spirv_is_refused),
      cmocka_unit_test(versions_are_looked_at),
      cmocka_unit_test(lengths_are_not_believed),
      cmocka_unit_test(entry_points_are_found_by_name),
      cmocka_unit_test(places_must_fit),
      cmocka_unit_test(counts_must_fit),
      cmocka_unit_test(access_must_fit),
      cmocka_unit_test(other_resources_are_refused),
      cmocka_unit_test(groups_of_decorations_are_refused),
      cmocka_unit_test(cut_modules_are_refused),
      cmocka_unit_test(flipped_bits_are_survived),
      cmocka_unit_test(overwritten_words_are_survived),
  };
  return cmocka_run_group_tests_name("spirv", tests, NULL, NULL);
}
