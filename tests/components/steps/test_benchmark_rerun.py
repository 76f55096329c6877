"""Reruns of the benchmark in MLflow: the first is accepted, later ones are held against what was accepted."""

import re
from pathlib import Path
from typing import get_args

import pytest

from cascade_core.runtime.files import read_json, write_json
from components.artifacts.manifest import write_manifest
from components.results import accepted
from components.results.accepted import Models
from components.steps import benchmark_rerun
from components.steps.benchmark_rerun import Rerun
from components.tracking.pipeline_run import whole_run
from components.tracking.store import open_store

THRESHOLDS = {
    "max_drop_points": {"pAcc": 3.0, "miou_seen": 3.0, "miou_unseen": 5.0, "hiou": 4.0},
    "max_slowdown_share": 0.3,
    "confidence": 0.95,
}


pytestmark = pytest.mark.usefixtures("store")


def rerun(
    folder: Path,
    *,
    seen: float = 0.6,
    speed: float = 3.0,
    accept: bool = False,
    models: Models = "train",
    seeds: tuple[int, ...] = (0, 1),
    weights: bytes | None = None,
    setting: str = "inductive",
    **data: object,
) -> Rerun:
    evaluations, profiles = [], []
    for seed in seeds:
        scores = {"method": "zegclip", "setting": setting, "split": "test", "protocol": "mini-18-6"}
        # Seeds lie a hundredth apart.
        scores |= {
            "seed": seed,
            "pAcc": 0.8,
            "miou_seen": seen + seed / 100,
            "miou_unseen": 0.4,
            "hiou": 0.48,
            **data,
        }
        cost = {"method": "zegclip", "trainable_params": 9, "gmacs": 0.5}
        cost |= {"images_per_second": 30.0, "relative_speed": speed}
        evaluations.append(folder / f"evaluate-{seed}")
        profiles.append(folder / f"profile-{seed}")
        write_json(evaluations[-1] / "scores.json", scores)
        write_json(profiles[-1] / "profile.json", cost)
        if weights is not None:
            (folder / "final").write_bytes(weights)
            write_manifest(
                evaluations[-1], step="evaluate", inputs={"checkpoint": folder / "final"}, parameters={}
            )
    return benchmark_rerun.run(
        evaluations=evaluations,
        profiles=profiles,
        thresholds=THRESHOLDS,
        out=folder / "out",
        accept=accept,
        models=models,
    )


def test_losses_are_reported_until_they_are_accepted(tmp_path: Path) -> None:
    first = rerun(tmp_path / "first")
    again = rerun(tmp_path / "again")
    worse = rerun(tmp_path / "worse", seen=0.0)
    assert (first.outcome, again.outcome, worse.outcome) == ("first", "no change", "regressed")
    assert first.compared_with is None and again.compared_with == worse.compared_with == first.run_id
    (regression,) = [change for change in worse.changes if change.verdict != "no change"]
    assert regression.line().startswith(
        "mini-18-6 test zegclip inductive: mIoU(S) regressed, 0.50 against 60.50"
    )

    assert worse.run_id is not None
    accepted.accept(worse.run_id)
    assert rerun(tmp_path / "after", seen=0.0).outcome == "no change"
    assert first.run_id is not None
    accepted.accept(first.run_id)
    assert rerun(tmp_path / "back").compared_with == first.run_id
    assert [one.outcome for one in accepted.history()] == [
        *("first", "no change", "regressed"),
        *("no change", "no change"),
    ]


def test_champions_are_compared_only_with_champions(tmp_path: Path) -> None:
    trained = rerun(tmp_path / "trained")
    champion = {"models": "champions", "seeds": (0,), "weights": b"v1"}
    first = rerun(tmp_path / "first", seen=0.5, **champion)
    worse = rerun(tmp_path / "worse", seen=0.49, **champion)
    assert (first.outcome, first.compared_with) == ("first", None)
    assert (worse.outcome, worse.compared_with) == ("changed", first.run_id)
    assert [change.line() for change in worse.changes if change.verdict == "worse"] == [
        "mini-18-6 test zegclip inductive: mIoU(S) worse, 49.00 against 50.00 (noise 0.1)"
    ]
    assert "Benchmark rerun of champions" in worse.page.read_text()
    successor = champion | {"weights": b"v2", "setting": "transductive_oracle"}
    assert rerun(tmp_path / "other", seen=0.49, **successor).outcome == "no change"
    assert rerun(tmp_path / "lost", seen=0.4, **successor).outcome == "regressed"
    assert worse.run_id is not None
    accepted.accept(worse.run_id)
    reruns = accepted.history()
    assert [one.models for one in reruns] == ["train", *["champions"] * 4]
    latest = {
        kind: accepted.last_accepted(accepted.of_kind(reruns, kind)) for kind in get_args(accepted.Models)
    }
    assert {kind: one and one.run_id for kind, one in latest.items()} == {
        "train": trained.run_id,
        "champions": worse.run_id,
    }


@pytest.mark.parametrize("data", [{"data_hash": "b"}, {"num_pictures": 4}])
def test_scores_on_other_pictures_are_new_and_not_worse(tmp_path: Path, data: dict[str, object]) -> None:
    here = {"data_hash": "a", "num_pictures": 9}
    rerun(tmp_path / "first", **here)
    other = rerun(tmp_path / "other", seen=0.1, **(here | data))
    assert other.outcome == "changed"
    assert {change.verdict for change in other.changes} == {"new"}
    assert rerun(tmp_path / "same", seen=0.1, **here).outcome == "regressed"


def test_a_first_rerun_shows_numbers_and_no_empty_chart(tmp_path: Path) -> None:
    page = rerun(tmp_path).page.read_text()
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells[1:] == ["2", "80.0 ± 0.0", "60.5 ± 0.7", "40.0 ± 0.0", "48.0 ± 0.0", "3.00"]
    assert "<svg" not in page and "Trends" not in page
    single = rerun(tmp_path / "single", seeds=(0,), protocol="other", hiou=None)
    assert "<svg" not in single.page.read_text()


def test_its_folder_and_its_run_hold_rows_changes_and_page(tmp_path: Path) -> None:
    rerun(tmp_path / "first")
    latest_rerun = rerun(tmp_path / "slow", speed=1.0)
    out = tmp_path / "slow" / "out"
    assert len(read_json(out / "benchmark.json")) == 2
    assert {"metric": "relative_speed", "verdict": "regressed"}.items() <= read_json(out / "comparison.json")[
        -1
    ].items()
    page = latest_rerun.page.read_text()
    assert 'class="text regressed">regressed' in page and page.count("<svg") == 5
    recorded = accepted.history()[-1]
    assert (recorded.run_id, recorded.accepted, len(accepted.rows(recorded))) == (
        latest_rerun.run_id,
        False,
        2,
    )


def test_a_rerun_is_a_pipeline_step_with_split_and_data_hash(tmp_path: Path) -> None:
    with whole_run(pipeline="benchmark rerun", protocol="benchmark"):
        latest_rerun = rerun(tmp_path / "first", data_hash="ab" * 32, background="prompts sky, wall")
    assert [one.run_id for one in accepted.history()] == [latest_rerun.run_id]
    client = open_store()
    assert latest_rerun.run_id is not None
    step = client.get_run(latest_rerun.run_id)
    parent = client.get_run(step.data.tags["mlflow.parentRunId"])
    assert (parent.info.run_name, parent.info.status) == ("benchmark rerun", "FINISHED")
    assert step.data.tags["data_hash"] == parent.data.tags["data_hash"] == "ab" * 32
    assert step.data.tags["split"] == parent.data.tags["split"] == "test"
    assert step.data.metrics["mini-18-6 background by prompts sky wall.zegclip.inductive.pAcc"] == 0.8
    (read,) = step.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("mini-18-6", ("ab" * 32)[:36])


def test_only_missing_accepted_rows_fail_a_rerun(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = rerun(tmp_path / "first"), rerun(tmp_path / "second")
    _lose(store, second)
    accepted.check_accepted("train")
    assert rerun(tmp_path / "third").outcome == "no change"
    assert (
        f"left out of the trends: benchmark.json of benchmark rerun {second.run_id} cannot be read"
        in caplog.text
    )
    _lose(store, first)
    with pytest.raises(ValueError, match=f"benchmark rerun {first.run_id} cannot be read .* delete that run"):
        accepted.check_accepted("train")


def _lose(store: Path, latest_rerun: Rerun) -> None:
    (kept,) = store.glob(f"mlruns/artifacts/{latest_rerun.run_id}/artifacts/benchmark.json")
    kept.unlink()


def test_without_a_store_there_is_nothing_to_be_held_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    with pytest.raises(ValueError, match="no MLflow store to compare a benchmark with"):
        accepted.check_accepted("train")


def test_an_unknown_rerun_cannot_be_accepted(tmp_path: Path) -> None:
    first = rerun(tmp_path / "first")
    with pytest.raises(ValueError, match=f"no benchmark rerun has the id 'x'; the latest are {first.run_id}"):
        accepted.accept("x")


def test_evaluations_without_profiles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 evaluations and 0 profiles"):
        benchmark_rerun.run(evaluations=[tmp_path], profiles=[], thresholds=THRESHOLDS, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
