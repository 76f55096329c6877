"""The views that prediction averages."""

import pytest

from cascade_core.inference.views import View, views


def test_each_scale_is_followed_by_its_mirror_image() -> None:
    assert views((1.0, 0.5), flip=True) == (View(1.0), View(1.0, True), View(0.5), View(0.5, True))
    assert View(0.5).size((40, 90), short_side=None, patch_size=8) == (20, 45)
    assert View(1.0).size((1, 4), short_side=None, patch_size=8) == (8, 32)
    assert View(0.5).size((40, 90), short_side=64, patch_size=8, keep_ratio=False) == (32, 32)


@pytest.mark.parametrize(
    ("scales", "message"),
    [((), "no scale"), ((0.0,), "scale 0.0 is not"), ((float("nan"),), "scale nan"), ((1.0, 1.0), "twice")],
)
def test_unusable_scales_are_refused(scales: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        views(scales)
