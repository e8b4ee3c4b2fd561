#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program as a whole, and the verbs that replay nothing."""

import gzip
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_case import (CliCase, FAILED, INPUT, OK, OUTPUT, SOURCE, USAGE,
                      small_trace)

VERBS = ["replay", "load", "info", "convert", "devices", "options", "policies"]


class Program(CliCase):

    def test_help_lists_every_verb(self):
        out = self.assert_run(OK, "--help").out
        for verb in VERBS:
            self.assertRegex(out, rf"(?m)^  {verb} +\w")
        self.assertIn("Exit codes: 0", out)

    def test_every_verb_has_help(self):
        for verb in VERBS:
            out = self.assert_run(OK, verb, "--help").out
            self.assertTrue(out.startswith(f"Usage: tegula {verb}"), out)
            self.assertEqual(self.assert_run(OK, "help", verb).out, out)
        self.assertIn("Verbs:", self.assert_run(OK, "help").out)

    def test_help_fits_a_terminal(self):
        for verb in VERBS:
            for line in self.assert_run(OK, verb, "--help").out.splitlines():
                self.assertLessEqual(len(line), 80)

    def test_version(self):
        with open(os.path.join(SOURCE, "CMakeLists.txt"),
                  encoding="utf-8") as file:
            version = file.read().split("VERSION ")[2].split()[0]
        self.assertEqual(self.assert_run(OK, "--version").out,
                         f"tegula {version}\n")

    def test_no_verb_is_wrong_usage(self):
        result = self.assert_run(USAGE)
        self.assertEqual(result.err, self.assert_run(OK, "--help").out)
        self.assertEqual(result.out, "")
        self.assertIn("PyTorch", result.err)

    def test_unknown_names_get_the_nearest(self):
        for words, wanted in (
            (["reply"], 'no verb is called "reply"; the nearest is "replay"'),
            (["qqqqqqqqq"], 'no verb is called "qqqqqqqqq"; see tegula *'),
            (["--verzion"], "no option is called --verzion; the nearest is "
             "--version"),
            (["help", "devises"], 'no verb is called "devises"; the nearest '
             'is "devices"'),
            (["info", "--jsn", "x"], "no option is called --jsn; the nearest "
             "is --json"),
            (["replay", "--polcy", "x", "t"], "no option is called --polcy; "
             "the nearest is --policy"),
            (["replay", "--polcy=x", "t"], "no option is called --polcy; "
             "the nearest is --policy"),
            (["options", "--xml"], "no option is called --xml; *"),
        ):
            self.assert_refused(USAGE, f"tegula: {wanted}", *words)

    def test_values_are_not_taken_for_options(self):
        self.write("t.csv", small_trace())
        self.assert_refused(USAGE, "tegula: --set: *", "replay", "t.csv",
                            "--set", "--polcy")
        self.assert_refused(USAGE, "tegula: --set: *", "replay", "t.csv",
                            "-s", "--polcy")
        self.assert_refused(INPUT, "tegula: --polcy: *", "info", "--",
                            "--polcy")

    def test_full_disk_for_standard_output(self):
        self.write("t.csv", small_trace())
        for words in (["--help"], ["options"], ["policies"], ["devices"],
                      ["info", "t.csv"], ["replay", "t.csv"],
                      ["replay", "t.csv", "--json", "-"],
                      ["info", "--json", "t.csv"], ["options", "--json"]):
            if words == ["--help"]:
                continue  # printed by the C library
            with open("/dev/full", "wb") as full:
                result = self.tegula(*words, stdout=full)
            self.assertEqual(result.code, OUTPUT, words)
            self.assert_lines(
                result.err,
                "tegula: standard output: No space left on device")


class Lists(CliCase):

    def test_devices(self):
        out = self.assert_run(OK, "devices").out
        self.assertRegex(out, r"(?m)^host: ")
        self.assertRegex(out, r"(?m)^  host:0$")
        self.assertRegex(out, r"(?m)^    tile +2 MiB$")
        self.assertRegex(out, r"(?m)^    mappings at once +[0-9,]+$")
        self.assertRegex(out, r"(?m)^  null:0$")
        self.assert_run(USAGE, "devices", "host")

    def test_policies(self):
        out = self.assert_run(OK, "policies").out
        names = [line.split()[0] for line in out.splitlines()]
        self.assertEqual(names, [
            "auto", "disabled", "lazy", "simple", "bucket", "dynamic",
            "paged", "exclusive", "tiled", "planned"])
        rows = json.loads(self.assert_run(OK, "policies", "--json").out)
        self.assertEqual([row["name"] for row in rows], names)

    def test_options_agree_in_every_form(self):
        rows = json.loads(self.assert_run(OK, "options", "--json").out)
        keys = [row["key"] for row in rows]
        self.assertIn("policy", keys)
        for row in rows:
            self.assertTrue(row["help"] and row["since"], row)
            self.assertIn(row["scope"], ("device", "session"))
        table = self.assert_run(OK, "options").out
        markdown = self.assert_run(OK, "options", "--markdown").out
        for key in keys:
            self.assertRegex(table, rf"(?m)^{key} ")
            self.assertIn(f"| `{key}` |", markdown)
        for line in table.splitlines():
            self.assertLessEqual(len(line), 120)
        for line in markdown.splitlines():
            self.assertEqual(line.count("|"), 8, line)

    def test_every_default_can_be_set(self):
        self.write("t.csv", small_trace())
        for row in json.loads(self.assert_run(OK, "options", "--json").out):
            if row["key"] == "policy":
                continue  # it is --policy's
            pair = f"{row['key']}={row['default']}"
            self.assert_run(OK, "replay", "t.csv", "-q", "-p", "simple",
                            "--set", pair)


INFO = """
t.csv: t
  format               rmm-csv
  file                 * bytes
  events               20
  allocations          7
  frees                6
  runs                 3
  ends of loading      1
  distinct sizes       3
  largest request      4.2 MB
  allocated in all     13.6 MB
  weights              1
  bytes of weights     4.2 MB
  peak live            7.3 MB
  most buffers at once 3
  event of the peak    4
  time of the peak     * us
  buffers never freed  1
  bytes never freed    4.2 MB
  duration             190 us
  streams              1
  threads              1
"""


class Info(CliCase):

    def test_text(self):
        self.write("t.csv", small_trace())
        self.assert_lines(self.assert_run(OK, "info", "t.csv").out, INFO)

    def test_json(self):
        self.write("t.csv", small_trace())
        rows = json.loads(
            self.assert_run(OK, "info", "--json", "t.csv", "t.csv").out)
        self.assertEqual(len(rows), 2)
        self.assertEqual(rows[0]["run_count"], 3)
        self.assertEqual(rows[0]["weight_bytes"], 4 << 20)
        self.assertEqual(rows[0]["peak_live_bytes"], 7 << 20)
        self.assertEqual(rows[0]["format"], "rmm-csv")

    def test_what_cannot_be_read_is_named_and_the_rest_is_shown(self):
        self.write("t.csv", small_trace())
        self.write("empty", "")
        self.write("junk", "what is this\n")
        result = self.assert_run(INPUT, "info", "none", "empty", "junk",
                                 "t.csv")
        self.assert_lines(result.err, """
tegula: none: cannot open: No such file or directory
tegula: empty: the file is empty; *
tegula: junk: not a trace: * or a memory snapshot of PyTorch
""")
        self.assert_lines(result.out, INFO)

    def test_bad_traces_of_the_golden_folder(self):
        golden = os.path.join(SOURCE, "tests", "golden")
        bad = sorted(name for name in os.listdir(golden)
                     if name.startswith("bad_"))
        self.assertGreater(len(bad), 10)
        for name in bad:
            path = os.path.join(golden, name)
            for verb in ("info", "replay"):
                result = self.assert_run(INPUT, verb, path)
                self.assert_lines(result.err, f"tegula: {path}: *")
                self.assertEqual(result.out, "")

    def test_names_that_are_not_utf8(self):
        name = os.fsdecode(b"\xff.csv")
        with open(os.path.join(self.folder, name), "w",
                  encoding="ascii") as file:
            file.write(small_trace())
        rows = json.loads(self.assert_run(OK, "info", "--json", name).out)
        self.assertEqual(rows[0]["path"], "?.csv")

    def test_needs_a_trace(self):
        self.assertIn("a trace or a model", self.assert_run(USAGE, "info").err)


class Convert(CliCase):

    def summary(self, name):
        row = json.loads(self.assert_run(OK, "info", "--json", name).out)[0]
        for key in ("path", "format", "version", "file_bytes", "name",
                    "source"):
            del row[key]
        return row

    def test_there_and_back(self):
        self.write("t.csv", small_trace())
        wanted = self.summary("t.csv")
        last = "t.csv"
        for name in ("a.tgt", "b.csv.gz", "c.csv.zst", "d.tgt", "e.csv"):
            self.assertEqual(self.assert_run(OK, "convert", last, name).out,
                             "")
            self.assertEqual(self.summary(name), wanted, name)
            last = name

    def test_texts_are_kept(self):
        self.write("t.csv", small_trace())
        self.assert_run(OK, "convert", "t.csv", "a.tgt", "--name", "N",
                        "--source", "from here", "--level", "3")
        self.assert_run(OK, "convert", "a.tgt", "b.tgt")
        row = json.loads(self.assert_run(OK, "info", "--json", "b.tgt").out)[0]
        self.assertEqual((row["name"], row["source"]), ("N", "from here"))

    def test_standard_output(self):
        self.write("t.csv", small_trace())
        wanted = self.summary("t.csv")
        for form in ("tgt", "rmm-csv"):
            path = os.path.join(self.folder, "out")
            with open(path, "wb") as file:
                result = self.tegula("convert", "t.csv", "-", "-f", form,
                                     stdout=file)
            self.assertEqual((result.code, result.err), (OK, ""))
            self.assertEqual(self.summary("out"), wanted, form)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "-")))
        self.assert_refused(USAGE, "tegula: -: * --format: tgt, rmm-csv or *",
                            "convert", "t.csv", "-")
        with open("/dev/full", "wb") as full:
            result = self.tegula("convert", "t.csv", "-", "-f", "tgt",
                                 stdout=full)
        self.assertEqual(result.code, OUTPUT, result.err)

    def test_texts_are_utf8(self):
        self.write("t.csv", small_trace())
        for bad in (b"\xff", b"a\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\x80"):
            for option in ("--name", "--source"):
                self.assert_refused(
                    USAGE, f'tegula: {option}: "*" is not UTF-8', "convert",
                    "t.csv", "a.tgt", option, os.fsdecode(bad))
        self.assert_run(OK, "convert", "t.csv", "a.tgt", "--name", "ü€😀")

    def test_chrome_timeline(self):
        self.write("t.csv", small_trace())
        self.assert_run(OK, "convert", "t.csv", "t.json")
        json.loads(self.read("t.json"))
        self.assert_run(OK, "convert", "t.csv", "t.json.gz")
        with gzip.open(os.path.join(self.folder, "t.json.gz")) as file:
            json.load(file)

    def test_wrong_usage(self):
        self.write("t.csv", small_trace())
        self.assert_refused(USAGE, "tegula: t.foo: *extension*", "convert",
                            "t.csv", "t.foo")
        self.assert_refused(
            USAGE, 'tegula: no format to write is called "tgz"; the nearest '
            "is tgt", "convert", "-f", "tgz", "t.csv", "x")
        self.assert_refused(
            USAGE, 'tegula: --level: "20" is not a whole number from 1 to 19',
            "convert", "-l", "20", "t.csv", "x.tgt")
        self.assert_run(USAGE, "convert", "t.csv")
        self.assert_run(USAGE, "convert", "t.csv", "a.tgt", "b.tgt")

    def test_failures_leave_nothing_behind(self):
        self.write("t.csv", small_trace())
        self.write("cut.csv", small_trace() + "0,1,free,999,1,0\n")
        self.assert_refused(INPUT, "tegula: cut.csv: *999*", "convert",
                            "cut.csv", "x.tgt")
        self.assert_refused(INPUT, "tegula: none: *", "convert", "none",
                            "x.tgt")
        self.assert_refused(OUTPUT, "tegula: no/x.tgt: *No such file*",
                            "convert", "t.csv", "no/x.tgt")
        self.assert_refused(OUTPUT, "tegula: /dev/full: *No space left*",
                            "convert", "t.csv", "/dev/full", "-f", "tgt")
        self.assertEqual(sorted(os.listdir(self.folder)),
                         ["cut.csv", "t.csv"])


if __name__ == "__main__":
    assert FAILED
    unittest.main()
