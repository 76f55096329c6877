"""Checkpoints: every tensor in safetensors files, and a JSON manifest that describes the run."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.optim import AdamW

from cascade_core.checkpoints.manifest import MANIFEST_FILE, MODEL_FILE, CheckpointManifest, load_manifest
from cascade_core.clip.vision import VisionTransformer
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.files import new_folder, readable_weights, write_json

OPTIMIZER_FILE = "optimizer.safetensors"
ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's tensors of a parameter; the file stores them as `exp_avg/0`, `exp_avg/1` and so on."""


def save_checkpoint(
    folder: Path, segmentor: Segmentor, manifest: CheckpointManifest, *, optimizer: AdamW | None = None
) -> None:
    """Write a checkpoint, whole or not at all; training can resume exactly from one with `optimizer`.

    It includes the frozen CLIP weights, so that it needs no other file, and the random projections of
    middle levels, without which a Cascade-CLIP checkpoint is worthless.
    """
    with new_folder(folder) as working:
        write_checkpoint(working, segmentor, manifest, optimizer=optimizer)


def write_checkpoint(
    folder: Path, segmentor: Segmentor, manifest: CheckpointManifest, *, optimizer: AdamW | None = None
) -> None:
    """Write the files of a checkpoint into an existing folder."""
    save_file(
        {key: tensor.contiguous() for key, tensor in segmentor.state_dict().items()}, folder / MODEL_FILE
    )
    if optimizer is not None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state = {
            f"{key}/{index}": optimizer.state[parameter][key].detach().cpu().clone()
            for index, parameter in enumerate(parameters)
            for key in ADAMW_STATE
        }
        save_file(state, folder / OPTIMIZER_FILE)
    write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))


def load_segmentor(folder: Path) -> tuple[Segmentor, CheckpointManifest]:
    """Rebuild a checkpoint's segmentor, in eval mode; UserError if a file is missing or the weights do not fit."""
    manifest = load_manifest(folder)
    model = manifest.config.model
    segmentor = build_segmentor(model, VisionTransformer(model.clip), seed=manifest.config.seed)
    load_weights(segmentor, folder)
    return segmentor.eval(), manifest


def load_weights(segmentor: Segmentor, folder: Path) -> None:
    """Load a checkpoint's weights strictly; UserError if the file is missing, damaged or does not fit."""
    path = folder / MODEL_FILE
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; train first, or give the folder that holds it")
    try:
        segmentor.load_state_dict(load_file(path))
    except Exception as error:
        raise UserError(f"checkpoint {path} does not fit its manifest: {error}") from error


def load_optimizer(optimizer: AdamW, folder: Path) -> None:
    """Restore AdamW's step counts and moments, so that training resumes exactly.

    Raises:
        UserError: the checkpoint has no optimizer state, or one for another set of weights.
    """
    path = folder / OPTIMIZER_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist: this checkpoint cannot be resumed, only started from")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with readable_weights(path), safe_open(path, framework="pt") as tensors:
        if len(parameters) != sum(name.startswith("exp_avg/") for name in tensors.keys()):  # noqa: SIM118
            raise UserError(
                f"{path} holds the state of another set of weights; was the configuration changed?"
            )
        for index, parameter in enumerate(parameters):
            optimizer.state[parameter] = {
                key: tensors.get_tensor(f"{key}/{index}").to(parameter.device) for key in ADAMW_STATE
            }
