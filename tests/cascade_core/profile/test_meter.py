"""The time between two clock readings belongs to the innermost part, and the parts sum to the whole."""

import itertools

import pytest
import torch
from torch import nn

from cascade_core.profile.meter import OTHER, Meter, metered, wall_clock


def ticking() -> tuple:
    """Return a clock that advances by one at every reading."""
    ticks = itertools.count()
    return (lambda: next(ticks)), (lambda begun, ended: float(ended - begun))


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.unwatched = nn.Identity()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.between(self.inner(inputs))

    def between(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.unwatched(inputs)


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.outer = Outer()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.outer(self.outer(inputs))


PATTERNS = (("outer.inner", "inside"), ("outer", "around"))


def test_inner_work_counts_for_the_inner_part_only() -> None:
    model = Whole()
    with metered(model, ticking(), PATTERNS) as meter:
        model(torch.zeros(1))
    # Readings of the clock: begin, twice (in, in, out, out), end.
    assert meter.by_part() == {"around": 4.0, "inside": 2.0, OTHER: 3.0}


def test_a_method_may_be_a_part_and_is_itself_again_afterwards() -> None:
    model = Whole()
    methods = (("outer.between", "between"), ("outer.absent", "nothing"), ("absent.method", "nothing"))
    with metered(model, ticking(), PATTERNS, methods) as meter:
        model(torch.zeros(1))
    assert meter.by_part() == {"around": 6.0, "inside": 2.0, "between": 2.0, OTHER: 3.0}
    assert "between" not in vars(model.outer)


def test_a_part_need_not_be_a_module() -> None:
    meter = Meter(ticking())
    meter.read()
    with meter.part("argmax"):
        pass
    meter.read()
    assert meter.by_part() == {"argmax": 1.0, OTHER: 2.0}


def test_no_watch_is_left_behind_when_a_model_raises() -> None:
    model = Whole()

    def fail(module: nn.Module, inputs: object) -> None:
        raise RuntimeError("broken")

    handle = model.outer.inner.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"), metered(model, ticking(), PATTERNS):
        model(torch.zeros(1))
    handle.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_wall_clock_returns_seconds() -> None:
    read, between = wall_clock(torch.device("cpu"))
    begun = read()
    assert 0 <= between(begun, read()) < 1
