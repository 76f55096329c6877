"""Components that gather what loops have made into tables and pages, and judge it."""

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
    """Gather all runs into benchmark.json, a table and a page."""
    import shutil
    from pathlib import Path

    from components.steps import report
    from components.tracking import pipeline_run

    pipeline_run.join(mlflow_run)
    evaluations = [Path(one.path) for both in zip(inductive, transductive, strict=True) for one in both]
    trainings = [Path(one.path) for both in zip(trained, self_trained, strict=True) for one in both]
    profiles = [Path(cost.path) for cost in costs]
    done = report.run(evaluations=evaluations, profiles=profiles, trainings=trainings, out=Path(results.path))
    shutil.copyfile(done.page, page.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ablation_report(
    mlflow_run: str,
    evaluations: Input[list[Artifact]],
    costs: Input[list[Artifact]],
    trained: Input[list[Model]],
    results: Output[Artifact],
    page: Output[HTML],
) -> None:
    """Gather the runs of a grid into one table, a row per recipe with mean and deviation over its seeds."""
    import shutil
    from pathlib import Path

    from components.steps import report
    from components.tracking import pipeline_run

    pipeline_run.join(mlflow_run)
    done = report.run(
        evaluations=[Path(one.path) for one in evaluations],
        profiles=[Path(one.path) for one in costs],
        trainings=[Path(one.path) for one in trained],
        out=Path(results.path),
    )
    shutil.copyfile(done.page, page.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_targets(
    mlflow_run: str, evaluations: Input[list[Artifact]], results: Output[Artifact], page: Output[HTML]
) -> None:
    """Gather the evaluations of one checkpoint on many data sets into one table."""
    import shutil
    from pathlib import Path

    from components.steps import cross_dataset
    from components.tracking import pipeline_run

    pipeline_run.join(mlflow_run)
    done = cross_dataset.run(evaluations=[Path(one.path) for one in evaluations], out=Path(results.path))
    shutil.copyfile(done.page, page.path)


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
    """Hold a rerun of the benchmark against the accepted one, record it, and return how it came out."""
    import json
    import shutil
    from pathlib import Path

    from components.steps import benchmark_rerun
    from components.tracking import pipeline_run

    pipeline_run.join(mlflow_run)
    done = benchmark_rerun.run(
        evaluations=[Path(one.path) for one in [*inductive, *transductive]],
        profiles=[Path(one.path) for one in [*costs, *costs]],
        thresholds=json.loads(thresholds),
        accept=accept,
        out=Path(results.path),
    )
    shutil.copyfile(done.page, page.path)
    return done.outcome


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
    """Hold the champions as they score now against how champions scored, record it, and return how it came out."""
    import json
    import shutil
    from pathlib import Path

    from components.steps import benchmark_rerun
    from components.tracking import pipeline_run

    pipeline_run.join(mlflow_run)
    done = benchmark_rerun.run(
        evaluations=[Path(one.path) for one in evaluations],
        profiles=[Path(one.path) for one in costs],
        thresholds=json.loads(thresholds),
        accept=accept,
        models="champions",
        out=Path(results.path),
    )
    shutil.copyfile(done.page, page.path)
    return done.outcome


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def refuse_regression(outcome: str) -> None:
    """Fail where a rerun regressed; a step of its own, so that the comparison before it keeps its page."""
    from components.steps import benchmark_rerun

    benchmark_rerun.refuse_regression(outcome)
