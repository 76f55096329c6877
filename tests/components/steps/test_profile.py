"""The profile step: what it writes of one model and of several, and what it refuses before anything runs."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from cascade_core.engines import comparison
from cascade_core.runtime.files import read_json
from components.artifacts.manifest import read_step_manifest
from components.profiling.models import models_of
from components.results.profile_table import table_of
from components.steps import profile
from pipelines.cli.app import app
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

QUICK: dict[str, Any] = {"batch_sizes": (1, 2), "image_sizes": (32, 64), "repeats": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write_tiny_checkpoint(folder / "final", write_tiny_clip(folder / "clip"), tiny_config())
    return folder / "final"


@pytest.fixture(scope="module")
def compared(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a checkpoint, a recipe and the two-stage baseline measured side by side."""
    out = tmp_path_factory.mktemp("profile") / "out"
    profile.run(
        checkpoints=(checkpoint,),
        recipes=("mini_zegclip",),
        two_stage=4,
        num_classes=5,
        **QUICK,
        threads=1,
        out=out,
    )
    return out


def test_the_first_model_is_the_profile_and_the_others_lie_in_it(compared: Path) -> None:
    first = read_json(compared / "profile.json")
    others = first.pop("others")
    assert [one["method"] for one in (first, *others)] == ["cascade_clip", "zegclip", "two_stage"]
    assert all(one.keys() == first.keys() and one["num_classes"] == 5 for one in others)
    assert "FlopCounterMode" in first["gmacs_counted_by"] and first["peak_memory_measured_by"] == "VmHWM"
    assert others[0]["trainable_params"] == 216_896 and others[0]["dead_params"] == 91_968


def test_a_narrow_terminal_wraps_headings_and_no_names() -> None:
    names = ["rest of the trunk", "rest of the head", "rest of the classifier"]
    frame = pd.DataFrame({"part": names} | {f"mini_cascade_clip ({i}), ms": [0.1] * 3 for i in range(6)})
    written = io.StringIO()
    Console(width=80, file=written).print(table_of(frame, "parts", "of a batch"))
    assert all(name in written.getvalue() for name in names)
    assert "\N{HORIZONTAL ELLIPSIS}" not in written.getvalue()


def test_tables_hold_ratios_to_the_first_and_every_case(compared: Path) -> None:
    methods = pd.read_csv(compared / "methods.csv")
    assert list(methods["model"]) == ["cascade_clip", "mini_zegclip", "two_stage, 4 regions"]
    first, second = methods.iloc[0], methods.iloc[1]
    assert first["time ratio"] == first["GMACs ratio"] == 1
    assert second["GMACs ratio"] == pytest.approx(second["GMACs"] / first["GMACs"])
    assert second["time ratio"] == pytest.approx(second["ms/picture"] / first["ms/picture"])
    latency = pd.read_csv(compared / "latency.csv")
    assert len(latency) == 3 * 2 * 2
    assert (latency["lower quartile"] <= latency["ms/batch"]).all()
    shares = pd.read_csv(compared / "parts.csv").groupby("model")["share of time"].sum()
    assert shares.to_numpy() == pytest.approx([1, 1, 1])


def test_markdown_names_the_counter_and_holds_a_line_a_model(compared: Path) -> None:
    text = (compared / "profile.md").read_text()
    assert "convolutions and matrix products; norms, activations, upsampling not counted" in text
    assert sum(line.startswith("| mini_zegclip ") for line in text.splitlines()) == 1 + 4
    assert "| masks joined " in text


def test_the_plot_is_a_picture_with_something_on_it(compared: Path) -> None:
    with Image.open(compared / "profile.png") as plot:
        assert plot.width > 3 * plot.height / 2 and len(plot.convert("RGB").getcolors(1 << 24)) > 20


def test_the_manifest_records_the_arguments(compared: Path) -> None:
    parameters = read_step_manifest(compared).parameters
    assert parameters["num_classes"] == 5 and parameters["two_stage"] == 4
    assert parameters["recipes"] == ["mini_zegclip"] and list(parameters["batch_sizes"]) == [1, 2]


def test_models_of_the_same_name_get_numbers(checkpoint: Path) -> None:
    models = models_of([checkpoint, checkpoint], (), {}, None, 2, None)
    assert [model.subject.name for model in models] == ["cascade_clip (1)", "cascade_clip (2)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no model to measure; give a checkpoint or a recipe"),
        ({"two_stage": 4}, "no model to measure"),
        ({"recipes": ("mini_zegklip",)}, "unknown recipe 'mini_zegklip'"),
        ({"checkpoints": (Path(),), "overrides": {"seed": 1}}, "overrides seed go into recipes"),
        ({"recipes": ("mini_zegclip",), "threads": 0}, "threads 0: give a whole number from 1"),
        ({"recipes": ("mini_zegclip",), "two_stage": 0}, "regions 0"),
        ({"recipes": ("mini_zegclip",), "num_classes": -1}, "classes -1"),
        ({"recipes": ("mini_zegclip",), "device": "gpu"}, "device 'gpu' is unknown"),
        ({"recipes": ("mini_zegclip",), "image_sizes": (60,)}, "give 56 or 64"),
        (
            {"recipes": ("mini_zegclip",), "device": "cuda", "engines": True},
            "--engines compares engines on the CPU",
        ),
    ],
)
def test_wrong_arguments_are_refused_and_write_nothing(
    arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        profile.run(**arguments, out=tmp_path / "out")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_needs_vectors_or_their_number(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs text vectors, or the number of classes"):
        profile.run(checkpoints=(checkpoint,), out=tmp_path / "out")


def test_the_command_measures_recipes_without_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no outputs/text here
    sizes = ["--batch-sizes", "1", "--image-sizes", "64", "--repeats", "1", "--set", "model.num_prompts=3"]
    done = CliRunner().invoke(
        app, ["profile", "--recipe", "mini_zegclip", *sizes, "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert "mini_zegclip" in done.stdout and "scoring and argmax" in done.stdout
    refused = CliRunner().invoke(app, ["profile", "--batch-sizes", "1,x", "--out", "out"])
    assert refused.exit_code == 2 and "--batch-sizes '1,x' are not whole numbers" in refused.stderr


def test_the_command_names_missing_text_vectors_of_a_checkpoint(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, ["profile", "--checkpoint", str(checkpoint), "--out", "out"])
    assert refused.exit_code == 2 and "outputs/text" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_engines_stand_in_a_table_of_their_own(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparison, "find_spec", lambda _: None)  # exporting takes seconds
    common = {**QUICK, "num_classes": 5, "threads": 1, "out": tmp_path / "out", "engines": True}
    done = profile.run(checkpoints=(checkpoint,), **common)
    table = pd.read_csv(tmp_path / "out" / "engines.csv")
    assert list(table["engine"]) == ["torch"] * 2 + ["onnxruntime"] * 2 + ["openvino"] * 3
    assert list(table["precision"]) == ["fp32", "bf16", "fp32", "int8", "fp32", "bf16", "int8"]
    assert table["time ratio"][0] == 1 and table["labels as torch, %"][0] == 100
    assert set(table["ms/picture"][2:]) == {"not installed"}
    page = (tmp_path / "out" / "profile.md").read_text()
    title = "Engines (cascade_clip, one picture of 32 px, 5 classes, 1 threads)"
    assert f"## {title}" in page and page.count("| not installed |") == 5
    done.show()
    assert title in capsys.readouterr().out
