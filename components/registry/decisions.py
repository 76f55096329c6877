"""May a candidate become champion? The one place that compares two models and says why.

Scores are fractions, margins are points (a hundredth), as tables show them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated
from components.registry import versions as registry
from components.results.margins import Margins, points
from components.results.names import SCORES_FILE
from components.results.rows import DROPPED

DECISION_FILE = "decision.json"
COMPARABLE = {
    "protocol": "protocol",
    "split": "split",
    "data_hash": "data hash",
    "num_pictures": "number of pictures",
    "background": "background policy",
}
"""Fields, and what people call them: scores of models that differ in one say nothing about each other."""


class Scored(BaseModel):
    """What the gate looks at: two scores, and what they were measured on."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    protocol: str
    split: str
    data_hash: str | None = None
    num_pictures: int | None = None
    background: str = DROPPED
    hiou: float | None = None
    miou_seen: float | None = None


class Decision(BaseModel):
    """Whether a candidate of the model `name` is better than `champion` (None: there was none), and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    promote: bool
    reason: str
    champion: int | None
    margins: Margins

    def show(self) -> None:
        """Print the decision."""
        print(f"{self.name}: {'promote' if self.promote else 'keep the champion'}: {self.reason}")


def decide(name: str, candidate: Scored, champion: registry.Version | None, margins: Margins) -> Decision:
    """Compare a candidate with the champion.

    The first model is champion. After that one is promoted only if it was measured on the same pictures of
    the same data under the same protocol, its hIoU is higher by more than `min_hiou_gain` and its mIoU(S)
    not lower by more than `max_seen_drop`. A tie keeps the champion: a change must pay. Where no class is
    unseen there is no hIoU, and mIoU(S) takes its place.
    """
    if champion is None:
        scored = candidate.hiou is not None or candidate.miou_seen is not None
        verdict = (scored, "first model" if scored else "the candidate has neither hIoU nor mIoU(S)")
    else:
        verdict = _compared(candidate, champion, margins)
    promote, reason = verdict
    held = None if champion is None else champion.number
    return Decision(name=name, promote=promote, reason=reason, champion=held, margins=margins)


def read_scored(evaluation: Path) -> Scored:
    """Read what an evaluate step's folder says of its model.

    Raises:
        UserError: the scores are missing or broken; the message names file and field.
    """
    file = evaluation / SCORES_FILE
    return _scored(read_json(file), str(file))


def read_decision(folder: Path) -> Decision:
    """Read what a gate step decided.

    Raises:
        UserError: the folder is not of a gate step.
    """
    file = folder / DECISION_FILE
    return validated(Decision, read_json(file), source=file, way_out="run the gate step again")


def _compared(candidate: Scored, champion: registry.Version, margins: Margins) -> tuple[bool, str]:
    held = f"champion, version {champion.number},"
    try:
        theirs = _scored(champion.tags, held)
    except UserError as error:
        return False, f"the {held} cannot be compared with: {error}"
    for field, called in COMPARABLE.items():
        mine, other = getattr(candidate, field), getattr(theirs, field)
        if mine is None or mine != other:
            return (
                False,
                f"the {held} has another {called}: {_short(other)}, the candidate's is {_short(mine)}",
            )
    score, called = ("hiou", "hIoU") if theirs.hiou is not None else ("miou_seen", "mIoU(S)")
    ours, best = getattr(candidate, score), getattr(theirs, score)
    if best is None:
        return False, f"the {held} has no scores to compare with; promote by hand after a look"
    if ours is None:
        return False, f"the candidate has no {called}, the {held} has {_percent(best)}"
    return _better(called, ours, best, candidate.miou_seen, theirs.miou_seen, held, margins)


def _better(
    called: str,
    ours: float,
    best: float,
    seen: float | None,
    their_seen: float | None,
    held: str,
    margins: Margins,
) -> tuple[bool, str]:
    gain = points(ours, best)
    told = f"{called} {_percent(ours)} against {_percent(best)} of the {held} {gain:+.2f} points"
    if gain <= margins.min_hiou_gain:
        kind = "a tie" if gain == 0 else "worse" if gain < 0 else "not enough better"
        return False, f"{kind}: {told}; more than {margins.min_hiou_gain:g} are asked for"
    if their_seen is not None:
        drop = 100.0 if seen is None else -points(seen, their_seen)
        if drop > margins.max_seen_drop:
            return False, (
                f"seen classes fell: mIoU(S) {_percent(seen)} against {_percent(their_seen)}, {drop:.2f} points "
                f"where {margins.max_seen_drop:g} are allowed, though {told}"
            )
    return True, f"better: {told}"


def _scored(values: Mapping[str, Any], where: str) -> Scored:
    return validated(Scored, values, source=where, way_out="run the evaluate step again")


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def _short(value: object) -> str:
    return "unknown" if value is None else str(value)[:12]
