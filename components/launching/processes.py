"""A training step in as many processes as its pod has GPUs: the same step, started under torchrun's agent.

One GPU, or none, means no launching at all. A step on several nodes is the same command, started by torchrun on
each node of a TrainJob (`components/launching/nodes.py`).
"""

import logging
import multiprocessing
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cascade_core.errors import UserError
from components.contract import step_named


def run(step: str, arguments: Mapping[str, Any], *, processes: int | None = None) -> Any:
    """Call `components.<step>.run(**arguments)` in `processes` processes; return what the first one returns.

    Left out, `processes` is the number of GPUs that this machine (a pod: its limit) shows, at least 1.

    Raises:
        UserError: `processes` is not positive, the step does not train, or it refused its input; in one
            process also whatever else the step raises.
        RuntimeError: a process failed; the message says which one and why, and all others were ended.
    """
    count = processes if processes is not None else max(1, torch.cuda.device_count())
    if count < 1:
        raise UserError(f"processes={count}; a step needs at least one (leave it out for one per GPU)")
    stated = step_named(step)
    if stated.cluster is None or not stated.cluster.trains:
        raise UserError(f"step {step!r} does not train")
    if count == 1:
        return stated(**arguments)
    # The processes are forked from one that has imported what they need and has not touched a GPU.
    # (torch._dynamo: what wrapping a model for several processes imports, a thousand modules.)
    preloaded = [f"components.steps.{step}", "torch._dynamo"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(preloaded)
    try:
        return elastic_launch(_configuration(count), _call_together)(step, dict(arguments))[0]
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        told = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        wrong_input = told.removeprefix("UserError: ")
        if wrong_input != told:
            raise UserError(wrong_input) from error
        raise RuntimeError(f"process {rank} of the {count} of step {step} failed: {told}") from error


def _configuration(count: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"cascade-clip-{os.getpid()}",
        rdzv_backend="c10d",
        # Its own free port, on this machine only.
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method="forkserver",
    )


def _call_together(step: str, arguments: dict[str, Any]) -> Any:
    """Call the step in a process of its own: an entry point, which says what is logged and how cores are shared."""
    leads, count = os.environ["RANK"] == "0", int(os.environ["WORLD_SIZE"])
    logging.basicConfig(level=logging.INFO if leads else logging.WARNING, format="%(message)s")
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    try:
        return step_named(step)(**arguments)
    except UserError as error:
        raise UserError(str(error)) from error  # by this name the first process knows it, whatever its kind
