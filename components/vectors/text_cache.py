"""Class vectors, made once: kept on disk under a hash of the text tower, the templates and the names."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.clip.text import class_vectors, num_texts
from cascade_core.clip.weights import fingerprint, load_text_tower
from components.progress import progress
from components.storage.places import cache_folder

log = logging.getLogger(__name__)

FOLDER, KEY = "text-vectors", "class_vectors"

ARITHMETIC = 1
"""To be counted up when the same names and weights are to give other vectors than before."""


def cached_class_vectors(
    clip: Path,
    names: Sequence[str],
    templates: Sequence[str],
    *,
    synonyms: Sequence[Sequence[str]] = (),
) -> Float[Tensor, "classes embed"]:
    """Give the class vectors of a CLIP folder, from the cache where the same ones were made before.

    The key covers the content of the folder's files, so that other weights in the same place are other
    vectors. What is damaged or of something else is made anew; a cache that cannot be written costs a warning
    and no more. Several processes may do the same at once.

    Raises:
        UserError: the folder is no CLIP's, or as of `class_vectors`.
    """
    content = {
        "arithmetic": ARITHMETIC,
        "clip": fingerprint(clip),
        "names": list(names),
        "synonyms": [list(others) for others in synonyms] if any(synonyms) else [],
        "templates": list(templates),
    }
    made_from = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    file = cache_folder() / FOLDER / f"{digest[:32]}.safetensors"
    rows = _kept(file, made_from)
    if rows is None:
        rows = _made(clip, names, templates, synonyms)
        _keep(file, rows, made_from)
    return rows


def _made(
    clip: Path, names: Sequence[str], templates: Sequence[str], synonyms: Sequence[Sequence[str]]
) -> Float[Tensor, "classes embed"]:
    text, tokenizer = load_text_tower(clip)
    text.to("cuda" if torch.cuda.is_available() else "cpu")
    with progress("text vectors", num_texts(names, templates, synonyms)) as bar:
        rows = class_vectors(text, tokenizer, names, templates, synonyms=synonyms, on_batch=bar.advance)
    return rows.cpu()


def _kept(file: Path, made_from: str) -> Float[Tensor, "classes embed"] | None:
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as content:
            notes, rows = content.metadata() or {}, content.get_tensor(KEY)
    except (OSError, SafetensorError) as error:
        log.warning("cached text vectors %s cannot be read (%s); making them anew", file, error)
        return None
    if notes != {"made_from": made_from, "sha256": _sum(rows)}:
        log.warning("cached text vectors %s are not what they should be; making them anew", file)
        return None
    return rows


def _keep(file: Path, rows: Tensor, made_from: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own for every writer: two that make the same vectors must not write into one file.
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=file.parent) as folder:
            working = Path(folder) / file.name
            save_file({KEY: rows.contiguous()}, working, {"made_from": made_from, "sha256": _sum(rows)})
            working.chmod(0o644)
            working.replace(file)
    except (OSError, SafetensorError) as error:
        log.warning("text vectors are not cached: %s cannot be written (%s)", file, error)


def _sum(rows: Tensor) -> str:
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()
