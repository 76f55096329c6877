"""Checkpoints: safetensors for every tensor, and a JSON manifest that says what they are."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import AdamW

from cascade_core.checkpoints.manifest import MANIFEST_FILE, MODEL_FILE, CheckpointManifest, load_manifest
from cascade_core.clip.vision import VisionTransformer
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.files import damage_told, new_folder, write_json

OPTIMIZER_FILE = "optimizer.safetensors"


def save_checkpoint(
    folder: Path, segmentor: Segmentor, manifest: CheckpointManifest, *, optimizer: AdamW | None = None
) -> None:
    """Write a checkpoint, whole or not at all; with `optimizer` it can be resumed exactly.

    The frozen CLIP weights are part of it, so that it needs no other file, and so are the random
    projections of middle levels, without which a Cascade-CLIP checkpoint is worthless.
    """
    with new_folder(folder) as working:
        save_file(
            {key: tensor.contiguous() for key, tensor in segmentor.state_dict().items()}, working / MODEL_FILE
        )
        if optimizer is not None:
            save_file(_optimizer_tensors(optimizer), working / OPTIMIZER_FILE)
        write_json(working / MANIFEST_FILE, manifest.model_dump(mode="json"))


def load_segmentor(folder: Path) -> tuple[Segmentor, CheckpointManifest]:
    """Rebuild the segmentor of a checkpoint, in eval mode.

    Raises:
        UserError: a file is missing or the weights do not fit the manifest's configuration.
    """
    manifest = load_manifest(folder)
    segmentor = build_segmentor(
        manifest.config.model, VisionTransformer(manifest.config.model.clip), seed=manifest.config.seed
    )
    load_weights(segmentor, folder)
    return segmentor.eval(), manifest


def load_weights(segmentor: Segmentor, folder: Path) -> None:
    """Fill `segmentor` with a checkpoint's weights, strictly.

    Raises:
        UserError: the file is missing, damaged, or of another configuration.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; train first, or give the folder that holds it")
    try:
        segmentor.load_state_dict(load_file(path))
    except Exception as error:
        raise UserError(f"checkpoint {path} does not fit its manifest: {error}") from error


def load_optimizer(optimizer: AdamW, folder: Path) -> None:
    """Restore AdamW's moments, so that training goes on as if never stopped.

    Raises:
        UserError: the checkpoint was saved without them, or for other groups.
    """
    path = folder / OPTIMIZER_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist: this checkpoint cannot be resumed, only started from")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with damage_told(path), safe_open(path, framework="pt") as tensors:
        names = set(tensors.keys())
        if len(parameters) != sum(name.startswith("exp_avg/") for name in names):
            raise UserError(
                f"{path} holds the state of another set of weights; was the configuration changed?"
            )
        for index, parameter in enumerate(parameters):
            optimizer.state[parameter] = {
                "step": tensors.get_tensor(f"step/{index}").to(parameter.device),
                "exp_avg": tensors.get_tensor(f"exp_avg/{index}").to(parameter.device),
                "exp_avg_sq": tensors.get_tensor(f"exp_avg_sq/{index}").to(parameter.device),
            }


def _optimizer_tensors(optimizer: AdamW) -> dict[str, Tensor]:
    tensors = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        state = optimizer.state[parameter]
        for key in ("step", "exp_avg", "exp_avg_sq"):
            tensors[f"{key}/{index}"] = state[key].detach().cpu().clone()
    return tensors
