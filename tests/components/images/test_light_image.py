"""The light image: its steps run without torch, and its packages do not require it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement

from cascade_core.mini.voc_layout import write_benchmark
from components.images.run_requirements import requirements
from tests.components.candidates import write_evaluation, write_model
from tests.requirements import closure

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(("image", "has_torch"), [("torch", True), ("light", False)])
def test_requirements_of_the_light_image_need_no_torch(image: str, has_torch: bool) -> None:
    names = closure([Requirement(line) for line in requirements(REPOSITORY / "pyproject.toml", image)])
    assert {"kfp", "mlflow", "pandas"} <= names
    assert ("torch" in names) == has_torch
    assert any(name.startswith("nvidia-") for name in names) == has_torch
    assert ("dvc" in names) == has_torch


def test_a_package_left_out_must_be_required(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch==1"]')
    with pytest.raises(
        ValueError, match="does not require dvc, open_clip_torch, .*which image 'light' leaves out"
    ):
        requirements(tmp_path / "pyproject.toml", "light")
    with pytest.raises(ValueError, match="no image 'cpu'; there are torch and light"):
        requirements(tmp_path / "pyproject.toml", "cpu")


@pytest.fixture
def results(store: Path, tmp_path: Path) -> dict[str, object]:
    """What `without_torch.py` prints."""
    raw = write_benchmark(tmp_path / "world", sizes={"train": 2, "val": 1, "test": 1})
    raw.rename(tmp_path / "raw")
    write_model(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "final").rename(tmp_path / "train" / "final")
    pd.DataFrame({"iteration": [1, 2], "loss": [3.0, 2.5]}).to_csv(tmp_path / "train" / "history.csv")
    classes = pd.DataFrame({"class": ["zebra", "tiger"], "group": ["seen", "unseen"], "iou": [0.6, 0.4]})
    write_evaluation(tmp_path / "evaluate")
    classes.to_csv(tmp_path / "evaluate" / "per_class.csv", index=False)
    printed = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("without_torch.py")), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        cwd=store,
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def test_light_steps_run_without_torch(results: dict[str, object]) -> None:
    assert {"report", "open_run", "close_run", "compare_targets", "take_champion"} <= {*results["steps"]}
    assert {"train", "prepare", "evaluate", "register"}.isdisjoint(results["steps"])
    help_code, error_code, message = results["commands"]
    assert (help_code, error_code) == (0, 2)
    assert message == (
        'error: this command needs the package torch, which is not installed: pip install "cascade-clip-workflow", '
        "or use the image with torch\n"
    )
    assert results["pictures"] == {"train": 2} and results["unseen"] == 6
    assert results["promote"] is True and results["pages"] == [True, True]
    assert results["outcome"] == "first" and results["champions"] == {}
    assert str(results["old results"]).startswith("# Old results")
