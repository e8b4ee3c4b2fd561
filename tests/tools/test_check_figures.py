# SPDX-License-Identifier: Apache-2.0
#
# tools/check_figures against a program that says whatever it is told to: what
# rises fails and is named, what falls passes with a hint, limits are kept or
# not, and a program that fails is no pass.
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["TEGULA_SOURCE"])
CHECK = SOURCE / "tools" / "check_figures"

PROGRAM = """#!{python}
import json, pathlib, sys
arguments = sys.argv[1:]
if arguments[0] == "convert":
    pathlib.Path(arguments[2]).write_text(
        "Thread,Time,Action,Pointer,Size,Stream\\n"
        "0,0,allocate,1,1000000,0\\n0,1,load_end,,,\\n"
        "0,2,allocate,2,5,0\\n0,3,run_end,,,\\n0,4,free,2,5,0\\n")
    sys.exit(0)
options = dict(zip(arguments[1:], arguments[2:]))
if "--broken" in {flags!r}:
    sys.exit("tegula: out of order")
policies = options["--policy"].split(",")
if policies == ["all"]:
    policies = ["bucket", "dynamic", "paged", "tiled", "planned"]
rows = []
for path in arguments:
    if not path.endswith((".tgt", ".csv")):
        continue
    for policy in policies:
        reserved = 400 << 20 if path.endswith(".csv") else 1000000
        run = 2000 if policy == "bucket" else 1000
        row = dict(trace=pathlib.Path(path).stem, policy=policy,
                   weights_bytes=1000000, peak_live_bytes=1000000,
                   peak_reserved_bytes=reserved, run_peak_live_bytes=1000,
                   run_peak_reserved_bytes=run, ratio=1.0, run_ratio=1.0,
                   tiles_remapped=0, tiles_remapped_per_late_run=0.0,
                   allocations=7, allocations_per_late_run=0.0, waits=0,
                   record_bytes_peak=100, failures=0, complete=True,
                   failure=None)
        row.update({changes!r}.get(row["trace"] + " " + policy, {{}}))
        rows.append(row)
print(json.dumps(rows))
"""


class CheckFigures(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.build = pathlib.Path(self.folder.name)
        self.table = self.build / "table.csv"

    def tell(self, changes, flags=()):
        program = self.build / "tegula"
        program.write_text(PROGRAM.format(python=sys.executable,
                                          changes=changes, flags=flags))
        program.chmod(0o755)

    def check(self, *arguments):
        done = subprocess.run(
            [sys.executable, CHECK, self.build, "--table", self.table,
             *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def write_table(self):
        self.tell({})
        code, text = self.check("--update")
        self.assertEqual(code, 0, text)

    def test_the_same_figures_pass(self):
        self.write_table()
        code, text = self.check()
        self.assertEqual(code, 0, text)
        self.assertRegex(text, r"(?m)^\d+ passed, 0 failed$")
        self.assertNotIn("--update", text)

    def test_a_rise_fails_and_is_named(self):
        self.write_table()
        self.tell({"sdxl tiled": {"peak_reserved_bytes": 1000001}})
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn("FAILED sdxl, tiled, tiles of 2MiB, latency 0: "
                      "peak_reserved_bytes rose by 1 from 1,000,000 to "
                      "1,000,001", text)

    def test_a_fall_passes_with_a_hint(self):
        self.write_table()
        self.tell({"sdxl tiled": {"peak_reserved_bytes": 999999}})
        code, text = self.check()
        self.assertEqual(code, 0, text)
        self.assertIn("peak_reserved_bytes by 1 to 999,999", text)
        self.assertIn("--update", text)

    def test_a_changed_live_peak_fails(self):
        self.write_table()
        self.tell({"sdxl tiled": {"peak_live_bytes": 999999}})
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn("the trace or its replay changed", text)

    def test_another_count_is_said_and_passes(self):
        self.write_table()
        self.tell({"sdxl tiled": {"allocations": 8}})
        code, text = self.check()
        self.assertEqual(code, 0, text)
        self.assertIn("allocations 8, was 7", text)

    def test_update_takes_a_rise_over(self):
        self.write_table()
        self.tell({"sdxl tiled": {"peak_reserved_bytes": 1000001}})
        self.assertEqual(self.check("--update")[0], 0)
        self.assertEqual(self.check()[0], 0)

    def test_a_limit_that_is_not_kept_fails(self):
        self.write_table()
        self.tell({"llama32-1b tiled": {"run_ratio": 1.21}})
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertRegex(text, r"tiled run_ratio +llama32-1b +1\.2000 +"
                         r"1\.2100  FAILED")

    def test_a_failed_request_fails(self):
        self.write_table()
        self.tell({"sdxl tiled": {"failures": 1, "failure": "no memory"}})
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn("no memory", text)

    def test_rows_missing_on_either_side_fail(self):
        self.write_table()
        lines = self.table.read_text().splitlines()
        self.table.write_text("\n".join(lines[:-1]) + "\n")
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn("is not in the table", text)
        extra = lines[-1].replace("sdxl", "other")
        self.table.write_text("\n".join(lines + [extra]) + "\n")
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn("in the table, but not replayed", text)

    def test_a_program_that_fails_is_no_pass(self):
        self.write_table()
        self.tell({}, flags=["--broken"])
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn("out of order", text)
        self.assertIn("0 passed, 1 failed", text)

    def test_a_program_that_is_not_there_is_no_pass(self):
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn("build it with make", text)

    def test_the_committed_table_has_every_replay(self):
        table = SOURCE / "bench" / "expected_figures.csv"
        header = table.read_text().splitlines()[1]
        self.assertTrue(header.startswith("trace,policy,tile,"), header)
        self.assertGreater(len(table.read_text().splitlines()), 100)


if __name__ == "__main__":
    unittest.main()
