"""Rows of results: what an evaluation and a profile say of one run, and tables of many with their spread."""

import statistics
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import first_error
from components.results.names import PROFILE_FILE, SCORES_FILE

if TYPE_CHECKING:
    import pandas as pd

DROPPED = "dropped"
"""The background policy of published numbers, which is said nothing of."""

SETTING_NAMES = {
    "inductive": "inductive",
    "transductive_oracle": "transductive (oracle)",
    "transductive_strict": "transductive (strict)",
    "supervised": "fully supervised",
    "control_words": "control: unseen words exchanged",
    "control_random_tower": "control: random image tower",
}


class BenchmarkRow(BaseModel):
    """One method, setting and seed on one split: scores as fractions (None where undefined), size and speed."""

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
    trainable_params: int
    gmacs: float
    images_per_second: float

    @property
    def run(self) -> tuple[str, str, str, str]:
        """What the row is about, seed aside."""
        return self.measured_by, self.split, self.method, self.setting

    @property
    def measured_by(self) -> str:
        """The protocol, and how background is told where it counts as a class."""
        told_by = "" if self.background == DROPPED else f", background by {self.background}"
        return self.protocol + told_by


class RerunRow(BenchmarkRow):
    """A row that can be held against one of another day: its speed is also a multiple of a fixed network's.

    None where that was not measured. `checkpoint` is the hash of the weights that were scored: two rows of one
    checkpoint differ by the code around it alone. Rows on other data, or on another number of its pictures, say
    nothing about each other. All of these are None where they are not known.
    """

    relative_speed: float | None = None
    checkpoint: str | None = None
    data_hash: str | None = None
    num_pictures: int | None = None

    def on_data_of(self, other: "RerunRow") -> bool:
        """Say whether both were scored on the same pictures, as far as that is known."""
        pairs = ((self.data_hash, other.data_hash), (self.num_pictures, other.num_pictures))
        return all(None in pair or pair[0] == pair[1] for pair in pairs)


Row = TypeVar("Row", bound=BenchmarkRow)


class Summary(BaseModel):
    """Rows that differ in nothing but the seed: mean and sample deviation of each score, and the median speed.

    `first` is the first of them, for what they have in common.
    """

    model_config = ConfigDict(frozen=True)

    first: BenchmarkRow
    seeds: tuple[int, ...]
    mean: dict[str, float | None]
    spread: dict[str, float | None]
    images_per_second: float

    def shown(self, score: str) -> str:
        """Give a score in percent, with its deviation where there are several seeds, or a dash."""
        mean, spread = self.mean[score], self.spread[score]
        if mean is None:
            return "-"
        return f"{100 * mean:.1f}" if spread is None else f"{100 * mean:.1f} ± {100 * spread:.1f}"


SCORES = {"pAcc": "pAcc", "miou_seen": "mIoU(S)", "miou_unseen": "mIoU(U)", "hiou": "hIoU"}
"""Fields of the four scores, and what the papers call them."""


def benchmark_row(evaluation: Path, profile: Path) -> BenchmarkRow:
    """Join the scores in an evaluate step's folder with the size and speed in a profile step's.

    Raises:
        UserError: a file or field is missing, or the two are of different methods.
    """
    return joined_row(BenchmarkRow, evaluation, profile)


def joined_row(kind: type[Row], evaluation: Path, profile: Path) -> Row:
    """Join an evaluate and a profile step's folders into a row of a kind, as `benchmark_row` does."""
    scores, speed = read_json(evaluation / SCORES_FILE), read_json(profile / PROFILE_FILE)
    if speed.get("method", scores.get("method")) != scores.get("method"):
        raise UserError(
            f"{profile / PROFILE_FILE}: method is {speed['method']!r}, that of {evaluation / SCORES_FILE} is "
            f"{scores.get('method')!r}; give the profile of the evaluated method"
        )
    try:
        return kind.model_validate({**speed, **scores})
    except ValidationError as error:
        wrong = first_error(error)
        where = profile / PROFILE_FILE if wrong.startswith(_SPEED_FIELDS) else evaluation / SCORES_FILE
        raise UserError(f"{where}: {wrong}; run the step that writes it again") from error


_SPEED_FIELDS = ("trainable_params", "gmacs", "images_per_second")


def summaries(rows: Sequence[BenchmarkRow]) -> list[Summary]:
    """Gather rows that differ in the seed alone, in the order in which their runs first come."""
    runs: dict[tuple[str, str, str, str], list[BenchmarkRow]] = {}
    for row in rows:
        runs.setdefault(row.run, []).append(row)
    return [_summary(members) for members in runs.values()]


def markdown_table(rows: Sequence[BenchmarkRow]) -> str:
    """Give a table in Markdown, padded so that it also reads well as text; scores in percent."""
    import pandas as pd  # slow to import, and commands read this module for their help

    table = pd.DataFrame([_cells(summary) for summary in summaries(rows)])
    if (table["seeds"] == "1").all():
        del table["seeds"]
    return padded_markdown(table, texts=("method", "setting"))


def padded_markdown(table: "pd.DataFrame", *, texts: Collection[str]) -> str:
    """Give a table of texts in Markdown, the columns `texts` to the left and the others, of numbers, to the right."""
    sides = ["left" if name in texts else "right" for name in table.columns]
    return table.to_markdown(index=False, colalign=sides, disable_numparse=True) + "\n"


def thousands(count: int) -> str:
    """Say a number of weights: `36,416`, `13.8 M`."""
    return f"{count / 1e6:.1f} M" if count >= 1_000_000 else f"{count:,}"


def _cells(summary: Summary) -> dict[str, str]:
    first = summary.first
    background = "" if first.background == DROPPED else f", background by {first.background}"
    return {
        "method": METHOD_NAMES.get(first.method, first.method),
        "setting": SETTING_NAMES.get(first.setting, first.setting) + background,
        "seeds": str(len(summary.seeds)),
        **{title: summary.shown(score) for score, title in SCORES.items()},
        "trainable": thousands(first.trainable_params),
        "GMACs": f"{first.gmacs:.3g}",
        "img/s": f"{summary.images_per_second:.3g}",
    }


def _summary(members: Sequence[BenchmarkRow]) -> Summary:
    known = {
        score: [value for row in members if (value := getattr(row, score)) is not None] for score in SCORES
    }
    return Summary(
        first=members[0],
        seeds=tuple(row.seed for row in members),
        mean={score: statistics.fmean(listed) if listed else None for score, listed in known.items()},
        spread={
            score: statistics.stdev(listed) if len(listed) > 1 else None for score, listed in known.items()
        },
        images_per_second=statistics.median(row.images_per_second for row in members),
    )
