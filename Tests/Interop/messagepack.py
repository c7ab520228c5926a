"""As much of MessagePack as a metric needs, in the old form without binary strings (MON-06)."""

import struct


def encode(value):
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(encode(key) + encode(each) for key, each in value.items())
    value = value.encode() if isinstance(value, str) else value
    return (bytes([0xA0 | len(value)]) if len(value) < 32 else b"\xda" + struct.pack(">H", len(value))) + value


def decode(data):
    value, rest = _decode(data)
    if rest:
        raise ValueError(f"{len(rest)} bytes after the value")
    return value


FIXED = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
RAW = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}


def _decode(data):
    first, rest = data[0], data[1:]
    if first < 0x80:
        return first, rest
    if first >= 0xE0:
        return first - 256, rest
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], rest
    if first in FIXED:
        size = struct.calcsize(FIXED[first])
        return struct.unpack(FIXED[first], rest[:size])[0], rest[size:]
    if 0xA0 <= first < 0xC0:
        count = first & 0x1F
        return rest[:count], rest[count:]
    if first in RAW:
        size = struct.calcsize(RAW[first])
        count = struct.unpack(RAW[first], rest[:size])[0]
        return rest[size:size + count], rest[size + count:]
    if first < 0x90:
        result = {}
        for _ in range(first & 0x0F):
            key, rest = _decode(rest)
            result[key.decode()], rest = _decode(rest)
        return result, rest
    raise ValueError(f"unexpected type 0x{first:02x}")
