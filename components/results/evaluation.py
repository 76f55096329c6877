"""The result of an evaluation, as the evaluate step writes it into `scores.json`."""

import math
from dataclasses import dataclass
from typing import Literal

from components.results.names import SCORES

Control = Literal["words", "random_tower"]
"""A negative control spoils an input (class names or CLIP's image tower); a model that uses it scores lower."""


def number_or_none(value: float) -> float | None:
    """Return a score as JSON holds it: None for NaN, which stands for no class or nothing to score."""
    return None if math.isnan(value) else float(value)


@dataclass(frozen=True)
class Evaluation:
    """An evaluated model and data set, with the scores as fractions (None: no class to average over).

    `engine` computed the model's logits: torch, or the engine of an exported graph. `precision` is that of the model's
    arithmetic: "fp32" or "bf16", and of a graph also "int8" or "int8 and bf16". Unless `background` is "dropped",
    background counts as one more seen class. `data_hash` is of the whole data set, `pictures_hash` of the scored pictures
    and their label maps alone.
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
    precision: str
    num_pictures: int
    data_hash: str
    pictures_hash: str
    engine: str = "torch"

    @property
    def scores(self) -> dict[str, float]:
        """The scores that are defined, by name."""
        return {name: value for name in SCORES if (value := getattr(self, name)) is not None}

    def show(self) -> None:
        """Print the scores in percent."""
        percent = {name: f"{100 * value:.1f}" for name, value in self.scores.items()}
        listed = " | ".join(f"{title} {percent.get(name, '-')}" for name, title in SCORES.items())
        policy = "" if self.background == "dropped" else f", background by {self.background}"
        engine = "" if self.engine == "torch" else f", by {self.engine} in {self.precision}"
        print(f"{self.method} {self.setting} on {self.split} of {self.protocol}{policy}{engine}: {listed}")
