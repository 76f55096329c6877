"""Comparison of benchmark results: chance is no change, and a real loss is a regression."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.results.regression import ROUNDING, SPEED, Change, Thresholds, compare, outcome
from components.results.rows import RerunRow

LIMITS = Thresholds(
    max_drop_points={"pAcc": 3.0, "miou_seen": 3.0, "miou_unseen": 5.0, "hiou": 4.0},
    max_slowdown_share=0.3,
    confidence=0.95,
)


def rows(
    *hious: float | None, method: str = "zegclip", speed: float | None = 2.0, setting: str = "inductive"
) -> list[RerunRow]:
    return [
        RerunRow(
            method=method,
            setting=setting,
            split="test",
            protocol="mini-18-6",
            seed=seed,
            pAcc=0.7,
            miou_seen=0.5,
            miou_unseen=0.4,
            hiou=hiou,
            trainable_params=10,
            gmacs=0.1,
            images_per_second=100.0,
            relative_speed=speed,
        )
        for seed, hiou in enumerate(hious)
    ]


def of(changes: list[Change], metric: str = "hiou") -> Change:
    (change,) = [change for change in changes if change.metric == metric]
    return change


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0.01, 100))
def test_results_do_not_differ_from_themselves(hious: list[float], speed: float) -> None:
    same = rows(*hious, speed=speed)
    changes = compare(same, same, LIMITS)
    assert {change.verdict for change in changes} == {"no change"}
    assert outcome(changes) == "no change"


def test_a_difference_that_chance_explains_is_no_change() -> None:
    # Deviations 0.1 over 3 seeds: the standard error is sqrt(2 x 0.01 / 3) = 0.0816, and t is 2.776 at 4 degrees of freedom.
    change = of(compare(rows(0.3, 0.4, 0.5), rows(0.5, 0.6, 0.7), LIMITS))
    assert change.noise == pytest.approx(22.67, abs=1e-2)
    assert (change.difference, change.verdict) == (pytest.approx(-20), "no change")


def test_one_of_twenty_unchanged_scores_counts_as_changed() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.5, 0.03, (2000, 2, 3)).tolist()
    verdicts = [of(compare(rows(*now), rows(*before), LIMITS)).verdict for now, before in draws]
    assert 0.03 < 1 - verdicts.count("no change") / len(verdicts) < 0.055


@pytest.mark.parametrize(
    ("now", "verdict"),
    [((0.46, 0.47, 0.48), "worse"), ((0.44, 0.45, 0.46), "regressed"), ((0.52, 0.53, 0.54), "better")],
)
def test_beyond_the_noise_the_allowed_drop_decides(now: tuple[float, ...], verdict: str) -> None:
    changes = compare(rows(*now), rows(0.49, 0.50, 0.51), LIMITS)
    assert of(changes).verdict == verdict
    assert outcome(changes) == ("regressed" if verdict == "regressed" else "changed")


def test_a_side_with_one_seed_borrows_the_other_sides_spread() -> None:
    assert of(compare(rows(0.3), rows(0.4, 0.6), LIMITS)).verdict == "no change"


def test_between_single_seeds_the_allowed_drop_is_the_noise() -> None:
    change = of(compare(rows(0.45), rows(0.5), LIMITS))
    assert (change.noise, change.verdict) == (4.0, "regressed")


@pytest.mark.parametrize(("speed", "verdict"), [(1.5, "no change"), (1.3, "regressed"), (2.7, "better")])
def test_speed_may_vary_by_the_allowed_share(speed: float, verdict: str) -> None:
    changes = compare(rows(0.5, speed=speed), rows(0.5, speed=2.0), LIMITS)
    assert of(changes, SPEED).verdict == verdict


def test_undefined_metrics_are_not_compared() -> None:
    changes = compare(rows(None, speed=None), rows(None, speed=None), LIMITS)
    assert {change.metric for change in changes} == {"pAcc", "miou_seen", "miou_unseen"}


def test_a_new_run_is_a_change_and_a_missing_run_a_regression() -> None:
    both = rows(0.5) + rows(0.5, setting="transductive_oracle")
    more, less = compare(both, rows(0.5), LIMITS), compare(rows(0.5), both, LIMITS)
    assert {change.verdict for change in more if change.setting != "inductive"} == {"new"}
    assert outcome(more) == "changed"
    assert {change.verdict for change in less if change.setting != "inductive"} == {"missing"}
    assert outcome(less) == "regressed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_slowdown_share": 2}, "params.yaml: max_slowdown_share: .*less than 1.*got 2"),
        ({"max_drops": {}}, "params.yaml: max_drops: "),
        ({"max_drop_points": {"hiou": 1}}, "max_drop_points lacks miou_seen, miou_unseen, pAcc"),
        ({"max_drop_points": {"hiou": math.nan}}, r"params.yaml: max_drop_points\.hiou: .*finite number"),
        ({"max_drop_points": {"hiou": 400}}, r"params.yaml: max_drop_points\.hiou: .*less than 100.*got 400"),
        (
            {"max_drop": {"hiou": 0.04}},
            "params.yaml: max_drop is now max_drop_points, in percent points: 0.03 becomes 3",
        ),
        ({"max_slowdown": 0.3}, "params.yaml: max_slowdown is now max_slowdown_share; its value stays"),
        ({"num_deviations": 2}, "params.yaml: num_deviations is now confidence, .*: 2 becomes 0.95"),
        ({"confidence": 95}, "params.yaml: confidence: .*less than 1"),
    ],
)
def test_invalid_thresholds_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Thresholds.read(LIMITS.model_dump() | changes, source="params.yaml")


def with_weights(checkpoint: str | None, *hious: float) -> list[RerunRow]:
    return [row.model_copy(update={"checkpoint": checkpoint}) for row in rows(*hious)]


@pytest.mark.parametrize("checkpoints", [("b", "a"), (None, None)])
def test_between_two_champions_the_allowed_drop_is_the_noise(checkpoints: tuple[str | None, ...]) -> None:
    now, before = checkpoints
    change = of(compare(with_weights(now, 0.47), with_weights(before, 0.5), LIMITS))
    assert (change.noise, change.verdict) == (4.0, "no change")


@pytest.mark.parametrize(("hiou", "verdict"), [(0.4995, "no change"), (0.47, "worse"), (0.45, "regressed")])
def test_one_champion_may_differ_from_itself_by_rounding(hiou: float, verdict: str) -> None:
    change = of(compare(with_weights("a", hiou), with_weights("a", 0.5), LIMITS))
    assert (change.noise, change.verdict) == (ROUNDING, verdict)


def test_several_seeds_of_equal_weights_keep_their_spread() -> None:
    change = of(compare(with_weights("a", 0.45, 0.55), with_weights("a", 0.4, 0.5), LIMITS))
    assert change.verdict == "no change"
