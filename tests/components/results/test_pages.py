"""Pages for people: what comes from files and users is text in them, whatever it holds."""

import re
from types import SimpleNamespace

import pytest

from components.results.pages import TEMPLATES, fill_template

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
