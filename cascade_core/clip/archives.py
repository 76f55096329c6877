"""Reading weights from other people's files (safetensors, state dicts, TorchScript) without running their code.

`torch.jit.load` and unpickling run code that the file holds. A TorchScript archive is a zip of raw tensors and
a pickle that names them, so an unpickler that accepts only a few harmless names reads it. Every other pickle goes
through `torch.load(weights_only=True)`.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.runtime.files import readable_weights

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
"""Keys under which training scripts keep the weights beside other content."""

_PARALLEL_PREFIX = "module."


@dataclass(frozen=True)
class Archive:
    """A file's weights by name, the "meta" that a training script stored beside them, and whether it is TorchScript."""

    weights: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    scripted: bool = False


def read_archive(path: Path) -> Archive:
    """Read the weights of a .safetensors file, a `torch.save` file or a TorchScript archive, on the CPU.

    Unwraps weights under `state_dict` or `model`, and removes the prefix `module.` of parallel training.

    Raises:
        UserError: the file is missing or damaged, would run code, or holds no weights.
    """
    if not path.is_file():
        raise UserError(f"weights {path} do not exist; give the path of a file that does")
    if root := _script_root(path):
        return Archive(_scripted_weights(path, root), scripted=True)
    if path.suffix == ".safetensors":
        with readable_weights(path):
            content: Mapping[str, Any] = load_file(path)
    else:
        content = _unpickled(path)
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    weights = _tensors(content[wrapper] if wrapper else content, path)
    if all(key.startswith(_PARALLEL_PREFIX) for key in weights):
        weights = {key.removeprefix(_PARALLEL_PREFIX): tensor for key, tensor in weights.items()}
    meta = content.get("meta") if wrapper else None
    return Archive(weights, dict(meta) if isinstance(meta, Mapping) else {})


def _unpickled(path: Path) -> Mapping[str, Any]:
    try:
        # Memory-mapped: unused content, such as an optimizer's moments, is not read.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # torch's message goes on to advise an unsafe load. Quote the line that names the refused code, else the
        # first sentence.
        reason = next((line.strip() for line in lines if "GLOBAL" in line), f"{lines[0].split('. ')[0]}.")
        raise UserError(
            f"{path} cannot be read safely as weights: {reason} Broken files, and files that would run code "
            "on loading, are refused: fetch the file again, or ask for a safetensors file"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not weights by name; give the file of a state dict"
        )
    return content


def _tensors(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    if weights := {key: value for key, value in content.items() if isinstance(value, Tensor)}:
        return weights
    raise UserError(
        f"{path} holds no weights: expected tensors by name, bare or under {' or '.join(map(repr, _WRAPPERS))}; "
        f"found {', '.join(str(key) for key in list(content)[:5]) or 'nothing'}"
    )


def _script_root(path: Path) -> str | None:
    """Return the top folder inside a TorchScript archive, None for any other file."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        parts = [name.partition("/") for name in archive.namelist()]
    return next((root for root, _, name in parts if name == "constants.pkl"), None)


def _scripted_weights(path: Path, root: str) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            weights = dict(_leaves(_ScriptedUnpickler(archive, root).load(), ""))
    except Exception as error:
        raise UserError(f"TorchScript archive {path} cannot be read safely: {error}") from error
    if not weights:
        raise UserError(f"TorchScript archive {path} holds no weights; is it OpenAI's CLIP?")
    return weights


class _Inert:
    """Stands for an object of a class that the archive defines: keeps its attributes, does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield prefix, node
    elif isinstance(node, _Inert):
        for name, child in node.attributes.items():
            yield from _leaves(child, f"{prefix}.{name}" if prefix else name)


class _ScriptedUnpickler(pickle.Unpickler):
    """Reads the module tree of a TorchScript archive and refuses every name that such a tree does not need."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        """Return a harmless stand-in for a name; `_Inert` for every class that the archive's own code defines."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Inert
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return lambda storage, offset, size, stride, *_: storage.as_strided(size, stride, offset)
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch", _ if name in _DTYPES:
                return _DTYPES[name]
            case "torch.jit._pickle", _ if name.startswith("build_"):
                return list
            case _:
                raise pickle.UnpicklingError(f"it names {module}.{name}, which no CLIP needs")

    def persistent_load(self, address: Any) -> Tensor:
        """Return the values of a storage as a flat tensor."""
        _, dtype, key, _, count = address
        info = self._archive.getinfo(f"{self._root}/data/{key}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("its tensors are compressed, as PyTorch never writes them")
        # A bytearray, because torch warns about tensors on read-only memory.
        return torch.frombuffer(bytearray(self._archive.read(info)), dtype=dtype, count=count)
