#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tegula devices: what is said of each device, and of those not there."""

import os
import re
import sys
import unittest
import unittest.mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_case import CliCase, OK

FACTS = ["memory", "tile", "remap", "mappings at once", "allocations at once",
         "largest allocation", "largest range", "largest binding",
         "buffer alignment", "buffer granularity", "traits"]
BYTES = r"[\d.]+ [KMGT]?i?B"


class Devices(CliCase):

    def sections(self, out):
        """The lines below each device, as name -> {fact: text}."""
        found = {}
        for line in out.splitlines():
            if re.fullmatch(r"  \w+:\d+", line):
                facts = found[line.strip()] = {}
            elif line.startswith("    "):
                facts[line[4:26].strip()] = line[27:]
        return found

    def test_every_device_has_its_facts(self):
        devices = self.sections(self.assert_run(OK, "devices").out)
        self.assertIn("host:0", devices)
        self.assertIn("null:0", devices)
        for facts in devices.values():
            for fact in FACTS:
                self.assertIn(fact, facts)

    def test_vulkan_devices_are_described(self):
        devices = self.sections(self.assert_run(OK, "devices").out)
        if "vulkan:0" not in devices:
            self.skipTest("there is no Vulkan device")
        for name, facts in devices.items():
            if not name.startswith("vulkan:"):
                continue
            self.assertTrue(facts["name"] and facts["driver"])
            self.assertRegex(facts["driver version"],
                             r"^\d+\.\d+\.\d+, Vulkan 1\.\d+\.\d+$")
            self.assertRegex(
                facts["heap 0"],
                rf"^{BYTES}(, {BYTES} available)?(, the device's own)?"
                r"(, mappable)?$")
            self.assertRegex(facts["mappable"], rf"^({BYTES}|none)$")
            self.assertRegex(facts["remap"], r"in queue order|cannot be moved")
            self.assertRegex(facts["largest binding"], BYTES)

    def test_machine_without_drivers(self):
        if "vulkan:" not in self.assert_run(OK, "devices").out:
            self.skipTest("this build has no Vulkan")
        nowhere = {"VK_ICD_FILENAMES": "/nowhere/none.json",
                   "VK_DRIVER_FILES": "/nowhere/none.json"}
        with unittest.mock.patch.dict(os.environ, nowhere):
            out = self.assert_run(OK, "devices").out
        self.assertRegex(out, r"(?m)^vulkan: .*\n  not there: \w.+")
        self.assertIn("  host:0", out)


if __name__ == "__main__":
    unittest.main()
