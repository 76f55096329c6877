"""Benchmark rows and their tables."""

from pathlib import Path

import pytest

from cascade_core.runtime.files import write_json
from components.results.rows import BenchmarkRow, markdown_table, scores_by_name, summaries, thousands

SCORES = {
    "method": "zegclip",
    "setting": "inductive",
    "split": "test",
    "protocol": "mini-18-6",
    "seed": 0,
    "pAcc": 0.75,
    "miou_seen": 0.5,
    "miou_unseen": 0.25,
    "hiou": 1 / 3,
}
SPEED = {"method": "zegclip", "trainable_params": 216_896, "gmacs": 0.0395, "images_per_second": 100.0}


def _row(**changes: object) -> BenchmarkRow:
    return BenchmarkRow.model_validate({**SPEED, **SCORES, **changes})


def _folders(tmp_path: Path, scores: dict[str, object], speed: dict[str, object]) -> tuple[Path, Path]:
    write_json(tmp_path / "evaluation" / "scores.json", scores)
    write_json(tmp_path / "profile" / "profile.json", speed)
    return tmp_path / "evaluation", tmp_path / "profile"


def test_a_row_has_exactly_the_agreed_fields(tmp_path: Path) -> None:
    row = BenchmarkRow.read(*_folders(tmp_path, {**SCORES, "num_pictures": 4}, {**SPEED, "total_params": 9}))
    assert row.model_dump() == {**SPEED, **SCORES, "background": "dropped"}


@pytest.mark.parametrize(
    ("scores", "speed", "message"),
    [
        ({**SCORES, "hiou": "high"}, SPEED, r"scores\.json: hiou"),
        ({key: value for key, value in SCORES.items() if key != "seed"}, SPEED, r"scores\.json: seed"),
        (SCORES, {**SPEED, "gmacs": None}, r"profile\.json: gmacs"),
        (SCORES, {**SPEED, "method": "linear"}, r"profile\.json: method is 'linear'"),
    ],
)
def test_an_error_in_a_row_names_file_and_field(
    scores: dict[str, object], speed: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkRow.read(*_folders(tmp_path, scores, speed))


def test_a_summary_has_the_sample_deviation_over_seeds() -> None:
    rows = [_row(seed=0, hiou=0.4), _row(seed=1, hiou=0.5), _row(seed=0, setting="supervised", hiou=0.9)]
    first, second = summaries(rows)
    assert (first.seeds, second.seeds) == ((0, 1), (0,))
    assert first.percent("hiou") == "45.0 ± 7.1"
    assert second.percent("hiou") == "90.0"


def test_undefined_scores_are_dashes() -> None:
    assert summaries([_row(miou_unseen=None, hiou=None)])[0].percent("hiou") == "-"


def test_another_background_policy_is_another_run() -> None:
    rows = [_row(), _row(background="threshold 0.3", seed=1)]
    assert [summary.seeds for summary in summaries(rows)] == [(0,), (1,)]
    assert rows[1].run[0] == f"{rows[0].protocol}, background by threshold 0.3"
    lines = markdown_table(rows).splitlines()
    assert "background" not in lines[2] and "inductive, background by threshold 0.3" in lines[3]


def test_the_table_is_markdown_with_columns_of_one_width() -> None:
    lines = markdown_table([_row(), _row(method="cascade_clip", setting="control_words")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split("|")[1].strip() == "ZegCLIP"
    assert [cell.strip() for cell in lines[2].split("|")[3:7]] == ["75.0", "50.0", "25.0", "33.3"]
    assert set(lines[1]) <= set("|-: ")


@pytest.mark.parametrize(("count", "text"), [(216_896, "216,896"), (13_800_000, "13.8 M")])
def test_large_numbers_of_weights_are_in_millions(count: int, text: str) -> None:
    assert thousands(count) == text


def test_scores_by_name_begin_with_hiou() -> None:
    again, control = _row(hiou=0.25), _row(setting="control_words", hiou=None)
    named = scores_by_name([_row(), control, again])
    assert list(named) == ["hIoU", "mIoU(U)", "mIoU(S)", "pAcc"]
    assert named["hIoU"] == {"zegclip.inductive.1": 1 / 3, "zegclip.inductive.2": 0.25}
    assert list(named["pAcc"]) == ["zegclip.inductive.1", "zegclip.control_words", "zegclip.inductive.2"]
