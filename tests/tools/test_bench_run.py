# SPDX-License-Identifier: Apache-2.0
#
# bench/run with programs that print numbers they are given: what it makes of
# them, what it keeps, and that a program that fails or is missing fails it.
import csv
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["TEGULA_SOURCE"])
RUN = SOURCE / "bench" / "run"

TEGULA = """#!{python}
import json
row = dict(trace="phi3-mini", ns_per_op_late_median={ns}, ns_per_op_median=1.0,
           ns_per_op_p99=1.0, driver_ns=10.0, operations=5, ratio=1.5,
           run_ratio=None, tiles_remapped=0, tiles_remapped_per_late_run=0.0,
           allocations_per_late_run=0.0, waits=0)
print(json.dumps([dict(row, policy="tiled"), dict(row, policy="planned")]))
"""

THREADS = """#!{python}
print("bench,subject,case,figure,value,unit")
for policy, ratio, quiet in ("tiled", 1.9, 61), ("paged", 1.7, 61), (
        "bucket", 1.9, 2):
    print(f"threads,{{policy}},batches of 32,rate_ratio,{{ratio}},")
    print(f"threads,{{policy}},batches of 32,quiet_rounds,{{quiet}},")
"""


class BenchRun(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.build = pathlib.Path(folder.name)
        (self.build / "bench").mkdir()

    def add(self, name, text, **values):
        path = self.build / name
        path.write_text(text.format(python=sys.executable, **values))
        path.chmod(0o755)

    def run_it(self, parts):
        done = subprocess.run(
            [sys.executable, RUN, self.build, "--only", parts, "--rounds", "2",
             "--out", self.build / "out"], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def kept(self):
        (path,) = (self.build / "out").glob("*.csv")
        lines = path.read_text().splitlines()
        rows = csv.DictReader(line for line in lines
                              if not line.startswith("#"))
        return lines, {(r["bench"], r["subject"], r["case"], r["figure"]):
                       r["value"] for r in rows}

    def test_replays_are_judged_and_kept(self):
        self.add("tegula", TEGULA, ns=42.0)
        code, text = self.run_it("replay")
        self.assertEqual(code, 0, text)
        self.assertRegex(text, r"planned, phi3: ns an operation +<= +30 +"
                         r"42\.00 +MISSED")
        self.assertRegex(text, r"tiled, phi3: ns an operation +<= +80 +"
                         r"42\.00 +kept")
        lines, rows = self.kept()
        self.assertTrue(lines[0].startswith("# date: "), lines[0])
        self.assertEqual(rows["replay", "tiled", "phi3-mini", "ratio"], "1.5")
        self.assertEqual(rows["replay", "tiled", "phi3-mini", "run_ratio"], "")
        self.assertEqual(rows["replay", "tiled", "phi3-mini",
                              "driver_ns_per_op"], "2")

    def test_threads_are_judged_by_quiet_rounds(self):
        self.add("bench/bench_threads", THREADS)
        code, text = self.run_it("threads")
        self.assertEqual(code, 0, text)
        self.assertRegex(text, r"tiled: rate .* 1\.90 +kept")
        self.assertRegex(text, r"paged: rate .* 1\.70 +MISSED")
        self.assertRegex(text, r"bucket: rate .*2 quiet rounds.* unsure")

    def test_a_missing_program_fails(self):
        code, text = self.run_it("curve")
        self.assertEqual(code, 1, text)
        self.assertIn("make bench builds it", text)

    def test_a_failing_program_fails(self):
        self.add("tegula", "#!/bin/sh\necho out of order >&2\nexit 3\n")
        code, text = self.run_it("replay")
        self.assertEqual(code, 1, text)
        self.assertIn("out of order", text)

    def test_an_unknown_part_is_refused(self):
        code, text = self.run_it("speed")
        self.assertNotEqual(code, 0, text)
        self.assertIn("there is no part speed", text)


if __name__ == "__main__":
    unittest.main()
