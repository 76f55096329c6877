"""The three short steps before training in one pod, and the check that their outputs agree: a pod costs a minute."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.inputs.preflight import preflight
from components.steps import prepare, splits, text_vectors

log = logging.getLogger(__name__)


def run(
    *,
    raw: Path,
    clip: Path,
    protocol: str,
    image_sets: Mapping[str, str],
    templates: Sequence[str],
    background: Sequence[str] = (),
    prepared: Path,
    split: Path,
    text: Path,
) -> prepare.Prepared:
    """Write the folders `prepared`, `split` and `text`, each as its own step writes it, and check them together.

    `background` are names that stand for it; left out, those that a label file gives.

    Raises:
        UserError: as the three steps and `preflight` do.
    """
    done = prepare.run(raw=raw, protocol=protocol, image_sets=image_sets, out=prepared)
    splits.run(prepared=prepared, protocol=protocol, out=split)
    text_vectors.run(protocol=protocol, templates=templates, clip=clip, background=background, out=text)
    # Without `clip`: these vectors were made from it, name by name, so comparing would only repeat the work.
    found = preflight(prepared=prepared, splits=split, text=text)
    for sentence in (*found.passed, *found.notes):
        log.info("preflight: %s", sentence)
    return done
