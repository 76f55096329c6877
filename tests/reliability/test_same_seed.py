"""One seed gives one training, whoever starts it and however many processes read its pictures.

pytest -m reliability --capture=no tests/reliability/test_same_seed.py
"""

import subprocess
import sys
from pathlib import Path

import pytest

from cascade_core.runtime.files import read_json
from components.steps import train
from components.tracking.tracker import flattened
from tests.components.conftest import SHORT, Folders, folders
from tests.components.same_training import check_same_training
from tests.reliability.small_project import small_project
from tests.workflow.conftest import FEW_ITERATIONS

__all__ = ["folders"]  # a fixture

pytestmark = pytest.mark.reliability


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # on two cores
@pytest.mark.parametrize("recipe", ["mini_zegclip", "mini_cascade_clip"])
def test_the_number_of_loading_workers_changes_nothing(folders: Folders, tmp_path: Path, recipe: str) -> None:
    for workers in (0, 1, 3):
        overrides = {**SHORT, "train.iterations": 12, "train.workers": workers}
        out = tmp_path / str(workers)
        train.run(**folders.steps, clip=folders.clip, recipe=recipe, overrides=overrides, seed=0, out=out)
        check_same_training(tmp_path / "0", out)
    print(f"\n{recipe}: equal weights and loss curve with 0, 1 and 3 workers")


def test_command_stage_and_pipeline_train_the_same(tmp_path: Path) -> None:
    project = small_project(tmp_path / "project")
    root = project.root

    def call(*words: str) -> None:
        program = Path(sys.executable).parent / "cascade-clip"
        done = subprocess.run(
            [program, *words],
            cwd=root,
            env=project.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    call("run", "train@zegclip")
    inputs = ("--prepared=outputs/prepared", "--splits=outputs/splits", "--text=outputs/text")
    recipe = ("--recipe=mini_zegclip", "--overrides=params.yaml", "--clip=data/mini/clip", "--seed=0")
    call("train", *inputs, *recipe, "--out=by_hand")
    few = [f"--set={key}={value}" for key, value in flattened(FEW_ITERATIONS).items()]
    call("pipeline", "run-local", "--recipe=mini_zegclip", *few, "--out=by_kubeflow")
    manifests = [
        path for path in (root / "by_kubeflow").rglob("manifest.json") if path.parent.name != "final"
    ]
    (by_kubeflow,) = (path.parent for path in manifests if read_json(path).get("step") == "train")
    check_same_training(root / "outputs/train/zegclip", root / "by_hand")
    check_same_training(root / "outputs/train/zegclip", by_kubeflow)
    print("\ncommand, DVC stage and pipeline run-local: equal weights and loss curve")
