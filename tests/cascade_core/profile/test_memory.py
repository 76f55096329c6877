"""Peak memory is the most that a call held, also if it freed it."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_core.profile.memory import MIB, PROC, peak_memory

CPU = torch.device("cpu")
BIG = 96


def hold_for_a_while() -> None:
    """Fill memory and free it again."""
    np.ones(BIG * MIB, dtype=np.uint8)
    held = np.ones(BIG * MIB, dtype=np.uint8)
    time.sleep(0.05)
    del held


@pytest.mark.parametrize(
    ("proc", "measured_by"), [(PROC, "VmHWM"), (Path("/nowhere"), "resident size, sampled")]
)
def test_memory_freed_at_the_end_counts(proc: Path, measured_by: str) -> None:
    mebibytes, by = peak_memory(hold_for_a_while, CPU, proc=proc)
    assert BIG * 0.95 < mebibytes < BIG * 1.3
    assert by == measured_by


def test_memory_held_before_does_not_count() -> None:
    kept = np.ones(BIG * MIB, dtype=np.uint8)
    mebibytes, _ = peak_memory(lambda: kept.sum(), CPU)
    assert 0 <= mebibytes < BIG / 4


def test_memory_freed_before_does_not_hide_a_call() -> None:
    """The C library may keep freed memory; a call that reuses it needs it nevertheless."""
    for _ in range(2):
        mebibytes, _ = peak_memory(lambda: [np.ones(MIB // 16, dtype=np.uint8) for _ in range(16 * BIG)], CPU)
        assert mebibytes > BIG * 0.9
