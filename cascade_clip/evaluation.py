"""Evaluation of a model on a prepared data set, with the scores of the evaluate step."""

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
    """Score a model on one split of a prepared data set, over the classes of its training.

    Scores are fractions, NaN for a mean over no class. Background counts by the checkpoint's own policy.

    Args:
        model: the model, as for `Predictor.load`.
        prepared: the folder that `cascade-clip prepare` wrote.
        clip: the CLIP folder of a checkpoint, as for `Predictor.load`.
        split: the split of the data set.
        device: the device, as for `Predictor.load`.

    Raises:
        UserError: the model cannot be loaded, or the data were prepared for other classes, lack the split, or moved.
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
