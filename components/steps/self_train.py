"""Step: self-training (transductive): the model's predictions become pseudo-labels of unseen pixels."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cascade_core.clip.home import model_folder
from cascade_core.configs.settings import SelfTrainingMode, transductive
from cascade_core.errors import UserError
from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Folder, Option, Place, step
from components.contract.shared import (
    Out,
    Overrides,
    Precision,
    Prepared,
    Processes,
    Resume,
    SplitsFolder,
    Text,
)


@dataclass(frozen=True)
class SelfTrained:
    """The final checkpoint of a self-training."""

    final: Path


@step(
    "self_train",
    threads="usable",
    example="cascade-clip self-train --trained outputs/train/zegclip --out local_outputs/self_train",
    cluster=Cluster(
        output="self_trained",
        artifact="Model",
        parts={"training": "Artifact"},
        options=("mode", "overrides"),
        show=lambda _, arguments: {"setting": transductive(arguments["mode"])},
        reads_pictures=True,
        trains=True,
        pods=by_kind(
            cpu=replace(MINI, retries=1, on_volume=True),
            gpu=replace(LARGE, minutes=1440, retries=1, on_volume=True),
        ),
    ),
)
def run(
    call: Call,
    /,
    *,
    trained: Annotated[
        Path,
        Folder(
            "Folder of the inductive training; self-training starts from its half-way checkpoint.",
            content=("half",),
            artifact="Model",
            part="half",
            made_by="train",
        ),
    ],
    prepared: Prepared,
    splits: SplitsFolder,
    text: Text,
    out: Out,
    mode: Annotated[
        SelfTrainingMode,
        Option("oracle, as published, or strict, which uses nothing about unlabelled pixels."),
    ] = "oracle",
    overrides: Overrides,
    resume: Resume = True,
    processes: Processes = 1,
    precision: Precision = None,
    unlabelled: Annotated[
        Path | None,
        Place("Folder of pictures without label maps, which --teacher labels before training.", local=True),
    ] = None,
    teacher: Annotated[
        Path | None,
        Place(
            "Model folder, or name of a model, such as naclip-ViT-B-16 made by import-clip --method naclip.",
            locate=model_folder,
            local=True,
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        Option(
            "Least confidence of a teacher's label, from 0 to 1; less confident pixels are ignored. If left out, 0.5.",
            unrecorded=True,
        ),
    ] = None,
) -> SelfTrained:
    """Continue training with pseudo-labels (transductive).

    As published: new optimiser, new warm-up, full learning rates, half the inductive schedule. In the papers' mode
    'oracle' the truth says which pixels are of some unseen class; 'strict' treats all unlabelled pixels alike.

    With --unlabelled and --teacher, further pictures take part: before training, the teacher labels them with all
    classes, and batches mix them with the labelled pictures.

    Settings beyond the papers: `--set self_train.confidence=0.7` ignores pseudo-labels of a lower score,
    `self_train.teacher=ema` or `training_free` lets another model make them, and `self_train.extra_splits=[val]` adds
    the pictures of a split without their labels.

    As in training, overrides change the base of an ablation's cell, and what the cell sets stands: they are left out,
    with a warning.

    Raises:
        UserError: the half-way checkpoint is missing or of a supervised run, an override is unknown or has an option
            of its own or changes the model of the checkpoint, the classes are not those of the checkpoint, a split has no pictures, the input folders do not fit together, the processes cannot share the batch evenly, or
            the teacher and the unlabelled pictures do not fit (see `Unlabelled.checked`).
    """
    from cascade_core.checkpoints.checkpoint import load_segmentor
    from cascade_core.configs.backbones import without_backbone
    from cascade_core.configs.changes import with_overrides
    from cascade_core.configs.overrides import refuse_stated, with_precision
    from cascade_core.data.prepared import rows_of_split
    from cascade_core.inference.precision import stated_precision
    from cascade_core.parallel import device_of, world_of
    from components.artifacts.manifest import data_hash
    from components.inputs.reading import read_inputs
    from components.launching.processes import launched
    from components.training.continued import beside_cell, check_same_classes, check_same_model
    from components.training.fit import Fit, train_step
    from components.training.pseudo_labels import DEFAULT_CONFIDENCE, Unlabelled

    if (unlabelled is None) != (teacher is None) or (teacher is None and confidence is not None):
        raise UserError(
            "--unlabelled, the pictures, and --teacher, the model that labels them, go together, and --confidence "
            "needs both; give both or neither"
        )
    if unlabelled is not None and (processes > 1 or world_of(os.environ).size > 1):
        raise UserError(
            "pictures of --unlabelled are labelled and trained on by one process; leave out --processes"
        )
    if processes > 1:
        return launched(call)
    refuse_stated(overrides)
    segmentor, manifest = load_segmentor(trained / "half")
    if manifest.setting != "inductive":
        raise UserError(
            f"{trained / 'half'}: setting is {manifest.setting!r}; self-training starts from an inductive run"
        )
    stated = stated_precision(device_of(world_of(os.environ)), precision)
    changes = beside_cell(overrides, manifest.config.method, mode)
    changes = without_backbone(with_precision(changes, stated), manifest.config)
    changes |= {"self_train.mode": mode}
    config = with_overrides(manifest.config, changes)
    check_same_model(config, manifest.config, trained / "half")
    inputs = read_inputs(
        prepared=prepared,
        splits=splits,
        text=text,
        protocol_name=config.data.protocol,
        form=config.model.text,
    )
    check_same_classes(inputs.split, manifest, trained / "half")
    segmentor.check_ids(inputs.class_vectors)
    for split in ("train", *config.self_train.extra_splits):
        rows_of_split(inputs.index, split)  # before a long start: is there anything to train on?
    job = Fit(
        config=config,
        setting=transductive(mode),
        segmentor=segmentor,
        inputs=inputs,
        batch_size=config.self_train.batch_size,
        iterations=config.self_train_iterations,
        provenance={**manifest.provenance, "data_hash": data_hash(prepared)},
        unlabelled=None
        if unlabelled is None or teacher is None
        else Unlabelled.checked(
            unlabelled,
            teacher,
            inputs.split,
            mode=mode,
            confidence=DEFAULT_CONFIDENCE if confidence is None else confidence,
            out=out,
        ),
    )
    train_step(job, call, resume=resume)
    return SelfTrained(final=out / "final")
