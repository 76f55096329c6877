"""The scheduled rerun of the benchmark: every recipe over seeds, or its champion, against the last accepted results."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from kfp import dsl

from cascade_core.errors import UserError
from components import ops
from components.results.accepted import Models
from components.results.regression import Thresholds
from pipelines.graphs.defaults import IMAGE_SETS, PROTOCOL, RECIPES, SEEDS, SELF_TRAINING, SPLIT, THRESHOLDS
from pipelines.graphs.training import measured, self_trained, trained
from pipelines.kubeflow.ablation import check_parameters as check_grid
from pipelines.kubeflow.checks import as_mapping, check_self_training
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "benchmark"


def benchmark_pipeline(table: Mapping[str, Resources]) -> Any:
    """Give the pipeline, each step with its resources of `table`.

    Parameters are those of the zero-shot pipeline, but for `models` (train, or champions: take each recipe's of
    the registry, and leave seeds, overrides and self-training aside), several seeds, `thresholds` (JSON) from
    which on a difference counts, and `accept`, which holds later reruns against this one. The run fails if
    anything regressed; the comparison is made before, and keeps its page.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="Every recipe over seeds, against the last accepted results.")
    def benchmark(
        raw: str,
        clip: str,
        models: str = "train",
        protocol: str = PROTOCOL,
        image_sets: str = IMAGE_SETS,
        recipes: list = RECIPES,
        seeds: list = SEEDS,
        overrides: str = "{}",
        split: str = SPLIT,
        limit: int = 0,
        self_training: str = SELF_TRAINING,
        thresholds: str = THRESHOLDS,
        accept: bool = False,
    ) -> None:
        scoring = {"split": split, "limit": limit}
        with step.tracked(NAME, protocol) as mlflow_run:
            data, runs = step.prepared(
                mlflow_run=mlflow_run,
                raw=raw,
                clip=clip,
                protocol=protocol,
                image_sets=image_sets,
                recipes=recipes,
                overrides=overrides,
            )
            with dsl.If(models == "champions", name="champions-taken"):
                held = step(ops.find_champions, runs=runs)
                with dsl.ParallelFor(items=held.output, name="every-champion") as champion:
                    taken = step(ops.take_champion, model=champion.model).outputs["trained"]
                    found = measured(step.stated, data, taken, "champion", scoring)

                compared = step(
                    ops.compare_champions_with_accepted,
                    mlflow_run=mlflow_run,
                    evaluations=found.evaluation.collected,
                    costs=found.cost.collected,
                    thresholds=thresholds,
                    accept=accept,
                )
                step(ops.refuse_regression, outcome=compared.outputs["Output"])

            with dsl.Else(name="recipes-trained"):
                grid = step(ops.grid, runs=runs, seeds=seeds)
                with dsl.ParallelFor(items=grid.output, name="every-run") as run:
                    ready = replace(data, data_hash=run.data_hash)
                    inductive = trained(
                        step.stated,
                        ready,
                        recipe=run.recipe,
                        overrides=overrides,
                        seed=run.seed,
                        scoring=scoring,
                    )
                    transductive = self_trained(
                        step.stated,
                        ready,
                        inductive,
                        mode=self_training,
                        overrides=overrides,
                        scoring=scoring,
                    )

                compared = step(
                    ops.compare_with_accepted,
                    mlflow_run=mlflow_run,
                    inductive=inductive.evaluation.collected,
                    transductive=transductive.evaluation.collected,
                    costs=inductive.cost.collected,
                    thresholds=thresholds,
                    accept=accept,
                )
                step(ops.refuse_regression, outcome=compared.outputs["Output"])

    return benchmark


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check what a cluster would find out only as it runs; parameters left out have their defaults.

    Raises:
        UserError: as for the ablation, or models, the self-training mode or a threshold is not possible, or
            seeds or overrides are given for champions.
    """
    check_grid({"recipes": RECIPES, **values})
    _check_models(values)
    check_self_training(values.get("self_training", SELF_TRAINING))
    Thresholds.read(
        as_mapping("thresholds", values.get("thresholds", THRESHOLDS)), source="parameter thresholds"
    )


def _check_models(values: Mapping[str, Any]) -> None:
    models, known = values.get("models", "train"), get_args(Models)
    if models not in known:
        raise UserError(f"parameter models is {models!r}; known are {', '.join(known)}")
    if models == "champions" and (given := {"seeds", "overrides"} & set(values)):
        raise UserError(
            f"champions are measured as they were trained; leave out {', '.join(sorted(given))}, or give models=train"
        )
