// SPDX-License-Identifier: Apache-2.0
//
// What `tegula info` says of a model.
#ifndef TEGULA_CLI_MODEL_INFO_H
#define TEGULA_CLI_MODEL_INFO_H

#include <jansson.h>
#include <stdbool.h>

// True if |path| is for teg_model_open() and not for a trace reader: a folder,
// or a file that begins, or at least is called, like a model.
bool cli_is_model(const char* path);

// Opens the model and prints it, or adds it to |array| if that is not NULL.
// Returns CLI_OK, or CLI_INPUT with a message.
int cli_show_model(const char* path, bool has_metadata, json_t* array);

#endif  // TEGULA_CLI_MODEL_INFO_H
