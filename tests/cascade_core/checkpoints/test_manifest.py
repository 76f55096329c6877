"""Manifests: the number of their format, the settings, and the seen penalty."""

from pathlib import Path

import pytest

from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.checkpoints.model_folder import locate, write_model_folder
from cascade_core.configs.settings import Setting, transductive
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json
from components.artifacts.manifest import read_step_manifest, write_manifest
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a checkpoint `final` and a model folder `model`, and return the folder of both."""
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), tiny_config())
    write_model_folder(tmp_path / "final", tmp_path / "clip", tmp_path / "model")
    return tmp_path


def _renumber(file: Path, number: object) -> None:
    write_json(file, {**read_json(file), "format": number})


def test_new_manifests_have_format_1(model: Path) -> None:
    step = write_manifest(model / "final", step="none", inputs={}, parameters={})
    assert step.format == 1
    for file in ("final/manifest.json", "model/manifest.json", "model/checkpoint/manifest.json"):
        assert read_json(model / file)["format"] == 1


@pytest.mark.parametrize("number", [2, "one"])
def test_a_later_format_is_refused_with_a_way_out(model: Path, number: object) -> None:
    _renumber(model / "final" / "manifest.json", number)
    with pytest.raises(UserError, match=rf"final/manifest.json has format {number!r}.*update the project"):
        load_manifest(model / "final")
    with pytest.raises(UserError, match="manifest.json has format"):
        read_step_manifest(model / "final")
    _renumber(model / "model" / "manifest.json", number)
    with pytest.raises(UserError, match=rf"model/manifest.json has format {number!r}"):
        locate(model / "model")


def test_a_manifest_without_a_number_reads_as_format_1(model: Path) -> None:
    file = model / "final" / "manifest.json"
    before = load_manifest(model / "final")
    write_json(file, {key: value for key, value in read_json(file).items() if key != "format"})
    assert load_manifest(model / "final") == before and before.format == 1


@pytest.mark.parametrize(
    ("setting", "penalty"),
    [("inductive", 0.3), ("supervised", 0.0), (transductive("oracle"), 0.0), (transductive("strict"), 0.0)],
)
def test_only_inductive_models_have_a_seen_penalty(setting: Setting, penalty: float, tmp_path: Path) -> None:
    clip, config = write_tiny_clip(tmp_path / "clip"), tiny_config(seen_penalty=0.1)
    manifest = write_tiny_checkpoint(tmp_path / "final", clip, config, setting=setting)
    assert manifest.seen_penalty(config.evaluate.model_copy(update={"seen_penalty": 0.3})) == penalty


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ({"needs": "7.1.0"}, r"cascade-clip-workflow 7\.1\.0 or a later one"),
        ({"packages": {"cascade-clip-workflow": "8.0"}}, r"cascade-clip-workflow 8\.0 or a later one"),
        ({}, r"a version of cascade-clip-workflow later than \d"),
    ],
)
def test_a_later_format_says_which_version_reads_it(
    model: Path, said: dict[str, object], version: str
) -> None:
    file = model / "final" / "manifest.json"
    write_json(file, {**read_json(file), "format": 9, **said})
    with pytest.raises(
        UserError, match=f"has format 9, and .* reads up to 1: update the project, to {version}"
    ):
        load_manifest(model / "final")


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_generator_takes_is_refused(model: Path, seed: int) -> None:
    content = read_json(model / "final" / "manifest.json")
    content["config"]["seed"] = seed
    write_json(model / "final" / "manifest.json", content)
    with pytest.raises(UserError, match=r"seed: Input should be (greater|less) than"):
        load_manifest(model / "final")
