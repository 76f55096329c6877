"""Parallel work keeps the order, reports progress, and stops at the first exception."""

import time

import pytest

from cascade_core.runtime.pool import parallel_map


def test_results_keep_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 * (item == 0))
        return item * item

    reported: list[tuple[int, int]] = []
    results = parallel_map(slow_first, range(6), workers=3, progress=lambda *done: reported.append(done))
    assert results == [0, 1, 4, 9, 16, 25]
    assert reported == [(done, 6) for done in range(1, 7)]


def test_no_items_give_no_results() -> None:
    assert parallel_map(str, []) == []


def test_an_exception_cancels_the_items_not_yet_started() -> None:
    begun: list[int] = []

    def fail(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)
        raise KeyError(item)

    with pytest.raises(KeyError):
        parallel_map(fail, range(1000), workers=2)
    assert len(begun) < 1000
