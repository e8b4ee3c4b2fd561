#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tegula replay: table, JSON, report, failures, outputs."""

import html.parser
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_case import (CliCase, FAILED, INPUT, MIB, OK, OUTPUT, PROGRAM,
                      SOURCE, USAGE, small_trace)

POLICIES = ["disabled", "lazy", "simple", "bucket", "dynamic", "paged",
            "exclusive", "tiled", "planned"]

TABLE = """
t: 20 events, 3 runs, 4.2 MB of weights; host, tiles of 2 MiB; batches of 32, latency 0
         peak live reserved       run   average driver allocs tiles moved       ns/op  ns/op driver
policy   MB        MB       ratio ratio MB      calls  /late  moved /late waits median p99   ms     fail
disabled 7.3       7.3      1.0000 1.0000 *     13     2.00   0     0.00  0     *      *     *      0
simple   7.3       7.3      1.0000 1.0000 *     3*     0.00*  0     0.00  0     *      *     *      0

MB = 1,000,000 bytes. *
run ratio: *
/late: *
"""

KEYS = """trace policy policy_in_use device tile_bytes session_count
repeat_count batch_requests latency_batches scale events operations runs load_end_ns
runs_end_ns weights_bytes peak_live_bytes peak_reserved_bytes ratio
run_peak_live_bytes run_peak_reserved_bytes run_ratio average_reserved_bytes
driver_calls driver_ns allocations allocations_per_run
allocations_per_late_run tiles_remapped tiles_remapped_per_late_run waits
waits_per_late_run wait_ns ns_per_op_median ns_per_op_p99
ns_per_op_late_median record_bytes_peak failures verify_mismatches complete
failure mismatch""".split()


class ReplayCase(CliCase):

    def setUp(self):
        super().setUp()
        self.write("t.csv", small_trace())

    def rows(self, *arguments, code=OK):
        """The rows of --json -."""
        out = self.assert_run(code, "replay", "--json", "-", *arguments).out
        return json.loads(out)


class Table(ReplayCase):

    def test_rows_and_columns(self):
        out = self.assert_run(OK, "replay", "t.csv", "-p",
                              "disabled,simple").out
        self.assert_lines(out, TABLE)
        self.assertIn("1.0000 ", out)

    def test_every_policy_by_default(self):
        wanted = self.assert_run(OK, "replay", "t.csv").out
        got = [line.split()[0] for line in wanted.splitlines()
               if line and line.split()[0] in POLICIES]
        self.assertEqual(got, POLICIES)
        for line in wanted.splitlines():
            self.assertLessEqual(len(line), 140)

    def test_auto_says_what_it_stands_for(self):
        out = self.assert_run(OK, "replay", "t.csv", "-p", "auto").out
        self.assertIn("auto: tiled", out)
        out = self.assert_run(OK, "replay", "t.csv", "-p", "auto", "--set",
                              "remap=off").out
        self.assertIn("auto: paged", out)

    def test_spellings_of_onnxruntime(self):
        rows = self.rows("t.csv", "-p", "lazyRelease,dynamicBucket")
        self.assertEqual([row["policy_in_use"] for row in rows],
                         ["lazy", "dynamic"])

    def test_colours_on_a_terminal_only(self):
        words = ("replay", "t.csv", "-p", "disabled,simple")
        out = self.on_terminal(*words).out
        self.assertIn("\033[1;32m", out)
        self.assertNotRegex(out, r"0\.00\*")
        plain = self.on_terminal(*words, NO_COLOR="1").out
        self.assertNotIn("\033", plain)
        self.assertRegex(plain, r"0\.00\*")
        self.assertNotIn("\033", self.assert_run(OK, *words).out)

    def test_long_lines_are_broken_on_a_narrow_terminal(self):
        out = self.on_terminal("replay", "t.csv", "-p", "simple", "--scale",
                               "1%", "--sessions", "2", columns=80,
                               NO_COLOR="1").out
        lines = out.splitlines()
        self.assertIn("  latency 0; sizes x 0.01; 2 sessions", lines)
        for line in lines:
            self.assertLessEqual(len(line), 80)

    def test_progress_on_a_terminal_only(self):
        words = ("replay", "t.csv", "-p", "disabled,simple")
        self.assertRegex(self.on_terminal(*words).out, r"\[[#.]{30}\] +\d+ %")
        self.assertNotIn("#", self.on_terminal(*words, "-q").out)
        self.assertEqual(self.assert_run(OK, *words).err, "")

    def test_dumb_terminals_get_neither(self):
        out = self.on_terminal("replay", "t.csv", "-p", "disabled,simple",
                               TERM="dumb").out
        self.assertNotIn("\033", out)
        self.assertNotIn("[#", out)
        self.assertNotIn("[.", out)
        self.assertRegex(out, r"0\.00\*")

    def test_narrow_terminals_get_fewer_columns(self):
        words = ("replay", "t.csv", "-p", "disabled,simple,tiled")
        heads = {}
        for columns in (200, 120, 100, 80, 66):
            out = self.on_terminal(*words, columns=columns, NO_COLOR="1").out
            lines = re.sub(r"[^\n]*\r(?!\n)", "", out).splitlines()
            at = next(i for i, line in enumerate(lines)
                      if line.startswith("policy"))
            heads[columns] = lines[at].split()
            for line in lines[at - 1:at + 4]:
                self.assertLessEqual(len(line.rstrip()), columns, line)
        self.assertGreater(len(heads[200]), len(heads[66]))
        self.assertEqual(len(heads[200]), 15)
        self.assertEqual(heads[66][:4], ["policy", "MB", "ratio", "ratio"])
        self.assertIn("median", heads[66])
        self.assertNotIn("p99", heads[80])
        # A pipe gets all of them.
        out = self.assert_run(OK, *words).out
        self.assertIn("average", out)

    def test_failures_stay_on_narrow_terminals(self):
        out = self.on_terminal("replay", "t.csv", "-p", "simple", "--budget",
                               "5MiB", columns=50).out
        self.assertRegex(out, r"median +fail")

    def test_names_are_cleaned_and_cut_between_characters(self):
        name = "a\033[31m\rb\x9b" + "é" * 80
        self.write("n.csv", small_trace())
        self.assert_run(OK, "convert", "n.csv", "n.tgt", "--name", name)
        out = self.assert_run(OK, "replay", "n.tgt", "-p", "simple").out
        self.assertRegex(out.splitlines()[0], r"^a\?\[31m\?b\?é+: 20 events")
        self.assertIn("a?[31m?b?é", self.assert_run(OK, "info", "n.tgt").out)
        out = self.on_terminal("replay", "n.tgt", "-p", "simple",
                               NO_COLOR="1").out
        self.assertNotIn("\033", out)
        err = self.assert_run(FAILED, "replay", "n.tgt", "-p", "simple",
                              "--budget", "5MiB").err
        self.assertRegex(err, r"^tegula: a\?\[31m\?b\?é+, simple: ")

    def test_quiet(self):
        self.assertEqual(self.assert_run(OK, "replay", "t.csv", "-q").out, "")


class Json(ReplayCase):

    def test_keys_are_stable(self):
        rows = self.rows("t.csv", "t.csv", "-p", "simple,tiled")
        self.assertEqual([row["policy"] for row in rows],
                         ["simple", "tiled"] * 2)
        for row in rows:
            self.assertEqual(list(row), KEYS)

    def test_keys_are_documented(self):
        path = os.path.join(SOURCE, "docs", "replay.md")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for key in KEYS:
            self.assertIn(f"| `{key}` |", text)

    def test_figures(self):
        row = self.rows("t.csv", "-p", "simple")[0]
        self.assertEqual(row["trace"], "t")
        self.assertEqual(row["device"], "host")
        self.assertEqual(row["events"], 20)
        self.assertEqual(row["operations"], 13)
        self.assertEqual(row["runs"], 3)
        self.assertEqual(row["weights_bytes"], 4 * MIB)
        self.assertEqual(row["peak_live_bytes"], 7 * MIB)
        self.assertEqual(row["run_peak_live_bytes"], 3 * MIB)
        self.assertEqual(row["ratio"], 1)
        self.assertEqual(row["failures"], 0)
        self.assertIs(row["complete"], True)
        self.assertIsNone(row["failure"])

    def test_file_and_standard_output(self):
        self.assert_run(OK, "replay", "t.csv", "-p", "simple", "-q",
                        "--json", "out.json")
        self.assertEqual(len(json.loads(self.read("out.json"))), 1)
        self.assertEqual(len(self.rows("t.csv", "-p", "simple")), 1)

    def test_what_was_there_is_replaced_whole(self):
        self.write("out.json", "x" * 100000)
        self.assert_run(OK, "replay", "t.csv", "-p", "simple", "-q",
                        "--json", "out.json")
        json.loads(self.read("out.json"))

    def test_without_runs_there_is_no_run_ratio(self):
        self.write("w.csv", "Thread,Time,Action,Pointer,Size,Stream\n"
                   "0,1,allocate,1,100,0\n0,2,load_end,,,\n")
        row = self.rows("w.csv", "-p", "simple")[0]
        self.assertIsNone(row["run_ratio"])
        self.assertIsNotNone(row["ratio"])

    def test_options_reach_the_replay(self):
        row = self.rows("t.csv", "-p", "tiled", "--tile", "64KiB", "--batch",
                        "5", "--latency", "2", "--sessions", "2", "--repeat",
                        "3", "--device", "null:0", "--verify", "--slack",
                        "0")[0]
        self.assertEqual(row["tile_bytes"], 65536)
        self.assertEqual(row["batch_requests"], 5)
        self.assertEqual(row["latency_batches"], 2)
        self.assertEqual(row["session_count"], 2)
        self.assertEqual(row["repeat_count"], 3)
        self.assertEqual(row["device"], "null")
        self.assertEqual(row["runs"], 18)
        self.assertEqual(row["weights_bytes"], 8 * MIB)
        self.assertEqual(row["verify_mismatches"], 0)

    def test_scale_makes_the_trace_smaller(self):
        for scale in ("0.01", "1%"):
            row = self.rows("t.csv", "-p", "simple", "--scale", scale)[0]
            self.assertEqual(row["scale"], 0.01)
            self.assertEqual(row["weights_bytes"], 164 * 256)
        self.assertEqual(self.rows("t.csv", "-p", "simple")[0]["scale"], 1)
        out = self.assert_run(OK, "replay", "t.csv", "--scale", "1%").out
        self.assertIn("; sizes x 0.01\n", out)
        for wrong in ("0", "1.1", "-1", "200%", "x", "", "nan", "0.5x", "%"):
            self.assert_refused(USAGE, f'tegula: --scale: "{wrong}" is not a '
                                "number from 0.000001 to 1, nor as much in "
                                "percent", "replay", "t.csv", "--scale", wrong)

    def test_vulkan_verifies_a_scaled_trace(self):
        if "vulkan:0" not in self.assert_run(OK, "devices").out:
            self.skipTest("there is no Vulkan device")
        trace = os.path.join(SOURCE, "traces", "sdxl-vae-sizes.tgt")
        for row in self.rows("--device", "vulkan", "--scale", "0.1%", "--policy",
                             "tiled,paged,simple", "--verify", "--latency", "2",
                             trace):
            self.assertEqual(row["failures"], 0, row)
            self.assertEqual(row["verify_mismatches"], 0, row)
            self.assertTrue(row["complete"])

    def test_bytes_are_the_same_every_time(self):
        def stable():
            rows = self.rows("t.csv", "--latency", "3", "--batch", "2")
            for row in rows:
                for key in list(row):
                    if "_ns" in key or key.startswith("ns_"):
                        del row[key]
            return rows
        self.assertEqual(stable(), stable())

    def test_vulkan_reserves_what_host_does(self):
        if "vulkan:0" not in self.assert_run(OK, "devices").out:
            self.skipTest("there is no Vulkan device")
        trace = os.path.join(SOURCE, "traces", "sdxl-vae-sizes.tgt")
        rows = {}
        for device in ("host", "vulkan"):
            rows[device] = self.rows("--device", device, "--policy",
                                     "tiled,paged", trace)
        for on_host, on_vulkan in zip(rows["host"], rows["vulkan"]):
            self.assertEqual(on_host["policy"], on_vulkan["policy"])
            self.assertEqual(on_vulkan["failures"], 0)
            self.assertAlmostEqual(on_host["ratio"], on_vulkan["ratio"],
                                   delta=0.005)

    def test_vulkan_verifies_and_reserves_as_host_does(self):
        if "vulkan:0" not in self.assert_run(OK, "devices").out:
            self.skipTest("there is no Vulkan device")
        traces = [os.path.join(SOURCE, "traces", name)
                  for name in ("sdxl.tgt", "bert-serving.tgt")]
        for tile, policies in (("64KiB", "tiled,paged,dynamic"),
                               ("2MiB", "tiled")):
            rows = [self.rows("--device", device, "--tile", tile, "--scale",
                              "0.02", "--policy", policies, "--verify",
                              *traces)
                    for device in ("host", "vulkan")]
            for on_host, on_vulkan in zip(*rows):
                for row in (on_host, on_vulkan):
                    self.assertEqual(row["failures"], 0, row)
                    self.assertEqual(row["verify_mismatches"], 0, row)
                    self.assertTrue(row["complete"])
                for key in ("trace", "policy", "tile_bytes", "tiles_remapped"):
                    self.assertEqual(on_host[key], on_vulkan[key])
                self.assertAlmostEqual(on_host["ratio"], on_vulkan["ratio"],
                                       delta=0.005)

    def test_shipped_traces(self):
        folder = os.path.join(SOURCE, "traces")
        names = ["sdxl-vae-sizes.tgt", "bert-serving.tgt"]
        paths = [os.path.join(folder, name) for name in names]
        for path in paths:
            if not os.path.exists(path):
                self.skipTest(f"{path} is not here")
        rows = self.rows(*paths, "--verify", "--latency", "2")
        self.assertEqual(len(rows), len(POLICIES) * 2)
        for row in rows:
            self.assertEqual(row["verify_mismatches"], 0, row)
            self.assertEqual(row["failures"], 0, row)
            self.assertGreaterEqual(row["ratio"], 1)


class Page(html.parser.HTMLParser):
    """Collects what a page would fetch, and its data."""

    def __init__(self, text):
        super().__init__()
        self.outside = []
        self.tags = []
        self.data_json = ""
        self.is_data = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action"):
                self.outside.append((tag, name, value))
        self.is_data = tag == "script" and ("id", "data") in attrs

    def handle_data(self, data):
        if self.is_data:
            self.data_json += data

    def handle_endtag(self, tag):
        if tag == "script":
            self.is_data = False


class Report(ReplayCase):

    def report(self, *arguments, code=OK):
        self.assert_run(code, "replay", "-q", "--report", "r.html",
                        *arguments)
        return self.read("r.html")

    def test_is_one_file_without_outside_references(self):
        text = self.report("t.csv")
        page = Page(text)
        self.assertEqual(page.outside, [])
        self.assertNotRegex(text, r"https?:|@import|url\(")
        self.assertEqual(page.tags.count("script"), 2)
        self.assertIn('name="viewport"', text)

    def test_has_rows_and_timelines(self):
        data = json.loads(Page(self.report("t.csv")).data_json)
        rows = data["traces"][0]["rows"]
        self.assertEqual([row["policy"] for row in rows], POLICIES)
        for row in rows:
            samples = row["samples"]
            lengths = {len(samples[key]) for key in
                       ("t", "live", "mapped", "reserved")}
            self.assertEqual(len(lengths), 1)
            peak, live = 0, 0
            for step in samples["live"]:
                live += step
                peak = max(peak, live)
            self.assertEqual(peak * 1024, 7 * MIB)

    def test_names_stay_text(self):
        name = "<img src=x onerror=alert(1)>&'\"</script><script>.csv"
        name = name.replace("/", "\\")
        self.write(name, small_trace())
        text = self.report(name, "-p", "simple")
        page = Page(text)
        self.assertNotIn("img", page.tags)
        self.assertEqual(page.tags.count("script"), 2)
        data = json.loads(page.data_json)
        self.assertEqual(data["traces"][0]["path"], name)
        self.assertIn(name, data["command"])

    def test_shows_failures(self):
        data = json.loads(Page(self.report(
            "t.csv", "-p", "simple", "--budget", "5MiB",
            code=FAILED)).data_json)
        self.assertIn("5242880", data["traces"][0]["rows"][0]["failure"])


class Failures(ReplayCase):

    def test_budget_too_small_says_who_holds_what_and_goes_on(self):
        self.write("tiny.csv", "Thread,Time,Action,Pointer,Size,Stream\n"
                   "0,1,allocate,1,100,0\n0,2,free,1,100,0\n")
        result = self.assert_run(FAILED, "replay", "t.csv", "tiny.csv", "-p",
                                 "simple,tiled", "--budget", "5MiB", "--json",
                                 "o.json")
        lines = result.err.splitlines()
        self.assertEqual(len(lines), 2, result.err)
        for line, policy in zip(lines, ("simple", "tiled")):
            self.assertRegex(line, rf"^tegula: t, {policy}: event \d+, "
                             r"a buffer of \d+ bytes: .*budget of 5242880.*"
                             r'session "session 0" holds \d+ live \(4194304 static\)')
        rows = json.loads(self.read("o.json"))
        self.assertEqual([row["failures"] for row in rows], [1, 1, 0, 0])
        self.assertEqual([row["complete"] for row in rows],
                         [False, False, True, True])
        self.assertIn("tiny: 2 events", result.out)

    def test_unreadable_traces_do_not_stop_the_others(self):
        self.write("empty.tgt", "")
        result = self.assert_run(INPUT, "replay", "none", "empty.tgt",
                                 "t.csv", "-p", "simple")
        self.assert_lines(result.err, """
tegula: none: cannot open: No such file or directory
tegula: empty.tgt: the file is empty; *
""")
        self.assertIn("t: 20 events", result.out)

    def test_marks_out_of_order(self):
        self.write("m.csv", "Thread,Time,Action,Pointer,Size,Stream\n"
                   "0,1,run_end,,,\n")
        self.assert_refused(INPUT, "tegula: m.csv: *event 0: run_end without "
                            "run_begin", "replay", "m.csv")

    def test_sizes_0_and_2_to_the_63(self):
        for size in (0, 1 << 63, 1 << 62):
            self.write("s.csv", "Thread,Time,Action,Pointer,Size,Stream\n"
                       f"0,1,allocate,1,{size},0\n")
            self.assert_refused(INPUT, "tegula: s.csv: *", "replay", "s.csv")

    def test_a_size_that_no_device_has(self):
        self.write("s.csv", "Thread,Time,Action,Pointer,Size,Stream\n"
                   f"0,1,allocate,1,{1 << 61},0\n")
        result = self.assert_run(FAILED, "replay", "s.csv")
        self.assertEqual(len(result.err.splitlines()), len(POLICIES))
        self.assertIn(f"a buffer of {1 << 61} bytes", result.err)

    def test_wrong_usage_comes_before_any_replay(self):
        for words, wanted in (
            (["-p", "lazi"], '--policy: *"lazi"; the nearest is "lazy"'),
            (["-p", ""], "--policy: no policy is named"),
            (["--set", "slak=1"],
             '--set: no option is called "slak"; the nearest is "slack"'),
            (["--set", "slack"], "--set: *"),
            (["--slack", "lots"], "--slack: *"),
            (["--tile", "3"], "--tile: *3*"),
            (["--tile", "96KiB"], "*power of two*"),
            (["--budget", "1x"], "--budget: *1x*"),
            (["--batch", "0"], '--batch: "0" is not a whole number from 1 *'),
            (["--sessions", "-1"], '--sessions: "-1" is not *'),
            (["--repeat", "2x"], '--repeat: "2x" is not *'),
            (["--latency", "99999999999999999999"], "--latency: *"),
            (["--device", "hots"],
             'no device*"hots"; the nearest is "host"'),
            (["--device", "host:9"], "--device: host has no device 9; *"),
            (["--device", "null:1"], "--device: null has no device 1; *"),
            (["--set", "buckets=junk"], "*bucket*junk*"),
            (["--set", "buckets=4096:1,2048:1"], "*bucket*"),
            (["-p", "simple", "--set", "policy=lazy"],
             "--set: a policy is chosen with --policy"),
        ):
            result = self.assert_refused(USAGE, f"tegula: {wanted}", "replay",
                                         "t.csv", "none", *words)
            self.assertEqual(result.out, "")
        self.assertIn("TRACE", self.assert_run(USAGE, "replay").err)

    def test_outputs_that_cannot_be_written(self):
        for option in ("--json", "--report"):
            words = ("replay", "t.csv", "-p", "simple", "-q", option)
            self.assert_refused(
                OUTPUT, "tegula: /dev/full: No space left on device", *words,
                "/dev/full")
            self.assert_refused(
                OUTPUT, "tegula: no/file: No such file or directory", *words,
                "no/file")
            self.assert_refused(OUTPUT, "tegula: .: Is a directory", *words,
                                ".")

    def test_outputs_that_would_overwrite(self):
        self.write("old.json", "old")
        os.symlink("t.csv", os.path.join(self.folder, "link"))
        os.link(os.path.join(self.folder, "old.json"),
                os.path.join(self.folder, "old.html"))
        same = "tegula: --json and --report name the same file, *"
        for words, wanted in (
            (["--json="], "tegula: --json: the name of the file is empty"),
            (["--report="], "tegula: --report: the name of the file is *"),
            (["--json", "x", "--report", "./x"], same),
            (["--json", "-", "--report", "-"], same),
            (["--json", "old.json", "--report", "old.html"], same),
            (["--json", "t.csv"], "tegula: --json: t.csv is a trace *"),
            (["--report", "link"], "tegula: --report: link is a trace *"),
        ):
            result = self.assert_refused(USAGE, wanted, "replay", "t.csv",
                                         *words)
            self.assertEqual(result.out, "")
        self.assertEqual(self.read("t.csv"), small_trace())
        self.assertEqual(self.read("old.json"), "old")
        self.assertEqual(sorted(os.listdir(self.folder)),
                         ["link", "old.html", "old.json", "t.csv"])

    def test_interrupted_replays_leave_no_outputs(self):
        self.write("old.json", "old")
        child = subprocess.Popen(
            [PROGRAM, "replay", "t.csv", "-q", "--repeat", "1000000",
             "--json", "old.json", "--report", "r.html"], cwd=self.folder)
        time.sleep(0.3)
        self.assertIsNone(child.poll())
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(), -signal.SIGINT)
        self.assertEqual(self.read("old.json"), "old")
        self.assertEqual(sorted(os.listdir(self.folder)),
                         ["old.json", "t.csv"])

    def test_outputs_keep_their_modes_and_links(self):
        self.write("old.json", "old")
        path = os.path.join(self.folder, "old.json")
        os.chmod(path, 0o640)
        os.symlink("old.json", os.path.join(self.folder, "link"))
        self.assert_run(OK, "replay", "t.csv", "-p", "simple", "-q", "--json",
                        "link", "--report", "r.html")
        self.assertEqual(len(json.loads(self.read("old.json"))), 1)
        self.assertTrue(os.path.islink(os.path.join(self.folder, "link")))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o640)
        mask = os.umask(0)
        os.umask(mask)
        mode = os.stat(os.path.join(self.folder, "r.html")).st_mode & 0o777
        self.assertEqual(mode, 0o666 & ~mask)

    def test_without_standard_streams(self):
        command = (f"{shlex.quote(PROGRAM)} replay t.csv none --json o.json "
                   "--report r.html <&- >&- 2>&-")
        done = subprocess.run(["sh", "-c", command], cwd=self.folder,
                              check=False)
        self.assertEqual(done.returncode, OUTPUT)  # the table went nowhere
        self.assertEqual(len(json.loads(self.read("o.json"))), len(POLICIES))
        self.assertTrue(self.read("r.html").startswith("<!"))

    def test_limit_of_file_sizes(self):
        command = (f"ulimit -f 1; {shlex.quote(PROGRAM)} replay t.csv -q "
                   "-p disabled --report r.html")
        done = subprocess.run(["sh", "-c", command], cwd=self.folder,
                              stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, OUTPUT, done.stderr)
        self.assert_lines(done.stderr.decode(),
                          "tegula: r.html: File too large")
        self.assertEqual(os.listdir(self.folder), ["t.csv"])

    def test_the_largest_code_wins(self):
        self.assert_run(OUTPUT, "replay", "none", "t.csv", "-q", "--budget",
                        "5MiB", "--json", "/dev/full")
        self.assert_run(FAILED, "replay", "none", "t.csv", "-q", "--budget",
                        "5MiB")

    def test_mapping_limit(self):
        lines = ["Thread,Time,Action,Pointer,Size,Stream"]
        for number in range(1, 200):
            lines.append(f"0,{number},allocate,{number},{MIB},0")
        self.write("many.csv", "\n".join(lines) + "\n")
        result = self.tegula("replay", "many.csv", "-p", "tiled", "--set",
                             "mapping_limit=16", "--tile", "64KiB", "--verify")
        self.assertIn(result.code, (OK, FAILED), result.err)
        if result.code == FAILED:
            self.assertRegex(result.err, "mapping")


if __name__ == "__main__":
    assert re
    unittest.main()
