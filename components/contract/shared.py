"""Parameters that several steps share, each stated here once."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from cascade_core.errors import UserError
from cascade_core.labels.background import Background, parse_background
from components.contract.parameters import Folder, Option, Output, Place, Settings


def parse_image_sets(items: Iterable[str]) -> dict[str, str]:
    """Give the lists of each split from items like `train=train+aug`.

    Raises:
        UserError: an item is not SPLIT=LISTS, or a split comes twice.
    """
    sets: dict[str, str] = {}
    for item in items:
        split, _, lists = item.partition("=")
        if not (split and lists):
            raise UserError(f"--image-set {item!r} is not SPLIT=LISTS; an example is train=train+aug")
        if split in sets:
            raise UserError(f"--image-set names split {split!r} twice; join lists by '+': train=train+aug")
        sets[split] = lists
    return sets


def image_set_texts(sets: Mapping[str, str]) -> list[str]:
    """Give the items that `parse_image_sets` reads."""
    return [f"{split}={lists}" for split, lists in sets.items()]


def whole_numbers(flag: str) -> dict[str, Any]:
    """Give the fields of an option that takes whole numbers by commas, such as 0,1,2."""

    def parse(text: str) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in text.split(",") if part.strip())
        except ValueError:
            raise UserError(f"{flag} {text!r} are not whole numbers by commas, such as 0,1,2") from None

    return {"flag": flag, "parse": parse, "texts": lambda numbers: [",".join(map(str, numbers))]}


def comma_separated(flag: str) -> dict[str, Any]:
    """Give the fields of an option that takes texts by commas, such as sky,wall."""

    def parse(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    return {"flag": flag, "parse": parse, "texts": lambda parts: [",".join(parts)] if parts else []}


Raw = Annotated[Path, Place("Data set folder, such as one that holds VOCdevkit/VOC2012.")]
ClipFolder = Annotated[Path, Place("CLIP folder.")]
Prepared = Annotated[
    Path,
    Folder(
        "Folder of the prepare step.",
        default="outputs/prepared",
        content=("index.parquet",),
        artifact="Dataset",
    ),
]
SplitsFolder = Annotated[
    Path,
    Folder(
        "Folder of the splits step.", default="outputs/splits", content=("split.json",), artifact="Dataset"
    ),
]
Text = Annotated[
    Path,
    Folder(
        "Folder of the text-vectors step.",
        default="outputs/text",
        content=("class_vectors.safetensors",),
        artifact="Dataset",
    ),
]
Checkpoint = Annotated[
    Path,
    Folder(
        "Checkpoint folder, such as outputs/train/zegclip/final.",
        artifact="Model",
        below="final",
        travels_as="trained",
    ),
]
Out = Annotated[Path, Output()]
Protocol = Annotated[
    str, Option("Label set and unseen classes: a name such as voc12-15-5, or your label file (.yaml).")
]
Recipe = Annotated[str, Option("Complete configuration by name, such as mini_zegclip.")]
Overrides = Annotated[Mapping[str, Any], Settings()]
Seed = Annotated[int, Option("Decides every random draw.")]
Resume = Annotated[bool, Option("Go on from an interrupted run's last checkpoint.", unrecorded=True)]
ImageSets = Annotated[
    Mapping[str, str],
    Option(
        "Image lists of a split, joined by '+'; repeatable.",
        flag="--image-set",
        metavar="SPLIT=LISTS",
        parse=parse_image_sets,
        texts=image_set_texts,
        repeatable=True,
    ),
]
BackgroundPolicy = Annotated[
    Background | None,
    Option(
        "Pixels of no class: dropped, threshold=0.3, or prompts=sky,wall; as trained if left out.",
        metavar="POLICY",
        parse=parse_background,
        texts=lambda policy: [str(policy)],
    ),
]
