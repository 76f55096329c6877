"""Components that measure a checkpoint: its scores, and what it costs."""

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    raw: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    trained: Input[Model],
    split: str,
    limit: int,
    evaluation: Output[Artifact],
    scores: Output[Metrics],
    confusion: Output[ClassificationMetrics],
) -> None:
    """Score a checkpoint on the pictures of a split; a limit of 0 takes them all."""
    from pathlib import Path

    from components.results import confusion_table
    from components.steps import evaluate
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)
    result = evaluate.run(
        prepared=Path(prepared.path),
        splits=Path(splits.path),
        text=Path(text.path),
        checkpoint=Path(trained.path) / "final",
        split=split,
        limit=limit or None,
        out=Path(evaluation.path),
    )
    confusion_table.show(result, Path(evaluation.path), scores=scores, confusion=confusion)
    run = prepared.metadata.get("mlflow_run", "")
    evaluation.metadata.update(trained.metadata, split=split, mlflow_run=run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate_target(
    raw: str,
    checkpoint: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    protocol: str,
    split: str,
    limit: int,
    background: str,
    evaluation: Output[Artifact],
    scores: Output[Metrics],
    confusion: Output[ClassificationMetrics],
) -> None:
    """Score a checkpoint on another data set, all of whose classes count as seen; a limit of 0 takes all pictures."""
    from pathlib import Path

    from cascade_core.labels.background import parse_background
    from components.results import confusion_table
    from components.steps import evaluate
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)
    result = evaluate.run(
        prepared=Path(prepared.path),
        splits=Path(splits.path),
        text=Path(text.path),
        checkpoint=places.folder("checkpoint", checkpoint),
        split=split,
        limit=limit or None,
        target=places.protocol(protocol),
        background=parse_background(background),
        out=Path(evaluation.path),
    )
    confusion_table.show(result, Path(evaluation.path), scores=scores, confusion=confusion)
    evaluation.metadata.update(checkpoint=checkpoint, protocol=protocol, split=split)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def profile(
    trained: Input[Model], text: Input[Dataset], cost: Output[Artifact], metrics: Output[Metrics]
) -> None:
    """Count weights and multiply-adds; measure latency, throughput and memory."""
    from pathlib import Path

    from components.steps import profile
    from components.tracking import pipeline_run

    pipeline_run.join(text.metadata.get("mlflow_run", ""))
    found = profile.run(
        checkpoints=(Path(trained.path) / "final",), text=Path(text.path), out=Path(cost.path)
    )
    for name in ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib"):
        metrics.log_metric(name, getattr(found.cost, name))
