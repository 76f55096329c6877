"""The line that `cascade-clip run TARGET` prints of each stage that it ran."""

from pathlib import Path

import pytest
import yaml

from cascade_core.runtime.files import write_json
from pipelines.graphs.project import checked_project
from pipelines.workstation.stage_results import result_lines, verdict_lines
from pipelines.workstation.workflow import print_outcome

DATA = {"raw": "raw", "clip": "clip", "image_sets": {"train": "train", "val": "val"}}
SCORES = {"pAcc": 0.9, "miou_seen": 0.5, "miou_unseen": None, "hiou": 0.25}


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "evaluate", "gate", "register", "profile", "splits"):
        (tmp_path / name).mkdir()
    (tmp_path / "train" / "history.csv").write_text("iteration,loss\n50,3.0\n100,2.25\n")
    write_json(tmp_path / "evaluate" / "scores.json", SCORES)
    write_json(tmp_path / "gate" / "decision.json", {"promote": False, "reason": "a tie"})
    write_json(
        tmp_path / "register" / "model.json",
        {"uri": "models:/m/1", "champion": True, "reason": "first model"},
    )
    write_json(tmp_path / "profile" / "profile.json", {"gmacs": 0.0362, "images_per_second": 0.42})
    stages = {f"{name}@zegclip": name for name in ("train", "evaluate", "gate", "register", "profile")}
    content = {name: {"outs": [{"path": folder}]} for name, folder in {**stages, "splits": "splits"}.items()}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": content}))
    return tmp_path / "dvc.lock"


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("train", "train@zegclip  loss 2.250 after 100 iterations"),
        ("evaluate@zegclip", "evaluate@zegclip  pAcc 90.0, mIoU(S) 50.0, mIoU(U) -, hIoU 25.0"),
        ("gate", "gate@zegclip  keep the champion: a tie"),
        ("register", "register@zegclip  models:/m/1, the champion: first model"),
        ("profile", "profile@zegclip  0.0362 GMACs, 0.42 img/s"),
        ("splits", "splits  splits"),
    ],
)
def test_each_kind_of_stage_has_its_line(lock: Path, target: str, line: str) -> None:
    (printed,) = result_lines([target], lock)
    assert sorted(printed.split(", ")) == sorted(line.split(", "))


def test_a_model_without_training_has_no_loss(lock: Path) -> None:
    (lock.parent / "train" / "history.csv").write_text("iteration,loss\n")
    assert list(result_lines(["train"], lock)) == ["train@zegclip  made of CLIP as it is, without training"]


def test_the_verdicts_are_those_of_the_projects_models_in_order(tmp_path: Path) -> None:
    settings = {
        "protocol": "mini-18-6",
        "data": DATA,
        "recipes": {"zegclip": "mini_zegclip", "naclip": "naclip"},
    }
    project = checked_project({**settings, "evaluate": {"split": "val"}}, tmp_path / "params.yaml")
    for version, folder in ((2, "zegclip-inductive"), (1, "naclip-inductive"), (3, "sclip-inductive")):
        model = {"name": "m", "version": version, "uri": f"models:/m/{version}"}
        write_json(
            tmp_path / folder / "model.json",
            {**model, "champion": version == 1, "reason": f"reason {version}"},
        )
    assert list(verdict_lines(project, tmp_path)) == [
        "models:/m/1 promoted: reason 1",
        "models:/m/2 not promoted: reason 2",
    ]


def test_a_run_of_some_stages_prints_their_results(
    lock: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("CASCADE_TRACKING", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    print_outcome(["train", "splits"])
    first, second, pages, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("train@zegclip  loss") and second.startswith("splits         ")
    assert pages.startswith("MLflow   ")
