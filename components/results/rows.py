"""Benchmark rows: the scores and the cost of one run, and tables of many runs with their spread over seeds."""

import statistics
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.runtime.listing import brief
from cascade_core.runtime.validation import first_error, validated
from components.results.names import PROFILE_FILE, SCORES, SCORES_FILE
from components.results.step_files import read_profile, read_scores

if TYPE_CHECKING:
    import pandas as pd

DROPPED = "dropped"
"""Published numbers have this background policy, so tables leave it out."""
SPEED_FIELDS = ("trainable_params", "gmacs", "images_per_second")
"""A profile holds these fields of a row, an evaluation the others."""
SETTING_NAMES = {
    "inductive": "inductive",
    "transductive_oracle": "transductive (oracle)",
    "transductive_strict": "transductive (strict)",
    "supervised": "fully supervised",
    "training_free": "training-free",
    "control_words": "control: unseen words exchanged",
    "control_random_tower": "control: random image tower",
}

Run = tuple[str, str, str, str]
"""Rows of one run have the same protocol (with background policy), split, method and setting."""


class ScoreRow(BaseModel):
    """One method, setting and seed on one split, with its scores as fractions (None if undefined)."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    method: str
    setting: str
    split: str
    protocol: str
    background: str = DROPPED
    seed: int
    pAcc: float
    miou_seen: float | None
    miou_unseen: float | None
    hiou: float | None

    @classmethod
    def of_evaluation(cls, evaluation: Path) -> Self:
        """Read the scores in an evaluate step's folder.

        Raises:
            UserError: the file or a field is missing.
        """
        return validated(
            cls,
            read_scores(evaluation),
            source=evaluation / SCORES_FILE,
            way_out="run the step that writes it again",
        )

    @property
    def run(self) -> Run:
        """The run of the row; its rows differ only in the seed."""
        return self.measured_by, self.split, self.method, self.setting

    @property
    def measured_by(self) -> str:
        """The protocol, with the background policy if background counts as a class."""
        return self.protocol + self.policy

    @property
    def policy(self) -> str:
        """The background policy as the end of a phrase; nothing for the published one."""
        return "" if self.background == DROPPED else f", background by {self.background}"


class BenchmarkRow(ScoreRow):
    """The scores of a row with its size and speed."""

    trainable_params: int
    gmacs: float
    images_per_second: float

    @classmethod
    def read(cls, evaluation: Path, profile: Path) -> Self:
        """Join the scores in an evaluate step's folder with the size and speed in a profile step's.

        Raises:
            UserError: a file or field is missing, or the two are of different methods.
        """
        scores, speed = read_scores(evaluation), read_profile(profile)
        if speed.get("method", scores.get("method")) != scores.get("method"):
            raise UserError(
                f"{profile / PROFILE_FILE}: method is {brief(speed['method'])}, that of {evaluation / SCORES_FILE} is "
                f"{brief(scores.get('method'))}; give the profile of the evaluated method"
            )
        try:
            return cls.model_validate({**speed, **scores})
        except ValidationError as error:
            wrong = first_error(error)
            file = profile / PROFILE_FILE if wrong.startswith(SPEED_FIELDS) else evaluation / SCORES_FILE
            raise UserError(f"{file}: {wrong}; run the step that writes it again") from error


class RerunRow(BenchmarkRow):
    """A row to compare with rows of other days.

    All fields are None if they are unknown.

    Attributes:
        relative_speed: images per second as a multiple of a fixed network's on the same machine.
        checkpoint: hash of the scored weights; rows with one hash differ only by the code around the weights.
        data_hash: hash of the data set; rows on other data, or other pictures of it, cannot be compared.
        num_pictures: number of scored pictures.
    """

    relative_speed: float | None = None
    checkpoint: str | None = None
    data_hash: str | None = None
    num_pictures: int | None = None

    def on_data_of(self, other: "RerunRow") -> bool:
        """Say whether both were scored on the same pictures, as far as that is known."""
        pairs = ((self.data_hash, other.data_hash), (self.num_pictures, other.num_pictures))
        return all(None in pair or pair[0] == pair[1] for pair in pairs)


Row = TypeVar("Row", bound=ScoreRow)


class Summary(BaseModel):
    """The rows of a run: mean and sample deviation of each score over the seeds, and the median of the speeds, if known.

    `first` is the first row, for the fields that all rows share.
    """

    model_config = ConfigDict(frozen=True)

    first: ScoreRow
    seeds: tuple[int, ...]
    mean: dict[str, float | None]
    spread: dict[str, float | None]
    images_per_second: float | None = None

    def percent(self, score: str) -> str:
        """Format a score in percent, with its deviation over several seeds; a dash if it is undefined."""
        mean, spread = self.mean[score], self.spread[score]
        if mean is None:
            return "-"
        return f"{100 * mean:.1f}" if spread is None else f"{100 * mean:.1f} ± {100 * spread:.1f}"


def run_names(method: str, setting: str) -> tuple[str, str]:
    """Return the names that people use for a method and a setting."""
    return METHOD_NAMES.get(method, method), SETTING_NAMES.get(setting, setting)


def run_titles(runs: Sequence[tuple[str, str]]) -> list[str]:
    """Name runs, each a method and a setting, for people; equal names are numbered."""
    names = [", ".join(run_names(method, setting)) for method, setting in runs]
    return [f"{name} ({place + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]


def by_run(rows: Sequence[Row]) -> dict[Run, list[Row]]:
    """Group rows by their run; order is preserved."""
    runs: dict[Run, list[Row]] = {}
    for row in rows:
        runs.setdefault(row.run, []).append(row)
    return runs


def defined_values(rows: Sequence[ScoreRow], field: str) -> list[float]:
    """Return the values of a field in the rows that define it."""
    return [value for row in rows if (value := getattr(row, field)) is not None]


def summaries(rows: Sequence[ScoreRow]) -> list[Summary]:
    """Summarise each run over its seeds, in the order of first appearance."""
    return [_summary(members) for members in by_run(rows).values()]


def scores_by_name(rows: Sequence[ScoreRow]) -> dict[str, dict[str, float]]:
    """Return each score of all rows by its name in the papers, hIoU first; a score that is undefined is left out.

    Rows are named `<method>.<setting>`, and numbered where two have one name.
    """
    stems = [f"{row.method}.{row.setting}" for row in rows]
    names = [
        f"{stem}.{stems[: place + 1].count(stem)}" if stems.count(stem) > 1 else stem
        for place, stem in enumerate(stems)
    ]
    scores = {
        title: {
            name: value
            for name, row in zip(names, rows, strict=True)
            if (value := getattr(row, score)) is not None
        }
        for score, title in reversed(SCORES.items())
    }
    return {title: own for title, own in scores.items() if own}


def markdown_table(rows: Sequence[BenchmarkRow]) -> str:
    """Lay out a row per run in Markdown, padded to also read well as plain text; scores in percent."""
    import pandas as pd  # slow to import, and commands read this module for their help

    table = pd.DataFrame([_cells(members) for members in by_run(rows).values()])
    if (table["seeds"] == "1").all():
        del table["seeds"]
    return padded_markdown(table, texts=("method", "setting"))


def padded_markdown(table: "pd.DataFrame", *, texts: Collection[str]) -> str:
    """Lay out a table of strings in Markdown: columns of `texts` aligned left, those of numbers right."""
    sides = ["left" if name in texts else "right" for name in table.columns]
    return table.to_markdown(index=False, colalign=sides, disable_numparse=True) + "\n"


def thousands(count: int) -> str:
    """Format a number of weights: `36,416`, `13.8 M`."""
    return f"{count / 1e6:.1f} M" if count >= 1_000_000 else f"{count:,}"


def _cells(rows: Sequence[BenchmarkRow]) -> dict[str, str]:
    summary, first = _summary(rows), rows[0]
    method, setting = run_names(first.method, first.setting)
    return {
        "method": method,
        "setting": setting + first.policy,
        "seeds": str(len(summary.seeds)),
        **{title: summary.percent(score) for score, title in SCORES.items()},
        "trainable": thousands(first.trainable_params),
        "GMACs": f"{first.gmacs:.3g}",
        "img/s": f"{summary.images_per_second:.3g}",
    }


def _summary(rows: Sequence[ScoreRow]) -> Summary:
    speeds = [row.images_per_second for row in rows if isinstance(row, BenchmarkRow)]
    values = {score: defined_values(rows, score) for score in SCORES}
    return Summary(
        first=rows[0],
        seeds=tuple(row.seed for row in rows),
        mean={name: statistics.fmean(own) if own else None for name, own in values.items()},
        spread={name: statistics.stdev(own) if len(own) > 1 else None for name, own in values.items()},
        images_per_second=statistics.median(speeds) if speeds else None,
    )
