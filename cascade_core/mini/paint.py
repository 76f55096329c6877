"""Paints the plan of a batch of pictures: the layers one over another, and the label of every pixel."""

import numpy as np
from jaxtyping import Float32, Int

from cascade_core.mini.textures import NUM_DRAWS, Draws, Field, PerPicture, outline
from cascade_core.mini.world import NOTHING, Labels, Pictures, Plan, World, float32

Colours = Float32[np.ndarray, "pictures height width 3"]


def render(rng: np.random.Generator, plan: Plan, *, size: int) -> Pictures:
    """Paint a plan at `size` x `size` pixels, with random colours, scales, rotations, shores, light and noise."""
    world, count = plan.world, len(plan)
    step = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = plan.window[:, 0, None, None] + plan.window[:, 2, None, None] * step[None, None, :]
    y = plan.window[:, 1, None, None] + plan.window[:, 2, None, None] * step[None, :, None]
    x, y = np.broadcast_arrays(x, y)
    image = np.zeros((count, size, size, 3), np.float32)
    labels = np.zeros((count, size, size), np.uint8)
    for layer in range(world.max_stuffs):
        depth = np.full((count, size, size), np.inf, np.float32) if layer == 0 else _shore(rng, world, x, y)
        from_middle = (x - world.scene_size / 2, y - world.scene_size / 2)
        _paint(rng, world, image, labels, plan.stuffs[:, layer], *from_middle, depth)
    for layer in range(world.max_things):
        from_x = x - plan.centres[:, layer, 0, None, None]
        from_y = y - plan.centres[:, layer, 1, None, None]
        rotated = _rotate(rng, from_x, from_y)
        depth = _things(rng, world, plan.things[:, layer], *rotated, plan.radii[:, layer, None, None])
        _paint(rng, world, image, labels, plan.things[:, layer], *rotated, depth)
    lit = world.rendering.light(rng, image, x / world.scene_size, y / world.scene_size)
    return Pictures(images=lit, labels=labels)


def _draws(rng: np.random.Generator, count: int) -> Draws:
    return rng.random((NUM_DRAWS, count, 1, 1), dtype=np.float32)


def _rotate(rng: np.random.Generator, x: Field, y: Field) -> tuple[Field, Field]:
    angle = float32(2 * np.pi * rng.random((len(x), 1, 1)))
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _shore(rng: np.random.Generator, world: World, x: Field, y: Field) -> Field:
    """Return the distance from a wavy line through the scene, in pixels, positive on one side."""
    u, v = _rotate(rng, x - world.scene_size / 2, y - world.scene_size / 2)
    offset, swing, phase, wavelength = _draws(rng, len(x))
    wave = (1 + 4 * swing) * np.sin(2 * np.pi * (u / (28 + 20 * wavelength) + phase))
    return v - 0.375 * world.scene_size * (offset - 0.5) - wave


def _things(
    rng: np.random.Generator, world: World, ids: np.ndarray, x: Field, y: Field, radii: PerPicture
) -> Field:
    """Return each pixel's depth inside things of their classes' outlines, in pixels, negative outside."""
    draws = _draws(rng, len(ids))
    depth = np.zeros_like(x)
    for name, rows in _rows_by(world, ids, "outline").items():
        inside = outline(name, x[rows] / radii[rows], y[rows] / radii[rows], draws[:, rows])
        depth[rows] = inside * radii[rows]
    return depth


def _paint(
    rng: np.random.Generator,
    world: World,
    image: Colours,
    labels: Labels,
    ids: Int[np.ndarray, " pictures"],
    x: Field,
    y: Field,
    depth: Field,
) -> None:
    """Paint a material per picture over image and labels, in place; rows whose id is `NOTHING` stay.

    Pixels at a positive `depth` are covered, with rims of about a pixel.
    """
    count, rendering = len(ids), world.rendering
    u, v = _rotate(rng, x, y)
    scale = float32(rng.uniform(*rendering.scales, (count, 1, 1)))
    draws = _draws(rng, count)
    tints = float32(rng.normal(0, 11, (count, 2, 3)))
    for name, rows in _rows_by(world, ids, "pattern").items():
        along_u, along_v = (x, y) if name == "rings" else (u, v)
        share = rendering.pattern(
            name, along_u[rows] / scale[rows], along_v[rows] / scale[rows], draws[:, rows]
        )
        colours = world.colours[ids[rows]] + tints[rows]
        if rendering.paper:
            colours += rendering.paper * (255 - colours)
        ground, figure = colours[:, None, None, 1], colours[:, None, None, 0]
        painted = ground + share[..., None] * (figure - ground)
        if rendering.ink:
            painted *= 1 - 0.75 * np.clip(rendering.ink + 0.5 - depth[rows], 0, 1)[..., None]
        cover = np.clip(depth[rows] + 0.5, 0, 1)
        image[rows] += cover[..., None] * (painted - image[rows])
        labels[rows] = np.where(cover >= 0.5, ids[rows][:, None, None], labels[rows])


def _rows_by(world: World, ids: np.ndarray, attribute: str) -> dict[str, np.ndarray]:
    """Group the rows whose id is not `NOTHING` by their material's pattern or outline."""
    looks = [world.appearance[world.materials[index]] if index != NOTHING else None for index in ids]
    names = np.array([(getattr(look, attribute) or "") if look else "" for look in looks])
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names) if name}
