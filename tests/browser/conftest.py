"""Chromium without a window for the tests `browser`: a tab fails its test on console errors and on foreign requests."""

import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

WIDTH, HEIGHT = 1280, 900
LOCAL = (None, "127.0.0.1", "localhost")


@pytest.fixture(scope="session")
def browser() -> Iterator[playwright.Browser]:
    """Start Debian's Chromium once, for all tests."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium; `apt-get install chromium`")
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox does not work for root, which runs tests in containers.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def new_tab(browser: playwright.Browser) -> Iterator[Callable[[], playwright.Page]]:
    """Open tabs of visitors who share nothing; afterwards, none may have an error or have asked another machine."""
    complaints: list[str] = []
    contexts = []

    def open_tab() -> playwright.Page:
        contexts.append(browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}))
        tab = contexts[-1].new_page()
        tab.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: complaints.extend(_foreign(request.url)))
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def tab(new_tab: Callable[[], playwright.Page]) -> playwright.Page:
    """Open one tab."""
    return new_tab()


def _foreign(address: str) -> list[str]:
    return [] if urlsplit(address).hostname in LOCAL else [f"asked {address}"]
