"""Step: export a trained model as a graph (ONNX, OpenVINO, torch), in float32 or int8, or as a model folder of this project.

`export.json` beside a graph holds what its caller needs: templates of the class vectors, seen penalty, precision, and
the differences to torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from cascade_core.errors import UserError
from components.contract import Call, Option, Place, step
from components.contract.shared import Out, names_by_commas

if TYPE_CHECKING:
    from cascade_core.engines.check import Differences
    from cascade_core.predictor import Predictor

Format = Literal["onnx", "openvino", "torch", "folder"]


@dataclass(frozen=True)
class Exported:
    """The exported file or folder, and the graph's differences to torch (None: no graph)."""

    file: Path
    differences: "Differences | None"

    def show(self) -> None:
        """Print differences and file."""
        if self.differences is not None:
            probabilities, logits, equal = self.differences
            print(
                f"largest difference to torch: {probabilities:.1e} (probabilities), {logits:.1e} (logits); "
                f"{100 * equal:.2f} % of labels are equal"
            )
        print(self.file)


@step(
    "export",
    threads="free",
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
        Option(
            "onnx; openvino; torch (torch.export, .pt2); or folder (checkpoint and text tower).",
            flag="--format",
        ),
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
    calibrate: Annotated[
        Path | None,
        Place(
            "With --format onnx or openvino: write an int8 graph, calibrated on the pictures of this folder."
        ),
    ] = None,
    calibration_pictures: Annotated[
        int, Option("At most this many pictures of --calibrate, evenly spread over it.", minimum=1)
    ] = 64,
) -> Exported:
    """Write a model as one graph that serves any vocabulary.

    Text vectors are an input of the graph; batch size, number of classes and picture size are free. The graph computes
    logits on the patch grid, probabilities, and the label map. Before it is written, each of them is compared with
    torch's on the CPU, for several batch sizes, numbers of classes and picture sizes. With --labels, `export.json` also
    holds the seen penalty of each name.

    With --calibrate the graph's products with weights are in int8. The ranges of its numbers come from the pictures
    of that folder, as evaluation cuts them, with the names of --labels (without: the classes of the training). Its
    differences to torch are measured on them; `evaluate --graph` measures what they cost.

    Raises:
        UserError: the format is unknown or does not go with another option, the model cannot be read, a package or a
            picture is missing, a weight does not fit into half precision, or the graph in float32 differs from torch by
            more than its tolerance.
    """
    import numpy as np

    from cascade_core.checkpoints.model_folder import write_model_folder
    from cascade_core.engines.formats import GRAPH_FILES, require_packages
    from cascade_core.engines.graph import Exportable
    from cascade_core.engines.writing import PACKAGES, write_graph
    from cascade_core.runtime.files import write_json
    from components.exported.calibration import calibration_inputs, calibration_pictures_in
    from components.exported.facts import FACTS_FILE, VECTORS_FILE, facts_of, facts_of_file
    from components.inputs.labels_given import labels_given
    from components.registry.addresses import clip_for, load_predictor, resolved
    from components.vectors.encoding import encoded

    if kind not in get_args(Format):
        raise UserError(f"format {kind!r} is unknown; give one of {', '.join(get_args(Format))}")
    names = None if labels is None and labels_file is None else labels_given(labels, labels_file)
    if kind == "folder" and names is not None:
        raise UserError("--labels needs a graph (--format onnx); a model folder makes text vectors itself")
    if half and kind != "folder":
        raise UserError(
            f"--half needs --format folder; a graph of format {kind} has weights in full precision"
        )
    if calibrate is not None and kind not in ("onnx", "openvino"):
        raise UserError(f"--calibrate needs --format onnx or openvino; there is no int8 of format {kind}")
    clip = clip_for(model, clip)
    if kind == "folder":
        with resolved(model, clip) as (checkpoint, text):
            write_model_folder(checkpoint, text, out, half=half)
        return Exported(out, None)
    require_packages(*PACKAGES[kind])
    pictures = [] if calibrate is None else calibration_pictures_in(calibrate, calibration_pictures, out=out)
    predictor = load_predictor(model, clip, device="cpu")
    facts = facts_of(predictor, names)
    calibration = []
    if pictures:
        vocabulary = encoded(predictor, _classes(predictor) if names is None else names)
        calibration = calibration_inputs(pictures, vocabulary, predictor.evaluate)
    parameters = {"format": kind, "weights": predictor.identity, "calibration_pictures": len(pictures)}
    with call.writing(inputs={}, parameters=parameters) as work:
        module = Exportable(predictor.segmentor, predictor.manifest.config)
        differences = write_graph(module, kind, work.folder / GRAPH_FILES[kind], calibration=calibration)
        if names is not None:
            np.save(work.folder / VECTORS_FILE, predictor.vocabulary(names).class_vectors.numpy())
        write_json(work.folder / FACTS_FILE, facts | facts_of_file(kind, differences, pictures))
    return Exported(out / GRAPH_FILES[kind], differences)


def _classes(predictor: "Predictor") -> list[str]:
    """Return the classes of the training, without names for background, which come with every vocabulary."""
    return [name for name in predictor.default_labels if name not in predictor.evaluate.background.names]
