"""The index of a run: what reports read of it, with the hashes of the whole folders."""

from pathlib import Path

import pytest

from cascade_core.runtime.files import write_json
from components.artifacts.manifest import input_hash, write_manifest
from components.results.run_index import read_index, write_index

EVALUATION = ("scores.json", "per_class.csv", "pictures.json", "predictions.zip", "pictures/a.png")


def step_folder(folder: Path, step: str, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{step} {name}")
    write_manifest(folder, step=step, inputs={}, parameters={})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, list[Path]]:
    return {
        "evaluations": [step_folder(tmp_path / name, "evaluate", *EVALUATION) for name in ("i", "t")],
        "trainings": [
            step_folder(
                tmp_path / "train",
                "train",
                *("history.csv", "final/manifest.json", "final/model.safetensors", "half/model.safetensors"),
            )
        ],
        "profile": [step_folder(tmp_path / "profile", "profile", "profile.json")],
    }


def index_of(folders: dict[str, list[Path]], out: Path, **options: bool) -> Path:
    (profile,) = folders["profile"]
    write_index(
        out, evaluations=folders["evaluations"], profile=profile, trainings=folders["trainings"], **options
    )
    return out


def test_an_index_holds_what_reports_read(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    run = read_index(index_of(folders, tmp_path / "index"))
    assert [path.name for path in run.evaluations] == ["evaluation-0", "evaluation-1"]
    assert (run.evaluations[1] / "predictions.zip").read_text() == "evaluate predictions.zip"
    assert not (run.evaluations[0] / "pictures").exists()
    (training,) = run.trainings
    kept = {path.relative_to(training).as_posix() for path in training.rglob("*") if path.is_file()}
    assert kept == {"history.csv", "final/manifest.json", "manifest.json", "part.json"}
    small = read_index(index_of(folders, tmp_path / "small", pictures=False))
    assert not (small.evaluations[0] / "predictions.zip").exists()
    assert (small.evaluations[0] / "scores.json").exists()


def test_a_part_counts_as_the_whole_folder(
    folders: dict[str, list[Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = read_index(index_of(folders, tmp_path / "index", pictures=False))
    parts = [*run.evaluations, *run.trainings, run.profile]
    wholes = [*folders["evaluations"], *folders["trainings"], *folders["profile"]]
    assert [input_hash(part) for part in parts] == [input_hash(whole) for whole in wholes]
    assert not caplog.records


def test_a_changed_part_is_reported(
    folders: dict[str, list[Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = read_index(index_of(folders, tmp_path / "index"))
    write_json(run.evaluations[0] / "scores.json", {"pAcc": 1.0})
    assert input_hash(run.evaluations[0]) != input_hash(folders["evaluations"][0])
    assert "files were changed since the step that wrote them" in caplog.text


def test_a_folder_without_its_files_makes_no_index(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    (folders["trainings"][0] / "history.csv").unlink()
    with pytest.raises(ValueError, match=r"history\.csv does not exist; run the step that writes it again"):
        index_of(folders, tmp_path / "index")
    (folders["evaluations"][0] / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"manifest\.json does not exist"):
        index_of(folders, tmp_path / "index")
    assert not (tmp_path / "index").exists()
