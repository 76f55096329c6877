"""Step: train a segmentor inductively (unseen pixels are negatives of every seen class) or with full supervision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cascade_core.errors import UserError
from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Option, step
from components.contract.shared import (
    ClipFolder,
    Out,
    Overrides,
    Precision,
    Prepared,
    Processes,
    Recipe,
    Resume,
    Seed,
    SplitsFolder,
    Text,
)
from components.results.names import FINAL_FOLDER


@dataclass(frozen=True)
class Trained:
    """The final checkpoint, and the half-way checkpoint, from which self-training starts; a training-free recipe has none."""

    final: Path
    half: Path | None


def setting_of(_: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the setting of the model that a training wrote, as metadata for Kubeflow."""
    from cascade_core.checkpoints.manifest import load_manifest

    return {"setting": load_manifest(arguments["out"] / FINAL_FOLDER).setting}


@step(
    "train",
    threads="usable",
    example="cascade-clip train --recipe mini_zegclip --clip data/mini/clip --out local_outputs/train",
    cluster=Cluster(
        output="trained",
        artifact="Model",
        parts={"half": "Model", "training": "Artifact"},
        options=("recipe", "overrides", "seed"),
        show=setting_of,
        reads_pictures=True,
        trains=True,
        pods=by_kind(
            cpu=replace(MINI, retries=1, on_volume=True),
            gpu=replace(LARGE, minutes=2880, retries=1, on_volume=True),
        ),
    ),
)
def run(
    call: Call,
    /,
    *,
    recipe: Recipe,
    prepared: Prepared,
    splits: SplitsFolder,
    text: Text,
    out: Out,
    clip: ClipFolder | None = None,
    random_clip: Annotated[bool, Option("Instead of --clip: a random image tower, for controls.")] = False,
    overrides: Overrides,
    seed: Seed = 0,
    resume: Resume = True,
    processes: Processes = 1,
    precision: Precision = None,
) -> Trained:
    """Train a recipe without labels of unseen classes.

    Writes the checkpoints `final/` and `half/`, and the loss curve `history.csv`. With --set train.supervision=full
    the model is trained with the labels of all classes. If the splits were made from a label file, its protocol
    replaces the recipe's. An interrupted training resumes from its last checkpoint. Under torchrun, each process
    takes its share of every batch, and only the first one writes.

    --precision is that of the model's arithmetic; weights, losses and gradients of weights are float32.

    A training-free recipe, such as naclip, becomes a model as it is, named by the prompt templates of the text vectors.

    Raises:
        UserError: recipe, overrides, CLIP weights and input folders do not fit together, text vectors from a file
            belong to other names, or the processes cannot share the batch evenly.
    """
    import os

    from cascade_core.configs.changes import with_overrides
    from cascade_core.configs.overrides import with_precision
    from cascade_core.configs.recipes import recipe as named_recipe
    from cascade_core.data.prepared import rows_of_split
    from cascade_core.inference.precision import stated_precision
    from cascade_core.model.build import build_segmentor
    from cascade_core.parallel import device_of, world_of
    from components.artifacts.manifest import data_hash
    from components.inputs.preflight import check_vectors_from_file
    from components.inputs.reading import read_inputs
    from components.launching.processes import launched
    from components.training.fit import Fit, train_step
    from components.training.inductive import towers, with_own_label_file
    from components.training.untrained import write_untrained

    if processes > 1:
        return launched(call)
    if (clip is None) != random_clip:
        raise UserError("train starts from --clip FOLDER, or from --random-clip: give exactly one of them")
    stated = stated_precision(device_of(world_of(os.environ)), precision)
    config = named_recipe(recipe, with_own_label_file(with_precision(overrides, stated), splits), seed=seed)
    if not config.model.trains:
        write_untrained(config, call)
        return Trained(final=out / "final", half=None)
    inputs = read_inputs(
        prepared=prepared,
        splits=splits,
        text=text,
        protocol_name=config.data.protocol,
        form=config.model.text,
    )
    rows_of_split(inputs.index, "train")  # before a long start: is there anything to train on?
    check_vectors_from_file(text, clip, inputs.class_vectors)
    tower, text_tower = towers(config, clip)
    # The CLIP folder's activation and heads are those of the weights; a checkpoint must be rebuilt with the same.
    config = with_overrides(config, {"model.clip": tower.config.model_dump()})
    segmentor = build_segmentor(config.model, tower, seed=seed, text=text_tower)
    segmentor.check_ids(inputs.class_vectors)
    job = Fit(
        config=config,
        setting="supervised" if config.train.supervision == "full" else "inductive",
        segmentor=segmentor,
        inputs=inputs,
        batch_size=config.train.batch_size,
        iterations=config.train.iterations,
        provenance={"data_hash": data_hash(prepared), "clip": "weights" if clip else "random"},
        snapshot_at=config.self_train_start,
    )
    train_step(job, call, resume=resume)
    return Trained(final=out / "final", half=out / "half")
