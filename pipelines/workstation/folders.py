"""Runs the steps of a graph here, one after the other: each writes a folder, and one that stands is not made again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contract import Folder, Step
from pipelines.graphs.runner import Data


@dataclass(frozen=True)
class InFolder:
    """The runner of `pipelines/graphs` that calls steps; what they write lies in `folder`.

    A step's folder is named after the step, its setting, and the split that it looks at, so that an interrupted
    graph goes on where it stopped.
    """

    folder: Path

    def __call__(
        self,
        stated: Step[Any, Any],
        data: Data[Path],
        setting: str = "",
        *,
        after: Sequence[Path] = (),
        **arguments: Any,
    ) -> Path:
        """Run a step unless its folder stands, and give the folder."""
        out = self.folder / "-".join(filter(None, (stated.name, setting, arguments.get("split"))))
        if not out.exists():
            given = data.given(stated.parameters, arguments)
            stated(**as_taken(stated, given), **{stated.output: out})
        return out


def as_taken(stated: Step[Any, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Give a step's arguments with the folders of earlier steps as the step takes them."""
    parameters = stated.parameters
    return {
        name: parameters[name].taken(value) if isinstance(parameters[name].meaning, Folder) else value
        for name, value in arguments.items()
    }
