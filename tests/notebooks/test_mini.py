"""The notebook runs from top to bottom in a fresh folder with the mini benchmark's data: `make notebook`."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK, DATA = ROOT / "notebooks" / "mini.ipynb", ROOT / "data" / "mini"


def cells() -> list[dict[str, Any]]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_notebook_is_committed_without_outputs() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.notebook
@pytest.mark.filterwarnings("default")  # the kernel's own libraries warn
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    if not (DATA / "clip").is_dir():
        pytest.skip("the notebook needs data/mini; run `dvc pull`")
    shutil.copytree(DATA, tmp_path / "data" / "mini")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    scores = json.loads((tmp_path / "local_outputs/notebook/own/evaluate/scores.json").read_text())
    assert scores["protocol"].startswith("garden-") and scores["pAcc"] > 0.2
    printed = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any(output.get("data", {}).get("image/png") for output in printed)
