"""The page of `cascade-clip demo`, end to end: what a visitor types, clicks and sees, with two untrained tiny models."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_core.checkpoints.model_folder import write_model_folder
from cascade_core.inference.prediction import Prediction
from cascade_core.mini.vocabulary import WORDS
from cascade_core.predictor import Predictor
from cascade_core.render.colours import palette
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

PROGRAM = str(Path(sys.executable).parent / "cascade-clip")
LABELS = ("zebra", "grass", "tiger")
SECONDS = 60_000
"""The longest time for an answer, in milliseconds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two models, three pictures and a file that is none."""
    folder = tmp_path_factory.mktemp("demo")
    clip = write_tiny_clip(folder / "clip")
    cascade = tiny_config()
    plain = cascade.model.model_copy(update={"fusion": "none", "groups": ()})
    for name, config in (
        ("cascade", cascade),
        ("plain", cascade.model_copy(update={"method": "zegclip", "model": plain})),
    ):
        write_tiny_checkpoint(folder / f"{name}-checkpoint", clip, config)
        write_model_folder(folder / f"{name}-checkpoint", folder / "clip", folder / name)
    (folder / "pictures").mkdir()
    for seed, name in enumerate(("a", "b", "c d")):
        levels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((48, 40)).save(folder / "pictures" / f"{name}.png")
    (folder / "broken.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Start the page with both models, yield its address, and end it as a scheduler does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        PROGRAM,
        "demo",
        "--port",
        str(port),
        "--device",
        "cpu",
        "--examples",
        str(folder / "pictures"),
    ]
    models = ["--model", str(folder / "cascade"), "--model", str(folder / "plain")]
    with subprocess.Popen(
        [*command, *models], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    ) as server:  # fmt: skip
        assert server.stderr is not None
        try:
            lines = []
            for line in server.stderr:
                lines.append(line)
                if "the page is at" in line:
                    break
            assert lines and f"the page is at http://127.0.0.1:{port}" in lines[-1], "".join(lines)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            rest = server.communicate(timeout=60)[1]
    assert server.returncode == 143 and "Traceback" not in rest, rest


def predicted(
    folder: Path, picture: str, labels: Sequence[str] = LABELS, model: str = "cascade"
) -> Prediction:
    """Segment a picture without the page."""
    with torch.inference_mode():
        return Predictor.load(folder / model, device="cpu").predict(folder / "pictures" / picture, labels)


def legend_rows(prediction: Prediction) -> list[str]:
    """Return the text of each row that the legend of a prediction has."""
    return [
        f"{area.label} {100 * area.share:.1f} % {100 * area.confidence:.1f} %" for area in prediction.areas
    ]


def visit(tab: "Page", address: str, *, picture: Path | None = None, labels: str | None = None) -> None:
    """Open the page, and fill in its fields."""
    tab.goto(address)
    tab.get_by_role("button", name="Segment").wait_for(timeout=SECONDS)
    if picture is not None:
        tab.locator("input[type=file]").set_input_files(picture)
        tab.get_by_role("img", name="The photograph to segment").wait_for(timeout=SECONDS)
    if labels is not None:
        tab.get_by_label("Class names").fill(labels)


def message(tab: "Page", text: str | re.Pattern[str]) -> str:
    """Wait until the page says this, and return all that it says."""
    place = tab.locator(".message").filter(has_text=text)
    place.wait_for(timeout=SECONDS)
    return place.inner_text()


def rows(tab: "Page", number: int = 0) -> list[str]:
    """Return the texts of the rows of a figure's legend."""
    lines = tab.locator(".prediction").nth(number).locator("tbody tr").all_inner_texts()
    return [" ".join(line.split()) for line in lines]


def opacity(tab: "Page") -> float:
    return float(tab.locator(".tint").first.evaluate("image => getComputedStyle(image).opacity"))


def colour_at(layer: "Locator", left: int, top: int) -> list[int]:
    """Return the colour of a pixel of a picture on the page."""
    return layer.evaluate(
        """(image, [left, top]) => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            return [...context.getImageData(left, top, 1, 1).data].slice(0, 3);
        }""",
        [left, top],
    )


def saved(tab: "Page", name: str, target: Path) -> Path:
    """Click the first download of this name, and save its file."""
    with tab.expect_download() as download:
        tab.get_by_role("button", name=name).first.click()
    download.value.save_as(target)
    return target


def test_a_photograph_gets_a_layer_legend_and_downloads(
    tab: "Page", address: str, folder: Path, tmp_path: Path
) -> None:
    visit(tab, address, picture=folder / "pictures" / "a.png", labels=", ".join(LABELS))
    tab.get_by_role("button", name="Segment").click()
    assert message(tab, "48 x 40").startswith("a.png: 48 x 40 pixels, 3 classes, ")
    assert tab.locator(".prediction figcaption").all_inner_texts() == [
        "Cascade-CLIP, inductive",
        "ZegCLIP, inductive",
    ]
    for number, model in enumerate(("cascade", "plain")):
        prediction = predicted(folder, "a.png", model=model)
        assert rows(tab, number) == legend_rows(prediction)
        layer = tab.locator(".tint").nth(number)
        for left, top in ((0, 0), (47, 39), (20, 30)):
            expected = palette(3)[prediction.label_map[top, left]].tolist()
            assert colour_at(layer, left, top) == expected
    assert rows(tab, 0) != rows(tab, 1)
    prediction = predicted(folder, "a.png")
    with Image.open(saved(tab, "Label map", tmp_path / "labels.png")) as picture:
        assert np.array_equal(np.asarray(picture), prediction.label_map)
    classes = json.loads(saved(tab, "Classes", tmp_path / "classes.json").read_text())
    assert [area["pixels"] for area in classes["classes"]] == [area.pixels for area in prediction.areas]
    assert (classes["picture"], classes["request"]["labels"]) == ("a.png", list(LABELS))


def test_the_slider_changes_the_opacity_at_once(tab: "Page", address: str, folder: Path) -> None:
    visit(tab, address, picture=folder / "pictures" / "a.png", labels="zebra, grass")
    tab.get_by_role("button", name="Segment").click()
    tab.locator(".tint").first.wait_for(timeout=SECONDS)
    assert opacity(tab) == 0.55
    tab.get_by_role("slider").fill("20")
    tab.wait_for_function(
        "getComputedStyle(document.querySelector('.tint')).opacity === '0.2'", timeout=SECONDS
    )


def test_an_example_is_chosen_by_a_click(tab: "Page", address: str, folder: Path) -> None:
    visit(tab, address, labels="zebra, grass")
    tab.get_by_role("button", name="Example c d.png").click()
    tab.get_by_role("img", name="The photograph to segment").wait_for(timeout=SECONDS)
    tab.get_by_role("button", name="Segment").click()
    message(tab, "48 x 40 pixels, 2 classes")
    assert rows(tab) == legend_rows(predicted(folder, "c d.png", ("zebra", "grass")))


def test_bad_requests_are_answered_in_sentences(tab: "Page", address: str, folder: Path) -> None:
    good = folder / "pictures" / "a.png"
    visit(tab, address, labels="zebra")
    button = tab.get_by_role("button", name="Segment")
    button.click()
    message(tab, "There is no photograph; choose a picture file first")
    visit(tab, address, picture=good, labels=" , ")
    button.click()
    message(tab, "There are no class names; write some, separated by commas")
    for labels, sentence in (
        ("zebra, Zebra", "more than once; give every class once"),
        ('zebra, "grass', "is not a list of names separated by commas"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
    ):
        tab.get_by_label("Class names").fill(labels)
        button.click()
        message(tab, sentence)
    tab.get_by_label("Class names").fill("zebra, grass")
    button.click()
    message(tab, "2 classes")
    tab.get_by_role("button", name="Remove Image").click()
    with tab.expect_response(re.compile("/upload")):
        tab.locator("input[type=file]").set_input_files(folder / "broken.png")
    button.click()
    message(tab, "broken.png: cannot be decoded as a picture")
    assert tab.locator(".prediction").count() == 0
    assert not tab.get_by_role("button", name="Label map").is_visible()


def test_a_thousand_labels_are_taken_and_no_more(tab: "Page", address: str, folder: Path) -> None:
    labels = [" ".join(words) for words in product(WORDS, WORDS, WORDS)][:1001]
    visit(tab, address, picture=folder / "pictures" / "a.png", labels=", ".join(labels))
    tab.get_by_role("button", name="Segment").click()
    message(tab, "There are 1,001 class names, and this page takes 1,000")
    tab.get_by_label("Class names").fill("\n".join(labels[:-1]))
    tab.get_by_role("button", name="Segment").click()
    message(tab, "1,000 classes")
    prediction = predicted(folder, "a.png", labels[:-1])
    assert rows(tab) == legend_rows(prediction)
    assert (
        f"Without a pixel: {1000 - len(prediction.areas)} of 1,000 classes"
        in tab.locator(".legend").first.inner_text()
    )


def test_the_keyboard_alone_is_enough(tab: "Page", address: str, folder: Path) -> None:
    visit(tab, address)

    def walk_to(place: "Locator") -> None:
        for _ in range(60):
            tab.keyboard.press("Tab")
            if place.evaluate(
                "element => element === document.activeElement || element.contains(document.activeElement)"
            ):
                return
        raise AssertionError(f"no Tab reaches {place}")

    with tab.expect_file_chooser() as chooser:
        walk_to(tab.get_by_role("button", name="Drop an image file here to upload"))
        tab.keyboard.press("Enter")
    chooser.value.set_files(folder / "pictures" / "b.png")
    tab.get_by_role("img", name="The photograph to segment").wait_for(timeout=SECONDS)
    walk_to(tab.get_by_label("Class names"))
    tab.keyboard.type("zebra, grass")
    tab.keyboard.press("Enter")
    message(tab, "b.png: 48 x 40 pixels, 2 classes")
    assert rows(tab) == legend_rows(predicted(folder, "b.png", ("zebra", "grass")))
    walk_to(tab.get_by_role("slider"))
    tab.keyboard.press("Home")
    tab.wait_for_function(
        "getComputedStyle(document.querySelector('.tint')).opacity === '0'", timeout=SECONDS
    )
    walk_to(tab.get_by_role("group", name="Legend of ZegCLIP"))
    walk_to(tab.get_by_role("button", name="Classes (JSON)").nth(1))
    with tab.expect_download() as download:
        tab.keyboard.press("Enter")
    assert download.value.suggested_filename == "b_classes.json"


def test_two_visitors_at_once_get_their_own_results(
    new_tab: Callable[[], "Page"], address: str, folder: Path, tmp_path: Path
) -> None:
    requests = {"a.png": ("zebra", "grass"), "b.png": ("tiger", "sand", "water")}
    tabs = {picture: new_tab() for picture in requests}
    for picture, labels in requests.items():
        visit(tabs[picture], address, picture=folder / "pictures" / picture, labels=", ".join(labels))
    for tab in tabs.values():
        tab.get_by_role("button", name="Segment").click(no_wait_after=True)
    for picture, labels in requests.items():
        message(tabs[picture], f"{picture}: 48 x 40 pixels, {len(labels)} classes")
        assert rows(tabs[picture]) == legend_rows(predicted(folder, picture, labels))
        classes = json.loads(saved(tabs[picture], "Classes", tmp_path / f"{picture}.json").read_text())
        assert (classes["picture"], classes["request"]["labels"]) == (picture, list(labels))
