"""Random damage to files, as by accidents and attackers: to bytes, text, JSON, safetensors, zips, PNGs and tars."""

import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**63, 2**70, 10**400, -1.5, 0.5, 1e308, float("nan"), float("inf"), "", "a" * 3000,
    "x" * 100_000, "9" * 60, "\0", "\ud800", "a\nb", "../x", "/etc/passwd", "e\u0301", [], {}, [[]], [[[1]]], [None], [1, 2, 3],
    [2**62] * 4, [0] * 1000, {"a": {}}, {"a": 1}, "PPPPPPPPPPPPPPPPPPPP0", "~" * 40,
)  # fmt: skip
JSON_BYTES = (b"[" * 5000, b'{"a":' * 5000, b"1" * 5000, b"\xef\xbb\xbf", b"\xff")


def of_bytes(content: bytes, random: Random, words: Sequence[bytes] = ()) -> bytes:
    """Flip, cut, repeat, remove or overwrite some bytes, or insert words of the format, once to four times."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        at, length = random.randrange(len(data) + 1), random.choice((1, 1, 2, 4, 8, 64, 400))
        match random.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1 if random.random() < 0.5:
                del data[at:]
            case 2:
                data[at:at] = data[at : at + length] * random.choice((1, 3, 100))
            case 3:
                del data[at : at + length]
            case 4:
                data[at : at + length] = random.choice((b"\xff", b"\0", b"\x7f")) * length
            case 5:
                data[at : at + 4] = struct.pack(f"{random.choice('<>')}I", random.choice(NUMBERS))
            case 6:
                data[at:at] = random.randbytes(length)
            case 7 if words:
                data[at:at] = random.choice(words)
            case _:
                data[at : at + length] = random.randbytes(length)
    return bytes(data)


def with_words(*words: bytes) -> Mutation:
    """Damage bytes, and insert words of a format among them."""
    return lambda content, random: of_bytes(content, random, words)


def of_json(content: bytes, random: Random) -> bytes:
    """Replace, remove, double or add one to three values of a JSON file, or damage its bytes."""
    if random.random() < 0.1:
        return of_bytes(content, random, JSON_BYTES)
    changed = json.dumps(_changed(json.loads(content), random)).encode()
    return of_bytes(changed, random, JSON_BYTES) if random.random() < 0.1 else changed


def _changed(document: Any, random: Random) -> Any:
    root = [document]
    for _ in range(random.choice((1, 1, 2, 3))):
        holders = list(_holders(root))
        # Half of the changes are near the root: most values of a large document are alike.
        holder, key = random.choice(holders[: random.choice((12, len(holders)))])
        odd = copy.deepcopy(random.choice(ODD))
        match random.randrange(7):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, list) and holder is not root:
                holder.insert(key, copy.deepcopy(holder[key]))
            case 1 if isinstance(holder, dict):
                holder[random.choice(("new", "", f"{key}x", "a.b"))] = odd
            case 2:
                other, name = random.choice(holders)
                holder[key] = copy.deepcopy(other[name])
            case 3 if type(holder[key]) in (int, float):
                holder[key] = holder[key] * random.choice((-1, 2, 3, 1000)) + random.choice((0, 1))
            case _:
                holder[key] = odd
    return root[0]


def _holders(root: list[Any]) -> list[tuple[Any, Any]]:
    """List the places of all values, from the root downwards."""
    holders: list[tuple[Any, Any]] = []
    level: list[Any] = [root]
    while level:
        holder = level.pop(0)
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            holders.append((holder, key))
            if isinstance(holder[key], dict | list):
                level.append(holder[key])
    return holders


def of_text(*words: str) -> Mutation:
    """Insert words of a format into a text, and sometimes damage its bytes."""

    def damage(content: bytes, random: Random) -> bytes:
        text = content.decode("utf-8")
        for _ in range(random.choice((1, 1, 2, 4))):
            at = random.randrange(len(text) + 1)
            text = text[:at] + random.choice(words) + text[at + random.choice((0, 0, 1, 3, 10)) :]
        damaged = text.encode("utf-8", "surrogatepass")
        return of_bytes(damaged, random) if random.random() < 0.3 else damaged

    return damage


def of_safetensors(content: bytes, random: Random) -> bytes:
    """Change the header as JSON, with its length put right; or the values; or any bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    match random.randrange(4):
        case 0:
            return of_bytes(content, random)
        case 1:
            length = len(content) - end
            return content[:end] + of_bytes(content[end:], random)[:length].ljust(length, b"\xff")
        case _:
            header = of_json(content[8:end], random)
            return len(header).to_bytes(8, "little") + header + content[end:]


def of_torch_zip(content: bytes, random: Random) -> bytes:
    """Change a file of a zip, mostly the pickle, with its checksum put right; or any bytes."""
    if random.random() < 0.25:
        return of_bytes(content, random)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        names = old.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        chosen = pickles[0] if random.random() < 0.8 else random.choice(names)
        for name in names:
            if name != chosen:
                new.writestr(name, old.read(name), zipfile.ZIP_STORED)
            elif random.random() < 0.95:
                packed = zipfile.ZIP_DEFLATED if random.random() < 0.25 else zipfile.ZIP_STORED
                new.writestr(name, of_bytes(old.read(name), random), packed)
    return target.getvalue()


def of_picture(content: bytes, random: Random) -> bytes:
    """Damage bytes; mostly correct the checksums of a PNG's chunks, so that damage in them reaches the decoder."""
    damaged = of_bytes(content, random)
    if not damaged.startswith(b"\x89PNG") or random.random() < 0.3:
        return damaged
    mended, at = bytearray(damaged), 8
    while at + 12 <= len(mended):
        (length,) = struct.unpack_from(">I", mended, at)
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)


def of_tar(content: bytes, random: Random) -> bytes:
    """Damage bytes, and correct the checksum of each header, so that readers do not stop at it."""
    mended = bytearray(of_bytes(content, random, (b"\x80" * 12, b"L", b"x", b"S", b"99999999999\0")))
    for at in range(0, len(mended) - 511, 512):
        block = mended[at : at + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            mended[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(mended)
