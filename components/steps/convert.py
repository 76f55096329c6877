"""Step: make a checkpoint folder of ours from a file that the authors' code saved."""

import logging
from dataclasses import dataclass
from pathlib import Path

from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor, save_checkpoint
from cascade_core.clip.archives import read_archive
from cascade_core.clip.text_tower import save_text_tower
from cascade_core.configs.settings import Setting
from cascade_core.errors import UserError
from cascade_core.released.runs import ReleasedRun, recognise, told_by
from cascade_core.released.weights import TEXT_PREFIX, segmentor_from_released
from cascade_core.runtime.files import new_folder, sha256
from components.artifacts import write_manifest

log = logging.getLogger(__name__)

TEXT_TOWER = "text_tower"


@dataclass(frozen=True)
class Converted:
    """Where the checkpoint lies, what it is of, and the text tower that came with it (None: it had none)."""

    final: Path
    run: ReleasedRun
    text_tower: Path | None


def run(
    *, checkpoint: Path, out: Path, protocol: str | None = None, setting: Setting | None = None
) -> Converted:
    """Write the checkpoint folder `out/final`, and `out/text_tower` if the file holds CLIP's text tower.

    The frozen image tower is in the file, so no CLIP weights are needed to evaluate; the text tower, which
    prediction with new names needs, is there too unless it was stripped. Nothing in the file is run, and the
    optimiser's state is left out. `protocol` and `setting` say what the file does not tell.

    Raises:
        UserError: the file is missing, unsafe or broken, of neither method, lacks or adds a key, or does not
            tell what it is of; the message says what to add.
    """
    archive = read_archive(checkpoint)
    try:
        released = recognise(told_by(archive.weights, archive.meta), protocol=protocol, setting=setting)
        segmentor = segmentor_from_released(archive.weights)
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from error
    manifest = CheckpointManifest(
        config=released.config,
        setting=released.setting,
        iteration=released.iteration,
        total_iterations=released.total_iterations,
        classes=released.split.classes,
        unseen=released.split.unseen_names,
        provenance={"converted_from": checkpoint.name, "sha256": sha256(checkpoint), "clip": "weights"},
    )
    text = {
        key.removeprefix(TEXT_PREFIX): tensor.float()
        for key, tensor in archive.weights.items()
        if key.startswith(TEXT_PREFIX)
    }
    with new_folder(out) as working:
        save_checkpoint(working / "final", segmentor, manifest)
        load_segmentor(working / "final")  # what is left behind loads
        if text:
            save_text_tower(working / TEXT_TOWER, segmentor.config.clip, text)
        parameters = {"protocol": released.split.name, "setting": released.setting}
        write_manifest(working, step="convert", inputs={"checkpoint": checkpoint}, parameters=parameters)
    log.info("%s is %s, %s, %s", checkpoint, released.config.method, released.split.name, released.setting)
    return Converted(out / "final", released, out / TEXT_TOWER if text else None)
