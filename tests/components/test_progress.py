"""Progress without a terminal: lines every few seconds, with position and time left."""

import io
import itertools

import pytest

from components.progress import LineProgress, duration, progress, rate_text


def _lines(total: int | None, *, seconds_per_step: float, steps: int, start: int = 0) -> list[str]:
    stream, ticks = io.StringIO(), itertools.count()
    bar = LineProgress(
        "train", total, start=start, stream=stream, clock=lambda: next(ticks) * seconds_per_step
    )
    for done in range(start + 1, steps + 1):
        bar.advance(done, f"loss {done}")
    return stream.getvalue().splitlines()


def test_lines_come_at_most_every_few_seconds_and_at_the_end() -> None:
    assert _lines(10, seconds_per_step=2, steps=10) == [
        "train: step 3/10 | loss 3 | eta 14 s",
        "train: step 6/10 | loss 6 | eta 8 s",
        "train: step 9/10 | loss 9 | eta 2 s",
        "train: step 10/10 | loss 10 | done in 20 s",
    ]


def test_time_left_counts_only_steps_of_this_run() -> None:
    assert _lines(10, seconds_per_step=5, steps=9, start=8) == ["train: step 9/10 | loss 9 | eta 5 s"]


def test_without_a_total_there_is_a_position() -> None:
    assert _lines(None, seconds_per_step=9, steps=2) == ["train: step 1 | loss 1", "train: step 2 | loss 2"]


def test_a_total_may_be_set_later(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("prepare") as bar:
        bar.advance(1, total=2)
        bar.advance(2, total=2)
    assert capsys.readouterr().err == "prepare: step 2/2 | done in 0 s\n"


def test_an_error_in_the_block_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), progress("divide", 1):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (42, "42 s"),
        (170, "3 min"),
        (3600, "1 h 0 min"),
        (7800, "2 h 10 min"),
        (86_400 * 1234.4, "1,234 days"),
    ],
)
def test_durations_have_readable_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(("rate", "text"), [(0.042, "0.042"), (1.26, "1.3"), (41.4, "41"), (1234, "1234")])
def test_no_slow_step_shows_a_rate_of_zero(rate: float, text: str) -> None:
    assert rate_text(rate) == text
