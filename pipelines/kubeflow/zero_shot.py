"""The zero-shot pipeline, the whole workflow: train, self-train, evaluate, profile and register every recipe."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfp import dsl

from cascade_core.configs.settings import SelfTrainingMode
from components.bodies.between_steps import TRAINING
from components.ops.results import index_run, report
from components.results.margins import Margins
from pipelines.graphs.defaults import GATE_SPLIT, IMAGE_SETS, MARGINS, PROTOCOL, RECIPES, SELF_TRAINING, SPLIT
from pipelines.graphs.training import register_models, self_train_and_score, train_and_measure
from pipelines.kubeflow.checks import check_choice, check_split, check_training, from_json
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME, INDUCTIVE = "zero-shot-segmentation", "inductive-segmentation"


def zero_shot_pipeline(table: Mapping[str, Resources], *, self_trains: bool = True) -> Any:
    """Build the pipeline; `table` holds the resources of each step.

    Without `self_trains` it trains inductively only, and ignores the parameter `self_training`.

    `raw` and `clip` are folders in the steps' pods, or s3:// addresses. `image_sets`, `overrides` and `margins` (of
    the gate) are JSON, and so are `folders`, which with a label file as the protocol replace the image sets: the content
    of `OwnData`, with paths below `raw`. A `limit` of 0 evaluates all pictures of the split. Without `reuse_trainings` no
    finished training of an earlier run is taken. The gate compares on the split `gate_split`; `task` is the name in the
    registry for all methods, or empty: a name per method.
    """
    step, title = Steps(table), NAME if self_trains else INDUCTIVE
    settings = "inductive and transductive" if self_trains else "inductive"

    @dsl.pipeline(name=title, description=f"Zero-shot segmentation: every recipe, {settings}.")
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
        gate_split: str = GATE_SPLIT,
        task: str = "",
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
                    validation=gate_split,
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
                        validation=gate_split,
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
                    trained,
                    {"margins": margins},
                    own_gate=False,
                    name=task,
                )

            gathered = step(report, mlflow_run=opened["run"], runs=indices)
            step.prune(keep, gathered)

    return zero_shot


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check parameters before submission; those that are left out have their defaults.

    Raises:
        UserError: as for `check_training`, or the self-training mode or a margin is wrong.
    """
    check_training(values, RECIPES)
    check_choice("self_training", values.get("self_training", SELF_TRAINING), SelfTrainingMode)
    from_json("margins", values.get("margins", MARGINS), Margins)
    check_split("gate_split", values.get("gate_split", GATE_SPLIT), values)
