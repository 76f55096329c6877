"""The model of a prediction that names none."""

import shutil
from pathlib import Path

import pytest

from cascade_core.errors import UserError
from cascade_core.shipped.contents import shipped_model
from components.registry import default_model
from components.registry.default_model import predictor_for
from components.steps import import_clip
from tests.tiny import write_tiny_clip


def no_import(name: str, tag: str) -> Path:
    raise AssertionError(f"{name} {tag} is not to be imported")


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(default_model.VARIABLE, raising=False)
    monkeypatch.setattr(default_model, "is_cached", lambda *_: False)
    monkeypatch.chdir(tmp_path)


def _method(model: str | None = None, clip: Path | None = None) -> str:
    return predictor_for(model, clip, device="cpu", import_clip=no_import).manifest.config.method


def test_the_name_the_variable_and_the_settings_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_clip(tmp_path / "clip")
    for method in ("maskclip", "sclip", "clearclip"):
        import_clip.run(source=str(tmp_path / "clip"), method=method, out=tmp_path / method)
    (tmp_path / "params.yaml").write_text("predict:\n  model: maskclip\n")
    assert _method() == "maskclip"
    monkeypatch.setenv("CASCADE_MODEL", "sclip")
    assert _method() == "sclip"
    assert _method("clearclip") == "clearclip"


def test_without_any_name_it_is_naclip_on_the_imported_clip(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path / "home" / "clip" / "one")
    (tmp_path / "params.yaml").write_text("overrides: {}\n")
    assert _method() == "naclip"
    shutil.copytree(tmp_path / "home" / "clip" / "one", tmp_path / "home" / "clip" / "two")
    with pytest.raises(UserError, match="several CLIPs are imported; choose one: --clip one, two"):
        _method()
    assert _method(clip=Path("two")) == "naclip"
    shutil.copytree(tmp_path / "home" / "clip" / "one", tmp_path / "home" / "clip" / "ViT-B-16")
    assert _method() == "naclip"


def test_trained_outputs_are_never_taken_by_guess(tmp_path: Path) -> None:
    shutil.copytree(
        shipped_model(Path("mini")) / "checkpoint", tmp_path / "outputs/self_train/cascade_clip/final"
    )
    with pytest.raises(
        UserError, match="no model is named and no CLIP is imported: add --yes .* bring its file"
    ):
        _method()


def test_weights_are_fetched_only_if_asked_for(tmp_path: Path) -> None:
    asked = []

    def fetch(name: str, tag: str) -> Path:
        asked.append((name, tag))
        write_tiny_clip(tmp_path / "made")
        return tmp_path / "made"

    predictor = predictor_for(None, device="cpu", may_fetch=lambda: True, import_clip=fetch)
    assert asked == [("ViT-B-16", "openai")] and predictor.manifest.setting == "training_free"


def test_the_toy_model_says_that_it_is_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    predictor_for("mini", device="cpu", import_clip=no_import)
    assert "this is a toy" in caplog.text


def test_a_setting_that_is_no_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("predict:\n  model: 3\n")
    with pytest.raises(UserError, match="predict.model is 3; give a model's folder"):
        _method()
