"""Export of a segmentor to a graph that runs without this code: `torch.export` (.pt2), and ONNX made from that.

Text vectors are an input, so one file serves any vocabulary. Batch, number of classes and picture size are free;
each side of a picture needs at least two patches.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.configs.config import RunConfig
from cascade_core.errors import UserError
from cascade_core.inference.vocabulary import Kind, probabilities
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.extras import install_command

INPUTS, OUTPUT = ("images", "class_vectors"), "probabilities"
TOLERANCE = 1e-4
"""The largest difference of a probability that is allowed between a graph and torch."""
OPSET = 20

RunGraph = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function that runs a graph: from images and class vectors to probabilities."""


class Exportable(nn.Module):
    """The module to export: from pictures (RGB levels 0..255) and text vectors to probabilities at every pixel.

    The module normalises the pictures. It sees them whole, and its probabilities are evaluation's before the seen
    penalty is subtracted.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, segmentor: Segmentor, config: RunConfig) -> None:
        super().__init__()
        # With gradients, a graph would keep the activations of all layers, and numpy could not read its output.
        self.segmentor = segmentor.eval().requires_grad_(False)
        self.kind: Kind = config.loss.kind
        self.register_buffer("mean", torch.tensor(config.data.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config.data.std).view(1, 3, 1, 1))

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], class_vectors: Float[Tensor, "classes embed"]
    ) -> Float[Tensor, "batch classes height width"]:
        masks = self.segmentor((images - self.mean) / self.std, class_vectors)
        return F.interpolate(
            probabilities(masks, self.kind), size=images.shape[-2:], mode="bilinear", align_corners=False
        )


def exported_program(module: Exportable) -> torch.export.ExportedProgram:
    """Trace the graph with free batch, classes, height and width."""
    config = module.segmentor.config
    patch = config.clip.patch_size
    # Not square and not of the configured size: tracing must not fix the branch that such pictures take.
    images = torch.zeros(2, 3, 6 * patch, 5 * patch)
    class_vectors = F.normalize(torch.ones(3, config.clip.embed_dim), dim=-1)
    dim, least = torch.export.Dim, 2 * patch
    shapes = {
        "images": {0: dim("batch", min=1), 2: dim("height", min=least), 3: dim("width", min=least)},
        "class_vectors": {0: dim("classes", min=1)},
    }
    with torch.no_grad():
        return torch.export.export(module, (images, class_vectors), dynamic_shapes=shapes)


def write_onnx(program: torch.export.ExportedProgram, file: Path) -> None:
    """Write the graph as one ONNX file.

    Raises:
        UserError: the packages of the extra `export` are not installed.
    """
    require_packages("onnx", "onnxscript")
    with warnings.catch_warnings():
        # torch warns about its own calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert onnx is not None
    onnx.save(file)


def load_onnx(file: Path) -> RunGraph:
    """Load an ONNX file into onnxruntime on the CPU.

    Raises:
        UserError: onnxruntime is not installed.
    """
    require_packages("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda images, vectors: np.asarray(
        session.run([OUTPUT], dict(zip(INPUTS, (images, vectors), strict=True)))[0]
    )


def load_torch(file: Path) -> RunGraph:
    """Load a `.pt2` file."""
    graph = torch.export.load(file).module()
    return lambda images, vectors: graph(torch.from_numpy(images), torch.from_numpy(vectors)).detach().numpy()


def check_graph(run: RunGraph, module: Exportable) -> float:
    """Compare a graph with torch on `examples` and return the largest difference of a probability.

    Raises:
        UserError: a probability differs by more than `TOLERANCE`.
    """
    worst = 0.0
    for images, vectors in examples(module):
        with torch.no_grad():
            expected = module(images, vectors).numpy()
        exported = run(images.numpy(), vectors.numpy())
        same_shape = exported.shape == expected.shape
        difference = float(np.abs(exported - expected).max()) if same_shape else np.inf
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported graph differs from torch by {difference:g} on images of shape {tuple(images.shape)} "
                f"and {len(vectors)} classes, more than {TOLERANCE:g}; do not use it, and report the versions of "
                "torch, onnx and onnxruntime"
            )
        worst = max(worst, difference)
    return worst


def examples(module: Exportable) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures and vectors with batches, classes and sizes that tracing did not use."""
    config = module.segmentor.config
    side, patch = config.image_size, config.clip.patch_size
    generator = torch.Generator().manual_seed(0)
    shapes: Sequence[tuple[int, int, int, int]] = (
        (1, side, side, 1),
        (3, 2 * patch, 2 * patch, 17),
        (1, 3 * patch + 1, 4 * patch + 3, 300),
    )
    for batch, height, width, classes in shapes:
        images = torch.rand(batch, 3, height, width, generator=generator) * 255
        vectors = torch.randn(classes, config.clip.embed_dim, generator=generator)
        yield images, F.normalize(vectors, dim=-1)


def require_packages(*packages: str) -> None:
    """Check that packages of the extra `export` are installed.

    Raises:
        UserError: a package is missing; the message says how to install it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(
            f"export to ONNX needs {', '.join(missing)}, which this environment lacks: {install_command('export')}"
        )
