"""Components that read a data set: prepare it for training, or prepare and score it as another checkpoint's target."""

from typing import Optional

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Metrics, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(
    mlflow_run: str,
    raw: str,
    clip: str,
    protocol: str,
    image_sets: str,
    recipes: list,
    overrides: str,
    prepared: Output[Dataset],
    splits: Output[Dataset],
    text: Output[Dataset],
    seeds: Optional[list] = None,  # noqa: UP045
    models: str = "train",
    folders: str = "",
) -> list:
    """Check and index the data, write the class split and the text vectors, and return the loop's items.

    An item has a recipe, and a seed or, if `models` is "champions", the recipe's champion. A theme of ablations stands for
    the recipes of its cells.
    """
    import json
    from pathlib import Path

    from cascade_core.configs.recipes import naming_recipe, reads_templates
    from cascade_core.configs.recipes import recipe as named_recipe
    from cascade_core.datasets.catalogue import protocol as named_protocol
    from components.artifacts import metadata as artifact_metadata
    from components.bodies import before_training, loop_items
    from components.entry import enter
    from components.storage import places
    from components.tracking import pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    champions = loop_items.champions_of(models, recipes, named_protocol(places.protocol(protocol)).name)
    config = named_recipe(naming_recipe(recipes), json.loads(overrides))
    index = before_training.run(
        raw=places.folder("raw", raw),
        clip=places.folder("clip", clip),
        protocol=places.protocol(protocol),
        image_sets=json.loads(image_sets),
        folders=json.loads(folders) if folders else None,
        templates=config.data.templates,
        by_template=reads_templates(recipes, json.loads(overrides)),
        background=config.evaluate.background.names,
        prepared=Path(prepared.path),
        split=Path(splits.path),
        text=Path(text.path),
    )
    artifact_metadata.write_metadata(
        prepared, {"data_hash": index.data_hash, "protocol": protocol, "raw": raw, "mlflow_run": mlflow_run}
    )
    artifact_metadata.write_metadata(text, {"mlflow_run": mlflow_run})
    return loop_items.runs(recipes, seeds, champions)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare_target(
    mlflow_run: str,
    raw: str,
    clip: str,
    checkpoint: str,
    protocol: str,
    image_sets: str,
    background: str,
    prepared: Output[Dataset],
    splits: Output[Dataset],
    text: Output[Dataset],
    target: str = "",
) -> None:
    """Prepare another data set for a checkpoint, with text vectors from the checkpoint's own prompt templates.

    The class names of the `background` policy get vectors too. Kubeflow's page shows the name `target` of the iteration.
    """
    import json
    from pathlib import Path

    from cascade_core.checkpoints.manifest import load_manifest
    from cascade_core.labels.background import parse_background
    from components.artifacts import metadata as artifact_metadata
    from components.bodies import before_training
    from components.entry import enter
    from components.storage import places
    from components.tracking import pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    config = load_manifest(places.folder("checkpoint", checkpoint)).config
    index = before_training.run(
        raw=places.folder("raw", raw),
        clip=places.folder("clip", clip),
        protocol=places.protocol(protocol),
        image_sets=json.loads(image_sets),
        templates=config.data.templates,
        by_template=config.model.reads_templates,
        prepared=Path(prepared.path),
        split=Path(splits.path),
        text=Path(text.path),
        background=parse_background(background).names,
    )
    artifact_metadata.write_metadata(
        prepared, {"data_hash": index.data_hash, "protocol": protocol, "raw": raw, "mlflow_run": mlflow_run}
    )


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
    index: Output[Artifact],
    scores: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    target: str = "",
) -> None:
    """Score a checkpoint on another data set, whose classes all count as seen; a limit of 0 takes all pictures.

    Kubeflow's page shows the name `target` of the iteration.
    """
    from pathlib import Path

    from cascade_core.labels.background import parse_background
    from components.artifacts import metadata as artifact_metadata
    from components.entry import enter
    from components.results import confusion_table, run_index
    from components.steps import evaluate
    from components.storage import places
    from components.tracking import pipeline_run

    enter()
    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)  # fetches the pictures of an s3:// address
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
    run_index.write_index(Path(index.path), evaluations=[Path(evaluation.path)], pictures=False)
    confusion_table.show(result, Path(evaluation.path), scores=scores, confusion=confusion)
    artifact_metadata.write_metrics(
        scores, scores.metadata, {"recipe": result.method, "seed": result.seed, "split": split}
    )
    artifact_metadata.write_metadata(
        evaluation, {"checkpoint": checkpoint, "protocol": protocol, "split": split}
    )
