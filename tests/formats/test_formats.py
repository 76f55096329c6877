"""Today's code loads, evaluates, trains on and serves the files that commit 3c99941 stored (see README.md)."""

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.predictor import Predictor
from cascade_core.runtime.files import read_json
from components.artifacts.manifest import read_step_manifest
from components.registry import versions as registry
from components.registry.addresses import load_predictor
from components.results.accepted import ROWS_FILE, last_accepted
from components.results.accepted import history as reruns
from components.serving import server
from components.steps import benchmark_rerun, evaluate, gate, register, report, self_train, train
from components.tracking.store import open_store

STORED = Path(__file__).parent / "stored"
EXPECTED = json.loads((STORED / "expected.json").read_text())
MODEL = json.loads((STORED / "registered" / "version.json").read_text())
PICTURE = Path("pictures/VOCdevkit/VOC2012/JPEGImages/test_0000.jpg")
THRESHOLDS = {
    "max_drop_points": {"pAcc": 3.0, "miou_seen": 3.0, "miou_unseen": 5.0, "hiou": 4.0},
    "max_slowdown_share": 0.99,
    "confidence": 0.95,
}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Copy the stored files, so that tests write nothing beside them, such as bytecode or a resumed training."""
    return Path(shutil.copytree(STORED, tmp_path / "stored"))


@pytest.fixture
def registered(store: Path, stored: Path) -> str:
    """Register the stored version as champion in the test's own store, and return its name."""
    client = open_store()
    client.create_registered_model(MODEL["name"])
    client.create_model_version(MODEL["name"], (stored / "registered" / "model").as_uri(), tags=MODEL["tags"])
    client.set_registered_model_alias(MODEL["name"], registry.CHAMPION, "1")
    return MODEL["name"]


def _agree(label_map: Any) -> bool:
    """Say whether a label map equals the old one, except for the few pixels that depend on the CPU's rounding."""
    return bool((np.asarray(label_map) == np.asarray(EXPECTED["label_map"])).mean() > 0.995)


def _row(stored: Path) -> dict[str, Any]:
    picture = base64.b64encode((stored / PICTURE).read_bytes()).decode("ascii")
    return {"image": picture, "labels": EXPECTED["labels"]}


def _inputs(stored: Path) -> dict[str, Path]:
    return {name: stored / name for name in ("prepared", "splits", "text")}


def test_a_model_folder_predicts_the_same_label_map(stored: Path) -> None:
    prediction = Predictor.load(stored / "model_folder", device="cpu").predict(
        stored / PICTURE, EXPECTED["labels"]
    )
    assert _agree(prediction.label_map)
    assert prediction.mean_confidence == pytest.approx(EXPECTED["mean_confidence"], abs=1e-4)


def test_a_checkpoint_predicts_the_same_label_map(stored: Path) -> None:
    predictor = Predictor.load(stored / "train" / "final", stored / "clip", device="cpu")
    assert _agree(predictor.predict(stored / PICTURE, EXPECTED["labels"]).label_map)


def test_a_registered_version_runs_the_code_stored_with_it(stored: Path) -> None:
    folder = stored / "registered" / "model"
    assert "from cascade_core.predict import" in (folder / "registered_model.py").read_text()
    (answer,) = mlflow.pyfunc.load_model(str(folder)).predict([_row(stored)])
    assert _agree(answer["label_map"]) and answer["labels"] == EXPECTED["labels"]


def test_a_registered_version_loads_by_its_address(registered: str, stored: Path) -> None:
    predictor = load_predictor(f"models:/{registered}@champion", device="cpu")
    assert _agree(predictor.predict(stored / PICTURE, EXPECTED["labels"]).label_map)


def test_a_registered_version_is_served(registered: str, stored: Path) -> None:
    app = server._scoring_app(server._load(server._model_uri(registered, None)))
    status, content = asyncio.run(_post(app, json.dumps({"dataframe_records": [_row(stored)]}).encode()))
    assert status == 200, content
    assert _agree(json.loads(content)["predictions"][0]["label_map"])


async def _post(app: Any, body: bytes) -> tuple[int, bytes]:
    """Post to `/invocations` of an ASGI application, without a network."""
    sent: list[dict[str, Any]] = []
    given = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return given.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *head],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "root_path": "",
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:])


def test_a_checkpoint_has_the_same_scores(stored: Path, tmp_path: Path) -> None:
    old = stored / "evaluate" / "inductive"
    result = evaluate.run(
        checkpoint=stored / "train" / "final", split="test", out=tmp_path / "out", **_inputs(stored)
    )
    scores = read_json(old / "scores.json")
    assert result.seen_penalty == scores["seen_penalty"] and result.data_hash == scores["data_hash"]
    for name in ("pAcc", "miou_seen", "miou_unseen", "hiou"):
        assert getattr(result, name) == pytest.approx(scores[name], abs=2e-3)
    now, before = (pd.read_csv(folder / "confusion.csv").iloc[:, 1:] for folder in (tmp_path / "out", old))
    assert np.abs(now - before).to_numpy().sum() <= 0.005 * before.to_numpy().sum()


def test_an_interrupted_training_resumes(stored: Path) -> None:
    left = stored / ".interrupted.unfinished"
    half_way = load_manifest(left / "resume")
    kept = pd.read_csv(left / "history.csv").iloc[:2]
    parts = half_way.config.model_dump(mode="json", exclude={"recipe", "method", "seed"})
    overrides = {
        f"{part}.{key}": value
        for part, values in parts.items()
        for key, value in values.items()
        if (part, key) not in {("data", "own"), ("self_train", "mode")}
    }
    done = train.run(
        clip=stored / "clip",
        recipe=half_way.config.recipe,
        overrides=overrides,
        seed=half_way.config.seed,
        out=stored / "interrupted",
        **_inputs(stored),
    )
    assert load_manifest(done.final).iteration == 4
    history = pd.read_csv(stored / "interrupted" / "history.csv")
    pd.testing.assert_frame_equal(history.iloc[:2], kept)
    assert len(history) == 4 and not left.exists()


def test_self_training_starts_from_a_checkpoint(stored: Path, tmp_path: Path) -> None:
    done = self_train.run(
        trained=stored / "train", mode="strict", overrides={}, out=tmp_path / "out", **_inputs(stored)
    )
    now, before = load_manifest(done.final), load_manifest(stored / "self_train" / "strict" / "final")
    assert now == before


def test_a_candidate_is_registered_from_stored_folders(store: Path, stored: Path, tmp_path: Path) -> None:
    done = register.run(
        checkpoint=stored / "train" / "final",
        clip=stored / "clip",
        evaluation=stored / "evaluate" / "inductive",
        profile=stored / "profile",
        decision=stored / "gate",
        out=tmp_path / "out",
    )
    assert done.champion and done.name == MODEL["name"]
    (answer,) = mlflow.pyfunc.load_model(done.uri).predict([_row(stored)])
    assert _agree(answer["label_map"])


def test_a_candidate_is_compared_with_an_earlier_champion(
    registered: str, stored: Path, tmp_path: Path
) -> None:
    decided = gate.run(evaluation=stored / "evaluate" / "inductive", out=tmp_path / "out")
    assert decided.champion == 1 and decided.reason.startswith("a tie: ")


def test_the_report_reads_stored_folders(stored: Path, tmp_path: Path) -> None:
    done = report.run(
        evaluations=[stored / "evaluate" / "inductive"],
        profiles=[stored / "profile"],
        trainings=[stored / "train", stored / "self_train" / "strict"],
        out=tmp_path / "out",
    )
    assert [row.setting for row in done.rows] == ["inductive"]


def test_a_rerun_is_compared_with_one_accepted_before(store: Path, stored: Path, tmp_path: Path) -> None:
    facts = read_json(stored / "accepted" / "run.json")
    client = open_store()
    experiment = client.create_experiment("benchmark")
    run = client.create_run(experiment, start_time=facts["start_time"], tags=facts["tags"])
    client.log_artifact(run.info.run_id, str(stored / "accepted" / ROWS_FILE))
    client.set_terminated(run.info.run_id, facts["status"])
    before = last_accepted(reruns())
    assert before is not None and before.run_id == run.info.run_id

    strict = stored / "self_train" / "strict" / "final"
    evaluate.run(checkpoint=strict, split="test", out=tmp_path / "strict", **_inputs(stored))
    done = benchmark_rerun.run(
        evaluations=[stored / "evaluate" / "inductive", tmp_path / "strict"],
        profiles=[stored / "profile", stored / "profile"],
        thresholds=THRESHOLDS,
        out=tmp_path / "out",
    )
    assert done.compared_with == run.info.run_id
    assert done.outcome == "no change", [change.line() for change in done.changes]


@pytest.mark.parametrize(
    "folder", ["prepared", "splits", "text", "train", "evaluate/inductive", "profile", "gate", "register"]
)
def test_the_manifest_of_each_step_reads(folder: str, stored: Path) -> None:
    assert read_step_manifest(stored / folder).commit == "3c9994167a0264d36fc8ad81d8dd1990c18a437b"
