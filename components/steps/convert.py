"""Step: convert a checkpoint of the authors' code to a checkpoint folder of this project."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cascade_core.configs.settings import TrainedSetting
from cascade_core.errors import UserError
from components.contract import Call, Option, step
from components.contract.shared import Out

if TYPE_CHECKING:
    from cascade_core.released.runs import ReleasedRun

log = logging.getLogger(__name__)

TEXT_TOWER = "text_tower"


@dataclass(frozen=True)
class Converted:
    """The checkpoint folder, the identified run, and the text tower of the file (None: it has none)."""

    final: Path
    run: "ReleasedRun"
    text_tower: Path | None

    def show(self) -> None:
        """Print run, checkpoint folder and text tower."""
        print(f"{self.run.config.method}, {self.run.split.name}, {self.run.setting}: {self.final}")
        print(
            f"text tower (--clip): {self.text_tower}"
            if self.text_tower
            else "the file holds no text tower: predict and register need the CLIP folder of the training (--clip)"
        )


@step(
    "convert",
    example="cascade-clip convert iter_20000.pth --out local_outputs/released",
    tracked=False,
)
def run(
    call: Call,
    /,
    *,
    checkpoint: Annotated[
        Path, Option("The .pth file that the authors' ZegCLIP or Cascade-CLIP saved.", argument=True)
    ],
    out: Out,
    protocol: Annotated[str | None, Option("Protocol, if the file does not name it.")] = None,
    setting: Annotated[TrainedSetting | None, Option("TrainedSetting, if the file does not name it.")] = None,
) -> Converted:
    """Convert a checkpoint of the authors' code.

    Writes the checkpoint folder final/ for evaluate, profile, register and predict. If the file holds CLIP's text
    tower, also writes text_tower/, which prediction with new names needs. Evaluation needs no CLIP weights, because
    the file holds the frozen image tower. Nothing in the file is executed; the optimiser's state is dropped.

    Raises:
        UserError: the file is missing, unsafe or broken, is of neither method, lacks or adds a key, or does not name
            its protocol or setting; the message says which option to add.
    """
    from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor, save_checkpoint
    from cascade_core.clip.archives import read_archive
    from cascade_core.clip.weights import save_text_tower
    from cascade_core.released.runs import identify, read_evidence
    from cascade_core.released.weights import TEXT_PREFIX, segmentor_from_released
    from cascade_core.runtime.files import sha256

    archive = read_archive(checkpoint)
    try:
        evidence = read_evidence(archive.weights, archive.meta)
        released = identify(evidence, protocol=protocol, setting=setting)
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
    with call.writing(
        inputs={"checkpoint": checkpoint},
        parameters={"protocol": released.split.name, "setting": released.setting},
    ) as work:
        save_checkpoint(work.folder / "final", segmentor, manifest)
        load_segmentor(work.folder / "final")  # check that the checkpoint loads
        if text:
            save_text_tower(work.folder / TEXT_TOWER, segmentor.config.clip, text)
    log.info("%s is %s, %s, %s", checkpoint, released.config.method, released.split.name, released.setting)
    return Converted(out / "final", released, out / TEXT_TOWER if text else None)
