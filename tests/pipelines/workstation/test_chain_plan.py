"""What is left of the mini table, how long it takes, and the intervals of the evaluations that are there."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.runtime.files import write_json
from cascade_core.scoring.bootstrap import total_scores
from cascade_core.scoring.pictures import PictureCounts
from components.results.names import PICTURE_COUNTS_FILE, SCORES_FILE
from components.results.picture_counts import read_counts, write_counts
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured
from pipelines.workstation import chains
from pipelines.workstation.chain_plan import ChainPlan, Seconds, outlook, plans_of
from pipelines.workstation.chains import SECONDS_FILE, Chain, SelfTraining
from pipelines.workstation.mini_intervals import claim_intervals, drop_uncounted
from pipelines.workstation.mini_page import CLAIMS, MiniRow, values_by_seed

SPLIT, DATA = protocol("mini-18-6"), Data[Path]()
CLAIM = CLAIMS[0]


def plan_of(folder: Path, method: str, seed: int, **options: tuple[SelfTraining, ...]) -> ChainPlan:
    chain = Chain(f"mini_{method}", seed, DATA, **options)  # type: ignore[arg-type]
    return ChainPlan.of(chain, folder / f"{method}-{seed}", "test2")


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[[str, int], MiniRow]:
    """A function that writes the evaluation of a training, with drawn counts, and returns its row."""

    def write(method: str, seed: int) -> MiniRow:
        rng = np.random.default_rng([len(method), seed])
        ids, pixels = np.arange(SPLIT.num_classes), rng.integers(1, 50, (30, 3, SPLIT.num_classes))
        pixels[:, 2] = 60
        pictures = {
            f"p{place}": PictureCounts(ids, *own) for place, own in enumerate(np.sort(pixels, axis=1))
        }
        folder = tmp_path / f"{method}-{seed}" / "evaluate-inductive-test2"
        folder.mkdir(parents=True)
        write_counts(folder, pictures, SPLIT)
        counts = read_counts(folder)
        assert counts is not None
        scores = total_scores(counts.counts.sum(axis=0, keepdims=True), seen=SPLIT.seen, unseen=SPLIT.unseen)
        facts = {
            "method": method,
            "setting": "inductive",
            "split": "test2",
            "protocol": SPLIT.name,
            "seed": seed,
        }
        write_json(folder / SCORES_FILE, facts | scores)
        return MiniRow.model_validate(
            facts | scores | {"trainable_params": 1, "gmacs": 1, "images_per_second": 1}
        )

    return write


def test_a_plan_lists_missing_steps_and_their_time(tmp_path: Path) -> None:
    plans = [plan_of(tmp_path, "zegclip", seed, self_trainings=(SelfTraining("oracle"),)) for seed in (0, 1)]
    assert not any(tmp_path.iterdir())
    unknown = "4 of 4 trainings are left to do, and 6 shorter steps; the time of 10 steps is not known yet"
    assert outlook(plans, 2).startswith(unknown)
    steps = {"train": 100.0, "evaluate-inductive-test2": 4.0, "profile": 2.0}
    for name in steps:
        (plans[0].folder / name).mkdir(parents=True)
    write_json(plans[0].folder / SECONDS_FILE, steps)
    (plans[0].folder / "oracle").mkdir()
    write_json(
        plans[0].folder / "oracle" / SECONDS_FILE, {"self_train": 50.0, "evaluate-transductive-test2": 4}
    )
    again = plans_of({plan.folder: plan.chain for plan in plans}, "test2")
    assert [out.relative_to(tmp_path).as_posix() for out in again[0].missing] == [
        "zegclip-0/oracle/self_train",
        "zegclip-0/oracle/evaluate-transductive-test2",
    ]
    # 54 s of the first chain, 160 s of the second.
    assert outlook(again, 2) == (
        "3 of 4 trainings are left to do, and 4 shorter steps: about 2 min, 2 at a time, by what earlier steps took"
    )
    # Another recipe takes the mean of those that were measured.
    assert "about 5 min, 1 at a time" in outlook([*again, plan_of(tmp_path, "linear", 0)], 1)
    alone = plan_of(tmp_path, "linear", 0)  # beside the folders of other chains
    assert "about 2 min, 1 at a time" in outlook([alone], 1)
    assert Seconds.of([alone]).expected(alone, "evaluate-penalty_0.2-test2") == 4.0
    naclip = plan_of(tmp_path, "naclip", 0)
    assert outlook([naclip], 2).startswith("0 of 0 trainings are left")
    for out in again[0].missing:
        out.mkdir()
    (whole,) = plans_of({again[0].folder: again[0].chain}, "test2")
    assert outlook([whole], 2) == (
        "nothing is left to do; 2 trainings and 3 shorter steps took 3 min, one after the other"
    )
    write_json(whole.folder / SECONDS_FILE, {"train": 100.0})
    assert outlook([whole], 2).endswith("without 2 whose time was not kept")


def fail_at_once(chain: Chain, folder: Path, split: str) -> list[Measured[Path]]:
    folder.touch()
    if chain.seed == 0:
        raise UserError("no such split")
    time.sleep(0.2)
    return []


def test_no_chain_begins_after_one_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In real processes: a pool hands on more jobs than it runs, and cancels none of those."""
    monkeypatch.setattr(chains, "get_context", lambda _: get_context("fork"))
    monkeypatch.setattr(chains, "run_chain", fail_at_once)
    planned = {tmp_path / str(seed): Chain("mini_zegclip", seed, DATA) for seed in range(12)}
    with pytest.raises(UserError, match="no such split"):
        chains.run_chains(planned, split="val", workers=2)
    begun = sorted(path.name for path in tmp_path.iterdir())
    assert begun[0] == "0" and len(begun) <= 2
    time.sleep(0.3)
    assert sorted(path.name for path in tmp_path.iterdir()) == begun


def test_claims_get_intervals_of_rows_with_counts(
    tmp_path: Path, evaluate: Callable[[str, int], MiniRow]
) -> None:
    runs = [(run[0], seed) for run in (CLAIM.better, CLAIM.worse) for seed in (0, 1)]
    rows = [evaluate(*run) for run in runs]
    plans = [plan_of(tmp_path, *run) for run in runs]
    (done,) = claim_intervals(CLAIMS, rows, plans, [])
    better, worse = (values_by_seed(rows, run, CLAIM.score) for run in (CLAIM.better, CLAIM.worse))
    assert done.of_claim(CLAIM) and done.seeds == (0, 1)
    assert done.difference == pytest.approx(np.mean([better[seed] - worse[seed] for seed in (0, 1)]))
    assert done.low < done.difference < done.high
    # A row of another evaluation has no counts here; the earlier interval stays only with the same difference.
    others = [rows[0].model_copy(update={"hiou": 0.5}), *rows[1:]]
    assert claim_intervals(CLAIMS, others, plans, []) == []
    assert claim_intervals(CLAIMS, others, plans, [done]) == [done]
    changed = done.model_copy(update={"difference": done.difference + 1e-3})
    assert claim_intervals(CLAIMS, others, plans, [changed]) == []


def test_evaluations_without_counts_are_made_again(
    tmp_path: Path, evaluate: Callable[[str, int], MiniRow]
) -> None:
    for seed in (0, 1):
        evaluate("zegclip", seed)
    plans = [plan_of(tmp_path, "zegclip", seed) for seed in (0, 1)]
    (plans[0].models[0].evaluation / PICTURE_COUNTS_FILE).unlink()
    assert drop_uncounted(plans) == 1
    assert [plan.models[0].evaluation.exists() for plan in plans] == [False, True]
