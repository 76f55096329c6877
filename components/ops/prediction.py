"""Components that label a list of pictures in shards: list them, label a shard, join all shards."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def list_pictures(mlflow_run: str, pictures: str, place: str, shards: int, listed: Output[Dataset]) -> list:
    """List the pictures once for all shards, and return the loop's items: a shard each."""
    from pathlib import Path

    from components.artifacts import metadata as artifact_metadata
    from components.bodies import loop_items
    from components.entry import enter
    from components.steps import list_pictures
    from components.tracking import pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    result = list_pictures.run(pictures=pictures, place=place, out=Path(listed.path))
    artifact_metadata.write_metadata(
        listed, {"pictures": result.pictures, "listed_from": pictures, "mlflow_run": mlflow_run}
    )
    return loop_items.shards(shards)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def predict(
    listed: Input[Dataset],
    shard: str,
    model: str,
    labels: str,
    place: str,
    clip: str,
    batch: int,
    background: str,
    scales: str,
    flip: bool,
    precision: str,
    short_side: int,
    seen_penalty: str,
    index: Output[Artifact],
) -> None:
    """Label a shard of the list into the place of the results; a repetition keeps what is finished.

    Empty texts and 0 stand for options that are left out.
    """
    from pathlib import Path

    from cascade_core.labels.background import parse_background
    from cascade_core.runtime.option_texts import fraction, numbers
    from components.entry import enter
    from components.inputs import labels_given
    from components.steps import predict
    from components.storage import places
    from components.tracking import pipeline_run

    enter()
    pipeline_run.join(listed.metadata.get("mlflow_run", ""))
    predict.run(
        listed=Path(listed.path),
        shard=shard,
        model=places.model(model),
        labels=labels_given.labels_at(labels),
        place=place,
        clip=places.folder("clip", clip) if clip else None,
        batch=batch or None,
        background=parse_background(background) if background else None,
        scales=numbers("parameter scales", scales, float, example="0.75,1,1.25"),
        flip=flip,
        precision=precision or None,  # type: ignore[arg-type]  # the settings check it
        short_side=short_side or None,
        seen_penalty=fraction("parameter seen_penalty", seen_penalty),
        out=Path(index.path),
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gather(
    mlflow_run: str,
    place: str,
    runs: Input[list[Artifact]],
    results: Output[Artifact],
    page: Output[HTML],
    counts: Output[Metrics],
) -> None:
    """Join all shards in one table, and record counts, failures and the histogram of classes."""
    import shutil
    from pathlib import Path

    from components.artifacts import metadata as artifact_metadata
    from components.entry import enter
    from components.steps import gather
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    result = gather.run(place=place, shards=[Path(index.path) for index in runs], out=Path(results.path))
    shutil.copyfile(result.page, page.path)
    artifact_metadata.write_metrics(
        counts, {"pictures": result.pictures, "failed": result.failed, "kept": result.kept}, {}
    )
    kubeflow_run.finish(mlflow_run, result.page)
