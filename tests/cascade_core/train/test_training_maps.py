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
from cascade_core.train.training_maps import training_maps_of
from tests.cascade_core.model.small import CASCADE, segmentor

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def _results(function: str) -> dict[str, Any]:
    """Run a function of `compiling.py` in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cascade_core.train.compiling", function],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.slow  # torch.compile works for a quarter of a minute
def test_trunk_and_decoder_compile_to_one_graph() -> None:
    differences = _results("one_graph")
    assert differences.pop("graphs") == 3
    assert differences.pop("gradients in bf16") < 0.01
    assert differences.keys() == {"training", "inference"}
    assert max(differences.values()) < 1e-5, differences


@pytest.mark.slow  # 5 to 20 seconds each
@pytest.mark.parametrize("method", ["spt_seg", "otseg", "cat_seg", "cat_seg_frozen"])
def test_other_methods_compile_to_one_graph_too(method: str) -> None:
    differences = _results(method)
    assert differences.pop("graphs") == 1
    assert differences.keys() == {"maps", "gradients"}
    assert max(differences.values()) < 1e-5, differences


def _assert_three_steps_alike(results: dict[str, Any]) -> None:
    (plain, plain_graphs), (compiled, compiled_graphs) = results["never"], results["always"]
    assert (plain_graphs, compiled_graphs) == (0, 1)
    assert len(set(plain)) == 3
    assert compiled == pytest.approx(plain, rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler for processors needs a C++ compiler")
def test_compiled_training_has_the_losses_of_plain_training() -> None:
    _assert_three_steps_alike(_results("three_steps"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_compiled_training_on_a_gpu_has_the_plain_losses() -> None:
    _assert_three_steps_alike(_results("on_a_gpu"))


def test_compiling_leaves_the_names_of_the_weights() -> None:
    model = segmentor(**CASCADE)
    names = list(model.state_dict())
    assert training_maps_of(model, "always", CPU) != model.training_maps
    assert list(model.state_dict()) == names


def test_a_model_is_compiled_on_a_gpu_only_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = segmentor()
    monkeypatch.setattr(compiler, "missing_for_triton", lambda: None)
    assert training_maps_of(model, "auto", CPU) == model.training_maps
    assert training_maps_of(model, "auto", GPU) != model.training_maps
    assert training_maps_of(model, "never", GPU) == model.training_maps


def test_without_triton_a_gpu_runs_uncompiled_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiler, "missing_for_triton", lambda: "a C compiler")
    model = segmentor()
    assert training_maps_of(model, "auto", GPU) == model.training_maps
    assert "the model is not compiled, which needs a C compiler" in caplog.text
