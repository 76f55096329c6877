"""Components for a pipeline's run in MLflow, for the items that its loops run over, and for registered champions."""

from kfp import dsl
from kfp.dsl import Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def open_run(pipeline: str, protocol: str, kfp_run: str) -> str:
    """Open the pipeline's run in MLflow, the parent of the steps' runs, and return its id."""
    from components.storage import places
    from components.tracking import kubeflow_run

    return kubeflow_run.open_run(pipeline=pipeline, protocol=places.experiment(protocol), kfp_run=kfp_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def close_run(protocol: str, kfp_run: str, trainjobs: bool, status: dsl.PipelineTaskFinalStatus) -> None:
    """End the pipeline's run in MLflow, and remove its TrainJobs if it may have any; runs as the exit handler.

    Kubeflow runs it after any end, also after a cancellation, which does not end the jobs.
    """
    from components.storage import places
    from components.tracking import kubeflow_run

    experiment = places.experiment(protocol)
    if trainjobs:
        from components.launching import nodes

        nodes.remove_jobs(kubeflow_run.run_ids(kfp_run=kfp_run, protocol=experiment))
    kubeflow_run.close(kfp_run=kfp_run, protocol=experiment, state=status.state, error=status.error_message)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def target_items(mlflow_run: str, targets: list, background: str) -> list:
    """Return a loop's items: each target with the pipeline's run, and with `background` unless it has its own.

    A component does this because `kfp.local` 2.17 loops over a step's output only, and passes nothing else into a loop.
    """
    return [{"background": background, **target, "mlflow_run": mlflow_run} for target in targets]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def grid(runs: list, seeds: list) -> list:
    """Return a loop's items: every run with every seed."""
    return [{**run, "seed": int(seed)} for run in runs for seed in seeds]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def find_champions(runs: list) -> list:
    """Return a loop's items: every run with its recipe's champion; fails if a recipe has none."""
    from components.registry import champions

    versions = champions.every_champion([run["recipe"] for run in runs], protocol=runs[0]["protocol"])
    return [{**run, "model": versions[run["recipe"]].uri} for run in runs]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def take_champion(model: str, trained: Output[Model]) -> None:
    """Fetch a registered version into a training's folder, which the measuring steps read."""
    from pathlib import Path

    from components import artifact_metadata
    from components.registry import champions

    manifest = champions.fetch(model, Path(trained.path))
    config = manifest.config
    facts = {"recipe": config.recipe, "seed": config.seed, "setting": manifest.setting, "model": model}
    artifact_metadata.write_metadata(trained, {**facts, **artifact_metadata.named("trained", facts)})
