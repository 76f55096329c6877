"""The background setting: how it is written, and which combinations make no sense."""

import pytest
from pydantic import ValidationError

from cascade_core.labels.background import Background, parse_background

THRESHOLD = Background(policy="threshold", threshold=0.3)
PROMPTS = Background(policy="prompts", names=("sky", "brick wall"))


@pytest.mark.parametrize(
    ("text", "background", "shown"),
    [
        ("dropped", Background(), "dropped"),
        ("threshold=0.30", THRESHOLD, "threshold 0.3"),
        ("prompts=sky, brick wall", PROMPTS, "prompts sky, brick wall"),
    ],
)
def test_a_policy_is_read_and_shown(text: str, background: Background, shown: str) -> None:
    assert parse_background(text) == background
    assert str(background) == shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("reject", "Input should be 'dropped', 'threshold' or 'prompts'"),
        ("threshold", "needs one, such as 0.3"),
        ("threshold=high", "Input should be a valid number"),
        ("threshold=1.5", "less than or equal to 1"),
        ("dropped=0.3", "the others take none"),
        ("prompts", "needs at least one, such as sky"),
        ("prompts=sky,,wall", "none is empty"),
        ("prompts=sky,sky", "every name is given once"),
    ],
)
def test_a_policy_that_makes_no_sense_is_told(text: str, told: str) -> None:
    with pytest.raises(
        ValueError, match=f"background '{text}': .*{told}.*allowed are dropped, threshold=0.3"
    ):
        parse_background(text)


def test_names_go_with_no_other_policy() -> None:
    with pytest.raises(ValidationError, match="the others take none"):
        Background(policy="threshold", threshold=0.1, names=("sky",))
