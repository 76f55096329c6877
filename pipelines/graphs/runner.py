"""What a graph of steps is stated against: a runner that does a step, and the data that lie ready for it.

A runner makes Kubeflow tasks, stages of dvc.yaml, or calls the steps here; what it gives of a step (a handle) is
its output, to be handed to later steps. Graphs know nothing more of it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from components.contract import Step

Handle = TypeVar("Handle")


@dataclass(frozen=True)
class Data(Generic[Handle]):
    """What lies ready for every step: each takes of it what its statement names.

    `data_hash` is known before training only where a pipeline's first step reports it.
    """

    raw: Handle | None = None
    clip: Handle | None = None
    prepared: Handle | None = None
    splits: Handle | None = None
    text: Handle | None = None
    data_hash: Handle | None = None

    def given(self, names: Collection[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Give what of the data has one of these names, and the arguments over it; None leaves a default."""
        ready = {name: value for name, value in vars(self).items() if name in names}
        return {name: value for name, value in {**ready, **arguments}.items() if value is not None}


class Runner(Protocol[Handle]):
    """Does one step with the data that lie ready and its own arguments, and gives its output.

    The setting, such as "inductive", tells several calls of a step apart. A step that comes `after` others waits
    for them, although it takes nothing of theirs, wherever several steps run at a time.
    """

    def __call__(
        self,
        stated: Step[Any, Any],
        data: Data[Handle],
        setting: str = "",
        *,
        after: Sequence[Handle] = (),
        **arguments: Any,
    ) -> Handle: ...
