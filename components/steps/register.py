"""Step: put a trained model into MLflow's registry as a new version; the gate says whether it becomes champion.

A registered model is named `<protocol>-<method>`; its versions are the settings and seeds it was trained
with, told apart by tags. `models:/<name>@champion` always loads the best version so far.
"""

import logging
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cascade_core.checkpoints.manifest import CheckpointManifest, load_manifest
from cascade_core.checkpoints.model_folder import CHECKPOINT, TEXT_TOWER, write_model_folder
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, write_json
from components.artifacts import git_commit, write_manifest
from components.registry import model_card
from components.registry import versions as registry
from components.results.margins import Margins
from components.results.rows import DROPPED, SCORES_FILE, BenchmarkRow, benchmark_row
from components.steps import gate
from components.tracking.store import require_store
from components.tracking.tracker import tracked_step

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.model import ModelInfo

log = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a decision is taken anew because somebody else promoted in between."""
LONGEST_PAUSE = 2.0
"""Seconds before that at most; of several that wait a random part of it, one is alone soon."""

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
    """A version in the registry, whether it became its model's champion, and why (not)."""

    name: str
    version: int
    champion: bool
    reason: str

    @property
    def uri(self) -> str:
        """Address by which `mlflow.pyfunc.load_model` finds this version."""
        return f"models:/{self.name}/{self.version}"


def run(
    *,
    checkpoint: Path,
    clip: Path,
    evaluation: Path,
    profile: Path,
    out: Path,
    name: str | None = None,
    decision: Path | None = None,
    margins: Margins | None = None,
) -> Registered:
    """Register a checkpoint with its scores and speed; `out` gets `model.json`, which says as what.

    Every candidate becomes a version, with signature, input example and model card; the gate says whether it
    also becomes champion. `decision` is the folder of a gate step that was asked before: a no stands, and a
    yes holds for the champion it was given about, so that it is asked again where that has changed. Without,
    the gate is asked now, with `margins`. `name` defaults to `<protocol>-<method>`.

    Raises:
        UserError: a folder is not of the step it should be, the evaluation is of another run than the
            checkpoint, the decision is about another model, or tracking is off.
    """
    require_store("register in")
    manifest = load_manifest(checkpoint)
    row, scored = benchmark_row(evaluation, profile), gate.read_scored(evaluation)
    _check_same_run(manifest, row, evaluation)
    name = name or f"{row.protocol}-{row.method}"
    asked = None if decision is None else _asked(decision, name)
    tags = {"split": row.split, "data_hash": scored.data_hash, "num_pictures": scored.num_pictures}
    with tracked_step(
        "register",
        protocol=row.protocol,
        method=row.method,
        setting=row.setting,
        seed=row.seed,
        parameters=manifest.config.model_dump(mode="json"),
        tags=tags,
    ) as tracker:
        assert tracker.client is not None and tracker.run_id is not None
        client, values = tracker.client, row.model_dump(exclude_none=True)
        tracker.metrics({key: value for key, value in values.items() if isinstance(value, float)})
        others = _other_seeds(client, name, row, scored)
        card = model_card.model_card(manifest, row, others=others, data_hash=scored.data_hash)
        model = _log_model(manifest, checkpoint, clip, card, run_id=tracker.run_id)
        facts = {
            **values,
            **tags,
            "trained_on": manifest.provenance.get("data_hash"),
            "git_commit": git_commit(),
        }
        version = _new_version(client, name, model, facts, card)
        decided = _settle(client, name, version, scored, asked, margins or Margins())
        registered = Registered(name, version, decided.promote, decided.reason)
        tracker.tags(
            {"registered_model": registered.uri, "champion": decided.promote, "reason": decided.reason}
        )
    with new_folder(out) as working:
        content = {"name": name, "version": version, "champion": decided.promote, "uri": registered.uri}
        write_json(working / "model.json", {**content, "reason": decided.reason})
        inputs = {"checkpoint": checkpoint, "clip": clip, "evaluation": evaluation, "profile": profile}
        parameters = {"name": name, **decided.margins.model_dump()}
        write_manifest(working, step="register", inputs=inputs, parameters=parameters)
    return registered


def _asked(folder: Path, name: str) -> gate.Decision:
    found = gate.read_decision(folder)
    if found.name != name:
        raise UserError(
            f"{folder / gate.DECISION_FILE}: name is {found.name!r}, the model is registered as {name!r}; "
            "give the gate step the same name"
        )
    return found


def _settle(
    client: "MlflowClient",
    name: str,
    version: int,
    scored: gate.Scored,
    asked: gate.Decision | None,
    margins: Margins,
) -> gate.Decision:
    """Promote the version if the gate says so of whoever is champion at that moment, and say what came of it."""
    if asked is not None and not asked.promote:
        return asked
    for _ in range(ATTEMPTS):
        held = registry.champion(client, name)
        decided = gate.decide(name, scored, held, asked.margins if asked else margins)
        log.info("%s, version %d: %s", name, version, decided.reason)
        if not decided.promote:
            return decided
        try:
            registry.promote(client, name, version, expected=decided.champion, reason=decided.reason)
        except registry.ChampionMovedError as error:
            log.info("%s; deciding again", error)
            time.sleep(random.uniform(0, LONGEST_PAUSE))
            continue
        return decided
    reason = f"the champion changed {ATTEMPTS} times while this was decided; promote by hand after a look"
    return decided.model_copy(update={"promote": False, "reason": reason})


def _other_seeds(
    client: "MlflowClient", name: str, row: BenchmarkRow, scored: gate.Scored
) -> Sequence[BenchmarkRow]:
    """Give the newest row of each other seed that was trained and measured in the same way."""
    if name not in registry.model_names(client):
        return ()
    rows: dict[int, BenchmarkRow] = {}
    for version in registry.versions(client, name):
        tags = {"background": DROPPED, **version.tags}
        if all(tags.get(key) == str(getattr(scored, key)) for key in gate.COMPARABLE):
            other = _row(version.tags)
            if other is not None and other.run == row.run and other.seed != row.seed:
                rows.setdefault(other.seed, other)
    return tuple(rows.values())


def _row(tags: Mapping[str, str]) -> BenchmarkRow | None:
    """Give the row a version's tags hold; None of a version that was not made by this step."""
    try:
        return BenchmarkRow.model_validate({"miou_seen": None, "miou_unseen": None, "hiou": None, **tags})
    except ValidationError:
        return None


def _check_same_run(manifest: CheckpointManifest, row: BenchmarkRow, evaluation: Path) -> None:
    config = manifest.config
    trained = {"method": config.method, "setting": manifest.setting, "seed": config.seed}
    trained |= {"protocol": config.data.protocol, "background": str(config.evaluate.background)}
    for field, value in trained.items():
        evaluated = getattr(row, field)
        if evaluated != value:
            raise UserError(
                f"{evaluation / SCORES_FILE}: {field} is {evaluated!r}, the checkpoint's is {value!r}; "
                "give the evaluation of this checkpoint"
            )


def _log_model(
    manifest: CheckpointManifest, checkpoint: Path, clip: Path, card: str, *, run_id: str
) -> "ModelInfo":
    """Store code, weights, signature, model card and an example as a model of the run."""
    import mlflow

    from components.registry import registered_model

    config = manifest.config
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        write_model_folder(checkpoint, clip, folder)
        weights, text = folder / CHECKPOINT, folder / TEXT_TOWER
        card_file = Path(scratch, model_card.FILE)
        card_file.write_text(card)
        with mlflow.start_run(run_id=run_id):
            return mlflow.pyfunc.log_model(
                name=config.method,
                python_model=registered_model.__file__,
                artifacts={path.name: str(path) for path in (weights, text, card_file)},
                signature=registered_model.SIGNATURE,
                input_example=registered_model.example(config.data.crop_size, manifest.classes[:2]),
                pip_requirements=[f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
            )


def _new_version(
    client: "MlflowClient", name: str, model: "ModelInfo", tags: Mapping[str, Any], card: str
) -> int:
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
        name,
        model.model_uri,
        run_id=model.run_id,
        tags=texts,
        model_id=model.model_id,
        description=model_card.described(card),
    )
    return int(version.version)
