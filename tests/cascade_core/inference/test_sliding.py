"""Where windows lie."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_core.inference.sliding import window_origins

LENGTHS = st.tuples(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60)).filter(
    lambda s: s[2] <= s[1]
)


@settings(deadline=None)
@given(LENGTHS)
def test_windows_cover_every_position_and_stay_inside(sizes: tuple[int, int, int]) -> None:
    length, crop, stride = sizes
    origins = window_origins(length, crop, stride)
    covered = {position for origin in origins for position in range(origin, min(origin + crop, length))}
    assert covered == set(range(length))
    assert all(0 <= origin <= max(length - crop, 0) for origin in origins)
    assert len(origins) == math.ceil(max(length - crop, 0) / stride) + 1


@pytest.mark.parametrize(
    ("length", "origins"),
    [(512, [0]), (300, [0]), (513, [0, 1]), (938, [0, 426]), (939, [0, 426, 427]), (683, [0, 171])],
)
def test_the_published_windows_start_where_they_should(length: int, origins: list[int]) -> None:
    assert list(window_origins(length, 512, 426)) == origins


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="stride=9: all must be positive and stride at most crop"):
        window_origins(8, 8, 9)
    with pytest.raises(ValueError, match="all must be positive"):
        window_origins(8, 8, 0)
