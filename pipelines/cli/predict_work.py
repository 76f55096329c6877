"""What every kind of a call of `cascade-clip predict` has: its labels and views, and the work that follows its checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade_core.errors import UserError

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


def refuse(given: Mapping[str, object], reason: str) -> None:
    """Raise UserError, with a reason that follows the option, if one of the options `given` has a value."""
    if options := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
        raise UserError(f"{options[0]} {reason}")
