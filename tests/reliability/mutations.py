"""Random damage to files, as by accidents and attackers: to bytes, JSON, YAML, safetensors and zips."""

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**70, 1e308, 0.5, "", "a" * 3000, "\0", "../x", "/etc/passwd", [], {}, [[]],
    [1, 2], {"a": {}}, "9" * 60,
)  # fmt: skip
YAML_BITS = (
    b"&a [", b"*a", b"!!timestamp x", b"!!binary x", b"!!set {a, b}", b"[" * 200, b"{a: " * 80, b"<<: *a", b".nan", b"-.inf",
    b"0x" + b"f" * 5000, b"2024-99-99", b"\t", b": ", b"- ", b"null", b"? ", b"'", b"|", b"%", b"\xff\xfe", b"\xc2\x85", b"1:99",
)  # fmt: skip


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, remove or overwrite some bytes, once to four times."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = data[at : at + length] * rng.choice((1, 3, 100))
            case 3:
                del data[at : at + length]
            case 4:
                data[at : at + length] = rng.choice((b"\xff", b"\0", b"\x7f")) * length
            case _:
                data[at : at + length] = rng.randbytes(length)
    return bytes(data)


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Replace, remove, add or repeat values of a JSON file, or damage its bytes."""
    if rng.random() < 0.2:
        return of_bytes(content, rng)
    root = [json.loads(content)]
    for _ in range(rng.randint(1, 3)):
        holder: Any = root
        while isinstance(holder, dict | list) and holder and rng.random() < 0.8:
            key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
            if not isinstance(holder[key], dict | list) or not holder[key]:
                break
            holder = holder[key]
        _change(holder, rng)
    deep = rng.random() < 0.02
    text = json.dumps(root[0] if root else None)
    return (b'{"a": ' * 3000 + b"1" + b"}" * 3000) if deep else text.encode()


def _change(holder: Any, rng: random.Random) -> None:
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    odd = copy.deepcopy(rng.choice(ODD))
    if not keys:
        return
    key = rng.choice(keys)
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(("new", "", key + "x", "a.b"))] = odd
        case 2 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 3 if isinstance(holder[key], int | float):
            holder[key] = type(holder[key])(holder[key] * rng.choice((-1, 2, 3, 1000)) + rng.choice((0, 1)))
        case _:
            holder[key] = odd


def of_yaml(content: bytes, rng: random.Random) -> bytes:
    """Put pieces of YAML that make readers stumble into a text, or damage its bytes."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.choice((0, 0, 3))] = rng.choice(YAML_BITS)
    return bytes(data)


def of_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Change the header as JSON, with its length put right; or the values; or any bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    match rng.randrange(4):
        case 0:
            return of_bytes(content, rng)
        case 1:
            return content[:end] + of_bytes(content[end:], rng)[: len(content) - end].ljust(
                len(content) - end, b"\xff"
            )
        case _:
            header = of_json(content[8:end], rng)
            return len(header).to_bytes(8, "little") + header + content[end:]


def of_zip(content: bytes, rng: random.Random) -> bytes:
    """Change a file of a zip, mostly the pickle, with its checksum put right; or any bytes."""
    if rng.random() < 0.25:
        return of_bytes(content, rng)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        names = old.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        chosen = pickles[0] if rng.random() < 0.8 else rng.choice(names)
        how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        for name in names:
            if name == chosen and rng.random() < 0.05:
                continue
            inside = old.read(name)
            changed = name == chosen
            new.writestr(
                name, of_bytes(inside, rng) if changed else inside, how if changed else zipfile.ZIP_STORED
            )
    return target.getvalue()


def seed_of(*parts: object) -> int:
    """Return a number that is the same in every run for the same parts."""
    return zlib.crc32(repr(parts).encode())


NUMBERS = (0, 1, 7, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 255, 256, 60_000, 2**31, 2**63 - 1, 2**64, 2**70, -(2**70), 0.5, 1e308, float("nan"),
    float("inf"), "", " ", "a", "a.jpg", "../a.jpg", "/etc/passwd", "a\\b", "\0", "\ud800", "e\u0301", "x" * 5000, "0", [],
    {}, [[]], [None], {"a": 1}, [1, 2, 3], [2**62] * 4, [0] * 1000, "PPPPPPPPPPPPPPPPPPPP0", "~" * 40,
)  # fmt: skip


def damaged_bytes(content: bytes, random: Random, words: Sequence[bytes] = ()) -> bytes:
    """Change a file in one to four places."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        length = random.choice((1, 1, 2, 4, 8, 40, 400))
        match random.randrange(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                changed[at : at + 1] = bytes([random.choice((0, 1, 127, 128, 255))])
            case 2:
                order = random.choice("<>")
                changed[at : at + 4] = struct.pack(f"{order}I", random.choice(NUMBERS))
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case 5:
                changed[at:at] = random.randbytes(length)
            case 6 if words:
                changed[at:at] = random.choice(words)
            case 7 if random.random() < 0.2:
                del changed[at:]
    return bytes(changed)


def with_png_sums(content: bytes) -> bytes:
    """Correct the checksums of a PNG's chunks, so that damage in them reaches the decoder."""
    mended, at = bytearray(content), 8
    while at + 12 <= len(mended):
        (length,) = struct.unpack_from(">I", mended, at)
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)


def damaged_document(document: Any, random: Random) -> Any:
    """Replace, remove or double one to three values of nested lists and mappings."""
    changed = copy.deepcopy(document)
    for _ in range(random.randint(1, 3)):
        holders = list(_holders(changed))
        if not holders:
            return changed
        holder, key = random.choice(holders)
        match random.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            case 2:
                other, name = random.choice(holders)
                holder[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
            case _:
                holder[key] = copy.deepcopy(random.choice(VALUES))
    return changed


def _holders(value: Any) -> list[tuple[Any, Any]]:
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [pair for key in keys for pair in _holders(value[key])]


def damaged_json(document: Any, random: Random) -> bytes:
    """Write a damaged document as JSON; sometimes damage the text too, or insert thousands of brackets."""
    content = json.dumps(damaged_document(document, random)).encode()
    if random.random() < 0.2:
        content = damaged_bytes(
            content, random, (b"[" * 5000, b'{"a":' * 5000, b"1" * 5000, b"\xef\xbb\xbf", b"\xff")
        )
    return content


def damaged_text(text: str, random: Random, words: Sequence[str]) -> bytes:
    """Insert words of a format into a text, and sometimes damage its bytes."""
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(text) + 1)
        end = at + random.choice((0, 0, 1, 3, 10))
        text = text[:at] + random.choice(words) + text[end:]
    content = text.encode("utf-8", "surrogatepass")
    return damaged_bytes(content, random) if random.random() < 0.3 else content


Damage = Callable[[Random], bytes]
