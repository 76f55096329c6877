"""Fitting the seen penalty: its scores are evaluation's, and what may not be looked at is not looked at."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cascade_core.clip.weights import load_clip
from cascade_core.configs.mini_recipes import mini_zegclip
from cascade_core.configs.model import ModelConfig
from cascade_core.errors import UserError
from cascade_core.labels.background import Background
from components.evaluation import fit as fitting
from components.evaluation.job import Request, evaluation_job
from components.results.thresholds_file import Thresholds, read_thresholds
from components.steps import evaluate, fit_thresholds
from tests.components.conftest import Folders
from tests.tiny import write_tiny_checkpoint

SCORES = ("miou_seen", "miou_unseen", "hiou")


def checkpoint(folder: Path, folders: Folders, **changes: Any) -> Path:
    """Write an untrained model."""
    write_tiny_checkpoint(folder, load_clip(folders.clip)[0], mini_zegclip().model_copy(update=changes))
    return folder


@pytest.fixture(scope="module")
def model(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("model") / "final", folders)


def test_the_scores_of_a_fit_are_those_of_an_evaluation(
    folders: Folders, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {**folders.steps, "checkpoint": model, "split": "val"}
    fitted = fit_thresholds.run(**common, out=tmp_path / "fit")
    assert fitted == read_thresholds(tmp_path / "fit") and fitted.reason is None and fitted.fitted is not None
    best = fitted.fitted
    assert best.hiou == max(point.hiou or 0 for point in fitted.by_penalty)
    for point in (fitted.configured, best, fitted.by_penalty[-1]):
        row = evaluate.run(**common, seen_penalty=point.seen_penalty, out=tmp_path / "evaluate")
        assert row.seen_penalty == point.seen_penalty
        for name in SCORES:
            assert getattr(row, name) == pytest.approx(getattr(point, name), abs=2e-3)
    fitted.show()
    line = capsys.readouterr().out
    assert "reads validation labels of the unseen classes" in line and fitted.options in line
    assert (tmp_path / "fit" / "reliability_of_confidence.svg").read_text().startswith("<svg")
    assert (tmp_path / "fit" / "scores_by_seen_penalty.svg").is_file()


def test_a_fit_on_classes_held_out_ignores_unseen_ones(folders: Folders, model: Path, tmp_path: Path) -> None:
    common = {**folders.steps, "checkpoint": model, "split": "val", "held_out": ("zebra", "grass")}
    fitted = fit_thresholds.run(**common, out=tmp_path / "fit")
    assert fitted.unseen == ("zebra", "grass")
    assert "no label of an unseen class was read: zebra, grass were held out" in fitted.labels_read
    assert "trained with their labels" in fitted.labels_read
    job = evaluation_job({**folders.steps, "checkpoint": model}, Request("val"))
    among = fitting.contest(job, ("zebra", "grass"))
    table = fitting._places(job, among)
    split = job.scored
    assert all(table[i] == 255 for i in split.unseen) and not set(split.unseen) & set(among.candidates)
    assert [split.classes[among.candidates[place]] for place in among.unseen] == ["zebra", "grass"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test2"}, "--split is test2, and values fitted on a test split"),
        ({"split": "val", "held_out": ("unicorn",)}, "--held-out names unicorn, which protocol 'mini-18-6'"),
        ({"split": "val", "held_out": ("zebra", "zebra")}, "names a class twice"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    arguments: dict[str, Any], message: str, folders: Folders, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        fit_thresholds.run(**folders.steps, checkpoint=model, **arguments, out=tmp_path / "fit")
    assert not (tmp_path / "fit").exists()


def test_names_and_a_threshold_are_not_fitted_together(folders: Folders, model: Path) -> None:
    job = evaluation_job({**folders.steps, "checkpoint": model}, Request("val"))
    both = Background(policy="prompts", names=("sky",), threshold=0.3)
    job = replace(job, inference=job.inference.model_copy(update={"background": both}))
    with pytest.raises(UserError, match=r"'threshold 0\.3, prompts sky' has names and a threshold"):
        fitting.fit(job, (), split="val", data="")


def test_a_model_without_trained_weights_has_nothing_to_fit(
    folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = mini_zegclip().model
    untrained = ModelConfig(clip=config.clip, image_size=config.image_size, trunk="frozen", decoder="cosine")
    free = checkpoint(tmp_path / "final", folders, model=untrained)
    fitted = fit_thresholds.run(**folders.steps, checkpoint=free, split="val", out=tmp_path / "fit")
    assert isinstance(fitted, Thresholds) and fitted.fitted is None and len(fitted.by_penalty) == 1
    fitted.show()
    assert (
        "nothing to fit; no penalty was fitted: the model has no trained weights" in capsys.readouterr().out
    )
    assert fitted.options == "" and fitted.reliability


def test_coupled_classes_have_no_penalty_to_fit(
    folders: Folders, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = evaluation_job({**folders.steps, "checkpoint": model}, Request("val", seen_penalty=0.0))
    among = fitting.contest(job, ())
    assert fitting.nothing_to_fit(job, among) is None
    monkeypatch.setattr(type(job.vocabulary.segmentor), "coupled_classes", True)
    assert "depends on which other classes there are" in str(fitting.nothing_to_fit(job, among))


@pytest.mark.parametrize("penalty", [-0.1, 1.5, float("nan")])
def test_a_penalty_that_is_no_probability_is_refused(
    penalty: float, folders: Folders, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="give a number from 0 to 1"):
        evaluate.run(
            **folders.steps, checkpoint=model, split="val", seen_penalty=penalty, out=tmp_path / "out"
        )
