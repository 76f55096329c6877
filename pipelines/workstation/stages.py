"""Renders the steps of a graph as stages of dvc.yaml: command, dependencies and output folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from components.contract import Folder, Output, Place, Settings, Step
from pipelines.graphs.runner import Data
from pipelines.workstation.imports import code_of

OUTPUTS = PurePosixPath("outputs")
KEY = "${key}"
"""DVC replaces this text by each key of the mapping that a stage is repeated for."""


@dataclass(frozen=True)
class Stages:
    """The runner of `pipelines/graphs` that adds a stage to `written` for each step, by name.

    With `every`, a stage is repeated for each entry of that mapping in params.yaml.
    """

    written: dict[str, Any] = field(default_factory=dict)
    every: str | None = None

    def for_every(self, mapping: str) -> "Stages":
        """Return the runner that repeats its stages for each entry of a mapping, such as "${recipes}"."""
        return replace(self, every=mapping)

    def __call__(
        self,
        step: Step[Any, Any],
        data: Data[PurePosixPath],
        setting: str = "",
        *,
        after: Sequence[PurePosixPath] = (),
        **arguments: Any,
    ) -> PurePosixPath:
        """Add a stage and return its output folder; `after` adds nothing, because DVC runs one stage at a time."""
        out = self._folder(step, setting)
        values = data.step_arguments(step, arguments)
        words = step.words({**values, step.output: out})
        reads_overrides = any(isinstance(step.parameters[name].meaning, Settings) for name in values)
        stage = {
            "desc": step.help.splitlines()[0].removesuffix("."),
            "cmd": " ".join(["cascade-clip", step.command, *words]),
            **({"params": ["overrides"]} if reads_overrides else {}),
            "deps": [*dict.fromkeys(_input_files(step, data, values)), *code_of(step.name)],
            "outs": [str(out)],
        }
        name = "_".join(filter(None, (step.name, setting)))
        self.written[name] = {"foreach": self.every, "do": stage} if self.every else stage
        return out

    def _folder(self, step: Step[Any, Any], setting: str) -> PurePosixPath:
        if self.every:
            return OUTPUTS / step.name / "-".join(filter(None, (KEY, setting)))
        output = step.parameters[step.output].meaning
        assert isinstance(output, Output) and output.default is not None, f"{step.name} has no default folder"
        return PurePosixPath(output.default)


def _input_files(step: Step[Any, Any], data: Data[PurePosixPath], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the data and the files of earlier steps' folders that a step reads.

    The manifests in those folders are left out: they name the commit, which may change alone.
    """
    if step.cluster is not None and step.cluster.reads_pictures:
        yield str(data.raw)
    for name, value in values.items():
        match step.parameters[name].meaning:
            case Place():
                yield str(value)
            case Folder(content=content):
                for folder in value if step.parameters[name].several else (value,):
                    yield from (str(folder / part) for part in content or ("",))
