"""The steps as Kubeflow components: each body only calls `components.<step>.run()`, in this package's image.

Folders travel as artifacts; what has structure travels as JSON text, because numbers in lists and
dictionaries would arrive as floats. Bodies run in an interpreter of their own, so they import what they use.
"""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

IMAGE = "cascade-clip-workflow:0.1.0-python3.11"
"""Holds this package; compiling a pipeline may put another one in its place."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(
    raw: Input[Dataset],
    clip: Input[Model],
    protocol: str,
    image_sets: str,
    recipes: list,
    prepared: Output[Dataset],
    splits: Output[Artifact],
    text: Output[Artifact],
) -> None:
    """Check and index the data, state seen and unseen classes, and make a vector per class name."""
    import json
    from pathlib import Path

    from cascade_core.recipes import recipe
    from components import prepare, text_vectors
    from components import splits as split_step

    folder = Path(prepared.path)
    done = prepare.run(raw=Path(raw.path), protocol=protocol, image_sets=json.loads(image_sets), out=folder)
    split_step.run(prepared=folder, protocol=protocol, out=Path(splits.path))
    templates = recipe(recipes[0]).data.templates
    text_vectors.run(protocol=protocol, templates=templates, clip=Path(clip.path), out=Path(text.path))
    prepared.metadata.update(data_hash=done.data_hash, protocol=protocol)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    raw: Input[Dataset],
    prepared: Input[Dataset],
    splits: Input[Artifact],
    text: Input[Artifact],
    clip: Input[Model],
    recipe: str,
    overrides: str,
    seed: int,
    trained: Output[Model],
) -> None:
    """Train a recipe inductively; the raw data come along because the index points into them."""
    import json
    from pathlib import Path

    from components import train

    train.run(
        prepared=Path(prepared.path),
        splits=Path(splits.path),
        text=Path(text.path),
        clip=Path(clip.path),
        recipe=recipe,
        overrides=json.loads(overrides),
        seed=seed,
        out=Path(trained.path),
    )
    trained.metadata.update(recipe=recipe, seed=seed, setting="inductive")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def self_train(
    raw: Input[Dataset],
    prepared: Input[Dataset],
    splits: Input[Artifact],
    text: Input[Artifact],
    trained: Input[Model],
    protocol: str,
    overrides: str,
    self_trained: Output[Model],
) -> None:
    """Train on from the half-way checkpoint with pseudo-labels for unseen classes."""
    import json
    from pathlib import Path

    from components import self_train

    self_train.run(
        prepared=Path(prepared.path),
        splits=Path(splits.path),
        text=Path(text.path),
        trained=Path(trained.path),
        protocol=protocol,  # type: ignore[arg-type]
        overrides=json.loads(overrides),
        out=Path(self_trained.path),
    )
    self_trained.metadata.update(trained.metadata, setting=f"transductive_{protocol}")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    raw: Input[Dataset],
    prepared: Input[Dataset],
    splits: Input[Artifact],
    text: Input[Artifact],
    trained: Input[Model],
    split: str,
    limit: int,
    evaluation: Output[Artifact],
    scores: Output[Metrics],
) -> None:
    """Score a checkpoint on the pictures of a split; a limit of 0 takes them all."""
    from pathlib import Path

    from components import evaluate

    result = evaluate.run(
        prepared=Path(prepared.path),
        splits=Path(splits.path),
        text=Path(text.path),
        checkpoint=Path(trained.path) / "final",
        split=split,
        limit=limit or None,
        out=Path(evaluation.path),
    )
    for name in ("pAcc", "miou_seen", "miou_unseen", "hiou"):
        scores.log_metric(name, getattr(result, name))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def profile(
    trained: Input[Model], text: Input[Artifact], cost: Output[Artifact], metrics: Output[Metrics]
) -> None:
    """Count weights and multiply-adds; measure latency, throughput and memory."""
    from pathlib import Path

    from components import profile

    found = profile.run(checkpoint=Path(trained.path) / "final", text=Path(text.path), out=Path(cost.path))
    for name in ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib"):
        metrics.log_metric(name, getattr(found, name))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    trained: Input[Model],
    clip: Input[Model],
    evaluation: Input[Artifact],
    cost: Input[Artifact],
    registered: Output[Artifact],
) -> None:
    """Put a checkpoint into the model registry; champion if none scores better."""
    from pathlib import Path

    from components import register

    result = register.run(
        checkpoint=Path(trained.path) / "final",
        clip=Path(clip.path),
        evaluation=Path(evaluation.path),
        profile=Path(cost.path),
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
) -> None:
    """Gather all runs into benchmark.json, a table and a page."""
    from pathlib import Path

    from components import report

    evaluations = [Path(one.path) for both in zip(inductive, transductive, strict=True) for one in both]
    trainings = [Path(one.path) for both in zip(trained, self_trained, strict=True) for one in both]
    profiles = [Path(cost.path) for cost in costs]
    report.run(evaluations=evaluations, profiles=profiles, trainings=trainings, out=Path(results.path))
