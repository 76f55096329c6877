"""Weights are read from every usual file format, and no file gets its code run."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.clip.archives import read_archive
from tests.cascade_core.clip.families import VIT_B16, random_weights, write_scripted


def _equal(read: dict[str, Tensor], written: dict[str, Tensor]) -> bool:
    return read.keys() == written.keys() and all(torch.equal(read[key], written[key]) for key in written)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in random_weights(VIT_B16).items()
    }


def test_a_torchscript_archive_is_read_without_being_run(weights: dict[str, Tensor], tmp_path: Path) -> None:
    write_scripted(tmp_path / "ViT.pt", weights)
    read = read_archive(tmp_path / "ViT.pt")
    assert read.scripted
    assert read.weights.pop("input_resolution") == 64
    assert _equal(read.weights, weights)


@pytest.mark.filterwarnings("ignore:`torch.jit.load`:FutureWarning")
def test_a_torchscript_archive_reads_as_torch_reads_it(weights: dict[str, Tensor], tmp_path: Path) -> None:
    # A transposed view and shared storage, which files may contain.
    shared = {"a.weight": weights["visual.proj"].T, "b.weight": weights["visual.proj"][1:3]}
    write_scripted(tmp_path / "ViT.pt", shared)
    assert _equal(
        read_archive(tmp_path / "ViT.pt").weights,
        dict(torch.jit.load(tmp_path / "ViT.pt").state_dict()),
    )


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("old_format", [False, True])
def test_a_state_dict_is_unwrapped(
    wrapper: str | None, prefix: str, old_format: bool, tmp_path: Path
) -> None:
    weights = {"a.weight": torch.ones(2), "b": torch.zeros(1)}
    content = {prefix + key: tensor for key, tensor in weights.items()}
    whole = {wrapper: content, "meta": {"iter": 7}, "optimizer": {"state": {0: torch.ones(1)}}}
    torch.save(
        whole if wrapper else content, tmp_path / "w.pth", _use_new_zipfile_serialization=not old_format
    )
    read = read_archive(tmp_path / "w.pth")
    assert _equal(read.weights, weights)
    assert read.meta == ({"iter": 7} if wrapper else {})
    assert not read.scripted


def test_a_safetensors_file_is_read(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    assert _equal(read_archive(tmp_path / "w.safetensors").weights, weights)


class _Exploit:
    """Creates a folder when it is unpickled in the usual way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": _Exploit(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth cannot be read safely as weights: .*mkdir"):
        read_archive(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def _replaced(path: Path, name: str, content: bytes, *, compressed: bool = False) -> Path:
    """Write a copy of an archive with one of its files replaced."""
    target = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            replaced = entry.partition("/")[2] == name
            how = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            new.writestr(entry, content if replaced else old.read(entry), compress_type=how)
    return target


def test_a_torchscript_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    write_scripted(tmp_path / "ViT.pt", {"a": torch.ones(2)})
    bad = _replaced(tmp_path / "ViT.pt", "data.pkl", pickle.dumps(_Exploit(tmp_path / "ran"), protocol=2))
    with pytest.raises(
        ValueError, match=r"changed\.pt cannot be read safely as weights: it names posix\.mkdir"
    ):
        read_archive(bad)
    assert not (tmp_path / "ran").exists()


def test_a_torchscript_archive_with_a_short_storage_is_refused(tmp_path: Path) -> None:
    write_scripted(tmp_path / "ViT.pt", {"a": torch.ones(20)})
    with pytest.raises(ValueError, match=r"changed\.pt cannot be read safely as weights"):
        read_archive(_replaced(tmp_path / "ViT.pt", "data/0", b"\0" * 8))


def test_a_compressed_torchscript_archive_is_refused(tmp_path: Path) -> None:
    write_scripted(tmp_path / "ViT.pt", {"a": torch.ones(20)})
    bomb = _replaced(tmp_path / "ViT.pt", "data/0", b"\0" * 1_000_000, compressed=True)
    with pytest.raises(ValueError, match="its tensors are compressed"):
        read_archive(bomb)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"\0" * 30, "cannot be read as safetensors"),
        ("w.pt", b"no weights", "cannot be read safely as weights"),
        ("w.pt", b"PK\x03\x04 cut off", "cannot be read safely as weights"),
    ],
)
def test_a_broken_file_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} {message}") as raised:
        read_archive(tmp_path / name)
    assert "weights_only" not in str(raised.value), "torch advises how to load it unsafely"


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="holds no weights: .*found epoch, lr"):
        read_archive(tmp_path / "w.pt")
    torch.save([torch.ones(1)], tmp_path / "w.pt")
    with pytest.raises(ValueError, match="holds a list, not weights"):
        read_archive(tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"none\.pt do not exist"):
        read_archive(tmp_path / "none.pt")
