"""A full disk: the error is one sentence, and earlier files stay."""

import errno
from pathlib import Path

import pytest
from mlflow import MlflowClient
from safetensors import SafetensorError

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.runtime.files import new_folder
from components.artifacts.manifest import TRACKING_FILE, write_manifest
from components.tracking.tracker import tracked_step
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

PROTOCOL = "mini-18-6"


@pytest.mark.usefixtures("store")
def test_a_full_disk_ends_the_step_and_leaves_earlier_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    write_manifest(out, step="evaluate", inputs={}, parameters={})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "scores.json")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ValueError, match=r"out could not be written: no space left for scores\.json"):
        with tracked_step("evaluate", protocol=PROTOCOL, out=out) as tracker, new_folder(out) as folder:
            (folder / "scores.json").write_text("{}")
    assert [path.name for path in tmp_path.glob("*out*")] == ["out"]
    assert {path.name for path in out.iterdir()} == {"old", "manifest.json"}
    assert tracker.client is not None and tracker.run_id is not None
    assert tracker.client.get_run(tracker.run_id).info.status == "FAILED"


@pytest.mark.usefixtures("store")
def test_a_disk_too_full_for_an_artifact_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "artifacts/report.html")

    monkeypatch.setattr(MlflowClient, "log_artifact", full)
    message = r"no space left for what step report keeps in MLflow .*artifacts/report\.html"
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(ValueError, match=message),
        tracked_step("report", protocol=PROTOCOL, out=tmp_path / "out") as tracker,
    ):
        tracker.files("report.html")
    assert not list(tmp_path.rglob(TRACKING_FILE))


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is what safetensors raises on a real one: it is no `OSError`."""

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    clip = write_tiny_clip(tmp_path / "clip")
    before = write_tiny_checkpoint(tmp_path / "final", clip, tiny_config())
    monkeypatch.setattr("cascade_core.checkpoints.checkpoint.save_file", full)
    with pytest.raises(ValueError, match=r"final could not be written: no space left for .*final"):
        write_tiny_checkpoint(tmp_path / "final", clip, tiny_config(seen_penalty=0.2))
    assert load_segmentor(tmp_path / "final")[1] == before
    assert {path.name for path in tmp_path.iterdir()} == {"clip", "final"}
