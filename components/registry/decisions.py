"""The gate: decide whether a candidate becomes champion, and give the reason.

A candidate must be better than the champion beyond what the choice of the pictures explains: the interval of its gain over the pictures, a
paired bootstrap, must lie above zero. Scores are fractions; margins are percentage points, as in tables.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from cascade_core.errors import UserError
from cascade_core.labels.label_file import are_of_one_file
from cascade_core.runtime.files import read_json
from cascade_core.runtime.listing import brief
from cascade_core.runtime.validation import validated
from components.registry import versions as registry
from components.results.intervals import Interval, picture_interval
from components.results.margins import Margins, points
from components.results.names import SCORES_FILE
from components.results.rows import DROPPED

if TYPE_CHECKING:
    from components.results.picture_counts import CountsOfPictures

DECISION_FILE = "decision.json"
FIXED_GAIN = 2.5
"""The gain of hIoU, in points, that replaces the interval where pixel counts are missing: one deviation over seeds (docs/mlflow.md)."""
SCORE_DIGITS, HASH_DIGITS = 4, 64
COMPARABLE = {
    "protocol": "protocol",
    "split": "split",
    "data_hash": "data hash",
    "num_pictures": "number of pictures",
    "background": "background policy",
}
"""Fields, with their names in messages, that two models must share before their scores are comparable.

Two models that both record the hash of the scored pictures need not share the data set: one that was trained on more
pictures is compared on the same validation pictures.
"""
PICTURES = "pictures_hash"
VALIDATION = "validation."
"""Prefix of a version's tags for its scores on the validation split, by which the gate compares."""


class Scored(BaseModel):
    """A model's scores for the gate, and the data they were measured on."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    protocol: str
    split: str
    setting: str | None = None
    data_hash: str | None = None
    pictures_hash: str | None = None
    num_pictures: int | None = None
    background: str = DROPPED
    hiou: float | None = None
    miou_seen: float | None = None


class Decision(BaseModel):
    """The gate's verdict on a candidate of the model `name`; `champion` is the version compared with, if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    promote: bool
    reason: str
    champion: int | None
    margins: Margins

    def show(self) -> None:
        """Print the decision."""
        print(f"{self.name}: {'promote' if self.promote else 'keep the champion'}: {self.reason}")


def decide(
    name: str,
    candidate: Scored,
    champion: registry.Version | None,
    margins: Margins,
    *,
    ours: "CountsOfPictures | None" = None,
    theirs: "CountsOfPictures | None" = None,
) -> Decision:
    """Compare a candidate with the champion; `ours` and `theirs` are their pixel counts, None if they are missing.

    Without a champion, promote every candidate that has a score. Do the same if the champion was scored on an earlier content
    of the candidate's label file: no score compares models of other classes, and a task's champion has those of the file
    as it is. Otherwise promote only a candidate measured
    on the same pictures and protocol, whose gain of hIoU has an interval over the pictures above zero and is more than `min_hiou_gain`, and whose
    mIoU(S) is not lower by more than `max_seen_drop`; unless the margins say so, it must have the champion's setting. If counts are missing, the gain must
    be more than `FIXED_GAIN`. A tie keeps the champion. Without unseen classes there
    is no hIoU, and mIoU(S) replaces it.
    """
    number = None if champion is None else champion.number
    if champion is None or (changed := _changed_labels(candidate, champion, margins)):
        promote = candidate.hiou is not None or candidate.miou_seen is not None
        first = "first model" if champion is None else changed
        reason = first if promote else "the candidate has neither hIoU nor mIoU(S)"
    else:
        promote, reason = _compare(candidate, champion, margins, ours, theirs)
    return Decision(name=name, promote=promote, reason=reason, champion=number, margins=margins)


def rounded(score: float | None) -> float | None:
    """Return a score as versions keep it and the gate compares it: to a hundredth of a point."""
    return None if score is None else round(score, SCORE_DIGITS)


def read_scored(evaluation: Path) -> Scored:
    """Read the scores in the folder of an evaluate step.

    Raises:
        UserError: the scores are missing or invalid, with file and field in the message; or they are of an exported
            graph, whose loss of accuracy is not the model's.
    """
    file = evaluation / SCORES_FILE
    content = read_json(file)
    if isinstance(content, dict) and (engine := content.get("engine", "torch")) != "torch":
        raise UserError(
            f"{file} scores a graph in {engine}, and the registry holds the checkpoint; evaluate that without --graph"
        )
    return _scored(content, str(file))


def read_decision(folder: Path, name: str) -> Decision:
    """Read the decision about the model `name` in the folder of a gate step.

    Raises:
        UserError: the folder is not of a gate step, or the decision is about another model.
    """
    file = folder / DECISION_FILE
    decision = validated(Decision, read_json(file), source=file, way_out="run the gate step again")
    if decision.name != name:
        raise UserError(
            f"{file}: name is {brief(decision.name)}, but the model is registered as {name!r}; give the gate step "
            "the same name"
        )
    return decision


def _changed_labels(candidate: Scored, champion: registry.Version, margins: Margins) -> str:
    """Return the reason for a first champion of a label file whose content changed; "" if it did not.

    Unless the margins compare settings, it must have the old champion's: a training-free model is ready long before others.
    """
    if not margins.across_settings and candidate.setting != champion.tags.get("setting"):
        return ""
    theirs = champion.tags.get("protocol", "")
    if theirs == candidate.protocol or not are_of_one_file(candidate.protocol, theirs):
        return ""
    return (
        f"first champion of the changed label file ({candidate.protocol}): version {champion.number} was scored on other "
        f"classes ({theirs}), so their scores are not comparable; version {champion.number} stays in the registry"
    )


def _compare(
    candidate: Scored,
    champion: registry.Version,
    margins: Margins,
    our_counts: "CountsOfPictures | None",
    their_counts: "CountsOfPictures | None",
) -> tuple[bool, str]:
    """Return whether to promote, and the reason."""
    holder = f"champion, version {champion.number},"
    try:
        theirs = _scored(_of_split(champion.tags, candidate.split), holder)
    except UserError as error:
        return False, f"the candidate cannot be compared with the {holder} whose tags are wrong: {error}"
    for field, label in _shared(candidate, theirs).items():
        mine, other = getattr(candidate, field), getattr(theirs, field)
        if mine is None or mine != other:
            return (
                False,
                f"scores are not comparable: the {holder} has another {label}: {_short(other)}, the candidate's is "
                f"{_short(mine)}; promote by hand after a look",
            )
    if candidate.setting != theirs.setting and not margins.across_settings:
        return False, (
            f"the {holder} has another setting: {theirs.setting or 'unknown'}, the candidate's is "
            f"{candidate.setting or 'unknown'}; --across-settings compares them"
        )
    score, label = ("hiou", "hIoU") if theirs.hiou is not None else ("miou_seen", "mIoU(S)")
    ours, best = rounded(getattr(candidate, score)), rounded(getattr(theirs, score))
    if best is None:
        return False, f"the {holder} has no scores to compare with; promote by hand after a look"
    if ours is None:
        return False, f"the candidate has no {label}, the {holder} has {_percent(best)}"
    gain = points(ours, best)
    scores = f"{label} {_percent(ours)} against {_percent(best)} of the {holder} {gain:+.2f} points"
    interval, missing = _interval(score, our_counts, their_counts, holder)
    least = margins.min_hiou_gain if interval is not None else max(margins.min_hiou_gain, FIXED_GAIN)
    if interval is not None:
        low, high = (points(end, 0) for end in (interval.low, interval.high))
        scores += f" ({low:+.2f} to {high:+.2f} over the pictures)"
    if gain <= least:
        verdict = "a tie" if gain == 0 else "worse" if gain < 0 else "not enough better"
        return False, f"{verdict}: {scores}; more than {least:g} are required{missing}"
    if interval is not None and interval.word != "holds":
        return False, f"not surely better: {scores}; the 95 % interval must lie above zero"
    seen, their_seen = rounded(candidate.miou_seen), rounded(theirs.miou_seen)
    if their_seen is not None:
        drop = 100.0 if seen is None else -points(seen, their_seen)
        if drop > margins.max_seen_drop:
            return False, (
                f"seen classes fell: mIoU(S) {_percent(seen)} against {_percent(their_seen)}, by {drop:.2f} points "
                f"({margins.max_seen_drop:g} are allowed), though {scores}"
            )
    return True, f"better: {scores}{missing}"


def _interval(
    score: str, ours: "CountsOfPictures | None", theirs: "CountsOfPictures | None", holder: str
) -> tuple[Interval | None, str]:
    """Return the interval of the candidate's gain over the pictures; if there is none, say why as the end of a sentence."""
    if ours is None or theirs is None:
        whose = "candidate's evaluation" if ours is None else holder
        return None, f", by a fixed margin, because the {whose} keeps no readable pixel counts"
    if not ours.comparable(theirs):
        return (
            None,
            f", by a fixed margin, because the {holder} keeps pixel counts of other pictures or classes",
        )
    interval = picture_interval({0: ours}, {0: theirs}, score)
    return interval, "" if interval else ", by a fixed margin, because the counts define no such score"


def _shared(candidate: Scored, champion: Scored) -> dict[str, str]:
    """Return the fields of `COMPARABLE`, with the scored pictures in place of the data set where both are known."""
    if candidate.pictures_hash is None or champion.pictures_hash is None:
        return COMPARABLE
    others = {field: label for field, label in COMPARABLE.items() if field != "data_hash"}
    return {**others, PICTURES: "set of scored pictures"}


def validation_tags(scored: Scored) -> dict[str, Any]:
    """Return the tags of a version for its scores on the validation split."""
    return {f"{VALIDATION}{name}": value for name, value in scored if value is not None}


def _of_split(tags: Mapping[str, str], split: str) -> Mapping[str, str]:
    """Return a version's tags, with its scores on the validation split if that is `split`.

    A version of before has only the scores that it reports, which stay comparable with others of that split.
    """
    on_validation = {
        name.removeprefix(VALIDATION): value for name, value in tags.items() if name.startswith(VALIDATION)
    }
    if on_validation.get("split") != split:
        return tags
    # The reported split's pictures are others.
    return {name: value for name, value in tags.items() if name != PICTURES} | on_validation


def _scored(values: Mapping[str, Any], where: str) -> Scored:
    return validated(Scored, values, source=where, way_out="run the evaluate step again")


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def _short(value: object) -> str:
    text = "unknown" if value is None else str(value)
    return text[:12] if len(text) == HASH_DIGITS else text
