"""The signature of a step's `run` gives its command, help, manifest and arguments."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

from cascade_core.errors import UserError
from components.artifacts import manifest
from components.artifacts.manifest import COMMIT_VARIABLE, read_step_manifest
from components.contract import Call, Folder, Option, Place, Settings, step
from components.contract.shared import ImageSets, Out, whole_numbers


@step("mix_paint", example="cascade-clip mix-paint --out out", tracked=False)
def mix(
    call: Call,
    /,
    *,
    pots: Annotated[Sequence[Path], Folder("Folder of a pot; repeatable.", flag="--pot", below="full")],
    lid: Annotated[Path, Place("A lid.")] | None = None,
    sets: ImageSets | None = None,
    shares: Annotated[tuple[int, ...], Option("Shares.", **whole_numbers("--shares"))] = (1,),
    slowly: Annotated[bool, Option("Take time.", unrecorded=True)] = False,
    overrides: Annotated[Mapping[str, Any], Settings()] = {},
    out: Out,
) -> str:
    """Mix paint.

    From pots.

    Raises:
        UserError: a pot is empty.
    """
    with call.writing(protocol="colours") as work:
        (work.folder / "paint").write_text("mud")
        if slowly:
            raise RuntimeError("spilt")
    return "mud"


@pytest.fixture
def pots(tmp_path: Path) -> list[Path]:
    for name in ("red", "blue"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return [tmp_path / "red", tmp_path / "blue"]


def test_command_and_help_follow_from_the_signature() -> None:
    assert mix.command == "mix-paint"
    assert mix.help == "Mix paint.\n\nFrom pots."
    assert mix.output == "out"
    assert [name for name, stated in mix.parameters.items() if stated.required] == ["pots", "out"]


def test_a_manifest_records_inputs_and_deciding_parameters(pots: list[Path], tmp_path: Path) -> None:
    assert mix(pots=pots, shares=(2, 3), overrides={"a.b": 1}, out=tmp_path / "out") == "mud"
    manifest = read_step_manifest(tmp_path / "out")
    assert manifest.step == "mix_paint"
    assert list(manifest.inputs) == ["pots-0", "pots-1"]
    assert manifest.parameters == {"sets": None, "shares": [2, 3], "overrides": {"a.b": 1}}


def test_a_failing_call_leaves_the_earlier_folder(pots: list[Path], tmp_path: Path) -> None:
    mix(pots=pots, out=tmp_path / "out")
    with pytest.raises(RuntimeError, match="spilt"):
        mix(pots=pots[:1], slowly=True, out=tmp_path / "out")
    assert len(read_step_manifest(tmp_path / "out").inputs) == 2


@step("dry_paint", tracked=False)
def dry(call: Call, /, *, paint: Annotated[Path, Place("Paint.")] | None = None, out: Out) -> Path:
    """Dry paint."""
    with call.writing() as work:
        (work.folder / "dry").touch()
    return out


def test_a_step_refuses_its_output_before_it_works(tmp_path: Path) -> None:
    worked = []

    @step("work")
    def work(call: Call, /, *, out: Out) -> None:
        worked.append(out)

    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path, Path("/dev/null")):
        with pytest.raises(UserError):
            work(out=out)
    assert not worked
    work(out=tmp_path / "new")
    assert worked == [tmp_path / "new"]


def test_the_commit_is_that_of_the_begin_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = SimpleNamespace(answer="before")
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    monkeypatch.setattr(manifest, "commit_around", lambda _: repository.answer)

    @step("long", tracked=False)
    def long(call: Call, /, *, out: Out) -> None:
        with call.writing() as work:
            repository.answer = "edited while it ran"
            (work.folder / "done").touch()

    long(out=tmp_path / "out")
    assert read_step_manifest(tmp_path / "out").commit == "before"


def test_a_missing_folder_names_the_command_that_writes_it(pots: list[Path], tmp_path: Path) -> None:
    @step("pour", tracked=False)
    def pour(
        _: Call, /, *, pots: Annotated[Sequence[Path], Folder("Pots.", flag="--pot", made_by="mix")], out: Out
    ) -> int:
        return len(pots)

    assert pour(pots=pots, out=tmp_path / "out") == 2
    with pytest.raises(UserError, match="green does not exist; `cascade-clip mix` .* with --pot"):
        pour(pots=[*pots, tmp_path / "green"], out=tmp_path / "out")


def test_a_step_replaces_no_folder_of_another_step(pots: list[Path], tmp_path: Path) -> None:
    mix(pots=pots, out=tmp_path / "out")
    with pytest.raises(UserError, match="out is the folder of mix_paint, which dry_paint does not replace"):
        dry(out=tmp_path / "out")
    dry(out=tmp_path / "dry")
    with pytest.raises(UserError, match="dry contains .*paint, which dry_paint reads"):
        dry(paint=tmp_path / "dry" / "paint", out=tmp_path / "dry")


def test_a_step_writes_to_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "small").symlink_to("big")
    for _ in range(2):
        assert dry(out=tmp_path / "small") == tmp_path / "big"
    assert (tmp_path / "small").is_symlink() and (tmp_path / "big" / "dry").is_file()


def test_words_are_arguments_of_the_command() -> None:
    arguments = {
        "pots": [Path("a"), Path("b")],
        "lid": None,
        "sets": {"train": "train+aug"},
        "shares": (2, 3),
        "slowly": False,
        "overrides": {"train.iterations": 20, "data.templates": ["{}"]},
        "out": Path("o"),
    }
    assert mix.words(arguments) == [
        "--pot=a",
        "--pot=b",
        "--image-set=train=train+aug",
        "--shares=2,3",
        "--no-slowly",
        "--set=train.iterations=20",
        '--set=data.templates=["{}"]',
        "--out=o",
    ]


def test_a_step_takes_the_stated_part_of_an_input_folder() -> None:
    assert mix.parameters["pots"].argument(Path("red")) == (Path("red/full"),)


def test_a_parameter_without_a_meaning_is_a_defect() -> None:
    @step("bare")
    def bare(call: Call, /, *, out: Path) -> None: ...

    with pytest.raises(AssertionError, match="the annotation of parameter out lacks its meaning"):
        _ = bare.parameters
