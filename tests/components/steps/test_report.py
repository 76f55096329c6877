"""The report: rows, a table, and one page that holds everything it shows."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from cascade_core.runtime.files import read_json, write_json
from components.artifacts.manifest import read_step_manifest
from components.results.pages import Curve, line_chart
from components.steps import report
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

ROW_FIELDS = {
    "method",
    "setting",
    "split",
    "protocol",
    "background",
    "seed",
    "pAcc",
    "miou_seen",
    "miou_unseen",
    "hiou",
    "trainable_params",
    "gmacs",
    "images_per_second",
}


def _evaluation(folder: Path, method: str, setting: str, **scores: object) -> Path:
    write_json(
        folder / "scores.json",
        {
            "method": method,
            "setting": setting,
            "split": "test",
            "protocol": "mini-18-6",
            "seed": 0,
            "pAcc": 0.7,
            "miou_seen": 0.6,
            "miou_unseen": 0.4,
            "hiou": 0.48,
            "num_pictures": 5,
            "data_hash": "c0ffee" * 10,
        }
        | scores,
    )
    pd.DataFrame(
        {
            "class": ["zebra", "tiger <i>", "none"],
            "group": ["seen", "unseen", "seen"],
            "iou": [0.6, 0.4, float("nan")],
        }
    ).to_csv(folder / "per_class.csv", index=False)
    Image.new("RGB", (24, 8), "orange").save(folder / "confusion.png")
    return folder


def _profile(folder: Path, method: str) -> Path:
    speed = {"method": method, "trainable_params": 1234, "gmacs": 0.5, "images_per_second": 10.0}
    write_json(folder / "profile.json", speed)
    return folder


@pytest.fixture
def written(tmp_path: Path) -> report.Report:
    clip = write_tiny_clip(tmp_path / "clip")
    write_tiny_checkpoint(tmp_path / "train" / "final", clip, tiny_config())
    history = pd.DataFrame({"iteration": [1, 2], "loss": [3.0, 2.5]})
    history.to_csv(tmp_path / "train" / "history.csv", index=False)
    return report.run(
        evaluations=[
            _evaluation(tmp_path / "a", "zegclip", "inductive"),
            _evaluation(tmp_path / "b", "zegclip", "control_words", miou_unseen=None, hiou=None, pAcc=0.9),
            _evaluation(tmp_path / "c", "cascade_clip", "inductive", hiou=0.5),
        ],
        profiles=[_profile(tmp_path / "p", "zegclip"), _profile(tmp_path / "q", "cascade_clip")],
        trainings=[tmp_path / "train"],
        out=tmp_path / "reports",
    )


def test_benchmark_rows_have_the_agreed_fields_in_given_order(written: report.Report) -> None:
    rows = read_json(written.page.parent / "benchmark.json")
    assert [set(row) for row in rows] == [ROW_FIELDS] * 3
    assert [(row["method"], row["setting"]) for row in rows] == [
        ("zegclip", "inductive"),
        ("zegclip", "control_words"),
        ("cascade_clip", "inductive"),
    ]
    assert rows[1]["hiou"] is None


def test_the_page_is_well_formed_and_asks_for_nothing_else(written: report.Report) -> None:
    page = written.page.read_text()
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert page.count("data:image/png") == 3
    assert '<section id="provenance">' in page


def test_confusion_matrices_are_files_too_one_for_each_method(written: report.Report) -> None:
    kept = sorted(path.relative_to(written.page.parent) for path in written.page.parent.glob("*/*"))
    names = ("Cascade-CLIP_inductive", "ZegCLIP_control_unseen_words_exchanged", "ZegCLIP_inductive")
    assert [path.as_posix() for path in kept] == [f"confusion/{name}.png" for name in names]


def test_class_names_are_text_in_the_page_whatever_they_hold(written: report.Report) -> None:
    assert "tiger &lt;i&gt;" in written.page.read_text()


def test_a_control_is_never_marked_as_best(written: report.Report) -> None:
    marked = re.findall(r'class="best">([^<]*)<', written.page.read_text())
    assert marked == ["60.0", "40.0", "70.0", "50.0", "60.0", "40.0", "70.0"]


def test_the_folder_states_its_inputs(written: report.Report) -> None:
    manifest = read_step_manifest(written.page.parent)
    assert manifest.step == "report"
    assert len(manifest.inputs) == 6


def test_an_evaluation_without_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no profile of method 'zegclip' was given, only of linear"):
        report.run(
            evaluations=[_evaluation(tmp_path / "a", "zegclip", "inductive")],
            profiles=[_profile(tmp_path / "p", "linear")],
            out=tmp_path / "reports",
        )
    assert not (tmp_path / "reports").exists()


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one evaluation"):
        report.run(evaluations=[], profiles=[], out=tmp_path / "reports")


def test_a_chart_is_reproducible_and_has_gaps_at_infinite_points() -> None:
    curve = Curve("a", ((1.0, 2.0), (2.0, float("nan")), (3.0, 1.0)), "#123456", dashed=True)
    chart = line_chart([curve], x_title="iteration & more", y_title="loss")
    assert chart == line_chart([curve], x_title="iteration & more", y_title="loss")
    assert "nan" not in chart and 'aria-label="loss by iteration &amp; more"' in chart
    assert chart.count("#123456") == 1 and "stroke-dasharray" in chart


def test_a_chart_without_points_has_axes_only() -> None:
    empty = line_chart([Curve("a", (), "#123456")], x_title="rerun", y_title="loss")
    assert "#123456" not in empty and ">rerun<" in empty


class _Balance(HTMLParser):
    """Follows which elements are open."""

    VOID = ("meta", "br", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Elements of a chart that close themselves leave nothing open."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
