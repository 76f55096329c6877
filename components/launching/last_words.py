"""What the processes of a TrainJob leave on the volume, since Kubernetes removes the logs of failed jobs with their pods.

A process that refuses its input writes the sentence, which ends the job at once: its next tries would be refused, too.
torchrun writes each process's output to files; their ends explain any other failure.
"""

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.files import read_json, write_json
from components.servers.addresses import masked
from components.servers.patience import AwayError

FOLDER_VARIABLE = "CASCADE_LAST_WORDS"
"""The variable that names the folder for refusals."""
SHOWN_LINES, LAST_BYTES = 20, 16_384
SAME_TRY_SECONDS = 900.0
"""Errors of other nodes within this time are of one try: they follow from the first one."""
ERROR_FILE, OUTPUTS = "error.json", ("stderr.log", "stdout.log")
"""torchrun's names of the files of one process."""


class RefusalError(UserError):
    """A process of a TrainJob refused its input."""


def leave(error: BaseException, sentence: str) -> None:
    """Write the sentence with which this process refuses its input, if `CASCADE_LAST_WORDS` names a folder for it.

    What may pass until the next try is no refusal: a server that is away, a folder in use, the machine.
    """
    if not (folder := os.environ.get(FOLDER_VARIABLE)) or not isinstance(error, UserError):
        return
    from components.storage.lease import FolderInUseError

    passes = isinstance(error, AwayError | FolderInUseError) or isinstance(error.__cause__, OSError)
    if passes:
        return
    place = Path(folder) / f"{socket.gethostname()}-{os.environ.get('RANK', '0')}.json"
    write_json(place, {"exit_code": int(ExitCode.USER_ERROR), "sentence": masked(sentence)})


def raise_refusal(folder: Path) -> None:
    """Raise what a process has left in the folder, if any did.

    Raises:
        RefusalError: a process refused its input; the message is its sentence.
    """
    for file in sorted(folder.glob("*.json")):
        raise RefusalError(read_json(file)["sentence"])


def last_lines(logs: Path) -> list[str]:
    """Return the last lines of the process that failed first, in the last try of all nodes; [] if no process wrote any.

    Of a failure that no process reported, such as a kill, these are the lines that were written last.
    """
    try:
        errors = sorted(logs.rglob(ERROR_FILE), key=_time)
        last_try = [file for file in errors if _time(errors[-1]) - _time(file) < SAME_TRY_SECONDS]
        places = [last_try[0].parent] if last_try else _latest_first(logs.rglob(OUTPUTS[0]))
        for output in (place / name for place in places for name in OUTPUTS):
            if lines := _end_of(output):
                return lines
    except OSError as error:  # folders of other users, a volume that is away
        return [f"(its output cannot be read: {error})"]
    return []


def _latest_first(files: Iterable[Path]) -> list[Path]:
    """Return the folders of files, those of the last written file first."""
    return [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)]


def _end_of(output: Path) -> list[str]:
    if not output.is_file():
        return []
    with output.open("rb") as stream:
        stream.seek(max(0, output.stat().st_size - LAST_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return [masked(line) for line in lines if line.strip()][-SHOWN_LINES:]


def _time(error_file: Path) -> float:
    """Return the time of a process's error: the one that torchrun's `record` wrote, else the file's."""
    try:
        return float(read_json(error_file)["message"]["extraInfo"]["timestamp"])
    except (UserError, KeyError, TypeError, ValueError):
        return error_file.stat().st_mtime
