"""Components about a pipeline's own run in MLflow, and about what its loops go over."""

from kfp import dsl

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def open_run(pipeline: str, protocol: str, kfp_run: str) -> str:
    """Open the pipeline's run in MLflow, whose children the steps' runs become, and return its id."""
    from components.storage import places
    from components.tracking import pipeline_run

    return pipeline_run.open_run(pipeline=pipeline, protocol=places.experiment(protocol), kfp_run=kfp_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def close_run(protocol: str, kfp_run: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """End the pipeline's run in MLflow as it ended; the exit handler, which runs whatever broke."""
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.close_kfp_run(
        kfp_run=kfp_run, protocol=places.experiment(protocol), state=status.state, error=status.error_message
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def told(mlflow_run: str, items: list, background: str) -> list:
    """Tell every item of a loop the pipeline's run, and how background is told where it does not say itself.

    A step does, because `kfp.local` 2.17 loops over a step's list only, and lets nothing else in.
    """
    return [{"background": background, **item, "mlflow_run": mlflow_run} for item in items]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def grid(runs: list, seeds: list) -> list:
    """Give every run with every seed, as ParallelFor takes them."""
    return [{**run, "seed": int(seed)} for run in runs for seed in seeds]
