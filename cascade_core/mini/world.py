"""The description of a synthetic world: its classes and their looks, its sizes, and the plan of a batch of pictures.

`mini_world` and `hard_world` describe worlds, `paint` renders their plans. All randomness comes from the generator
passed in, so that a seed decides every pixel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int, UInt8

from cascade_core.clip.tokenizers import WordTokenizer
from cascade_core.configs.model import ClipConfig
from cascade_core.mini.rendering import Rendering

NOTHING = -1

Images = UInt8[np.ndarray, "pictures height width 3"]
Labels = UInt8[np.ndarray, "pictures height width"]
Palette = tuple[tuple[int, int, int], tuple[int, int, int]]
Planner = Callable[["World", np.random.Generator, int], "Plan"]


@dataclass(frozen=True)
class Appearance:
    """Names of a material's palette, pattern and, for things only, outline."""

    palette: str
    pattern: str
    outline: str | None = None


@dataclass(frozen=True)
class ImageSet:
    """A list of pictures: their number, and the first number of their seeds; `pretrain` uses 0 and 1."""

    size: int
    stream: int


@dataclass(frozen=True, eq=False)
class World:
    """A synthetic world, and the benchmark that is drawn of it.

    Attributes:
        appearance: the looks of the classes, in the order of label ids, and then of backdrops: materials that captions
            name and the label set does not, so that their pixels are background.
        palettes: each palette's figure colour and ground colour (RGB, 0 to 255).
        smallest_share: share of a picture that a material must cover to be in view of captions.
        smallest_thin_share: the same for things of one of the outlines in `thin`.
        void_border: width in pixels of the ignored border on either side of a thing's rim.
        hashes: by seed, the SHA-256 of the whole benchmark on disk.
    """

    name: str
    classes: tuple[str, ...]
    unseen: tuple[str, ...]
    templates: tuple[str, ...]
    appearance: Mapping[str, Appearance]
    palettes: Mapping[str, Palette]
    caption_words: tuple[str, ...]
    clip: ClipConfig
    scene_size: int  # side of a scene in pixels
    crop_size: int  # side of the smaller pictures of pretraining
    max_stuffs: int
    max_things: int
    scenes: Planner
    crops: Planner
    objects: Planner
    close_ups: Planner
    rendering: Rendering
    image_sets: Mapping[str, ImageSet]
    smallest_share: float
    smallest_thin_share: float
    thin: tuple[str, ...] = ()
    void_border: int = 0
    hashes: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert tuple(self.appearance)[: len(self.classes)] == self.classes, (
            "looks have the order of label ids"
        )

    @cached_property
    def materials(self) -> tuple[str, ...]:
        """The classes and backdrops; the position of a name is its id in `Pictures.labels`."""
        return tuple(self.appearance)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of pictures of each image set."""
        return {name: image_set.size for name, image_set in self.image_sets.items()}

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words of captions."""
        return self.caption_words + self.materials

    @cached_property
    def things(self) -> tuple[str, ...]:
        """The classes that have an outline."""
        return tuple(name for name, look in self.appearance.items() if look.outline is not None)

    @cached_property
    def thing_ids(self) -> Int[np.ndarray, " things"]:
        return self.ids(self.things)

    @cached_property
    def stuff_ids(self) -> Int[np.ndarray, " stuffs"]:
        return self.ids([name for name in self.classes if name not in self.things])

    @cached_property
    def backdrop_ids(self) -> Int[np.ndarray, " backdrops"]:
        return np.arange(len(self.classes), len(self.materials))

    @cached_property
    def colours(self) -> Float32[np.ndarray, "materials 2 3"]:
        """Figure and ground colour of every material."""
        return np.array([self.palettes[look.palette] for look in self.appearance.values()], np.float32)

    @cached_property
    def smallest_shares(self) -> np.ndarray:
        """Share of a picture that each material must cover to be in view."""
        return np.array(
            [
                self.smallest_thin_share if look.outline in self.thin else self.smallest_share
                for look in self.appearance.values()
            ]
        )

    @cached_property
    def tokenizer(self) -> WordTokenizer:
        """The tokenizer of the world's CLIP."""
        return WordTokenizer(self.words, self.clip.context_length)

    def ids(self, names: Sequence[str]) -> Int[np.ndarray, " names"]:
        """Return the ids of materials."""
        return np.array([self.materials.index(name) for name in names])

    def plan_scenes(self, rng: np.random.Generator, count: int) -> "Plan":
        """Plan whole scenes."""
        return self.scenes(self, rng, count)

    def plan_crops(self, rng: np.random.Generator, count: int) -> "Plan":
        """Plan small windows into scenes."""
        return self.crops(self, rng, count)

    def plan_objects(self, rng: np.random.Generator, count: int) -> "Plan":
        """Plan pictures of one thing on one ground."""
        return self.objects(self, rng, count)

    def plan_close_ups(self, rng: np.random.Generator, count: int) -> "Plan":
        """Plan windows that a single material fills."""
        return self.close_ups(self, rng, count)


@dataclass(frozen=True)
class Plan:
    """The layers of a batch of pictures of a world: ids of materials, or `NOTHING` for an absent layer.

    Lengths are in scene pixels. `window` is the viewed square: left, top and side.
    """

    world: World
    stuffs: Int[np.ndarray, "pictures stuffs"]
    things: Int[np.ndarray, "pictures things"]
    centres: Float32[np.ndarray, "pictures things 2"]
    radii: Float32[np.ndarray, "pictures things"]
    window: Float32[np.ndarray, "pictures 3"]

    def __len__(self) -> int:
        return len(self.stuffs)


@dataclass(frozen=True)
class Pictures:
    """RGB images, and the material's id (position in `World.materials`) of every pixel."""

    images: Images
    labels: Labels


def one_thing(
    world: World,
    things: Int[np.ndarray, " pictures"],
    stuffs: Int[np.ndarray, " pictures"],
    side: np.ndarray,
    shift: np.ndarray,
    *,
    radii: np.ndarray,
) -> Plan:
    """Plan one thing at the centre of one stuff per picture, in windows shifted from the centre."""
    corner = world.scene_size / 2 - side[:, None] / 2 + shift
    stuff_layers, thing_layers = (
        np.pad(ids[:, None], ((0, 0), (0, most - 1)), constant_values=NOTHING)
        for ids, most in ((stuffs, world.max_stuffs), (things, world.max_things))
    )
    return Plan(
        world=world,
        stuffs=stuff_layers,
        things=thing_layers,
        centres=float32(np.full((len(side), world.max_things, 2), world.scene_size / 2)),
        radii=float32(np.repeat(radii, world.max_things, 1)),
        window=float32(np.column_stack([corner, side])),
    )


def windows(world: World, rng: np.random.Generator, count: int, smallest: float, largest: float) -> Plan:
    """Plan square windows, with sides between two lengths, at random places of whole scenes."""
    plan = world.plan_scenes(rng, count)
    side = rng.uniform(smallest, largest, count)
    corner = rng.uniform(0, 1, (count, 2)) * (world.scene_size - side)[:, None]
    return replace(plan, window=float32(np.column_stack([corner, side])))


def join(plans: list[Plan]) -> Plan:
    """Concatenate plans of one world."""
    names = [one.name for one in fields(Plan) if one.name != "world"]
    return Plan(plans[0].world, *(np.concatenate([getattr(plan, name) for plan in plans]) for name in names))


def different(rng: np.random.Generator, ids: np.ndarray, how_many: np.ndarray, most: int) -> np.ndarray:
    """Draw `how_many` different ids per row; the rest of the `most` columns is `NOTHING`."""
    shuffled = ids[np.argsort(rng.random((len(how_many), len(ids))), axis=1)[:, :most]]
    return np.where(np.arange(most) < how_many[:, None], shuffled, NOTHING)


def float32(array: np.ndarray) -> np.ndarray:
    """Return the array in single precision, in which pictures are painted."""
    return array.astype(np.float32)
