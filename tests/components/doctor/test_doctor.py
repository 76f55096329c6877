"""The doctor: what is right, what is missing, and what is broken, each with what to mend."""

import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cascade_core.runtime.files import write_json
from components.doctor import assets, machine, servers
from components.doctor.finding import Finding
from components.tracking.store import open_store
from pipelines.cli.app import app
from pipelines.kubeflow.cluster import Patience
from tests.components.moto_server import BUCKET, object_store
from tests.pipelines.kfp_server import Server, serving
from tests.tiny import write_tiny_clip

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at an empty working folder, with an empty home and no server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    for name in ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI", "KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pipelines.kubeflow.cluster.BRIEF", Patience(0.1, longest=0.1))


def states(check: Callable[[], Iterator[Finding]]) -> list[str]:
    return [finding.state for finding in check()]


def only(check: Callable[[], Iterator[Finding]]) -> Finding:
    (finding,) = check()
    return finding


def doctor() -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    findings = json.loads(done.stdout)
    problems = any(finding["state"] == "problem" for finding in findings)
    assert done.exit_code == (3 if problems else 0), done.output
    return findings


def test_a_machine_without_faults_gets_no_problem() -> None:
    findings = doctor()
    assert {finding["subject"] for finding in findings} == {
        "python", "packages", "torch", "memory", "disk", "weights", "data", "tracking", "object store", "kubeflow",
    }  # fmt: skip
    assert [finding for finding in findings if finding["state"] == "problem"] == []
    assert all(list(finding) == ["subject", "state", "sentence", "mend"] for finding in findings)


def test_the_doctor_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASCADE_TRACKING")
    doctor()
    assert list(tmp_path.iterdir()) == []


def test_text_has_a_line_for_each_finding_and_its_mend() -> None:
    lines = CliRunner().invoke(app, ["doctor"]).stdout.splitlines()
    assert f"note     weights       no CLIP is imported in {os.environ['CASCADE_HOME']}/clip" in lines
    assert f"{'':<22} mend: cascade-clip import-clip ViT-B-16 --tag openai" in lines
    assert lines[-1].startswith("0 problems, ")


def test_a_torch_that_cannot_be_imported_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    finding = only(machine.device)
    assert finding.state == "problem" and "libcudart" in finding.sentence and "pip install" in finding.mend


def test_a_driver_without_a_gpu_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert only(machine.device).state == "ok"
    (tmp_path / "version").write_text("580")
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", tmp_path / "version")
    finding = only(machine.device)
    assert finding.state == "problem" and "CUDA_VISIBLE_DEVICES" in finding.mend


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = machine._is_installed
    monkeypatch.setattr(
        machine,
        "_is_installed",
        lambda name: name == "ray" or (name not in ("gradio", "pillow") and installed(name)),
    )
    core, complete, demo = machine.packages()
    assert core == Finding(
        "packages", "problem", "pillow are not installed", 'pip install "cascade-clip-workflow"'
    )
    assert "pipeline" in complete.sentence and "demo" not in complete.sentence
    assert (demo.state, demo.mend) == ("note", 'pip install "cascade-clip-workflow[demo]"')


@pytest.mark.parametrize(("size", "state"), [(1, "note"), (8, "ok")])
def test_little_memory_gets_a_note(size: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_memory", lambda: size * 2**30)
    assert (only(machine.memory).state, only(machine.memory).sentence) == (state, f"{size}.0 GiB")


@pytest.mark.parametrize(("free", "state"), [(0.5, "problem"), (5, "note"), (50, "ok")])
def test_a_full_disk_is_a_problem(free: float, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": int(free * 2**30)})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    first = next(iter(machine.disks()))
    assert first.state == state and first.sentence.startswith(f"working folder: {free:.1f} GiB are free at ")


def test_a_folder_that_takes_no_files_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "closed"))
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and access(path, mode))
    problem = next(finding for finding in machine.disks() if finding.state == "problem")
    assert "closed takes no files" in problem.sentence and "TMPDIR" in problem.mend


def test_an_imported_clip_is_read_and_a_damaged_one_named(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "clip" / "tiny"
    write_tiny_clip(folder)
    *_, finding = assets.weights()
    assert finding.state == "ok" and finding.sentence.startswith(
        f"CLIP tiny in {folder}: 4 layers of width 16"
    )
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    *_, finding = assets.weights()
    assert finding.state == "problem" and str(weights) in finding.sentence and finding.mend


def test_prepared_data_are_listed_and_moved_pictures_named(tmp_path: Path) -> None:
    assert states(assets.data) == ["note"]
    prepared = tmp_path / "outputs" / "prepared"
    prepared.mkdir(parents=True)
    (prepared / "index.parquet").touch()
    write_json(prepared / "summary.json", {"protocol": "mini-18-6", "splits": {"train": {"pictures": 1200}}})
    write_json(prepared / "manifest.json", {"format": 1, "inputs": {"raw": {"path": "../../raw"}}})
    (tmp_path / "raw").mkdir()
    assert only(assets.data).sentence == "outputs/prepared: mini-18-6; pictures: train 1,200"
    (tmp_path / "raw").rename(tmp_path / "moved")
    finding = only(assets.data)
    assert finding.state == "problem" and "move them back" in finding.mend
    write_json(prepared / "summary.json", {"splits": {}})
    assert "lacks 'protocol'" in only(assets.data).sentence


def test_missing_data_of_the_benchmark_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").touch()
    assert states(assets.data) == ["problem", "note"]


def test_a_store_is_opened_and_a_dead_one_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store().create_experiment("voc12")
    assert only(servers.tracking).sentence.endswith("mlruns/mlflow.db: 2 experiments, 0 registered models")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    finding = only(servers.tracking)
    assert (
        finding.state == "problem" and NOWHERE in finding.sentence and "MLFLOW_TRACKING_URI" in finding.mend
    )
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    assert only(servers.tracking).state == "note"


def test_buckets_are_listed_and_a_dead_object_store_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with object_store(monkeypatch) as address:
        assert only(servers.object_store) == Finding("object store", "ok", f"{address}: buckets: {BUCKET}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    finding = only(servers.object_store)
    assert finding.state == "problem" and NOWHERE in finding.sentence and "AWS_ENDPOINT_URL" in finding.mend


def test_kubeflow_answers_or_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server(tmp_path / "server")) as running:
        monkeypatch.setenv("KFP_ENDPOINT", running.host)
        assert doctor()[-1] == {
            "subject": "kubeflow", "state": "ok", "sentence": f"{running.host} answers", "mend": "",
        }  # fmt: skip
    monkeypatch.setenv("KFP_ENDPOINT", NOWHERE)
    finding = doctor()[-1]
    assert finding["state"] == "problem" and NOWHERE in finding["sentence"] and finding["mend"]
