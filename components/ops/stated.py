"""Generated from the steps' statements by `python -m components.ops.write`; change the statements instead."""

from typing import Optional

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
    data_hash: str,
    trained: Output[Model],
    nodes: str = "",
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
    recipe: str = "",
    seed: Optional[int] = None,  # noqa: UP045
    nodes: str = "",
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
    seed: Optional[int] = None,  # noqa: UP045
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
    seed: Optional[int] = None,  # noqa: UP045
) -> None:
    """Measure parameters, multiply-adds, speed, memory."""
    from components.bodies.stated_step import run_component

    run_component("profile", locals())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(
    evaluation: Input[Artifact],
    margins: str,
    decision: Output[Artifact],
    verdict: Output[Markdown],
    recipe: str = "",
    seed: Optional[int] = None,  # noqa: UP045
) -> None:
    """Decide whether a candidate beats the champion."""
    from components.bodies.stated_step import run_component

    run_component("gate", locals())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    trained: Input[Model],
    evaluation: Input[Artifact],
    cost: Input[Artifact],
    clip: str,
    decision: Input[Artifact],
    registered: Output[Artifact],
    verdict: Output[Markdown],
    recipe: str = "",
    seed: Optional[int] = None,  # noqa: UP045
) -> None:
    """Register a model in MLflow's registry."""
    from components.bodies.stated_step import run_component

    run_component("register", locals())
