"""The command line: quick help that ends with an example, one sentence for wrong input, overrides."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cascade_core.configs.overrides import parse_overrides
from cascade_core.runtime.files import read_json
from cascade_core.runtime.option_texts import pairs
from components.artifacts.manifest import read_step_manifest
from pipelines.cli.app import app
from pipelines.cli.table import GROUPS
from pipelines.workstation import workflow
from tests import official_files
from tests.cli_commands import command_at
from tests.tiny import write_tiny_clip

ROWS = [
    {
        "method": "zegclip",
        "setting": "inductive",
        "split": "test",
        "protocol": "mini-18-6",
        "seed": 0,
        "pAcc": 0.812,
        "miou_seen": 0.55,
        "miou_unseen": 0.4,
        "hiou": None,
        "trainable_params": 123456,
        "gmacs": 0.0421,
        "images_per_second": 310.25,
    }
]


EXAMPLES = [(*group.path, command.name) for group in GROUPS for command in group.commands]


def test_no_help_needs_a_slow_package() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from pipelines.cli.app import app\n"
        f"for path in [[], *{[list(path) for path in EXAMPLES]}]:\n"
        "    done = CliRunner().invoke(app, [*path, '--help']); assert done.exit_code == 0, done.output\n"
        "    slow = {'torch', 'mlflow', 'kfp', 'dvc', 'pandas', 'matplotlib', 'numpy', 'boto3'} & set(sys.modules)\n"
        "    assert not slow, (path, slow)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_command_imports_no_other() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from pipelines.cli.app import app\n"
        "def modules(*words):\n"
        "    assert CliRunner().invoke(app, [*words, '--help']).exit_code == 0\n"
        "    return {name for name in sys.modules if name.startswith(('components.steps.', 'pipelines.graphs'))}\n"
        "assert not modules()\n"
        "assert modules('splits') == {'components.steps.splits'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("path", EXAMPLES, ids=" ".join)
def test_every_help_ends_with_a_command_that_parses(path: tuple[str, ...]) -> None:
    example = CliRunner().invoke(app, [*path, "--help"]).output.rstrip().splitlines()[-1]
    program, *arguments = shlex.split(example)
    assert (program, *arguments[: len(path)]) == ("cascade-clip", *path)
    command_at(*path).make_context(path[-1], arguments[len(path) :])


def test_a_wrong_value_gives_one_line_and_no_trace(tmp_path: Path) -> None:
    where = ["--raw", str(tmp_path), "--image-set", "train=train"]
    arguments = ["prepare", "index", *where, "--protocol", "mini-18-7"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: unknown protocol 'mini-18-7'; known are ")
    assert done.stderr.count("\n") == 1


def test_train_needs_clip_weights_or_random_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("prepared", "splits", "text"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
    for flags in ([], ["--clip", "clip", "--random-clip"]):
        done = CliRunner().invoke(app, ["train", "--recipe", "mini_zegclip", "--out", "out", *flags])
        assert done.exit_code == 2
        assert "give exactly one of them" in done.stderr


def test_text_vectors_follow_the_overridden_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_clip(tmp_path / "clip")
    monkeypatch.setenv("CASCADE_CACHE", str(tmp_path / "cache"))
    given = [
        "text-vectors",
        "--protocol",
        "mini-18-6",
        "--clip",
        f"{tmp_path}/clip",
        "--out",
        f"{tmp_path}/text",
    ]
    policy = "evaluate.background={policy: prompts, names: [grass]}"
    changes = ["--set", "data.templates=['{}']", "--set", policy]
    done = CliRunner().invoke(app, [*given, "--recipe", "mini_zegclip", *changes])
    assert done.exit_code == 0, done.output
    assert read_step_manifest(tmp_path / "text").parameters["templates"] == ["{}"]
    assert read_json(tmp_path / "text" / "background_names.json") == ["grass"]
    refused = CliRunner().invoke(app, [*given, "--templates", "single", *changes])
    assert refused.exit_code == 2 and "give it with --recipe" in refused.stderr


def test_run_outside_a_project_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run"])
    assert done.exit_code == 2
    assert "there is no dvc.yaml in" in done.stderr


def test_overrides_of_the_command_line_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(
        "seed: 3\noverrides:\n  train: {iterations: 9, batch_size: null}\n  optim: {min_lr: 0.5}\n"
    )
    given = parse_overrides(
        ["train.iterations=20", "data.resize_range=null", "model.groups=[[1], [2, 3]]"], file
    )
    assert given == {
        "train.iterations": 20,
        "optim.min_lr": 0.5,
        "data.resize_range": None,
        "model.groups": [[1], [2, 3]],
    }


@pytest.mark.parametrize("item", ["train.iterations", "=3", "a=[1"])
def test_a_malformed_override_is_refused(item: str) -> None:
    with pytest.raises(ValueError, match="--set"):
        parse_overrides([item])


@pytest.mark.parametrize(
    ("content", "message"),
    [("overrides: 3\n", "overrides is 3"), ("a: [", "is not YAML"), (None, "cannot be read")],
)
def test_a_malformed_parameter_file_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "params.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=message):
        parse_overrides([], file)


def test_a_parameter_file_without_overrides_gives_none(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 1\noverrides:\n")
    assert parse_overrides([], tmp_path / "params.yaml") == {}


def test_image_sets_are_split_and_lists() -> None:
    option = {"form": "SPLIT=LISTS", "example": "train=train"}
    sets = pairs("--image-set", ["train=train+aug", "val=val"], **option)
    assert sets == {"train": "train+aug", "val": "val"}
    for wrong in (["train"], ["=train"], ["train=a", "train=b"]):
        with pytest.raises(ValueError, match="--image-set"):
            pairs("--image-set", wrong, **option)


def test_results_end_with_table_report_and_mlflow_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("MLFLOW_TRACKING_URI", "CASCADE_TRACKING"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "benchmark.json").write_text(json.dumps(ROWS))
    workflow.print_results()
    output = capsys.readouterr().out
    (line,) = (line for line in output.splitlines() if "zegclip" in line)
    assert [cell.strip() for cell in line.strip("│ ").split("│")] == [
        "zegclip", "inductive", "81.2", "55.0", "40.0", "-", "123,456", "0.0421", "310",
    ]  # fmt: skip
    assert str(tmp_path / "reports" / "report.html") in output
    assert "--host 127.0.0.1" in output


def test_stages_find_this_environments_commands_first() -> None:
    assert workflow.stage_environment()["PATH"].startswith(str(Path(sys.executable).parent))


def test_a_public_data_set_is_prepared_by_a_command(tmp_path: Path) -> None:
    maps = {
        "training": {"a": official_files.halves(1, 2)},
        "validation": {"b": official_files.halves(0, 150)},
    }
    official_files.ade20k(tmp_path, maps)
    folders = ["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]
    given = ["prepare", "ade20k", "--from", str(tmp_path), "--split", "val", *folders]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2
    assert "error: " in refused.stderr and "ADEChallengeData2016.zip has the sha1" in refused.stderr
    assert CliRunner().invoke(app, [*given, "--allow-subset"]).exit_code == 0
    summary = read_json(tmp_path / "out" / "summary.json")
    assert (summary["source"]["complete"], summary["splits"]["val"]["pixels"]["flag"]) == (False, 48)


def test_the_page_takes_two_models_at_most() -> None:
    done = CliRunner().invoke(app, ["demo", *["--model", "mini"] * 3])
    assert done.exit_code == 2
    assert "3 models are given; the page shows one or 2 side by side" in done.stderr


@pytest.mark.slow
def test_the_page_takes_the_toy_only_without_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: dict[str, object] = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("components.registry.default_model.is_cached", lambda *_: False)
    monkeypatch.setattr(
        "components.demo.server.serve",
        lambda predictors, **given: served.update(given, predictors=predictors),
    )
    done = CliRunner().invoke(app, ["demo", "--port", "7899"])
    assert done.exit_code == 0, done.output
    assert served["predictors"][0].manifest.config.recipe == "mini_cascade_clip"
    assert served["labels"].startswith("zebra, ") and len(served["examples"]) == 6
    write_tiny_clip(tmp_path / "home" / "clip" / "tiny")
    done = CliRunner().invoke(app, ["demo", "--port", "7899"])
    assert done.exit_code == 0, done.output
    assert served["predictors"][0].manifest.config.method == "naclip"
    assert (served["labels"], served["examples"]) == ("", [])
