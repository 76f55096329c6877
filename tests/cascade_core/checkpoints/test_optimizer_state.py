"""An optimizer's state is checked whole before any of it is put in place."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import AdamW

from cascade_core.checkpoints.checkpoint import load_optimizer
from cascade_core.errors import UserError

SHAPES = ((3, 2), (4,))


def _optimizer() -> AdamW:
    return AdamW([torch.nn.Parameter(torch.ones(shape)) for shape in SHAPES])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = {"step": torch.tensor(5.0), "exp_avg": None, "exp_avg_sq": None}
    state = {
        f"{key}/{index}": torch.rand(shape) if value is None else value.clone()
        for index, shape in enumerate(SHAPES)
        for key, value in values.items()
    }
    save_file(state, tmp_path / "optimizer.safetensors")
    return tmp_path


def test_a_whole_state_is_restored(folder: Path) -> None:
    optimizer, saved = _optimizer(), load_file(folder / "optimizer.safetensors")
    load_optimizer(optimizer, folder)
    states = list(optimizer.state.values())
    assert all(
        torch.equal(state[key], saved[f"{key}/{index}"])
        for index, state in enumerate(states)
        for key in state
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("exp_avg_sq/1"), "another set of weights .*missing exp_avg_sq/1"),
        (lambda state: state.update({"x": torch.ones(1)}), "unexpected x"),
        (
            lambda state: state.update({"exp_avg/0": torch.ones(2, 3)}),
            r"has shape \(2, 3\), expected \(3, 2\)",
        ),
        (lambda state: state.update({"step/0": torch.ones(1)}), r"step/0 has shape \(1,\), expected \(\)"),
        (lambda state: state.update({"exp_avg/1": torch.ones(4).half()}), "tensors of torch.float16"),
        (lambda state: state["exp_avg/0"].fill_(float("nan")), r"no numbers \(exp_avg/0\)"),
        (lambda state: state["exp_avg_sq/0"].neg_(), r"negative .*\(exp_avg_sq/0\)"),
        (lambda state: state["step/1"].neg_(), r"negative .*\(step/1\)"),
    ],
)
def test_damage_is_refused_and_nothing_restored(
    change: Callable[[dict[str, Tensor]], object], message: str, folder: Path
) -> None:
    file, optimizer = folder / "optimizer.safetensors", _optimizer()
    state = {key: tensor.clone() for key, tensor in load_file(file).items()}
    change(state)
    save_file(state, file)
    with pytest.raises(UserError, match=message):
        load_optimizer(optimizer, folder)
    assert not optimizer.state
