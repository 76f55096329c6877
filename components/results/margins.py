"""What a difference between two models must be to count: in percent points, as tables show scores."""

from pydantic import BaseModel, ConfigDict, Field


class Margins(BaseModel):
    """How much better than the champion a candidate must be, in points; `params.yaml` has them under `gate`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_hiou_gain: float = Field(default=2.5, ge=0)
    max_seen_drop: float = Field(default=2.0, ge=0)


def points(ours: float, theirs: float) -> float:
    """Give the difference of two fractions in percent points.

    Rounded far below any margin, so that a gain of exactly the margin is not one of more by float's grace.
    """
    return round(100 * (ours - theirs), 9)
