"""Renders a graph of steps as stages of dvc.yaml: each step's command, the files that it reads, the folder it writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from components.contract import Folder, Output, Place, Settings, Step
from pipelines.graphs.runner import Data
from pipelines.workstation.folders import as_taken
from pipelines.workstation.imports import code_of

OUTPUTS = PurePosixPath("outputs")
KEY = "${key}"
"""What DVC replaces by each key of what a stage is repeated for."""


@dataclass(frozen=True)
class Stages:
    """The runner of `pipelines/graphs` that writes stages: `written` gets them, by name.

    Within `every` a stage is repeated for each entry of a mapping of params.yaml.
    """

    written: dict[str, Any] = field(default_factory=dict)
    every: str | None = None

    def for_every(self, mapping: str) -> "Stages":
        """Give the runner whose stages are repeated for each entry of `mapping`, such as "${recipes}"."""
        return replace(self, every=mapping)

    def __call__(
        self,
        stated: Step[Any, Any],
        data: Data[PurePosixPath],
        setting: str = "",
        *,
        after: Sequence[PurePosixPath] = (),
        **arguments: Any,
    ) -> PurePosixPath:
        """Write a stage, and give the folder that it writes.

        Stages run one at a time; `after` adds nothing to that.
        """
        out = self._folder(stated, setting)
        given = as_taken(stated, data.given(stated.parameters, arguments))
        words = stated.words({**given, stated.output: out})
        stage = {
            "desc": stated.help.splitlines()[0].removesuffix("."),
            "cmd": " ".join(["cascade-clip", stated.command, *words]),
            **_parameters(stated, given),
            "deps": [*dict.fromkeys(_read(stated, data, given)), *code_of(stated.name)],
            "outs": [str(out)],
        }
        name = "_".join(filter(None, (stated.name, setting)))
        self.written[name] = {"foreach": self.every, "do": stage} if self.every else stage
        return out

    def _folder(self, stated: Step[Any, Any], setting: str) -> PurePosixPath:
        if self.every:
            return OUTPUTS / stated.name / "-".join(filter(None, (KEY, setting)))
        output = stated.parameters[stated.output].meaning
        assert isinstance(output, Output) and output.default is not None, f"{stated.name} has no usual folder"
        return PurePosixPath(output.default)


def _parameters(stated: Step[Any, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Name the section of params.yaml that a step reads itself."""
    reads = any(isinstance(stated.parameters[name].meaning, Settings) for name in given)
    return {"params": ["overrides"]} if reads else {}


def _read(stated: Step[Any, Any], data: Data[PurePosixPath], given: Mapping[str, Any]) -> Iterator[str]:
    """Give what a step reads of the data and of other steps' folders.

    Of a folder these are the files that the step looks at, not the manifest beside them: it names the commit, which
    may change where nothing else does.
    """
    if stated.cluster is not None and stated.cluster.reads_pictures:
        yield str(data.raw)
    for name, value in given.items():
        match stated.parameters[name].meaning:
            case Place():
                yield str(value)
            case Folder(content=content):
                for folder in value if stated.parameters[name].several else (value,):
                    yield from (str(folder / part) for part in content or ("",))
