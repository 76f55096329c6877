"""Step: write seen and unseen classes, the pictures of each split, and training pixels per class."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from components.contract import Call, Output, step
from components.contract.shared import Prepared, Protocol

if TYPE_CHECKING:
    from cascade_core.labels.class_split import ClassSplit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The file `split.json`, and its class split."""

    path: Path
    split: "ClassSplit"


@step("splits", example="cascade-clip splits --protocol mini-18-6")
def run(
    call: Call,
    /,
    *,
    prepared: Prepared,
    protocol: Protocol,
    out: Annotated[Path, Output(default="local_outputs/splits", stage="outputs/splits")],
) -> Splits:
    """Write seen and unseen classes, and each split.

    Writes `split.json`: classes, seen, unseen, the pictures of each split, training pixels per class, and the content
    of a label file. The pixels of unseen classes are counted too: they are in the training pictures, but inductive
    training does not get their labels.

    Raises:
        UserError: the data were prepared for another label set, or by a version of this package that did not count
            pixels.
    """
    from cascade_core.data.prepared import check_label_set, read_index, read_summary
    from cascade_core.datasets.catalogue import protocol as named_protocol
    from cascade_core.runtime.files import write_json
    from components.inputs.split import SPLIT_FILE, class_counts, split_content, training_pixels

    split = named_protocol(protocol)
    check_label_set(prepared, split.label_set)
    summary, index = read_summary(prepared), read_index(prepared)
    pixels = training_pixels(summary["splits"], split, prepared)
    tags = {"data_hash": summary.get("data_sha256"), "label_set": split.label_set.name}
    with call.writing(protocol=split.name, parameters={"protocol": split.name}, tags=tags) as work:
        write_json(work.folder / SPLIT_FILE, split_content(split, index, summary["splits"], pixels))
        work.tracker.metrics(class_counts(split, pixels))
    log.info("split %s: %d seen and %d unseen classes", split.name, len(split.seen), len(split.unseen))
    return Splits(out / SPLIT_FILE, split)
