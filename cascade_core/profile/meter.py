"""Split the time or the multiply-adds of a model into parts that sum to the whole."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import torch
from torch import nn

Patterns = tuple[tuple[str, str], ...]
OTHER = "other"
UPSAMPLING, SCORING = "upsampling", "scoring and argmax"
MODULE_PARTS: Patterns = (
    # A segmentor, and the tower of a two-stage baseline, which is `visual` too.
    ("*visual.conv1", "patch embedding"),
    ("*visual.blocks.*.attn", "attention"),
    ("*visual.blocks.*.mlp", "feed-forward"),
    ("*visual.*ln_*", "norms"),
    ("trunk.prompts.prompt_norm", "norms"),
    ("trunk.prompts.prompt_proj", "prompts"),
    ("trunk", "rest of the trunk"),
    ("decoder.stages.*.query", "query map"),
    ("decoder.stages.*.decoder", "decoders"),
    ("decoder.query", "query map"),
    ("decoder.layers.*", "decoders"),
    ("decoder.proj", "decoders"),
    ("decoder", "rest of the head"),
    # A two-stage baseline.
    ("proposals", "proposals"),
    ("crops", "crops"),
    ("classifier", "rest of the classifier"),
    ("joined", "masks joined"),
)
"""Maps patterns of module names to parts; the first matching pattern decides."""
METHOD_PARTS: Patterns = (
    # A head's own work between the calls of its modules.
    ("decoder.memories", "mid projections"),
    ("decoder.prepare", "query map"),
    ("text.class_embeddings", "text tower"),
)
"""Maps Python methods (`module.method`) to parts, for models that have such a module and method."""
TRUNK_AND_DECODER: Patterns = (("trunk", "trunk"), ("decoder", "decoder"))

Clock = tuple[Callable[[], Any], Callable[[Any, Any], float]]
"""A function that reads the clock, and one that returns the difference of two readings."""


@dataclass
class Meter:
    """Reads a clock when a part begins and ends; the time between two readings belongs to the innermost part."""

    clock: Clock
    _stack: list[str] = field(default_factory=lambda: [OTHER])
    _readings: list[tuple[str, Any]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's work to a part."""
        self._stack.append(name)
        self.read()
        try:
            yield
        finally:
            self._stack.pop()
            self.read()

    def read(self) -> None:
        """Read the clock; the time from now on belongs to the innermost part."""
        self._readings.append((self._stack[-1], self.clock[0]()))

    def by_part(self) -> dict[str, float]:
        """Return each part's total, parts in order of their first start and `OTHER` last."""
        totals: dict[str, float] = {}
        for (part, begun), (_, ended) in pairwise(self._readings):
            totals[part] = totals.get(part, 0.0) + self.clock[1](begun, ended)
        rest = totals.pop(OTHER, 0.0)
        return {**totals, OTHER: rest}


@contextmanager
def metered(
    model: nn.Module, clock: Clock, patterns: Patterns = MODULE_PARTS, methods: Patterns = METHOD_PARTS
) -> Iterator[Meter]:
    """While the block runs, meter the matching modules and methods of `model`; all other work is 'other'."""
    meter, modules = Meter(clock), dict(model.named_modules())
    with ExitStack() as watches:
        for name, module in modules.items():
            part = next((part for pattern, part in patterns if fnmatchcase(name, pattern)), None)
            if part is not None:
                _watch(module, "forward", meter, part, watches)
        for path, part in methods:
            owner, _, method = path.rpartition(".")
            if hasattr(modules.get(owner), method):
                _watch(modules[owner], method, meter, part, watches)
        meter.read()
        yield meter
        meter.read()


def _watch(owner: nn.Module, method: str, meter: Meter, part: str, watches: ExitStack) -> None:
    """Shadow the class's method on the instance by a metered one until `watches` closes."""
    original = getattr(owner, method)

    def watched(*args: Any, **options: Any) -> Any:
        with meter.part(part):
            return original(*args, **options)

    setattr(owner, method, watched)
    watches.callback(delattr, owner, method)


def wall_clock(device: torch.device) -> Clock:
    """Return a clock in seconds; on a GPU it uses CUDA events, which need no device sync in between."""
    if device.type != "cuda":
        return time.perf_counter, lambda begun, ended: ended - begun

    def read() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event

    def seconds(begun: torch.cuda.Event, ended: torch.cuda.Event) -> float:
        ended.synchronize()
        return begun.elapsed_time(ended) / 1e3

    return read, seconds
