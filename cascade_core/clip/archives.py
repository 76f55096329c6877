"""Weights out of files that others made: safetensors, state dicts, and TorchScript archives, without running any code.

`torch.jit.load` runs what an archive holds, and unpickling runs what a pickle names. So a TorchScript archive is
read here as what it is, a zip of raw tensors and a pickle that says which attribute each is, by an unpickler
that knows a handful of harmless names; every other pickle goes through `torch.load(weights_only=True)`.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_core.errors import UserError

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the weights beside other things."""

_PARALLEL_PREFIX = "module."


@dataclass(frozen=True)
class Archive:
    """A file's weights by name, what else it tells (empty unless weights were wrapped), and whether it is TorchScript."""

    weights: dict[str, Tensor]
    meta: dict[str, Any]
    scripted: bool


def read_archive(path: Path) -> Archive:
    """Read the weights of a .safetensors file, a `torch.save` file or a TorchScript archive, on the CPU.

    Weights wrapped in `state_dict` or `model` and the prefix `module.` of parallel training are unwrapped; an
    optimiser's state is never brought into memory where the format allows it.

    Raises:
        UserError: the file is missing, broken, would have to run code to be read, or holds no weights.
    """
    if not path.is_file():
        raise UserError(f"weights {path} do not exist; give the path of a file that does")
    if path.suffix == ".safetensors":
        return Archive(_unprefixed(_safetensors(path)), {}, scripted=False)
    if _is_scripted(path):
        return Archive(_scripted_weights(path), {}, scripted=True)
    content = _unpickled(path)
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    meta = content.get("meta") if wrapper else None
    weights = _unprefixed(_tensors(content[wrapper] if wrapper else content, path))
    return Archive(weights, dict(meta) if isinstance(meta, Mapping) else {}, scripted=False)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); fetch it again") from error


def _unpickled(path: Path) -> Mapping[str, Any]:
    try:
        # Mapped, so that what nobody asks for, such as an optimiser's moments, is not read.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        # Of torch's advice, what was refused; else its first sentence: the next ones say how to load it unsafely.
        named = next((line.strip() for line in told if "GLOBAL" in line), f"{told[0].split('. ')[0]}.")
        raise UserError(
            f"{path} cannot be read safely as weights: {named} Files that would run code on loading are refused, "
            "broken ones too: fetch it again, or ask for a safetensors file"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not weights by name; give the file of a state dict"
        )
    return content


def _tensors(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    weights = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        found = ", ".join(str(key) for key in list(content)[:5]) or "nothing"
        raise UserError(
            f"{path} holds no weights: expected tensors by name, bare or under "
            f"{' or '.join(map(repr, _WRAPPERS))}; found {found}"
        )
    return weights


def _unprefixed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(key.startswith(_PARALLEL_PREFIX) for key in weights):
        return {key.removeprefix(_PARALLEL_PREFIX): tensor for key, tensor in weights.items()}
    return weights


def _is_scripted(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())


class _Inert:
    """Stands for an object of a class that is never made: keeps its attributes, does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _ScriptedUnpickler(pickle.Unpickler):
    """Reads the module tree of a TorchScript archive, and no name but those such a tree needs."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        """Give something harmless for a name; `_Inert` for whatever class the archive's own code defines."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Inert
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _rebuilt
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch", _ if name in _DTYPES:
                return _DTYPES[name]
            case "torch.jit._pickle", _ if name.startswith("build_"):
                return list
            case _:
                raise pickle.UnpicklingError(f"it names {module}.{name}, which no CLIP needs")

    def persistent_load(self, address: Any) -> Tensor:
        """Give the values of a storage as a flat tensor."""
        _, dtype, key, _, count = address
        info = self._archive.getinfo(f"{self._root}/data/{key}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("its tensors are compressed, as PyTorch never writes them")
        # A copy that may be written to: torch warns of tensors on read-only memory.
        return torch.frombuffer(bytearray(self._archive.read(info)), dtype=dtype, count=count)


def _rebuilt(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """Give the view of a storage that a tensor is; torch refuses one that reaches beyond it."""
    return torch.as_strided(storage, size, stride, offset)


def _scripted_weights(path: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/constants.pkl")).split("/")[0]
            weights = dict(_leaves(_ScriptedUnpickler(archive, root).load(), ""))
    except Exception as error:
        raise UserError(f"TorchScript archive {path} cannot be read safely: {error}") from error
    if not weights:
        raise UserError(f"TorchScript archive {path} holds no weights; is it OpenAI's CLIP?")
    return weights


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, _Inert):
        for name, child in node.attributes.items():
            if isinstance(child, Tensor):
                yield f"{prefix}{name}", child
            else:
                yield from _leaves(child, f"{prefix}{name}.")
