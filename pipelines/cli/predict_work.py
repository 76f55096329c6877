"""What every kind of a call of `cascade-clip predict` has: its labels and views, and the work that follows its checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor

Work = Callable[["Predictor"], None]
"""The work of a call whose options are checked; it prints where its results are."""


@dataclass(frozen=True)
class Asked:
    """The labels, the views whose scores are averaged, and the pictures of a batch."""

    labels: tuple[str, ...]
    scales: tuple[float, ...]
    flip: bool
    batch: int
