"""Every command block of README and docs runs, or says in a comment why it cannot: `make docs`."""

import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.workstation.workflow import stage_environment
from tests.document_blocks import DATA, ROOT, Block, blocks, pages

ALL = [block for page in pages() for block in blocks(page)]
RUN = {page: [block for block in ALL if block.page == page and block.runs] for page in pages()}
FINISHED = ROOT / "outputs" / "register"
NEEDS = ("data", "outputs", "mlruns", "reports", "params.yaml", "dvc.yaml")
SCENES = ROOT / "cascade_core" / "shipped" / "pictures"
SECONDS = 900
OWN_STORE = "[ ! -f mlruns/mlflow.db ] || cascade-clip relocate"
"""Makes the copied store use the copied files."""


def test_each_block_runs_or_gives_a_reason() -> None:
    counts = Counter("runs" if block.runs else "has a reason" if block.reason else "data" for block in ALL)
    assert counts["runs"] >= 20, counts
    assert counts["runs"] + counts["has a reason"] + counts["data"] == len(ALL)
    for block in ALL:
        where = f"{block.page.name}:{block.line}"
        assert block.reason is None or len(block.reason.split()) >= 3, f"{where}: give a reason"
        assert block.kind in ("", "sh", "python", *DATA), f"{where}: unknown kind of block {block.kind!r}"
        assert not (block.reason and block.kind in DATA), f"{where}: {block.kind} is never run"


def test_marked_blocks_are_few() -> None:
    marked = [block for block in ALL if block.reason]
    assert len(marked) < 60, "\n".join(f"{block.page.name}:{block.line}: {block.reason}" for block in marked)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder like the project's after `make run`, with the photographs that the pages name."""
    if not FINISHED.is_dir():
        pytest.skip("the pages need the outputs of `make run`; run it first")
    for name in NEEDS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        elif source.exists():
            shutil.copy(source, tmp_path / name)
    scenes = sorted(SCENES.glob("*.jpg"))
    for target, scene in zip(
        ("photo.jpg", "photos/a.jpg", "more/b.jpg", "photo.png", "one.png"), scenes, strict=False
    ):
        (tmp_path / target).parent.mkdir(exist_ok=True)
        if target.endswith(".png"):
            from PIL import Image

            Image.open(scene).save(tmp_path / target)
        else:
            shutil.copy(scene, tmp_path / target)
    (tmp_path / "labels.txt").write_text("zebra\ngrass\nwater\n")
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.docs
@pytest.mark.parametrize("page", [page for page, listed in RUN.items() if listed], ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    script = folder / "page.sh"
    script.write_text(f"set -euo pipefail\n{OWN_STORE}\n" + "".join(commands(RUN[page])))
    environment = {
        **stage_environment(),
        "PYTHONPATH": str(ROOT),
        "TERM": "dumb",
        "CASCADE_HOME": str(folder / "home"),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment.pop("CASCADE_TRACKING", None)
    done = subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-6000:]}"


def commands(listed: list[Block]) -> Iterator[str]:
    """Yield the blocks as one script, so that a variable of one block lives in the next.

    A Python block follows the Python blocks before it, whose names it may use.
    """
    python = ""
    for block in listed:
        yield f"echo '=== {block.page.name}:{block.line}'\n"
        if block.file is not None:
            yield f"cat > {shlex.quote(block.file)} <<'END_OF_FILE'\n{block.text}END_OF_FILE\n"
        elif block.kind == "python":
            python += block.text
            yield f"{shlex.quote(sys.executable)} - <<'END_OF_PYTHON'\n{python}END_OF_PYTHON\n"
        else:
            yield block.text
