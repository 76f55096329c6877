"""The three short steps before training in one: index, splits and text vectors, for a cluster where a pod costs a minute."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from components import prepare, splits, text_vectors


def run(
    *,
    raw: Path,
    clip: Path,
    protocol: str,
    image_sets: Mapping[str, str],
    templates: Sequence[str],
    prepared: Path,
    split: Path,
    text: Path,
) -> prepare.Prepared:
    """Write the folders `prepared`, `split` and `text`, each as its own step writes it.

    Raises:
        ValueError: as the three steps do.
    """
    done = prepare.run(raw=raw, protocol=protocol, image_sets=image_sets, out=prepared)
    splits.run(prepared=prepared, protocol=protocol, out=split)
    text_vectors.run(protocol=protocol, templates=templates, clip=clip, out=text)
    return done
