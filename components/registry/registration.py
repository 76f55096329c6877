"""Register a model version in MLflow: its files, model card and tags, and its promotion if the gate allows it.

A registered model is named `<protocol>-<method>`. Its versions are trainings in different settings and with
different seeds, which tags distinguish. `models:/<name>@champion` loads the best version so far.
"""

import hashlib
import json
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
from components.artifacts.manifest import git_commit
from components.registry import decisions as gate
from components.registry import kept_counts, model_card
from components.registry import versions as registry
from components.results.margins import Margins
from components.results.rows import DROPPED, SCORES_FILE, SPEED_FIELDS, ScoreRow
from components.servers.patience import AwayError
from components.tracking.faults import away, refused, translate_errors
from components.tracking.run_results import KFP_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.model import ModelInfo

    from cascade_core.predictor import Predictor
    from components.results.picture_counts import CountsOfPictures

log = logging.getLogger(__name__)

ATTEMPTS = 8
"""The number of decisions before giving up, if other processes keep promoting versions in between."""
LONGEST_PAUSE = 2.0
"""Upper bound, in seconds, of the random pause between two decisions."""

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


def settle(
    client: "MlflowClient",
    name: str,
    version: int,
    scored: gate.Scored,
    earlier: gate.Decision | None,
    margins: Margins,
    counts: "CountsOfPictures | None" = None,
) -> gate.Decision:
    """Promote the version if it passes the gate against the current champion, and return the decision.

    `counts` are the pixel counts of the evaluation that gave the scores.

    An `earlier` refusal stands unless the champion that it compared with no longer answers. An earlier approval is
    decided again with its own margins, because the champion may have changed since. A version that is the champion
    already, because an interrupted call promoted it, stays so.
    """
    margins = earlier.margins if earlier else margins
    for _ in range(ATTEMPTS):
        champion = registry.champion(client, name)
        if champion is not None and champion.number == version:
            reason = champion.tags.get(registry.REASON_TAG, "an interrupted call promoted it")
            return gate.Decision(name=name, promote=True, reason=reason, champion=version, margins=margins)
        theirs = None if champion is None or counts is None else kept_counts.counts_of(champion)
        decision = gate.decide(name, scored, champion, margins, ours=counts, theirs=theirs)
        if earlier is not None and not earlier.promote:
            decision = earlier
        if not decision.promote and champion is not None and (fault := _fault_of(champion)):
            alone = gate.decide(name, scored, None, margins)
            reason = f"the champion, version {champion.number}, does not answer: {fault}"
            decision = alone.model_copy(update={"champion": champion.number, "reason": reason})
        log.debug("%s, version %d: %s", name, version, decision.reason)
        if not decision.promote:
            return decision
        try:
            registry.promote(client, name, version, expected=decision.champion, reason=decision.reason)
        except registry.ChampionMovedError as error:
            log.info("%s; deciding again", error)
            time.sleep(random.uniform(0, LONGEST_PAUSE))
            continue
        return decision
    reason = f"the champion changed {ATTEMPTS} times during the decision; promote by hand after a look"
    return decision.model_copy(update={"promote": False, "reason": reason})


def other_seeds(client: "MlflowClient", name: str, row: ScoreRow, scored: gate.Scored) -> Sequence[ScoreRow]:
    """Return the newest row of each other seed that was trained and measured in the same way."""
    if name not in registry.model_names(client):
        return ()
    rows: dict[int, ScoreRow] = {}
    for version in registry.versions(client, name):
        tags = {"background": DROPPED, **version.tags}
        if any(tags.get(key) != str(getattr(scored, key)) for key in gate.COMPARABLE):
            continue
        try:
            scores = {"miou_seen": None, "miou_unseen": None, "hiou": None}
            other = ScoreRow.model_validate({**scores, **version.tags})
        except ValidationError:  # The register step did not make this version.
            continue
        if other.run == row.run and other.seed != row.seed:
            rows.setdefault(other.seed, other)
    return tuple(rows.values())


def check_same_run(manifest: CheckpointManifest, row: ScoreRow, evaluation: Path) -> None:
    """Check that an evaluation is of the checkpoint.

    Raises:
        UserError: the evaluation is of another run; the message names the field.
    """
    config = manifest.config
    trained = {"method": config.method, "setting": manifest.setting, "seed": config.seed}
    trained["background"] = str(config.evaluate.background)
    if manifest.setting != "training_free":  # which may be scored on any protocol
        trained["protocol"] = config.data.protocol
    for field, value in trained.items():
        if (evaluated := getattr(row, field)) != value:
            raise UserError(
                f"{evaluation / SCORES_FILE}: {field} is {evaluated!r}, the checkpoint's is {value!r}; "
                "give the evaluation of this checkpoint"
            )


def log_model(
    manifest: CheckpointManifest, checkpoint: Path, clip: Path, card: str, *, run_id: str
) -> "ModelInfo":
    """Log code, weights, signature, model card and an input example as a model of the run."""
    import mlflow

    from components.registry import registered_model

    config = manifest.config
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        write_model_folder(checkpoint, clip, folder)
        card_file = Path(scratch, model_card.FILE)
        card_file.write_text(card, encoding="utf-8")
        with mlflow.start_run(run_id=run_id):
            model = mlflow.pyfunc.log_model(
                name=config.method,
                python_model=registered_model.__file__,
                artifacts={
                    path.name: str(path) for path in (folder / CHECKPOINT, folder / TEXT_TOWER, card_file)
                },
                signature=registered_model.SIGNATURE,
                input_example=registered_model.example(config.data.crop_size, manifest.classes[:2]),
                pip_requirements=[f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
            )
    # MLflow marked the run as finished; the step goes on.
    mlflow.MlflowClient().update_run(run_id, status="RUNNING")
    return model


def check_answers(uri: str) -> None:
    """Load a model as it will be served, and let it label the picture of its input example.

    Raises:
        UserError: a file is missing or does not fit, or the model refuses a picture.
    """
    import mlflow

    with translate_errors(f"model {uri}", way_out="check the artifact store"):
        served = mlflow.pyfunc.load_model(uri)
        if served.input_example is not None:
            served.predict(served.input_example)


def _fault_of(champion: registry.Version) -> str | None:
    """Return why a champion does not answer, or None if it does.

    Raises:
        AwayError: the store does not answer, so that nobody knows.
    """
    try:
        check_answers(champion.uri)
    except UserError as error:
        cause = error.__cause__
        if isinstance(error, AwayError) or (cause is not None and (away(cause) or refused(cause))):
            raise
        return str(error)
    return None


def content_of(predictor: "Predictor", row: ScoreRow, scored: gate.Scored) -> str:
    """Return the hash of what a version is: its weights, how they were trained, and their scores.

    Size and speed are left out: they follow from the weights, or differ from one measurement to the next.
    """
    content = {
        "weights": predictor.identity,
        "manifest": predictor.manifest.model_dump(mode="json"),
        "row": row.model_dump(mode="json", exclude=set(SPEED_FIELDS)),
        "scored": scored.model_dump(
            mode="json", exclude={gate.PICTURES}
        ),  # part of the data, whose hash is in it
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def version_tags(
    manifest: CheckpointManifest, row: ScoreRow, scored: gate.Scored, content: str
) -> dict[str, Any]:
    """Return the tags of a version: what distinguishes it, what the gate compares, and where it comes from.

    Scores are rounded as the gate rounds them. Size and speed are metrics of the version's run.
    """
    described = row.model_dump(exclude_none=True, exclude=set(SPEED_FIELDS))
    return {
        **{
            name: gate.rounded(value) if isinstance(value, float) else value
            for name, value in described.items()
        },
        "data_hash": scored.data_hash,
        gate.PICTURES: scored.pictures_hash,
        "num_pictures": scored.num_pictures,
        "trained_on": manifest.provenance.get("data_hash"),
        "git_commit": git_commit(),
        registry.CONTENT_TAG: content,
    }


def kubeflow_run_of(client: "MlflowClient", run_id: str) -> dict[str, str]:
    """Return the tag `kfp_run` of a step's run, for its version; nothing outside of Kubeflow."""
    tags = client.get_run(run_id).data.tags
    return {KFP_TAG: tags[KFP_TAG]} if KFP_TAG in tags else {}


def version_of(client: "MlflowClient", name: str, content: str) -> int | None:
    """Return the number of the first version of this content, or None if there is none yet."""
    if name not in registry.model_names(client):
        return None
    same = [
        entry.number
        for entry in registry.versions(client, name)
        if entry.tags.get(registry.CONTENT_TAG) == content
    ]
    return min(same, default=None)


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
    client.create_model_version(
        name,
        model.model_uri,
        run_id=model.run_id,
        tags={key: str(value) for key, value in tags.items() if value is not None},
        model_id=model.model_id,
        description=model_card.shortened(card),
    )
    ours = [entry.number for entry in registry.versions(client, name) if entry.run_id == model.run_id]
    # MLflow sends a request again if its answer was lost, and then makes one version more.
    for number in sorted(ours)[1:]:
        client.delete_model_version(name, str(number))
    return min(ours)
