"""Step: check every picture and label map of a raw data set, and write the index that later steps read."""

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
    out: Annotated[Path, Output(default="local_outputs/prepared", stage="outputs/prepared")],
) -> Prepared:
    """Check a data set that is already in a folder, and write its index.

    Writes `index.parquet`, and `summary.json` with pictures and pixels per class. In Pascal VOC's layout, an image
    set names the lists of a split. In a layout of parallel folders, it names a folder of pictures and one of label
    maps, such as train=images/train2017:annotations/train2017. Label files allow both layouts.

    Raises:
        UserError: a picture, label map or image set is wrong; nothing is written.
    """
    from components.inputs.indexing import write_index

    return write_index(call, raw, protocol=protocol, image_sets=image_sets)
