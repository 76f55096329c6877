"""A cache of class vectors on disk; the key is a hash of the text tower, the templates and the names."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.clip.text import class_vectors, num_texts, template_vectors
from cascade_core.clip.weights import fingerprint, load_text_tower
from cascade_core.configs.model import TextForm
from components.progress import progress
from components.storage.places import cache_folder

log = logging.getLogger(__name__)

FOLDER, KEY = "text-vectors", "class_vectors"

ARITHMETIC = 2
"""Increase this number when the same names and weights give other vectors than before: it invalidates the cache."""


def cached_class_vectors(
    clip: Path,
    names: Sequence[str],
    templates: Sequence[str],
    *,
    form: TextForm = "mean",
) -> Float[Tensor, "classes *templates embed"]:
    """Return the vectors that a CLIP folder's text tower makes of names, from the cache if it has them.

    With the form "templates" each name has a vector for each template, else their mean.

    The key covers the content of the folder's files: other weights under the same path give other vectors. A damaged
    cache file is replaced; a cache that cannot be written costs a warning. Several processes may write at once.

    Raises:
        UserError: the folder holds no CLIP, or as for `class_vectors`.
    """

    def make() -> Tensor:
        text, tokenizer = load_text_tower(clip)
        text.to("cuda" if torch.cuda.is_available() else "cpu")
        with progress("text vectors", num_texts(names, templates)) as bar:
            encode = template_vectors if form == "templates" else class_vectors
            return encode(text, tokenizer, names, templates, on_batch=bar.advance)

    return kept_vectors(fingerprint(clip), names, templates, make, form=form)


def kept_vectors(
    clip: Mapping[str, str],
    names: Sequence[str],
    templates: Sequence[str],
    make: Callable[[], Float[Tensor, "classes *templates embed"]],
    *,
    form: TextForm = "mean",
) -> Float[Tensor, "classes *templates embed"]:
    """Return the vectors of names by the text tower with fingerprint `clip`, from the cache or made by `make`."""
    content: dict[str, Any] = {
        "arithmetic": ARITHMETIC,
        "clip": dict(clip),
        "names": list(names),
        "templates": list(templates),
    }
    if form == "templates":
        content["form"] = form
    made_from = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    file = cache_folder() / FOLDER / f"{digest[:32]}.safetensors"
    rows = _read_cache(file, made_from)
    if rows is None:
        rows = make().cpu()
        _write_cache(file, rows, made_from)
    return rows


def _read_cache(file: Path, made_from: str) -> Float[Tensor, "classes *templates embed"] | None:
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as content:
            notes, rows = content.metadata() or {}, content.get_tensor(KEY)
    except Exception as error:  # of a damaged file: safetensors', torch's or Python's
        log.warning("cached text vectors %s cannot be read (%s); recomputing them", file, error)
        return None
    if notes != {"made_from": made_from, "sha256": _checksum(rows)}:
        log.warning("cached text vectors %s do not match their checksum or key; recomputing them", file)
        return None
    return rows


def _write_cache(file: Path, rows: Tensor, made_from: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Each writer has a folder of its own: two processes with the same vectors must not write into one file.
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=file.parent) as folder:
            working = Path(folder) / file.name
            save_file({KEY: rows.contiguous()}, working, {"made_from": made_from, "sha256": _checksum(rows)})
            working.chmod(0o644)
            working.replace(file)
    except (OSError, SafetensorError) as error:
        log.warning("text vectors are not cached: %s cannot be written (%s)", file, error)


def _checksum(rows: Tensor) -> str:
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()
