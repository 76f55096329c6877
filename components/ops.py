"""The steps as Kubeflow components: each body only calls `components.<step>.run()`, in this package's image.

What a step makes travels as an artifact; data sets and CLIP weights, which are large, stay where they lie, and
steps get their addresses. What has structure travels as JSON text, because numbers in lists and dictionaries
would arrive as floats. Bodies run in an interpreter of their own, so they import what they use.
"""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

IMAGE = "cascade-clip-workflow:0.1.0-python3.11"
"""Holds this package; compiling a pipeline may put another one in its place."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def open_run(pipeline: str, protocol: str, kfp_run: str) -> str:
    """Open the pipeline's run in MLflow, whose children the steps' runs become, and return its id."""
    from components import pipeline_run

    return pipeline_run.open_run(pipeline=pipeline, protocol=protocol, kfp_run=kfp_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def close_run(protocol: str, kfp_run: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """End the pipeline's run in MLflow as it ended; the exit handler, which runs whatever broke."""
    from components import pipeline_run

    pipeline_run.close_kfp_run(
        kfp_run=kfp_run, protocol=protocol, state=status.state, error=status.error_message
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def told(mlflow_run: str, items: list) -> list:
    """Tell every item of a loop the pipeline's run: `kfp.local` 2.17 loops over a step's list only, and lets nothing else in."""
    return [{**item, "mlflow_run": mlflow_run} for item in items]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(
    mlflow_run: str,
    raw: str,
    clip: str,
    protocol: str,
    image_sets: str,
    recipes: list,
    prepared: Output[Dataset],
    splits: Output[Dataset],
    text: Output[Dataset],
) -> list:
    """Check and index the data, state seen and unseen classes, make a vector per class name; return the runs to loop over.

    Each has its recipe and the hash of the data. The hash takes this way because `kfp.local` 2.17 puts the
    loop's item in the place of any other step's result that enters a loop.
    """
    import json
    from pathlib import Path

    from cascade_core.recipes import recipe as named_recipe
    from components import before_training, pipeline_run, places

    pipeline_run.join(mlflow_run)
    done = before_training.run(
        raw=places.folder("raw", raw),
        clip=places.folder("clip", clip),
        protocol=protocol,
        image_sets=json.loads(image_sets),
        templates=named_recipe(recipes[0]).data.templates,
        prepared=Path(prepared.path),
        split=Path(splits.path),
        text=Path(text.path),
    )
    prepared.metadata.update(data_hash=done.data_hash, protocol=protocol, raw=raw, mlflow_run=mlflow_run)
    text.metadata.update(mlflow_run=mlflow_run)
    return [{"recipe": recipe, "data_hash": done.data_hash} for recipe in recipes]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare_target(
    mlflow_run: str,
    raw: str,
    clip: str,
    checkpoint: str,
    protocol: str,
    image_sets: str,
    prepared: Output[Dataset],
    splits: Output[Dataset],
    text: Output[Dataset],
) -> None:
    """Prepare another data set for a checkpoint: its vectors come from the prompt templates that it was trained with."""
    import json
    from pathlib import Path

    from cascade_core.train.checkpoint import load_manifest
    from components import before_training, pipeline_run, places

    pipeline_run.join(mlflow_run)
    done = before_training.run(
        raw=places.folder("raw", raw),
        clip=places.folder("clip", clip),
        protocol=protocol,
        image_sets=json.loads(image_sets),
        templates=load_manifest(places.folder("checkpoint", checkpoint)).config.data.templates,
        prepared=Path(prepared.path),
        split=Path(splits.path),
        text=Path(text.path),
    )
    prepared.metadata.update(data_hash=done.data_hash, protocol=protocol, raw=raw, mlflow_run=mlflow_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def grid(runs: list, seeds: list) -> list:
    """Give every run with every seed, as ParallelFor takes them."""
    return [{**run, "seed": int(seed)} for run in runs for seed in seeds]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    raw: str,
    clip: str,
    data_hash: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    recipe: str,
    overrides: str,
    seed: int,
    trained: Output[Model],
) -> None:
    """Train a recipe inductively; `data_hash` is here so that a cached training is one on the same data."""
    import json
    from pathlib import Path

    from components import launch, pipeline_run, places

    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)
    arguments = {
        "prepared": Path(prepared.path),
        "splits": Path(splits.path),
        "text": Path(text.path),
        "clip": places.folder("clip", clip),
        "recipe": recipe,
        "overrides": json.loads(overrides),
        "seed": seed,
        "out": Path(trained.path),
    }
    launch.run("train", arguments)
    trained.metadata.update(recipe=recipe, seed=seed, setting="inductive", data_hash=data_hash)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def self_train(
    raw: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    trained: Input[Model],
    protocol: str,
    overrides: str,
    self_trained: Output[Model],
) -> None:
    """Train on from the half-way checkpoint with pseudo-labels for unseen classes."""
    import json
    from pathlib import Path

    from components import launch, pipeline_run, places

    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)
    arguments = {
        "prepared": Path(prepared.path),
        "splits": Path(splits.path),
        "text": Path(text.path),
        "trained": Path(trained.path),
        "protocol": protocol,
        "overrides": json.loads(overrides),
        "out": Path(self_trained.path),
    }
    launch.run("self_train", arguments)
    self_trained.metadata.update(trained.metadata, setting=f"transductive_{protocol}")


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

    from components import confusion_table, evaluate, pipeline_run, places

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
    for name, value in result.scores.items():
        scores.log_metric(name, value)
    confusion.log_confusion_matrix(*confusion_table.confusion_at_hand(Path(evaluation.path)))
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
    evaluation: Output[Artifact],
    scores: Output[Metrics],
    confusion: Output[ClassificationMetrics],
) -> None:
    """Score a checkpoint on another data set, all of whose classes count as seen; a limit of 0 takes all pictures."""
    from pathlib import Path

    from components import confusion_table, evaluate, pipeline_run, places

    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)
    result = evaluate.run(
        prepared=Path(prepared.path),
        splits=Path(splits.path),
        text=Path(text.path),
        checkpoint=places.folder("checkpoint", checkpoint),
        split=split,
        limit=limit or None,
        target=protocol,
        out=Path(evaluation.path),
    )
    for name, value in result.scores.items():
        scores.log_metric(name, value)
    confusion.log_confusion_matrix(*confusion_table.confusion_at_hand(Path(evaluation.path)))
    evaluation.metadata.update(checkpoint=checkpoint, protocol=protocol, split=split)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def profile(
    trained: Input[Model], text: Input[Dataset], cost: Output[Artifact], metrics: Output[Metrics]
) -> None:
    """Count weights and multiply-adds; measure latency, throughput and memory."""
    from pathlib import Path

    from components import pipeline_run, profile

    pipeline_run.join(text.metadata.get("mlflow_run", ""))
    found = profile.run(checkpoint=Path(trained.path) / "final", text=Path(text.path), out=Path(cost.path))
    for name in ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib"):
        metrics.log_metric(name, getattr(found, name))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(evaluation: Input[Artifact], margins: str, decision: Output[Artifact]) -> None:
    """Hold an evaluated candidate against the champion; `margins` (JSON) say how much better it must be."""
    from pathlib import Path

    from components import gate, pipeline_run

    pipeline_run.join(evaluation.metadata.get("mlflow_run", ""))
    allowed = gate.Margins.model_validate_json(margins)
    decided = gate.run(evaluation=Path(evaluation.path), margins=allowed, out=Path(decision.path))
    decision.metadata.update(promote=decided.promote, reason=decided.reason)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    trained: Input[Model],
    clip: str,
    evaluation: Input[Artifact],
    cost: Input[Artifact],
    decision: Input[Artifact],
    registered: Output[Artifact],
) -> None:
    """Put a checkpoint into the model registry; champion if the gate said so."""
    from pathlib import Path

    from components import pipeline_run, places, register

    pipeline_run.join(evaluation.metadata.get("mlflow_run", ""))
    result = register.run(
        checkpoint=Path(trained.path) / "final",
        clip=places.folder("clip", clip),
        evaluation=Path(evaluation.path),
        profile=Path(cost.path),
        decision=Path(decision.path),
        out=Path(registered.path),
    )
    registered.metadata.update(model=result.uri, champion=result.champion)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
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

    from components import report

    evaluations = [Path(one.path) for both in zip(inductive, transductive, strict=True) for one in both]
    trainings = [Path(one.path) for both in zip(trained, self_trained, strict=True) for one in both]
    profiles = [Path(cost.path) for cost in costs]
    done = report.run(evaluations=evaluations, profiles=profiles, trainings=trainings, out=Path(results.path))
    shutil.copyfile(done.page, page.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ablation_report(
    evaluations: Input[list[Artifact]],
    costs: Input[list[Artifact]],
    trained: Input[list[Model]],
    results: Output[Artifact],
    page: Output[HTML],
) -> None:
    """Gather the runs of a grid into one table, a row per recipe with mean and deviation over its seeds."""
    import shutil
    from pathlib import Path

    from components import report

    done = report.run(
        evaluations=[Path(one.path) for one in evaluations],
        profiles=[Path(one.path) for one in costs],
        trainings=[Path(one.path) for one in trained],
        out=Path(results.path),
    )
    shutil.copyfile(done.page, page.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_targets(
    evaluations: Input[list[Artifact]], results: Output[Artifact], page: Output[HTML]
) -> None:
    """Gather the evaluations of one checkpoint on many data sets into one table."""
    import shutil
    from pathlib import Path

    from components import cross_dataset

    done = cross_dataset.run(evaluations=[Path(one.path) for one in evaluations], out=Path(results.path))
    shutil.copyfile(done.page, page.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare_with_accepted(
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

    from components import benchmark_rerun

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
def refuse_regression(outcome: str) -> None:
    """Fail where a rerun regressed; a step of its own, so that the comparison before it keeps its page."""
    from components import benchmark_rerun

    benchmark_rerun.refuse_regression(outcome)
