"""MLflow's own pages in a browser that nobody used before: the address that a step logs shows its run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.tracking.page_links import where_runs_of
from components.tracking.pipeline_run import whole_run
from components.tracking.tracker import tracked_step
from tests.components.tracking_server import TrackingServer, started

pytestmark = pytest.mark.browser

PROTOCOL = "mini-18-6"


@pytest.fixture
def server(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    running = started(tmp_path, store / "mlruns" / "mlflow.db", monkeypatch)
    yield running
    running.stop()


def test_a_fresh_browser_shows_the_table_of_runs(server: TrackingServer, browser: Any) -> None:
    with whole_run(pipeline="reproduce", protocol=PROTOCOL), tracked_step("splits", protocol=PROTOCOL):
        pass
    (address,) = where_runs_of(PROTOCOL)
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(address)
    tab.get_by_role("link", name="reproduce", exact=True).wait_for(timeout=60_000)
    assert "24 classes, of which unseen: tiger" in tab.inner_text("body")
    context.close()
