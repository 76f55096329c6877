"""The margins beside the gate's interval, in percent points, as tables show scores."""

from pydantic import BaseModel, ConfigDict, Field


class Margins(BaseModel):
    """The least gain in hIoU and the allowed drop in mIoU(S), in points; `params.yaml` holds them under `gate`.

    The interval of the gain decides; `min_hiou_gain` asks for more than a gain that surely is one. A candidate is compared with a champion of its own setting, or with `across_settings` of any: an inductive model saw
    nothing of the unseen classes, a transductive one saw them without labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_hiou_gain: float = Field(default=0.0, ge=0)
    max_seen_drop: float = Field(default=2.0, ge=0)
    across_settings: bool = False


def points(ours: float, theirs: float) -> float:
    """Return the difference of two fractions in percent points.

    It is rounded far below any margin: a gain of exactly the margin must not pass or fail by float error.
    """
    return round(100 * (ours - theirs), 9)
