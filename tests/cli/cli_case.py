# SPDX-License-Identifier: Apache-2.0
"""What the tests of the program share: running it in an empty folder, small
traces, and texts compared line by line with `*` for what may change."""

import fcntl
import fnmatch
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import unittest

PROGRAM = os.environ["TEGULA"]
SOURCE = os.environ.get("TEGULA_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIB = 1 << 20

OK, USAGE, INPUT, FAILED, MISMATCH, OUTPUT = range(6)


def environment(**extra):
    kept = dict(os.environ, TERM="xterm")
    kept.pop("NO_COLOR", None)
    kept.update(extra)
    return kept


class Result:

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


def small_trace(run_count=3):
    """4 MiB of weights, then runs with 1 and 2 MiB at once."""
    lines = ["Thread,Time,Action,Pointer,Size,Stream"]
    time = 0
    number = 1

    def add(text):
        nonlocal time
        time += 10
        lines.append(f"0,{time},{text}")

    add(f"allocate,1,{4 * MIB},0")
    add("load_end,,,")
    for _ in range(run_count):
        first, second = number + 1, number + 2
        number += 2
        add("run_begin,,,")
        add(f"allocate,{first},{MIB},0")
        add(f"allocate,{second},{2 * MIB},0")
        add(f"free,{first},{MIB},0")
        add(f"free,{second},{2 * MIB},0")
        add("run_end,,,")
    return "\n".join(lines) + "\n"


class CliCase(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.getcwd())
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return name

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()

    def tegula(self, *arguments, stdout=subprocess.PIPE):
        done = subprocess.run([PROGRAM, *arguments], cwd=self.folder,
                              env=environment(), stdin=subprocess.DEVNULL,
                              stdout=stdout, stderr=subprocess.PIPE,
                              timeout=100, check=False)
        out = done.stdout.decode() if done.stdout is not None else ""
        return Result(done.returncode, out, done.stderr.decode())

    def on_terminal(self, *arguments, columns=140, **extra):
        """What a terminal gets, stdout and stderr together."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 24, columns, 0, 0))
        child = subprocess.Popen([PROGRAM, *arguments], cwd=self.folder,
                                 env=environment(**extra), stdin=follower,
                                 stdout=follower, stderr=follower)
        os.close(follower)
        text = b""
        while True:
            ready, _, _ = select.select([leader], [], [], 100)
            self.assertTrue(ready, "the program hangs")
            try:
                piece = os.read(leader, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        os.close(leader)
        return Result(child.wait(), text.decode(), "")

    def assert_run(self, code, *arguments):
        """Runs; asserts the exit code; code 0 has nothing on stderr."""
        result = self.tegula(*arguments)
        self.assertEqual(result.code, code, result.err + result.out)
        if code == OK:
            self.assertEqual(result.err, "")
        return result

    def assert_refused(self, code, pattern, *arguments):
        """Runs; asserts the code and the one line on stderr, a glob."""
        result = self.assert_run(code, *arguments)
        self.assert_lines(result.err, pattern)
        return result

    def assert_lines(self, text, expected):
        """Line by line: runs of spaces are one, `*` is anything."""
        got = [re.sub(" +", " ", line).strip() for line in text.splitlines()]
        wanted = [re.sub(" +", " ", line).strip()
                  for line in expected.strip("\n").splitlines()]
        for i, (line, pattern) in enumerate(zip(got, wanted)):
            pattern = pattern.replace("[", "[[]")
            self.assertTrue(fnmatch.fnmatchcase(line, pattern),
                            f"line {i + 1}:\n  {line}\nis not\n  {pattern}")
        self.assertEqual(len(got), len(wanted), text)
