"""What each iteration of a pipeline's loop works on: Kubeflow numbers iterations, and a reader wants recipe and seed."""

from collections.abc import Mapping
from typing import Any

from components.bodies.loop_items import shards, target_name
from pipelines.kubeflow import ablation, benchmark, cross_dataset, predict, zero_shot


def loop_items(pipeline: str, values: Mapping[str, Any]) -> list[str]:
    """Return a name for each iteration of the loop of the pipeline of this name, by its parameters.

    Returns an empty list for a pipeline of another project, or without the parameters that the loop runs over.
    """
    recipes = [str(name) for name in values.get("recipes") or []]
    match pipeline:
        case zero_shot.NAME:
            return recipes
        case benchmark.NAME if values.get("models") == "champions":
            return recipes
        case ablation.NAME | benchmark.NAME:
            return [f"{name}, seed {seed:g}" for name in recipes for seed in values.get("seeds") or []]
        case cross_dataset.NAME:
            return [target_name(target) for target in values.get("targets") or []]
        case predict.NAME:
            # The server returns whole numbers as floats.
            return [f"shard {item['shard']}" for item in shards(int(values.get("shards") or 0))]
    return []
