"""Step: a trained model as files for elsewhere: ONNX, a torch graph, or a model folder of this project.

Each folder says in `export.json` what its graph needs to know: the templates that class vectors are made with,
the seen penalty, and how far the graph was found to differ from torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cascade_core.errors import UserError
from components.contract import Call, Option, Place, step
from components.contract.shared import Out, names_by_commas

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor

Format = Literal["onnx", "torch", "folder"]
FACTS_FILE, VECTORS_FILE = "export.json", "class_vectors.npy"
GRAPH_FILES = {"onnx": "model.onnx", "torch": "model.pt2"}


@dataclass(frozen=True)
class Exported:
    """Where an export lies, and the largest difference of a probability to torch (None: no graph)."""

    file: Path
    difference: float | None

    def show(self) -> None:
        """Print both."""
        if self.difference is not None:
            print(f"largest difference to torch: {self.difference:.1e}")
        print(self.file)


@step(
    "export",
    example="cascade-clip export outputs/train/zegclip/final --format onnx --out local_outputs/onnx",
    tracked=False,
)
def run(
    call: Call,
    /,
    *,
    model: Annotated[
        str,
        Option(
            "Model folder, checkpoint folder, or an address such as models:/NAME@champion.", argument=True
        ),
    ],
    out: Out,
    kind: Annotated[
        Format,
        Option("onnx; torch (torch.export, .pt2); folder (checkpoint and text tower).", flag="--format"),
    ] = "onnx",
    clip: Annotated[Path, Place("CLIP folder of a bare checkpoint; data/mini/clip if left out.")]
    | None = None,
    labels: Annotated[
        Sequence[str] | None,
        Option("Class names by commas whose text vectors go beside the graph.", parse=names_by_commas),
    ] = None,
    labels_file: Annotated[Path | None, Option("The same, a name on each line.")] = None,
) -> Exported:
    """Write a model as one graph that serves any vocabulary.

    Text vectors are an input; batch, classes and picture size are free. The graph is compared with torch
    before it is kept: on the CPU, over several batches, numbers of classes and sizes. Beside the text vectors of
    --labels stands what each pays as seen penalty.

    Raises:
        UserError: the format is unknown, the model cannot be read, a package is missing, or the graph
            differs from torch by more than 1e-4.
    """
    import numpy as np
    import torch

    from cascade_core.checkpoints.model_folder import write_model_folder
    from cascade_core.inference import export
    from cascade_core.runtime.files import write_json
    from components.inputs.labels_given import labels_given
    from components.registry.addresses import clip_for, load_predictor, resolved

    if kind not in get_args(Format):
        raise UserError(f"format {kind!r} is not known; give one of {', '.join(get_args(Format))}")
    names = None if labels is None and labels_file is None else labels_given(labels, labels_file)
    clip = clip_for(model, clip)
    if kind == "folder":
        if names is not None:
            raise UserError("labels go with a graph; a model folder makes text vectors itself")
        with resolved(model, clip) as (checkpoint, text):
            write_model_folder(checkpoint, text, out)
        return Exported(out, None)
    if kind == "onnx":
        export.need("onnx", "onnxscript", "onnxruntime")
    predictor = load_predictor(model, clip, device="cpu")
    facts = _facts(predictor, names)
    module = export.Exportable(predictor.segmentor, predictor.manifest.config)
    program = export.exported_program(module)
    with call.writing(inputs={}, parameters={"format": kind, "weights": predictor.identity}) as work:
        file = work.folder / GRAPH_FILES[kind]
        if kind == "onnx":
            export.write_onnx(program, file)
            difference = export.check(export.onnx_run(file), module)
        else:
            torch.export.save(program, file)
            difference = export.check(export.torch_run(file), module)
        if names is not None:
            np.save(work.folder / VECTORS_FILE, predictor.vocabulary(names).class_vectors.numpy())
        write_json(work.folder / FACTS_FILE, {**facts, "largest_difference_to_torch": difference})
    return Exported(out / GRAPH_FILES[kind], difference)


def _facts(predictor: "Predictor", labels: Sequence[str] | None) -> dict[str, Any]:
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
        names = [*labels, *predictor.evaluate.background.names]
        facts |= {"labels": names, "penalties": vocabulary.penalties.tolist()}
    return facts
