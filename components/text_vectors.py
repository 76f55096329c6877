"""Step: one unit vector per class name, from CLIP's text tower or from a file of ready ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from cascade_core.clip.order import check_shape
from cascade_core.clip.text import class_vectors
from cascade_core.clip.weights import load_clip
from cascade_core.files import new_folder, read_json, write_json
from cascade_core.labelsets import ClassSplit
from cascade_core.labelsets import protocol as named_protocol
from components.artifacts import write_manifest

log = logging.getLogger(__name__)

VECTORS_FILE, NAMES_FILE, KEY = "class_vectors.safetensors", "names.json", "class_vectors"


@dataclass(frozen=True)
class TextVectors:
    """Where the vectors lie, and their number and width."""

    path: Path
    num_classes: int
    embed_dim: int


def run(
    *,
    protocol: str,
    templates: Sequence[str],
    out: Path,
    clip: Path | None = None,
    vectors: Path | None = None,
) -> TextVectors:
    """Write `class_vectors.safetensors` (float32, a unit row per class) and `names.json` into `out`.

    They come from the text tower of the CLIP folder `clip` with the names put into `templates`, or from
    `vectors`, a .npy file of ready ones in the protocol's class order, which `templates` then only describe.

    Raises:
        ValueError: both or neither source is given, a file is missing or broken, or the vectors do not fit
            the classes.
    """
    split = named_protocol(protocol)
    match clip, vectors:
        case Path(), None:
            model, tokenizer = load_clip(clip)
            rows, inputs = class_vectors(model.text, tokenizer, split.classes, templates), {"clip": clip}
        case None, Path():
            rows, inputs = read_vectors(vectors, split.classes), {"vectors": vectors}
        case _:
            raise ValueError(
                "text vectors come from a CLIP folder or from a .npy file: give exactly one of them"
            )
    with new_folder(out) as folder:
        save_file({KEY: rows.contiguous()}, folder / VECTORS_FILE)
        write_json(folder / NAMES_FILE, list(split.classes))
        write_manifest(
            folder,
            step="text_vectors",
            inputs=inputs,
            parameters={"protocol": protocol, "templates": list(templates)},
        )
    log.info("text vectors of %d classes, %d wide", *rows.shape)
    return TextVectors(out / VECTORS_FILE, *rows.shape)


def read_class_vectors(text: Path, split: ClassSplit) -> Float[Tensor, "classes embed"]:
    """Read the vectors of a text-vectors step, checked against the classes of `split`.

    Raises:
        ValueError: a file is missing or broken, or names or number differ from the split's classes.
    """
    names = read_json(text / NAMES_FILE)
    if names != list(split.classes):
        raise ValueError(
            f"{text / NAMES_FILE}: {len(names)} names differ from the {split.num_classes} classes of "
            f"{split.name!r} (number or order); run the text-vectors step for this protocol"
        )
    path = text / VECTORS_FILE
    try:
        rows = load_file(path)[KEY].float()
    except Exception as error:
        raise ValueError(f"{path}: cannot be read ({error}); run the text-vectors step again") from error
    if rows.ndim != 2 or len(rows) != split.num_classes:
        raise ValueError(
            f"{path}: shape {tuple(rows.shape)}, expected a row for each of the {split.num_classes} classes of "
            f"{split.name!r}; run the text-vectors step again"
        )
    check_shape(rows, split.classes, str(path))
    return rows


def read_vectors(path: Path, classes: Sequence[str]) -> Float[Tensor, "classes embed"]:
    """Read ready vectors (.npy, a row for each of `classes`) as they are, in float32.

    The authors' float16 files are of unit length only to about 5e-4 and are not normalised again, as published.

    Raises:
        ValueError: the file is missing or no .npy, or does not hold a unit vector for each class.
    """
    if not path.is_file():
        raise ValueError(f"text vectors {path} do not exist; give a .npy file, or a CLIP folder to make them")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"text vectors {path} cannot be read as .npy: {error}") from error
    if array.ndim != 2 or len(array) != len(classes):
        raise ValueError(
            f"text vectors {path} have shape {array.shape}; {len(classes)} rows are needed, one for each class in its order"
        )
    rows = torch.from_numpy(array.astype(np.float32))
    check_shape(rows, classes, f"text vectors {path}")
    return rows
