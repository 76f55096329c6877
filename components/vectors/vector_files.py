"""Class vectors in files: one unit vector per class name, with the names in their order."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from cascade_core.clip.order import check_shape
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.runtime.files import read_json, read_text, write_json
from components.artifacts import MANIFEST_FILE, read_step_manifest

log = logging.getLogger(__name__)

VECTORS_FILE, NAMES_FILE, KEY = "class_vectors.safetensors", "names.json", "class_vectors"


def read_names(file: Path) -> tuple[list[str], list[list[str]]]:
    """Read class names, a line each, and their synonyms, which follow on the line behind `|`.

    Raises:
        UserError: the file cannot be read, has no name, or a line has an empty one.
    """
    lines = read_text(file, "names").splitlines()
    classes = [
        (number, [word.strip() for word in line.split("|")])
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not classes:
        raise UserError(f"names {file} has no class name; write one a line, synonyms behind '|'")
    for number, words in classes:
        if "" in words:
            raise UserError(
                f"names {file}, line {number}: an empty name beside '|'; give it, or take '|' away"
            )
    return [words[0] for _, words in classes], [words[1:] for _, words in classes]


def write_class_vectors(folder: Path, rows: Float[Tensor, "classes embed"], names: Sequence[str]) -> None:
    """Write vectors (float32, a unit row per class) and their names into a step's folder."""
    save_file({KEY: rows.contiguous()}, folder / VECTORS_FILE)
    write_json(folder / NAMES_FILE, list(names))
    log.info("text vectors of %d classes, %d wide", *rows.shape)


def read_class_vectors(text: Path, split: ClassSplit) -> Float[Tensor, "classes embed"]:
    """Read the vectors of a text-vectors step, checked against the classes of `split`.

    Raises:
        UserError: a file is missing or broken, or names or number differ from the split's classes.
    """
    names = read_json(text / NAMES_FILE)
    if names != list(split.classes):
        raise UserError(
            f"{text / NAMES_FILE}: {len(names)} names differ from the {split.num_classes} classes of "
            f"{split.name!r} (number or order); run the text-vectors step for this protocol"
        )
    rows = read_rows(text / VECTORS_FILE, KEY)
    check_shape(rows, split.classes, str(text / VECTORS_FILE))
    return rows


def read_rows(path: Path, key: str) -> Float[Tensor, "rows embed"]:
    """Read the vectors that stand under `key` in a safetensors file, in float32.

    Raises:
        UserError: the file is missing or broken, or holds no such vectors.
    """
    try:
        return load_file(path)[key].float()
    except Exception as error:
        raise UserError(f"{path}: cannot be read ({error}); run the text-vectors step again") from error


def check_templates(text: Path, templates: Sequence[str]) -> None:
    """Check that a text-vectors folder was made with the prompt templates of a training.

    A checkpoint names its templates, and prediction makes the vectors of new names with those: a model trained with
    the vectors of others would be asked in words that it does not know. A folder without a record of templates passes.

    Raises:
        UserError: the folder was made with others.
    """
    if not (text / MANIFEST_FILE).is_file():
        return
    made_with = read_step_manifest(text).parameters.get("templates")
    if made_with and list(made_with) != list(templates):
        raise UserError(
            f"{text}: the vectors were made with the templates {_shown(made_with)}, the recipe has {_shown(templates)}; "
            "run the text-vectors step for this recipe, or give the training those: --set data.templates=[...]"
        )


def _shown(templates: Sequence[str]) -> str:
    first = ", ".join(repr(one) for one in templates[:2])
    return first if len(templates) <= 2 else f"{first} and {len(templates) - 2} more"


def read_vectors(path: Path, classes: Sequence[str]) -> Float[Tensor, "classes embed"]:
    """Read ready vectors (.npy, a row for each of `classes`) as they are, in float32.

    The authors' float16 files are of unit length only to about 5e-4 and are not normalised again, as published.

    Raises:
        UserError: the file is missing or no .npy, or does not hold a unit vector for each class.
    """
    if not path.is_file():
        raise UserError(f"text vectors {path} do not exist; give a .npy file, or a CLIP folder to make them")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise UserError(f"text vectors {path} cannot be read as .npy: {error}") from error
    rows = torch.from_numpy(array.astype(np.float32))
    check_shape(rows, classes, f"text vectors {path}")
    return rows
