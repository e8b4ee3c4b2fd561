#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a PyTorch memory snapshot into RMM's CSV log, which tegula reads.

    tools/pytorch_snapshot.py SNAPSHOT [OUT.csv]     OUT is - for stdout

SNAPSHOT is what torch.cuda.memory._dump_snapshot() wrote, perhaps gzipped, or
a pickle of torch.cuda.memory._snapshot(). PyTorch is not needed. Only builtin
containers, numbers and texts are taken from the pickle: one that asks for
anything else is refused, and nothing in it is run.

A buffer begins with its "alloc" and ends with "free_requested", when the
program gave it up. The snapshot holds the last events only, so buffers may
end whose beginning is lost: they are left out and counted on stderr.
"""

import argparse
import gzip
import io
import os
import pickle
import sys

HEADER = "Thread,Time,Action,Pointer,Size,Stream\n"
IGNORED = {
    "segment_alloc", "segment_free", "segment_map", "segment_unmap", "oom",
    "snapshot", "workspace_snapshot"
}


class SnapshotError(Exception):
    """The file is not a snapshot that can be converted."""


class BuiltinUnpickler(pickle.Unpickler):
    """Gives dicts, lists, tuples, sets, texts and numbers, nothing else."""

    def find_class(self, module, name):
        raise SnapshotError(
            f"the pickle asks for {module}.{name}; only builtin containers "
            "are allowed")

    def persistent_load(self, pid):
        raise SnapshotError("the pickle refers to objects outside of it")


def load(path):
    """Returns the object pickled in the file at path."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise SnapshotError(f"cannot read: {error}") from error
    try:
        return BuiltinUnpickler(io.BytesIO(data)).load()
    except SnapshotError:
        raise
    except Exception as error:  # pickle raises whatever it meets
        raise SnapshotError(f"not a complete pickle: {error}") from error


def number(entry, key, default=None):
    value = entry.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SnapshotError(f"an event has {key}={value!r}, expected a number")
    return value


def device_traces(snapshot):
    if not isinstance(snapshot, dict):
        raise SnapshotError("the pickle is no memory snapshot: not a dict")
    traces = snapshot.get("device_traces")
    if (not isinstance(traces, list) or
            not all(isinstance(trace, list) for trace in traces) or
            not all(isinstance(entry, dict) for trace in traces
                    for entry in trace)):
        raise SnapshotError(
            "the pickle is no memory snapshot: it has no device_traces")
    return traces


def choose_device(traces, wanted, warn):
    """Returns the number of the device to convert."""
    if wanted is not None:
        if wanted >= len(traces):
            raise SnapshotError(f"there is no device {wanted}; the snapshot "
                                f"has {len(traces)}")
        return wanted
    active = [i for i, trace in enumerate(traces) if trace]
    if not active:
        raise SnapshotError(
            "no device has recorded events; was "
            "torch.cuda.memory._record_memory_history() called?")
    chosen = max(active, key=lambda i: len(traces[i]))
    if len(active) > 1:
        others = ", ".join(str(i) for i in active if i != chosen)
        warn(f"took device {chosen}, which has most events; --device takes "
             f"another ({others})")
    return chosen


def active_blocks(snapshot, device):
    """Yields (address, size, stream) of what was in use at the snapshot."""
    segments = snapshot.get("segments")
    for segment in segments if isinstance(segments, list) else []:
        if not isinstance(segment, dict) or segment.get("device") != device:
            continue
        address = segment.get("address", 0)
        for block in segment.get("blocks") or []:
            size = block.get("size", 0)
            if block.get("state") == "active_allocated":
                yield (block.get("address", address),
                       block.get("requested_size", size),
                       segment.get("stream", 0))
            address += size


class Converter:
    """Makes lines of one device's events."""

    def __init__(self):
        self.next_id = 1
        self.live = {}  # address -> (id, size, stream)
        self.empty = set()  # addresses of allocations of 0 bytes
        self.requested = set()  # given up, completion not seen yet
        self.first_us = None
        self.lost_frees = 0
        self.empty_allocations = 0
        self.replaced = 0

    def line(self, time_us, action, buffer):
        return f"0,{time_us},{action},{buffer[0]},{buffer[1]},{buffer[2]}\n"

    def begin(self, time_us, address, size, stream):
        if address in self.live:
            self.replaced += 1
            yield self.line(time_us, "free", self.live.pop(address))
        self.requested.discard(address)
        self.empty.discard(address)
        if size == 0:
            self.empty_allocations += 1
            self.empty.add(address)
            return
        self.live[address] = (self.next_id, size, stream)
        self.next_id += 1
        yield self.line(time_us, "allocate", self.live[address])

    def end(self, time_us, address, is_request):
        if address in self.live:
            identity, size, stream = self.live.pop(address)
            if is_request:
                self.requested.add(address)
            yield self.line(time_us, "free", (identity, size, stream))
        elif is_request and address in self.empty:
            self.requested.add(address)
        elif not is_request and address in self.requested:
            self.requested.discard(address)
        else:
            self.lost_frees += 1
            if is_request:
                self.requested.add(address)

    def convert(self, entries):
        for entry in entries:
            action = entry.get("action")
            if action in IGNORED:
                continue
            if action not in ("alloc", "free_requested", "free_completed"):
                raise SnapshotError(f"unknown event {action!r}")
            time_us = number(entry, "time_us", 0)
            if self.first_us is None:
                self.first_us = time_us
            time_us = max(time_us - self.first_us, 0)
            address = number(entry, "addr")
            if action == "alloc":
                yield from self.begin(time_us, address, number(entry, "size"),
                                      number(entry, "stream", 0))
            else:
                yield from self.end(time_us, address,
                                    action == "free_requested")


def existing(snapshot, device, entries):
    """Returns {address: (size, stream)} of what was live before entries.

    These are the addresses whose first event is a free, and those in use at
    the end that no event names.
    """
    found = {}
    seen = set()
    for entry in entries:
        if entry.get("action") not in ("alloc", "free_requested",
                                       "free_completed"):
            continue
        address = number(entry, "addr")
        if address not in seen and entry["action"] != "alloc":
            found[address] = (number(entry, "size"), number(entry, "stream", 0))
        seen.add(address)
    for address, size, stream in active_blocks(snapshot, device):
        if address not in seen and isinstance(size, int) and size > 0:
            found[address] = (size, stream)
    return found


def lines(snapshot, wanted_device, include_existing, warn):
    """Yields the lines of the CSV."""
    traces = device_traces(snapshot)
    device = choose_device(traces, wanted_device, warn)
    converter = Converter()
    yield HEADER
    if include_existing:
        before = existing(snapshot, device, traces[device])
        for address, (size, stream) in sorted(before.items()):
            yield from converter.begin(0, address, size, stream)
    yield from converter.convert(traces[device])
    if converter.lost_frees:
        warn(f"left out {converter.lost_frees} frees of buffers allocated "
             "before the recorded events")
    if converter.empty_allocations:
        warn(f"left out {converter.empty_allocations} allocations of 0 bytes")
    if converter.replaced:
        warn(f"{converter.replaced} buffers were allocated again without a "
             "free, which was added")


def write_file(path, content):
    """Writes to path by way of a file beside it."""
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        with open(temporary, "x", encoding="ascii") as file:
            file.writelines(content)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Turns a PyTorch memory snapshot into RMM's CSV log.")
    parser.add_argument("snapshot")
    parser.add_argument("out", nargs="?", default="-", help="- for stdout")
    parser.add_argument("--device", type=int, metavar="N",
                        help="the one with most events if not given")
    parser.add_argument(
        "--include-existing", action="store_true",
        help="begin with what was live before the recorded events")
    options = parser.parse_args(arguments)
    if options.device is not None and options.device < 0:
        parser.error("--device must not be negative")

    def warn(text):
        print(f"{options.snapshot}: {text}", file=sys.stderr)

    try:
        content = lines(load(options.snapshot), options.device,
                        options.include_existing, warn)
        if options.out == "-":
            # The first line comes once the snapshot is known to be good.
            sys.stdout.writelines(content)
            sys.stdout.flush()
        else:
            write_file(options.out, content)
    except SnapshotError as error:
        warn(error)
        return 1
    except BrokenPipeError:
        # Whoever read has enough; keep the interpreter from flushing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"{options.out}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
