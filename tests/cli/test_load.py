#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tegula load: figures, verification, messages, memory."""

import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_case import (CliCase, FAILED, INPUT, MIB, OK, PROGRAM, USAGE)


def safetensors(sizes, data=None):
    """A file of U8 tensors; |data| None = their bytes are missing."""
    header = {}
    end = 0
    for number, size in enumerate(sizes):
        header[f"t{number}"] = {"dtype": "U8", "shape": [size],
                                "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + (data or b"")


def is_sanitized():
    with open(PROGRAM, "rb") as file:
        text = file.read()
    return b"__asan_init" in text or b"__tsan_init" in text


class Load(CliCase):

    def write_model(self, name, sizes):
        return self.write(name, safetensors(sizes, os.urandom(sum(sizes))))

    def write_sparse(self, name, sizes):
        self.write(name, safetensors(sizes))
        path = os.path.join(self.folder, name)
        os.truncate(path, os.path.getsize(path) + sum(sizes))
        return name

    def load_json(self, *arguments):
        return json.loads(self.assert_run(OK, "load", "--json", *arguments).out)

    def test_figures_for_people(self):
        self.write_model("m.safetensors", [3 * MIB, 5, 1000])
        out = self.assert_run(OK, "load", "m.safetensors", "--verify").out
        self.assert_lines(out, """
m.safetensors: safetensors, 3 tensors, 3.1 MB
device host
way mapped, * threads
read in place 3.1 MB
by the ring 0.0 MB
time *, of it * making buffers
rate * GB/s, * without making buffers
device peak * MB
staging peak 0.0 MB
process * MB more resident at most, * MB with the device's
verified all bytes are those of the file (*)
""")

    def test_ways_and_repeats(self):
        sizes = [2 * MIB + 1, 7, 0, 4096]
        self.write_model("m.safetensors", sizes)
        for device in ("host", "null"):
            for way, other in (("mapped", "staged"), ("staged", "mapped")):
                got = self.load_json("m.safetensors", "-d", device, "--way",
                                     way, "--threads", "2", "--repeat", "3",
                                     "--verify", "--packed")
                self.assertEqual(got["tensor_count"], 4)
                self.assertEqual(len(got["loads"]), 3)
                for load in got["loads"]:
                    self.assertEqual(load["way"], way)
                    self.assertEqual(load["thread_count"], 2)
                    self.assertEqual(load["bytes"], sum(sizes))
                    self.assertEqual(load[f"{way}_bytes"], sum(sizes))
                    self.assertEqual(load[f"{other}_bytes"], 0)
                    self.assertTrue(load["is_verified"])
                    self.assertLess(load["allocate_ns"], load["elapsed_ns"])
        out = self.assert_run(OK, "load", "m.safetensors", "--repeat", "3").out
        self.assertRegex(out, r"all rates +(\d+\.\d+ ){3}GB/s; of 3 loads")

    def expect_no_second_copy(self, sizes, *arguments):
        load = self.load_json("m.safetensors", *arguments)["loads"][0]
        self.assertLess(load["peak_own_resident_bytes"], 64 * MIB)
        self.assertGreater(load["peak_resident_bytes"], sum(sizes) * 0.9)
        self.assertLessEqual(load["ring_bytes"], 32 * MIB)
        self.assertLessEqual(load["peak_reserved_bytes"],
                             sum(sizes) + load["ring_bytes"] + 2 * MIB)

    def test_a_large_model_takes_no_second_copy(self):
        if is_sanitized():
            self.skipTest("sanitizers keep memory of their own")
        sizes = [16 * MIB] * 32
        self.write_sparse("m.safetensors", sizes)
        devices = [["host"]]
        if "GPU driver on the CPU" in self.assert_run(OK, "devices").out:
            devices.append(["vulkan", "-s", "remap=off"])
        for device in devices:
            for way in ("mapped", "staged"):
                self.expect_no_second_copy(sizes, "--way", way, "-d", *device)

    def write_shards(self):
        first = {"a": 100000, "b": 3}
        second = {"c": 70000}
        for name, sizes in (("1", first), ("2", second)):
            header, end = {}, 0
            for tensor, size in sizes.items():
                header[tensor] = {"dtype": "U8", "shape": [size],
                                  "data_offsets": [end, end + size]}
                end += size
            text = json.dumps(header).encode()
            self.write(f"m-{name}.safetensors", struct.pack("<Q", len(text)) +
                       text + os.urandom(end))
        places = {tensor: "m-1.safetensors" for tensor in first}
        places.update({tensor: "m-2.safetensors" for tensor in second})
        self.write("m.safetensors.index.json",
                   json.dumps({"metadata": {}, "weight_map": places}))

    def test_a_model_in_several_files(self):
        self.write_shards()
        for way in ("mapped", "staged"):
            got = self.load_json("m.safetensors.index.json", "--verify",
                                 "--way", way)
            self.assertEqual(got["tensor_count"], 3)
            self.assertEqual(got["loads"][0]["bytes"], 170003)
            self.assertTrue(got["loads"][0]["is_verified"])
        os.remove(os.path.join(self.folder, "m-2.safetensors"))
        self.assert_refused(INPUT, "tegula: *m-2.safetensors*", "load",
                            "m.safetensors.index.json")

    def test_progress_on_a_terminal_only(self):
        self.write_sparse("m.safetensors", [64 * MIB] * 3)
        shown = self.on_terminal("load", "m.safetensors").out
        self.assertIn("] ", shown)
        self.assertIn("%", shown)
        self.assertIn("m.safetensors", shown)
        quiet = self.on_terminal("load", "m.safetensors", "-q").out
        self.assertNotIn("%", quiet)

    def test_a_device_without_room_says_what_is_missing(self):
        self.write_sparse("m.safetensors", [3 * MIB])
        self.assert_refused(
            FAILED, "tegula: load: 1048576 bytes are missing: the weights need "
            "3145728, and the budget of the device has room for 2097152",
            "load", "m.safetensors", "-s", "budget=2MiB")

    def test_broken_files(self):
        self.write("short.safetensors", safetensors([1000], b"x" * 999))
        self.write("empty.safetensors", "")
        self.write("text.safetensors", "no model at all\n" * 9)
        for name in ("short", "empty", "text", "absent"):
            self.assert_refused(INPUT, f"tegula: {name}.safetensors: *", "load",
                                f"{name}.safetensors")

    def test_wrong_usage(self):
        self.write_model("m.safetensors", [10])
        for words, wanted in (
            (["--way", "fast"], '--way: "fast" is not auto, mapped or staged'),
            (["--threads", "0"], "--threads: *"),
            (["--repeat", "x"], "--repeat: *"),
            (["--set", "rimg=3"], "--set: *"),
            (["--device", "hots"], '--device: *nearest is "host"*'),
            (["--veriffy"], "no option is called --veriffy; the nearest is "
             "--verify"),
        ):
            self.assert_refused(USAGE, f"tegula: {wanted}", "load",
                                "m.safetensors", *words)
        self.assertIn("a FILE is needed", self.assert_run(USAGE, "load").err)
        self.assertIn("one FILE only",
                      self.assert_run(USAGE, "load", "a", "b").err)


if __name__ == "__main__":
    unittest.main()
