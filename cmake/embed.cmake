# SPDX-License-Identifier: Apache-2.0
#
# Writes files as C arrays, each ending with a NUL:
#   cmake -DOUT=out.c -DHEADER=header.h -DFILES=name=path,name=path -P embed.cmake
# defines `const char name[]` for each, as |HEADER| declares it.
set(text "// Made by cmake/embed.cmake.\n#include \"${HEADER}\"\n")
string(REPLACE "," ";" files "${FILES}")
foreach(file IN LISTS files)
  string(REGEX MATCH "^([a-z_]+)=(.*)$" matched "${file}")
  set(name "${CMAKE_MATCH_1}")
  file(READ "${CMAKE_MATCH_2}" bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes
                       "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND text "\nconst char ${name}[] = {\n${bytes}0};\n")
endforeach()
file(WRITE "${OUT}" "${text}")
