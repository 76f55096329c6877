"""Whether a graph computes what torch computes, output by output."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn

import numpy as np
import torch
import torch.nn.functional as F

from cascade_core.engines.graph import Exportable, Outputs, RunGraph
from cascade_core.errors import UserError

TOLERANCE = 1e-4
"""The largest difference of a probability that is allowed between a graph in float32 and torch."""
LOGIT_TOLERANCE = 1e-3
"""The same for logits, whose unit is the largest logit or 1: a sigmoid divides a difference by at least 4."""

Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Images, class vectors and penalties, as a `RunGraph` takes them."""


class Differences(NamedTuple):
    """How far a graph is from torch: the largest differences, and the share of pixels that have torch's label."""

    probabilities: float
    logits: float
    labels_equal: float


def check_graph(run: RunGraph, module: Exportable) -> Differences:
    """Compare every output of a graph in float32 with torch on `examples`, and return the differences.

    Raises:
        UserError: a probability differs by more than `TOLERANCE`, a logit by more than `LOGIT_TOLERANCE`, or a label
            is another one although torch's scores of both are no tie.
    """
    cases = []
    for inputs in examples(module):
        expected, exported = module.outputs(*inputs), run(*inputs)
        case = _difference(exported, expected)
        unit = max(1.0, float(np.abs(expected.logits).max()))
        if not case.probabilities <= TOLERANCE:
            _refuse(f"{case.probabilities:g} (probabilities), more than {TOLERANCE:g},", inputs)
        if not case.logits <= LOGIT_TOLERANCE * unit:
            _refuse(f"{case.logits:g} (logits), more than {LOGIT_TOLERANCE * unit:g},", inputs)
        if wrong := _wrong_labels(exported.labels, expected, inputs[2]):
            _refuse(f"{wrong:,} labels that are no ties", inputs)
        cases.append(case)
    return _worst(cases)


def differences(run: RunGraph, module: Exportable, cases: Iterable[Inputs]) -> Differences:
    """Compare a graph with torch on inputs, without a tolerance: a graph in bf16 or int8 differs by its nature.

    Raises:
        UserError: an output has another shape than torch's, or is NaN.
    """
    worst = _worst([_difference(run(*inputs), module.outputs(*inputs)) for inputs in cases])
    if not np.isfinite(worst.logits + worst.probabilities):
        raise UserError(
            "the exported graph computes NaN, or outputs of another shape than torch; do not use it, and export it in float32"
        )
    return worst


def examples(module: Exportable) -> Iterator[Inputs]:
    """Yield inputs with batches, classes and sizes that tracing did not use; half of the classes have a penalty."""
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
        vectors = torch.randn(module.config.vectors_shape(classes), generator=generator)
        penalties = np.where(np.arange(classes) % 2, 0.1, 0.0).astype(np.float32)
        yield images.numpy(), F.normalize(vectors, dim=-1).numpy(), penalties


def _difference(exported: Outputs, expected: Outputs) -> Differences:
    same_shape = exported.labels.shape == expected.labels.shape
    return Differences(
        _largest(exported.probabilities, expected.probabilities),
        _largest(exported.logits, expected.logits),
        float((exported.labels == expected.labels).mean()) if same_shape else 0.0,
    )


def _worst(cases: Sequence[Differences]) -> Differences:
    return Differences(
        max(case.probabilities for case in cases),
        max(case.logits for case in cases),
        float(np.mean([case.labels_equal for case in cases])),
    )


def _largest(exported: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference; infinite for arrays of another shape or with NaN."""
    if exported.shape != expected.shape:
        return np.inf
    largest = float(np.abs(exported - expected).max())
    return np.inf if np.isnan(largest) else largest


def _wrong_labels(labels: np.ndarray, expected: Outputs, penalties: np.ndarray) -> int:
    """Count the labels whose score in torch is below the best one's by more than the tolerance of both scores."""
    if labels.shape != expected.labels.shape or labels.min() < 0 or labels.max() >= len(penalties):
        return labels.size
    scores = expected.probabilities - penalties[:, None, None]
    chosen = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    return int((chosen < scores.max(axis=1) - 2 * TOLERANCE).sum())


def _refuse(what: str, inputs: Inputs) -> NoReturn:
    raise UserError(
        f"the exported graph differs from torch by {what} on images of shape {inputs[0].shape} and "
        f"{len(inputs[1])} classes; do not use it, and report the versions of torch, onnx and the engine"
    )
