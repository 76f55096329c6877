"""The stages of the tiny CLIPs' pretrainings: which pictures and captions are drawn, and the schedules.

The mini benchmark's first stage mixes windows into scenes, single things, and close-ups that one material fills; small
windows and close-ups teach patch vectors, not only whole pictures, to separate patterns. Two later stages use the picture
size of segmentation, as CLIP's own training ended at a higher resolution, and captions that name a part of the classes.
Whole scenes teach the global embedding which of several classes are present, which the relationship descriptor
needs. The last stage mixes scenes with single things and close-ups, to separate classes that share their colours.
"""

from dataclasses import dataclass

import numpy as np

from cascade_core.mini.captions import caption, names_in_view, random_part
from cascade_core.mini.hard_world import DRAWN_WORLD, HARD_WORLD, plan_wide_crops
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.paint import render
from cascade_core.mini.world import Pictures, Plan, Planner, World, join

TWIN_SHARE = 0.2
"""Share of a batch in the other rendering, so that a CLIP knows drawings as real ones do; segmentors train on photographs."""


@dataclass(frozen=True)
class Stage:
    """A part of the pretraining: its pictures, their captions, and the schedule."""

    world: World
    name: str
    stream: int  # third number of the seeds
    plan: Planner
    size: int  # side of the pictures, in pixels
    name_all: bool  # whether captions name all materials in view, or a random part of them
    steps: int
    batch_size: int
    lr: float  # the highest learning rate
    twin: World | None = None  # another rendering, of `TWIN_SHARE` of the pictures

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Pictures, list[str]]:
        """Draw `count` pictures and a caption of each."""
        pictures = self._render(rng, count)
        names = names_in_view(self.world, pictures.labels)
        if not self.name_all:
            names = [random_part(rng, in_view) for in_view in names]
        return pictures, [caption(self.world, rng, mentioned) for mentioned in names]

    def _render(self, rng: np.random.Generator, count: int) -> Pictures:
        if self.twin is None:
            return render(rng, self.plan(self.world, rng, count), size=self.size)
        of_twin = round(TWIN_SHARE * count)
        parts = [
            render(rng, self.plan(world, rng, part), size=self.size)
            for world, part in ((self.world, count - of_twin), (self.twin, of_twin))
        ]
        return Pictures(
            np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])
        )


def plan_mixture(world: World, rng: np.random.Generator, count: int) -> Plan:
    """Plan two fifths windows into scenes, a quarter single things, and close-ups for the rest."""
    return _with_things(world, rng, world.plan_crops(rng, round(0.4 * count)), round(0.25 * count), count)


def plan_scenes_and_things(world: World, rng: np.random.Generator, count: int) -> Plan:
    """Plan one half scenes, a quarter single things, and close-ups for the rest."""
    return _with_things(world, rng, world.plan_scenes(rng, count // 2), count // 4, count)


def _with_things(world: World, rng: np.random.Generator, plan: Plan, num_objects: int, count: int) -> Plan:
    objects = world.plan_objects(rng, num_objects)
    return join([plan, objects, world.plan_close_ups(rng, count - len(plan) - num_objects)])


MINI_STAGES = (
    Stage(MINI_WORLD, "crops", 0, plan_mixture, 40, True, 2400, 96, 2e-3),
    Stage(MINI_WORLD, "scenes", 1, World.plan_scenes, 64, False, 800, 64, 1e-3),
    Stage(MINI_WORLD, "scenes and things", 2, plan_scenes_and_things, 64, False, 3000, 64, 1e-3),
)
"""The stages that made the shipped weights of the mini benchmark's CLIP."""

HARD_STAGES = (
    Stage(HARD_WORLD, "crops", 0, plan_mixture, 48, True, 900, 64, 1.5e-3, DRAWN_WORLD),
    Stage(HARD_WORLD, "wide crops and things", 1, plan_wide_crops, 88, False, 450, 32, 1e-3, DRAWN_WORLD),
)
"""The stages that made the shipped weights of mini-hard's CLIP."""

STAGES = {MINI_WORLD.name: MINI_STAGES, HARD_WORLD.name: HARD_STAGES}
"""The pretraining of each world that has a CLIP of its own."""
