#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/pytorch_snapshot.py on pickles made here."""

import gzip
import os
import pickle
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ.get("TEGULA_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(SOURCE, "tools", "pytorch_snapshot.py")
HEADER = "Thread,Time,Action,Pointer,Size,Stream\n"
BASE = 0x7f0000000000


def event(action, addr, size, time_us, stream=0):
    return {
        "action": action, "addr": BASE + addr, "size": size,
        "stream": stream, "time_us": time_us, "frames": []
    }


def snapshot(*events, segments=()):
    # As PyTorch makes it: a list per device, the first one not used.
    return {"segments": list(segments), "device_traces": [[], list(events)]}


class Evil:

    def __reduce__(self):
        return (os.system, ("touch evil.txt",))


class PytorchSnapshot(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def convert(self, data, *options, out="-"):
        path = os.path.join(self.folder, "snapshot.pickle")
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else pickle.dumps(data))
        return subprocess.run(
            [sys.executable, SCRIPT, path, out, *options], cwd=self.folder,
            capture_output=True, text=True, check=False)

    def expect(self, data, lines, *options):
        run = self.convert(data, *options)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stdout, HEADER + "".join(
            line + "\n" for line in lines))
        return run.stderr

    def expect_failure(self, data, message):
        run = self.convert(data)
        self.assertEqual(run.returncode, 1)
        self.assertEqual(run.stdout, "")
        self.assertIn(message, run.stderr)
        self.assertNotIn("Traceback", run.stderr)

    def test_addresses_used_again_become_new_buffers(self):
        remarks = self.expect(
            snapshot(event("segment_alloc", 0, 4096, 1000),
                     event("alloc", 0, 512, 1001),
                     event("free_requested", 0, 512, 1005),
                     event("free_completed", 0, 512, 1006),
                     event("alloc", 0, 300, 1010, stream=BASE),
                     event("snapshot", 0, 0, 1011)),
            ["0,0,allocate,1,512,0", "0,4,free,1,512,0",
             f"0,9,allocate,2,300,{BASE}"])
        self.assertEqual(remarks, "")

    def test_frees_of_lost_allocations_are_left_out_and_counted(self):
        remarks = self.expect(
            snapshot(event("free_completed", 0, 512, 10),
                     event("free_requested", 512, 512, 11),
                     event("free_completed", 512, 512, 12),
                     event("alloc", 0, 64, 13)),
            ["0,3,allocate,1,64,0"])
        self.assertIn("left out 2 frees", remarks)

    def test_existing_buffers_can_be_included(self):
        segment = {
            "device": 1, "address": BASE, "stream": 0, "blocks": [
                {"size": 512, "state": "active_allocated",
                 "requested_size": 500},
                {"size": 512, "state": "inactive"},
                {"size": 512, "state": "active_allocated",
                 "requested_size": 7},
            ]
        }
        other = dict(segment, device=0, address=BASE + 4096)
        self.expect(
            snapshot(event("free_requested", 2048, 9, 20),
                     event("free_completed", 2048, 9, 21),
                     event("alloc", 1024, 7, 25),
                     segments=[segment, other]),
            ["0,0,allocate,1,500,0", "0,0,allocate,2,9,0", "0,0,free,2,9,0",
             "0,5,allocate,3,7,0"], "--include-existing")

    def test_allocations_of_nothing_are_left_out(self):
        remarks = self.expect(
            snapshot(event("alloc", 0, 0, 1), event("alloc", 512, 8, 2),
                     event("free_requested", 0, 0, 3),
                     event("free_completed", 0, 0, 3)),
            ["0,1,allocate,1,8,0"])
        self.assertIn("1 allocations of 0 bytes", remarks)
        self.assertNotIn("frees", remarks)

    def test_a_lost_free_is_added(self):
        remarks = self.expect(
            snapshot(event("alloc", 0, 8, 1), event("alloc", 0, 16, 2)),
            ["0,0,allocate,1,8,0", "0,1,free,1,8,0", "0,1,allocate,2,16,0"])
        self.assertIn("without a free", remarks)

    def test_the_busiest_device_is_taken(self):
        data = {"device_traces": [
            [event("alloc", 0, 8, 1)], [],
            [event("alloc", 0, 16, 1), event("alloc", 64, 32, 2)]]}
        remarks = self.expect(
            data, ["0,0,allocate,1,16,0", "0,1,allocate,2,32,0"])
        self.assertIn("took device 2", remarks)
        self.expect(data, ["0,0,allocate,1,8,0"], "--device", "0")
        run = self.convert(data, "--device", "3")
        self.assertEqual(run.returncode, 1)
        self.assertIn("no device 3", run.stderr)

    def test_a_gzipped_snapshot_is_read(self):
        data = pickle.dumps(snapshot(event("alloc", 0, 8, 1)))
        self.expect(gzip.compress(data), ["0,0,allocate,1,8,0"])

    def test_a_pickle_that_wants_to_run_code_is_refused(self):
        self.expect_failure(pickle.dumps(Evil()), "only builtin containers")
        self.expect_failure(pickle.dumps({"device_traces": [[Evil()]]}),
                            "only builtin containers")
        self.assertFalse(os.path.exists(
            os.path.join(self.folder, "evil.txt")))

    def test_what_is_no_snapshot_fails_in_one_line(self):
        self.expect_failure(b"", "not a complete pickle")
        whole = pickle.dumps(snapshot(event("alloc", 0, 8, 1)))
        self.expect_failure(whole[:-5], "not a complete pickle")
        self.expect_failure([1, 2], "no memory snapshot")
        self.expect_failure({"device_traces": [[7]]}, "no device_traces")
        self.expect_failure(snapshot(), "no device has recorded events")

    def test_an_event_without_its_number_fails(self):
        bad = event("alloc", 0, 8, 1)
        del bad["size"]
        run = self.convert(snapshot(bad))
        self.assertEqual(run.returncode, 1)
        self.assertIn("size=None", run.stderr)
        run = self.convert(snapshot(event("explode", 0, 8, 1)))
        self.assertEqual(run.returncode, 1)
        self.assertIn("unknown event 'explode'", run.stderr)

    def test_a_file_appears_whole_or_not_at_all(self):
        out = os.path.join(self.folder, "out.csv")
        run = self.convert(snapshot(event("alloc", 0, 8, 1)), out=out)
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(out, encoding="ascii") as file:
            self.assertEqual(file.read(), HEADER + "0,0,allocate,1,8,0\n")
        os.unlink(out)
        run = self.convert(snapshot(event("alloc", 0, 8, 1),
                                    event("explode", 0, 8, 1)), out=out)
        self.assertEqual(run.returncode, 1)
        self.assertEqual(os.listdir(self.folder), ["snapshot.pickle"])

    def test_a_full_disk_is_reported(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            path = os.path.join(self.folder, "snapshot.pickle")
            with open(path, "wb") as file:
                pickle.dump(snapshot(event("alloc", 0, 8, 1)), file)
            run = subprocess.run([sys.executable, SCRIPT, path], stdout=full,
                                 stderr=subprocess.PIPE, text=True,
                                 check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn("No space left", run.stderr)
        self.assertNotIn("Traceback", run.stderr)


if __name__ == "__main__":
    unittest.main()
