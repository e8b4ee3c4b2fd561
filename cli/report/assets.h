// SPDX-License-Identifier: Apache-2.0
//
// The files of this folder, built into the program by cmake/embed.cmake.
#ifndef TEGULA_CLI_REPORT_ASSETS_H
#define TEGULA_CLI_REPORT_ASSETS_H

// Each ends with a NUL.
extern const char cli_report_html[];
extern const char cli_report_css[];
extern const char cli_report_js[];

#endif  // TEGULA_CLI_REPORT_ASSETS_H
