"""`cascade-clip models ...` on a sqlite store: what they print and which version is champion afterwards."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from mlflow import MlflowClient
from typer.testing import CliRunner

from components.registry import versions as registry
from components.tracking.store import open_store
from pipelines.cli.app import app

NAME = "mini-18-6-zegclip"
TAGS = {
    "method": "cascade_clip",
    "setting": "inductive",
    "seed": "0",
    "split": "test",
    "pAcc": "0.7",
    "miou_seen": "0.5",
    "hiou": "0.4321",
}


@pytest.fixture
def client(store: object) -> MlflowClient:
    client = open_store()
    client.create_registered_model(NAME)
    for seed in range(3):
        client.create_model_version(
            NAME, "file:///x", tags={**TAGS, "seed": str(seed)}, description=f"# Card {seed}"
        )
    return client


def _models(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def _json(*arguments: str) -> object:
    done = _models(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_promote_and_rollback_move_the_champion(client: MlflowClient) -> None:
    assert "version 1 is champion" in _models("promote", NAME, "1").stdout
    output = _models("promote", NAME, "3", "--reason", "looked at pictures").stdout
    assert output.splitlines()[-1] == f"{NAME}: version 3 is champion, before it was 1"
    champion = registry.champion(client, NAME)
    assert champion is not None and (champion.number, champion.tags["promotion_reason"]) == (
        3,
        "looked at pictures",
    )
    assert "version 1 is champion again" in _models("rollback", NAME).stdout
    done = _models("rollback", NAME)
    assert done.exit_code == 2 and "no champion is known before version 1" in done.stderr


@pytest.mark.parametrize(
    "words", [["list"], ["show", "m"], ["serve", "m"], ["promote", "m", "1"], ["rollback", "m"]]
)
def test_reading_models_makes_no_store(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("CASCADE_TRACKING", raising=False)
    done = _models(*words)
    assert done.exit_code == 2 and f"{tmp_path}/mlruns/mlflow.db does not exist; work in" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_list_names_the_store_that_it_read(client: MlflowClient) -> None:
    assert f"Registered models of {client.tracking_uri}"[:60] in " ".join(_models("list").stdout.split())


@pytest.mark.parametrize("command", ["show", "serve", "list"])
def test_an_unknown_model_is_named_with_those_that_exist(client: MlflowClient, command: str) -> None:
    done = _models(command, "nope")
    assert done.exit_code == 2
    assert f"there is no registered model 'nope'; known are: {NAME}" in done.stderr


def test_the_list_marks_the_champion_and_shows_scores(client: MlflowClient) -> None:
    _models("promote", NAME, "2")
    lines = [line for line in _models("list").stdout.splitlines() if NAME in line]
    assert [line.strip("│ ").split("│")[1].strip() for line in lines] == ["3", "2 champion", "1"]
    assert all("43.2" in line and "cascade_clip" in line for line in lines)
    listed = _json("list", NAME)
    assert isinstance(listed, list)
    assert [(one["version"], one["champion"]) for one in listed] == [(3, False), (2, True), (1, False)]


def test_show_gives_the_card_of_the_champion_or_of_any_version(client: MlflowClient) -> None:
    done = _models("show", NAME)
    assert done.exit_code == 2 and "has no champion" in done.stderr
    _models("promote", NAME, "2")
    output = _models("show", NAME).stdout
    assert f"models:/{NAME}/2  (champion)" in output and output.rstrip().endswith("# Card 1")
    first = _json("show", NAME, "1")
    assert isinstance(first, dict) and first["description"] == "# Card 0" and not first["champion"]
    assert first["champion_history"] == [2]


def test_an_unknown_name_is_refused_with_the_known_ones(client: MlflowClient) -> None:
    for arguments in (
        ["list", "nobody"],
        ["show", "nobody"],
        ["promote", "nobody", "1"],
        ["rollback", "nobody"],
    ):
        done = _models(*arguments)
        assert done.exit_code == 2
        assert f"no registered model 'nobody'; known are: {NAME}" in done.stderr


def test_a_negative_margin_is_refused(client: MlflowClient, tmp_path: Path) -> None:
    arguments = ["gate", "--evaluation", str(tmp_path), "--out", "y", "--min-hiou-gain", "-1"]
    done = CliRunner().invoke(app, arguments)
    assert (
        done.exit_code == 2
        and "margins: min_hiou_gain: Input should be greater than or equal to 0 (got -1.0)" in done.stderr
    )
