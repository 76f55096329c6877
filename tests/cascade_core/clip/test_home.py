"""Imported CLIPs lie outside every project, and a name leads there from any folder."""

from pathlib import Path

import pytest

from cascade_core.clip.home import clip_folder, clip_home


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "home" / "clip" / "ViT-B-16"
    folder.mkdir(parents=True)
    return folder


def test_a_name_stands_for_an_imported_clip(imported: Path) -> None:
    assert clip_folder(Path("ViT-B-16")) == imported


def test_a_path_and_an_unknown_name_stay_as_they_are(imported: Path) -> None:
    for given in ("ViT-L-14", "clip/ViT-B-16", "..", ".", "/ViT-B-16"):
        assert clip_folder(Path(given)) == Path(given)
    Path("ViT-B-16").mkdir()
    assert clip_folder(Path("ViT-B-16")) == Path("ViT-B-16")


def test_without_the_variable_it_is_the_user_s_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CASCADE_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert clip_home() == tmp_path / "cascade-clip" / "clip"
