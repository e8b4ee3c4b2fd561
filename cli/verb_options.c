// SPDX-License-Identifier: Apache-2.0
//
// tegula options, tegula policies: what can be chosen.
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "cli.h"
#include "table.h"
#include "tegula/options.h"

enum { FORM_TABLE, FORM_JSON, FORM_MARKDOWN };
enum { KEY_JSON = 1, KEY_MARKDOWN };

static const struct argp_option form_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print a JSON array", 0},
    {"markdown", KEY_MARKDOWN, NULL, 0, "Print a Markdown table", 0},
    {0}};

static error_t parse_form(int key, char* argument, struct argp_state* state) {
  int* form = state->input;
  switch (key) {
    case KEY_JSON:
      *form = FORM_JSON;
      return 0;
    case KEY_MARKDOWN:
      *form = FORM_MARKDOWN;
      return 0;
    case ARGP_KEY_ARG:
      argp_error(state, "takes no argument: \"%s\"", argument);
      return EINVAL;
    default:
      return ARGP_ERR_UNKNOWN;
  }
}

static const char* scope_name(teg_option_scope scope) {
  return scope == TEG_OPTION_DEVICE ? "device" : "session";
}

static bool is_number(const teg_option_info* info) {
  return info->type == TEG_OPTION_BYTES || info->type == TEG_OPTION_COUNT ||
         info->type == TEG_OPTION_PERCENT;
}

static void format_range(const teg_option_info* info, char* text,
                         size_t capacity) {
  if (info->type == TEG_OPTION_CHOICE) {
    snprintf(text, capacity, "%s", info->choices);
  } else if (info->type == TEG_OPTION_BYTES) {
    cli_text min = cli_binary(info->min);
    cli_text max = cli_binary(info->max);
    snprintf(text, capacity, "%.30s..%.30s", min.text, max.text);
  } else if (is_number(info)) {
    snprintf(text, capacity, "%" PRIu64 "..%" PRIu64 "%s", info->min, info->max,
             info->type == TEG_OPTION_PERCENT ? " %" : "");
  } else {
    snprintf(text, capacity, "%s",
             strncmp(info->key, "policy", 6) == 0 ? "a policy" : "text");
  }
}

static const char* default_text(const teg_option_info* info) {
  return info->default_value[0] ? info->default_value : "-";
}

static void print_markdown(void) {
  puts("| key | scope | range | default | unit | since | meaning |");
  puts("|---|---|---|---|---|---|---|");
  const teg_option_info* info;
  for (size_t i = 0; (info = teg_option_at(i)); ++i) {
    char range[CLI_MAX_CELL];
    format_range(info, range, sizeof range);
    printf("| `%s` | %s | %s | %s | %s | %s | %s |\n", info->key,
           scope_name(info->scope), range, default_text(info), info->unit,
           info->since, info->help);
  }
}

static int print_array(json_t* array) {
  int status = array ? json_dumpf(array, stdout, JSON_INDENT(2)) : -1;
  json_decref(array);
  if (status != 0 && !ferror(stdout)) {
    return cli_fail(CLI_FAILED, "no memory for the JSON");
  }
  putchar('\n');
  return CLI_OK;
}

static int print_options_json(void) {
  json_t* array = json_array();
  const teg_option_info* info;
  for (size_t i = 0; (info = teg_option_at(i)); ++i) {
    json_t* row =
        json_pack("{ss ss ss ss ss ss ss}", "key", info->key, "scope",
                  scope_name(info->scope), "unit", info->unit, "default",
                  info->default_value, "choices", info->choices, "since",
                  info->since, "help", info->help);
    if (is_number(info)) {
      json_object_set_new(row, "min", json_integer((json_int_t)info->min));
      json_object_set_new(row, "max", json_integer((json_int_t)info->max));
    }
    json_array_append_new(array, row);
  }
  return print_array(array);
}

static void print_options_table(void) {
  enum { KEY = 19, SCOPE = 9, RANGE = 20, DEFAULT = 9 };
  enum { INDENT = KEY + SCOPE + RANGE + DEFAULT };
  size_t width = cli_width(stdout, 120);
  width = width < INDENT + 30 ? 30 : width - INDENT;
  printf("%-*s%-*s%-*s%-*s%s\n", KEY, "key", SCOPE, "scope", RANGE, "range",
         DEFAULT, "default", "meaning");
  const teg_option_info* info;
  for (size_t i = 0; (info = teg_option_at(i)); ++i) {
    char range[CLI_MAX_CELL];
    format_range(info, range, sizeof range);
    printf("%-*s%-*s%-*s%-*s", KEY - 1, info->key, SCOPE,
           scope_name(info->scope), RANGE, range, DEFAULT, default_text(info));
    cli_print_wrapped(stdout, info->help, width, INDENT);
  }
}

int cli_options(int argc, char** argv) {
  static const char about[] =
      "Lists every option of a device or a session, for `tegula replay --set "
      "KEY=VALUE` and for teg_options_set().";
  const struct argp argp = {
      .options = form_options, .parser = parse_form, .doc = about};
  int form = FORM_TABLE;
  cli_parse(&argp, argc, argv, &form);
  if (form == FORM_JSON) return print_options_json();
  if (form == FORM_MARKDOWN) {
    print_markdown();
  } else {
    print_options_table();
  }
  return CLI_OK;
}

static int print_policies_json(void) {
  json_t* array = json_array();
  const teg_policy_info* info;
  for (size_t i = 0; (info = teg_policy_at(i)); ++i) {
    json_array_append_new(
        array, json_pack("{ss ss}", "name", info->name, "keeps", info->keeps));
  }
  return print_array(array);
}

int cli_policies(int argc, char** argv) {
  static const char about[] =
      "Lists the policies and what each keeps of freed memory.";
  const struct argp argp = {
      .options = form_options, .parser = parse_form, .doc = about};
  int form = FORM_TABLE;
  cli_parse(&argp, argc, argv, &form);
  if (form == FORM_JSON) return print_policies_json();
  bool is_markdown = form == FORM_MARKDOWN;
  if (is_markdown) puts("| name | keeps |\n|---|---|");
  const teg_policy_info* info;
  for (size_t i = 0; (info = teg_policy_at(i)); ++i) {
    printf(is_markdown ? "| `%s` | %s |\n" : "%-10s %s\n", info->name,
           info->keeps);
  }
  return CLI_OK;
}
