"""The interface between a graph of steps and its runners, and the data folders that the steps read.

A runner makes a Kubeflow task of a step, or a stage of dvc.yaml, or calls the step on this machine. It returns a handle of
the step's output, which the graph only passes on to later steps.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from components.contract import Folder, Step

Handle = TypeVar("Handle")


@dataclass(frozen=True)
class Data(Generic[Handle]):
    """The data that every step may read; a step gets those that its statement names.

    `recipe` and `seed` are set only where a page shows what an iteration of a loop works on, and `reuse_trainings` only
    where finished trainings may be taken.
    """

    raw: Handle | None = None
    clip: Handle | None = None
    prepared: Handle | None = None
    splits: Handle | None = None
    text: Handle | None = None
    recipe: Handle | None = None
    seed: Handle | None = None
    reuse_trainings: Handle | None = None

    def arguments(self, names: Collection[str], own: Mapping[str, Any]) -> dict[str, Any]:
        """Join the data of these names and a step's `own` arguments, which win; drop None, so that defaults apply."""
        shared = {name: value for name, value in vars(self).items() if name in names}
        return {name: value for name, value in {**shared, **own}.items() if value is not None}

    def step_arguments(self, step: Step[Any, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a step's call; earlier steps' folders become the subfolders that it reads."""
        parameters = step.parameters
        return {
            name: parameters[name].argument(value) if isinstance(parameters[name].meaning, Folder) else value
            for name, value in self.arguments(parameters, own).items()
        }


class Runner(Protocol[Handle]):
    """Runs one step, given the data and the step's own arguments, and returns the handle of its output.

    The `setting`, such as "inductive", distinguishes several calls of one step. The step starts after the steps in
    `after`, although it reads nothing of theirs.
    """

    def __call__(
        self,
        step: Step[Any, Any],
        data: Data[Handle],
        setting: str = "",
        *,
        after: Sequence[Handle] = (),
        **arguments: Any,
    ) -> Handle: ...
