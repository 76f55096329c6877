"""Commands and steps of this package in forks of one process that has imported torch and MLflow already.

An interpreter needs seconds for these imports, and most stages compute for a few seconds only. The process imports no
module of this package: a stage runs the code as it is when the stage starts.
"""

import atexit
import importlib
import multiprocessing
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import Literal

PROGRAM = "cascade-clip"
START_METHOD: Literal["forkserver"] = "forkserver"
LIBRARIES = [
    "torch",
    "torch._dynamo",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "matplotlib.figure",
    "PIL.Image",
    "jinja2",
    "rich.progress",
    "typer",
]
SHELLS_OWN = set("|&;<>()$`\\*?[]{}#~!\n")
"""Characters by which a shell would change a command."""

_processes = Lock()
"""Held while a process is started or its end is read: starting one, multiprocessing also looks for the ends of others."""


def start(further: Sequence[str] = ()) -> bool:
    """Let the process begin to import its libraries and `further` ones, in the background; return whether this system has one.

    On macOS a fork of a process with its system libraries loaded may crash; Windows has no forks.
    """
    if not sys.platform.startswith("linux"):
        return False
    multiprocessing.get_context(START_METHOD).set_forkserver_preload([*LIBRARIES, *further])
    forkserver.ensure_running()
    return True


def own_words(command: str) -> list[str] | None:
    """Return the words of a command of this package, without its name; None if it needs a shell or another program."""
    if SHELLS_OWN & set(command):
        return None
    program, *words = shlex.split(command)
    return words if program == PROGRAM else None


class Forked:
    """A function of this package that runs in a fork, with the interface of `subprocess.Popen` as far as it is used.

    `function` (MODULE:NAME) takes the list of `words`. `streams` take its standard output and error; without them it shares
    those of this process.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        function: str,
        cwd: str,
        env: Mapping[str, str],
        streams: Sequence[Connection] = (),
    ) -> None:
        context = multiprocessing.get_context(START_METHOD)
        arguments = (function, list(words), cwd, dict(env), list(streams))
        self._process: BaseProcess = context.Process(target=_run, args=arguments, name=name)
        with _processes:
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def wait(self) -> int:
        """Wait for the end and return the exit code, below 0 after a signal."""
        wait([self._process.sentinel])
        with _processes:
            self._process.join()
            assert self._process.exitcode is not None
            return self._process.exitcode


def _run(
    function: str, words: Sequence[str], cwd: str, env: Mapping[str, str], streams: Sequence[Connection]
) -> None:
    """Run a function in the fork, as a console script would."""
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
    for stream in streams:
        stream.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [PROGRAM, *words]
    multiprocessing.set_start_method(None, force=True)  # the command's own processes start as they usually do
    try:
        module, _, name = function.partition(":")
        getattr(importlib.import_module(module), name)(list(words))
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing ends without them
