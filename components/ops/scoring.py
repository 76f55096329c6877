"""The component that scores a checkpoint on another data set, whose label file may lie in an object store."""

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Metrics, Output

from components.ops.image import IMAGE


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
