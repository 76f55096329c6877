"""Reproducing a published run, on small files in the official formats and with a tiny CLIP."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cascade_core.clip.weights import ClipModel, save_clip
from cascade_core.configs.recipes import recipe, with_overrides
from cascade_core.configs.training_free import LAST_BLOCKS, training_free
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.runtime.files import read_json
from components.results.published import PUBLISHED, published_row
from components.results.reproduction_table import comparison, sources
from components.results.rows import BenchmarkRow
from components.steps import prepare_dataset, self_train, train
from pipelines.cli.app import app
from pipelines.workstation import reproduction_without_training as without_training
from pipelines.workstation.reproduction import data_set_named, data_sets, recipe_named
from tests import official_files as files
from tests.official_files import halves
from tests.released import small_released, write_released
from tests.tiny import TINY_CLIP

Run = Callable[..., str]
BYTE_PAIRS = {"context_length": 77, "vocab_size": 49408}
CHANGES: dict[str, Any] = {
    "model.clip": TINY_CLIP.model_copy(update=BYTE_PAIRS).model_dump(),
    "model.image_size": 32,
    "model.num_prompts": 2,
    "model.groups": [[0, 1], [2]],
    "model.decoder_heads": 2,
    "data.crop_size": 32,
    "evaluate": {"short_side": 32, "crop_size": 32, "stride": 24},
    "optim.warmup_iterations": 1,
    "train": {"iterations": 2, "batch_size": 2, "workers": 0},
    "self_train": {"batch_size": 2},
}


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with VOC 2012 as `prepare` made it of small official files, a tiny CLIP, and overrides."""
    folder = tmp_path_factory.mktemp("reproduce")
    files.voc_2012(folder, train=["2007_000032"], val=["2007_000033"], others=["2008_000002"])
    files.sbd(folder, {"2008_000002": halves(7, 12)})
    prepare_dataset.run(
        name="voc12",
        sources=[folder],
        raw=folder / "raw",
        out=folder / "prepared",
        allow_subset=True,
        workers=1,
    )
    save_clip(folder / "clip", ClipModel(TINY_CLIP.model_copy(update=BYTE_PAIRS)))
    (folder / "changes.yaml").write_text(json.dumps({"overrides": CHANGES}))
    return folder


@pytest.fixture
def run(brought: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs the command on what a user brought, and returns what it printed.

    Not typer's runner: torch's recorder of errors needs a stderr with a file number.
    """

    def run(out: Path, *words: str) -> str:
        given = ["--prepared", str(brought / "prepared"), "--clip", str(brought / "clip"), "--out", str(out)]
        app(["reproduce", *words, *given], standalone_mode=False)
        return capfd.readouterr().out

    return run


def numbers(text: str) -> list[tuple[str, str]]:
    """Give the kind and setting of each row of the table."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    return [(cells[0], cells[2]) for cells in rows[2:]]


@pytest.mark.slow
def test_one_command_trains_scores_and_compares(
    brought: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("voc12", "--seeds", "0,1", "--overrides", str(brought / "changes.yaml"))
    printed = run(tmp_path / "out", *words)
    settings = ("inductive", "transductive (oracle)")
    kinds = ("this run", "published", "difference")
    assert numbers(printed) == [(kind, setting) for setting in settings for kind in kinds]
    assert "92.5 ± 1.0" in printed and "README of the released Cascade-CLIP code" in printed
    assert "not comparable: the data are not known to be the whole of Pascal VOC 2012 with SBD" in printed
    assert "not comparable: the recipe was changed: model.clip" in printed
    page = (tmp_path / "out" / "reproduction.md").read_text()
    assert numbers(page) == numbers(printed)
    content = read_json(tmp_path / "out" / "reproduction.json")
    assert [(row["setting"], row["seed"]) for row in content["rows"]] == [
        ("inductive", 0),
        ("transductive_oracle", 0),
        ("inductive", 1),
        ("transductive_oracle", 1),
    ]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a finished training ran again")

    monkeypatch.setattr(train.run, "function", refuse)
    monkeypatch.setattr(self_train.run, "function", refuse)
    assert run(tmp_path / "out", *words) == printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # the recipe has four workers
def test_a_released_file_is_scored_beside_its_row(brought: Path, run: Run, tmp_path: Path) -> None:
    file = write_released(tmp_path / "iter_20000.pth", small_released("cascade_voc", num_fed=15))
    words = ("--checkpoint", str(file), "--protocol", "voc12-15-5", "--setting", "inductive")
    printed = run(tmp_path / "out", "voc12", *words)
    assert numbers(printed) == [(kind, "inductive") for kind in ("this run", "published", "difference")]
    assert run(tmp_path / "out", *words) == printed  # the file shows its data set
    other = CliRunner().invoke(app, ["reproduce", "cocostuff", *words, "--prepared", f"{brought}/prepared"])
    assert other.exit_code == 2 and "cascade-clip reproduce voc12 --checkpoint" in other.stderr


def test_a_dry_run_needs_nothing_and_says_what_it_takes(
    brought: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascade_core.profile.schedule.TIMED_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    words = ["voc12", "--seeds", "0,1,2", "--overrides", str(brought / "changes.yaml"), "--dry-run"]
    printed = CliRunner().invoke(
        app, ["reproduce", *words, "--out", str(tmp_path / "out"), "--device", "cpu"]
    )
    assert printed.exit_code == 0, printed.output
    lines = {line.split()[0]: line for line in printed.stdout.splitlines()}
    assert "cascade_voc12 on Pascal VOC 2012 with SBD (voc12-15-5), seeds 0,1,2" in lines["plan"]
    assert re.search(
        r"3 seeds .*training \d.*, self-training \d.*, evaluation 1 \d.*, evaluation 2 \d", lines["time"]
    )
    assert re.search(
        r"memory   \d+\.\d GiB of \d+\.\d GiB on the CPU \(\d+ threads\): fits$", lines["memory"]
    )
    assert lines["disk"].endswith("fits")
    assert "random pictures of 32 x 32" in lines["how"]
    assert "prepared data: fetch VOCtrainval_11-May-2012.tar" in printed.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["cocostuff"],
            r"no prepared data: fetch train2017\.zip .* and val2017\.zip .* and stuffthingmaps_trainval2017\.zip .*; "
            r"CLIP ViT-B-16 is not imported: run `cascade-clip import-clip ViT-B-16 --tag openai`",
        ),
        (
            ["context"],
            r"VOCtrainval_03-May-2010\.tar .* and trainval_merged\.json .*`cascade-clip prepare context",
        ),
        (["voc12", "--vectors", "none.npy"], r"--vectors none\.npy does not exist"),
        (
            ["--checkpoint", "iter_20000.pth"],
            r"--checkpoint iter_20000\.pth does not exist: give the \.pth file",
        ),
        ([], r"needs a data set \(voc12, context, cocostuff\), or --checkpoint FILE"),
        (["ade20k"], r"'ade20k'; known are voc12, context, cocostuff"),
        (
            ["context", "--method", "zegclip"],
            r"unknown method on context 'zegclip'; known are cascade_clip, maskclip",
        ),
        (["voc12", "--setting", "inductive"], r"--protocol and --setting describe a --checkpoint"),
        (
            ["voc12", "--checkpoint", "a.pth", "--dry-run"],
            r"--dry-run, --set and --overrides go with a training",
        ),
    ],
)
def test_what_is_missing_is_named_at_once(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, ["reproduce", *words])
    assert done.exit_code == 2 and re.search(sentence, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_training_free_method_is_scored_on_all_classes(brought: Path, run: Run, tmp_path: Path) -> None:
    printed = run(tmp_path / "out", "voc12", "--method", "naclip")
    assert numbers(printed) == [(kind, "training-free") for kind in ("this run", "published", "difference")]
    assert "79.7" in printed and "table of Trident's README" in printed
    assert run(tmp_path / "out", "voc12", "--method", "naclip") == printed


def test_a_plan_without_training_needs_validation_data_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = TINY_CLIP.model_copy(update=BYTE_PAIRS)
    monkeypatch.setattr("cascade_core.profile.schedule.TIMED_SECONDS", 0.0)
    monkeypatch.setattr(
        without_training, "config_without_clip", lambda *_: with_overrides(training_free("sclip", small), {})
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    words = ["reproduce", "cocostuff", "--method", "sclip", "--dry-run", "--device", "cpu"]
    printed = CliRunner().invoke(app, words)
    assert printed.exit_code == 0, printed.output
    lines = {line.split()[0]: line for line in printed.stdout.splitlines()}
    assert "1 seed; each: evaluation" in lines["time"] and "training steps" not in lines["how"]
    assert "--split val" in printed.stdout and "train2017.zip" not in printed.stdout


@pytest.mark.parametrize("method", sorted(LAST_BLOCKS))
def test_training_free_settings_are_those_of_the_published_rows(method: str) -> None:
    for data_set in data_sets().values():
        config = without_training.config_without_clip(data_set, method, {"evaluate.batch_size": 2})
        protocol = config.data.protocol
        assert published_row(protocol, method, "training_free") is not None
        assert not named_protocol(protocol).unseen and config.evaluate.batch_size == 2
        large = method == "clearclip" or data_set.name == "cocostuff"
        assert config.evaluate.short_side == (448 if large else 336)
        whole = (data_set.name, method) == ("voc12", "naclip")
        assert config.evaluate.mode == ("whole" if whole else "slide")


def test_every_published_row_of_a_trained_setting_has_a_recipe() -> None:
    reachable = {
        (recipe(name).data.protocol, recipe(name).method)
        for data_set in data_sets().values()
        for name in (recipe_named(data_set, method) for method in _methods(data_set.name))
    }
    trained = [row for row in PUBLISHED if row.setting != "training_free"]
    assert {(row.protocol, row.method) for row in trained} == reachable


def _methods(data_set: str) -> list[str]:
    protocols = {split.name for split in data_set_named(data_set).protocols}
    trained = [row for row in PUBLISHED if row.setting != "training_free"]
    return sorted({row.method for row in trained if row.protocol in protocols})


def test_published_means_are_consistent() -> None:
    for row in PUBLISHED:
        if row.hiou is not None and row.miou_seen and row.miou_unseen:
            mean = 2 * row.miou_seen * row.miou_unseen / (row.miou_seen + row.miou_unseen)
            assert row.hiou == pytest.approx(mean, abs=0.11)
    assert len({(row.protocol, row.method, row.setting) for row in PUBLISHED}) == len(PUBLISHED)
    assert published_row("voc12-15-5", "linear", "inductive") is None


def test_a_table_marks_whose_numbers_a_row_holds() -> None:
    row = BenchmarkRow(
        method="cascade_clip",
        setting="inductive",
        split="val",
        protocol="voc12-15-5",
        seed=0,
        pAcc=0.9,
        miou_seen=0.925,
        miou_unseen=0.82,
        hiou=0.87,
        trainable_params=1,
        gmacs=1.0,
        images_per_second=1.0,
    )
    ours, theirs, difference = comparison([row])
    assert [cells["numbers"] for cells in (ours, theirs, difference)] == [
        "this run",
        "published",
        "difference",
    ]
    assert (ours["mIoU(U)"], theirs["mIoU(U)"], difference["mIoU(U)"]) == ("82.0", "83.0 ± 1.0", "-1.0")
    assert (theirs["pAcc"], difference["pAcc"]) == ("-", "-")
    other = row.model_copy(update={"method": "linear"})
    assert len(comparison([other])) == 1
    assert sources([other]) == ["linear pixel-text map inductive: no published row is known"]


def test_memory_and_time_extend_on_a_line() -> None:
    from cascade_core.profile.schedule import Sample, batches_to_measure, extended

    assert extended([Sample(1, 2.0, 100.0), Sample(2, 3.0, 150.0)], 16) == Sample(16, 17.0, 850.0)
    assert extended([Sample(4, 2.0, 100.0)], 4) == Sample(4, 2.0, 100.0)
    assert batches_to_measure(16, torch.device("cpu")) == (1, 2)
    assert batches_to_measure(1, torch.device("cpu")) == (1,)
    assert batches_to_measure(16, torch.device("cuda")) == (16,)
