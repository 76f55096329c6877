"""The synthetic world: batches of scenes with irregular things on stuffs, and the label of every pixel.

A plan holds classes, places and the viewed window; `render` paints it. All randomness comes from the generator
passed in, so that a seed decides every pixel.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float32, Int, UInt8

from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.datasets.mini import CLASSES
from cascade_core.mini.textures import NUM_DRAWS, Draws, Field, PerPicture, outline, pattern
from cascade_core.mini.vocabulary import APPEARANCE, PALETTES, STUFFS, THINGS

SCENE_SIZE = 64
CROP_SIZE = MINI_CLIP.image_size
MAX_STUFFS, MAX_THINGS = 2, 3
NOTHING = -1

Images = UInt8[np.ndarray, "pictures height width 3"]
Labels = UInt8[np.ndarray, "pictures height width"]
Colours = Float32[np.ndarray, "pictures height width 3"]

_STUFF_IDS = np.array([CLASSES.index(name) for name in STUFFS])
_THING_IDS = np.array([CLASSES.index(name) for name in THINGS])


@dataclass(frozen=True)
class Plan:
    """The layers of a batch of pictures: label ids, or `NOTHING` for an absent layer.

    Lengths are in scene pixels. `window` is the viewed square: left, top and side.
    """

    stuffs: Int[np.ndarray, "pictures 2"]
    things: Int[np.ndarray, "pictures 3"]
    centres: Float32[np.ndarray, "pictures 3 2"]
    radii: Float32[np.ndarray, "pictures 3"]
    window: Float32[np.ndarray, "pictures 3"]

    def __len__(self) -> int:
        return len(self.stuffs)


@dataclass(frozen=True)
class Pictures:
    """RGB images, and the label id (position in `CLASSES`) of every pixel."""

    images: Images
    labels: Labels


def plan_scenes(rng: np.random.Generator, count: int) -> Plan:
    """Plan whole scenes: 1 or 2 stuffs, and 1 to 3 things of different classes around the centre."""
    num_things = rng.integers(1, MAX_THINGS + 1, count)
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.arange(MAX_THINGS) * (2 * np.pi / num_things[:, None])
    angle = angle + rng.uniform(-0.35, 0.35, (count, MAX_THINGS))
    from_middle = np.where(num_things[:, None] == 1, rng.uniform(0, 12, (count, 1)), 0.0)
    from_middle = np.where(num_things[:, None] > 1, rng.uniform(14, 21, (count, MAX_THINGS)), from_middle)
    smallest = np.array([15.0, 13.0, 10.5])[num_things - 1][:, None]
    return Plan(
        stuffs=_different(rng, _STUFF_IDS, rng.integers(1, MAX_STUFFS + 1, count), MAX_STUFFS),
        things=_different(rng, _THING_IDS, num_things, MAX_THINGS),
        centres=_float32(
            SCENE_SIZE / 2 + from_middle[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        ),
        radii=_float32(smallest * rng.uniform(1, 1.6, (count, MAX_THINGS))),
        window=_float32(np.tile([0.0, 0.0, SCENE_SIZE], (count, 1))),
    )


def plan_crops(rng: np.random.Generator, count: int) -> Plan:
    """Plan windows of 36 to 46 pixels at random places of whole scenes."""
    plan = plan_scenes(rng, count)
    side = rng.uniform(36, 46, count)
    corner = rng.uniform(0, 1, (count, 2)) * (SCENE_SIZE - side)[:, None]
    return replace(plan, window=_float32(np.column_stack([corner, side])))


def plan_objects(rng: np.random.Generator, count: int) -> Plan:
    """Plan pictures of one thing on one stuff, near the centre of a window of about 40 pixels."""
    things, stuffs = rng.choice(_THING_IDS, count), rng.choice(_STUFF_IDS, count)
    side = rng.uniform(34, 46, count)
    shift = rng.uniform(-4, 4, (count, 2))
    return _one_thing(things, stuffs, side, shift, radii=rng.uniform(11, 19, (count, 1)))


def plan_close_ups(rng: np.random.Generator, count: int) -> Plan:
    """Plan windows that a single class, thing or stuff, fills."""
    ids = rng.integers(0, len(CLASSES), count)
    is_thing = np.isin(ids, _THING_IDS)
    things, stuffs = np.where(is_thing, ids, NOTHING), np.where(is_thing, rng.choice(_STUFF_IDS, count), ids)
    side = rng.uniform(30, 46, count)
    shift = rng.uniform(-14, 14, (count, 2))
    return _one_thing(things, stuffs, side, shift, radii=np.full((count, 1), 4 * SCENE_SIZE))


def _one_thing(
    things: np.ndarray, stuffs: np.ndarray, side: np.ndarray, shift: np.ndarray, *, radii: np.ndarray
) -> Plan:
    """Plan one thing at the centre of one stuff per picture, in windows shifted from the centre."""
    corner = SCENE_SIZE / 2 - side[:, None] / 2 + shift
    stuff_layers, thing_layers = (
        np.pad(ids[:, None], ((0, 0), (0, most - 1)), constant_values=NOTHING)
        for ids, most in ((stuffs, MAX_STUFFS), (things, MAX_THINGS))
    )
    return Plan(
        stuffs=stuff_layers,
        things=thing_layers,
        centres=_float32(np.full((len(side), MAX_THINGS, 2), SCENE_SIZE / 2)),
        radii=_float32(np.repeat(radii, MAX_THINGS, 1)),
        window=_float32(np.column_stack([corner, side])),
    )


def join(plans: list[Plan]) -> Plan:
    """Concatenate plans."""
    names = [field.name for field in fields(Plan)]
    return Plan(*(np.concatenate([getattr(plan, name) for plan in plans]) for name in names))


def render(rng: np.random.Generator, plan: Plan, *, size: int) -> Pictures:
    """Paint a plan at `size` x `size` pixels, with random colours, scales, rotations, shores, light and noise."""
    count = len(plan)
    step = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = plan.window[:, 0, None, None] + plan.window[:, 2, None, None] * step[None, None, :]
    y = plan.window[:, 1, None, None] + plan.window[:, 2, None, None] * step[None, :, None]
    x, y = np.broadcast_arrays(x, y)
    image = np.zeros((count, size, size, 3), np.float32)
    labels = np.zeros((count, size, size), np.uint8)
    for layer in range(MAX_STUFFS):
        cover = np.ones((count, size, size), np.float32) if layer == 0 else _shore(rng, x, y)
        _paint(rng, image, labels, plan.stuffs[:, layer], x - SCENE_SIZE / 2, y - SCENE_SIZE / 2, cover)
    for layer in range(MAX_THINGS):
        from_x = x - plan.centres[:, layer, 0, None, None]
        from_y = y - plan.centres[:, layer, 1, None, None]
        rotated = _rotate(rng, from_x, from_y)
        cover = _blobs(rng, plan.things[:, layer], *rotated, plan.radii[:, layer, None, None])
        _paint(rng, image, labels, plan.things[:, layer], *rotated, cover)
    return Pictures(images=_light(rng, image, x, y), labels=labels)


def _different(rng: np.random.Generator, ids: np.ndarray, how_many: np.ndarray, most: int) -> np.ndarray:
    """Draw `how_many` different ids per row; the rest of the `most` columns is `NOTHING`."""
    shuffled = ids[np.argsort(rng.random((len(how_many), len(ids))), axis=1)[:, :most]]
    return np.where(np.arange(most) < how_many[:, None], shuffled, NOTHING)


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


def _draws(rng: np.random.Generator, count: int) -> Draws:
    return rng.random((NUM_DRAWS, count, 1, 1), dtype=np.float32)


def _rotate(rng: np.random.Generator, x: Field, y: Field) -> tuple[Field, Field]:
    angle = _float32(2 * np.pi * rng.random((len(x), 1, 1)))
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _shore(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Return the cover of one side of a wavy line through the scene."""
    u, v = _rotate(rng, x - SCENE_SIZE / 2, y - SCENE_SIZE / 2)
    offset, swing, phase, wavelength = _draws(rng, len(x))
    wave = (1 + 4 * swing) * np.sin(2 * np.pi * (u / (28 + 20 * wavelength) + phase))
    return np.clip(v - 24 * (offset - 0.5) - wave + 0.5, 0, 1)


def _blobs(rng: np.random.Generator, ids: np.ndarray, x: Field, y: Field, radii: PerPicture) -> Field:
    """Return the cover of irregular blobs with their classes' outlines and rims of about a pixel."""
    draws = _draws(rng, len(ids))
    cover = np.zeros_like(x)
    for name, rows in _rows_by(ids, "outline").items():
        inside = outline(name, x[rows] / radii[rows], y[rows] / radii[rows], draws[:, rows])
        cover[rows] = np.clip(inside * radii[rows] + 0.5, 0, 1)
    return cover


def _paint(
    rng: np.random.Generator,
    image: Colours,
    labels: Labels,
    ids: Int[np.ndarray, " pictures"],
    x: Field,
    y: Field,
    cover: Field,
) -> None:
    """Paint one class per picture over image and labels, in place; rows whose id is `NOTHING` stay."""
    count = len(ids)
    u, v = _rotate(rng, x, y)
    scale = _float32(rng.uniform(0.85, 1.18, (count, 1, 1)))
    draws = _draws(rng, count)
    tints = _float32(rng.normal(0, 11, (count, 2, 3)))
    for name, rows in _rows_by(ids, "pattern").items():
        along_u, along_v = (x, y) if name == "rings" else (u, v)
        share = pattern(name, along_u[rows] / scale[rows], along_v[rows] / scale[rows], draws[:, rows])
        colours = _COLOURS[ids[rows]] + tints[rows]
        ground, figure = colours[:, None, None, 1], colours[:, None, None, 0]
        painted = ground + share[..., None] * (figure - ground)
        image[rows] += cover[rows][..., None] * (painted - image[rows])
        labels[rows] = np.where(cover[rows] >= 0.5, ids[rows][:, None, None], labels[rows])


def _rows_by(ids: np.ndarray, attribute: str) -> dict[str, np.ndarray]:
    """Group the rows whose id is not `NOTHING` by their class's pattern or outline."""
    looks = [APPEARANCE[CLASSES[index]] if index != NOTHING else None for index in ids]
    names = np.array([getattr(look, attribute) if look else "" for look in looks])
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names) if name}


def _light(rng: np.random.Generator, image: Colours, x: Field, y: Field) -> Images:
    """Add shade from one side, random brightness, tint and noise, and round to 0..255."""
    count, size = image.shape[:2]
    slope_x, slope_y = _float32(rng.uniform(-0.2, 0.2, (2, count, 1, 1)))
    shade = 1 + slope_x * (x / SCENE_SIZE - 0.5) + slope_y * (y / SCENE_SIZE - 0.5)
    gain = _float32(rng.normal(1, 0.09, (count, 1, 1, 1)) * rng.normal(1, 0.04, (count, 1, 1, 3)))
    noise = rng.standard_normal((count, size, size, 3), dtype=np.float32)
    strength = _float32(rng.uniform(3, 11, (count, 1, 1, 1)))
    return np.clip(image * shade[..., None] * gain + strength * noise, 0, 255).round().astype(np.uint8)


_COLOURS = np.array([PALETTES[APPEARANCE[name].palette] for name in CLASSES], np.float32)
