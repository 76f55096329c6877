"""Two trainings compared to the last bit."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def check_same_training(one: Path, other: Path) -> None:
    """Check that two trainings left the same files, tensors and loss curve, and nothing beside `other`."""
    names, others = (
        sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) for out in (one, other)
    )
    assert names == others
    for name in (name for name in names if name.endswith(".safetensors")):
        check_same_tensors(one / name, other / name)
    assert (one / "history.csv").read_text() == (other / "history.csv").read_text()
    assert [path.name for path in other.parent.iterdir() if path.name.startswith(f".{other.name}")] == []


def check_same_tensors(one: Path, other: Path) -> None:
    """Check that two safetensors files hold the same names and bits."""
    expected, tensors = load_file(one), load_file(other)
    assert expected.keys() == tensors.keys()
    different = [name for name, tensor in expected.items() if not torch.equal(tensor, tensors[name])]
    assert different == [], other
