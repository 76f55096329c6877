"""Step: export a trained model as ONNX, as a torch graph, or as a model folder of this project.

`export.json` beside a graph holds what its caller needs: templates of the class vectors, seen penalty, and the
largest difference to torch.
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
    """The exported file or folder, and the largest difference of a probability to torch (None: no graph)."""

    file: Path
    difference: float | None

    def show(self) -> None:
        """Print difference and file."""
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
            "Model folder, checkpoint folder, mini (the package's own), or an address such as models:/NAME@champion.",
            argument=True,
        ),
    ],
    out: Out,
    kind: Annotated[
        Format,
        Option("onnx; torch (torch.export, .pt2); or folder (checkpoint and text tower).", flag="--format"),
    ] = "onnx",
    clip: Annotated[
        Path, Place("CLIP folder for a checkpoint without text tower; if left out, data/mini/clip.")
    ]
    | None = None,
    labels: Annotated[
        Sequence[str] | None,
        Option("Class names, separated by commas; writes their text vectors too.", parse=names_by_commas),
    ] = None,
    labels_file: Annotated[Path | None, Option("Instead of --labels: a file with a name per line.")] = None,
    half: Annotated[
        bool, Option("With --format folder: weights in half precision, in half the space.")
    ] = False,
) -> Exported:
    """Write a model as one graph that serves any vocabulary.

    Text vectors are an input of the graph; batch size, number of classes and picture size are free. Before the
    graph is written, its probabilities are compared with torch's on the CPU, for several batch sizes, numbers of
    classes and picture sizes. With --labels, `export.json` also holds the seen penalty of each name.

    Raises:
        UserError: the format is unknown or does not go with another option, the model cannot be read, a package is
            missing, a weight does not fit into half precision, or the graph differs from torch by more than 1e-4.
    """
    import numpy as np
    import torch

    from cascade_core.checkpoints.model_folder import write_model_folder
    from cascade_core.inference import export
    from cascade_core.runtime.files import write_json
    from components.inputs.labels_given import labels_given
    from components.registry.addresses import clip_for, load_predictor, resolved

    if kind not in get_args(Format):
        raise UserError(f"format {kind!r} is unknown; give one of {', '.join(get_args(Format))}")
    names = None if labels is None and labels_file is None else labels_given(labels, labels_file)
    if kind == "folder" and names is not None:
        raise UserError("--labels needs --format onnx or torch; a model folder makes text vectors itself")
    if half and kind != "folder":
        raise UserError(
            f"--half needs --format folder; a graph of format {kind} has weights in full precision"
        )
    clip = clip_for(model, clip)
    if kind == "folder":
        with resolved(model, clip) as (checkpoint, text):
            write_model_folder(checkpoint, text, out, half=half)
        return Exported(out, None)
    if kind == "onnx":
        export.require_packages("onnx", "onnxscript", "onnxruntime")
    predictor = load_predictor(model, clip, device="cpu")
    facts = _facts(predictor, names)
    module = export.Exportable(predictor.segmentor, predictor.manifest.config)
    program = export.exported_program(module)
    with call.writing(inputs={}, parameters={"format": kind, "weights": predictor.identity}) as work:
        file = work.folder / GRAPH_FILES[kind]
        if kind == "onnx":
            export.write_onnx(program, file)
            difference = export.check_graph(export.load_onnx(file), module)
        else:
            torch.export.save(program, file)
            difference = export.check_graph(export.load_torch(file), module)
        if names is not None:
            np.save(work.folder / VECTORS_FILE, predictor.vocabulary(names).class_vectors.numpy())
        write_json(work.folder / FACTS_FILE, {**facts, "largest_difference_to_torch": difference})
    return Exported(out / GRAPH_FILES[kind], difference)


def _facts(predictor: "Predictor", labels: Sequence[str] | None) -> dict[str, Any]:
    """Return what a caller of the graph needs to know."""
    from components.vectors.encoding import encoded

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
        vocabulary = encoded(predictor, labels)
        # Under the policy "prompts" the vectors of background names come after those of the labels.
        names = [*labels, *predictor.evaluate.background.names]
        facts |= {"labels": names, "penalties": vocabulary.penalties.tolist()}
        if vocabulary.query_classes is not None:
            # Several vectors may stand for one label; its probability is the maximum of theirs.
            facts["label_of_vector"] = vocabulary.ids.tolist()
    return facts
