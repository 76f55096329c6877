"""The scheduled rerun of the benchmark: every recipe over seeds, held against the last accepted results."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components import ops
from pipelines.ablation import check_parameters as check_grid
from pipelines.checks import as_mapping, check_self_training
from pipelines.resources import Resources, give_resources
from pipelines.zero_shot import IMAGE_SETS, PROTOCOL

NAME = "benchmark"
RECIPES = ["mini_zegclip", "mini_cascade_clip"]
SEEDS = [0, 1, 2]
THRESHOLDS = (
    '{"max_drop": {"pAcc": 0.03, "miou_seen": 0.03, "miou_unseen": 0.05, "hiou": 0.04}, '
    '"max_slowdown": 0.3, "num_deviations": 2}'
)
"""What `params.yaml` says under `benchmark.thresholds`: a pipeline that is submitted has no file beside it."""


def benchmark_pipeline(table: Mapping[str, Resources]) -> Any:
    """Give the pipeline, each step with its resources of `table`.

    Parameters are those of the zero-shot pipeline, but for several seeds, `thresholds` (JSON) from which on a
    difference counts, and `accept`, which holds later reruns against this one. The run fails if anything
    regressed; the comparison is made before, and keeps its page.
    """

    @dsl.pipeline(name=NAME, description="Every recipe over seeds, against the last accepted results.")
    def benchmark(
        raw: str,
        clip: str,
        protocol: str = PROTOCOL,
        image_sets: str = IMAGE_SETS,
        recipes: list = RECIPES,
        seeds: list = SEEDS,
        overrides: str = "{}",
        split: str = "test",
        limit: int = 0,
        self_training: str = "oracle",
        thresholds: str = THRESHOLDS,
        accept: bool = False,
    ) -> None:
        closed = ops.close_run(protocol=protocol, kfp_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        with dsl.ExitHandler(exit_task=closed, name="tracked"):
            opened = ops.open_run(pipeline=NAME, protocol=protocol, kfp_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
            prepared = ops.prepare(
                mlflow_run=opened.output,
                raw=raw,
                clip=clip,
                protocol=protocol,
                image_sets=image_sets,
                recipes=recipes,
            )
            data = {"raw": raw, **{name: prepared.outputs[name] for name in ("prepared", "splits", "text")}}
            grid = ops.grid(runs=prepared.outputs["Output"], seeds=seeds)

            with dsl.ParallelFor(items=grid.output, name="every-run") as run:
                train = ops.train(
                    **data,
                    clip=clip,
                    data_hash=run.data_hash,
                    recipe=run.recipe,
                    overrides=overrides,
                    seed=run.seed,
                )
                trained = train.outputs["trained"]
                inductive = ops.evaluate(**data, trained=trained, split=split, limit=limit)
                inductive.set_display_name("evaluate inductive")
                cost = ops.profile(trained=trained, text=data["text"])

                self_train = ops.self_train(
                    **data, trained=trained, protocol=self_training, overrides=overrides
                )
                self_trained = self_train.outputs["self_trained"]
                transductive = ops.evaluate(**data, trained=self_trained, split=split, limit=limit)
                transductive.set_display_name("evaluate transductive")

            compared = ops.compare_with_accepted(
                inductive=dsl.Collected(inductive.outputs["evaluation"]),
                transductive=dsl.Collected(transductive.outputs["evaluation"]),
                costs=dsl.Collected(cost.outputs["cost"]),
                thresholds=thresholds,
                accept=accept,
            )
            verdict = ops.refuse_regression(outcome=compared.outputs["Output"])

        give_resources(
            table,
            {
                "open_run": [opened],
                "prepare": [prepared],
                "grid": [grid],
                "train": [train],
                "self_train": [self_train],
                "evaluate": [inductive, transductive],
                "profile": [cost],
                "compare_with_accepted": [compared],
                "refuse_regression": [verdict],
                "close_run": [closed],
            },
        )

    return benchmark


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check what a cluster would find out only as it runs; parameters left out have their defaults.

    Raises:
        ValueError: as for the ablation, or the transductive protocol or a threshold is not possible.
    """
    from components.regression import Thresholds

    check_grid({"recipes": RECIPES, **values})
    check_self_training(values.get("self_training", "oracle"))
    Thresholds.read(
        as_mapping("thresholds", values.get("thresholds", THRESHOLDS)), source="parameter thresholds"
    )
