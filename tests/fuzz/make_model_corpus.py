#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the seeds of fuzz_safetensors and fuzz_gguf in corpus/. The files are
committed; this is run again only when one is added."""

import json
import os
import struct

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
STRING, ARRAY, UINT32, FLOAT32, BOOL = 8, 9, 4, 6, 7


def save(target, name, data):
    folder = os.path.join(FOLDER, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors():
    good = {"__metadata__": {"format": "pt", "ü": "😀\n"},
            "a": entry("F32", [2, 3], 0, 24), "b": entry("BF16", [], 24, 26),
            "c": entry("U8", [0, 4], 26, 26), "d": entry("F4", [4], 26, 28)}
    text = json.dumps(good).encode()
    whole = struct.pack("<Q", len(text)) + text
    save("safetensors", "good_file", whole + bytes(28))
    save("safetensors", "good_empty", struct.pack("<Q", 2) + b"{}")
    save("safetensors", "good_header", b"H" + text)
    large = json.dumps({"a": entry("F64", [1 << 36], 0, 1 << 39)}).encode()
    save("safetensors", "good_large", b"H" + large)
    save("safetensors", "bad_cut", whole + bytes(27))
    save("safetensors", "bad_behind", whole + bytes(29))
    save("safetensors", "bad_header_size",
         struct.pack("<Q", (1 << 64) - 1) + text)
    save("safetensors", "bad_header_cut", whole[:-10])
    for name, header in {
        "bad_overlap": {"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)},
        "bad_gap": {"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)},
        "bad_type": {"a": entry("F128", [1], 0, 16)},
        "bad_shape": {"a": entry("U8", [3], 0, 2)},
        "bad_overflow": {"a": entry("U8", [1 << 32, 1 << 32], 0, 0)},
        "bad_dimensions": {"a": entry("U8", [1] * 9, 0, 1)},
        "bad_metadata": {"__metadata__": {"a": {"b": [1.5e3, None, True]}}},
    }.items():
        save("safetensors", name, b"H" + json.dumps(header).encode())
    save("safetensors", "bad_twice", b'H{"a":1,"a":1}')
    index = json.dumps({"metadata": {"total_size": 28, "x": [1, {"y": "z"}]},
                        "weight_map": {n: "101" for n in "abcd"}}).encode()
    save("safetensors", "good_index", b"I" + index + b"\xff" + text)
    save("safetensors", "bad_index_tensor",
         b"I" + index.replace(b'"d"', b'"q"') + b"\xff" + text)
    save("safetensors", "bad_index_file",
         b"I" + index.replace(b'"101"', b'"../x"') + b"\xff" + text)
    save("safetensors", "bad_index_deep",
         b'I{"x":' + b"[" * 40 + b"]" * 40 + b"}\xff{}")


def string(text):
    return struct.pack("<Q", len(text)) + text


def pair(key, kind, value):
    return string(key) + struct.pack("<I", kind) + value


def tensor(name, shape, kind, offset):
    return (string(name) + struct.pack("<I", len(shape)) +
            struct.pack(f"<{len(shape)}Q", *shape) +
            struct.pack("<IQ", kind, offset))


def gguf_file(pairs, tensors, data, version=3):
    head = (b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) +
            b"".join(pairs) + b"".join(tensors))
    return head + bytes(-len(head) % 32) + data


def gguf():
    pairs = [
        pair(b"general.alignment", UINT32, struct.pack("<I", 32)),
        pair(b"general.name", STRING, string(b"tiny")),
        pair(b"f", FLOAT32, struct.pack("<f", 0.1)),
        pair(b"b", BOOL, b"\1"),
        pair(b"tokens", ARRAY, struct.pack("<IQ", STRING, 2) + string(b"a") +
             string(b"\xff")),
        pair(b"nested", ARRAY, struct.pack("<IQIQ", ARRAY, 1, BOOL, 1) + b"\0"),
    ]
    tensors = [tensor(b"a", [32, 2], 8, 0), tensor(b"b", [4], 0, 96),
               tensor(b"c", [], 24, 128)]
    good = gguf_file(pairs, tensors, bytes(129))
    save("gguf", "good_v3", good)
    save("gguf", "good_v2", gguf_file(pairs, tensors, bytes(129), 2))
    save("gguf", "good_empty", gguf_file([], [], b""))
    save("gguf", "good_large", b"L" + gguf_file(
        [], [tensor(b"a", [1 << 14, 50], 12, 1 << 16)], b""))
    save("gguf", "bad_cut", good[:-1])
    save("gguf", "bad_cut_head", good[:90])
    save("gguf", "bad_version", gguf_file([], [], b"", 4))
    save("gguf", "bad_big_endian", gguf_file([], [], b"", 3 << 24))
    save("gguf", "bad_counts",
         b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60))
    save("gguf", "bad_alignment", gguf_file(
        [pair(b"general.alignment", UINT32, struct.pack("<I", 48))], [], b""))
    save("gguf", "bad_twice", gguf_file(pairs + pairs[:1], tensors, bytes(129)))
    save("gguf", "bad_array", gguf_file(
        [pair(b"k", ARRAY, struct.pack("<IQ", STRING, 1 << 61))], [], b""))
    save("gguf", "bad_deep", gguf_file(
        [pair(b"k", ARRAY, struct.pack("<IQ", ARRAY, 1) * 9)], [], b""))
    for name, row in {
        "bad_type": tensor(b"a", [32], 4, 0),
        "bad_block": tensor(b"a", [33], 8, 0),
        "bad_offset": tensor(b"a", [32], 8, 1),
        "bad_end": tensor(b"a", [32], 8, 1 << 40),
        "bad_overflow": tensor(b"a", [1 << 32, 1 << 32], 24, 0),
        "bad_dimensions": tensor(b"a", [1] * 5, 24, 0),
    }.items():
        save("gguf", name, gguf_file([], [row], bytes(128)))
    save("gguf", "bad_overlap", gguf_file(
        [], [tensor(b"a", [33], 24, 0), tensor(b"b", [1], 24, 32)],
        bytes(128)))
    save("gguf", "bad_name_twice", gguf_file(
        [], [tensor(b"a", [1], 24, 0), tensor(b"a", [1], 24, 32)], bytes(64)))


safetensors()
gguf()
