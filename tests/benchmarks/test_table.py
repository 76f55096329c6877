"""The table of benchmarks: its rows, what it measures again, and the cases behind it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import cases, evaluation, inference, machine, matrix_peak, table
from benchmarks.compare import Comparison, Work, compare
from benchmarks.stopwatch import in_turns
from cascade_core.inference.vocabulary import Vocabulary
from tests.tiny import tiny_config


def _row(values: list[int], name: str = "fast", precision: str = "fp32") -> table.Row:
    """Return a row that records the rounds of each measurement."""

    def measure(rounds: int) -> table.Figures:
        values.append(rounds)
        return table.Figures(f"{rounds} rounds", "9 %")

    return replace(table.rows()[0], name=name, case="a case", measure=measure, precision=precision)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_in_a_process", lambda measure: measure())
    monkeypatch.setattr(table, "_commit", lambda: "abc")


def test_every_row_has_its_own_name() -> None:
    names = [row.name for row in table.rows()]
    assert len(names) == len(set(names))
    assert {"training-zegclip-156-bf16", "crop-cascade_clip-20-fp32", "workflow", "labelling"} < set(names)


def test_rows_are_chosen_by_patterns_in_the_tables_order() -> None:
    chosen = table.chosen(["text-vectors", "training-zegclip-15*-bf16"])
    assert [row.name for row in chosen] == [
        "training-zegclip-156-bf16",
        "training-zegclip-15-bf16",
        "text-vectors",
    ]
    with pytest.raises(SystemExit, match="no row has such a name"):
        table.chosen(["trainings"])


def test_a_stored_row_is_measured_again_for_another_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: list[int] = []
    row = _row(values)
    for again in (False, False, True):
        result = table.result_of(row, tmp_path, rounds=3, again=again)
    assert result.value == "3 rounds"
    assert values == [3, 3]
    monkeypatch.setattr(table, "_commit", lambda: "def")
    table.result_of(row, tmp_path, rounds=1, again=False)
    assert values == [3, 3, 1]


def test_bfloat16_is_not_run_without_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "architecture": "x86_64"})
    assert not machine.has_bf16()
    values: list[int] = []
    row = _row(values, precision="bf16")
    result = table.result_of(row, tmp_path, rounds=3, again=False)
    assert result.value == machine.NO_BF16
    assert values == []


def test_the_table_names_case_command_and_machine(tmp_path: Path) -> None:
    row = _row([])
    text = table.markdown([(row, table.result_of(row, tmp_path, rounds=3, again=False))])
    assert text.startswith(f"{machine.machine()}, commit abc\n")
    assert f"| a case | `{row.command}` | 3 rounds | 9 % |" in text.splitlines()[-1]


@pytest.mark.parametrize("method", cases.METHODS)
@pytest.mark.parametrize(
    ("classes", "setting"), [(156, "inductive"), (15, "inductive"), (171, "supervised"), (20, "supervised")]
)
def test_a_number_of_classes_chooses_data_set_and_setting(method: str, classes: int, setting: str) -> None:
    config, of_training = cases.recipe_for(method, classes)
    assert (config.method, of_training) == (method, setting)
    split = config.data.split
    assert classes == (len(split.seen) if setting == "inductive" else split.num_classes)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(SystemExit, match="--classes 59: give one of 171, 156, 20, 15"):
        cases.recipe_for("zegclip", 59)


def test_a_photograph_costs_a_model_pass_per_window() -> None:
    config = tiny_config(mode="slide", short_side=32)
    segmentor, vectors = cases.random_model(config)
    vocabulary = Vocabulary(segmentor.eval(), vectors, "sigmoid")
    square, wide = (
        inference.Case(np.zeros((32, width, 3), np.uint8), vocabulary, config).operations()
        for width in (32, 32 + config.evaluate.stride + 1)
    )
    assert square > 0
    assert wide == 3 * square


def test_the_share_of_the_peak_follows_from_both_times() -> None:
    line = Comparison("a step", 2.0, 8.0, share=0.5, peak=100e9).line()
    assert line == "a step: time 2.000 s / 8.000 s = 0.250, 50 % of 100 GFLOP/s"


def test_a_comparison_with_products_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_peak, "SIDES", {"cpu": 64})
    left = torch.randn(64, 64)
    compared = compare(
        "one product",
        lambda: (lambda: left @ left, lambda: left @ left),
        rounds=1,
        memory=False,
        work=Work(2 * 64**3, "fp32"),
    )
    assert compared.share is not None and compared.share > 0
    assert compared.ours_bytes is None


def test_calls_take_turns_after_the_warm_up() -> None:
    order: list[str] = []
    seconds = in_turns([lambda: order.append("a"), lambda: order.append("b")], rounds=2)
    assert order == ["a", "b"] * 3
    assert len(seconds) == 2


@pytest.mark.parametrize("ahead", [True, False])
def test_evaluation_counts_every_pixel_and_the_models_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    monkeypatch.setattr(evaluation, "SIZES", ((24, 32), (32, 24)))
    config = tiny_config(mode="slide")
    rows = evaluation.write_photographs(tmp_path, config.data.split).head(2)
    assert isinstance(rows, pd.DataFrame)
    seconds, share = evaluation.share_outside(
        evaluation.vocabulary(config), config, tmp_path, rows, ahead=ahead
    )
    assert seconds > 0
    assert 0 < share < 1
