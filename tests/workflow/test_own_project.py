"""A folder of one's own pictures becomes a served champion in one command, and every engine follows the label file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient

from cascade_core.clip.weights import ClipModel, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.mini.vocabulary import WORDS
from cascade_core.runtime.files import read_json
from components.registry.addresses import load_predictor
from pipelines.workstation.workflow import stage_environment
from tests.own_data import draw_own_data, write_labels
from tests.pipelines.kfp_server import Server, serving

pytestmark = pytest.mark.slow

FEW = ["--set", "train.iterations=4", "--set", "train.batch_size=4"]


def call(folder: Path, *words: str) -> str:
    """Run `cascade-clip` in a project, with a store of its own, and return its output."""
    program = Path(sys.executable).parent
    environment = {**stage_environment(), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns/mlflow.db"}
    environment.pop("CASCADE_TRACKING", None)
    done = subprocess.run(
        [program / words[0], *words[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout[-6000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project, outside any repository, from drawn pictures and a random CLIP, in one command."""
    folder = tmp_path_factory.mktemp("garden")
    draw_own_data(folder / "pictures", pictures=30)
    torch.manual_seed(1)
    save_clip(folder / "clip", ClipModel(MINI_CLIP), words=list(WORDS))
    words = ["pictures", "--labels", "pictures/garden.yaml", "--clip", "clip", "--hold-out", "val=0.2"]
    log = call(folder, "cascade-clip", "fit", *words, "--methods", "zegclip,naclip", *FEW)
    assert "serve    cascade-clip models serve garden" in log
    return folder


def unseen(splits: Path) -> list[str]:
    return list(read_json(splits / "split.json")["unseen"])


def stages(log: str) -> set[str]:
    return {
        line.split("'")[1].partition("@")[0] for line in log.splitlines() if line.startswith("Running stage")
    }


def test_one_command_ends_with_a_champion_that_answers(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project}/mlruns/mlflow.db")
    versions = client.search_model_versions("name = 'garden'")
    assert {version.tags["method"] for version in versions} == {"zegclip", "naclip"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CASCADE_TRACKING", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlruns/mlflow.db")
        model = load_predictor("models:/garden@champion")
    picture = next((project / "pictures" / "images").glob("*.png"))
    assert model.predict(picture, ["grass", "sand"]).label_map.shape == (64, 64)


def test_a_second_run_repeats_nothing(project: Path) -> None:
    assert stages(call(project, "cascade-clip", "fit")) <= {"package"}


def test_every_engine_follows_the_label_file(project: Path) -> None:
    write_labels(project / "pictures", unseen="water")
    log = call(project, "dvc", "repro")
    assert {"prepare", "splits", "train", "register_inductive"} <= stages(log)
    assert unseen(project / "outputs/splits") == ["water"]

    write_labels(project / "pictures", unseen="sand")
    call(project, "cascade-clip", "pipeline", "run-local", "--out", "local_outputs/kfp")
    (splits,) = (project / "local_outputs/kfp").glob("*/prepare/splits")
    assert unseen(splits) == ["sand"]

    write_labels(project / "pictures", unseen="grass")
    settings = yaml.safe_load((project / "params.yaml").read_text())
    settings["cluster"] = {"folder": str(project)}
    (project / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch, serving(Server(project / "server")) as server:
        patch.delenv("CASCADE_TRACKING", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlruns/mlflow.db")
        call(project, "cascade-clip", "pipeline", "submit", "--host", server.host, "--wait")
    (splits,) = (project / "server").glob("**/prepare/splits")
    assert unseen(splits) == ["grass"]
    versions = MlflowClient(f"sqlite:///{project}/mlruns/mlflow.db").search_model_versions("name = 'garden'")
    trained_unseen = {json.dumps(version.tags["protocol"]) for version in versions}
    assert len(trained_unseen) == 4
