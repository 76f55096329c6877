"""Which part of a model is at work when: time and multiply-adds, split so that the parts sum to the whole."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

Patterns = tuple[tuple[str, str], ...]
OTHER = "other"
UPSAMPLING, SCORING = "upsampling", "scoring and argmax"
PARTS: Patterns = (
    # Of a segmentor; in a two-stage baseline the tower is `visual`.
    ("*visual.conv1", "patch embedding"),
    ("*visual.blocks.*.attn", "attention"),
    ("*visual.blocks.*.mlp", "feed-forward"),
    ("*visual.*ln_*", "norms"),
    ("trunk.prompts.prompt_norm", "norms"),
    ("trunk.prompts.prompt_proj", "prompts"),
    ("trunk", "rest of the trunk"),
    ("decoder.stages.*.query", "query map"),
    ("decoder.stages.*.decoder", "decoders"),
    ("decoder.proj", "decoders"),
    ("decoder", "rest of the head"),
    # Of a two-stage baseline.
    ("proposals", "proposals"),
    ("crops", "crops"),
    ("classifier", "rest of the classifier"),
    ("joined", "masks joined"),
)
"""Patterns of modules' names, and the part that a module's work counts to; of several that fit, the first."""
METHODS: Patterns = (
    # Work that a head does between the calls of its modules.
    ("decoder.memories", "mid projections"),
    ("decoder.prepare", "query map"),
)
"""Methods of modules, where there are such, and the part that their work counts to."""
TRUNK_AND_DECODER: Patterns = (("trunk", "trunk"), ("decoder", "decoder"))

Clock = tuple[Callable[[], Any], Callable[[Any, Any], float]]
"""How to take a mark, and what lies between two of them."""


@dataclass
class Meter:
    """Notes on a clock when a part begins and ends; what lies between two notes is the innermost part's."""

    clock: Clock
    _inside: list[str] = field(default_factory=lambda: [OTHER])
    _notes: list[tuple[str, Any]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's work to a part."""
        self._inside.append(name)
        self.note()
        try:
            yield
        finally:
            self._inside.pop()
            self.note()

    def note(self) -> None:
        """Take a mark: from here on the innermost part is at work."""
        self._notes.append((self._inside[-1], self.clock[0]()))

    def spent(self) -> dict[str, float]:
        """Return what each part took, in the order in which they began; the sum is what the whole took."""
        between = self.clock[1]
        found: dict[str, float] = {}
        for (part, begun), (_, ended) in zip(self._notes, self._notes[1:], strict=False):
            found[part] = found.get(part, 0.0) + between(begun, ended)
        return {**{part: found[part] for part in found if part != OTHER}, OTHER: found.get(OTHER, 0.0)}


@contextmanager
def metered(
    model: nn.Module, clock: Clock, patterns: Patterns = PARTS, methods: Patterns = METHODS
) -> Iterator[Meter]:
    """Watch the modules and methods of `model` that are named while the block runs; the rest of it is 'other'.

    Work inside a watched module that an inner watched one does counts to the inner one alone.
    """
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
        meter.note()
        yield meter
        meter.note()


def _watch(owner: nn.Module, method: str, meter: Meter, part: str, watches: ExitStack) -> None:
    """Put a watched method before the class's own, which comes to light again at the end."""
    original = getattr(owner, method)

    def watched(*args: Any, **options: Any) -> Any:
        with meter.part(part):
            return original(*args, **options)

    setattr(owner, method, watched)
    watches.callback(delattr, owner, method)


def wall_clock(device: torch.device) -> Clock:
    """Give a clock of seconds; on a GPU its own events, so that nothing waits in between."""
    if device.type != "cuda":
        return time.perf_counter, lambda begun, ended: ended - begun

    def mark() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event

    def seconds(begun: torch.cuda.Event, ended: torch.cuda.Event) -> float:
        ended.synchronize()
        return begun.elapsed_time(ended) / 1e3

    return mark, seconds
