"""When a picture could be decoded at a reduced scale, and what it would change."""

import pytest

from benchmarks import decoding
from cascade_core.configs.recipes import recipe
from cascade_core.data.pictures import decode_image


@pytest.mark.parametrize(("size", "number"), [((480, 640), 0), ((3000, 4000), decoding.DRAWS)])
def test_only_large_pictures_are_resized_to_half_or_less(size: tuple[int, int], number: int) -> None:
    assert len(decoding.reducible(size, recipe("cascade_cocostuff", {}, seed=0).data)) == number


def test_a_reduced_picture_is_smaller_but_no_smaller_than_needed() -> None:
    content = decoding.photograph((96, 128))
    assert decode_image(content, "a picture").shape == (96, 128, 3)
    assert decoding.reduced(content, (20, 30)).shape == (24, 32, 3)
