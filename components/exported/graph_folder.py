"""Read the folder of an exported graph, and make it the segmentor of an evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from cascade_core.checkpoints.manifest import MODEL_FILE, CheckpointManifest
from cascade_core.configs.settings import PrecisionChoice
from cascade_core.engines.formats import GRAPH_FILES, GraphFormat
from cascade_core.engines.running import ENGINES, load_graph
from cascade_core.engines.segmentor import GraphSegmentor
from cascade_core.errors import UserError
from cascade_core.inference.precision import precision_on
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.files import read_json, sha256
from cascade_core.runtime.validation import validated
from components.exported.facts import FACTS_FILE


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: GraphFormat
    precision: Literal["float32", "int8"]
    weights: str


@dataclass(frozen=True)
class Engine:
    """What computes a model's logits, with the names of the engine and of its precision that results record."""

    segmentor: Segmentor
    name: str
    precision: str


def engine_of(
    folder: Path, checkpoint: Path, manifest: CheckpointManifest, choice: PrecisionChoice
) -> Engine:
    """Load the graph in a folder of `export`; OpenVINO computes in the chosen precision what is not in int8.

    "auto" takes bf16 only where the format can compute in it.

    Raises:
        UserError: the folder holds no graph, or one of another checkpoint; the engine's package is not installed; or
            the format cannot compute in this precision.
    """
    if not (folder / FACTS_FILE).is_file():
        raise UserError(
            f"{folder} holds no {FACTS_FILE}: it is no folder of a graph; `cascade-clip export {checkpoint} --format onnx "
            "--out FOLDER` writes one"
        )
    facts = validated(
        _Facts, read_json(folder / FACTS_FILE), source=folder / FACTS_FILE, way_out="export the graph again"
    )
    own = sha256(checkpoint / MODEL_FILE)
    if not own.startswith(facts.weights.partition("-")[0]):
        raise UserError(
            f"the graph in {folder} was exported from other weights than those of checkpoint {checkpoint}; give the "
            "checkpoint that it was exported from, or export it again"
        )
    can_choose = choice != "auto" or facts.format == "openvino"
    precision = precision_on(torch.device("cpu"), choice) if can_choose else "fp32"
    run = load_graph(
        facts.format,
        folder / GRAPH_FILES[facts.format],
        precision=precision,
        threads=torch.get_num_threads(),
    )
    names = {("float32", "fp32"): "fp32", ("float32", "bf16"): "bf16", ("int8", "fp32"): "int8"}
    used = names.get((facts.precision, precision), "int8 and bf16")
    return Engine(GraphSegmentor(manifest.config, run), ENGINES[facts.format], used)
