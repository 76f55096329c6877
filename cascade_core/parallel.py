"""Training in several processes: their ranks, devices, random streams and shared values.

`torchrun` starts the processes and sets environment variables with the rank of each. Every process holds the whole
model and takes its part of every global batch. Gradients are averaged, so the result equals that of one process at the
same global batch.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
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

RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
GRACE_SECONDS = 15.0
"""A process that lost its connection to another waits this long for torchrun to end it, and then fails."""


@dataclass(frozen=True)
class World:
    """This process's place among the processes that train together; `launched` means that torchrun started it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launched: bool = False

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, tracks and reports."""
        return self.rank == 0

    def share(self, global_batch: int, accumulation_steps: int, *, field: str = "train.batch_size") -> int:
        """Return the number of pictures that this process takes of every micro-batch.

        Raises:
            UserError: the global batch does not divide evenly; the message names `field` as the value to change.
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
    """Return this process's place from torchrun's variables; without them, the place of a single process.

    Raises:
        UserError: a variable is missing, is no number, or contradicts the others.
    """
    values = {name: environment[name] for name in RANK_VARIABLES if name in environment}
    if not {"RANK", "WORLD_SIZE"} & set(values):
        return World()
    try:
        rank, size, local_rank = (int(values[name]) for name in RANK_VARIABLES)
        if not 0 <= rank < size or local_rank < 0:
            raise ValueError
    except (KeyError, ValueError):
        variables = ", ".join(f"{name}={value}" for name, value in values.items())
        raise UserError(
            f"the environment has {variables}; several processes need RANK in 0..WORLD_SIZE-1, WORLD_SIZE and "
            "LOCAL_RANK: start them with torchrun, or unset these to train in one process"
        ) from None
    return World(rank, size, local_rank, launched=True)


def device_of(world: World) -> torch.device:
    """Return the device of this process: its own GPU, or the CPU if the machine has no GPU.

    Raises:
        UserError: this node has fewer GPUs than processes, but at least one.
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
def connected(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes while the block runs: over nccl on GPUs, else gloo. Do nothing for a single process.

    When a process dies, torchrun sends SIGTERM to the others, where it raises SystemExit in the block to close files.
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
                # Otherwise torchrun might report this process first, with a closed connection as the cause.
                log.warning(
                    "the connection to another process of this training is lost; waiting for torchrun to end this one"
                )
                time.sleep(GRACE_SECONDS)
            raise
        finally:
            dist.destroy_process_group()


def num_processes() -> int:
    """Return the number of connected processes."""
    return dist.get_world_size() if is_distributed() else 1


def mean_over_processes(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return the elementwise mean over all processes; a single process gets `values` unchanged."""
    if not is_distributed():
        return values
    summed = values.detach().clone()
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def any_process(flag: bool) -> bool:
    """Say whether `flag` holds in any process; all wait for each other here."""
    if not is_distributed():
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    highest = torch.tensor(float(flag), device=device)
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    return bool(highest.item())


def broadcast_from_first(tensors: Iterable[Tensor]) -> None:
    """Give tensors of all processes the values of the first one's."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def broadcast_start(optimizer: AdamW, start: int) -> int:
    """Broadcast the first process's AdamW moments and return its number of finished steps.

    So only that process needs the checkpoint to resume from; `train/training_maps.py` broadcasts the weights.
    """
    if not is_distributed():
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
    """Seed torch's random state, which dropout uses, for one step of this process.

    It depends on seed, step and rank only, so resuming needs no saved random state. The rank gives each process its own
    dropout masks.
    """
    rank = dist.get_rank() if is_distributed() else 0
    words = np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


def _lost_another(error: RuntimeError) -> bool:
    # gloo has no error class of its own.
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def is_distributed() -> bool:
    """Return whether this process is connected to others."""
    return dist.is_available() and dist.is_initialized()
