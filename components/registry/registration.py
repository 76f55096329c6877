"""Making a version of a model in MLflow's registry: its files, card and tags, and the promotion that a decision allows.

A registered model is named `<protocol>-<method>`; its versions are the settings and seeds it was trained
with, told apart by tags. `models:/<name>@champion` always loads the best version so far.
"""

import logging
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.checkpoints.model_folder import CHECKPOINT, TEXT_TOWER, write_model_folder
from cascade_core.errors import UserError
from components.registry import decisions as gate
from components.registry import model_card
from components.registry import versions as registry
from components.results.margins import Margins
from components.results.rows import DROPPED, SCORES_FILE, BenchmarkRow

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


def earlier_decision(folder: Path, name: str) -> gate.Decision:
    """Read the decision of a gate step about the model `name`.

    Raises:
        UserError: it is about another model, or the folder is of no gate step.
    """
    found = gate.read_decision(folder)
    if found.name != name:
        raise UserError(
            f"{folder / gate.DECISION_FILE}: name is {found.name!r}, the model is registered as {name!r}; "
            "give the gate step the same name"
        )
    return found


def settle(
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


def other_seeds(
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


def check_same_run(manifest: CheckpointManifest, row: BenchmarkRow, evaluation: Path) -> None:
    """Check that an evaluation is of the checkpoint.

    Raises:
        UserError: it is of another run; the message names the field.
    """
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


def log_model(
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


def new_version(
    client: "MlflowClient", name: str, model: "ModelInfo", tags: Mapping[str, Any], card: str
) -> int:
    """Register the model as a new version with its tags and card, and return the version's number."""
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
