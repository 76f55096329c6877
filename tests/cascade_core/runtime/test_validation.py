"""Errors in external content name the source, the first wrong field and the remedy."""

import pytest
from pydantic import BaseModel, Field, model_validator

from cascade_core.errors import UserError
from cascade_core.runtime.validation import validated


class Speed(BaseModel):
    """A positive number other than 13."""

    rate: float = Field(gt=0)

    @model_validator(mode="after")
    def _check_rate(self) -> "Speed":
        if self.rate == 13:
            raise UserError("rate is 13; take another")
        return self


def test_valid_content_is_converted_to_its_kind() -> None:
    assert validated(tuple[Speed, ...], [{"rate": "2"}], source="a.json") == (Speed(rate=2),)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": -1}, r"^a\.json: rate: Input should be greater than 0 \(got -1\); run it again$"),
        ({}, r"^a\.json: rate: Field required; run it again$"),
        ({"rate": 13}, r"^a\.json: rate is 13; take another; run it again$"),
        (7, r"^a\.json: Input should be a valid dictionary or instance of Speed; run it again$"),
    ],
)
def test_the_first_wrong_field_is_named_with_source_and_way_out(values: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        validated(Speed, values, source="a.json", way_out="run it again")
