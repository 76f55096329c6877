"""Components that train: in as many processes as their pod has GPUs, or on the `nodes` (JSON) of a TrainJob."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    raw: str,
    clip: str,
    data_hash: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    recipe: str,
    overrides: str,
    seed: int,
    trained: Output[Model],
    nodes: str = "",
) -> None:
    """Train a recipe inductively; `data_hash` is here so that a cached training is one on the same data."""
    import json
    from pathlib import Path

    from components.launching import nodes as launch_nodes
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)
    arguments = {
        "prepared": Path(prepared.path),
        "splits": Path(splits.path),
        "text": Path(text.path),
        "clip": places.folder("clip", clip),
        "recipe": recipe,
        "overrides": json.loads(overrides),
        "seed": seed,
        "out": Path(trained.path),
    }
    launch_nodes.run_where("train", arguments, nodes)
    trained.metadata.update(recipe=recipe, seed=seed, setting="inductive", data_hash=data_hash)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def self_train(
    raw: str,
    prepared: Input[Dataset],
    splits: Input[Dataset],
    text: Input[Dataset],
    trained: Input[Model],
    mode: str,
    overrides: str,
    self_trained: Output[Model],
    nodes: str = "",
) -> None:
    """Train on from the half-way checkpoint with pseudo-labels for unseen classes."""
    import json
    from pathlib import Path

    from components.launching import nodes as launch_nodes
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.join(prepared.metadata.get("mlflow_run", ""))
    places.folder("raw", raw)
    arguments = {
        "prepared": Path(prepared.path),
        "splits": Path(splits.path),
        "text": Path(text.path),
        "trained": Path(trained.path),
        "mode": mode,
        "overrides": json.loads(overrides),
        "out": Path(self_trained.path),
    }
    launch_nodes.run_where("self_train", arguments, nodes)
    self_trained.metadata.update(trained.metadata, setting=f"transductive_{mode}")
