"""Photometric distortion: the order of its draws, and their effect on colours."""

import colorsys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascade_core.batches.photometric import photometric_distortion, shift_colours


def planes(colours: list[tuple[int, int, int]]) -> np.ndarray:
    """One row of colours, as a plane per channel."""
    return np.array(colours, dtype=np.uint8).T[:, None].copy()


class Scripted(np.random.Generator):
    """A generator that returns the passed coins and draws in order."""

    def __init__(self, coins: list[float], uniforms: list[float], hue: int = 0) -> None:
        super().__init__(np.random.PCG64(0))
        self.coins, self.uniforms, self.hue = list(coins), list(uniforms), hue
        self.ranges: list[tuple[float, float]] = []

    def random(self) -> float:  # type: ignore[override]
        return self.coins.pop(0)

    def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
        self.ranges.append((low, high))
        return self.uniforms.pop(0)

    def integers(self, low: int, high: int) -> int:  # type: ignore[override]
        self.ranges.append((low, high))
        return self.hue


YES, NO = 0.0, 0.9
GREYS = np.repeat(np.array([[[0, 100, 250]]], dtype=np.uint8), 3, axis=0)


def test_brightness_shifts_and_is_cut_to_eight_bits() -> None:
    generator = Scripted([YES, NO, NO, NO, NO], [20.5])
    assert photometric_distortion(GREYS, generator)[0, 0].tolist() == [20, 120, 255]
    assert generator.ranges == [(-32, 32)]


@pytest.mark.parametrize("coins", [[NO, YES, YES, NO, NO], [NO, NO, NO, NO, YES]], ids=["first", "last"])
def test_contrast_scales_before_or_after_the_colours(coins: list[float]) -> None:
    generator = Scripted(coins, [1.5])
    assert photometric_distortion(GREYS, generator)[0, 0].tolist() == [0, 150, 255]
    assert generator.ranges == [(0.5, 1.5)]


def test_saturation_leaves_greys_and_pales_colours() -> None:
    red = planes([(200, 100, 100), (90, 90, 90)])
    generator = Scripted([NO, NO, YES, NO, NO], [0.5])
    distorted = photometric_distortion(red, generator)
    assert np.abs(distorted[:, 0, 0].astype(int) - (200, 150, 150)).max() <= 1
    assert distorted[:, 0, 1].tolist() == [90, 90, 90]
    assert generator.ranges == [(0.5, 1.5)]


def test_hue_turns_by_two_degrees_a_step() -> None:
    red = planes([(255, 0, 0)])
    generator = Scripted([NO, NO, NO, YES, NO], [], hue=15)  # 30 degrees: half way to yellow
    assert np.abs(photometric_distortion(red, generator)[:, 0, 0].astype(int) - (255, 127, 0)).max() <= 1
    assert generator.ranges == [(-18, 18)]


def test_no_coin_leaves_the_picture() -> None:
    levels = np.arange(192, dtype=np.uint8).reshape(3, 8, 8)
    assert np.array_equal(photometric_distortion(levels, Scripted([NO] * 5, [])), levels)


COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@settings(max_examples=200)
@given(colour=COLOURS, saturation=st.floats(0.5, 1.5), degrees=st.integers(-36, 34))
@example(colour=(0, 0, 0), saturation=1.5, degrees=0)
@example(colour=(0, 255, 255), saturation=1.5, degrees=34)
@example(colour=(255, 255, 254), saturation=0.5, degrees=-36)
def test_saturation_and_hue_change_as_in_hsv(
    colour: tuple[int, int, int], saturation: float, degrees: int
) -> None:
    hue, share, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    expected = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, min(share * saturation, 1), value)
    changed = shift_colours(planes([colour]), saturation, degrees / 60)[:, 0, 0]
    assert np.abs(changed - 255 * np.array(expected)).max() < 2


def test_large_pictures_change_pixel_by_pixel() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (3, 300, 500), dtype=np.uint8)
    changed = shift_colours(levels, 1.3, -0.4)
    for row in (0, 130, 131, 299):
        assert np.array_equal(changed[:, row : row + 1], shift_colours(levels[:, row : row + 1], 1.3, -0.4))


def test_brightness_and_contrast_are_cut_one_after_the_other() -> None:
    generator = Scripted([YES, YES, YES, NO, NO], [30.0, 0.5])
    assert photometric_distortion(GREYS, generator)[0, 0].tolist() == [15, 65, 127]
