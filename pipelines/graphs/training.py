"""The graph of the workflow, stated once: data made ready, a training with all that hangs on it, models offered.

Kubeflow's pipelines, dvc.yaml and the chains of this machine are renderings of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from components.steps import (
    evaluate,
    gate,
    prepare,
    profile,
    register,
    report,
    self_train,
    splits,
    text_vectors,
    train,
)
from pipelines.graphs.runner import Data, Handle, Runner


@dataclass(frozen=True)
class Measured(Generic[Handle]):
    """A model, how it scores, and what it costs."""

    model: Handle
    evaluation: Handle
    cost: Handle


def made_ready(
    do: Runner[Handle],
    data: Data[Handle],
    *,
    protocol: Any,
    image_sets: Mapping[str, Any],
    vectors: Mapping[str, Any],
    vectors_of: str = "",
) -> Data[Handle]:
    """Index the pictures, state the classes, make their text vectors as `vectors` says, which `vectors_of` names."""
    prepared = do(prepare.run, data, protocol=protocol, image_sets=image_sets)
    data = replace(data, prepared=prepared)
    data = replace(data, splits=do(splits.run, data, protocol=protocol))
    return replace(data, text=do(text_vectors.run, data, vectors_of, protocol=protocol, **vectors))


def scored(
    do: Runner[Handle], data: Data[Handle], model: Handle, setting: str, scoring: Mapping[str, Any]
) -> Handle:
    """Evaluate a model; `scoring` holds the split, and whatever else the evaluate step takes."""
    return do(evaluate.run, data, setting, checkpoint=model, **scoring)


def measured(
    do: Runner[Handle], data: Data[Handle], model: Handle, setting: str, scoring: Mapping[str, Any]
) -> Measured[Handle]:
    """Evaluate a model and profile it."""
    evaluation = scored(do, data, model, setting, scoring)
    return Measured(model, evaluation, do(profile.run, data, checkpoints=model))


def trained(
    do: Runner[Handle],
    data: Data[Handle],
    *,
    recipe: Any,
    overrides: Any,
    seed: Any,
    scoring: Mapping[str, Any],
    random_clip: bool | None = None,
    setting: str = "inductive",
) -> Measured[Handle]:
    """Train a recipe inductively and measure what came of it; "" as setting where nothing else is evaluated."""
    model = do(train.run, data, recipe=recipe, overrides=overrides, seed=seed, random_clip=random_clip)
    return measured(do, data, model, setting, scoring)


def self_trained(
    do: Runner[Handle],
    data: Data[Handle],
    start: Measured[Handle],
    *,
    mode: Any,
    overrides: Any,
    scoring: Mapping[str, Any],
) -> Measured[Handle]:
    """Train a model on with pseudo-labels and score it; it costs what the one it started from does."""
    model = do(self_train.run, data, trained=start.model, mode=mode, overrides=overrides)
    return Measured(model, scored(do, data, model, "transductive", scoring), start.cost)


def offered(
    do: Runner[Handle], data: Data[Handle], models: Sequence[Measured[Handle]], margins: Mapping[str, Any]
) -> None:
    """Ask the gate about each model, which has to be better by the `margins`, and register it.

    One after the other: each is held against the champion that the one before it may have become.
    """
    registered: list[Handle] = []
    for setting, one in zip(("inductive", "transductive"), models, strict=True):
        decision = do(gate.run, data, setting, after=registered, evaluation=one.evaluation, **margins)
        registered.append(
            do(
                register.run,
                data,
                setting,
                checkpoint=one.model,
                evaluation=one.evaluation,
                profile=one.cost,
                decision=decision,
            )
        )


def reported(do: Runner[Handle], data: Data[Handle], models: Sequence[Measured[Handle]]) -> Handle:
    """Gather all models' scores, costs and loss curves into one page."""
    return do(
        report.run,
        data,
        evaluations=[one.evaluation for one in models],
        profiles=list(dict.fromkeys(one.cost for one in models)),
        trainings=[one.model for one in models],
    )
