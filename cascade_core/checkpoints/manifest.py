"""The manifest of a checkpoint: what its tensors are. This module reads it without importing torch."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade_core.configs.config import EvalConfig, RunConfig
from cascade_core.configs.settings import Setting
from cascade_core.errors import UserError
from cascade_core.runtime.formats import FORMAT, read_manifest
from cascade_core.runtime.targets import MANIFEST_FILE
from cascade_core.runtime.validation import first_error

MODEL_FILE = "model.safetensors"


class CheckpointManifest(BaseModel):
    """Everything needed to rebuild a checkpoint's model and to interpret its scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    config: RunConfig
    setting: Setting
    iteration: int
    total_iterations: int
    classes: tuple[str, ...]
    unseen: tuple[str, ...]
    provenance: dict[str, Any]

    def seen_penalty(self, inference: EvalConfig) -> float:
        """Return the penalty on the seen classes' scores: `inference`'s for an inductive model, else 0."""
        return inference.seen_penalty if self.setting == "inductive" else 0.0


def load_manifest(folder: Path) -> CheckpointManifest:
    """Read a checkpoint's manifest.

    Raises:
        UserError: it is missing, not JSON, of a later format, or not a checkpoint's; the message lists
            checkpoints in direct subfolders, if there are any.
    """
    file = folder / MANIFEST_FILE
    try:
        return CheckpointManifest.model_validate(read_manifest(file))
    except ValidationError as error:
        # A text tower has weights too, but no manifest.
        weights = sorted(folder.glob(f"*/{MODEL_FILE}"))
        below = [str(path.parent) for path in weights if path.with_name(MANIFEST_FILE).is_file()]
        raise UserError(
            f"{file} is not a checkpoint's manifest ({first_error(error)}); give "
            f"{' or '.join(below) or 'a checkpoint folder, such as outputs/train/zegclip/final'}"
        ) from error
