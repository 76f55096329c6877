"""Checkpoints without CLIP's frozen towers: a reference to CLIP's folder, by hash, stands for its tensors.

Most of a checkpoint is the image tower, and, of a model that reads tokens, the text tower. Between the steps of a pipeline they are left out, and joined again before a step reads the
checkpoint: then the file has the bytes that the training wrote. All here works on bytes, in little memory and without torch.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from pydantic import BaseModel, ConfigDict, Field

from cascade_core.checkpoints.manifest import MODEL_FILE
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, new_folder, sha256, write_json
from cascade_core.runtime.formats import FORMAT, read_manifest
from cascade_core.runtime.validation import validated

REFERENCE_FILE = "frozen_tower.json"
CLIP_PREFIX, OWN_PREFIX = "visual.", "trunk.visual."
"""The image tower's keys in CLIP's weights and in a checkpoint's."""
TEXT_PREFIX = "text."
"""The text tower's keys in both."""
LENGTH_BYTES, MOST_HEADER_BYTES, CHUNK = 8, 2**24, 2**20

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TowerReference(BaseModel):
    """Where the tensors lie that a checkpoint leaves out.

    Attributes:
        clip: the address of CLIP's folder, as the training got it.
        clip_sha256: of CLIP's weights file; `sha256` is that of the whole checkpoint's.
        header: the header of the whole checkpoint's safetensors file.
        tensors: the names of those that are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    clip: str
    clip_sha256: Digest
    sha256: Digest
    header: str
    tensors: tuple[str, ...]


class _Tensor(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    data_offsets: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]

    @property
    def size(self) -> int:
        return self.data_offsets[1] - self.data_offsets[0]


@dataclass(frozen=True)
class _Safetensors:
    """A safetensors file: its header as text, its tensors by name, and where their bytes begin."""

    path: Path
    header: str
    tensors: Mapping[str, _Tensor]
    start: int

    @classmethod
    def read(cls, path: Path) -> "_Safetensors":
        damaged = f"{path} cannot be read as safetensors; make or fetch it again"
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(LENGTH_BYTES), "little")
                if length > min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
                    raise UserError(damaged)
                header = file.read(length).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(damaged) from error
        tensors = _parsed(header, source=str(path))
        start = LENGTH_BYTES + length
        if any(not 0 <= one.size <= size - start - one.data_offsets[0] for one in tensors.values()):
            raise UserError(damaged)
        return cls(path, header, tensors, start)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a tensor."""
        tensor = self.tensors[name]
        with self.path.open("rb") as file:
            file.seek(self.start + tensor.data_offsets[0])
            left = tensor.size
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def holds(self, name: str, tensor: _Tensor, content: Iterator[bytes]) -> bool:
        """Say whether this file has a tensor of this name, type, shape and content."""
        ours = self.tensors.get(name)
        if ours is None or (ours.dtype, ours.shape, ours.size) != (tensor.dtype, tensor.shape, tensor.size):
            return False
        return all(mine == other for mine, other in zip(self.chunks(name), content, strict=True))


def leave_out_tower(checkpoint: Path, clip: Path, *, address: str) -> None:
    """Take the tensors out of a checkpoint that CLIP's folder holds, and write the reference; does nothing if it holds none.

    Raises:
        UserError: a file is missing or damaged.
    """
    whole, tower = _Safetensors.read(checkpoint / MODEL_FILE), _Safetensors.read(clip / MODEL_FILE)
    shared = tuple(
        name
        for name, tensor in whole.tensors.items()
        if name.startswith((OWN_PREFIX, TEXT_PREFIX))
        and tower.holds(_in_clip(name), tensor, whole.chunks(name))
    )
    if not shared:
        return
    reference = TowerReference(
        clip=address,
        clip_sha256=sha256(clip / MODEL_FILE),
        sha256=sha256(checkpoint / MODEL_FILE),
        header=whole.header,
        tensors=shared,
    )
    kept = {name: tensor for name, tensor in whole.tensors.items() if name not in shared}
    with new_file(checkpoint / MODEL_FILE) as path, path.open("wb") as file:
        _write_header(file, json.dumps(_header_of(kept), separators=(",", ":"), allow_nan=False))
        for name in kept:
            file.writelines(whole.chunks(name))
    write_json(checkpoint / REFERENCE_FILE, reference.model_dump(mode="json"))


def join_tower(checkpoint: Path, clip: Path, out: Path) -> None:
    """Write the whole checkpoint to the new folder `out`, with the tensors that the reference names from CLIP's folder.

    Raises:
        UserError: a file is missing or damaged, or the folder holds other weights than those of the training.
    """
    reference = read_reference(checkpoint)
    if not (clip / MODEL_FILE).is_file() or sha256(clip / MODEL_FILE) != reference.clip_sha256:
        raise UserError(
            f"{checkpoint} leaves out the frozen weights of CLIP in {reference.clip}, but {clip} holds other weights now "
            f"(SHA-256 is not {reference.clip_sha256[:12]}...); give the CLIP that it was trained with"
        )
    own, tower = _Safetensors.read(checkpoint / MODEL_FILE), _Safetensors.read(clip / MODEL_FILE)
    wanted = _parsed(reference.header, source=str(checkpoint / REFERENCE_FILE))
    sources = {name: (own, name) for name in own.tensors}
    sources |= {name: (tower, _in_clip(name)) for name in reference.tensors}
    damaged = f"{checkpoint} cannot be joined with the weights of CLIP in {clip}: it is damaged; make or fetch it again"
    if set(wanted) != set(sources) or any(
        name not in file.tensors or file.tensors[name].size != wanted[key].size
        for key, (file, name) in sources.items()
    ):
        raise UserError(damaged)
    with new_folder(out) as working:
        for path in checkpoint.iterdir():
            if path.name not in (MODEL_FILE, REFERENCE_FILE):
                shutil.copyfile(path, working / path.name)
        with (working / MODEL_FILE).open("wb") as file:
            _write_header(file, reference.header)
            for key in sorted(wanted, key=lambda key: wanted[key].data_offsets):
                source, name = sources[key]
                file.writelines(source.chunks(name))
        if sha256(working / MODEL_FILE) != reference.sha256:
            raise UserError(damaged)


def read_reference(checkpoint: Path) -> TowerReference:
    """Read where the tensors lie that a checkpoint leaves out.

    Raises:
        UserError: the file is missing, of a later format or no reference.
    """
    file = checkpoint / REFERENCE_FILE
    return validated(
        TowerReference, read_manifest(file), source=file, way_out="run the training that writes it again"
    )


def lacks_tower(checkpoint: Path) -> bool:
    """Say whether a checkpoint leaves out the frozen tower."""
    return (checkpoint / REFERENCE_FILE).is_file()


def _in_clip(name: str) -> str:
    return CLIP_PREFIX + name.removeprefix(OWN_PREFIX) if name.startswith(OWN_PREFIX) else name


def _parsed(header: str, *, source: str) -> dict[str, _Tensor]:
    """Read the tensors of a safetensors header in the order of their bytes; its field `__metadata__` is left out."""
    damaged = f"{source} has no safetensors header; make or fetch it again"
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise UserError(damaged) from error
    if not isinstance(entries, dict):
        raise UserError(damaged)
    tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
    read = validated(dict[str, _Tensor], tensors, source=source, way_out="make or fetch it again")
    return dict(sorted(read.items(), key=lambda item: item[1].data_offsets))


def _header_of(tensors: Mapping[str, _Tensor]) -> dict[str, object]:
    """Return the header for these tensors, one after the other."""
    header: dict[str, object] = {}
    place = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [place, place + tensor.size],
        }
        place += tensor.size
    return header


def _write_header(file: IO[bytes], header: str) -> None:
    """Write length and header; readers want the bytes of the tensors at a multiple of 8."""
    content = header.encode()
    content += b" " * (-len(content) % LENGTH_BYTES)
    file.write(len(content).to_bytes(LENGTH_BYTES, "little"))
    file.write(content)
