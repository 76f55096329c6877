"""Parameters that several steps share, each stated here once."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cascade_core.labels.background import Background, parse_background
from cascade_core.runtime.option_texts import numbers, pairs
from components.contract.parameters import Folder, Option, Output, Place, Settings


def by_split(flag: str, *, form: str, example: str) -> dict[str, Any]:
    """Give the fields of a repeatable option that takes a value for each split, in a form such as SPLIT=LIST."""
    return {
        "flag": flag,
        "metavar": form,
        "parse": lambda items: pairs(flag, items, form=form, example=example),
        "texts": lambda values: [f"{split}={value}" for split, value in values.items()],
        "repeatable": True,
    }


def whole_numbers(flag: str) -> dict[str, Any]:
    """Give the fields of an option that takes whole numbers by commas, such as 0,1,2."""
    return {
        "flag": flag,
        "parse": lambda text: numbers(flag, text, int, example="0,1,2"),
        "texts": lambda given: [",".join(map(str, given))],
    }


def comma_separated(flag: str) -> dict[str, Any]:
    """Give the fields of an option that takes texts by commas, such as sky,wall."""

    def parse(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    return {"flag": flag, "parse": parse, "texts": lambda parts: [",".join(parts)] if parts else []}


def names_by_commas(text: str) -> tuple[str, ...]:
    """Give class names; one with a comma stands in double quotes."""
    return tuple(next(csv.reader([text], skipinitialspace=True), []))


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
Device = Annotated[str | None, Option("cpu or cuda; a GPU where there is one if left out.")]
Seed = Annotated[int, Option("Decides every random draw.")]
Resume = Annotated[bool, Option("Go on from an interrupted run's last checkpoint.", unrecorded=True)]
ImageSets = Annotated[
    Mapping[str, str],
    Option(
        "Image lists of a split, joined by '+'; repeatable.",
        **by_split("--image-set", form="SPLIT=LISTS", example="train=train+aug"),
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
