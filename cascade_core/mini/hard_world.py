"""The worlds of the benchmark mini-hard: crowded scenes of 128 pixels with thin things, background and void borders."""

from dataclasses import replace

import numpy as np

from cascade_core.configs.backbones import MINI_HARD_CLIP
from cascade_core.datasets.mini import TEMPLATES
from cascade_core.datasets.mini_hard import CLASSES, UNSEEN
from cascade_core.mini.captions import CAPTION_WORDS
from cascade_core.mini.hard_vocabulary import APPEARANCE, PALETTES, THIN
from cascade_core.mini.rendering import DRAWING, PHOTOGRAPH
from cascade_core.mini.world import (
    NOTHING,
    ImageSet,
    Plan,
    World,
    different,
    float32,
    join,
    one_thing,
    windows,
)

MAX_STUFFS, MAX_BLOBS, MAX_THIN = 2, 5, 2
BACKDROP_SHARE = 0.75
"""Share of pictures whose lowest layer is a backdrop, which no class names."""


def plan_scenes(world: World, rng: np.random.Generator, count: int) -> Plan:
    """Plan scenes: a backdrop or stuff, perhaps another stuff, 2 to 5 blobs and 1 or 2 thin things over them."""
    cells = np.argsort(rng.random((count, 9)), axis=1)[:, : MAX_BLOBS + MAX_THIN]
    middles = (np.stack([cells % 3, cells // 3], -1) + 0.5) * world.scene_size / 3
    radii = [rng.uniform(13, 25, (count, MAX_BLOBS)), rng.uniform(26, 46, (count, MAX_THIN))]
    stuffs = different(rng, world.stuff_ids, rng.integers(1, MAX_STUFFS + 1, count), MAX_STUFFS)
    stuffs[:, 0] = _ground(world, rng, stuffs[:, 0])
    things = [
        different(rng, _blob_ids(world), rng.integers(2, MAX_BLOBS + 1, count), MAX_BLOBS),
        different(rng, _thin_ids(world), rng.integers(1, MAX_THIN + 1, count), MAX_THIN),
    ]
    return Plan(
        world=world,
        stuffs=stuffs,
        things=np.concatenate(things, axis=1),
        centres=float32(middles + rng.uniform(-9, 9, middles.shape)),
        radii=float32(np.concatenate(radii, axis=1)),
        window=float32(np.tile([0.0, 0.0, world.scene_size], (count, 1))),
    )


def plan_crops(world: World, rng: np.random.Generator, count: int) -> Plan:
    """Plan windows of 44 to 60 pixels at random places of scenes."""
    return windows(world, rng, count, 44.0, 60.0)


def plan_wide_crops(world: World, rng: np.random.Generator, count: int) -> Plan:
    """Plan windows of 80 to 100 pixels into scenes, about half of each, for one half; single things and close-ups for the rest."""
    wide, num_objects = count // 2, count // 4
    plan = windows(world, rng, wide, 80.0, 100.0)
    objects = plan_objects(world, rng, num_objects)
    return join([plan, objects, plan_close_ups(world, rng, count - wide - num_objects)])


def plan_objects(world: World, rng: np.random.Generator, count: int) -> Plan:
    """Plan pictures of one thing on one ground, near the centre of a window of about 50 pixels."""
    things = rng.choice(world.thing_ids, count)
    grounds = _ground(world, rng, rng.choice(world.stuff_ids, count))
    side, shift = rng.uniform(40, 58, count), rng.uniform(-5, 5, (count, 2))
    thin = np.isin(things, _thin_ids(world))[:, None]
    radii = np.where(thin, rng.uniform(20, 34, (count, 1)), rng.uniform(13, 24, (count, 1)))
    return one_thing(world, things, grounds, side, shift, radii=radii)


def plan_close_ups(world: World, rng: np.random.Generator, count: int) -> Plan:
    """Plan windows that a single material fills; thin things are none of them."""
    ids = rng.choice(np.concatenate([_blob_ids(world), world.stuff_ids, world.backdrop_ids]), count)
    is_thing = np.isin(ids, world.thing_ids)
    things = np.where(is_thing, ids, NOTHING)
    grounds = np.where(is_thing, rng.choice(world.stuff_ids, count), ids)
    side, shift = rng.uniform(36, 58, count), rng.uniform(-14, 14, (count, 2))
    radii = np.full((count, 1), 4.0 * world.scene_size)
    return one_thing(world, things, grounds, side, shift, radii=radii)


def _blob_ids(world: World) -> np.ndarray:
    return world.thing_ids[~np.isin(world.thing_ids, _thin_ids(world))]


def _thin_ids(world: World) -> np.ndarray:
    return world.ids([name for name, look in world.appearance.items() if look.outline in world.thin])


def _ground(world: World, rng: np.random.Generator, stuffs: np.ndarray) -> np.ndarray:
    """Put a backdrop in the place of most stuffs."""
    is_backdrop = rng.random(len(stuffs)) < BACKDROP_SHARE
    return np.where(is_backdrop, rng.choice(world.backdrop_ids, len(stuffs)), stuffs)


HARD_WORLD = World(
    name="hard",
    classes=CLASSES,
    unseen=UNSEEN,
    templates=TEMPLATES,
    appearance=APPEARANCE,
    palettes=PALETTES,
    caption_words=CAPTION_WORDS,
    clip=MINI_HARD_CLIP,
    scene_size=128,
    crop_size=48,
    max_stuffs=MAX_STUFFS,
    max_things=MAX_BLOBS + MAX_THIN,
    scenes=plan_scenes,
    crops=plan_crops,
    objects=plan_objects,
    close_ups=plan_close_ups,
    rendering=PHOTOGRAPH,
    image_sets={"train": ImageSet(1000, 2), "val": ImageSet(200, 3), "test": ImageSet(400, 4)},
    smallest_share=0.03,
    smallest_thin_share=0.012,
    thin=THIN,
    void_border=1,
    hashes={0: "4efd4c8ddad569fba1f9f49b69d9afec19bd30c8067107a1e5050f136512fde6"},
)
DRAWN_WORLD = replace(
    HARD_WORLD,
    name="hard-drawn",
    rendering=DRAWING,
    image_sets={"val": ImageSet(200, 5), "test": ImageSet(400, 6)},
    hashes={0: "a454b256db5a65048d076f895a00eecc4c6a1b4b5d817c47bc559c9b7049a10d"},
)
"""The twin for evaluation on another data set: the same words and outlines, drawn in ink and pale colours."""
