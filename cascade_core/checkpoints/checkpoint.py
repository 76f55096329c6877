"""Checkpoints: every tensor in safetensors files, and a JSON manifest that describes the run."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import AdamW

from cascade_core.checkpoints.frozen_tower import lacks_tower, read_reference
from cascade_core.checkpoints.manifest import MANIFEST_FILE, MODEL_FILE, CheckpointManifest, load_manifest
from cascade_core.clip.vision import VisionTransformer
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.files import new_folder, write_json
from cascade_core.runtime.tensors import check_finite, check_fit, fitting, read_tensors

OPTIMIZER_FILE, AVERAGES_FILE = "optimizer.safetensors", "averages.safetensors"
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

    def make() -> Segmentor:
        return build_segmentor(model, VisionTransformer(model.clip), seed=manifest.config.seed)

    return fitting(make, _weights(folder), source=_unfit(folder)).eval(), manifest


def load_weights(segmentor: Segmentor, folder: Path) -> None:
    """Load a checkpoint's weights strictly; UserError if the file is missing, damaged or does not fit."""
    weights = _weights(folder)
    check_fit(segmentor.state_dict(), weights, source=_unfit(folder))
    check_finite(weights, source=f"checkpoint {folder / MODEL_FILE}")
    segmentor.load_state_dict(weights)


def _weights(folder: Path) -> dict[str, Tensor]:
    path = folder / MODEL_FILE
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; train first, or give the folder that holds it")
    if lacks_tower(folder):
        raise UserError(
            f"checkpoint {folder} is from a pipeline and leaves out the frozen weights of CLIP in {read_reference(folder).clip}; "
            f"join them by `cascade-clip export {shlex.quote(str(folder))} --clip CLIP --format folder --out FOLDER`, and use "
            "FOLDER/checkpoint"
        )
    return read_tensors(path)


def _unfit(folder: Path) -> str:
    return f"checkpoint {folder / MODEL_FILE} does not fit its manifest"


def load_optimizer(optimizer: AdamW, folder: Path) -> None:
    """Restore AdamW's step counts and moments, so that training resumes exactly.

    Raises:
        UserError: the checkpoint has no optimizer state, a damaged one, or one for another set of weights. The
            optimizer is as it was.
    """
    path = folder / OPTIMIZER_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist: this checkpoint cannot be resumed, only started from")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = read_tensors(path)
    expected = {
        f"{key}/{index}": torch.zeros(()) if key == "step" else parameter
        for index, parameter in enumerate(parameters)
        for key in ADAMW_STATE
    }
    check_fit(
        expected,
        saved,
        source=f"{path} holds the state of another set of weights (was the configuration changed?)",
    )
    if kinds := sorted({str(tensor.dtype) for tensor in saved.values()} - {str(torch.float32)}):
        raise UserError(f"{path} holds tensors of {', '.join(kinds)}, not of {torch.float32}: it is damaged")
    check_finite(saved, source=str(path))
    if negative := [
        key for key, tensor in saved.items() if not key.startswith("exp_avg/") and (tensor < 0).any()
    ]:
        raise UserError(f"{path} holds negative step counts or squares ({negative[0]}): it is damaged")
    for index, parameter in enumerate(parameters):
        optimizer.state[parameter] = {
            key: saved[f"{key}/{index}"].to(parameter.device) for key in ADAMW_STATE
        }


def write_averages(folder: Path, averages: Mapping[str, Tensor]) -> None:
    """Write the averaged weights of a teacher beside a checkpoint from which training resumes."""
    save_file({name: average.contiguous() for name, average in averages.items()}, folder / AVERAGES_FILE)


def read_averages(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the averaged weights of a teacher.

    Raises:
        UserError: the file is missing or damaged, or its names and shapes are not the expected ones.
    """
    path = folder / AVERAGES_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist, so the teacher cannot go on; start anew with --no-resume")
    saved = read_tensors(path)
    check_fit(dict(expected), saved, source=f"{path} holds the averages of another set of weights")
    check_finite(saved, source=str(path))
    return saved
