"""DVC's plots in a browser: drawn without a network, also for two revisions and for plots of other kinds."""

from pathlib import Path
from typing import Any

import pytest
from dvc_render import render_html
from dvc_render.vega import VegaRenderer

from pipelines.workstation.project_files import PLOTS_PAGE

pytestmark = pytest.mark.browser

LOSSES = [
    {
        "iteration": str(step),
        "loss": str(start / step),
        "rev": rev,
        "filename": f"{name}.csv",
        "field": "loss",
    }
    for rev, start in (("workspace", 3.0), ("main", 4.0))
    for name in ("train", "self_train")
    for step in range(1, 30)
]
CLASSES = [
    {"class": name, "iou": iou, "rev": rev}
    for rev in ("workspace", "main")
    for name, iou in (("grass", "0.8"), ("water", "0.25"), ("sand <b>", ""))
]
PAIRS = [{"truth": "grass", "guess": "sand", "rev": "workspace"}]


@pytest.fixture
def page(tab: Any, tmp_path: Path) -> Any:
    """Open the page that DVC writes of three plots."""
    y = [{"filename": f"{name}.csv", "field": "loss"} for name in ("train", "self_train")]
    renderers = [
        VegaRenderer(
            LOSSES,
            "training loss",
            template="smooth",
            x="iteration",
            y="loss",
            title="training loss",
            anchors_y_definitions=y,
        ),
        VegaRenderer(CLASSES, "IoU per class", template="bar_horizontal", x="iou", y="class", title="IoU"),
        VegaRenderer(PAIRS, "pairs", template="confusion", x="truth", y="guess"),
    ]
    file = tmp_path / "plots/index.html"
    render_html(renderers, file, html_template=PLOTS_PAGE)
    tab.goto(file.as_uri())
    return tab


def test_each_revision_and_file_has_a_curve(page: Any) -> None:
    assert page.locator("#training_loss polyline").count() == 4
    assert (
        page.locator("#training_loss .legend").inner_text().split("\n")[0].startswith("workspace, train.csv")
    )


def test_each_class_with_a_score_has_a_bar(page: Any) -> None:
    assert page.locator("#IoU_per_class rect").count() == 4
    widths = page.eval_on_selector_all(
        "#IoU_per_class rect", "all => all.map(bar => bar.width.baseVal.value)"
    )
    assert widths[0] / widths[1] == pytest.approx(0.8 / 0.25)
    assert "sand <b>" in page.locator("#IoU_per_class svg").text_content()


def test_another_kind_of_plot_is_a_table(page: Any) -> None:
    assert "grass" in page.locator("#pairs").inner_text()
