"""Run a compiled pipeline by `kfp.local` as a cluster runs it, and write what happens; a process of the fake server.

The first argument is a file with JSON (`Job`). Differences to `kfp.local` are those that a real cluster showed: an exit
code is not tried again (`OnError`), SIGTERM ends the steps and then the exit handler runs, the exit handler gets the states
of ML Metadata without an error, and a second start runs the failed steps again but not the exit handler.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kfp import components, local
from kfp.local import placeholder_utils, subprocess_task_handler
from kfp.local.orchestrator import orchestrator_utils, task_executor, task_spec_utils
from kfp.local.status import Status

HERE = threading.local()
"""The thread's current step."""
PROCESSES: set[subprocess.Popen[str]] = set()
CANCELLED = threading.Event()
WRITING = threading.Lock()


def main(job_file: Path) -> None:
    """Run the job."""
    job = json.loads(job_file.read_text())
    folder = Path(job["folder"])
    signal.signal(signal.SIGTERM, _cancel)
    _replace_local_parts(folder, retry=job["retry"])
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"))
    components.load_component_from_file(str(folder / "pipeline.yaml"))(**job["parameters"])


def _cancel(*_: object) -> None:
    CANCELLED.set()
    for process in list(PROCESSES):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def _replace_local_parts(folder: Path, *, retry: bool) -> None:
    run_one, arguments = (
        task_executor.execute_single_task,
        orchestrator_utils.OrchestratorUtils.make_task_arguments,
    )

    def run(task_name: str, task_spec: Any, pipeline_resource_name: str, **rest: Any) -> Any:
        place = [*pipeline_resource_name.split("/")[1:], task_name]
        exits = any(one.HasField("task_final_status") for one in task_spec.inputs.parameters.values())
        kept = folder / "outputs" / f"{'.'.join(place)}.pickle"
        if retry and (kept.exists() or exits):
            return (pickle.loads(kept.read_bytes()) if kept.exists() else {}), Status.SUCCESS
        if CANCELLED.is_set() and not exits:
            return {}, Status.FAILURE
        retries = task_spec.retry_policy.max_retry_count
        task_spec.retry_policy.max_retry_count = 0
        HERE.name, HERE.exits = ".".join(place), exits
        event = {"place": place, "exits": exits, "retries": int(retries)}
        _write(folder, {**event, "state": "RUNNING"})
        outputs, status = run_one(task_name, task_spec, pipeline_resource_name, **rest)
        if status is Status.SUCCESS:
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(pickle.dumps(outputs))
        _write(folder, {**event, "state": "SUCCEEDED" if status is Status.SUCCESS else "FAILED"})
        return outputs, status

    def make_arguments(task_inputs_spec: Any, io_store: Any) -> Any:
        made = arguments(task_inputs_spec, io_store)
        for name, one in task_inputs_spec.parameters.items():
            if one.HasField("task_final_status"):
                states = {"SUCCEEDED": "COMPLETE", "FAILED": "FAILED"}
                state = "RUNNING" if CANCELLED.is_set() else states[made[name]["state"]]
                made[name] = {**made[name], "state": state, "error": {}}
        return made

    def run_step(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        exits = HERE.exits
        with (folder / "logs" / HERE.name).open("w") as log:
            process = subprocess.Popen(
                full_command,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                env={**os.environ, **(env_vars or {})},
            )
            if not exits:
                PROCESSES.add(process)
            code = process.wait()
            code = 128 - code if code < 0 else code
            PROCESSES.discard(process)
            if code:
                log.write(
                    f"E1128 19:11:51.964245      15 launcher_v2.go:449] Component failed: exit status {code}\n"
                )
        return code

    (folder / "logs").mkdir(exist_ok=True)
    # A pipeline knows its run by the id that the server gave it.
    placeholder_utils.make_random_id = lambda: folder.name
    task_executor.execute_single_task = run
    orchestrator_utils.OrchestratorUtils.make_task_arguments = make_arguments
    subprocess_task_handler.run_local_subprocess = run_step
    task_spec_utils.get_nested_pipeline_resource_name = lambda task_name, pipeline_resource_name: (
        f"{pipeline_resource_name}/{task_name}"
    )


def _write(folder: Path, event: dict[str, Any]) -> None:
    with WRITING, (folder / "events").open("a") as file:
        file.write(json.dumps({**event, "time": time.time()}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
