"""Why a step failed: what the log of its pod says, since servers report no error of a step.

Our lines stand among those of Kubeflow's launcher, of kfp's executor and of Argo. The launcher survives a step that is
killed for memory, and writes its exit status.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

from pipelines.kubeflow.run_steps import Step

FOREIGN = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ |\[KFP Executor |time=\"|Killed$|Error: exit status|\s*[|^~]+$"
)
"""The beginnings of lines of the launcher, of kfp's executor, of Argo and of the shell."""
INPUT = "Got executor_input:"
EXIT = re.compile(r"exit status (\d+)")
SHOWN_LINES = 5
KILLED, TERMINATED = 137, 143
DEADLINE_SLACK = timedelta(seconds=10)


def reason_of(step: Step, log: str | None) -> list[str]:
    """Explain a failed step in one sentence, and quote the last lines of its log; `log` is None if the server has none."""
    limit = step.stated.minutes
    code = exit_code(log or "")
    lines = own_lines(log or "")
    row = step.stated.row
    if step.in_driver:
        sentence = "Kubeflow's driver failed, before the step's own pod"
    elif code == KILLED:
        sentence = (
            f"killed for lack of memory (exit status {code}); --resource {row}.memory=... gives the step more"
        )
        lines = lines[-1:]
    elif limit and step.started and step.ended and _length(step) >= timedelta(minutes=limit) - DEADLINE_SLACK:
        sentence = f"ran into its time limit of {limit:g} min; --resource {row}.minutes=... changes it"
    elif code == TERMINATED:
        sentence = f"terminated from outside (exit status {code})"
    else:
        sentence = f"exit status {code}" if code else "failed"
    if log is None:
        return [f"{sentence}; the server has no log of it, its page may"]
    if not lines:
        return [f"{sentence}; its log holds no line of the step"]
    return [sentence, *lines]


def exit_code(log: str) -> int | None:
    """Return the exit status that the launcher reports last; None if it reports none."""
    statuses = [match[1] for line in log.splitlines() if FOREIGN.match(line) and (match := EXIT.search(line))]
    return int(statuses[-1]) if statuses else None


def own_lines(log: str) -> list[str]:
    """Return the last lines of a log that the step wrote; of a traceback only the error."""
    lines = [line for line in _without_foreign(log.splitlines()) if line.strip()]
    starts = [
        number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")
    ]
    if starts:
        tail = lines[starts[-1] + 1 :]
        errors = [number for number, line in enumerate(tail) if not line[0].isspace()]
        lines = tail[errors[0] :] if errors else tail
    return lines[-SHOWN_LINES:]


def _without_foreign(lines: Iterable[str]) -> Iterator[str]:
    """Leave out the lines of others, and the JSON of the executor's input."""
    in_json = False
    for line in lines:
        if in_json:
            in_json = line != "}"
        elif FOREIGN.match(line):
            in_json = line.endswith(INPUT)
        else:
            yield line


def _length(step: Step) -> timedelta:
    assert step.started is not None and step.ended is not None
    return step.ended - step.started
