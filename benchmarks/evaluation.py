"""The share of evaluation time outside the model: `python -m benchmarks.evaluation`.

Cascade-CLIP on a ViT-B/16 with random weights and the 171 classes of COCO-Stuff evaluates photographs and label maps
from files (JPEG, PNG, sizes as in COCO): it decodes, resizes, labels at the label maps' sizes, and counts. The trunk and
`Segmentor.decode` count as time in the model, and all other time of the loop is outside. Once the pictures are decoded
while the model works, as evaluation does; once one after the other, so that all of the decoding counts.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.cases import random_model
from benchmarks.machine import NO_BF16, has_bf16, load, surroundings
from benchmarks.options import PRECISIONS, parsed, parser_of
from benchmarks.stopwatch import Stopwatch
from cascade_core.batches.prefetch import batches
from cascade_core.batches.samples import collate, eval_dataset
from cascade_core.batches.transforms import resize_image, resize_label
from cascade_core.configs.config import Precision, RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.class_split import ClassSplit
from cascade_core.model.segmentor import Segmentor
from cascade_core.scoring.confusion import ConfusionMatrix

PHOTOGRAPHS, CLASSES = 8, 171
SIZES = ((480, 640), (427, 640), (640, 480), (375, 500))


def write_photographs(root: Path, split: ClassSplit) -> pd.DataFrame:
    """Write photographs and label maps of random regions; return their index."""
    rng = np.random.default_rng(0)
    table = np.array(split.label_set.raw_to_train)
    raw_ids = np.flatnonzero((table >= 0) & (table < split.num_classes)).astype(np.uint8)
    rows = []
    for number in range(PHOTOGRAPHS):
        size = SIZES[number % len(SIZES)]
        grain = rng.integers(0, 40, (*size, 3), dtype=np.uint8)
        picture = resize_image(rng.integers(0, 216, (12, 16, 3), dtype=np.uint8), size) + grain
        labels = resize_label(rng.choice(raw_ids, (6, 8)), size)
        names = {"image": f"{number}.jpg", "label": f"{number}.png"}
        Image.fromarray(picture).save(root / names["image"], quality=90)
        Image.fromarray(labels).save(root / names["label"])
        rows.append({"name": str(number), **names, "height": size[0], "width": size[1]})
    return pd.DataFrame(rows)


def vocabulary(config: RunConfig) -> Vocabulary:
    """Build a random model with the classes of `config`."""
    segmentor, vectors = random_model(config)
    penalty = config.evaluate.seen_penalty
    seen = config.data.split.seen
    return Vocabulary(segmentor.eval(), vectors, "sigmoid", seen=seen, seen_penalty=penalty)


def share_outside(
    labeller: Vocabulary, config: RunConfig, root: Path, rows: pd.DataFrame, *, ahead: bool = True
) -> tuple[float, float]:
    """Return the seconds of evaluating the photographs, and the share of them outside the model.

    Pictures are decoded while the model works (`ahead`), or each before the model sees it.
    """
    dataset = eval_dataset(rows, root, data=config.data, short_side=config.evaluate.short_side)
    pictures = batches(dataset) if ahead else (collate([dataset[i]]) for i in range(len(dataset)))
    confusion, watch = ConfusionMatrix(len(labeller)), Stopwatch()
    trunk = type(labeller.segmentor.trunk)  # the class, because another precision may have a trunk of its own
    with (
        mock.patch.object(trunk, "forward", watch.around(trunk.forward)),
        mock.patch.object(Segmentor, "decode", watch.around(Segmentor.decode)),
    ):
        began = time.perf_counter()
        for batch, predicted in predictions(labeller, pictures, evaluate=config.evaluate):
            confusion.update(predicted, batch.labels)
        assert int(confusion.counts.sum()) == sum(rows["height"] * rows["width"])
        whole = time.perf_counter() - began
    assert watch.seconds, "the model was not called"
    return whole, 1 - watch.seconds / whole


@dataclass(frozen=True)
class Shares:
    """Seconds of an evaluation, decoded one after the other, and both shares of time outside the model."""

    seconds: float
    prefetched: float
    in_order: float

    def text(self) -> str:
        return (
            f"{100 * self.in_order:.1f} % outside the model, decoding counted ({self.seconds:.1f} s); "
            f"{100 * self.prefetched:.1f} % while pictures are decoded ahead"
        )


def measure(precision: Precision, *, rounds: int) -> Shares:
    """Evaluate the photographs in both ways in turns; return medians."""
    config = recipe("cascade_cocostuff", {"evaluate.precision": precision}, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows, labeller = write_photographs(root, config.data.split), vocabulary(config)
        share_outside(labeller, config, root, rows.head(1))
        runs = [
            (
                share_outside(labeller, config, root, rows, ahead=False),
                share_outside(labeller, config, root, rows),
            )
            for _ in range(rounds)
        ]
    seconds, in_order = (statistics.median(values) for values in zip(*(run[0] for run in runs), strict=True))
    return Shares(seconds, statistics.median(share for _, (_, share) in runs), in_order)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    options = parsed(parser)
    print(surroundings())
    for precision in options.precision:
        name = f"evaluation of {PHOTOGRAPHS} photographs, {CLASSES} classes, {precision}"
        if precision == "bf16" and not has_bf16():
            print(f"{name}: {NO_BF16}")
        else:
            print(f"{name}: {measure(precision, rounds=options.rounds).text()}; {load()}", flush=True)


if __name__ == "__main__":
    main()
