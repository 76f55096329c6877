"""Step: a trained model as files for elsewhere: ONNX, a torch graph, or a model folder of this project.

Each folder says in `export.json` what its graph needs to know: the templates that class vectors are made with,
the seen penalty, and how far the graph was found to differ from torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cascade_core.checkpoints.model_folder import write_model_folder
from cascade_core.errors import UserError
from cascade_core.inference import export
from cascade_core.predictor import Predictor, checked_labels
from cascade_core.runtime.files import new_folder, write_json
from components.artifacts import write_manifest
from components.registry.addresses import load_predictor, resolved

Format = Literal["onnx", "torch", "folder"]
FORMATS: tuple[Format, ...] = ("onnx", "torch", "folder")
FACTS_FILE, VECTORS_FILE = "export.json", "class_vectors.npy"
GRAPH_FILES = {"onnx": "model.onnx", "torch": "model.pt2"}


@dataclass(frozen=True)
class Exported:
    """Where an export lies, and the largest difference of a probability to torch (None: no graph)."""

    file: Path
    difference: float | None


def run(
    *, model: str, clip: Path | None, out: Path, kind: str = "onnx", labels: Sequence[str] | None = None
) -> Exported:
    """Export a model (an address in the registry, a model folder, or a checkpoint with its CLIP) to `out`.

    A graph is compared with torch before it is put there: on the CPU, over several batches, numbers of
    classes and sizes. With `labels`, their text vectors go beside it, and what each pays as seen penalty.

    Raises:
        UserError: the format is unknown, the model cannot be read, a package is missing, or the graph
            differs from torch by more than 1e-4.
    """
    if kind not in FORMATS:
        raise UserError(f"format {kind!r} is not known; give one of {', '.join(FORMATS)}")
    if kind == "folder":
        if labels is not None:
            raise UserError("labels go with a graph; a model folder makes text vectors itself")
        with resolved(model, clip) as (checkpoint, text):
            write_model_folder(checkpoint, text, out)
        return Exported(out, None)
    if kind == "onnx":
        export.need("onnx", "onnxscript", "onnxruntime")
    predictor = load_predictor(model, clip, device="cpu")
    facts = _facts(predictor, labels)
    module = export.Exportable(predictor.segmentor, predictor.manifest.config)
    program = export.exported_program(module)
    with new_folder(out) as working:
        file = working / GRAPH_FILES[kind]
        if kind == "onnx":
            export.write_onnx(program, file)
            difference = export.check(export.onnx_run(file), module)
        else:
            torch.export.save(program, file)
            difference = export.check(export.torch_run(file), module)
        if labels is not None:
            np.save(working / VECTORS_FILE, predictor.vocabulary(labels).class_vectors.numpy())
        write_json(working / FACTS_FILE, {**facts, "largest_difference_to_torch": difference})
        parameters = {"format": kind, "weights": predictor.identity}
        write_manifest(working, step="export", inputs={}, parameters=parameters)
    return Exported(out / GRAPH_FILES[kind], difference)


def _facts(predictor: Predictor, labels: Sequence[str] | None) -> dict[str, Any]:
    """Give all that a caller of the graph needs besides it."""
    manifest = predictor.manifest
    facts: dict[str, Any] = {
        "method": manifest.config.method,
        "setting": manifest.setting,
        "protocol": manifest.config.data.protocol,
        "inputs": {
            "images": "float32 [batch, 3, height, width], RGB levels 0..255",
            "class_vectors": f"float32 [classes, {manifest.config.model.clip.embed_dim}], unit length",
        },
        "output": "float32 [batch, classes, height, width], probabilities",
        "smallest_side": 2 * manifest.config.model.clip.patch_size,
        "templates": list(manifest.config.data.templates),
        "inference": predictor.evaluate.model_dump(exclude={"batch_size", "precision", "seen_penalty"}),
        "seen_penalty": predictor.seen_penalty,
        "seen_classes": [name for name in manifest.classes if name not in manifest.unseen],
    }
    if labels is not None:
        vocabulary = predictor.vocabulary(labels)
        # Under the policy "prompts" the vectors of background's names come after the labels'.
        names = [*checked_labels(labels), *predictor.evaluate.background.names]
        facts |= {"labels": names, "penalties": vocabulary.penalties.tolist()}
    return facts
