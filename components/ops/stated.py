"""Generated from the steps' statements by `python -m components.ops.write`; change the statements instead."""

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    raw: str,
    recipe: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    clip: str,
    overrides: str,
    seed: int,
    trained: Output[Model],
    half: Output[Model],
    training: Output[Artifact],
    nodes: str = "",
    reuse_trainings: bool = True,
) -> None:
    """Train a recipe without labels of unseen classes."""
    from components.bodies.stated_step import run_component

    run_component("train", locals())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def self_train(
    raw: str,
    trained: Input[Model],
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    mode: str,
    overrides: str,
    self_trained: Output[Model],
    training: Output[Artifact],
    recipe: str = "",
    seed: int = -1,
    nodes: str = "",
    reuse_trainings: bool = True,
) -> None:
    """Continue training with pseudo-labels (transductive)."""
    from components.bodies.stated_step import run_component

    run_component("self_train", locals())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    raw: str,
    trained: Input[Model],
    split: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    limit: int,
    evaluation: Output[Artifact],
    scores: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    recipe: str = "",
    seed: int = -1,
) -> None:
    """Score a checkpoint: table, confusion, pictures."""
    from components.bodies.stated_step import run_component

    run_component("evaluate", locals())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def profile(
    trained: Input[Model],
    text: Input[Dataset],
    cost: Output[Artifact],
    metrics: Output[Metrics],
    recipe: str = "",
    seed: int = -1,
) -> None:
    """Measure parameters, multiply-adds, speed, memory."""
    from components.bodies.stated_step import run_component

    run_component("profile", locals())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    trained: Input[Model],
    evaluation: Input[Artifact],
    cost: Input[Artifact],
    validation: Input[Artifact],
    clip: str,
    name: str,
    margins: str,
    registered: Output[Artifact],
    verdict: Output[Markdown],
    recipe: str = "",
    seed: int = -1,
) -> None:
    """Register a model in MLflow's registry."""
    from components.bodies.stated_step import run_component

    run_component("register", locals())
