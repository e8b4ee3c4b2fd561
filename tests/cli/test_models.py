#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tegula info on models: files made here."""

import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_case import CliCase, INPUT, OK, OUTPUT, small_trace


def safetensors(tensors, metadata=None):
    """|tensors|: name: (type, shape, bytes)."""
    header = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, (kind, shape, size) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape,
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


SMALL = {"a.weight": ("F32", [2, 300], 2400), "a.bias": ("F32", [2], 8),
         "b\n\x1b[1m": ("BF16", [], 2), "none": ("U8", [0], 0)}

TEXT = """
m.safetensors: safetensors
  tensors 4
  weights 2,410 bytes
  metadata 1 (--metadata shows it)

type tensors bytes
F32 2 2,408
BF16 1 2
U8 1 0

type shape bytes name
F32 2 x 300 2,400 a.weight
F32 2 8 a.bias
BF16 scalar 2 b ?[1m
U8 0 0 none
"""


class Models(CliCase):

    def test_text(self):
        self.write("m.safetensors", safetensors(SMALL, {"k": "v" * 300}))
        out = self.assert_run(OK, "info", "m.safetensors").out
        self.assert_lines(out, TEXT)
        out = self.assert_run(OK, "info", "--metadata", "m.safetensors").out
        self.assertRegex(out, r"(?m)^k = v{199} \.\.\.$")

    def test_json(self):
        self.write("m.safetensors", safetensors(SMALL, {"k": "v" * 300}))
        rows = json.loads(
            self.assert_run(OK, "info", "--json", "m.safetensors").out)
        self.assertEqual(len(rows), 1)
        row = rows[0]
        self.assertEqual(row["format"], "safetensors")
        self.assertEqual((row["tensor_count"], row["tensor_bytes"]), (4, 2410))
        self.assertEqual(row["files"], ["m.safetensors"])
        self.assertEqual(row["metadata"], [["k", "v" * 300]])
        self.assertEqual(row["types"][0],
                         {"type": "F32", "tensor_count": 2, "bytes": 2408})
        self.assertEqual([tensor["name"] for tensor in row["tensors"]],
                         list(SMALL))
        self.assertEqual(row["tensors"][0]["shape"], [2, 300])
        data = os.path.getsize(os.path.join(self.folder, "m.safetensors")) - 2410
        self.assertEqual(row["tensors"][1]["file_offset"], data + 2400)

    def test_models_and_traces_side_by_side(self):
        self.write("x", safetensors(SMALL))  # known by its content
        self.write("t.csv", small_trace())
        rows = json.loads(self.assert_run(OK, "info", "--json", "t.csv", "x",
                                          "t.csv").out)
        self.assertEqual([row["format"] for row in rows],
                         ["rmm-csv", "safetensors", "rmm-csv"])

    def test_sharded_model_in_a_folder(self):
        folder = os.path.join(self.folder, "model")
        os.mkdir(folder)
        for i in (1, 2):
            self.write(f"model/model-0000{i}-of-00002.safetensors",
                       safetensors({f"t{i}": ("U8", [i], i)}))
        index = {"metadata": {"total_size": 3},
                 "weight_map": {f"t{i}": f"model-0000{i}-of-00002.safetensors"
                                for i in (1, 2)}}
        self.write("model/model.safetensors.index.json", json.dumps(index))
        out = self.assert_run(OK, "info", "model", "--metadata").out
        self.assertIn("sharded safetensors\n  files ", out)
        self.assertIn("total_size = 3\n", out)
        row = json.loads(self.assert_run(OK, "info", "--json", "model").out)[0]
        self.assertEqual([tensor["file_index"] for tensor in row["tensors"]],
                         [0, 1])
        os.remove(os.path.join(folder, "model-00002-of-00002.safetensors"))
        self.assert_refused(
            INPUT, "tegula: model/model.safetensors.index.json: byte *: the "
            'file "model-00002-of-00002.safetensors", which is to have the '
            'tensor "t2", is not there', "info", "model")

    def test_what_is_broken_is_named_and_the_rest_is_shown(self):
        whole = safetensors(SMALL)
        self.write("m.safetensors", whole)
        self.write("cut.safetensors", whole[:-1])
        self.write("text.gguf", "what is this")
        self.write("old.gguf", b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
        os.mkdir(os.path.join(self.folder, "empty"))
        result = self.assert_run(INPUT, "info", "cut.safetensors", "text.gguf",
                                 "old.gguf", "empty", "none.gguf",
                                 "m.safetensors")
        self.assert_lines(result.err, """
tegula: cut.safetensors: byte *: the tensor "b ?[1m" ends at byte 2410 *
tegula: text.gguf: byte 0: not a model: begins with "what is "; expected *
tegula: old.gguf: byte 4: GGUF version 1; versions 2 and 3 are read
tegula: empty: the folder has no model: *
tegula: none.gguf: cannot open: No such file or directory
""")
        self.assertIn("m.safetensors: safetensors\n", result.out)

    def test_full_disk_for_standard_output(self):
        self.write("m.safetensors", safetensors(SMALL))
        for words in (["info", "m.safetensors"],
                      ["info", "--json", "m.safetensors"]):
            with open("/dev/full", "wb") as full:
                result = self.tegula(*words, stdout=full)
            self.assertEqual(result.code, OUTPUT)


if __name__ == "__main__":
    unittest.main()
