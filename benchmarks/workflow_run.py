"""The whole workflow on the mini benchmark, `cascade-clip run` against `dvc repro`: `python -m benchmarks.workflow_run`.

`dvc repro` runs the stages one after the other, each with one thread and an interpreter of its own; `cascade-clip run`
runs them side by side. Both start in a fresh clone of this commit, with the data there and without outputs, by turns. The
scores of both must be equal to the byte. `--iterations 4` shortens the trainings, for a look at everything else.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from cascade_core.runtime.cores import THREADS_VARIABLE
from components.results.names import SCORES_FILE
from pipelines.graphs.project import PARAMETERS
from pipelines.workstation.workflow import stage_environment

REPOSITORY = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
SIDE_BY_SIDE = [str(PROGRAMS / "cascade-clip"), "run"]
ONE_AFTER_THE_OTHER = [str(PROGRAMS / "dvc"), "repro"]


def fresh_clone(folder: Path, iterations: int | None) -> Path:
    """Clone this commit into a new folder, and fetch the data and compile the code there.

    `iterations` replaces the number of the recipes' training iterations; self-training starts after half of them.
    """
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    _call(folder, [str(PROGRAMS / "dvc"), "pull", "data.dvc"])
    _call(folder, [sys.executable, "-m", "compileall", "-q", "cascade_core", "components", "pipelines"])
    if iterations is not None:
        parameters = yaml.safe_load((folder / PARAMETERS).read_text())
        half = max(1, iterations // 2)
        changes = {
            "train": {"iterations": iterations},
            "self_train": {"iterations": half, "start_iteration": half},
        }
        text = yaml.safe_dump({**parameters, "overrides": changes}, sort_keys=False)
        (folder / PARAMETERS).write_text(text)
    return folder


def seconds_of(command: list[str], clone: Path) -> float:
    """Run the workflow in a clone, and return the seconds that it took."""
    began = time.perf_counter()
    _call(clone, command)
    return time.perf_counter() - began


def scores_of(clone: Path) -> dict[str, bytes]:
    """Return the files of scores by their paths in the clone."""
    files = sorted((clone / "outputs" / "evaluate").glob(f"*/{SCORES_FILE}"))
    return {str(file.relative_to(clone)): file.read_bytes() for file in files}


def _call(clone: Path, command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != THREADS_VARIABLE}
    environment |= {**stage_environment(), THREADS_VARIABLE: "1", "PYTHONPATH": str(clone)}
    if command == SIDE_BY_SIDE:
        del environment[THREADS_VARIABLE]  # its own default
    for name in ("MLFLOW_TRACKING_URI", "CASCADE_TRACKING", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    done = subprocess.run(
        command,
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}"


def _round(folder: Path, iterations: int | None) -> tuple[float, float]:
    """Run the workflow in both ways; return the seconds of both, first those of `cascade-clip run`."""
    clones = [fresh_clone(folder / name, iterations) for name in ("sequential", "parallel")]
    sequential = seconds_of(ONE_AFTER_THE_OTHER, clones[0])
    parallel = seconds_of(SIDE_BY_SIDE, clones[1])
    scores = [scores_of(clone) for clone in clones]
    assert scores[0], "the workflow wrote no scores"
    assert scores[0] == scores[1], "the scores differ"
    print(
        f"one after the other {sequential:.0f} s, side by side {parallel:.0f} s, ratio {parallel / sequential:.2f}; "
        f"{len(scores[0])} files of scores equal; {load()}",
        flush=True,
    )
    return parallel, sequential


def measure(*, rounds: int, iterations: int | None = None) -> tuple[float, float]:
    """Return the median seconds of both ways, first those of `cascade-clip run`."""
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(_round(Path(folder), iterations))
    parallel, sequential = (statistics.median(way) for way in zip(*seconds, strict=True))
    return parallel, sequential


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--iterations", type=int, help="training iterations, for a look at everything else")
    options = parsed(parser)
    print(surroundings())
    parallel, sequential = measure(rounds=options.rounds, iterations=options.iterations)
    print(
        f"side by side / one after the other: {parallel:.0f} s / {sequential:.0f} s = {parallel / sequential:.2f}"
    )


if __name__ == "__main__":
    main()
