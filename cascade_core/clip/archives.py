"""Reading weights from other people's files (safetensors, state dicts, TorchScript) without running their code.

`torch.jit.load` and unpickling run code that the file holds. A PyTorch file consists of raw tensors and a pickle that
names them, so `clip/pickles.py` interprets the pickle. The reader allocates nothing that the file does not contain:
tensors are views of the file in memory, and compressed or repeated values are refused.
"""

import io
import mmap
import os.path
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade_core.clip.pickles import DTYPES, MAX_BYTES, Inert, interpreted
from cascade_core.errors import UserError
from cascade_core.runtime.listing import short_list, shortened
from cascade_core.runtime.tensors import read_tensors

_WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the weights beside other content."""
_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a file that PyTorch wrote before version 1.6."""
MOST_OBJECTS, LONGEST_NAME = 100_000, 1000
"""Limits of a module tree, whose objects may occur in several places; the tree of ViT-H/14 has 1,500."""


@dataclass(frozen=True)
class Archive:
    """A file's weights by name, the "meta" that a training script stored beside them, and whether it is TorchScript."""

    weights: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    scripted: bool = False


def read_archive(path: Path) -> Archive:
    """Read the weights of a .safetensors file, a `torch.save` file or a TorchScript archive, on the CPU.

    Unwraps weights under `state_dict` or `model`, and removes a prefix that all names share, such as `module.` of
    parallel training, `_orig_mod.` of compiling and `model.` of Lightning.

    Raises:
        UserError: the file is missing or damaged, would run code, needs more memory than its size, or holds no weights.
    """
    if not path.is_file():
        raise UserError(f"weights {path} do not exist; give the path of a file that does")
    content, scripted = _content(path)
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    weights = _tensors(content[wrapper] if wrapper else content, path)
    meta = content.get("meta") if wrapper else None
    if not scripted:
        weights = _without_prefix(weights)
    return Archive(weights, dict(meta) if isinstance(meta, Mapping) else {}, scripted)


def _content(path: Path) -> tuple[Mapping[Any, Any], bool]:
    """Return the content of a file by name, and whether the file is TorchScript."""
    if path.suffix == ".safetensors":
        return read_tensors(path), False
    try:
        content = _zipped(path) if zipfile.is_zipfile(path) else _pickled(path)
        if isinstance(content, Inert):
            return _leaves(content), True
    except Exception as error:  # any error of Python and PyTorch on a broken file
        raise UserError(
            f"{path} cannot be read safely as weights: {shortened(str(error) or type(error).__name__)}. Broken files, "
            "and files that would run code on loading, are refused: fetch the file again, or ask for a safetensors file"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not weights by name; give the file of a state dict"
        )
    return content, False


def _tensors(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    weights = {
        key: value for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)
    }
    if not weights:
        expected = " or ".join(map(repr, _WRAPPERS))
        names = short_list([shortened(str(key), most=60) for key in list(content)[:5]], most=5) or "nothing"
        raise UserError(
            f"{path} holds no weights: expected tensors by name, bare or under {expected}; found {names}"
        )
    # Several names may share values, and a view may repeat them, so that copies would have any size.
    held, asked = path.stat().st_size, sum(tensor.nbytes for tensor in weights.values())
    if asked > 2 * held + 2**20:
        raise UserError(
            f"{path} asks for {asked:,} bytes of weights and holds {held:,}: it repeats values; save copies of the "
            "tensors (torch.save of tensor.clone())"
        )
    return weights


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    shared = os.path.commonprefix(list(weights))  # noqa: RUF071 -- names, not paths
    prefix = shared[: shared.rfind(".") + 1]
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items()}


def _leaves(root: Inert) -> dict[str, Tensor]:
    """Return the tensors of a module tree by their dotted names."""
    weights: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", root)]
    for _ in range(MOST_OBJECTS):
        if not waiting:
            return weights
        prefix, node = waiting.pop()
        if isinstance(node, Tensor):
            weights[prefix] = node
        elif isinstance(node, Inert):
            names = {str(name): child for name, child in node.attributes.items()}
            children = [(f"{prefix}.{name}" if prefix else name, child) for name, child in names.items()]
            if any(len(name) > LONGEST_NAME for name, _ in children) or len(waiting) > MOST_OBJECTS:
                break
            waiting += reversed(
                [(name, child) for name, child in children if isinstance(child, Tensor | Inert)]
            )
    raise pickle.UnpicklingError(
        f"its module tree has more than {MOST_OBJECTS:,} objects, or names of over {LONGEST_NAME:,} letters"
    )


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        # A copy on writing, because torch warns about tensors on read-only memory.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _flat(values: mmap.mmap, kind: Any, *, start: int, count: int) -> Tensor:
    dtype = DTYPES[kind]
    return (
        torch.frombuffer(values, dtype=dtype, count=count, offset=start)
        if count
        else torch.empty(0, dtype=dtype)
    )


def _zipped(path: Path) -> Any:
    """Read a PyTorch zip, which holds a pickle and a file of values for each tensor."""
    values = _mapped(path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        root = next(
            (name.partition("/")[0] for name in members if name.partition("/")[2] == "data.pkl"), None
        )
        if root is None:
            raise pickle.UnpicklingError("it is a zip, but not of PyTorch")
        listing = members[f"{root}/data.pkl"]
        if listing.file_size > MAX_BYTES:
            raise pickle.UnpicklingError(f"its pickle is longer than {MAX_BYTES:,} bytes")
        content = io.BytesIO(archive.read(listing))

    @cache
    def stored(key: str) -> tuple[int, int]:
        info = members[f"{root}/data/{key}"]
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("its tensors are compressed, as PyTorch never writes them")
        name, extra = struct.unpack_from("<26xHH", values, info.header_offset)
        start = info.header_offset + 30 + name + extra
        with memoryview(values) as view, view[start : start + info.file_size] as part:
            if len(part) != info.file_size or zlib.crc32(part) != info.CRC:
                raise pickle.UnpicklingError(f"the values of tensor {key} are damaged")
        return start, info.file_size

    def storage(address: tuple[Any, ...]) -> Tensor:
        _, kind, key, _, count = address
        start, size = stored(key)
        if not 0 <= count * DTYPES[kind].itemsize <= size:
            raise pickle.UnpicklingError(f"tensor {key} is to have {count:,} values, in {size:,} bytes")
        return _flat(values, kind, start=start, count=count)

    return interpreted(content, storage)


def _pickled(path: Path) -> Any:
    """Read a file that PyTorch wrote before version 1.6: pickles, and behind them the values of each tensor."""
    values = _mapped(path)
    head = io.BytesIO(values[:MAX_BYTES])
    if interpreted(head) != _MAGIC:
        raise pickle.UnpicklingError("it is no PyTorch file")
    interpreted(head), interpreted(head)  # the protocol, and the machine's sizes of integers
    storages: dict[Any, Tensor] = {}
    left = len(values)

    def storage(address: tuple[Any, ...]) -> Tensor:
        nonlocal left
        _, kind, key, _, count, view = address
        if key not in storages:
            left -= (asked := count * DTYPES[kind].itemsize)
            if asked < 0 or left < 0:
                raise pickle.UnpicklingError(f"tensor {key} is to have {count:,} values, more than the file")
            storages[key] = torch.empty(count, dtype=DTYPES[kind])
        return storages[key] if view is None else storages[key][view[1] : view[1] + view[2]]

    content, keys = interpreted(head, storage), interpreted(head)
    position = head.tell()
    for key in keys:
        flat = storages[key]
        (count,) = struct.unpack_from("<q", values, position)
        if count != flat.numel():
            raise pickle.UnpicklingError(f"tensor {key} has {count:,} values, not {flat.numel():,}")
        flat.copy_(_flat(values, _name_of(flat.dtype), start=position + 8, count=count))
        position += 8 + flat.nbytes
    return content


def _name_of(dtype: torch.dtype) -> str:
    return next(name for name, known in DTYPES.items() if known == dtype)
