"""Commands in forks of one process: output, exit code, working folder and environment are those of an own interpreter."""

import json
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest

from components.launching.warm_interpreter import own_words

needs_forks = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are used on Linux only")

# In a process of its own, because a fork server lasts as long as the process that started it. It imports typer only:
# torch takes seconds.
SCRIPT = """
import json, os, sys, threading
from multiprocessing import Pipe
from components.launching import warm_interpreter
from components.launching.warm_interpreter import Forked

def run(*words, cwd=".", **variables):
    pipes = [Pipe(duplex=False) for _ in range(2)]
    command = Forked("a stage", words, function="pipelines.cli.app:app", cwd=cwd, env={**os.environ, **variables}, streams=[writer for _, writer in pipes])
    for _, writer in pipes:
        writer.close()
    status = command.wait()
    return [status, *(os.read(reader.fileno(), 65536).decode() for reader, _ in pipes)]

if __name__ == "__main__":
    warm_interpreter.LIBRARIES = ["typer"]
    assert warm_interpreter.start()
    results = {"version": run("--version"), "unknown": run("unknown")}
    results["folder"] = run("splits", "--prepared=empty", "--protocol=mini-18-6", cwd=sys.argv[1])
    results["variable"] = run("splits", "--prepared=empty", "--protocol=mini-18-6", CASCADE_TRACKING="plugin")
    both = [threading.Thread(target=lambda: results.setdefault("together", []).append(run("--version"))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run several commands, each in a fork."""
    folder = tmp_path_factory.mktemp("forks")
    (folder / "empty").mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@needs_forks
def test_a_fork_prints_to_its_own_streams(results: dict[str, Any]) -> None:
    version = f"cascade-clip {metadata.version('cascade-clip-workflow')}\n"
    assert results["version"] == [0, version, ""]
    assert results["together"] == [[0, version, ""]] * 2


@needs_forks
def test_a_fork_ends_with_the_command_s_exit_code(results: dict[str, Any]) -> None:
    status, _, errors = results["unknown"]
    assert status == 2
    assert "No such command 'unknown'" in errors


@needs_forks
def test_a_fork_has_its_own_folder_and_environment(results: dict[str, Any]) -> None:
    status, _, errors = results["folder"]
    assert (status, errors.partition(";")[0]) == (2, "error: empty/summary.json does not exist")
    status, _, errors = results["variable"]
    assert status == 2
    assert "KFP_MLFLOW_CONFIG" in errors


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "cascade-clip train --seed=0 --overrides=params.yaml",
            ["train", "--seed=0", "--overrides=params.yaml"],
        ),
        ("cascade-clip splits --protocol='a b.yaml'", ["splits", "--protocol=a b.yaml"]),
        ("cascade-clip --version > version.txt", None),
        ("cascade-clip train --seed=$SEED", None),
        ("cascade-clip splits\ncascade-clip train", None),
        ("python -m cascade-clip", None),
    ],
)
def test_a_command_that_needs_a_shell_gets_one(command: str, words: list[str] | None) -> None:
    assert own_words(command) == words


def test_this_module_imports_no_slow_package() -> None:
    """The interpreter that forks imports it, and so does every fork."""
    code = "import sys, pipelines.workstation.repro, components.launching.warm_interpreter as _; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "mlflow", "dvc", "pandas", "numpy"} & {*modules}
