"""Step: check every picture and label map of a raw data set once, and write the index that later steps read."""

from pathlib import Path
from typing import Annotated

from components.contract import Call, Output, step
from components.contract.shared import ImageSets, Protocol, Raw
from components.inputs.prepared import Prepared


@step(
    "prepare",
    command="prepare index",
    example="cascade-clip prepare index --raw data/mini --protocol mini-18-6 --image-set train=train --image-set test=test",
)
def run(
    call: Call,
    /,
    *,
    raw: Raw,
    protocol: Protocol,
    image_sets: ImageSets,
    out: Annotated[Path, Output(default="outputs/prepared")],
) -> Prepared:
    """Check a data set that lies ready in a folder, and write its index.

    Writes `index.parquet`, and `summary.json` with pictures and pixels per class. The image sets are the lists of
    each split where the data set is laid out as Pascal VOC; where it has parallel folders, those of pictures and
    of label maps, such as train=images/train2017:annotations/train2017. A data set of a label file may be laid
    out in both ways.

    Raises:
        UserError: naming file and field of what is wrong with the data; nothing is written then.
    """
    from components.inputs.indexing import write_index

    return write_index(call, raw, protocol=protocol, image_sets=image_sets)
