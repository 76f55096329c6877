"""Manifests: their content, their reproducibility, and the errors for broken ones."""

import json
import subprocess
from pathlib import Path

import pytest

from cascade_core.data.prepared import data_root
from components.artifacts import manifest as artifacts
from components.artifacts.manifest import (
    COMMIT_VARIABLE,
    data_hash,
    git_commit,
    input_hash,
    read_step_manifest,
    write_manifest,
)


def _step(folder: Path, content: str, **inputs: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "values.txt").write_text(content)
    write_manifest(folder, step="values", inputs=inputs, parameters={"seed": 1})
    return folder


def test_a_manifest_names_step_inputs_parameters_and_versions(tmp_path: Path) -> None:
    first = _step(tmp_path / "first", "one")
    second = _step(tmp_path / "second", "two", first=first)
    manifest = read_step_manifest(second)
    assert (manifest.step, manifest.parameters) == ("values", {"seed": 1})
    assert manifest.inputs["first"].path == "../first"
    assert manifest.inputs["first"].sha256 == read_step_manifest(first).content_sha256
    assert {"torch", "numpy"} <= set(manifest.packages)


def test_the_same_step_elsewhere_writes_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for place in ("here", "there"):
        first = _step(tmp_path / place / "first", "one")
        written.append(
            (_step(tmp_path / place / "second", "two", first=first) / "manifest.json").read_bytes()
        )
    assert written[0] == written[1]


def test_the_hash_of_a_folder_ignores_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _step(tmp_path / "first", "one")
    monkeypatch.setenv(COMMIT_VARIABLE, "another commit")
    same = _step(tmp_path / "same", "one")
    other = _step(tmp_path / "other", "two")
    assert input_hash(first) == input_hash(same) != input_hash(other)


def test_an_edited_folder_is_hashed_anew_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, same = _step(tmp_path / "first", "one"), _step(tmp_path / "same", "two")
    written = read_step_manifest(first).content_sha256
    assert input_hash(first) == written
    (first / ".DS_Store").write_text("what a file manager leaves")
    assert input_hash(first) == written
    assert not caplog.records
    (first / "values.txt").write_text("two")
    assert input_hash(first) == input_hash(same) != written
    assert f"{first}: files were changed since the step that wrote them" in caplog.text
    second = _step(tmp_path / "second", "of it", first=first)
    assert read_step_manifest(second).inputs["first"].sha256 == input_hash(same)


def test_an_added_or_deleted_file_changes_the_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = _step(tmp_path / "first", "one")
    (first / "more.txt").write_text("")
    assert input_hash(first) != read_step_manifest(first).content_sha256
    (first / "more.txt").unlink()
    (first / "values.txt").unlink()
    assert input_hash(first) != read_step_manifest(first).content_sha256
    assert len(caplog.records) == 2


def test_a_file_and_a_folder_of_no_step_are_hashed_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "manifest.json").write_text('{"iteration": 3}')
    before = input_hash(tmp_path / "plain")
    (tmp_path / "plain" / "weights").write_text("w")
    assert before != input_hash(tmp_path / "plain") != input_hash(tmp_path / "plain" / "weights")


def test_a_variable_names_the_commit_without_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "abc123")
    assert git_commit() == "abc123"


def test_a_repository_around_an_installed_package_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CASCADE_COMMIT", raising=False)
    installed = tmp_path / ".venv" / "components" / "artifacts" / "manifest.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init",), ("commit", "--allow-empty", "--message", "theirs")):
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(artifacts, "__file__", str(installed))
    assert git_commit() is None
    subprocess.run(["git", "add", installed], cwd=tmp_path, check=True)
    assert git_commit() is None  # of this process; another one sees the change
    artifacts.commit_around.cache_clear()
    assert str(git_commit()).endswith("-dirty")


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist; run the step"):
        _step(tmp_path / "step", "one", nowhere=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        (json.dumps({"step": "prepare"}), "content_sha256: Field required"),
    ],
)
def test_a_broken_manifest_is_named_with_its_field(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=rf"manifest\.json.*{message}"):
        read_step_manifest(tmp_path)


def test_the_data_root_moves_along_with_the_tree(prepared: Path, world: Path, tmp_path: Path) -> None:
    assert data_root(prepared) == world.resolve()
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    assert data_root(moved / "prepared") == moved.resolve() / world.relative_to(tmp_path)


def test_missing_data_are_named(prepared: Path, world: Path) -> None:
    world.rename(world.with_name("elsewhere"))
    with pytest.raises(ValueError, match=r"inputs\.raw: the data set is not at .*VOC2012"):
        data_root(prepared)


def test_only_a_prepare_step_has_a_data_hash(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step 'values' has no input 'raw'"):
        data_hash(_step(tmp_path / "step", "one"))
