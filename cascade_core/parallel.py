"""Training in several processes: who takes part, what each draws, what all share.

`torchrun` starts the processes and tells each its place in environment variables. All hold the whole model;
each takes its part of every global batch, and gradients are averaged, so that the result is that of one
process at the same global batch.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import termination_raised

log = logging.getLogger(__name__)

PLACE_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
GRACE_SECONDS = 15.0
"""How long a process that lost another one waits to be ended by torchrun, before it fails too."""


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them; `launched` if torchrun started it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launched: bool = False

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes, tracks and tells."""
        return self.rank == 0

    def share(self, global_batch: int, accumulation_steps: int, *, field: str = "train.batch_size") -> int:
        """Return how many pictures of every micro-batch are this process's.

        Raises:
            UserError: the global batch does not divide evenly; `field` is what to change.
        """
        parts = self.size * accumulation_steps
        if global_batch % parts:
            more = (global_batch // parts + 1) * parts
            raise UserError(
                f"{field}={global_batch}, the batch over all processes, is not divisible by {parts} "
                f"({self.size} processes x {accumulation_steps} accumulation steps); set it to {more}, or "
                "start another number of processes"
            )
        return global_batch // parts


def world_of(environment: Mapping[str, str]) -> World:
    """Return the place that torchrun's variables give this process; alone if there are none.

    Raises:
        UserError: some are missing, or are no numbers that fit together.
    """
    found = {name: environment[name] for name in PLACE_VARIABLES if name in environment}
    if not {"RANK", "WORLD_SIZE"} & set(found):
        return World()
    try:
        rank, size, local_rank = (int(found[name]) for name in PLACE_VARIABLES)
        if not 0 <= rank < size or local_rank < 0:
            raise ValueError
    except (KeyError, ValueError):
        told = ", ".join(f"{name}={value}" for name, value in found.items())
        raise UserError(
            f"the environment says {told}; several processes need RANK in 0..WORLD_SIZE-1, WORLD_SIZE and "
            "LOCAL_RANK: start them with torchrun, or unset these to train alone"
        ) from None
    return World(rank, size, local_rank, launched=True)


def device_of(world: World) -> torch.device:
    """Return the device of this process: a GPU of its own, or the processor where there is none at all.

    Raises:
        UserError: this node has GPUs, but fewer than processes.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        return torch.device("cpu")
    if world.local_rank >= count:
        raise UserError(
            f"process {world.local_rank + 1} of this node has no GPU: {count} are visible; "
            f"start at most {count} processes per node (torchrun --nproc-per-node {count})"
        )
    return torch.device("cuda", world.local_rank) if world.launched else torch.device("cuda")


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes while the block runs: over gloo on processors, nccl on GPUs. Alone, do nothing.

    A SIGTERM, which is how torchrun ends the others when one process dies, leaves the block as SystemExit,
    so that what the block opened is closed.
    """
    if not world.launched:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with termination_raised():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield
        except RuntimeError as error:
            if _lost_another(error):
                # Else torchrun might notice this one first and tell a closed connection as the cause.
                log.warning("another process of this training is gone; waiting to be ended")
                time.sleep(GRACE_SECONDS)
            raise
        finally:
            dist.destroy_process_group()


def processes() -> int:
    """Return how many processes train together at the moment."""
    return dist.get_world_size() if together() else 1


def mean_over_processes(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return the elementwise mean over all processes; `values` themselves where there is only one."""
    if not together():
        return values
    summed = values.detach().clone()
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def share_start(optimizer: AdamW, start: int) -> int:
    """Return the first process's number of finished steps, and give all its AdamW moments.

    So only that process needs to see the checkpoint that a training resumes from. (Weights follow in
    `train/replicas.py`.)
    """
    if not together():
        return start
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    steps = torch.tensor(start, device=parameters[0].device)
    dist.broadcast(steps, src=0)
    if steps.item() == 0:
        return 0
    for parameter in parameters:
        if dist.get_rank() != 0 or not optimizer.state[parameter]:
            optimizer.state[parameter] = {
                "step": steps.to(torch.float32),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        for moment in ("exp_avg", "exp_avg_sq"):
            dist.broadcast(optimizer.state[parameter][moment], src=0)
    return int(steps.item())


def seed_step(seed: int, iteration: int) -> None:
    """Set torch's random state, from which dropout draws, for one step of this process.

    A step's draws depend on seed, step and process alone, so a resumed training needs no saved state, on
    any device; processes draw apart, else their parts of a batch would be masked alike.
    """
    rank = dist.get_rank() if together() else 0
    words = np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


def _lost_another(error: RuntimeError) -> bool:
    # gloo has no error class of its own.
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def together() -> bool:
    """Say whether this process trains with others at the moment."""
    return dist.is_available() and dist.is_initialized()
