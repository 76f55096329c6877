"""Lists in messages hold a few items and count the rest."""

import pytest

from cascade_core.errors import UserError
from cascade_core.runtime.listing import bullets, by_name, duplicates, short_list


def test_a_long_list_is_cut_and_the_rest_counted() -> None:
    assert short_list(["sky", "wall"], most=2) == "sky, wall"
    assert short_list(["sky", "wall", "sea"], most=1, separator="; ") == "sky and 2 more"
    assert bullets(["sky", "wall"]) == "\n  - sky\n  - wall"
    assert bullets(["sky", "wall"], most=1) == "\n  - sky\n  and 1 more"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    assert by_name("sky", {"sky": 1, "wall": 2}, kind="class") == 1
    with pytest.raises(UserError, match="^unknown class 'sea'; known are sky, wall$"):
        by_name("sea", {"sky": 1, "wall": 2}, kind="class")


def test_each_duplicate_is_named_once() -> None:
    assert duplicates(["wall", "sky", "wall", "sea", "sky", "wall"]) == ["sky", "wall"]
