"""Scores of a model on a prepared data set, as the evaluate step computes them."""

from pathlib import Path

import torch

from cascade_clip.models import Predictor
from cascade_core.data.prepared import check_label_set, data_root, read_index, rows_of_split
from cascade_core.evaluation import scored_batches
from cascade_core.inference.background import scored_split
from cascade_core.inference.label_maps import predictions
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import Scores, scores


def evaluate(
    model: str | Path,
    prepared: str | Path,
    clip: str | Path | None = None,
    *,
    split: str = "test",
    device: str | torch.device | None = None,
) -> Scores:
    """Score a model (as of `Predictor.load`) on the classes it was trained with, over a split of prepared data.

    `prepared` is the folder of `cascade-clip prepare`. Scores are fractions, nan where there is nothing to average;
    background counts as the checkpoint's own setting says.

    Raises:
        UserError: as of `Predictor.load`; or the data were prepared for other classes, have no such split, or moved.
    """
    predictor = Predictor.load(model, clip, device=device)
    config, data = predictor.manifest.config, Path(prepared)
    check_label_set(data, config.data.split.label_set)
    scored = scored_split(config.data.split, predictor.evaluate.background)
    rows = rows_of_split(read_index(data), split)
    vocabulary = predictor.vocabulary(config.data.split.foreground().classes)
    confusion = ConfusionMatrix(scored.num_classes, device=predictor.device)
    batches = scored_batches(rows, data_root(data), config=config, scored=scored)
    for batch, predicted in predictions(vocabulary, batches, evaluate=predictor.evaluate):
        confusion.update(predicted, batch.labels)
    return scores(confusion, scored)
