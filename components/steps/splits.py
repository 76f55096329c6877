"""Step: state which classes are seen and unseen, which pictures belong to which split, and what training shows."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cascade_core.errors import UserError
from components.contract import Call, Output, step
from components.contract.shared import Prepared, Protocol

if TYPE_CHECKING:
    from cascade_core.labels.class_split import ClassSplit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """Where the split file lies, and what it says about classes."""

    path: Path
    split: "ClassSplit"


@step("splits", example="cascade-clip splits --protocol mini-18-6")
def run(
    call: Call,
    /,
    *,
    prepared: Prepared,
    protocol: Protocol,
    out: Annotated[Path, Output(default="outputs/splits")],
) -> Splits:
    """State seen and unseen classes, and each split.

    Writes `split.json`: classes, seen, unseen, the pictures of each split, and training pixels per class. The
    pixel counts say what training *could* see of each class: those of unseen classes are in the pictures, but
    inductive training does not get their labels. A label file's content goes into `split.json`.

    Raises:
        UserError: the data were prepared for another label set than the protocol's, or by a version of this
            package that did not count pixels yet.
    """
    from cascade_core.data.prepared import SUMMARY_FILE, read_index
    from cascade_core.datasets.catalogue import protocol as named_protocol
    from cascade_core.runtime.files import read_json, write_json
    from components.inputs.split import SPLIT_FILE, class_counts, split_content, training_pixels

    split = named_protocol(protocol)
    summary = read_json(prepared / SUMMARY_FILE)
    if summary.get("label_set") != split.label_set.name:
        raise UserError(
            f"{prepared / SUMMARY_FILE}: label_set is {summary.get('label_set')!r}, protocol {split.name!r} needs "
            f"{split.label_set.name!r}; run the prepare step for this protocol"
        )
    index = read_index(prepared)
    pixels = training_pixels(summary["splits"], split, prepared)
    tags = {"data_hash": summary.get("data_sha256"), "label_set": split.label_set.name}
    with call.writing(protocol=split.name, parameters={"protocol": split.name}, tags=tags) as work:
        write_json(work.folder / SPLIT_FILE, split_content(split, index, summary["splits"], pixels))
        work.tracker.metrics(class_counts(split, pixels))
    log.info("split %s: %d seen and %d unseen classes", split.name, len(split.seen), len(split.unseen))
    return Splits(out / SPLIT_FILE, split)
