"""What OTSeg's recipes change in ZegCLIP's: the decoder, a vector for each template, and windows (Kim et al. 2024).

The authors' configurations say neither the number of GPUs nor how many iterations count as published, so batch and length
are ZegCLIP's. They exempt norms from weight decay; ZegCLIP's do too, in a way that never takes effect, and here it has none.
"""

from collections.abc import Mapping
from typing import Any, Literal

from cascade_core.configs.templates import OTSEG_TEMPLATES_6, OTSEG_TEMPLATES_8

TRANSPORT = {"model.decoder": "optimal_transport", "model.text": "templates"}
"""The changes that make ZegCLIP an OTSeg+."""
CONTEXT_SIDE, CONTEXT_STRIDE = 480, 80


def otseg_changes(data: Literal["voc12", "context59", "cocostuff"]) -> Mapping[str, Any]:
    """Return the changes of the recipe for a data set, by dotted keys."""
    templates = OTSEG_TEMPLATES_6 if data == "voc12" else OTSEG_TEMPLATES_8
    changes: dict[str, Any] = {
        **TRANSPORT,
        "recipe": f"otseg_{data}",
        "method": "otseg",
        "data.templates": templates,
    }
    if data == "context59":
        # The windows are published; that training crops are of their size is ours.
        sides = ("model.image_size", "data.crop_size", "evaluate.crop_size")
        changes |= {**dict.fromkeys(sides, CONTEXT_SIDE), "evaluate.stride": CONTEXT_STRIDE}
    return changes
