"""The zero-shot pipeline, the whole workflow: train, self-train, evaluate, profile and register every recipe."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kfp import dsl

from cascade_core.configs.settings import SelfTrainingMode
from components.bodies.between_steps import TRAINING
from components.ops.results import index_run, report
from components.results.margins import Margins
from pipelines.graphs.defaults import GATE_SPLIT, IMAGE_SETS, MARGINS, PROTOCOL, RECIPES, SELF_TRAINING, SPLIT
from pipelines.graphs.training import Measured, register_models, self_train_and_score, train_and_measure
from pipelines.kubeflow.checks import check_choice, check_self_trained, check_split, check_training, from_json
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME, INDUCTIVE = "zero-shot-segmentation", "inductive-segmentation"


def zero_shot_pipeline(
    table: Mapping[str, Resources], *, self_trains: bool = True, one_split: bool = False
) -> Any:
    """Build the pipeline; `table` holds the resources of each step.

    Without `self_trains` it trains inductively only, and ignores the parameter `self_training`. With `one_split` the gate
    compares on the reported split: each model is evaluated once, and there is no parameter `gate_split`.

    `raw` and `clip` are folders in the steps' pods, or s3:// addresses. `image_sets`, `overrides` and `margins` (of
    the gate) are JSON, and so are `folders`, which with a label file as the protocol replace the image sets: the content
    of `OwnData`, with paths below `raw`. A `limit` of 0 evaluates all pictures of the split. Without `reuse_trainings` no
    finished training of an earlier run is taken. The gate compares on the split `gate_split`; `task` is the name in the
    registry for all methods, or empty: a name per method.
    """
    step, title = Steps(table), NAME if self_trains else INDUCTIVE
    settings = "inductive and transductive" if self_trains else "inductive"

    def zero_shot(
        raw: str,
        clip: str,
        protocol: str = PROTOCOL,
        image_sets: str = IMAGE_SETS,
        folders: str = "",
        recipes: list = RECIPES,
        overrides: str = "{}",
        seed: int = 0,
        split: str = SPLIT,
        self_training: str = SELF_TRAINING,
        limit: int = 0,
        margins: str = MARGINS,
        reuse_trainings: bool = True,
        keep: int = 0,
        task: str = "",
        gate_split: str = GATE_SPLIT,
    ) -> None:
        scoring = {"split": split, "limit": limit}
        with step.mlflow_run(title, protocol) as opened:
            data, runs = step.prepare(
                mlflow_run=opened["run"],
                raw=raw,
                clip=clip,
                protocol=protocol,
                image_sets=image_sets,
                folders=folders,
                recipes=recipes,
                overrides=overrides,
            )
            with dsl.ParallelFor(items=runs, name="every-recipe") as run:
                ready = replace(data, reuse_trainings=reuse_trainings, recipe=run.recipe, seed=seed)
                inductive = train_and_measure(
                    step.run_step,
                    ready,
                    recipe=run.recipe,
                    seed=seed,
                    overrides=overrides,
                    scoring=scoring,
                    validation=None if one_split else gate_split,
                )
                trained = [inductive]
                if self_trains:
                    transductive = self_train_and_score(
                        step.run_step,
                        ready,
                        inductive,
                        mode=self_training,
                        overrides=overrides,
                        scoring=scoring,
                        validation=None if one_split else gate_split,
                    )
                    indices = step.index_both(ready, inductive, transductive, pictures=True)
                    trained.append(transductive)
                else:
                    indices = step.index(
                        index_run,
                        ready,
                        evaluation=inductive.evaluation,
                        cost=inductive.cost,
                        training=inductive.model.part(TRAINING),
                        pictures=True,
                    )
                register_models(
                    step.run_step,
                    ready,
                    [_judged(model) for model in trained],
                    {"margins": margins},
                    own_gate=False,
                    name=task,
                )

            gathered = step(report, mlflow_run=opened["run"], runs=indices)
            step.prune(keep, gathered)

    named = dsl.pipeline(name=title, description=f"Zero-shot segmentation: every recipe, {settings}.")
    return named(_without_gate_split(zero_shot) if one_split else zero_shot)


def _without_gate_split(flow: Callable[..., None]) -> Callable[..., None]:
    """Return the flow without its parameter `gate_split`, from whose signature kfp takes the pipeline's parameters."""

    def shorter(*arguments: Any) -> None:
        flow(*arguments)

    *others, last = inspect.signature(flow).parameters.values()
    assert last.name == "gate_split", "kfp passes arguments by position"
    shorter.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    return shorter


def _judged(model: Measured[Any]) -> Measured[Any]:
    """Return a model with an evaluation for the gate, which the component `register` always takes."""
    return model if model.validation is not None else replace(model, validation=model.evaluation)


def on_one_split(values: Mapping[str, Any]) -> bool:
    """Say whether the gate compares on the reported split, by the parameters of a run."""
    return bool(values.get("split", SPLIT) == values.get("gate_split", GATE_SPLIT))


def check_parameters(values: Mapping[str, Any], *, self_trains: bool = True) -> None:
    """Check parameters before submission; those that are left out have their defaults.

    Raises:
        UserError: as for `check_training`; the self-training mode or a margin is wrong; or the pipeline `self_trains`, and
            a recipe is training-free.
    """
    check_training(values, RECIPES)
    if self_trains:
        check_self_trained(values.get("recipes", RECIPES), "inductive")
    check_choice("self_training", values.get("self_training", SELF_TRAINING), SelfTrainingMode)
    from_json("margins", values.get("margins", MARGINS), Margins)
    check_split("gate_split", values.get("gate_split", GATE_SPLIT), values)
