"""Text vectors of names that stand for background, kept beside the class vectors in a text-vectors folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json
from components.vectors.vector_files import read_rows

log = logging.getLogger(__name__)

NAMES_FILE, KEY = "background_names.json", "background_vectors"
VECTORS_FILE = f"{KEY}.safetensors"


def write_background_vectors(
    folder: Path, names: Sequence[str], vectors: Float[Tensor, "names embed"]
) -> None:
    """Write a unit vector for each name."""
    save_file({KEY: vectors.contiguous()}, folder / VECTORS_FILE)
    write_json(folder / NAMES_FILE, list(names))
    log.info("text vectors of %d names for background", len(names))


def background_names(text: Path) -> tuple[str, ...]:
    """Read the names for background in a text-vectors folder; () if it has none."""
    return tuple(read_json(text / NAMES_FILE)) if (text / NAMES_FILE).is_file() else ()


def read_background_vectors(text: Path, names: Sequence[str]) -> Float[Tensor, "names embed"]:
    """Read the vectors of `names`.

    Raises:
        UserError: the folder has none or those of other names, or the file is broken.
    """
    if (there := background_names(text)) != tuple(names):
        raise UserError(
            f"{text}: its text vectors for background are of {', '.join(there) or 'no name'}, the policy names "
            f'{", ".join(names)}; run the text-vectors step with --background-names "{", ".join(names)}"'
        )
    rows = read_rows(text / VECTORS_FILE, KEY)
    if rows.ndim != 2 or len(rows) != len(names):
        raise UserError(
            f"{text / VECTORS_FILE}: shape {tuple(rows.shape)}, expected a row for each of {len(names)} names; "
            "run the text-vectors step again"
        )
    return rows
