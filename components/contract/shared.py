"""Parameters that several steps share."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cascade_core.clip.home import clip_folder
from cascade_core.configs.settings import PrecisionChoice, Synonyms
from cascade_core.errors import UserError
from cascade_core.labels.background import Background, parse_background
from cascade_core.runtime.listing import brief
from cascade_core.runtime.option_texts import numbers, pairs
from components.contract.parameters import Folder, Option, Output, Place, Settings


def by_split(flag: str, *, form: str, example: str) -> dict[str, Any]:
    """Return the fields of a repeatable `Option` that takes one value per split, in a form such as SPLIT=LIST."""
    return {
        "flag": flag,
        "metavar": form,
        "parse": lambda items: pairs(flag, items, form=form, example=example),
        "texts": lambda values: [f"{split}={value}" for split, value in values.items()],
        "repeatable": True,
    }


def whole_numbers(flag: str) -> dict[str, Any]:
    """Return the fields of an `Option` for integers that are separated by commas, such as 0,1,2."""
    return {
        "flag": flag,
        "parse": lambda text: numbers(flag, text, int, example="0,1,2"),
        "texts": lambda values: [",".join(map(str, values))],
    }


def comma_separated(flag: str) -> dict[str, Any]:
    """Return the fields of an `Option` for texts that are separated by commas, such as sky,wall."""

    def parse(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    return {"flag": flag, "parse": parse, "texts": lambda parts: [",".join(parts)] if parts else []}


def names_by_commas(text: str, *, source: str = "--labels") -> tuple[str, ...]:
    """Split class names at commas; a name that contains a comma stands in double quotes.

    `source` names the option or field in errors.

    Raises:
        UserError: a quote is not closed, or the text has several lines.
    """
    try:
        return tuple(next(csv.reader([text], skipinitialspace=True, strict=True), []))
    except csv.Error as error:
        raise UserError(
            f"{source} {brief(text)} is not a list of names separated by commas ({error}); "
            'an example is "zebra, \\"salt, pepper\\""'
        ) from error


Raw = Annotated[Path, Place("Folder of the data set, such as the one that holds VOCdevkit/VOC2012.")]
ClipFolder = Annotated[Path, Place("CLIP folder, or the name of an imported CLIP.", locate=clip_folder)]
Prepared = Annotated[
    Path,
    Folder(
        "Folder of the prepare step.",
        default="outputs/prepared",
        content=("index.parquet",),
        artifact="Dataset",
        made_by="prepare",
    ),
]
SplitsFolder = Annotated[
    Path,
    Folder(
        "Folder of the splits step.",
        default="outputs/splits",
        content=("split.json",),
        artifact="Dataset",
        made_by="splits",
    ),
]
Text = Annotated[
    Path,
    Folder(
        "Folder of the text-vectors step.",
        default="outputs/text",
        content=("class_vectors.safetensors",),
        artifact="Dataset",
        made_by="text-vectors",
    ),
]
Checkpoint = Annotated[
    Path,
    Folder(
        "Checkpoint folder, such as outputs/train/zegclip/final.",
        artifact="Model",
        below="final",
        travels_as="trained",
        made_by="train",
    ),
]
Out = Annotated[Path, Output()]
Protocol = Annotated[
    str,
    Option(
        "Label set and unseen classes: a protocol such as voc12-15-5 (`cascade-clip protocols` lists them), or your label "
        "file (.yaml)."
    ),
]
Recipe = Annotated[
    str,
    Option("Recipe, such as mini_zegclip (`cascade-clip recipes` lists them), or your recipe file (.yaml)."),
]
Overrides = Annotated[Mapping[str, Any], Settings()]
Device = Annotated[str | None, Option("cpu, cuda or mps; if left out, a CUDA GPU if there is one.")]
Seed = Annotated[int, Option("Seed of all random numbers.", minimum=0, maximum=2**63 - 1)]
Processes = Annotated[
    int,
    Option(
        "Processes of this machine that share every batch; torchrun starts several nodes.",
        minimum=1,
        unrecorded=True,
    ),
]
Resume = Annotated[bool, Option("Resume an interrupted run from its last checkpoint.", unrecorded=True)]
ImageSets = Annotated[
    Mapping[str, str],
    Option(
        "Image lists of a split, several joined by '+'; repeatable.",
        **by_split("--image-set", form="SPLIT=LISTS", example="train=train+aug"),
    ),
]
BackgroundPolicy = Annotated[
    Background | None,
    Option(
        "Pixels of no class: dropped, threshold=0.3, prompts=sky,wall, or threshold=0.3,prompts=sky,wall; if left out, as in training.",
        metavar="POLICY",
        parse=parse_background,
        texts=lambda policy: [str(policy)],
    ),
]
PRECISION_HELP = (
    "auto (bf16 where the processor or GPU multiplies such numbers natively), fp32 or bf16; {} if left out."
)
Precision = Annotated[PrecisionChoice | None, Option(PRECISION_HELP.format("the recipe's"))]
SynonymRule = Annotated[
    Synonyms | None,
    Option(
        "Score of a class with synonyms: maximum (of each) or mean (of the vectors); if left out, as in its settings."
    ),
]
