"""The metadata of Kubeflow's artifacts: what a step copies from its inputs, and how values are written.

Kubeflow adds keys of its own to an input (`display_name`, the place in the object store), returns numbers as floats, and
fails a step whose metadata are not strict JSON. Its page shows each key of a `Metrics` artifact as a row.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LABELS = ("recipe", "setting", "seed", "split")
"""What distinguishes the artifacts of one pipeline; these keys are also rows of scores and costs."""
COPIED = (*LABELS, "mlflow_run", "data_hash", "protocol", "model")
"""The keys that a step copies from its inputs."""
WHOLE = ("seed",)
"""These numbers are written as text, because Kubeflow would show a float."""


def copied(artifact: Any) -> dict[str, Any]:
    """Return the metadata of an input artifact that its outputs share."""
    return {key: artifact.metadata[key] for key in COPIED if key in artifact.metadata}


def write_metadata(artifact: Any, values: Mapping[str, Any]) -> None:
    """Add values to an artifact's metadata: yes and no for booleans, no numbers that are not finite.

    Raises:
        ValueError, TypeError: a value is no JSON.
    """
    written = {name: _written(name, value) for name, value in values.items() if not _undefined(value)}
    json.dumps(written, allow_nan=False)
    artifact.metadata.update(written)


def write_metrics(artifact: Any, values: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
    """Fill a `Metrics` artifact: a row for each label and value, and the same as a JSON file at its address."""
    write_metadata(artifact, {**{name: labels[name] for name in LABELS if name in labels}, **values})
    Path(artifact.path).write_text(
        json.dumps(artifact.metadata, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )


def named(output: str, metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the display name of an output, which says recipe, setting and seed; nothing without a recipe."""
    if "recipe" not in metadata:
        return {}
    words = [output, metadata["recipe"], metadata.get("setting"), metadata.get("split")]
    if "seed" in metadata:
        words.append(f"seed {_written('seed', metadata['seed'])}")
    return {"display_name": " ".join(str(word) for word in words if word)}


def _written(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in WHOLE and isinstance(value, float | int):
        return f"{value:g}"
    return value


def _undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
