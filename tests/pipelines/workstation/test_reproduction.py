"""Reproducing a published run, on small files in the official formats and with a tiny CLIP."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cascade_core.clip.weights import ClipModel, save_clip
from cascade_core.configs.changes import with_overrides
from cascade_core.configs.recipes import recipe
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


def bring(folder: Path, name: str) -> Path:
    """Fill a folder with a data set as `prepare` made it of small official files, a tiny CLIP, and overrides."""
    match name:
        case "voc12":
            files.voc_2012(folder, train=["2007_000032"], val=["2007_000033"], others=["2008_000002"])
            files.sbd(folder, {"2008_000002": halves(7, 12)})
        case "context":
            train_maps = {"2008_000002": halves(2, 59), "2008_000003": halves(3, 5)}
            files.context(folder, {"train": train_maps, "val": {"2008_000009": halves(1, 4)}}, {})
        case "cocostuff":
            train_maps = {"000000000009": halves(0, 17), "000000000025": halves(181, 0)}
            files.cocostuff(folder, {"train": train_maps, "val": {"000000000139": halves(0, 99)}})
    prepare_dataset.run(
        name=name,
        sources=[folder],
        raw=folder / "raw",
        out=folder / "prepared",
        allow_subset=True,
        workers=1,
    )
    save_clip(folder / "clip", ClipModel(TINY_CLIP.model_copy(update=BYTE_PAIRS)))
    (folder / "changes.yaml").write_text(json.dumps({"overrides": CHANGES}))
    return folder


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with all that a user brings for VOC 2012."""
    return bring(tmp_path_factory.mktemp("reproduce"), "voc12")


def reproduced(brought: Path, capfd: pytest.CaptureFixture[str], out: Path, *words: str) -> str:
    """Run the command on what a user brought, and return what it printed.

    Not typer's runner: torch's recorder of errors needs a stderr with a file number.
    """
    given = ["--prepared", str(brought / "prepared"), "--clip", str(brought / "clip"), "--out", str(out)]
    app(["reproduce", *words, *given], standalone_mode=False)
    return capfd.readouterr().out


@pytest.fixture
def run(brought: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs the command on VOC 2012, and returns what it printed."""
    return partial(reproduced, brought, capfd)


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
@pytest.mark.parametrize(
    ("name", "published", "methods"),
    [
        ("context", {"cascade_clip": ("55.9 ± 0.5", "55.0 ± 1.0")}, {"naclip": "35.2", "clearclip": "35.9"}),
        (
            "cocostuff",
            {"cascade_clip": ("43.4 ± 1.0", "62.5 ± 1.0"), "zegclip": ("40.2", "59.9")},
            {"sclip": "22.4", "maskclip": "16.7"},
        ),
    ],
)
def test_the_other_data_sets_end_beside_their_published_rows(
    name: str,
    published: dict[str, tuple[str, str]],
    methods: dict[str, str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / name).mkdir()
    folder, kinds = bring(tmp_path / name, name), ("this run", "published", "difference")
    title = data_set_named(name).title
    for method, scores in published.items():
        changes = CHANGES if method == "cascade_clip" else {**CHANGES, "model.groups": []}
        (folder / "changes.yaml").write_text(json.dumps({"overrides": changes}))
        words = (name, "--method", method, "--seeds", "0", "--overrides", str(folder / "changes.yaml"))
        printed = reproduced(folder, capfd, tmp_path / method, *words)
        settings = ("inductive", "transductive (oracle)")
        assert numbers(printed) == [(kind, setting) for setting in settings for kind in kinds]
        assert all(score in printed for score in scores)
        assert f"not comparable: the data are not known to be the whole of {title}" in printed
        rows = read_json(tmp_path / method / "reproduction.json")["rows"]
        assert [row["protocol"] for row in rows] == [rows[0]["protocol"]] * 2 and rows[0]["pAcc"] is not None
    for method, score in methods.items():
        printed = reproduced(folder, capfd, tmp_path / method, name, "--method", method)
        assert numbers(printed) == [(kind, "training-free") for kind in kinds] and score in printed


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
    assert "one training step on a random picture of 32 x 32" in lines["how"]
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
            r"unknown method on context 'zegclip'; known are cascade_clip, otseg, maskclip",
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
    assert "79.7" in printed and "FLOSS's README" in printed and "uncertain: other authors" in printed
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
    assert "1 seed; each: evaluation" in lines["time"] and "training step" not in lines["how"]
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


def test_memory_and_time_grow_with_the_pictures() -> None:
    from cascade_core.profile.schedule import Sample, batch_to_measure

    one = Sample(1, 2.0, 150.0, fixed=100.0)
    assert one.of(16) == Sample(16, 32.0, 900.0, fixed=100.0) and one.of(1) == one
    assert Sample(4, 2.0, 150.0, fixed=100.0).of(2) == Sample(2, 1.0, 125.0, fixed=100.0)
    assert batch_to_measure(16, torch.device("cpu")) == 1
    assert batch_to_measure(16, torch.device("cuda")) == 16


def test_a_plan_names_the_load_of_other_programs() -> None:
    from cascade_core.profile.schedule import Sample
    from pipelines.workstation.reproduction_cost import Estimate, Phase

    def time_line(share: float) -> str:
        phase = Phase("training", 60, Sample(1, 60.0, 1.0, share=share))
        return next(Estimate((phase,), 2, None, 2, 1, 1, "the CPU", "measured").lines())

    assert time_line(1.0) == "time     2 h 0 min for 2 seeds one after the other; each: training 1 h 0 min"
    assert time_line(0.25).endswith("training 1 h 0 min; about 30 min without other programs' load")


def test_a_step_on_a_cpu_is_measured_once_and_its_memory_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    from cascade_core.profile import schedule

    monkeypatch.setattr(schedule, "TIMED_SECONDS", 0.0)
    config, calls = recipe("cascade_voc12", CHANGES), 0
    train_for = schedule.train

    def counted(*arguments: Any, **options: Any) -> Iterator[Any]:
        nonlocal calls
        for report in train_for(*arguments, **options):
            calls += 1
            yield report

    monkeypatch.setattr(schedule, "train", counted)
    sample, weights = schedule.training_step(config, "inductive", torch.device("cpu"), batch=1)
    assert calls == 1
    assert 0 < weights.optimizer < sample.fixed <= sample.memory
