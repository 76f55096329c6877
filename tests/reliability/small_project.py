"""A copy of the repository whose whole workflow takes minutes: sixteen pictures, a few iterations."""

import shutil
from pathlib import Path

from cascade_core.mini.voc_layout import write_benchmark
from tests.workflow.conftest import FEW_ITERATIONS, Workflow, copy_of_repository


def small_project(root: Path) -> Workflow:
    """Make the copy, with the mini benchmark's CLIP and without DVC's data."""
    project = copy_of_repository(root)
    project.set_parameters(overrides=FEW_ITERATIONS)
    project.dvc("pull", "-q", "data.dvc")
    (root / "data.dvc").unlink()
    write_benchmark(root / "few", sizes={"train": 8, "val": 4, "test": 4, "test2": 4})
    shutil.rmtree(root / "data" / "mini" / "VOCdevkit")
    shutil.move(root / "few" / "VOCdevkit", root / "data" / "mini")
    shutil.rmtree(root / "few")
    return project
