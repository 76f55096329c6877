"""The plan of a benchmark rerun: read from a file and checked before any training."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.graphs.runner import Data
from pipelines.workstation.benchmark_plan import BenchmarkPlan, run

PARAMS = Path(__file__).parents[3] / "params.yaml"


def _plan(tmp_path: Path, **changes: object) -> Path:
    section = yaml.safe_load(PARAMS.read_text())["benchmark"] | changes
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"benchmark": section}))
    return tmp_path / "params.yaml"


def test_the_projects_own_plan_is_read() -> None:
    plan = BenchmarkPlan.read(PARAMS)
    assert plan.seeds == (0, 1, 2)
    assert plan.datasets["mini"].protocol == "mini-18-6"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, r"params.yaml: benchmark: seeds: .*at least 1"),
        (
            {"self_training": "both"},
            r"params.yaml: benchmark: self_training: .*'oracle' or 'strict'.*got 'both'",
        ),
        ({"dataset": {}}, r"params.yaml: benchmark: dataset: "),
        ({"models": "both"}, r"params.yaml: benchmark: models: .*'train' or 'champions'.*got 'both'"),
    ],
)
def test_a_wrong_plan_is_refused_with_file_and_field(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkPlan.read(_plan(tmp_path, **changes))


def test_a_file_without_the_section_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    with pytest.raises(ValueError, match="section benchmark is missing"):
        BenchmarkPlan.read(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("changes", "recipes", "message"),
    [
        ({}, ("mini_zegclp",), "unknown recipe 'mini_zegclp'"),
        ({}, ("zegclip_voc12",), "no data set at hand for zegclip_voc12"),
        ({"datasets": {}}, (), "no data set of benchmark.datasets is at hand"),
        ({"thresholds": {}}, (), "benchmark.thresholds: max_drop_points"),
    ],
)
def test_an_impossible_rerun_fails_before_writing_anything(
    tmp_path: Path, changes: dict[str, object], recipes: tuple[str, ...], message: str
) -> None:
    plan = BenchmarkPlan.read(_plan(tmp_path, **changes))
    with pytest.raises(ValueError, match=message):
        run(plan=plan, out=tmp_path / "out", recipes=recipes)
    assert not (tmp_path / "out").exists()


def test_a_folder_belongs_to_one_configuration_and_seed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[list[str]] = []

    def record(chains: dict[Path, object], **_: object) -> None:
        planned.append([folder.name.rpartition("-")[0] for folder in chains])
        planned.append([folder.name for folder in chains])
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.workstation.benchmark_plan.run_chains", record)
    monkeypatch.setattr("pipelines.workstation.benchmark_plan.prepare_data", lambda *_, **__: Data())
    data_set = {"raw": str(tmp_path), "clip": str(tmp_path), "protocol": "mini-18-6", "image_sets": {}}
    plan = BenchmarkPlan.read(_plan(tmp_path, seeds=[0, 0, 1], datasets={"mini": data_set}))
    for overrides in ({}, {"evaluate.seen_penalty": 1.0}, {}):
        with pytest.raises(KeyboardInterrupt):
            run(plan=plan, out=tmp_path / "out", recipes=["mini_zegclip"], overrides=overrides)
    assert planned[::2] == [["mini_zegclip-s0", "mini_zegclip-s1"]] * 3
    assert planned[1] == planned[5] and not set(planned[1]) & set(planned[3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": (1,)}, "as they were trained; leave out seeds"),
        ({"overrides": {"train.iterations": 3}}, r"leave out overrides \(train.iterations\), or give"),
        (
            {"recipes": ("mini_zegclip", "mini_linear")},
            r"for mini_zegclip \(mini-18-6-zegclip\), mini_linear",
        ),
        ({}, "no champion is registered for mini_zegclip"),
    ],
)
def test_champions_are_unchanged_and_registered(
    store: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    data_set = {"raw": str(tmp_path), "clip": str(tmp_path), "protocol": "mini-18-6", "image_sets": {}}
    plan = BenchmarkPlan.read(_plan(tmp_path, models="champions", datasets={"mini": data_set}))
    with pytest.raises(ValueError, match=message):
        run(plan=plan, out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_label_file_takes_named_recipes_and_their_champions(store: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: own\nclasses: [cat, dog]\n")
    data_set = {
        "raw": str(tmp_path),
        "clip": str(tmp_path),
        "protocol": f"{tmp_path}/own.yaml",
        "image_sets": {},
    }
    plan = BenchmarkPlan.read(_plan(tmp_path, models="champions", datasets={"own": data_set}))
    with pytest.raises(ValueError, match=r"no champion is registered for mini_zegclip \(own-\w+-zegclip\)"):
        run(plan=plan, out=tmp_path / "out", recipes=["mini_zegclip"])
    with pytest.raises(ValueError, match=r"no data set of benchmark.datasets is at hand"):
        run(plan=plan, out=tmp_path / "out")
