#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tegula bench: parts, tables, JSON, wrong usage. Times are only looked at for
being there."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_case import CliCase, OK, OUTPUT, SOURCE, USAGE

TABLES = """
host:0, *

bind: a buffer grows by tiles of 64 KiB that another let go
one run: scattered: ratio
tiles map us unmap us map us unmap us of map
1 * * * * *
16 * * * * *

transfer: bytes to the device and back; threads share the bytes
memcpy of
way size threads GB/s GB/s memcpy
upload, direct 64 KiB 1 * * *
upload, direct 1 MiB 1 * * *
upload, direct 64 KiB 4 * * *
upload, direct 1 MiB 4 * * *
upload, ring 64 KiB 1 * * *
upload, ring 1 MiB 1 * * *
upload, ring 64 KiB 4 * * *
upload, ring 1 MiB 4 * * *
download 64 KiB 1 * * *
download 1 MiB 1 * * *
download 64 KiB 4 * * *
download 1 MiB 4 * * *

dispatch: processor time of the thread that records and submits
dispatches ns a
a batch dispatch
1 *
8 *
64 *

"""

BIND_KEYS = "tiles tile_bytes layout map_ns unmap_ns driver_calls".split()
TRANSFER_KEYS = """way bytes threads gb_per_s memcpy_gb_per_s staged_gb_per_s
of_memcpy of_staged""".split()
DISPATCH_KEYS = """batch_dispatches ns_per_dispatch hand_ns_per_dispatch
ratio""".split()


class Bench(CliCase):

    def measure(self, *arguments):
        out = self.assert_run(OK, "bench", "--quick", "--json", "-",
                              *arguments).out
        return json.loads(out)

    def test_tables(self):
        out = self.assert_run(OK, "bench", "--quick").out
        self.assert_lines(out.rstrip("\n"), TABLES)
        for line in out.splitlines():
            self.assertLessEqual(len(line), 80)

    def test_json(self):
        result = self.measure()
        self.assertEqual(list(result), ["device", "device_index", "name",
                                        "quick", "bind", "transfer",
                                        "dispatch"])
        self.assertEqual(result["device"], "host")
        self.assertIs(result["quick"], True)
        for row in result["bind"]:
            self.assertEqual(list(row), BIND_KEYS)
            self.assertGreater(row["map_ns"], 0)
            self.assertGreater(row["unmap_ns"], 0)
            self.assertGreaterEqual(row["driver_calls"], 1)
        for row in result["transfer"]:
            self.assertEqual(list(row), TRANSFER_KEYS)
            self.assertGreater(row["gb_per_s"], 0)
            self.assertGreater(row["memcpy_gb_per_s"], 0)
            self.assertIsNone(row["staged_gb_per_s"])
        for row in result["dispatch"]:
            self.assertEqual(list(row), DISPATCH_KEYS)
            self.assertGreater(row["ns_per_dispatch"], 0)
            self.assertIsNone(row["ratio"])

    def test_every_key_is_documented(self):
        with open(os.path.join(SOURCE, "docs", "bench.md"),
                  encoding="utf-8") as file:
            text = file.read()
        for key in BIND_KEYS + TRANSFER_KEYS + DISPATCH_KEYS:
            self.assertIn(f"`{key}`", text)

    def test_only_some_parts(self):
        result = self.measure("--only", "dispatch,bind")
        self.assertIn("bind", result)
        self.assertIn("dispatch", result)
        self.assertNotIn("transfer", result)

    def test_json_file_beside_the_tables(self):
        out = self.assert_run(OK, "bench", "--quick", "--only", "dispatch",
                              "--json", "b.json").out
        self.assertIn("dispatch: ", out)
        self.assertEqual(len(json.loads(self.read("b.json"))["dispatch"]), 3)

    def test_vulkan_is_compared_with_itself_by_hand(self):
        if "vulkan:0" not in self.assert_run(OK, "devices").out:
            self.skipTest("there is no Vulkan device")
        result = self.measure("--device", "vulkan")
        self.assertNotEqual(result["name"], "")
        for row in result["transfer"]:
            if row["threads"] == 1:
                self.assertGreater(row["staged_gb_per_s"], 0)
        for row in result["dispatch"]:
            self.assertGreater(row["hand_ns_per_dispatch"], 0)
            self.assertGreater(row["ratio"], 0)

    def test_wrong_usage(self):
        self.assert_refused(USAGE, 'tegula: --only: no part is called "dispach"'
                            '; the nearest is "dispatch"', "bench", "--only",
                            "dispach")
        self.assert_refused(USAGE, 'tegula: --only: no part is called '
                            '"everything"; they are bind, transfer, dispatch',
                            "bench", "--only", "everything")
        self.assert_refused(USAGE, 'tegula: *hots*host*', "bench", "--device",
                            "hots")
        self.assert_refused(USAGE, "tegula: *", "bench", "--device", "host:7")
        self.assert_refused(USAGE, "tegula: no option is called --quik; the "
                            "nearest is --quick", "bench", "--quik")
        self.assert_refused(USAGE, "tegula: --json: the name of the file is "
                            "empty", "bench", "--json", "")

    def test_json_that_cannot_be_written(self):
        self.assert_refused(OUTPUT, "tegula: none/b.json: *", "bench",
                            "--quick", "--json", "none/b.json")


if __name__ == "__main__":
    unittest.main()
