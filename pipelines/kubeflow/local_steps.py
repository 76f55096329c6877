"""Steps of a local run in forks of one interpreter; `kfp.local` starts one for each, which imports torch, MLflow and kfp anew."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path

from components.launching import warm_interpreter
from components.launching.warm_interpreter import Forked

EXECUTOR = "kfp.dsl.executor_main"
RUNTIME = "_KFP_RUNTIME"
"""The variable by which a step's process imports the part of kfp that it needs."""
SHELL = 3
"""A component's command begins with so many words of a shell, which writes the next one, its code, to a file."""


@contextmanager
def in_forks() -> Iterator[None]:
    """Let `kfp.local` run steps in forks during the block, where this system has them."""
    from kfp.local import subprocess_task_handler

    plain, before = subprocess_task_handler.run_local_subprocess, os.environ.get(RUNTIME)
    os.environ[RUNTIME] = "true"  # for the interpreter that starts now
    try:
        has_forks = warm_interpreter.start([EXECUTOR])
    finally:
        del os.environ[RUNTIME]
        os.environ |= {} if before is None else {RUNTIME: before}
    try:
        if has_forks:
            subprocess_task_handler.run_local_subprocess = run_step
        yield
    finally:
        subprocess_task_handler.run_local_subprocess = plain


def run_step(full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
    """Run a component's command in a fork, print its lines as they come, and return its exit code."""
    assert EXECUTOR in full_command[SHELL - 1], f"no lightweight component: {full_command[:SHELL]}"
    code, *words = full_command[SHELL:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ephemeral_component.py")
        path.write_text(code, encoding="utf-8")
        reader, writer = Pipe(duplex=False)
        step = Forked(
            words[-1],
            ["--component_module_path", str(path), *words],
            function=f"{__name__}:execute",
            cwd=os.getcwd(),  # noqa: PTH109 (a text)
            env={**os.environ, **(env_vars or {}), RUNTIME: "true"},
            streams=[writer, writer],
        )
        writer.close()
        with reader, open(reader.fileno(), encoding="utf-8", errors="replace", closefd=False) as lines:
            for line in lines:
                print(line, end="")
        print("\n")  # as kfp.local does
        return step.wait()


def execute(words: list[str]) -> None:
    """Execute a component in this process, as `python -m kfp.dsl.executor_main` does."""
    from kfp.dsl.executor_main import executor_main

    sys.argv = [EXECUTOR, *words]
    executor_main()
