"""What a theme of ablations is: cells that change a base recipe, and claims about the cells; and values that depend on the base."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import SelfTrainingMode
from cascade_core.configs.training_free import without_training
from cascade_core.runtime.listing import by_name

Value = Any | Callable[[RunConfig], Any]
"""The value of an override, or a function that computes it from the base recipe."""

Source = Literal["ZegCLIP", "Cascade-CLIP", "SPT-SEG", "OTSeg", "CAT-Seg", "released code", "here"]
"""Who makes a claim; "here" asks what neither paper says."""


@dataclass(frozen=True)
class Cell:
    """One setting of a theme: a name for recipes, a label for people, and the overrides of the base recipe.

    With a `mode` it is a self-training in that mode: the changes are made for it alone, and it starts from the base's training.
    """

    name: str
    label: str
    changes: Mapping[str, Value] = field(default_factory=dict)
    mode: SelfTrainingMode | None = None


LAST_MAP: dict[str, Value] = {"model.fusion": "none", "model.groups": []}
"""The last map alone, without Cascade."""
FLOOR = Cell("floor", "NACLIP, without training (the floor)", {**without_training("naclip"), **LAST_MAP})
"""What the same CLIP does without training, on pictures, windows and templates of the base; every theme ends with it."""


@dataclass(frozen=True)
class CellClaim:
    """The claim that one cell has a higher score than another; cells by their names."""

    text: str
    source: Source
    score: str
    better: str
    worse: str


@dataclass(frozen=True)
class Theme:
    """A question of a paper: settings, of which the first is the published one, and claims about them.

    Attributes:
        score: the score by which cells are compared with the first.
        settings: its cells without the floor.
        paper: what the paper or its released code says, in our words, with its figures where they are known.
        fusion: the fusion that the base recipe must have: "none" is ZegCLIP, "cascade" Cascade-CLIP.
        for_choices: whether its scores choose between the cells; then it is scored on validation pictures alone, and knows no unseen class.
    """

    name: str
    title: str
    fusion: Literal["none", "cascade"]
    paper: str
    score: str
    settings: tuple[Cell, ...]
    claims: tuple[CellClaim, ...]
    for_choices: bool = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The settings and, last, the floor."""
        return (*self.settings, FLOOR)

    @property
    def base(self) -> Cell:
        return self.settings[0]

    @property
    def without_self_training(self) -> Cell | None:
        """The cell of the training from which the other cells self-train; None if no cell does."""
        if all(cell.mode is None for cell in self.cells):
            return None
        return next(cell for cell in self.cells if cell.mode is None)

    def cell(self, name: str) -> Cell:
        """Return the cell of this name.

        Raises:
            UserError: there is none; the message lists the cells.
        """
        return by_name(name, {cell.name: cell for cell in self.cells}, kind=f"cell of {self.name}")


def before_last(*groups: Sequence[int]) -> Callable[[RunConfig], Any]:
    """Return groups of middle blocks that are so many blocks before the last one: 1 is the nearest to it."""

    def blocks(base: RunConfig) -> list[list[int]]:
        last = base.model.clip.layers - 1
        return [[last - distance for distance in group] for group in groups]

    return blocks


def times(factor: float) -> Callable[[RunConfig], int]:
    """Return a multiple of the base's number of prompts, at least 1."""
    return lambda base: max(1, round(factor * base.model.num_prompts))


def share_of_blocks(share: float) -> Callable[[RunConfig], int]:
    """Return the first blocks that make up a share of all, at least 1."""
    return lambda base: max(1, round(share * base.model.clip.layers))
