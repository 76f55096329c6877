"""Step: self-training (transductive): the model's predictions become pseudo-labels of unseen pixels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cascade_core.configs.settings import SelfTrainingMode, transductive
from cascade_core.errors import UserError
from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Folder, Option, step
from components.contract.shared import Out, Overrides, Prepared, Processes, Resume, SplitsFolder, Text


@dataclass(frozen=True)
class SelfTrained:
    """The final checkpoint of a self-training."""

    final: Path


@step(
    "self_train",
    example="cascade-clip self-train --trained outputs/train/zegclip --out local_outputs/self_train",
    cluster=Cluster(
        output="self_trained",
        artifact="Model",
        options=("mode", "overrides"),
        show=lambda _, arguments: {"setting": transductive(arguments["mode"])},
        reads_pictures=True,
        trains=True,
        pods=by_kind(cpu=MINI.with_retries(1), gpu=replace(LARGE, minutes=1440, retries=1)),
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
) -> SelfTrained:
    """Continue training with pseudo-labels (transductive).

    As published: new optimiser, new warm-up, full learning rates, half the inductive schedule. In the papers' mode
    'oracle' the truth says which pixels are of some unseen class; 'strict' treats all unlabelled pixels alike.

    Raises:
        UserError: the half-way checkpoint is missing or of a supervised run, an override is unknown or has an option
            of its own, the input folders do not fit together, or the processes cannot share the batch evenly.
    """
    from cascade_core.checkpoints.checkpoint import load_segmentor
    from cascade_core.configs.backbones import without_backbone
    from cascade_core.configs.overrides import refuse_stated
    from cascade_core.configs.recipes import with_overrides
    from cascade_core.data.prepared import rows_of_split
    from components.artifacts import data_hash
    from components.inputs.reading import read_inputs
    from components.launching.processes import launched
    from components.training.fit import Fit, train_step

    if processes > 1:
        return launched(call)
    refuse_stated(overrides)
    segmentor, manifest = load_segmentor(trained / "half")
    if manifest.setting != "inductive":
        raise UserError(
            f"{trained / 'half'}: setting is {manifest.setting!r}; self-training starts from an inductive run"
        )
    changes = {**without_backbone(overrides, manifest.config), "self_train.mode": mode}
    config = with_overrides(manifest.config, changes)
    inputs = read_inputs(prepared=prepared, splits=splits, text=text, protocol_name=config.data.protocol)
    rows_of_split(inputs.index, "train")  # before a long start: is there anything to train on?
    job = Fit(
        config=config,
        setting=transductive(mode),
        segmentor=segmentor,
        inputs=inputs,
        batch_size=config.self_train.batch_size,
        iterations=config.self_train_iterations,
        provenance={**manifest.provenance, "data_hash": data_hash(prepared)},
    )
    train_step(job, call, resume=resume)
    return SelfTrained(final=out / "final")
