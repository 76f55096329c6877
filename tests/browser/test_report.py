"""The report in a browser: it loads without a network, shows every picture, and its numbers are those of the JSON files."""

from pathlib import Path
from typing import Any

import pytest

from cascade_core.clip.weights import load_clip
from cascade_core.configs.mini_recipes import mini_cascade_clip, mini_zegclip
from cascade_core.runtime.files import read_json
from components.results.picture_files import read_pictures
from components.results.rows import run_names
from components.results.thresholds_file import read_thresholds
from components.steps import evaluate, fit_thresholds, profile, report
from tests.components.conftest import folders  # noqa: F401  (a fixture)
from tests.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def made(folders: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Write a report on two untrained models and three pictures."""
    root = tmp_path_factory.mktemp("report")
    for make in (mini_zegclip, mini_cascade_clip):
        final = root / make.__name__ / "final"
        write_tiny_checkpoint(final, load_clip(folders.clip)[0], make())
        evaluate.run(**folders.steps, checkpoint=final, split="val", out=root / make.__name__ / "evaluate")
        fit_thresholds.run(**folders.steps, checkpoint=final, split="val", out=root / make.__name__ / "fit")
        profile.run(checkpoints=(final,), text=folders.text, out=root / make.__name__ / "profile")
    names = (mini_zegclip.__name__, mini_cascade_clip.__name__)
    report.run(
        evaluations=[root / name / "evaluate" for name in names],
        profiles=[root / name / "profile" for name in names],
        fits=[root / name / "fit" for name in names],
        out=root / "report",
    )
    return root


@pytest.fixture
def page(made: Path, tab: Any, tmp_path: Path) -> Any:
    """Open a copy of the page that has no other file beside it."""
    alone = tmp_path / "report.html"
    alone.write_bytes((made / "report" / "report.html").read_bytes())
    tab.goto(alone.as_uri())
    return tab


def test_every_picture_of_the_report_is_loaded(page: Any) -> None:
    sizes = page.eval_on_selector_all("img", "all => all.map(img => img.complete ? img.naturalWidth : 0)")
    # Three rows of picture, truth and two methods, and two confusion matrices.
    assert len(sizes) == 3 * 4 + 2 and min(sizes) > 0


def test_the_results_table_shows_the_json_file(page: Any, made: Path) -> None:
    rows = read_json(made / "report" / "benchmark.json")
    cells = page.eval_on_selector_all(
        "section:first-of-type tbody tr",
        "all => all.map(tr => [...tr.cells].map(td => td.textContent.trim()))",
    )
    assert [line[:6] for line in cells] == [
        [
            *run_names(row["method"], row["setting"]),
            *(f"{100 * row[name]:.1f}" for name in ("hiou", "miou_seen", "miou_unseen", "pAcc")),
        ]
        for row in rows
    ]


def test_the_rows_of_pictures_show_the_scores_file(page: Any, made: Path) -> None:
    read = [read_pictures(made / name / "evaluate") for name in ("mini_zegclip", "mini_cascade_clip")]
    rows = [{one.name: one.miou for one in pictures.pictures} for pictures in read if pictures]
    lines = page.eval_on_selector_all(
        "#pictures .picture",
        "all => all.map(row => [row.querySelector('h3').firstChild.textContent.trim(),"
        " ...[...row.querySelectorAll('figcaption b')].map(b => b.textContent)])",
    )
    assert {line[0] for line in lines} == set(rows[-1]) and len(lines) == 3
    for name, *scores in lines:
        assert scores == [f"{100 * (own[name] or 0):.1f}" for own in rows]


def test_the_fits_show_the_thresholds_files(page: Any, made: Path) -> None:
    fits = [read_thresholds(made / name / "fit") for name in ("mini_zegclip", "mini_cascade_clip")]
    cells = page.eval_on_selector_all(
        "#thresholds tbody tr", "all => all.map(tr => [...tr.cells].map(td => td.textContent.trim()))"
    )
    scores = ("miou_seen", "miou_unseen", "hiou")
    for line, fit in zip(cells, fits, strict=True):
        assert fit.fitted is not None
        assert line[2:4] == [f"{fit.configured.seen_penalty:.3g}", f"{fit.fitted.seen_penalty:.3g}"]
        assert line[4:10] == [own.percent(score) for score in scores for own in (fit.configured, fit.fitted)]
    text = page.locator("#thresholds").inner_text()
    assert text.count("reads validation labels of the unseen classes") == 2
    assert page.locator("#thresholds svg").count() == 4


def test_no_number_of_a_bar_lies_over_the_bar(page: Any) -> None:
    overlaps = page.eval_on_selector_all(
        ".bar",
        """all => all.filter(bar => {
            const track = bar.querySelector(".track").getBoundingClientRect();
            const number = bar.querySelector("b").getBoundingClientRect();
            return number.width === 0 || number.left < track.right;
        }).length""",
    )
    assert page.locator(".bar").count() >= 24 and overlaps == 0


def test_the_printed_report_holds_every_section(page: Any) -> None:
    page.emulate_media(media="print")
    visible = page.eval_on_selector_all(
        "section", "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert len(visible) == 7 and min(visible) > 40
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [527, 300])
def test_a_narrow_frame_shows_the_headline_score(page: Any, width: int) -> None:
    """Kubeflow's page shows the report in a frame of 527 pixels, and two side by side in 300."""
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    heading = page.locator("section:first-of-type th", has_text="hIoU")
    box = heading.bounding_box()
    assert box is not None and box["x"] + box["width"] <= width
    table = page.locator("section:first-of-type .wide")
    assert width < 527 or table.evaluate("one => one.scrollWidth <= one.clientWidth")
