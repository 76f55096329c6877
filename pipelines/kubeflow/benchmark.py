"""The benchmark pipeline: compares every recipe over seeds, or its champion, with the last accepted results."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfp import dsl

from cascade_core.configs.settings import SelfTrainingMode
from cascade_core.errors import UserError
from components.ops import results
from components.ops.runs import take_champion
from components.results.accepted import Models
from components.results.regression import Thresholds
from pipelines.graphs.defaults import IMAGE_SETS, PROTOCOL, RECIPES, SEEDS, SELF_TRAINING, SPLIT, THRESHOLDS
from pipelines.graphs.training import measure, self_train_and_score, train_and_measure
from pipelines.kubeflow.ablation import check_parameters as check_grid
from pipelines.kubeflow.checks import check_choice, check_self_trained, from_json
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "benchmark"


def benchmark_pipeline(table: Mapping[str, Resources]) -> Any:
    """Build the pipeline; `table` holds the resources of each step.

    It adds to the parameters of the zero-shot pipeline: `models` ("train", or "champions" for each recipe's registered
    champion, without seeds, overrides and self-training), several `seeds`, the `thresholds` (JSON) of the
    comparison, and `accept`, which makes later reruns compare with this one. The run fails after the comparison if
    anything regressed.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="Every recipe over seeds, against the last accepted results.")
    def benchmark(
        raw: str,
        clip: str,
        models: str = "train",
        protocol: str = PROTOCOL,
        image_sets: str = IMAGE_SETS,
        folders: str = "",
        recipes: list = RECIPES,
        seeds: list = SEEDS,
        overrides: str = "{}",
        split: str = SPLIT,
        limit: int = 0,
        self_training: str = SELF_TRAINING,
        thresholds: str = THRESHOLDS,
        accept: bool = False,
        reuse_trainings: bool = True,
        keep: int = 0,
    ) -> None:
        scoring = {"split": split, "limit": limit}
        with step.mlflow_run(NAME, protocol) as opened:
            data, runs = step.prepare(
                mlflow_run=opened["run"],
                raw=raw,
                clip=clip,
                protocol=protocol,
                image_sets=image_sets,
                folders=folders,
                recipes=recipes,
                overrides=overrides,
                seeds=seeds,
                models=models,
            )

            def compare(kind: Models, indices: Any) -> None:
                comparison = step(
                    results.compare_with_accepted,
                    mlflow_run=opened["run"],
                    runs=indices,
                    models=kind,
                    thresholds=thresholds,
                    accept=accept,
                )
                checked = step(results.refuse_regression, outcome=comparison.outputs["Output"])
                step.prune(keep, checked)

            with dsl.If(models == "champions", name="champions-taken"):
                with dsl.ParallelFor(items=runs, name="every-champion") as champion:
                    own = replace(data, recipe=champion.recipe, seed=champion.seed)
                    model = step(take_champion, model=champion.model, recipe=champion.recipe)
                    scored = measure(step.run_step, own, model.outputs["trained"], "champion", scoring)
                    indices = step.index(
                        results.index_champion, own, evaluation=scored.evaluation, cost=scored.cost
                    )

                compare("champions", indices)

            with dsl.Else(name="recipes-trained"):
                with dsl.ParallelFor(items=runs, name="every-run") as run:
                    ready = replace(data, reuse_trainings=reuse_trainings, recipe=run.recipe, seed=run.seed)
                    settings: dict[str, Any] = {"overrides": overrides, "scoring": scoring}
                    inductive = train_and_measure(
                        step.run_step, ready, recipe=run.recipe, seed=run.seed, **settings
                    )
                    transductive = self_train_and_score(
                        step.run_step, ready, inductive, mode=self_training, **settings
                    )
                    indices = step.index_both(ready, inductive, transductive, pictures=False)

                compare("train", indices)

    return benchmark


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check parameters before submission; those that are left out have their defaults.

    Raises:
        UserError: as for the ablation; or `models`, the self-training mode or a threshold is wrong; or champions come
            with seeds or overrides.
    """
    check_grid({"recipes": RECIPES, **values})
    models = values.get("models", "train")
    check_choice("models", models, Models)
    if models == "champions" and (excess := {"seeds", "overrides"} & set(values)):
        raise UserError(
            f"champions are scored as they were trained; leave out {', '.join(sorted(excess))}, or give models=train"
        )
    if models == "train":
        check_self_trained(values.get("recipes", RECIPES), "ablation")
    check_choice("self_training", values.get("self_training", SELF_TRAINING), SelfTrainingMode)
    thresholds = from_json("thresholds", values.get("thresholds", THRESHOLDS))
    Thresholds.read(thresholds, source="parameter thresholds")
