"""Registering: versions, the champion's alias, and a model that loads and predicts without pickle."""

import io
import logging
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.changes import with_overrides
from cascade_core.datasets.catalogue import protocol
from cascade_core.labels.label_file import read_label_file
from cascade_core.mini.vocabulary import WORDS
from cascade_core.predictor import Predictor
from cascade_core.runtime.files import read_json, write_json
from cascade_core.scoring.pictures import PictureCounts
from components.artifacts.manifest import read_step_manifest
from components.registry import kept_counts, registered_model, registration
from components.registry import versions as registry
from components.results.names import PICTURE_COUNTS_FILE
from components.results.picture_counts import write_counts
from components.steps import gate, register
from components.tracking import pipeline_run
from components.tracking.store import open_store
from tests.components.candidates import DATA, register_candidate, write_evaluation, write_model
from tests.own_data import draw_own_data, write_labels
from tests.tiny import TINY_CLIP, tiny_config, write_tiny_checkpoint, write_tiny_clip

NAME = "mini-18-6-cascade_clip"
LABELS = ["zebra", "tiger", "sand"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the tests' own, a CLIP and a checkpoint."""
    return write_model(tmp_path_factory.mktemp("registry"))


@pytest.fixture(autouse=True)
def _store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for variable in ("MLFLOW_TRACKING_URI", "CASCADE_TRACKING"):
        monkeypatch.delenv(variable, raising=False)


def test_the_champion_loads_by_alias_and_segments_any_names(folder: Path, tmp_path: Path) -> None:
    registered = register.run(
        checkpoint=folder / "final",
        clip=folder / "clip",
        evaluation=write_evaluation(tmp_path / "evaluation"),
        profile=folder / "profile",
        out=tmp_path / "out",
    )
    assert registered == register.Registered(NAME, 1, champion=True, reason="first model")
    assert read_json(tmp_path / "out" / "model.json")["uri"] == f"models:/{NAME}/1"
    assert read_step_manifest(tmp_path / "out").step == "register"

    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    request = registered_model.request(content.getvalue(), LABELS)
    predicted = model.predict([request, {**request, "labels": LABELS[:2]}])

    predictor = Predictor.load(folder / "final", folder / "clip", device=torch.device("cpu"))
    assert np.array_equal(predicted[0]["label_map"], predictor.predict(picture, LABELS).label_map)
    assert [row["labels"] for row in predicted] == [LABELS, LABELS[:2]]

    # How sure the model is comes with the map, and pixel by pixel where that is asked for.
    expected = predictor.predict(picture, LABELS)
    assert predicted[0]["mean_confidence"] == expected.mean_confidence
    assert predicted[0]["classes"] == [asdict(area) for area in expected.areas]
    assert "confidence_map" not in predicted[0]
    (detailed,) = model.predict([request], params={"confidence_map": True})
    assert np.abs(detailed["confidence_map"] / 255 - expected.confidence).max() <= 0.5 / 255 + 1e-6


def test_a_profile_is_not_needed_and_makes_no_other_version(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {
        "checkpoint": folder / "final",
        "clip": folder / "clip",
        "evaluation": write_evaluation(tmp_path / "evaluation"),
        "name": "no-profile",
    }
    with caplog.at_level(logging.INFO):
        first = register.run(**inputs, out=tmp_path / "first")
        first.show()
    assert (first.version, first.champion) == (1, True)
    assert (capsys.readouterr().out + caplog.text).count("first model") == 1
    again = register.run(**inputs, profile=folder / "profile", out=tmp_path / "again")
    assert again.version == 1


def test_a_version_says_what_it_is_and_holds_no_pickle(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = pipeline_run.open_run(pipeline="zero-shot", protocol="mini-18-6", kfp_run="kfp-7")
    monkeypatch.setenv(pipeline_run.PARENT_VARIABLE, parent)
    registered = register_candidate(folder, tmp_path, "described", pAcc=0.812345678)
    client = MlflowClient()
    version = client.get_model_version("described", str(registered.version))
    assert version.tags["setting"] == "inductive"
    assert (version.tags["hiou"], version.tags["pAcc"]) == ("0.48", "0.8123")
    assert version.tags["kfp_run"] == "kfp-7"
    assert not version.tags.keys() & {"trainable_params", "gmacs", "images_per_second"}
    assert len(version.tags) <= 18, version.tags
    assert version.tags["data_hash"] == DATA
    assert version.tags["trained_on"] == "0" * 64
    assert version.tags["git_commit"]
    stored = Path(mlflow.artifacts.download_artifacts(registered.uri))
    # Python leaves bytecode beside the model's own file when the model is loaded from the local store.
    files = [path for path in stored.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    suffixes = {path.suffix for path in files}
    assert suffixes <= {".safetensors", ".json", ".py", ".yaml", ".txt", ".md", ""}


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"hiou": 0.6}, "better: "),
        ({"pAcc": 0.79}, "a tie: "),
        ({"hiou": 0.9, "split": "val"}, "another split"),
    ],
    ids=["better", "tie", "split"],
)
def test_the_gate_says_whether_a_version_follows_the_champion(
    second: dict[str, object], reason: str, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    assert register_candidate(folder, tmp_path, name).champion
    registered = register_candidate(folder, tmp_path, name, **second)
    assert reason in registered.reason
    champion = MlflowClient().get_model_version_by_alias(name, "champion")
    assert (champion.version == 2) == registered.champion == (name == "better")


def test_a_refusal_is_final_and_an_approval_is_checked_again(folder: Path, tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path / "evaluation", hiou=0.5)
    early = gate.run(evaluation=evaluation, out=tmp_path / "early", name="asked")
    assert early.promote and early.champion is None
    assert register_candidate(folder, tmp_path, "asked", hiou=0.49).champion
    late = register_candidate(folder, tmp_path, "asked", decision=tmp_path / "early", hiou=0.5)
    assert not late.champion and "not enough better: hIoU 50.00 against 49.00" in late.reason

    refused = early.model_copy(update={"promote": False, "reason": "no"})
    write_json(tmp_path / "early" / "decision.json", refused.model_dump(mode="json"))
    assert register_candidate(folder, tmp_path, "asked", decision=tmp_path / "early", hiou=0.9).reason == "no"
    with pytest.raises(ValueError, match="the model is registered as 'other'"):
        register_candidate(folder, tmp_path, "other", decision=tmp_path / "early")


def test_overtaken_by_a_better_one_it_decides_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_candidate(folder, tmp_path, "race")
    promote, overtakers = registry.promote, [1]

    def race(client: MlflowClient, name: str, number: int, **rest: Any) -> None:
        if overtakers:
            version = client.create_model_version(name, first.source, tags={**first.tags, "hiou": "0.9"})
            client.set_registered_model_alias(name, "champion", version.version)
            overtakers.pop()
        promote(client, name, number, **rest)

    first = MlflowClient().get_model_version("race", "1")
    monkeypatch.setattr(registry, "promote", race)
    registered = register_candidate(folder, tmp_path, "race", hiou=0.7)
    assert not registered.champion and "worse: hIoU 70.00 against 90.00" in registered.reason
    assert MlflowClient().get_model_version_by_alias("race", "champion").version == 3


def test_the_card_says_what_it_is_and_spreads_over_seeds(folder: Path, tmp_path: Path) -> None:
    register_candidate(folder, tmp_path, "card", hiou=0.5)
    config = tiny_config().model_copy(update={"seed": 1})
    clip = write_tiny_clip(tmp_path / "clip")
    write_tiny_checkpoint(tmp_path / "seed1", clip, config)
    registered = register_candidate(
        folder, tmp_path, "card", checkpoint=tmp_path / "seed1", seed=1, hiou=0.52
    )
    described = MlflowClient().get_model_version("card", str(registered.version)).description
    assert described == mlflow.artifacts.load_text(f"{registered.uri}/artifacts/model_card.md")
    for fact in (
        "# Cascade-CLIP, inductive, mini-18-6, seed 1",
        f"data with hash `{'0' * 64}`, protocol `mini-18-6`",
        "- seen classes: zebra, ",
        "- unseen classes: tiger, mushroom, taxi, onion, sand, lava",
        "| this version | 80.0 | 60.0 | 40.0 | 52.0 |",
        "| over seeds 0, 1 | 80.0 ± 0.0 | 60.0 ± 0.0 | 40.0 ± 0.0 | 51.0 ± 1.4 |",
        "Code: Apache-2.0.",
        "## Limits",
    ):
        assert fact in described


def test_validation_decides_and_test_is_only_reported(folder: Path, tmp_path: Path) -> None:
    def validated(hiou: float) -> Path:
        return write_evaluation(tmp_path / f"val-{hiou}", split="val", hiou=hiou)

    first = register_candidate(folder, tmp_path, "judged", validation=validated(0.5), hiou=0.1)
    second = register_candidate(folder, tmp_path, "judged", validation=validated(0.4), hiou=0.9)
    assert (first.champion, second.champion) == (True, False) and "40.00 against 50.00" in second.reason
    tags = MlflowClient().get_model_version("judged", "1").tags
    assert (tags["split"], tags["hiou"]) == ("test", "0.1")
    assert (tags["validation.split"], tags["validation.hiou"]) == ("val", "0.5")


def test_a_version_keeps_counts_that_judge_the_next(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split, hardness = protocol("mini-18-6"), np.random.default_rng(0).integers(30, 80, 20)

    def validated(gain: int) -> Path:
        evaluation = write_evaluation(tmp_path / f"val-{gain}", split="val", hiou=0.5 + gain / 1000)
        ids, pixels = np.array([0, split.unseen[0]]), np.full(2, 100)
        pictures = {
            f"p{place}": PictureCounts(ids, np.full(2, right + gain), pixels, pixels)
            for place, right in enumerate(hardness)
        }
        write_counts(evaluation, pictures, split)
        return evaluation

    assert register_candidate(folder, tmp_path, "sure", validation=validated(0)).champion
    second = register_candidate(folder, tmp_path, "sure", validation=validated(1), hiou=0.481)
    assert second.champion and second.reason.endswith("over the pictures)")
    lower = gate.run(evaluation=validated(0), out=tmp_path / "lower", name="sure")
    assert lower.champion == 2 and lower.reason.startswith("worse: ") and "over the pictures" in lower.reason
    champion = registry.champion(MlflowClient(), "sure")
    assert champion is not None and kept_counts.counts_of(champion) is not None
    assert kept_counts.counts_of(replace(champion, run_id="0" * 32)) is None
    broken = tmp_path / PICTURE_COUNTS_FILE
    broken.write_bytes(b"cut")
    MlflowClient().log_artifact(str(champion.run_id), str(broken), kept_counts.FOLDER)
    assert kept_counts.counts_of(champion) is None and "keeps broken pixel counts" in caplog.text
    older = validated(2)
    (older / PICTURE_COUNTS_FILE).unlink()
    assert (
        "the candidate's evaluation keeps no"
        in gate.run(evaluation=older, out=tmp_path / "o", name="sure").reason
    )


@pytest.mark.slow
def test_a_champion_of_the_changed_label_file_follows(tmp_path: Path) -> None:
    draw_own_data(tmp_path, pictures=0)
    clip, registrations = write_tiny_clip(tmp_path / "clip"), []
    for number, unseen in enumerate(("lava", "sand")):
        write_labels(tmp_path, unseen=unseen)
        labels = read_label_file(tmp_path / "garden.yaml")
        config = with_overrides(tiny_config(), {"data.protocol": labels})
        checkpoint = tmp_path / str(number) / "final"
        write_tiny_checkpoint(checkpoint, clip, config)
        registrations.append(
            register.run(
                checkpoint=checkpoint,
                clip=tmp_path / "clip",
                evaluation=write_evaluation(
                    tmp_path / str(number) / "evaluation", protocol=labels.protocol, hiou=0.4 - number / 10
                ),
                out=tmp_path / str(number) / "out",
                name="garden",
            )
        )
    assert [one.champion for one in registrations] == [True, True]
    assert registrations[1].reason.startswith("first champion of the changed label file (garden-")
    assert "version 1 stays in the registry" in read_json(tmp_path / "1/out/model.json")["reason"]
    assert [(one.number, one.champion) for one in registry.versions(open_store(), "garden")] == [
        (2, True),
        (1, False),
    ]


def test_an_evaluation_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scores\.json: seed is 7, the checkpoint's is 0"):
        register_candidate(folder, tmp_path, "refused", seed=7)
    with pytest.raises(ValueError, match="background is 'threshold 0.3', the checkpoint's is 'dropped'"):
        register_candidate(folder, tmp_path, "refused", background="threshold 0.3")
    assert not (tmp_path / "out").exists()


def test_registering_without_tracking_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    with pytest.raises(ValueError, match="CASCADE_TRACKING=off"):
        register_candidate(folder, tmp_path, "off")


def test_a_request_that_is_no_picture_names_its_row(folder: Path, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(register_candidate(folder, tmp_path, "requests").uri)
    with pytest.raises(ValueError, match="row 0: image is not base64"):
        model.predict({"image": "%%%", "labels": LABELS})


@pytest.mark.parametrize("moment", ["settle", "other_seeds"])
def test_registering_again_after_a_kill_makes_no_second_version(
    moment: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"killed-{moment}"
    original = getattr(registration, moment)

    def killed(*arguments: Any) -> None:
        original(*arguments)
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(registration, moment, killed)
        with pytest.raises(SystemExit):
            register_candidate(folder, tmp_path, name)
    for _ in range(2):
        registered = register_candidate(folder, tmp_path, name)
        assert (registered.version, registered.champion, registered.reason) == (1, True, "first model")
    assert len(MlflowClient().search_model_versions(f"name = '{name}'")) == 1
    experiment = MlflowClient().get_experiment_by_name("mini-18-6")
    runs = MlflowClient().search_runs([experiment.experiment_id], max_results=3)
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED", "KILLED"]


def test_a_model_that_does_not_answer_becomes_no_version(folder: Path, tmp_path: Path) -> None:
    wide = TINY_CLIP.model_copy(update={"embed_dim": 2 * TINY_CLIP.embed_dim})
    save_clip(tmp_path / "clip", new_clip(wide, seed=0), words=list(WORDS))
    with pytest.raises(ValueError, match="give the CLIP that the checkpoint was trained with"):
        register_candidate(folder, tmp_path, "unfit", clip=tmp_path / "clip")
    assert not MlflowClient().search_registered_models("name = 'unfit'")


def test_a_broken_champion_does_not_stand_in_the_way(folder: Path, tmp_path: Path) -> None:
    register_candidate(folder, tmp_path, "broken")
    client = MlflowClient()
    tags = client.get_model_version("broken", "1").tags | {"content_sha256": "another"}
    broken = client.create_model_version("broken", "file:///nowhere", tags=tags)
    client.set_registered_model_alias("broken", "champion", broken.version)
    decision = gate.run(evaluation=write_evaluation(tmp_path / "e"), out=tmp_path / "gate", name="broken")
    assert not decision.promote
    registered = register_candidate(folder, tmp_path, "broken", decision=tmp_path / "gate", pAcc=0.79)
    assert registered.champion and registered.version == 3
    assert f"the champion, version {broken.version}, does not answer" in registered.reason


@pytest.mark.parametrize(
    ("registered", "lines"),
    [
        (
            register.Registered(NAME, 3, champion=False, reason="a tie: hIoU 48.00", compared_with=2),
            [
                f"# models:/{NAME}/3 does not become the champion",
                "",
                "a tie: hIoU 48.00",
                "",
                "Champion so far: version 2.",
            ],
        ),
        (
            register.Registered(NAME, 1, champion=True, reason="first model"),
            [f"# models:/{NAME}/1 is the champion", "", "first model", "", "Champion so far: none."],
        ),
    ],
)
def test_kubeflows_page_shows_the_gates_verdict(
    registered: register.Registered, lines: list[str], tmp_path: Path
) -> None:
    verdict = SimpleNamespace(path=str(tmp_path / "verdict"))
    metadata = register.show_version(registered, {}, verdict=verdict)
    assert (tmp_path / "verdict").read_text().splitlines() == lines
    assert metadata == {"model": registered.uri, "champion": registered.champion, "reason": registered.reason}
