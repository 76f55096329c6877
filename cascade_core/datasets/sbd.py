"""Read annotations of SBD (Hariharan et al., ICCV 2011), from which most training label maps of VOC 2012 come.

SciPy's parser crashes the process on some damaged files, so that a child process reads them.
"""

import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.runtime.listing import shortened

MOST_BYTES = 2**20
"""Limit on an annotation's file. SBD's largest have a few thousand bytes."""
MOST_MEMORY = 2**28
"""Limit on what reading an annotation adds to the child process's memory; a file may unpack to a thousand times its size."""
SECONDS = 60
"""Limit on the time for one annotation, which includes the start of the child process."""


def read_mat(path: Path, num_classes: int) -> UInt8[np.ndarray, "height width"]:
    """Read the label map in an SBD annotation: the field Segmentation of the structure GTcls.

    Raises:
        UserError: the file is no such MATLAB file, or has other ids than 0 to `num_classes` and 255.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise UserError(
            f"{path}: has more than {MOST_BYTES:,} bytes, which no annotation of SBD has; fetch SBD again"
        )
    ids = _CHILD.read(path)
    if isinstance(ids, str):
        raise UserError(
            f"{path}: no annotation of SBD ({ids}), expected a MATLAB file with "
            "GTcls.Segmentation; fetch SBD again, and give it with an empty --raw"
        )
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(
            f"{path}: GTcls.Segmentation is {ids.dtype} of shape {ids.shape}, expected a map of ids"
        )
    strays = np.setdiff1d(np.unique(ids), [*range(num_classes + 1), IGNORE])
    if strays.size:
        raise UserError(f"{path}: ids {strays.tolist()[:10]} are none of 0..{num_classes} and {IGNORE}")
    return ids.astype(np.uint8)


class _Child:
    """A process that reads one annotation at a time; it starts before the first, and again after a crash.

    It ends when its parent ends for any reason, because that closes the pipe.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: tuple[BaseProcess, Connection] | None = None

    def read(self, path: Path) -> Any:
        """Return the array in an annotation, or a text that says why there is none."""
        with self._lock:
            if self._running is not None and not self._running[0].is_alive():
                self._stop(*self._running)
            if self._running is None:
                self._running = self._start()
            process, connection = self._running
            try:
                connection.send(path)
                if connection.poll(SECONDS):
                    return connection.recv()
                reason = f"SciPy does not finish it in {SECONDS} s"
            except (EOFError, OSError):
                reason = "SciPy crashes on it"
            except BaseException:
                self._stop(process, connection)
                raise
            self._stop(process, connection)
            return reason

    def _start(self) -> tuple[BaseProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        connection, other = context.Pipe()
        process = context.Process(target=_serve, args=(other,), daemon=True)
        process.start()
        other.close()
        return process, connection

    def _stop(self, process: BaseProcess, connection: Connection) -> None:
        process.kill()
        process.join()
        connection.close()
        self._running = None


_CHILD = _Child()


def _serve(connection: Connection) -> None:
    """Answer each path with the array or the error in it, until the parent closes the pipe or ends."""
    from scipy.io import loadmat  # slow to import

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process.
    _limit_memory()
    while True:
        try:
            path = connection.recv()
        except EOFError:
            return
        try:
            answer: Any = np.asarray(loadmat(path, squeeze_me=True)["GTcls"]["Segmentation"].item())
            answer = f"it holds {answer.dtype} values" if answer.dtype.hasobject else answer
        except Exception as error:  # loadmat's parser raises many kinds of exceptions
            answer = shortened(f"{type(error).__name__}: {error}")
        connection.send(answer)


def _limit_memory() -> None:
    """Let allocations fail that would take more than `MOST_MEMORY`, where the system has such limits."""
    import psutil

    if hasattr(psutil, "RLIMIT_AS"):
        process = psutil.Process()
        most = process.memory_info().vms + MOST_MEMORY
        process.rlimit(psutil.RLIMIT_AS, (most, most))
