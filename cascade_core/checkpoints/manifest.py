"""What lies beside a checkpoint's tensors and says what they are: read without torch, by all who only want to know."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade_core.configs.config import EvalConfig, RunConfig
from cascade_core.configs.settings import Setting
from cascade_core.errors import UserError
from cascade_core.runtime.formats import FORMAT, read_manifest
from cascade_core.runtime.validation import first_error

MODEL_FILE, MANIFEST_FILE = "model.safetensors", "manifest.json"


class CheckpointManifest(BaseModel):
    """What a checkpoint was made from; enough to rebuild it and to say what its numbers mean."""

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
        """Give what an inference takes off the seen classes' scores: its penalty from an inductive model, else nothing."""
        return inference.seen_penalty if self.setting == "inductive" else 0.0


def load_manifest(folder: Path) -> CheckpointManifest:
    """Read a checkpoint's manifest.

    Raises:
        UserError: it is missing, no JSON, of a later format, or not a checkpoint's; the message says where one lies, if below.
    """
    file = folder / MANIFEST_FILE
    try:
        return CheckpointManifest.model_validate(read_manifest(file))
    except ValidationError as error:
        below = sorted(
            str(found.parent)
            for found in folder.glob(f"*/{MODEL_FILE}")
            if found.with_name(MANIFEST_FILE).is_file()  # a text tower has none
        )
        raise UserError(
            f"{file} is no checkpoint's ({first_error(error)}); give "
            f"{' or '.join(below) or 'a checkpoint folder, such as outputs/train/zegclip/final'}"
        ) from error
