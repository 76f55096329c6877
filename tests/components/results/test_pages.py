"""Pages for people: what comes from files and users is text in them, whatever it holds."""

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from cascade_core.runtime.files import write_json
from components.results import target_rows
from components.results.pages import TEMPLATES, Curve, fill_template
from components.results.report_page import ReportEntry, page
from components.results.rows import BenchmarkRow

HOSTILE = """</script><script>alert("1")</script>'<img src=x onerror=alert(1)>"""
CHARTS = {"chart", "loss_chart"}
"""Values that are SVG of our own; their text is escaped where they are drawn."""


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_only_charts_enter_a_page_as_they_are(template: object) -> None:
    text = template.read_text()
    assert set(re.findall(r"{{ *(\w+) *\|[^}]*safe", text)) <= CHARTS
    assert "Markup" not in text and "autoescape" not in text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write", text)


def test_names_with_html_are_text_in_the_comparison_page() -> None:
    score = SimpleNamespace(miou=0.5, miou_unseen=0.5, pixels=0.5)
    line = {
        "name": HOSTILE,
        "width": 8,
        "height": 8,
        "tiles": [HOSTILE] * 4,
        "scores": [score, score],
        "classes": [{"id": 0, "true": True}],
    }
    facts = dict.fromkeys(("protocol", "background", "split", "data_hash", "commit"), HOSTILE)
    page = fill_template(
        "compare.html",
        models=[HOSTILE, HOSTILE],
        seeds=[0],
        lines=[line],
        classes=[{"name": HOSTILE, "colour": "#000000", "unseen": True}],
        tiles={"0": line["tiles"]},
        difference=lambda _: 1.0,
        **facts,
    )
    assert page.count("<script") == 2
    assert "<img src" not in page and HOSTILE not in page


def test_names_with_html_are_text_in_the_report(tmp_path: Path) -> None:
    write_json(tmp_path / "profile.json", {"method": "zegclip"})
    scores = {"pAcc": 0.5, "miou_seen": 0.5, "miou_unseen": 0.5, "hiou": 0.5}
    costs = {"trainable_params": 1, "gmacs": 1.0, "images_per_second": 1.0}
    row = BenchmarkRow(
        method="zegclip", setting=HOSTILE, split=HOSTILE, protocol=HOSTILE, seed=0, **scores, **costs
    )
    classes = pd.DataFrame({"group": ["seen"], "class": [HOSTILE], "iou": [0.5]})
    entry = ReportEntry(tmp_path, row, 1, HOSTILE, classes, None, tmp_path, scores={}, manifest=None)
    text = page([entry], [Curve(HOSTILE, ((1.0, 2.0),), "#000000")])
    assert text.count("alert(") >= 4
    assert "<script>" not in text and "<img src=x" not in text and HOSTILE not in text


def test_names_with_html_are_text_in_the_table_over_data_sets() -> None:
    row = dict.fromkeys(target_rows.COLUMNS, HOSTILE) | dict.fromkeys(target_rows.FRACTIONS, 0.5)
    table = target_rows.text_table([row]).to_html(index=False, border=0)
    assert "alert(" in table and "<script>" not in table and "<img" not in table
