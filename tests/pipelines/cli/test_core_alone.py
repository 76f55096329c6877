"""The project without its extras: it predicts, helps, and says which extra a command needs."""

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cascade_core.runtime.extras import DISTRIBUTIONS, missing_package
from tests.requirements import closure, normal, project

ROOT = Path(__file__).parents[3]
OF_USERS = [name for name in project()["optional-dependencies"] if name != "dev"]
"""The extras but that of developers."""
PACKAGES = ("cascade_clip", "cascade_core", "components", "pipelines")
SERVER = ["--host", "http://localhost:1"]
NEEDED = {
    "pipeline": [
        ["pipeline", "compile", "--out", "pipeline.yaml"],
        ["pipeline", "schedule", "list", *SERVER],
        ["pipeline", "schedule", "create", *SERVER, "--name", "n", "--cron", "0 3 * * *"],
        ["fetch", "s3://bucket/key", "--to", "file"],
        ["models", "list"],
        ["splits", "--prepared", ".", "--protocol", "mini-18-6", "--out", "out"],
        ["report", "--evaluation", ".", "--profile", ".", "--out", "out"],
    ],
    "demo": [["demo"]],
    "serve": [["models", "serve", "mini-18-6-cascade_clip"]],
}
"""Commands that need an extra; they say so, whatever else is wrong with their arguments."""


def requirements(names: list[str]) -> list[Requirement]:
    optional = project()["optional-dependencies"]
    return [Requirement(line) for name in names for line in optional[name]]


def hidden_modules() -> list[str]:
    """Return the modules that only the extras bring to this environment."""
    core = closure([Requirement(line) for line in project()["dependencies"]]) | {project()["name"]}
    extra = closure(requirements(list(project()["optional-dependencies"]))) - core
    brought = metadata.packages_distributions()
    return [
        module for module, packages in brought.items() if {normal(package) for package in packages} <= extra
    ]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, object]:
    """What `without_packages.py` prints without the modules of the extras."""
    folder = tmp_path_factory.mktemp("work")
    predict = [
        "predict",
        "examples",
        "--model",
        "mini",
        "--labels",
        "snake, onion, turtle, water, lava",
        "--out",
        "predictions",
    ]
    commands = [predict, ["doctor"], *(words for several in NEEDED.values() for words in several)]
    modules = hidden_modules()
    assert {"kfp", "dvc", "mlflow", "boto3", "pandas", "granian", "starlette", "onnx", "google"} <= {*modules}
    assert {"torch", "numpy", "PIL", "open_clip", "typer"}.isdisjoint(modules)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("without_packages.py"))],
        input=json.dumps({"modules": modules, "commands": commands}),
        cwd=folder,
        env={"PATH": "", "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {"folder": folder, **json.loads(done.stdout.splitlines()[-1])}


def test_predicting_needs_no_extra(answer: Mapping[str, object]) -> None:
    code, output, _ = answer["commands"][0]
    assert code == 0, output
    classes = json.loads((answer["folder"] / "predictions" / "scene_0037_classes.json").read_text())[
        "classes"
    ]
    assert {entry["label"] for entry in classes} == {"snake", "onion", "turtle", "water", "lava"}
    assert answer["imported"] == []


def test_predicting_does_not_import_the_compiler_of_torch(answer: Mapping[str, object]) -> None:
    assert answer["slow"] == []


def test_the_doctor_needs_no_extra(answer: Mapping[str, object]) -> None:
    code, output, error = answer["commands"][1]
    assert code == 0, (output, error)
    assert "note     tracking      mlflow is not installed" in output


def test_every_command_helps_without_extras(answer: Mapping[str, object]) -> None:
    assert len(answer["helps"]) > 30
    for code, output, error in answer["helps"]:
        assert code == 0 and "Example:" in output, error


def test_a_command_says_which_extra_it_needs(answer: Mapping[str, object]) -> None:
    expected = [(extra, words) for extra, several in NEEDED.items() for words in several]
    for (extra, words), (code, output, error) in zip(expected, answer["commands"][2:], strict=True):
        sentence = f'which is not installed: pip install "cascade-clip-workflow[{extra}]"\n'
        assert code == 2 and output.endswith(sentence) and output.count("\n") == 1, (words, output, error)
    assert 'evaluation needs the package pandas, which is not installed: pip install "' in answer["evaluate"]


def test_a_wrong_module_name_stays_a_defect() -> None:
    for name in ("no_such_package", "kfp.no_such_module", "components.no_such_module", None):
        assert missing_package(ModuleNotFoundError("gone", name=name)) is None


def test_every_import_is_of_a_required_package() -> None:
    required = {normal(Requirement(line).name) for line in project()["dependencies"]}
    required |= {normal(need.name) for need in requirements(OF_USERS)}
    strangers = {}
    for file in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for module in imported(file) - {*sys.stdlib_module_names, *PACKAGES}:
            if normal(DISTRIBUTIONS.get(module, module)) not in required:
                strangers[module] = file.name
    assert strangers == {}


def imported(file: Path) -> set[str]:
    """Return the top-level modules that a file imports anywhere."""
    nodes = [*ast.walk(ast.parse(file.read_text()))]
    plain = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    parts = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in (*plain, *parts)}


def test_a_package_has_one_requirement_in_all_extras() -> None:
    lines: dict[str, set[str]] = {}
    for need in [*requirements(OF_USERS), *(Requirement(line) for line in project()["dependencies"])]:
        if need.name != project()["name"]:  # an extra may bring others
            lines.setdefault(normal(need.name), set()).add(str(need))
    assert {name: several for name, several in lines.items() if len(several) > 1} == {}


def test_developers_have_every_extra_but_the_largest() -> None:
    (own,) = (need for need in requirements(["dev"]) if need.name == project()["name"])
    assert own.extras == {*OF_USERS} - {"ray"}


@pytest.mark.parametrize("module", sorted(DISTRIBUTIONS))
def test_the_package_of_a_module_is_known(module: str) -> None:
    package = DISTRIBUTIONS[module]
    known = {normal(need.name) for need in requirements(OF_USERS)}
    assert normal(package) in known | {normal(Requirement(line).name) for line in project()["dependencies"]}
    assert missing_package(ModuleNotFoundError(name=module)) is not None
