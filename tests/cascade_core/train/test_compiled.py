"""Compiled training: one graph, the same numbers, the same names."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_core.runtime import c_compiler as compiler
from cascade_core.train.compiled import grid_logits_of
from tests.cascade_core.model.small import CASCADE, segmentor

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def _told(what: str) -> dict[str, Any]:
    """Run `compiling.py`, which says why it is a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cascade_core.train.compiling", what],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_trunk_and_decoder_are_one_graph_in_training_and_in_inference() -> None:
    found = _told("one_graph")
    assert found.pop("graphs") == 3
    assert found.pop("gradients in bf16") < 0.01
    assert found.keys() == {"training", "inference"}
    assert max(found.values()) < 1e-5, found


def _assert_three_steps_alike(told: dict[str, Any]) -> None:
    (plain, none), (compiled, one) = told["never"], told["always"]
    assert (none, one) == (0, 1)
    assert len(set(plain)) == 3
    assert compiled == pytest.approx(plain, rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler for processors needs a C++ compiler")
def test_three_steps_of_compiled_training_have_the_losses_of_plain_training() -> None:
    _assert_three_steps_alike(_told("three_steps"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_so_have_they_on_a_gpu() -> None:
    _assert_three_steps_alike(_told("on_a_gpu"))


def test_what_is_compiled_is_called_and_leaves_the_weights_their_names() -> None:
    model = segmentor(**CASCADE)
    names = list(model.state_dict())
    assert grid_logits_of(model, "always", CPU) != model.grid_logits
    assert list(model.state_dict()) == names


def test_a_model_is_compiled_on_a_gpu_only_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = segmentor()
    monkeypatch.setattr(compiler, "missing_for_triton", lambda: None)
    assert grid_logits_of(model, "auto", CPU) == model.grid_logits
    assert grid_logits_of(model, "auto", GPU) != model.grid_logits
    assert grid_logits_of(model, "never", GPU) == model.grid_logits


def test_without_what_triton_needs_a_gpu_runs_the_model_as_it_is_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiler, "missing_for_triton", lambda: "a C compiler")
    model = segmentor()
    assert grid_logits_of(model, "auto", GPU) == model.grid_logits
    assert "the model is not compiled, which needs a C compiler" in caplog.text
