"""Components for a pipeline's run in MLflow, and for registered champions."""

from typing import NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Markdown, Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def open_run(
    pipeline: str,
    protocol: str,
    kfp_run: str,
    links: Output[Markdown],
    targets: Optional[list] = None,  # noqa: UP045
    background: str = "",
) -> NamedTuple("Opened", [("run", str), ("Output", list)]):
    """Open the pipeline's run in MLflow, the parent of the steps' runs; return its id and the items of a loop over `targets`.

    The items are made here because `kfp.local` 2.17 loops over a step's output only, one with the name `Output`, and
    passes nothing else into a loop. `links` lead to the run's page.
    """
    from pathlib import Path

    from components.bodies import loop_items
    from components.entry import enter
    from components.storage import places
    from components.tracking import kubeflow_run

    enter()
    experiment = places.experiment(protocol)
    run = kubeflow_run.open_run(pipeline=pipeline, protocol=experiment, kfp_run=kfp_run)
    Path(links.path).write_text(kubeflow_run.links(run_id=run, protocol=experiment), encoding="utf-8")
    return run, loop_items.targets(targets or [], background, mlflow_run=run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def close_run(protocol: str, kfp_run: str, trainjobs: bool, status: dsl.PipelineTaskFinalStatus) -> None:
    """End the pipeline's run in MLflow, and remove its TrainJobs if it may have any; runs as the exit handler.

    Kubeflow runs it after any end, also after a cancellation, which does not end the jobs.
    """
    from components.entry import enter
    from components.storage import places
    from components.tracking import kubeflow_run

    enter()
    experiment = places.experiment(protocol)
    try:
        if trainjobs:
            from components.launching import nodes

            nodes.remove_jobs(kubeflow_run.run_ids(kfp_run=kfp_run, protocol=experiment))
    finally:
        kubeflow_run.close(
            kfp_run=kfp_run, protocol=experiment, state=status.state, error=status.error_message
        )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def take_champion(model: str, trained: Output[Model], recipe: str = "") -> None:
    """Fetch a registered version into a training's folder, which the measuring steps read.

    Kubeflow's page shows the `recipe` of the iteration.
    """
    from pathlib import Path

    from components.artifacts import metadata as artifact_metadata
    from components.entry import enter
    from components.registry import champions

    enter()
    manifest = champions.fetch(model, Path(trained.path))
    config = manifest.config
    facts = {"recipe": config.recipe, "seed": config.seed, "setting": manifest.setting, "model": model}
    artifact_metadata.write_metadata(trained, {**facts, **artifact_metadata.named("trained", facts)})
