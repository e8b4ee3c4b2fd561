#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden traces beside it, from docs/trace-format.md alone.

A second writer of the format, so that neither the library's writer nor its
reader is the only one to understand the description. The files are committed;
this is run again only when one is added. zstd(1) must be installed.
"""

import gzip
import os
import struct
import subprocess

FOLDER = os.path.dirname(os.path.abspath(__file__))
MAGIC = b"\x89TGT\r\n\x1a\n"
ALLOCATE, FREE, LOAD_END, RUN_BEGIN, RUN_END = range(5)
MASK = 2**64 - 1
COLUMNS = ("kind", "time", "thread", "stream", "gap", "size", "lifetime", "tag",
           "flags", "distance")


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def difference(last, value):
    delta = (value - last) & MASK
    if delta >> 63:
        return (~delta & MASK) << 1 | 1
    return delta << 1


def zstd(data):
    return subprocess.run(["zstd", "-19", "--check", "-q", "-c"], input=data,
                          stdout=subprocess.PIPE, check=True).stdout


def header(name=b"", source=b"", version=1, features=0):
    size = 28 + len(name) + len(source) + 4
    data = MAGIC + struct.pack("<IIIII", version, size, features, len(name),
                               len(source)) + name + source
    return data + struct.pack("<I", crc32c(data))


def block(kind, count, first, payload, plain_size):
    data = kind + struct.pack("<IIIQI", count, len(payload), plain_size, first,
                              crc32c(payload))
    return data + struct.pack("<I", crc32c(data)) + payload


class Writer:
    """Events are (kind, time_ns, thread, stream, id, size, lifetime, tag,
    flags), the last five for allocations, id for frees."""

    def __init__(self, name=b"", source=b""):
        self.data = header(name, source)
        self.live = {}
        self.count = self.allocations = self.frees = self.last_id = 0
        self.tag_count = 0

    def plain(self, events, unit, tags):
        columns = {name: [] for name in COLUMNS}
        base = self.last_id
        sizes = []
        last_time = last_thread = last_stream = 0
        for kind, time_ns, thread, stream, *rest in events:
            assert time_ns % unit == 0
            columns["kind"].append(kind)
            columns["time"].append(difference(last_time, time_ns // unit))
            columns["thread"].append(difference(last_thread, thread))
            columns["stream"].append(difference(last_stream, stream))
            last_time, last_thread, last_stream = time_ns // unit, thread, stream
            if kind == ALLOCATE:
                identity, size, lifetime, tag, flags = rest
                columns["gap"].append(identity - self.last_id - 1)
                self.last_id = identity
                if size not in sizes:
                    sizes.append(size)
                columns["size"].append(sizes.index(size))
                columns["lifetime"].append(lifetime)
                columns["tag"].append(tag)
                columns["flags"].append(flags)
                self.live[identity] = size
                self.allocations += 1
            elif kind == FREE:
                columns["distance"].append(self.last_id - rest[0])
                self.live.pop(rest[0], None)
                self.frees += 1
        out = varint(unit) + varint(base)
        out += varint(self.tag_count + 1) + varint(len(tags))
        for tag in tags:
            out += varint(len(tag)) + tag
        self.tag_count += len(tags)
        out += varint(len(sizes)) + b"".join(map(varint, sizes))
        packed = [b"".join(map(varint, columns[name])) if any(columns[name])
                  else b"" for name in COLUMNS]
        return out + b"".join(varint(len(c)) for c in packed) + b"".join(packed)

    def events(self, events, unit=1, tags=()):
        plain = self.plain(events, unit, tags)
        self.data += block(b"BLKV", len(events), self.count, zstd(plain),
                           len(plain))
        self.count += len(events)

    def footer(self):
        totals = struct.pack("<6Q", self.count, self.allocations, self.frees,
                             len(self.live), sum(self.live.values()),
                             self.last_id)
        return block(b"FOOT", 0, self.count, totals, len(totals))

    def finish(self):
        return self.data + self.footer()


def write(name, data):
    with open(os.path.join(FOLDER, name), "wb") as file:
        file.write(data)


# tests/unit/test_trace_golden.c has the same events.
FIRST = [
    (ALLOCATE, 0, 0, 0, 1, 4096, 1, 1, 0),
    (ALLOCATE, 1000, 0, 0, 2, 1 << 40, 1, 2, 1),
    (LOAD_END, 2000, 0, 0),
    (RUN_BEGIN, 5000, 0, 0),
    (ALLOCATE, 6000, 4294967295, 7, 10, 1, 3, 0, 0),
    (FREE, 4000, 1, 4294967295, 10),
]
SECOND = [
    (ALLOCATE, 18446744073709551615, 0, 0, 18446744073709551615,
     (1 << 62) - (1 << 40) - 4097, 255, 3, 0),
    (FREE, 3, 0, 0, 18446744073709551615),
    (FREE, 0, 0, 0, 1),
    (RUN_END, 7, 0, 2),
]
CSV = "Thread,Time,Action,Pointer,Size,Stream\n"


def whole():
    writer = Writer(b"golden", "made by make.py, \u00e9".encode())
    writer.events(FIRST, 1000, (b"weights.0", b"\xff\x01"))
    writer.events(SECOND, 1, (b"x" * 255,))
    return writer


def one_block(events, tags=()):
    writer = Writer(b"bad")
    writer.events(events, 1, tags)
    return writer.finish()


def main():
    good = whole().finish()
    write("v1_whole.tgt", good)
    write("v1_empty.tgt", Writer().finish())
    write("bad_empty.tgt", b"")
    write("bad_foreign.tgt", b"\x7fELF\x02\x01\x01 this is no trace\n")
    write("bad_text_mode.tgt", good.replace(b"\r\n", b"\n", 1))
    write("bad_header_flip.tgt", good[:30] + b"?" + good[31:])
    newer = bytearray(good)
    newer[8] = 2
    write("bad_newer_version.tgt", bytes(newer))
    write("bad_feature.tgt", header(features=4) + good[60:])
    write("bad_cut_header.tgt", good[:40])
    write("bad_cut_block.tgt", good[:140])
    write("bad_no_footer.tgt", whole().data)
    flipped = bytearray(good)
    flipped[110] ^= 8
    write("bad_flip.tgt", bytes(flipped))
    write("bad_bytes_follow.tgt", good + b"\n")
    missing = Writer()
    missing.plain(FIRST, 1000, ())
    missing.count = len(FIRST)
    missing.events(SECOND[3:])
    write("bad_block_missing.tgt", missing.finish())
    other = Writer()
    other.events(FIRST[2:4])
    totals = struct.pack("<6Q", 3, 0, 0, 0, 0, 0)
    write("bad_footer_of_another.tgt",
          other.data + block(b"FOOT", 0, 2, totals, len(totals)))
    write("bad_freed_twice.tgt", one_block(
        [(ALLOCATE, 0, 0, 0, 1, 64, 0, 0, 0), (FREE, 1, 0, 0, 1),
         (FREE, 2, 0, 0, 1)]))
    write("bad_size_zero.tgt", one_block([(ALLOCATE, 0, 0, 0, 1, 0, 0, 0, 0)]))
    write("bad_size_huge.tgt",
          one_block([(ALLOCATE, 0, 0, 0, 1, 1 << 63, 0, 0, 0)]))
    write("bad_sum_huge.tgt", one_block(
        [(ALLOCATE, 0, 0, 0, i, (1 << 62) - 1, 0, 0, 0) for i in (1, 2)]))
    write("bad_tag.tgt",
          one_block([(ALLOCATE, 0, 0, 0, 1, 64, 0, 2, 0)], (b"one",)))
    write("bad_flags.tgt", one_block([(ALLOCATE, 0, 0, 0, 1, 64, 0, 0, 2)]))
    write("bad_kind.tgt", one_block([(5, 0, 0, 0)]))

    rows = "0,10,allocate,0x10,64,0x0\n0,11,free,0x10,64,0x0\n"
    write("rmm.csv.gz", gzip.compress((CSV + rows).encode(), mtime=0))
    write("rmm.csv.zst", zstd((CSV + rows).encode()))
    write("bad_cut.csv.gz",
          gzip.compress((CSV + rows * 99).encode(), mtime=0)[:-20])
    write("bad_cut.csv.zst", zstd((CSV + rows * 99).encode())[:-4])
    write("bad_freed_twice.csv",
          (CSV + rows + "0,12,free,0x10,64,0x0\n").encode())
    write("bad_unknown_free.csv", (CSV + "0,12,free,77,64,0\n").encode())
    write("bad_live_twice.csv",
          (CSV + "0,1,allocate,5,64,0\n0,2,allocate,5,64,0\n").encode())
    write("bad_size_zero.csv", (CSV + "0,1,allocate,5,0,0\n").encode())
    write("bad_size_huge.csv",
          (CSV + f"0,1,allocate,5,{1 << 63},0\n").encode())
    write("bad_cut_line.csv", (CSV + "0,1,allocate,5,6").encode())
    write("bad_interval.csv", b"id,lower,upper,size\na,0,4,16\nb,4,4,16\n")


if __name__ == "__main__":
    main()
