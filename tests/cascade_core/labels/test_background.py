"""The background policy: its text form, and the combinations that are refused."""

import pytest
from pydantic import ValidationError

from cascade_core.labels.background import Background, parse_background

THRESHOLD = Background(policy="threshold", threshold=0.3)
PROMPTS = Background(policy="prompts", names=("sky", "brick wall"))
BOTH = Background(policy="prompts", names=("sky", "brick wall"), threshold=0.3)


@pytest.mark.parametrize(
    ("text", "background", "text_form"),
    [
        ("dropped", Background(), "dropped"),
        ("threshold=0.30", THRESHOLD, "threshold 0.3"),
        ("prompts=sky, brick wall", PROMPTS, "prompts sky, brick wall"),
        ("threshold=0.3, prompts=sky, brick wall", BOTH, "threshold 0.3, prompts sky, brick wall"),
    ],
)
def test_a_policy_is_parsed_and_printed(text: str, background: Background, text_form: str) -> None:
    assert parse_background(text) == background
    assert str(background) == text_form


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reject", "Input should be 'dropped', 'threshold' or 'prompts'"),
        ("threshold", "needs one, such as 0.3"),
        ("threshold=high", "Input should be a valid number"),
        ("threshold=1.5", "less than or equal to 1"),
        ("dropped=0.3", "the others take none"),
        ("prompts", "needs at least one, such as sky"),
        ("threshold=0.3,prompts=", "needs at least one, such as sky"),
        ("threshold=0.3,sky", "Input should be a valid number"),
        ("prompts=sky,,wall", "none is empty"),
        ("prompts=sky,sky", "every name is given once"),
    ],
)
def test_an_invalid_policy_is_an_error_with_the_allowed_ones(text: str, message: str) -> None:
    with pytest.raises(
        ValueError, match=f"background '{text}': .*{message}.*allowed are dropped, threshold=0.3"
    ):
        parse_background(text)


def test_names_go_with_no_other_policy() -> None:
    with pytest.raises(ValidationError, match="the others take none"):
        Background(policy="threshold", threshold=0.1, names=("sky",))
