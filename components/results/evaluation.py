"""One row of results, as the evaluate step writes it into `scores.json`."""

from dataclasses import dataclass
from typing import Literal

Control = Literal["words", "random_tower"]
"""Negative controls of an evaluation: a model that reads its words, or CLIP's tower, must lose by them."""
SCORE_TITLES = {"pAcc": "pAcc", "miou_seen": "mIoU(S)", "miou_unseen": "mIoU(U)", "hiou": "hIoU"}


@dataclass(frozen=True)
class Evaluation:
    """One row of results: what was evaluated, how, and its scores as fractions (None: nothing to average).

    Unless `background` is "dropped", background is a class like any other, which counts as seen.
    """

    method: str
    setting: str
    split: str
    protocol: str
    seed: int
    pAcc: float | None
    miou_seen: float | None
    miou_unseen: float | None
    hiou: float | None
    seen_penalty: float
    background: str
    num_pictures: int
    data_hash: str

    @property
    def scores(self) -> dict[str, float]:
        """The scores that are defined, by name."""
        return {name: value for name in SCORE_TITLES if (value := getattr(self, name)) is not None}

    def show(self) -> None:
        """Print the row in percent."""
        percent = {name: f"{100 * value:.1f}" for name, value in self.scores.items()}
        listed = " | ".join(f"{title} {percent.get(name, '-')}" for name, title in SCORE_TITLES.items())
        policy = "" if self.background == "dropped" else f", background by {self.background}"
        print(f"{self.method} {self.setting} on {self.split} of {self.protocol}{policy}: {listed}")
