"""Components that gather the artifacts of loops into tables and pages, and compare them with accepted results."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    mlflow_run: str,
    inductive: Input[list[Artifact]],
    transductive: Input[list[Artifact]],
    costs: Input[list[Artifact]],
    trained: Input[list[Model]],
    self_trained: Input[list[Model]],
    results: Output[Artifact],
    page: Output[HTML],
) -> None:
    """Gather all runs into benchmark.json, a table and a page; a recipe's inductive run precedes its transductive one."""
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.steps import report
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    summary = report.run(
        evaluations=[
            Path(folder.path) for pair in zip(inductive, transductive, strict=True) for folder in pair
        ],
        profiles=[Path(folder.path) for folder in costs],
        trainings=[Path(folder.path) for pair in zip(trained, self_trained, strict=True) for folder in pair],
        out=Path(results.path),
    )
    shutil.copyfile(summary.page, page.path)
    kubeflow_run.finish(mlflow_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ablation_report(
    mlflow_run: str,
    evaluations: Input[list[Artifact]],
    costs: Input[list[Artifact]],
    trained: Input[list[Model]],
    results: Output[Artifact],
    page: Output[HTML],
) -> None:
    """Gather a grid's runs into one table: a row per recipe, with mean and deviation over its seeds."""
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.steps import report
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    summary = report.run(
        evaluations=[Path(folder.path) for folder in evaluations],
        profiles=[Path(folder.path) for folder in costs],
        trainings=[Path(folder.path) for folder in trained],
        out=Path(results.path),
    )
    shutil.copyfile(summary.page, page.path)
    kubeflow_run.finish(mlflow_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_targets(
    mlflow_run: str, evaluations: Input[list[Artifact]], results: Output[Artifact], page: Output[HTML]
) -> None:
    """Gather one checkpoint's evaluations on several data sets into one table."""
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.steps import cross_dataset
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    comparison = cross_dataset.run(
        evaluations=[Path(folder.path) for folder in evaluations], out=Path(results.path)
    )
    shutil.copyfile(comparison.page, page.path)
    kubeflow_run.finish(mlflow_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_with_accepted(
    mlflow_run: str,
    inductive: Input[list[Artifact]],
    transductive: Input[list[Artifact]],
    costs: Input[list[Artifact]],
    thresholds: str,
    accept: bool,
    results: Output[Artifact],
    page: Output[HTML],
) -> str:
    """Compare a rerun of the benchmark with the accepted one, record it, and return the outcome."""
    import json
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.steps import benchmark_rerun
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    rerun = benchmark_rerun.run(
        evaluations=[Path(folder.path) for folder in [*inductive, *transductive]],
        profiles=[Path(folder.path) for folder in [*costs, *costs]],
        thresholds=json.loads(thresholds),
        accept=accept,
        out=Path(results.path),
    )
    shutil.copyfile(rerun.page, page.path)
    if rerun.outcome != "regressed":  # then the next step fails the pipeline
        kubeflow_run.finish(mlflow_run)
    return rerun.outcome


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_champions_with_accepted(
    mlflow_run: str,
    evaluations: Input[list[Artifact]],
    costs: Input[list[Artifact]],
    thresholds: str,
    accept: bool,
    results: Output[Artifact],
    page: Output[HTML],
) -> str:
    """Compare the champions' scores with their accepted scores, record them, and return the outcome."""
    import json
    import shutil
    from pathlib import Path

    from components.entry import enter
    from components.steps import benchmark_rerun
    from components.tracking import kubeflow_run, pipeline_run

    enter()
    pipeline_run.join(mlflow_run)
    rerun = benchmark_rerun.run(
        evaluations=[Path(folder.path) for folder in evaluations],
        profiles=[Path(folder.path) for folder in costs],
        thresholds=json.loads(thresholds),
        accept=accept,
        models="champions",
        out=Path(results.path),
    )
    shutil.copyfile(rerun.page, page.path)
    if rerun.outcome != "regressed":  # then the next step fails the pipeline
        kubeflow_run.finish(mlflow_run)
    return rerun.outcome


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def refuse_regression(outcome: str) -> None:
    """Fail if the rerun regressed; a separate step, so that the failure does not cost the comparison's page."""
    from components.steps import benchmark_rerun

    benchmark_rerun.refuse_regression(outcome)
