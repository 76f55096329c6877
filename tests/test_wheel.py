"""The wheel in fresh environments, outside the repository: without extras it predicts, with each extra its commands run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PACKAGES = ("cascade_clip", "cascade_core", "components", "pipelines")
FILES = ("pyproject.toml", "README.md", "LICENSE")
LABELS = "snake, onion, turtle, water, lava"
OF_EXTRAS = {
    "demo": (
        ["python", "-c", "import components.demo.page, components.demo.server"],
        ["cascade-clip", "demo", "--help"],
    ),
    "serve": (
        ["python", "-c", "from components.serving import server; from components.registry import registered_model"],
        ["cascade-clip", "models", "list"],
    ),
    "export": (["cascade-clip", "export", "mini", "--format", "onnx", "--out", "onnx"],),
    "openvino": (["cascade-clip", "export", "mini", "--format", "openvino", "--out", "openvino"],),
    "pipeline": (
        ["python", "-c", "import pipelines.workstation.stages"],
        ["cascade-clip", "pipeline", "compile", "--out", "pipeline.yaml"],
        ["cascade-clip", "profile", "--recipe", "mini_zegclip", "--out", "profile"],
    ),
}  # fmt: skip
"""Commands that need each extra and nothing besides it."""

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the source, since setuptools writes into the folder that it builds."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copyfile(ROOT / name, source / name)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(dist)]
    subprocess.run([sys.executable, "-m", *build, str(source)], check=True)
    (file,) = dist.glob("*.whl")
    return file


def installed(folder: Path, wheel: Path, extra: str = "") -> Run:
    """Make an environment with the wheel at the lock's versions; return a function that runs programs beside it."""
    uv = Path(sys.executable).with_name("uv")
    environment, work = folder / "environment", folder / "work"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python"),
            *("--constraint", ROOT / "requirements.lock", f"{wheel}[{extra}]" if extra else wheel),
        ],
        check=True,
    )
    work.mkdir()

    def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment / "bin" / program, *words],
            cwd=work,
            env={"PATH": os.defpath, "HOME": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The environment without extras, and its working folder."""
    folder = tmp_path_factory.mktemp("core")
    return installed(folder, wheel), folder / "work"


def test_the_command_writes_overlays(core: tuple[Run, Path]) -> None:
    run, work = core
    done = run("cascade-clip", "predict", "examples", "--model", "mini", "--labels", LABELS, "--overlay")
    assert done.returncode == 0, done.stderr
    results = work / "local_outputs" / "predictions"
    assert sorted(map(str, results.glob("*_overlay.png"))) == sorted(
        str(work / line) for line in done.stdout.splitlines()
    )
    classes = json.loads((results / "scene_0037_classes.json").read_text())["classes"]
    assert {entry["label"] for entry in classes} == set(LABELS.split(", "))
    picture = np.array(Image.open(results / "scene_0037_overlay.png"))
    assert picture.ndim == 3 and len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 100


def test_python_predicts_and_loads_from_the_wheel(core: tuple[Run, Path]) -> None:
    run, _ = core
    program = f"""
import cascade_clip
model = cascade_clip.Predictor.load("mini")
prediction = model.predict(cascade_clip.example_pictures()[-1], {LABELS.split(", ")!r})
print(cascade_clip.__file__, prediction.label_map.shape, len(prediction.areas))
"""
    done = run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    file, shape = done.stdout.split(maxsplit=1)
    assert "site-packages" in file and shape == "(64, 64) 5\n"


def test_the_core_brings_no_package_of_the_pipeline(core: tuple[Run, Path]) -> None:
    run, _ = core
    program = """
from importlib.metadata import distributions
print(*sorted(item.name.lower() for item in distributions()))
"""
    names = run("python", "-c", program).stdout.split()
    assert {"torch", "open-clip-torch", "cascade-clip-workflow"} <= {name.replace("_", "-") for name in names}
    assert not {"kfp", "dvc", "mlflow", "boto3", "kubernetes", "pandas", "pyarrow", "granian", "gradio"} & {
        *names
    }


@pytest.mark.parametrize("extra", OF_EXTRAS)
def test_the_commands_of_an_extra_need_no_other(extra: str, wheel: Path, tmp_path: Path) -> None:
    run = installed(tmp_path, wheel, extra)
    for words in OF_EXTRAS[extra]:
        done = run(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
