"""Runs the commands of DVC's stages, several at a time, and labels each line that they print with the stage."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Any, TextIO

import psutil
from dvc.stage import Stage
from dvc.stage import run as dvc_run
from dvc.stage.exceptions import StageCmdFailedError

from components.launching import warm_interpreter
from components.launching.warm_interpreter import Forked, own_words

log = logging.getLogger(__name__)

COMMANDS = "pipelines.cli.app:app"
"""What a fork calls for a command of this package."""

Command = Forked | subprocess.Popen[bytes]

YOUNG = 0.5
"""A command that started so many seconds before an interrupt may have started after the signal to its group."""
LAST_LINES = 5.0
"""For so many seconds after the end of a command its last lines are waited for."""


class StageCommands:
    """Takes the place of `dvc.stage.run.cmd_run`, which runs the command of a stage.

    Of DVC itself, one thread runs at a time: that which holds `turn`. A thread gives it up while its command runs. With
    `labels`, a command's output is read and printed line by line, each behind the name of its stage; otherwise a
    command has the terminal to itself.
    """

    def __init__(self, *, labels: bool, width: int = 0) -> None:
        self.turn = Lock()
        self._labels = labels
        self._width = width
        self._warm = False
        self._stop: float | None = None
        self._started: dict[Command, float] = {}
        self._interrupted: set[Command] = set()
        self._starting = Lock()
        self._printing = Lock()

    def __call__(self, stage: Stage, dry: bool = False, run_env: dict[str, str] | None = None) -> None:
        """Run the commands of a stage; as in DVC, the caller holds no lock of the repository.

        Raises:
            StageCmdFailedError: a command failed, or the workflow was interrupted.
        """
        assert not dry, "a dry run has no use for several stages at a time"
        keywords = dvc_run.prepare_kwargs(stage, run_env=run_env)
        dvc_run.logger.info("Running stage '%s':", stage.addressing)
        for command in [stage.cmd] if isinstance(stage.cmd, str) else stage.cmd:
            dvc_run.display_command(command)
            self.turn.release()
            try:
                status = self._run(stage.addressing, command, keywords)
            finally:
                self.turn.acquire()
            if status:
                raise StageCmdFailedError(command, status)

    def stop(self) -> None:
        """Start no further command; a handler of SIGINT may call this, because it waits for no lock."""
        if self._stop is None:
            self._stop = time.monotonic()

    def stopped(self) -> bool:
        """Return whether `stop` was called; interrupt commands that were too young for the signal to the whole group."""
        if self._stop is None:
            return False
        with self._starting:
            young = {command for command, began in self._started.items() if began > self._stop - YOUNG}
            missed = young - self._interrupted
            self._interrupted |= missed
        for command in missed:
            _interrupt(command)
        return True

    def memory(self) -> list[int]:
        """Return the bytes that each running command and its children hold."""
        with self._starting:
            commands = list(self._started)
        return [_memory(command.pid) for command in commands]

    def _run(self, name: str, command: str, keywords: dict[str, Any]) -> int:
        with self._output(name) as streams:
            with self._starting:
                if self._stop is not None:
                    raise StageCmdFailedError(command)
                process = self._start(name, command, keywords, streams)
                self._started[process] = time.monotonic()
            for stream in streams:
                stream.close()
            status = process.wait()
            with self._starting:
                del self._started[process]
        return status

    def _start(self, name: str, command: str, keywords: dict[str, Any], streams: list[Connection]) -> Command:
        """Start a command; the first one in an interpreter of its own, while the one for all others imports."""
        words = own_words(command)
        if words is not None and self._warm:
            try:
                return Forked(
                    name,
                    words,
                    function=COMMANDS,
                    cwd=keywords["cwd"],
                    env=keywords["env"],
                    streams=streams,
                )
            except (OSError, EOFError) as error:
                log.warning(
                    "the process that imports for all stages has ended (%r); %s imports itself", error, name
                )
        elif words is not None:
            self._warm = warm_interpreter.start()
        if streams:
            keywords = {**keywords, "stdout": streams[0].fileno(), "stderr": streams[1].fileno()}
        shell = dvc_run._make_cmd(dvc_run.get_executable(), command)
        process: subprocess.Popen[bytes] = subprocess.Popen(shell, **keywords)
        return process

    @contextmanager
    def _output(self, name: str) -> Iterator[list[Connection]]:
        """Yield two ends of pipes, for a command's output and errors; after the block their lines are printed."""
        if not self._labels:
            yield []
            return
        pipes = [Pipe(duplex=False) for _ in (1, 2)]
        printers = [
            Thread(target=self._print_lines, args=(name, reader, stream), daemon=True)
            for (reader, _), stream in zip(pipes, (sys.stdout, sys.stderr), strict=True)
        ]
        for printer in printers:
            printer.start()
        try:
            yield [writer for _, writer in pipes]
        finally:
            for _, writer in pipes:
                writer.close()
            for printer in printers:
                # No longer: what a command left in the background may keep a pipe open.
                printer.join(LAST_LINES)

    def _print_lines(self, name: str, reader: Connection, stream: TextIO) -> None:
        # A carriage return, as of a progress bar, ends a line too.
        with reader, open(reader.fileno(), encoding="utf-8", errors="replace", closefd=False) as lines:
            for line in lines:
                with self._printing:
                    print(f"{name:<{self._width}} | {line.rstrip()}", file=stream, flush=True)


def _interrupt(command: Command) -> None:
    if sys.platform == "win32":  # there Ctrl-C reaches every process of the console
        return
    try:
        psutil.Process(command.pid).send_signal(signal.SIGINT)
    except psutil.NoSuchProcess:
        return


def _memory(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0
