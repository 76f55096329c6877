"""Check before training and evaluation that label maps, class names and text vectors agree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from cascade_core.clip.order import Order, check_order, check_shape
from cascade_core.clip.text import class_vectors, num_texts
from cascade_core.clip.weights import load_text_tower
from cascade_core.data.prepared import read_summary
from cascade_core.datasets.catalogue import label_set
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet
from cascade_core.model.queries import ClassVectors
from components.artifacts.manifest import read_step_manifest
from components.inputs.reading import read_inputs
from components.inputs.split import read_split
from components.progress import progress
from components.vectors import vector_files
from components.vectors.vector_files import (
    background_names,
    has_templates,
    read_background_vectors,
    read_class_vectors,
    read_name_list,
)


@dataclass(frozen=True)
class Preflight:
    """The report of a check: a sentence per passed comparison, and notes on what is unusual but not wrong."""

    protocol: str
    passed: tuple[str, ...]
    notes: tuple[str, ...]


def preflight(
    *,
    prepared: Path,
    splits: Path,
    text: Path,
    clip: Path | None = None,
    stored: Path | None = None,
    stored_order: str | None = None,
) -> Preflight:
    """Check that label maps, class names and text vectors belong together, and report the comparisons.

    Only a comparison with other vectors shows whether the vectors are in the order of their names. Vectors of
    background names are checked too, if there are any or the label file asks for them.

    Args:
        prepared: folder of the prepare step.
        splits: folder of the splits step.
        text: folder of the text-vectors step.
        clip: CLIP folder; its text tower makes vectors of the same names to compare with.
        stored: vectors (.npy) to compare with, for the names that they have.
        stored_order: label set whose classes are the rows of `stored`; that of the protocol if None.

    Raises:
        UserError: the folders are of different label sets, protocols or classes, vectors are equal or not of unit
            length, or they belong to other names.
    """
    protocol = read_split(splits).name
    inputs = read_inputs(prepared=prepared, splits=splits, text=text, protocol_name=protocol)
    names = read_name_list(text / vector_files.NAMES_FILE)
    check_shape(inputs.class_vectors, names, str(text))
    vectors = inputs.class_vectors
    passed = [
        f"label maps: of label set {inputs.split.label_set.name!r}, which is that of protocol {protocol!r}",
        f"class names: the {len(names)} of the protocol, in its order",
        f"text vectors: {len(names)} different unit vectors, {vectors.shape[1]} wide",
    ]
    if has_templates(text):
        by_template = read_class_vectors(text, inputs.split.foreground(), form="templates")
        passed.append(
            f"vectors of templates: {by_template.shape[1]} unit vectors for each of {len(names)} names"
        )
        order = check_order(by_template, vectors, names, f"vectors of templates of {text}")
        passed.append(_order_sentence(order, "the class vectors", len(names), what="vectors of templates"))
    if clip is not None:
        order = check_order(vectors, _from_clip(clip, names, text), names, str(text))
        passed.append(_order_sentence(order, f"the text tower of {clip}", len(names)))
    if stored is not None:
        labels = inputs.split.label_set if stored_order is None else label_set(stored_order)
        rows, reference = _from_stored(stored, labels.foreground(), names)
        shared = [names[row] for row in rows]
        order = check_order(vectors[rows], reference, shared, str(text))
        passed.append(_order_sentence(order, str(stored), len(shared)))
    passed.extend(_background(text, inputs.split, clip))
    notes = []
    if clip is None and stored is None:
        notes.append("order of text vectors: not checked, without CLIP weights or stored vectors")
    notes.extend(_occurrence(prepared, inputs.split))
    if inputs.split.label_set.has_background:
        notes.append(
            f"background: a class of protocol {protocol!r}; evaluate it with --background threshold=... or prompts=..."
        )
    return Preflight(protocol, tuple(passed), tuple(notes))


def check_vectors_from_file(text: Path, clip: Path | None, vectors: ClassVectors) -> None:
    """Check text vectors that came from a file against the CLIP weights of a training.

    Vectors that the text-vectors step made itself need no check; without CLIP weights none is possible.

    Raises:
        UserError: the vectors are of another CLIP, or belong to other names.
    """
    if clip is None or "vectors" not in read_step_manifest(text).inputs:
        return
    names = read_name_list(text / vector_files.NAMES_FILE)
    check_order(vectors, _from_clip(clip, names, text), names, str(text))


def _from_clip(clip: Path, names: Sequence[str], text: Path) -> Float[Tensor, "classes embed"]:
    """Make vectors of the names, with the templates and synonyms of the text-vectors step."""
    tower, tokenizer = load_text_tower(clip)
    parameters = read_step_manifest(text).parameters
    templates, synonyms = parameters["templates"], parameters.get("synonyms", ())
    with progress("text vectors to compare with", num_texts(names, templates, synonyms)) as bar:
        return class_vectors(tower, tokenizer, names, templates, synonyms=synonyms, on_batch=bar.advance)


def _background(text: Path, split: ClassSplit, clip: Path | None) -> Iterator[str]:
    """Check the vectors of background names: those of the label file, else those of the text-vectors step."""
    names = (split.own.background_setting.names if split.own else ()) or background_names(text)
    if not names:
        return
    vectors = read_background_vectors(text, names)
    check_shape(vectors, names, f"background vectors of {text}")
    yield f"background vectors: {len(names)} different unit vectors, of {', '.join(names)}"
    if clip is not None:
        tower, tokenizer = load_text_tower(clip)
        made = class_vectors(tower, tokenizer, names, read_step_manifest(text).parameters["templates"])
        order = check_order(vectors, made, names, f"background vectors of {text}")
        yield _order_sentence(order, f"the text tower of {clip}", len(names), what="background vectors")


def _from_stored(stored: Path, order: LabelSet, names: Sequence[str]) -> tuple[list[int], ClassVectors]:
    """Return the indices of the names that the stored vectors have too, and those vectors."""
    classes = order.classes
    reference = vector_files.read_vectors(stored, classes)
    rows = [row for row, name in enumerate(names) if name in classes]
    if not rows:
        raise UserError(
            f"{stored} in the order of {order.name!r} has no class in common with the protocol's names"
        )
    return rows, reference[[classes.index(names[row]) for row in rows]]


def _order_sentence(order: Order, source: str, count: int, *, what: str = "text vectors") -> str:
    return (
        f"order of {what}: each of {count} is nearest to its own name by {source} "
        f"(cosine at least {order.least_cosine:.3f}, least lead {order.least_lead:.3f})"
    )


def _occurrence(prepared: Path, split: ClassSplit) -> Iterator[str]:
    """Yield a note per split on classes without pixels, which are not learned or not scored; and on incomplete data."""
    summary = read_summary(prepared)
    if any(counts.get("pixels") is None for counts in summary["splits"].values()):
        yield f"label maps: {prepared} was prepared without counting pixels; run the prepare step again"
        return
    for split_name, counts in summary["splits"].items():
        pixels = counts["pixels"]
        for group, classes in (("seen", split.seen_names), ("unseen", split.unseen_names)):
            if absent := [name for name in classes if pixels.get(name) == 0]:
                yield f"label maps: no pixel in split {split_name!r} of {len(absent)} {group} classes: {', '.join(absent)}"
    source = summary.get("source") or {}
    if source.get("complete") is False:
        counts = (
            f"{count:,} of {source['official_pictures'][name]:,} {name}"
            for name, count in source["pictures"].items()
        )
        yield f"data: a part of {source['data_set']} only, {', '.join(counts)}"
