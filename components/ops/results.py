"""Components that index what a loop's iterations made, gather the indices into tables and pages, and compare with accepted results."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def index_run(
    evaluation: Input[Artifact],
    cost: Input[Artifact],
    training: Input[Artifact],
    recipe: str,
    seed: int,
    pictures: bool,
    index: Output[Artifact],
) -> None:
    """Copy what reports read of a training and its evaluation into one small folder."""
    from pathlib import Path

    from components.results import run_index

    run_index.write_index(
        Path(index.path),
        evaluations=[Path(evaluation.path)],
        profile=Path(cost.path),
        trainings=[Path(training.path)],
        pictures=pictures,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def index_both(
    inductive: Input[Artifact],
    transductive: Input[Artifact],
    cost: Input[Artifact],
    training: Input[Artifact],
    self_training: Input[Artifact],
    recipe: str,
    seed: int,
    pictures: bool,
    index: Output[Artifact],
) -> None:
    """Copy what reports read of a training, its self-training and their evaluations into one small folder."""
    from pathlib import Path

    from components.results import run_index

    run_index.write_index(
        Path(index.path),
        evaluations=[Path(inductive.path), Path(transductive.path)],
        profile=Path(cost.path),
        trainings=[Path(training.path), Path(self_training.path)],
        pictures=pictures,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def index_champion(
    evaluation: Input[Artifact], cost: Input[Artifact], recipe: str, seed: int, index: Output[Artifact]
) -> None:
    """Copy what the comparison reads of a champion into one small folder."""
    from pathlib import Path

    from components.results import run_index

    run_index.write_index(
        Path(index.path), evaluations=[Path(evaluation.path)], profile=Path(cost.path), pictures=False
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    mlflow_run: str, runs: Input[list[Artifact]], results: Output[Artifact], page: Output[HTML]
) -> None:
    """Gather all runs into benchmark.json, a table with mean and deviation over seeds, and a page."""
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.results import run_index
    from components.steps import report
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    read = [run_index.read_index(Path(index.path)) for index in runs]
    summary = report.run(
        evaluations=[folder for run in read for folder in run.evaluations],
        profiles=[run.profile for run in read],
        trainings=[folder for run in read for folder in run.trainings],
        out=Path(results.path),
    )
    shutil.copyfile(summary.page, page.path)
    kubeflow_run.finish(mlflow_run, summary.page)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_targets(
    mlflow_run: str, runs: Input[list[Artifact]], results: Output[Artifact], page: Output[HTML]
) -> None:
    """Gather one checkpoint's evaluations on several data sets into one table."""
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.results import run_index
    from components.steps import cross_dataset
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    read = [run_index.read_index(Path(index.path)) for index in runs]
    comparison = cross_dataset.run(
        evaluations=[folder for run in read for folder in run.evaluations], out=Path(results.path)
    )
    shutil.copyfile(comparison.page, page.path)
    kubeflow_run.finish(mlflow_run, comparison.page)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_with_accepted(
    mlflow_run: str,
    runs: Input[list[Artifact]],
    models: str,
    thresholds: str,
    accept: bool,
    results: Output[Artifact],
    page: Output[HTML],
) -> str:
    """Compare a rerun of the benchmark with the accepted one, record it, and return the outcome.

    The `models` are new trainings ("train") or "champions".
    """
    import json
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.results import run_index
    from components.steps import benchmark_rerun
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    read = [run_index.read_index(Path(index.path)) for index in runs]
    rerun = benchmark_rerun.run(
        evaluations=[folder for run in read for folder in run.evaluations],
        profiles=[run.profile for run in read for _ in run.evaluations],
        thresholds=json.loads(thresholds),
        accept=accept,
        models=models,  # type: ignore[arg-type]  # kfp has no Literal
        out=Path(results.path),
    )
    shutil.copyfile(rerun.page, page.path)
    # After a regression the next step fails the pipeline.
    kubeflow_run.finish(mlflow_run, rerun.page, ends=rerun.outcome != "regressed")
    return rerun.outcome


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def refuse_regression(outcome: str) -> None:
    """Fail if the rerun regressed; a separate step, so that the failure does not cost the comparison's page."""
    from components.steps import benchmark_rerun

    benchmark_rerun.refuse_regression(outcome)
