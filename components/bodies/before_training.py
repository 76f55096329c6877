"""Run the three short steps before training in one pod, because each pod costs a minute."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade_core.runtime.validation import validated
from components.inputs.own_data import OwnData
from components.inputs.preflight import preflight
from components.steps import prepare, prepare_custom, splits, text_vectors

log = logging.getLogger(__name__)


def run(
    *,
    raw: Path,
    clip: Path,
    protocol: str,
    image_sets: Mapping[str, str],
    templates: Sequence[str],
    folders: Mapping[str, Any] | None = None,
    background: Sequence[str] = (),
    by_template: bool = False,
    prepared: Path,
    split: Path,
    text: Path,
) -> prepare.Prepared | prepare_custom.CustomPrepared:
    """Run prepare, splits and text-vectors, and check that their output folders agree.

    The pictures are those of `image_sets`, or, with a label file as the protocol, those of `folders`: the content of an
    `OwnData`, whose paths are below `raw`. `background` holds names that stand for background; if empty, those of the label file.
    With `by_template` the text vectors of single templates are kept too.

    Raises:
        UserError: one of the steps or the check fails.
    """
    data: prepare.Prepared | prepare_custom.CustomPrepared
    if folders is None:
        data = prepare.run(raw=raw, protocol=protocol, image_sets=image_sets, out=prepared)
    else:
        own = validated(OwnData, folders, source="folders")
        data = prepare_custom.run(labels=Path(protocol), **own.arguments(raw), out=prepared)
    splits.run(prepared=prepared, protocol=protocol, out=split)
    text_vectors.run(
        protocol=protocol,
        templates=templates,
        clip=clip,
        background=background,
        by_template=by_template,
        out=text,
    )
    # Without `clip`: the vectors were just made from it, and a comparison would only repeat the work.
    report = preflight(prepared=prepared, splits=split, text=text)
    for sentence in (*report.passed, *report.notes):
        log.info("preflight: %s", sentence)
    return data
