"""Run a training step in one process per GPU of its pod, under torchrun's agent.

With at most one GPU the step runs in the calling process. For several nodes see `components/launching/nodes.py`.
"""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cascade_core.errors import UserError
from cascade_core.parallel import world_of
from cascade_core.runtime.exit_codes import ExitCode
from components.contract import Call, step_named
from components.servers.addresses import hide_secrets

START_METHOD: Literal["forkserver"] = "forkserver"
USER_ERROR = "UserError: "
"""torchrun passes on the exception of a process as text that starts with its class."""


def run(step: str, arguments: Mapping[str, Any], *, processes: int | None = None) -> Any:
    """Call `components.<step>.run(**arguments)` in `processes` processes; return the first one's result.

    By default `processes` is the number of visible GPUs (in a pod: its limit), at least 1.

    Raises:
        UserError: `processes` is not positive, the system cannot start several, the step does not train, or it refused
            its input.
        RuntimeError: a process failed and all others were ended; the message names the process and the cause. (In one
            process the step's own exceptions are raised.)
    """
    count = processes if processes is not None else max(1, torch.cuda.device_count())
    if count < 1:
        raise UserError(f"processes={count}; a step needs at least one (leave it out for one per GPU)")
    stated = step_named(step)
    if stated.cluster is None or not stated.cluster.trains:
        raise UserError(f"step {step!r} does not train")
    if count == 1:
        return stated(**arguments)
    if START_METHOD not in multiprocessing.get_all_start_methods():
        raise UserError(f"processes={count}; on {sys.platform} a training runs in one process: give 1")
    # The fork server imports these modules once and never uses a GPU. (DistributedDataParallel imports torch._dynamo,
    # which has a thousand modules.)
    preloaded = [f"components.steps.{step}", "torch._dynamo"]
    multiprocessing.get_context(START_METHOD).set_forkserver_preload(preloaded)
    try:
        with _handlers_restored():
            return elastic_launch(_configuration(count), _call_together)(step, dict(arguments))[0]
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):  # after a signal, its work saved
            raise SystemExit(failure.exitcode) from error
        message = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        if message.startswith(USER_ERROR):
            raise UserError(message.removeprefix(USER_ERROR)) from error
        raise RuntimeError(f"process {rank} of the {count} of step {step} failed: {message}") from error


@contextmanager
def _handlers_restored() -> Iterator[None]:
    """Put back the signal handlers that torch replaces and leaves, which would turn a later Ctrl-C into its exception."""
    before = {kind: signal.getsignal(kind) for kind in signal.valid_signals()}
    try:
        yield
    finally:
        for kind, handler in before.items():
            if handler is not None and signal.getsignal(kind) is not handler:
                signal.signal(kind, handler)


def launched(call: Call) -> Any:
    """Repeat the call of a step in the number of processes that its option `processes` gives.

    Raises:
        UserError: torchrun has started this process already; and as `run`.
    """
    if world_of(os.environ).launched:
        raise UserError(
            "torchrun has started this process and its number is torchrun's; leave --processes out"
        )
    arguments = {**call.arguments, "processes": 1}
    return run(call.step.name, arguments, processes=call.arguments["processes"])


def _configuration(count: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"cascade-clip-{os.getpid()}",
        rdzv_backend="c10d",
        # A free port on the loopback interface.
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method=START_METHOD,
    )


def _call_together(step: str, arguments: dict[str, Any]) -> Any:
    """Call the step as the entry point of one process: configure logging and its share of the cores."""
    leads, count = os.environ["RANK"] == "0", int(os.environ["WORLD_SIZE"])
    logging.basicConfig(level=logging.INFO if leads else logging.WARNING, format="%(message)s")
    hide_secrets()
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    try:
        return step_named(step)(**arguments)
    except KeyboardInterrupt:
        raise SystemExit(ExitCode.INTERRUPTED) from None  # torch would end the process with 0
    except UserError as error:
        raise UserError(str(error)) from error  # subclasses too get the class name that `run` looks for
