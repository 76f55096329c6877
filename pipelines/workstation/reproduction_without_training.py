"""A training-free method on a public data set: a model from CLIP alone, scored on all classes, beside the published row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_core.configs.changes import with_overrides
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.configs.training_free import LAST_BLOCKS, check_changes
from cascade_core.datasets.data_set import DataSet
from cascade_core.labels.class_split import ClassSplit
from components.artifacts.manifest import data_hash, input_hash
from components.results.rows import BenchmarkRow
from components.tracking.pipeline_run import whole_run
from pipelines.graphs.training import measure
from pipelines.workstation.chains import FolderRunner
from pipelines.workstation.reproduction import SPLIT, Inputs, digest_of, name_protocol, rows_of

FINAL = "final"


def is_training_free(method: str) -> bool:
    """Say whether a method needs no training."""
    return method in LAST_BLOCKS


def all_classes(data_set: DataSet) -> ClassSplit:
    """Return the protocol of a data set that scores all classes alike, without background."""
    return next(
        split for split in data_set.protocols if not split.unseen and not split.label_set.has_background
    )


def published_settings(data_set: DataSet, config: RunConfig) -> dict[str, Any]:
    """Return the settings in which a published row differs from the method's recipe.

    COCO-Stuff's pictures are larger, NACLIP sees VOC's pictures whole, and the rows of MaskCLIP in later papers are
    without residual and feed-forward.
    """
    changes: dict[str, Any] = {}
    if data_set.name == "cocostuff" and config.method != "clearclip" and config.evaluate.short_side:
        changes["evaluate.short_side"] = config.evaluate.short_side * 448 // 336
    if (data_set.name, config.method) == ("voc12", "naclip"):
        changes["evaluate.mode"] = "whole"
    if config.method == "maskclip":
        changes |= {"model.last_block.residual": False, "model.last_block.feedforward": False}
    return changes


def config_without_clip(data_set: DataSet, method: str, overrides: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a method on ViT-B/16, for a plan before the weights are at hand."""
    return _configured(data_set, recipe(method), overrides)


def score(
    data_set: DataSet, method: str, inputs: Inputs, *, overrides: Mapping[str, Any], out: Path
) -> tuple[RunConfig, list[BenchmarkRow]]:
    """Make the model and score it on the validation pictures; return its configuration and its row.

    Raises:
        UserError: a step refuses its input.
    """
    from cascade_core.checkpoints.checkpoint import save_checkpoint
    from cascade_core.checkpoints.without_training import training_free_model
    from cascade_core.clip.weights import load_clip
    from cascade_core.training_free import training_free_config

    clip = load_clip(inputs.clip)[0]
    config = _configured(data_set, training_free_config(method, clip), overrides)
    with whole_run(pipeline="reproduce", protocol=config.data.protocol):
        data = name_protocol(config, inputs, out)
        assert data.text is not None
        parts = (
            config.model_dump_json(),
            data_hash(inputs.prepared),
            input_hash(data.text),
            input_hash(inputs.clip),
        )
        run = FolderRunner(out / f"{method}-{digest_of(*parts)}")
        model = run.folder / "model"
        if not model.exists():
            save_checkpoint(model / FINAL, *training_free_model(clip.visual, config))
        return config, rows_of([measure(run, data, model, "training_free", {"split": SPLIT})])


def _configured(data_set: DataSet, config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    protocol = {"data.protocol": all_classes(data_set).name}
    changed = with_overrides(config, {**protocol, **published_settings(data_set, config), **overrides})
    check_changes(overrides, changed)
    return changed
