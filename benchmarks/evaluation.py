"""The share of evaluation time outside the model: `python -m benchmarks.evaluation`.

Cascade-CLIP on a ViT-B/16 with random weights and the 171 classes of COCO-Stuff evaluates photographs and label maps
from files (JPEG, PNG, sizes as in COCO): it decodes, resizes, labels at the label maps' sizes, and counts. Calls of
`Segmentor.trunk` and `Segmentor.decode` count as time in the model. All other time of the loop, including waits for the
prefetching thread, is outside.
"""

import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.compare import surroundings
from benchmarks.stopwatch import Stopwatch
from cascade_core.batches.prefetch import batches
from cascade_core.batches.samples import eval_dataset
from cascade_core.batches.transforms import resize_image, resize_label
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.class_split import ClassSplit
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.scoring.confusion import ConfusionMatrix

PHOTOGRAPHS = 24
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
    torch.manual_seed(0)
    split = config.data.split
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).eval()
    vectors = torch.randn(split.num_classes, config.model.clip.embed_dim)
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    penalty = config.evaluate.seen_penalty
    return Vocabulary(segmentor, vectors, "focal_dice", seen=split.seen, seen_penalty=penalty)


def share_outside(
    labeller: Vocabulary, config: RunConfig, root: Path, rows: pd.DataFrame
) -> tuple[float, float]:
    """Return the seconds of evaluating the photographs, and the share of them outside the model."""
    dataset = eval_dataset(rows, root, data=config.data, short_side=config.evaluate.short_side)
    confusion, watch = ConfusionMatrix(len(labeller)), Stopwatch()
    timed = mock.patch.object(Segmentor, "decode", watch.around(Segmentor.decode))
    with watch.over(labeller.segmentor.trunk), timed:
        began = time.perf_counter()
        for batch, predicted in predictions(labeller, batches(dataset), evaluate=config.evaluate):
            confusion.update(predicted, batch.labels)
        assert int(confusion.counts.sum()) == sum(rows["height"] * rows["width"])
        whole = time.perf_counter() - began
    return whole, 1 - watch.seconds / whole


if __name__ == "__main__":
    config = recipe("cascade_cocostuff", {}, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        rows, labeller = write_photographs(Path(folder), config.data.split), vocabulary(config)
        share_outside(labeller, config, Path(folder), rows.head(1))
        seconds, share = share_outside(labeller, config, Path(folder), rows)
    print(surroundings())
    print(
        f"evaluation of {PHOTOGRAPHS} photographs, {len(labeller)} classes: {seconds:.1f} s, "
        f"{100 * share:.1f} % of it outside the model"
    )
