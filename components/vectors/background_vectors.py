"""Text vectors of names that stand for background, kept beside those of the classes in a text-vectors folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json

log = logging.getLogger(__name__)

VECTORS_FILE, NAMES_FILE, KEY = (
    "background_vectors.safetensors",
    "background_names.json",
    "background_vectors",
)


def write_background_vectors(
    folder: Path, names: Sequence[str], vectors: Float[Tensor, "names embed"]
) -> None:
    """Write a unit vector for each name, made as those of classes are."""
    save_file({KEY: vectors.contiguous()}, folder / VECTORS_FILE)
    write_json(folder / NAMES_FILE, list(names))
    log.info("text vectors of %d names for background", len(names))


def background_names(text: Path) -> tuple[str, ...]:
    """Give the names for background that a text-vectors folder has vectors of; none where it has none."""
    return tuple(read_json(text / NAMES_FILE)) if (text / NAMES_FILE).is_file() else ()


def read_background_vectors(text: Path, names: Sequence[str]) -> Float[Tensor, "names embed"]:
    """Read the vectors of `names`.

    Raises:
        UserError: the folder has none, or those of other names, or the file is broken.
    """
    if not (text / NAMES_FILE).is_file():
        raise UserError(
            f"{text} holds no text vectors for background; run the text-vectors step with "
            f'--background-names "{", ".join(names)}"'
        )
    if (there := read_json(text / NAMES_FILE)) != list(names):
        raise UserError(
            f"{text / NAMES_FILE}: names {there} differ from those of the background policy, {list(names)}; "
            f'run the text-vectors step with --background-names "{", ".join(names)}"'
        )
    try:
        rows = load_file(text / VECTORS_FILE)[KEY].float()
    except Exception as error:
        raise UserError(
            f"{text / VECTORS_FILE}: cannot be read ({error}); run the text-vectors step again"
        ) from error
    if rows.ndim != 2 or len(rows) != len(names):
        raise UserError(
            f"{text / VECTORS_FILE}: shape {tuple(rows.shape)}, expected a row for each of {len(names)} names; "
            "run the text-vectors step again"
        )
    return rows
