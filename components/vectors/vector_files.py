"""Files of text vectors: one unit vector per class or per name for background, with the names in order.

A file may also hold the vectors of the single templates, from which its means come, and the tokens of the texts.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.clip.order import check_shape
from cascade_core.configs.model import TextForm
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.files import read_json, read_text, write_json
from cascade_core.runtime.listing import shortened
from cascade_core.runtime.tensors import read_tensors
from cascade_core.runtime.validation import validated
from components.artifacts.manifest import MANIFEST_FILE, read_step_manifest

log = logging.getLogger(__name__)

VECTORS_FILE, NAMES_FILE, KEY = "class_vectors.safetensors", "names.json", "class_vectors"
BACKGROUND_FILE, BACKGROUND_NAMES_FILE = "background_vectors.safetensors", "background_names.json"
BACKGROUND_KEY = "background_vectors"
NAME_VECTORS_FILE, NAMES_BY_CLASS_FILE = "name_vectors.safetensors", "names_by_class.json"
NAME_VECTORS_KEY = "name_vectors"
BY_TEMPLATE, TOKENS = "by_template.", "tokens."
"""Before the key of vectors with an axis of templates, and of the ids of the texts' tokens."""


def read_names(file: Path) -> tuple[list[str], list[list[str]]]:
    """Read class names, one a line, and their synonyms, which follow `|` on the same line.

    Raises:
        UserError: the file cannot be read, has no class name, or has an empty name beside `|`.
    """
    if is_label_file(str(file)):
        raise UserError(
            f"names {file} is a label file; give it as --protocol, or give --names a text with one name a line"
        )
    classes, synonyms = [], []
    for number, line in enumerate(read_text(file, "names").splitlines(), 1):
        if not line.strip():
            continue
        name, *others = (word.strip() for word in line.split("|"))
        if not (name and all(others)):
            raise UserError(
                f"names {file}, line {number}: an empty name beside '|'; give a name, or remove the '|'"
            )
        classes.append(name)
        synonyms.append(others)
    if not classes:
        raise UserError(f"names {file} has no class name; write one a line, synonyms after '|'")
    return classes, synonyms


def write_class_vectors(
    folder: Path,
    rows: Float[Tensor, "classes embed"],
    names: Sequence[str],
    *,
    by_template: Float[Tensor, "classes templates embed"] | None = None,
    tokens: Int[Tensor, "classes templates context"] | None = None,
) -> None:
    """Write class vectors (float32, unit length) and their names into a step's folder."""
    _write(folder / VECTORS_FILE, KEY, rows, by_template, tokens)
    write_json(folder / NAMES_FILE, list(names))
    log.info("text vectors of %d classes, %d wide", *rows.shape)


def read_class_vectors(
    text: Path, split: ClassSplit | None, *, form: TextForm = "mean"
) -> Float[Tensor, "classes *templates embed"]:
    """Read the vectors of a text-vectors step, and check that they are of the classes of `split`, if it is given.

    Raises:
        UserError: a file is missing or broken, the names differ from the split's classes, or the vectors of single
            templates were not kept.
    """
    names = read_name_list(text / NAMES_FILE)
    if split is not None and names != split.classes:
        raise UserError(
            f"{text / NAMES_FILE}: {len(names)} names differ from the {split.num_classes} classes of "
            f"{split.name!r} (number or order); run the text-vectors step for this protocol"
        )
    rows = _rows(text / VECTORS_FILE, KEY, form)
    _check_rows(rows, names, text / VECTORS_FILE, form)
    return rows


def write_name_vectors(
    folder: Path,
    rows: Float[Tensor, "names embed"],
    names: Sequence[Sequence[str]],
    *,
    by_template: Float[Tensor, "names templates embed"] | None = None,
    tokens: Int[Tensor, "names templates context"] | None = None,
) -> None:
    """Write a unit vector for each name of a class and each synonym; `names` are those of every class, in order."""
    _write(folder / NAME_VECTORS_FILE, NAME_VECTORS_KEY, rows, by_template, tokens)
    write_json(folder / NAMES_BY_CLASS_FILE, [list(group) for group in names])


def read_name_vectors(
    text: Path, split: ClassSplit, *, form: TextForm = "mean"
) -> list[Float[Tensor, "names *templates embed"]]:
    """Read, for each class of `split`, the vectors of its name and its synonyms.

    Without synonyms, or where the vectors came from a file with one for each class, a class has its one vector.

    Raises:
        UserError: a file is missing or broken, the names differ from the split's, or the folder was written before
            the step kept the vectors of synonyms; or those of single templates were not kept.
    """
    means = read_class_vectors(text, split, form=form)
    synonyms = split.label_set.synonyms
    if not any(synonyms) or "vectors" in read_step_manifest(text).inputs:
        return list(means.split(1))
    file, again = text / NAMES_BY_CLASS_FILE, "run the text-vectors step again"
    if not file.is_file():
        raise UserError(
            f"{text} has the mean of each class's synonyms but not the vector of each, which evaluate.synonyms "
            f"'maximum' needs; {again}"
        )
    groups = validated(list[list[str]], read_json(file), source=file, way_out=again)
    expected = [[name, *others] for name, others in zip(split.classes, synonyms, strict=True)]
    if groups != expected:
        raise UserError(f"{file}: the names differ from those of the classes of {split.name!r}; {again}")
    names = [name for group in groups for name in group]
    rows = _rows(text / NAME_VECTORS_FILE, NAME_VECTORS_KEY, form)
    _check_rows(rows, names, text / NAME_VECTORS_FILE, form)
    return list(rows.split([len(group) for group in groups]))


def write_background_vectors(
    folder: Path,
    names: Sequence[str],
    vectors: Float[Tensor, "names embed"],
    *,
    by_template: Float[Tensor, "names templates embed"] | None = None,
    tokens: Int[Tensor, "names templates context"] | None = None,
) -> None:
    """Write a unit vector for each name that stands for background, beside the class vectors."""
    _write(folder / BACKGROUND_FILE, BACKGROUND_KEY, vectors, by_template, tokens)
    write_json(folder / BACKGROUND_NAMES_FILE, list(names))
    log.info("text vectors of %d names for background", len(names))


def background_names(text: Path) -> tuple[str, ...]:
    """Read the names for background in a text-vectors folder; () if it has none."""
    file = text / BACKGROUND_NAMES_FILE
    return read_name_list(file) if file.is_file() else ()


def read_background_vectors(
    text: Path, names: Sequence[str], *, form: TextForm = "mean"
) -> Float[Tensor, "names *templates embed"]:
    """Read the vectors of `names`, which stand for background.

    Raises:
        UserError: the folder has none or those of other names, the file is broken, or the vectors of single
            templates were not kept.
    """
    if (stored := background_names(text)) != tuple(names):
        raise UserError(
            f"{text}: its text vectors for background are of {', '.join(stored) or 'no name'}, the policy names "
            f'{", ".join(names)}; run the text-vectors step with --background-names "{", ".join(names)}"'
        )
    rows = _rows(text / BACKGROUND_FILE, BACKGROUND_KEY, form)
    if len(rows) != len(names):
        raise UserError(
            f"{text / BACKGROUND_FILE}: shape {tuple(rows.shape)}, expected a row for each of {len(names)} names; "
            "run the text-vectors step again"
        )
    return rows


def read_name_list(path: Path) -> tuple[str, ...]:
    """Read the names that vectors stand for, in their order.

    Raises:
        UserError: the file is missing or broken.
    """
    return validated(tuple[str, ...], read_json(path), source=path, way_out="run the text-vectors step again")


def check_templates(text: Path, templates: Sequence[str]) -> None:
    """Check that a text-vectors folder was made with the prompt templates of a training.

    Prediction makes vectors of new names with the checkpoint's templates, so the training must use the same ones.
    A folder without a record of templates passes.

    Raises:
        UserError: the folder was made with other templates.
    """
    made_with = templates_of(text)
    if made_with and made_with != tuple(templates):
        raise UserError(
            f"{text}: the vectors were made with the templates {_abridge(made_with)}, the recipe has {_abridge(templates)}; "
            "run the text-vectors step for this recipe, or give the training these templates: --set data.templates=[...]"
        )


def templates_of(text: Path) -> tuple[str, ...]:
    """Return the prompt templates that a text-vectors folder was made with; nothing if it has no record of them."""
    if not (text / MANIFEST_FILE).is_file():
        return ()
    return tuple(read_step_manifest(text).parameters.get("templates") or ())


def _abridge(templates: Sequence[str]) -> str:
    first = ", ".join(map(repr, templates[:2]))
    return first if len(templates) <= 2 else f"{first} and {len(templates) - 2} more"


def read_vectors(path: Path, classes: Sequence[str]) -> Float[Tensor, "classes *templates embed"]:
    """Read precomputed vectors (.npy, a row for each of `classes`, or one per template) as float32, as they are.

    The authors' float16 files have unit length to about 5e-4 only; their code does not normalise them either.

    Raises:
        UserError: the file is missing or not .npy, or does not hold a unit vector for each class.
    """
    if not path.is_file():
        raise UserError(f"text vectors {path} do not exist; give a .npy file, or a CLIP folder to make them")
    try:
        # In place, so that no header can ask for more memory than the file holds.
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy's readers of headers raise whatever Python does
        raise UserError(f"text vectors {path} cannot be read as .npy: {shortened(str(error))}") from error
    if array.dtype.kind != "f" or array.ndim not in (2, 3) or len(array) != len(classes):
        raise UserError(
            f"text vectors {path}: numbers of type {array.dtype} and shape {array.shape}, expected a row of float "
            f"numbers for each of the {len(classes)} classes"
        )
    with np.errstate(over="ignore"):  # `check_shape` refuses the infinite values
        rows = torch.from_numpy(array.astype(np.float32))
    check_shape(rows, classes, f"text vectors {path}")
    return rows


def _check_rows(rows: Tensor, names: Sequence[str], file: Path, form: TextForm) -> None:
    """Check unit vectors, or that there is a row of tokens for each name, and that the names' differ."""
    if form != "tokens":
        check_shape(rows, names, str(file))
    elif len(rows) != len(names) or len(torch.unique(rows, dim=0)) < len(rows):
        raise UserError(
            f"{file}: tokens of {len(rows)} names, expected different ones for each of the {len(names)} classes; run the "
            "text-vectors step again"
        )


def _write(file: Path, key: str, rows: Tensor, by_template: Tensor | None, tokens: Tensor | None) -> None:
    tensors = {key: rows, BY_TEMPLATE + key: by_template, TOKENS + key: tokens}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, file)


def has_templates(text: Path) -> bool:
    """Return whether a text-vectors folder keeps the class vectors of single templates."""
    return bool(read_tensors(text / VECTORS_FILE, prefix=BY_TEMPLATE))


def _rows(path: Path, key: str, form: TextForm) -> Float[Tensor, "rows *templates embed"]:
    """Read the rows `key` of a safetensors file as float32, the ids of tokens too.

    Raises:
        UserError: the file is missing or broken, or has no such rows.
    """
    axes, lacking = 2, "the vectors"
    if form != "mean":
        prefix, lacking = (
            (BY_TEMPLATE, "the vector of each")
            if form == "templates"
            else (TOKENS, "the tokens of the texts")
        )
        key, axes = prefix + key, 3
    tensors = read_tensors(path, prefix=key)
    if form != "mean" and not tensors:
        raise UserError(
            f"{path}: holds the mean over the prompt templates but not {lacking}, which this model reads; run "
            "the text-vectors step with this model's recipe and a CLIP folder, or with --by-template"
        )
    if (
        key not in tensors
        or tensors[key].ndim != axes
        or tensors[key].is_floating_point() == (form == "tokens")
    ):
        raise UserError(f"{path}: holds no rows of vectors {key!r}; run the text-vectors step again")
    return tensors[key].float()
