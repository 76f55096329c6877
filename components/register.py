"""Step: put a trained model into MLflow's registry as a new version, and make the best one champion.

A registered model is named `<protocol>-<method>`; its versions are the settings and seeds it was trained
with, told apart by tags. `models:/<name>@champion` always loads the best version so far.
"""

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_core.clip.text_tower import copy_text_tower
from cascade_core.files import new_folder, write_json
from cascade_core.train.checkpoint import MANIFEST_FILE, MODEL_FILE, CheckpointManifest, load_manifest
from components.artifacts import git_commit, write_manifest
from components.benchmark import BenchmarkRow, benchmark_row
from components.tracking import SWITCH_VARIABLE, MlflowTracker, tracked_step

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.model import ModelInfo

log = logging.getLogger(__name__)

CHAMPION = "champion"
COMPARABLE = ("protocol", "split")
"""Scores of versions that differ in one of these tags say nothing about each other."""

REQUIREMENTS = (
    "cascade-clip-workflow",
    "jaxtyping",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "safetensors",
    "torch",
    "torchvision",
)


@dataclass(frozen=True)
class Registered:
    """A version in the registry, and whether it is its model's champion now."""

    name: str
    version: int
    champion: bool

    @property
    def uri(self) -> str:
        """Address by which `mlflow.pyfunc.load_model` finds this version."""
        return f"models:/{self.name}/{self.version}"


def run(
    *, checkpoint: Path, clip: Path, evaluation: Path, profile: Path, out: Path, name: str | None = None
) -> Registered:
    """Register a checkpoint with its scores and speed; `out` gets `model.json`, which says as what.

    The version becomes champion if there is none, or if its hIoU is at least the champion's on the same
    protocol and split. `name` defaults to `<protocol>-<method>`.

    Raises:
        ValueError: a folder is not of the step it should be, the evaluation is of another run than the
            checkpoint, or tracking is off.
    """
    if os.environ.get(SWITCH_VARIABLE) == "off":
        raise ValueError(f"{SWITCH_VARIABLE}=off leaves no registry to register in; unset it")
    manifest = load_manifest(checkpoint)
    row = benchmark_row(evaluation, profile)
    _check_same_run(manifest, row, evaluation)
    name = name or f"{row.protocol}-{row.method}"
    tags: dict[str, Any] = {"split": row.split}
    if data_hash := manifest.provenance.get("data_hash"):
        tags["data_hash"] = data_hash
    with tracked_step(
        "register",
        protocol=row.protocol,
        method=row.method,
        setting=row.setting,
        seed=row.seed,
        parameters=manifest.config.model_dump(mode="json"),
        tags=tags,
    ) as tracker:
        assert isinstance(tracker, MlflowTracker)
        values = row.model_dump(exclude_none=True)
        tracker.metrics({key: value for key, value in values.items() if isinstance(value, float)})
        model = _log_model(manifest, checkpoint, clip, run_id=tracker.run_id)
        version = _new_version(tracker.client, name, model, {**values, **tags, "git_commit": git_commit()})
        champion = _promote(tracker.client, name, version, row)
        registered = Registered(name, version, champion)
        tracker.tags({"registered_model": registered.uri, "champion": champion})
    with new_folder(out) as working:
        content = {"name": name, "version": version, "champion": champion, "uri": registered.uri}
        write_json(working / "model.json", content)
        inputs = {"checkpoint": checkpoint, "clip": clip, "evaluation": evaluation, "profile": profile}
        write_manifest(working, step="register", inputs=inputs, parameters={"name": name})
    return registered


def _check_same_run(manifest: CheckpointManifest, row: BenchmarkRow, evaluation: Path) -> None:
    config = manifest.config
    trained = {"method": config.method, "setting": manifest.setting, "seed": config.seed}
    trained["protocol"] = config.data.protocol
    for field, value in trained.items():
        evaluated = getattr(row, field)
        if evaluated != value:
            raise ValueError(
                f"{evaluation / 'scores.json'}: {field} is {evaluated!r}, the checkpoint's is {value!r}; "
                "give the evaluation of this checkpoint"
            )


def _log_model(manifest: CheckpointManifest, checkpoint: Path, clip: Path, *, run_id: str) -> "ModelInfo":
    """Store code, weights, signature and an example as a model of the run."""
    import mlflow

    from components import registered_model

    config = manifest.config
    with tempfile.TemporaryDirectory() as scratch:
        weights, text = Path(scratch, registered_model.CHECKPOINT), Path(scratch, registered_model.TEXT_TOWER)
        weights.mkdir()
        for file in (MODEL_FILE, MANIFEST_FILE):
            shutil.copyfile(checkpoint / file, weights / file)
        copy_text_tower(clip, text)
        with mlflow.start_run(run_id=run_id):
            return mlflow.pyfunc.log_model(
                name=config.method,
                python_model=registered_model.__file__,
                artifacts={path.name: str(path) for path in (weights, text)},
                signature=registered_model.SIGNATURE,
                input_example=registered_model.example(config.data.crop_size, manifest.classes[:2]),
                pip_requirements=[f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
            )


def _new_version(client: "MlflowClient", name: str, model: "ModelInfo", tags: dict[str, Any]) -> int:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    try:
        client.create_registered_model(
            name, description=f"Segments pictures into any named classes ({name})."
        )
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    texts = {key: str(value) for key, value in tags.items() if value is not None}
    version = client.create_model_version(
        name, model.model_uri, run_id=model.run_id, tags=texts, model_id=model.model_id
    )
    return int(version.version)


def _promote(client: "MlflowClient", name: str, version: int, row: BenchmarkRow) -> bool:
    """Give the version the champion's alias if it earns it, and say so."""
    alias = client.get_registered_model(name).aliases.get(CHAMPION)
    if alias is not None:
        tags = client.get_model_version(name, alias).tags
        differing = [key for key in COMPARABLE if tags.get(key) != getattr(row, key)]
        if differing:
            log.info("%s: version %d differs from the champion in %s", name, version, ", ".join(differing))
            return False
        if _score(row.model_dump()) < _score(tags):
            log.info("%s: version %d scores below the champion, version %s", name, version, alias)
            return False
    client.set_registered_model_alias(name, CHAMPION, str(version))
    log.info("%s: version %d is champion", name, version)
    return True


def _score(values: dict[str, Any]) -> float:
    """Give hIoU, or mIoU where no class is unseen."""
    score = values.get("hiou")
    return float(score if score is not None else values["miou_seen"])
