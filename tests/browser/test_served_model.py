"""The pages of `cascade-clip models serve`: the start page, and the demo of the served model behind its link."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests
from PIL import Image

from tests.components.candidates import write_model
from tests.components.model_server import PROGRAM, register_served, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

SECONDS = 60_000
"""The longest time for an answer, in milliseconds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, _empty_store: Path) -> Path:
    """A store with one registered model, the champion, and a picture."""
    folder = register_served(write_model(tmp_path_factory.mktemp("served")), _empty_store)
    levels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((48, 40)).save(folder / "picture.png")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder, PROGRAM, "models", "serve", "served", OMP_NUM_THREADS="1") as (url, _):
        yield url


def test_the_start_page_leads_to_a_demo_that_segments(tab: "Page", address: str, folder: Path) -> None:
    tab.goto(address)
    assert "models:/served" in tab.title()
    assert f"{address}/segment" in tab.get_by_label("Command to paste").inner_text()
    tab.get_by_role("link", name="Try it in the browser").click()
    tab.get_by_role("button", name="Segment").wait_for(timeout=SECONDS)
    tab.locator("input[type=file]").set_input_files(folder / "picture.png")
    tab.get_by_role("img", name="The photograph to segment").wait_for(timeout=SECONDS)
    tab.get_by_label("Class names").fill("zebra, tiger, sand")
    tab.get_by_role("button", name="Segment").click()
    tab.locator(".prediction tbody tr").first.wait_for(timeout=SECONDS)
    names = [row.split()[0] for row in tab.locator(".prediction tbody tr").all_inner_texts()]
    answer = requests.post(
        f"{address}/segment?labels=zebra,tiger,sand&format=json",
        data=(folder / "picture.png").read_bytes(),
        timeout=60,
    ).json()
    assert names == [area["label"] for area in answer["classes"]]


@pytest.mark.parametrize("page", ["health", "ready", "metrics"])
def test_the_links_of_the_start_page_answer(tab: "Page", address: str, page: str) -> None:
    tab.goto(address)
    tab.get_by_role("link", name=f"/{page}").click()
    tab.wait_for_url(f"{address}/{page}")
    if page == "metrics":
        assert 'path="/"' in tab.content()
