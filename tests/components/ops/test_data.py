"""The pipelines' prepare component follows the recipe's overrides."""

import json
from pathlib import Path
from types import SimpleNamespace

import yaml

from cascade_core.configs.ablations import cells_of
from cascade_core.datasets.mini import CLASSES
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.runtime.files import read_json
from components.artifacts.manifest import read_step_manifest
from components.ops.data import prepare
from tests.own_data import draw_own_data
from tests.tiny import write_tiny_clip


def test_data_are_prepared_by_the_overrides_for_every_run(
    tmp_path: Path,
) -> None:
    world = write_benchmark(tmp_path / "raw", sizes={"train": 2, "val": 1, "test": 1})
    write_tiny_clip(tmp_path / "clip")
    ids = [{"name": name, "id": place} for place, name in enumerate(CLASSES)]
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"name": "own", "classes": ids, "unseen": ["taxi", "lava"]}))
    background = {"policy": "prompts", "names": ["grass", "sand"]}
    overrides = {"data.templates": ["{}"], "evaluate.background": background}
    artifacts = {
        name: SimpleNamespace(path=str(tmp_path / name), metadata={})
        for name in ("prepared", "splits", "text")
    }
    runs = prepare.python_func(
        mlflow_run="",
        raw=str(world),
        clip=str(tmp_path / "clip"),
        protocol=str(own),
        image_sets=json.dumps({"train": "train", "test": "test"}),
        recipes=["mini_zegclip", "mini_cascade_clip:sigma"],
        seeds=[0.0, 3.0],  # as kfp passes whole numbers
        overrides=json.dumps(overrides),
        **artifacts,
    )
    assert read_step_manifest(tmp_path / "text").parameters["templates"] == ["{}"]
    assert read_json(tmp_path / "text" / "background_names.json") == ["grass", "sand"]
    assert (
        artifacts["prepared"].metadata["data_hash"]
        == read_step_manifest(tmp_path / "prepared").inputs["raw"].sha256
    )
    assert runs == [
        {"recipe": name, "seed": seed, "pictures": seed == 0}
        for name in ("mini_zegclip", *cells_of(["mini_cascade_clip:sigma"]))
        for seed in (0, 3)
    ]


def test_folders_of_ones_own_are_prepared_with_the_label_file(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path / "clip")
    raw = draw_own_data(tmp_path / "data", pictures=8, size=16)
    artifacts = {
        name: SimpleNamespace(path=str(tmp_path / name), metadata={})
        for name in ("prepared", "splits", "text")
    }
    runs = prepare.python_func(
        mlflow_run="",
        raw=str(raw),
        clip=str(tmp_path / "clip"),
        protocol=str(raw / "garden.yaml"),
        image_sets="{}",
        folders=json.dumps({"images": "images", "maps": "maps", "hold_out": {"val": 0.25}}),
        recipes=["mini_zegclip"],
        overrides="{}",
        **artifacts,
    )
    split = read_json(tmp_path / "splits" / "split.json")
    assert split["unseen"] == ["lava"] and [*map(len, split["splits"].values())] == [6, 2]
    summary = read_json(tmp_path / "prepared" / "summary.json")
    assert artifacts["prepared"].metadata["data_hash"] == summary["data_sha256"]
    assert [run["recipe"] for run in runs] == ["mini_zegclip"]
