"""The GPU benchmark on a CPU: its arithmetic, and the functions that it calls."""

import pytest
import torch

from benchmarks import cases, gpu
from cascade_core.train.loop import StepReport
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def case() -> cases.Case:
    return cases.make_case(tiny_config(), torch.device("cpu"), batch=2)


def test_without_a_gpu_the_benchmark_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="^benchmarks.gpu needs a CUDA device") as failure:
        gpu.main()
    assert failure.value.code


def test_a_multiply_add_counts_as_two_operations() -> None:
    # 100 images a second of 50 billion multiply-adds are 10 TFLOP/s.
    assert gpu.share_of_peak(100, 50, peak=40e12) == pytest.approx(0.25)


def test_backward_costs_frozen_weights_once_trained_ones_twice() -> None:
    assert cases.multiply_adds_of_a_step({"trunk": 10, "decoder": 1, "total": 11}) == 10 + 1 + 10 + 2


@pytest.mark.parametrize(
    ("measured", "at_most", "word"), [(0.5, False, "met"), (0.5, True, "missed"), (0.4, True, "met")]
)
def test_a_bar_is_met_or_missed(measured: float, at_most: bool, word: str) -> None:
    assert gpu.Bar("share", measured, 0.4, at_most=at_most).row()[-1] == word


def test_training_runs_the_loops_step(case: cases.Case) -> None:
    report = case.training("bf16")()
    assert isinstance(report, StepReport)
    assert report.terms.keys() == {"focal", "dice"}


def test_plain_training_changes_the_trained_weights(case: cases.Case) -> None:
    before = {name: weight.clone() for name, weight in case.segmentor.named_parameters()}
    case.plain_training(2)()
    changed = {
        name for name, weight in case.segmentor.named_parameters() if not torch.equal(weight, before[name])
    }
    assert any(name.startswith("decoder") for name in changed)
    assert any("prompt" in name for name in changed)


def test_both_kinds_of_inference_agree_up_to_rounding(case: cases.Case) -> None:
    ours, published = case.inference("bf16")(), case.plain_inference()()
    assert ours.shape == (2, 32, 32)
    assert (ours[:1] == published).float().mean() > 0.9
