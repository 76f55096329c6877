"""The page of one model on several data sets, in the frame of 527 pixels in which Kubeflow shows it."""

from pathlib import Path
from typing import Any

import pytest

from components.results import target_rows

pytestmark = pytest.mark.browser

ROW = {
    "protocol": "voc12-15-5 from coco171", "background": "dropped", "method": "cascade_clip", "setting": "inductive",
    "split": "val", "num_pictures": 1449, "num_classes": 20, "num_seen": 20, "miou": 0.7912, "pAcc": 0.8, "miou_seen": 0.7912,
    "miou_unseen": None, "hiou": None,
}  # fmt: skip


def test_a_narrow_frame_shows_the_scores_of_every_target(tab: Any, tmp_path: Path) -> None:
    table = target_rows.text_table([ROW, {**ROW, "protocol": "context59-49-10"}])
    (tmp_path / "page.html").write_text(target_rows.page(table))
    tab.set_viewport_size({"width": 527, "height": 600})
    tab.goto((tmp_path / "page.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cells = tab.eval_on_selector_all(
        "tr", "all => all.map(tr => [...tr.cells].slice(0, 6).map(cell => cell.textContent))"
    )
    assert cells[0] == ["target", "mIoU", "hIoU", "mIoU(S)", "mIoU(U)", "pAcc"]
    assert cells[1] == ["voc12-15-5 from coco171", "79.1", "-", "79.1", "-", "80.0"] and len(cells) == 3
    last = tab.locator("th", has_text="pAcc").bounding_box()
    assert last is not None and last["x"] + last["width"] <= 527
