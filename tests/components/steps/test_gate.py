"""The gate: every way a candidate can stand against a champion, each with a reason that says so."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cascade_core.runtime.files import read_json, write_json
from cascade_core.scoring.bootstrap import total_scores
from components.artifacts.manifest import read_step_manifest
from components.registry.decisions import Scored, decide, read_decision, validation_tags
from components.registry.versions import Version
from components.results.margins import Margins
from components.results.picture_counts import CountsOfPictures
from components.steps import gate
from pipelines.graphs.defaults import GATE_SPLIT
from pipelines.graphs.defaults import MARGINS as MARGINS_OF_PIPELINES

MEASURED = {"protocol": "mini-18-6", "split": "test", "data_hash": "ab" * 32, "num_pictures": 200}
SCORES = {"hiou": 0.5, "miou_seen": 0.6}
MARGINS = Margins(min_hiou_gain=2.0, max_seen_drop=1.0)


def _champion(**changes: object) -> Version:
    facts = {**MEASURED, **SCORES, **changes}
    tags = {key: str(value) for key, value in facts.items() if value is not None}
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return Version("m", 3, champion=True, created=created, run_id=None, description="", tags=tags)


def _candidate(**changes: object) -> Scored:
    return Scored.model_validate({**MEASURED, **SCORES, **changes})


def test_the_first_model_is_promoted() -> None:
    decision = decide("m", _candidate(), None, MARGINS)
    assert (decision.promote, decision.reason, decision.champion) == (True, "first model", None)


def test_a_first_model_without_scores_is_not() -> None:
    decision = decide("m", _candidate(hiou=None, miou_seen=None), None, MARGINS)
    assert not decision.promote and "neither hIoU nor mIoU(S)" in decision.reason


@pytest.mark.parametrize(
    ("candidate", "champion", "promote", "reason"),
    [
        ({"hiou": 0.53}, {}, True, r"better: hIoU 53.00 against 50.00 of the champion, version 3, \+3.00 points"),
        ({"hiou": 0.53, "miou_seen": 0.59}, {}, True, "better: "),
        ({}, {}, False, "a tie: "),
        ({"hiou": 0.4}, {}, False, "worse: "),
        ({"hiou": 0.51}, {}, False, r"not enough better: .* more than 2\.5 are required, by a fixed margin, because the candidate's evaluation keeps no"),
        ({"hiou": 0.52}, {}, False, "not enough better: "),
        ({"hiou": 0.9, "miou_seen": 0.58}, {}, False, "seen classes fell: .* 2.00 points .1 are allowed"),
        ({"hiou": 0.9, "miou_seen": None}, {}, False, "seen classes fell: "),
        ({"hiou": 0.9}, {"data_hash": "cd" * 32}, False, "another data hash: cdcdcdcdcdcd, .* abababababab"),
        ({"hiou": 0.9}, {"data_hash": None}, False, "another data hash: unknown"),
        ({"hiou": 0.9, "data_hash": None}, {"data_hash": None}, False, "another data hash: unknown"),
        ({"hiou": 0.9, "pictures_hash": "ef"}, {"data_hash": "cd" * 32}, False, "another data hash"),
        ({"hiou": 0.9, "pictures_hash": "ef"}, {"data_hash": "cd" * 32, "pictures_hash": "ef"}, True, "better: "),
        ({"hiou": 0.9, "pictures_hash": "ef"}, {"pictures_hash": "01"}, False, "another set of scored pictures: 01, .* ef"),
        ({"hiou": 0.9}, {"split": "val"}, False, "another split: val, the candidate's is test"),
        ({"hiou": 0.9}, {"protocol": "voc12-15-5"}, False, "another protocol: voc12-15-5"),
        ({"hiou": 0.9}, {"background": "threshold 0.3"}, False, "another background policy: threshold 0."),
        ({"hiou": 0.9}, {"num_pictures": 4}, False, "another number of pictures: 4, .* 200"),
        ({"hiou": 0.9}, {"hiou": None, "miou_seen": None}, False, "has no scores to compare with"),
        ({"hiou": 0.9}, {"protocol": None}, False, "cannot be compared with .*protocol: Field required"),
        ({"hiou": 0.9}, {"hiou": "high"}, False, "cannot be compared with .*hiou: Input should be"),
        ({"hiou": None}, {}, False, r"the candidate has no hIoU, the champion, version 3, has 50\.00"),
        ({"hiou": None, "miou_seen": 0.7}, {"hiou": None}, True, r"better: mIoU\(S\) 70.00 against 60.00"),
        ({"hiou": None}, {"hiou": None}, False, "a tie: "),
        ({"hiou": 0.9, "setting": "inductive"}, {"setting": "supervised"}, False, "another setting: supervised, the candidate's is inductive; --across-settings"),
        ({"hiou": 0.9, "setting": "inductive"}, {"setting": "inductive"}, True, "better: "),
    ],
)  # fmt: skip
def test_a_candidate_meets_a_champion(
    candidate: dict[str, object], champion: dict[str, object], promote: bool, reason: str
) -> None:
    decision = decide("m", _candidate(**candidate), _champion(**champion), MARGINS)
    assert decision.promote == promote
    assert re.search(reason, decision.reason), decision.reason
    assert decision.champion == 3


fractions = st.floats(0, 1)


@given(fractions, fractions, fractions, fractions)
def test_of_two_models_at_most_one_beats_the_other(a: float, b: float, seen_a: float, seen_b: float) -> None:
    one, other = {"hiou": a, "miou_seen": seen_a}, {"hiou": b, "miou_seen": seen_b}
    forth = decide("m", _candidate(**one), _champion(**other), MARGINS)
    back = decide("m", _candidate(**other), _champion(**one), MARGINS)
    assert not (forth.promote and back.promote)


def test_a_changed_label_file_has_a_first_champion_of_its_own() -> None:
    before, after = "garden-0a1b2c3d", "garden-4e5f6a7b"
    decision = decide("garden", _candidate(protocol=after, hiou=0.1), _champion(protocol=before), MARGINS)
    assert decision.promote and decision.champion == 3
    assert decision.reason == (
        f"first champion of the changed label file ({after}): version 3 was scored on other classes ({before}), so their "
        "scores are not comparable; version 3 stays in the registry"
    )
    unscored = _candidate(protocol=after, hiou=None, miou_seen=None)
    assert not decide("garden", unscored, _champion(protocol=before), MARGINS).promote
    free = _candidate(protocol=after, setting="training_free")
    trained = _champion(protocol=before, setting="inductive")
    assert not decide("garden", free, trained, MARGINS).promote
    assert decide("garden", free, trained, MARGINS.model_copy(update={"across_settings": True})).promote
    next_one = decide("garden", _candidate(protocol=after, hiou=0.1), _champion(protocol=after), MARGINS)
    assert not next_one.promote and next_one.reason.startswith("worse: ")


@pytest.mark.parametrize("theirs", ["park-0a1b2c3d", "mini-18-6", "garden", "garden-0a1b2c3d-supervised"])
def test_another_label_set_is_not_compared_and_not_promoted(theirs: str) -> None:
    decision = decide(
        "garden", _candidate(protocol="garden-4e5f6a7b", hiou=0.9), _champion(protocol=theirs), MARGINS
    )
    assert not decision.promote
    assert decision.reason.startswith("scores are not comparable: ") and theirs in decision.reason


def test_across_settings_a_better_candidate_wins() -> None:
    margins = MARGINS.model_copy(update={"across_settings": True})
    candidate = _candidate(hiou=0.9, setting="transductive_oracle")
    assert decide("m", candidate, _champion(setting="inductive"), margins).promote


def test_the_champions_scores_on_the_candidates_split_count() -> None:
    judged = _candidate(hiou=0.6, split="val")
    tags = validation_tags(_candidate(hiou=0.7, split="val"))
    decision = decide("m", judged, _champion(hiou=0.1, **tags), MARGINS)
    assert not decision.promote and "60.00 against 70.00" in decision.reason
    reported = decide("m", _candidate(hiou=0.6), _champion(hiou=0.1, **tags), MARGINS)
    assert reported.promote and "60.00 against 10.00" in reported.reason
    assert "another split: test" in decide("m", judged, _champion(hiou=0.1), MARGINS).reason


def test_the_workflow_states_the_default_margins() -> None:
    stated = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())["gate"]
    assert stated.pop("split") == GATE_SPLIT
    assert stated == json.loads(MARGINS_OF_PIPELINES) == Margins().model_dump()


def _counts(shares: np.ndarray, first: int = 0) -> CountsOfPictures:
    """Return counts of pictures with 100 pixels of a seen and of an unseen class, of which a share is right."""
    right = np.round(100 * shares).astype(np.int64)[:, None]
    counts = np.stack([np.repeat(right, 2, axis=1), *(np.full((len(shares), 2), 100),) * 2], axis=1)
    return CountsOfPictures(
        tuple(f"p{first + i}" for i in range(len(shares))), ("grass", "zebra"), (1,), counts
    )


def _scored_by(counts: CountsOfPictures) -> dict[str, object]:
    scores = total_scores(counts.counts, seen=counts.seen, unseen=counts.unseen)
    return {name: scores[name] for name in SCORES}


HARDNESS = np.random.default_rng(0).uniform(0.3, 0.8, 60)
CHAMPIONS = _counts(HARDNESS)


@pytest.mark.parametrize(
    ("gains", "margins", "promote", "reason"),
    [
        # A small gain on every picture is sure, though pictures differ much; a larger one on few pictures is not.
        (np.full(60, 0.01), {}, True, r"better: .* \+0\.\d\d points \(\+0\.\d\d to \+\d\.\d\d over the pictures\)$"),
        (np.where(np.arange(60) < 3, 0.2, -0.003), {}, False, r"not surely better: .*\(-.*the 95 % interval must lie above zero"),
        (np.full(60, 0.01), {"min_hiou_gain": 2.0}, False, "not enough better: .* more than 2 are required$"),
        (np.full(60, 0.0), {}, False, "a tie: "),
        (np.full(60, -0.1), {}, False, "worse: "),
    ],
)  # fmt: skip
def test_the_interval_over_pictures_decides(
    gains: np.ndarray, margins: dict[str, float], promote: bool, reason: str
) -> None:
    ours = _counts(HARDNESS + gains)
    candidate, champion = _candidate(**_scored_by(ours)), _champion(**_scored_by(CHAMPIONS))
    limits = Margins.model_validate(margins)
    decision = decide("m", candidate, champion, limits, ours=ours, theirs=CHAMPIONS)
    assert decision.promote == promote
    assert re.search(reason, decision.reason), decision.reason


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (None, "by a fixed margin, because the champion, version 3, keeps no readable pixel counts"),
        (_counts(HARDNESS, first=7), "because the champion, version 3, keeps pixel counts of other pictures"),
    ],
)
def test_without_common_counts_a_fixed_margin_decides(theirs: CountsOfPictures | None, reason: str) -> None:
    for gain, promote in ((0.01, False), (0.1, True)):
        ours = _counts(HARDNESS + gain)
        candidate, champion = _candidate(**_scored_by(ours)), _champion(**_scored_by(CHAMPIONS))
        decision = decide("m", candidate, champion, Margins(), ours=ours, theirs=theirs)
        assert decision.promote == promote and reason in decision.reason


@pytest.mark.usefixtures("store")
def test_the_step_writes_its_decision_and_promotes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_json(tmp_path / "evaluation" / "scores.json", {**MEASURED, **SCORES, "method": "zegclip"})
    for _ in range(2):
        decision = gate.run(evaluation=tmp_path / "evaluation", out=tmp_path / "out", **MARGINS.model_dump())
        assert decision.promote and decision.champion is None
    assert read_decision(tmp_path / "out", "mini-18-6-zegclip") == decision
    assert read_json(tmp_path / "out" / "decision.json")["name"] == "mini-18-6-zegclip"
    assert read_step_manifest(tmp_path / "out").parameters["min_hiou_gain"] == 2.0
    decision.show()
    assert (capsys.readouterr().out + caplog.text).count(decision.reason) == 1


def test_without_a_store_there_is_no_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    with pytest.raises(ValueError, match="none does not exist"):  # a missing input is named first
        gate.run(evaluation=tmp_path / "none", out=tmp_path / "out")
    write_json(tmp_path / "evaluation" / "scores.json", {**MEASURED, **SCORES, "method": "zegclip"})
    with pytest.raises(ValueError, match="CASCADE_TRACKING=off"):
        gate.run(evaluation=tmp_path / "evaluation", out=tmp_path / "out")
