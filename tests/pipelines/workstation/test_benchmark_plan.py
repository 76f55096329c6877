"""What a benchmark rerun is asked to do: a plan from a file, checked before any training."""

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


def test_the_projects_own_plan_reads() -> None:
    plan = BenchmarkPlan.read(PARAMS)
    assert plan.seeds == (0, 1, 2)
    assert plan.datasets["mini"].protocol == "mini-18-6"


@pytest.mark.parametrize(
    ("changes", "told"),
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
def test_a_plan_that_cannot_be_names_file_and_field(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        BenchmarkPlan.read(_plan(tmp_path, **changes))


def test_a_file_without_the_section_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    with pytest.raises(ValueError, match="section benchmark is missing"):
        BenchmarkPlan.read(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("changes", "recipes", "told"),
    [
        ({}, ("mini_zegclp",), "unknown recipe 'mini_zegclp'"),
        ({}, ("zegclip_voc12",), "no data set at hand for zegclip_voc12"),
        ({"datasets": {}}, (), "no data set of benchmark.datasets is at hand"),
        ({"thresholds": {}}, (), "benchmark.thresholds: max_drop_points"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], recipes: tuple[str, ...], told: str
) -> None:
    plan = BenchmarkPlan.read(_plan(tmp_path, **changes))
    with pytest.raises(ValueError, match=told):
        run(plan=plan, out=tmp_path / "out", recipes=recipes)
    assert not (tmp_path / "out").exists()


def test_another_configuration_goes_on_with_no_training_of_this_one_and_a_seed_given_twice_is_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[list[str]] = []

    def noted(chains: object, folders: list[Path], **_: object) -> None:
        planned.append([folder.name.rpartition("-")[0] for folder in folders])
        planned.append([folder.name for folder in folders])
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.workstation.benchmark_plan.run_chains", noted)
    monkeypatch.setattr("pipelines.workstation.benchmark_plan.made_ready", lambda *_, **__: Data())
    here = {"raw": str(tmp_path), "clip": str(tmp_path), "protocol": "mini-18-6", "image_sets": {}}
    plan = BenchmarkPlan.read(_plan(tmp_path, seeds=[0, 0, 1], datasets={"mini": here}))
    for overrides in ({}, {"evaluate.seen_penalty": 1.0}, {}):
        with pytest.raises(KeyboardInterrupt):
            run(plan=plan, out=tmp_path / "out", recipes=["mini_zegclip"], overrides=overrides)
    assert planned[::2] == [["mini_zegclip-s0", "mini_zegclip-s1"]] * 3
    assert planned[1] == planned[5] and not set(planned[1]) & set(planned[3])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seeds": (1,)}, "as they were trained, seeds were given"),
        ({"overrides": {"train.iterations": 3}}, r"overrides \(train.iterations\) were given"),
        (
            {"recipes": ("mini_zegclip", "mini_linear")},
            r"for mini_zegclip \(mini-18-6-zegclip\), mini_linear",
        ),
        ({}, "no champion is registered for mini_zegclip"),
    ],
)
def test_champions_are_taken_as_they_are_or_not_at_all(
    store: Path, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    here = {"raw": str(tmp_path), "clip": str(tmp_path), "protocol": "mini-18-6", "image_sets": {}}
    plan = BenchmarkPlan.read(_plan(tmp_path, models="champions", datasets={"mini": here}))
    with pytest.raises(ValueError, match=told):
        run(plan=plan, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_on_a_label_file_any_recipe_is_measured_that_was_named_and_its_champion_is_that_of_the_file(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text("name: own\nclasses: [cat, dog]\n")
    here = {"raw": str(tmp_path), "clip": str(tmp_path), "protocol": f"{tmp_path}/own.yaml", "image_sets": {}}
    plan = BenchmarkPlan.read(_plan(tmp_path, models="champions", datasets={"own": here}))
    with pytest.raises(ValueError, match=r"no champion is registered for mini_zegclip \(own-\w+-zegclip\)"):
        run(plan=plan, out=tmp_path / "out", recipes=["mini_zegclip"])
    with pytest.raises(ValueError, match=r"no data set of benchmark.datasets is at hand"):
        run(plan=plan, out=tmp_path / "out")
