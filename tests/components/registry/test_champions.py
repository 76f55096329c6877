"""Champions in place of trainings: they are fetched from the registry, and missing ones are reported."""

from pathlib import Path

import pytest

from cascade_core.runtime.files import write_json
from components.artifacts.manifest import read_step_manifest
from components.registry import champions
from components.registry import versions as registry
from components.steps import register
from components.tracking.displacement import relocate
from components.tracking.store import open_store
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

RECIPES = ["mini_zegclip", "mini_cascade_clip"]
"""`tests/tiny.py` makes checkpoints of the second one's method and protocol."""


@pytest.fixture
def registered(store: Path, tmp_path: Path) -> Path:
    """Register a checkpoint, which becomes the champion of its recipe, and give its folder."""
    clip = write_tiny_clip(tmp_path / "clip")
    manifest = write_tiny_checkpoint(tmp_path / "final", clip, tiny_config(), setting="transductive_oracle")
    run = {"method": manifest.config.method, "setting": manifest.setting, "seed": manifest.config.seed}
    scores = {"pAcc": 0.8, "miou_seen": 0.6, "miou_unseen": 0.4, "hiou": 0.48}
    write_json(
        tmp_path / "evaluation" / "scores.json",
        {**run, **scores, "protocol": "mini-18-6", "split": "test", "data_hash": "ab", "num_pictures": 3},
    )
    write_json(
        tmp_path / "profile" / "profile.json",
        {"method": run["method"], "trainable_params": 9, "gmacs": 0.5, "images_per_second": 1.0},
    )
    folders = {name: tmp_path / name for name in ("clip", "evaluation", "profile")}
    result = register.run(checkpoint=tmp_path / "final", out=tmp_path / "registered", **folders)
    assert result.champion
    return tmp_path / "final"


def test_a_champion_is_fetched_as_a_trainings_folder(registered: Path, tmp_path: Path) -> None:
    known = champions.known_champions(RECIPES)
    assert {recipe: version.uri for recipe, version in known.items()} == {
        "mini_cascade_clip": "models:/mini-18-6-cascade_clip/1"
    }
    manifest = champions.fetch(known["mini_cascade_clip"].uri, tmp_path / "taken")
    assert manifest.setting == "transductive_oracle"
    fetched = tmp_path / "taken" / champions.FINAL
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == {
        path.name: path.read_bytes() for path in registered.iterdir()
    }
    assert read_step_manifest(tmp_path / "taken").parameters == {"model": "models:/mini-18-6-cascade_clip/1"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".taken")]


def test_a_moved_store_gives_its_champion_after_relocation(
    registered: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (address,) = (version.uri for version in champions.known_champions(RECIPES).values())
    (tmp_path / "moved").mkdir()
    (store / "mlruns").rename(tmp_path / "moved" / "mlruns")
    monkeypatch.chdir(tmp_path / "moved")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow set it to the place before
    with pytest.raises(ValueError, match="run `cascade-clip relocate`"):
        champions.fetch(address, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
    relocate()
    assert champions.fetch(address, tmp_path / "taken").setting == "transductive_oracle"


def test_all_recipes_without_a_champion_are_listed(store: Path) -> None:
    message = (
        r"registered for mini_zegclip \(mini-18-6-zegclip\), mini_cascade_clip \(mini-18-6-cascade_clip\)"
    )
    with pytest.raises(ValueError, match=message):
        champions.every_champion(RECIPES)


def test_a_protocol_selects_the_champion_on_other_data(registered: Path) -> None:
    assert list(champions.every_champion(RECIPES[1:], protocol="mini-18-6")) == RECIPES[1:]
    with pytest.raises(ValueError, match=r"for mini_cascade_clip \(own-1a2b-cascade_clip\)"):
        champions.every_champion(RECIPES[1:], protocol="own-1a2b")


def test_a_version_without_the_alias_is_no_champion(registered: Path) -> None:
    open_store().delete_registered_model_alias("mini-18-6-cascade_clip", registry.CHAMPION)
    assert champions.known_champions(RECIPES) == {}


def test_a_missing_version_is_one_clear_error(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"zegclip/7/artifacts/checkpoint.* cannot be read \("):
        champions.fetch("models:/mini-18-6-zegclip/7", tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_without_a_store_there_are_no_champions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    with pytest.raises(ValueError, match="no MLflow store to take champions from"):
        champions.known_champions(RECIPES)
