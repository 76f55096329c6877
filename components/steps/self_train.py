"""Step: transductive training. Unseen pixels get pseudo-labels from the model itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.configs.backbones import less_backbone
from cascade_core.configs.recipes import with_overrides
from cascade_core.errors import UserError
from cascade_core.train.supervision import Setting
from components.artifacts import data_hash
from components.training.fit import Fit, read_inputs, rows_of, train_step


@dataclass(frozen=True)
class SelfTrained:
    """Where self-training left its checkpoint."""

    final: Path


def run(
    *,
    prepared: Path,
    splits: Path,
    text: Path,
    trained: Path,
    protocol: Literal["oracle", "strict"],
    overrides: Mapping[str, Any],
    out: Path,
    resume: bool = True,
) -> SelfTrained:
    """Self-train from the half-way checkpoint of `trained` (a train step's folder) into `out/final`.

    As published: fresh optimiser, fresh warm-up, full learning rates, half the inductive schedule.
    'oracle' is the papers' protocol (the truth says where some unseen class is), 'strict' knows nothing of
    unlabelled pixels.

    Raises:
        UserError: the half-way checkpoint is missing or of a supervised run, an override is unknown, or the
            earlier steps' folders do not fit together, or the batch cannot be shared evenly.
    """
    segmentor, manifest = load_segmentor(trained / "half")
    if manifest.setting != "inductive":
        raise UserError(
            f"{trained / 'half'}: setting is {manifest.setting!r}; self-training starts from an inductive run"
        )
    setting: Setting = "transductive_oracle" if protocol == "oracle" else "transductive_strict"
    changes = {**less_backbone(overrides, manifest.config), "self_train.protocol": protocol}
    config = with_overrides(manifest.config, changes)
    inputs = read_inputs(prepared=prepared, splits=splits, text=text, protocol_name=config.data.protocol)
    rows_of(inputs, "train")
    job = Fit(
        step="self_train",
        config=config,
        setting=setting,
        segmentor=segmentor,
        inputs=inputs,
        batch_size=config.self_train.batch_size,
        iterations=config.self_train_iterations,
        provenance={**manifest.provenance, "data_hash": data_hash(prepared)},
    )
    folders = {"prepared": prepared, "splits": splits, "text": text, "trained": trained}
    train_step(job, out, folders=folders, resume=resume)
    return SelfTrained(final=out / "final")
