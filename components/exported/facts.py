"""`export.json` beside a graph: what its caller needs to know."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade_core.engines.check import Differences
from cascade_core.engines.formats import GraphFormat
from cascade_core.predictor import Predictor
from components.vectors.encoding import encoded

FACTS_FILE, VECTORS_FILE = "export.json", "class_vectors.npy"


def facts_of(predictor: Predictor, labels: Sequence[str] | None) -> dict[str, Any]:
    """Return the facts of every graph of a model; with labels, also their penalties."""
    manifest = predictor.manifest
    axes = ", ".join(map(str, manifest.config.vectors_shape(0)[1:]))
    facts: dict[str, Any] = {
        "method": manifest.config.method,
        "setting": manifest.setting,
        "protocol": manifest.config.data.protocol,
        "weights": predictor.identity,
        "inputs": {
            "images": "float32 [batch, 3, height, width], RGB levels 0..255",
            "class_vectors": f"float32 [classes, {axes}], unit length",
            "penalties": "float32 [classes], subtracted from the probabilities before the best class is chosen",
        },
        "outputs": {
            "logits": "float32 [batch, classes, height / patch, width / patch], mask logits on the patch grid",
            "probabilities": "float32 [batch, classes, height, width]",
            "labels": "int64 [batch, height, width], places in class_vectors",
        },
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


def facts_of_file(kind: GraphFormat, differences: Differences, pictures: Sequence[Path]) -> dict[str, Any]:
    """Return the facts of one file: format, precision, and how far it is from torch."""
    return {
        "format": kind,
        "precision": "int8" if pictures else "float32",
        "calibration_pictures": len(pictures),
        "differences_to_torch": differences._asdict(),
    }
