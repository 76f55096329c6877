"""The graph of the workflow, stated once: prepare the data, train, measure, register and report models.

The Kubeflow pipelines, dvc.yaml and the chains on this machine all follow from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from cascade_core.configs.recipes import reads_templates
from components.steps import (
    evaluate,
    fit_thresholds,
    gate,
    prepare,
    prepare_custom,
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
    """A model with its evaluation, its profile (`cost`), and the evaluation by which the gate decides, if it is another."""

    model: Handle
    evaluation: Handle
    cost: Handle
    validation: Handle | None = None


def prepare_data(
    run: Runner[Handle],
    data: Data[Handle],
    *,
    protocol: Any,
    image_sets: Mapping[str, Any] | None = None,
    own: Mapping[str, Any] | None = None,
    vectors: Mapping[str, Any],
    vectors_name: str = "",
) -> Data[Handle]:
    """Index the pictures, write the class split, and make the text vectors with the options `vectors`.

    The pictures are those of `image_sets`, or, with a label file as the protocol, those that the arguments `own` of the
    step `prepare_custom` name.
    """
    if own is None:
        prepared = run(prepare.run, data, protocol=protocol, image_sets=image_sets)
    else:
        prepared = run(prepare_custom.run, data, labels=protocol, **own)
    data = replace(data, prepared=prepared)
    return name_classes(run, data, protocol=protocol, vectors=vectors, vectors_name=vectors_name)


def name_classes(
    run: Runner[Handle],
    data: Data[Handle],
    *,
    protocol: Any,
    vectors: Mapping[str, Any],
    vectors_name: str = "",
) -> Data[Handle]:
    """Write the class split of prepared data, and make the text vectors with the options `vectors`."""
    data = replace(data, splits=run(splits.run, data, protocol=protocol))
    return replace(data, text=run(text_vectors.run, data, vectors_name, protocol=protocol, **vectors))


def kept_templates(recipes: Sequence[str], overrides: Mapping[str, Any] | None = None) -> dict[str, bool]:
    """Return the option of the text vectors that a run of these recipes needs: to keep those of single templates, or none."""
    return {"by_template": True} if reads_templates(recipes, overrides) else {}


def measure(
    run: Runner[Handle],
    data: Data[Handle],
    model: Handle,
    setting: str,
    scoring: Mapping[str, Any],
    *,
    validation: Any = None,
) -> Measured[Handle]:
    """Evaluate and profile a model; `scoring` holds the split and further options of the evaluate step.

    With a split `validation`, the model is evaluated on that too, for the gate.
    """
    evaluation = run(evaluate.run, data, setting, checkpoint=model, **scoring)
    judged = _validate(run, data, model, setting, scoring, validation)
    return Measured(model, evaluation, run(profile.run, data, checkpoints=model), judged)


def _validate(
    run: Runner[Handle],
    data: Data[Handle],
    model: Handle,
    setting: str,
    scoring: Mapping[str, Any],
    split: Any,
) -> Handle | None:
    """Evaluate a model on the split by which the gate decides; None if that is the reported one."""
    if split is None:
        return None
    return run(evaluate.run, data, f"{setting}_validation", checkpoint=model, **{**scoring, "split": split})


def train_and_measure(
    run: Runner[Handle],
    data: Data[Handle],
    *,
    recipe: Any,
    overrides: Any,
    seed: Any,
    scoring: Mapping[str, Any],
    random_clip: bool | None = None,
    setting: str = "inductive",
    processes: int | None = None,
    validation: Any = None,
) -> Measured[Handle]:
    """Train a recipe inductively, then measure the model; a graph with a single evaluation has the setting "".

    `processes` share each batch; None leaves them to the runner.
    """
    model = run(
        train.run,
        data,
        recipe=recipe,
        overrides=overrides,
        seed=seed,
        random_clip=random_clip,
        processes=processes,
    )
    return measure(run, data, model, setting, scoring, validation=validation)


def self_train_and_score(
    run: Runner[Handle],
    data: Data[Handle],
    start: Measured[Handle],
    *,
    mode: Any,
    overrides: Any,
    scoring: Mapping[str, Any],
    processes: int | None = None,
    validation: Any = None,
) -> Measured[Handle]:
    """Continue training a model with pseudo-labels and score the result, whose cost is that of `start`."""
    model = run(
        self_train.run, data, trained=start.model, mode=mode, overrides=overrides, processes=processes
    )
    evaluation = run(evaluate.run, data, "transductive", checkpoint=model, **scoring)
    judged = _validate(run, data, model, "transductive", scoring, validation)
    return Measured(model, evaluation, start.cost, judged)


def register_models(
    run: Runner[Handle],
    data: Data[Handle],
    models: Sequence[Measured[Handle]],
    margins: Mapping[str, Any],
    *,
    own_gate: bool = True,
    name: Any = None,
    settings: Sequence[str] = ("inductive", "transductive"),
) -> None:
    """Register the inductive model and, if there is one, the transductive model, each with the gate's decision under these `margins`.

    `settings` distinguish the calls for the models, in order.

    They go one after the other, because the first may become the champion that the second is compared with. The gate is
    a step of its own, or, without `own_gate`, part of the register step. `name` is that in the registry; None leaves it to
    the steps.
    """
    registered: list[Handle] = []
    for setting, model in zip(settings, models, strict=False):
        decided = margins
        if own_gate:
            decision = run(
                gate.run,
                data,
                setting,
                after=registered,
                evaluation=model.evaluation if model.validation is None else model.validation,
                name=name,
                **margins,
            )
            decided = {"decision": decision}
        registered.append(
            run(
                register.run,
                data,
                setting,
                after=[] if own_gate else registered,
                checkpoint=model.model,
                evaluation=model.evaluation,
                validation=model.validation,
                profile=model.cost,
                name=name,
                **decided,
            )
        )


def fit_penalty(run: Runner[Handle], data: Data[Handle], model: Measured[Handle], *, split: Any) -> Handle:
    """Fit the seen penalty of an inductive model on a validation split; transductive models have none."""
    return run(fit_thresholds.run, data, checkpoint=model.model, split=split)


def report_models(
    run: Runner[Handle],
    data: Data[Handle],
    models: Sequence[Measured[Handle]],
    fits: Sequence[Handle] = (),
) -> Handle:
    """Gather the scores, costs and loss curves of all models, and the fits of penalties, into one page."""
    return run(
        report.run,
        data,
        evaluations=[model.evaluation for model in models],
        profiles=list(dict.fromkeys(model.cost for model in models)),
        trainings=[model.model for model in models],
        fits=list(fits) or None,
    )
